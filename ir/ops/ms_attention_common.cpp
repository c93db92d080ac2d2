#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/ops/body_helpers.h"
#include "ir/ops/contrib.h"
#include "ir/ops/ms_attention.h"

namespace tenon::ir {

double causal_filter(DType type) {
  return type == DType::kF16 ? -65504 : static_cast<double>(std::numeric_limits<float>::lowest());
}

namespace {

/// Which keys count under lengths, or ends and starts: [batch, 1, 1, keys]. Whether there are starts may be known only
/// when the sizes are.
Value* kept_by_lengths(Steps& s, Value* mask, Dim batch, Dim keys) {
  Builder& b = s.builder();
  const Dim count = mask->tensor().dim(0);
  Value* at = s.reshape(positions(s, keys), {1, 1, 1, keys});
  Value* numbers = s.cast(mask, DType::kI64);
  Value* keep = b.make("Less", {at, s.reshape(s.slice(numbers, 0, 0, batch), {batch, 1, 1, 1})});
  if (known_eq(count, batch) || known_ne(count, batch * 2)) return keep;
  Value* second = b.make("Min", {s.add(positions(s, batch), s.dim_scalar(batch)), s.dim_scalar(count - 1)});
  Value* starts = s.reshape(b.make("Gather", {numbers, second}, {{"axis", int64_t{0}}}), {batch, 1, 1, 1});
  Value* from = b.make("GreaterOrEqual", {at, starts});
  if (!known_eq(count, batch * 2)) from = b.make("Or", {from, b.make("Not", {b.make("Equal", {s.dim_scalar(count), s.dim_scalar(batch * 2)})})});
  return b.make("And", {keep, from});
}

}  // namespace

Result<Value*> key_mask(Steps& s, Value* mask, DType type, Dim batch, Dim queries, Dim keys, double masked) {
  Builder& b = s.builder();
  if (mask == nullptr) return nullptr;
  const Dims d = *mask->tensor().dims;
  Value* keep = nullptr;
  if (d.size() == 1) {
    const Dim forms[] = {d[0] - batch, d[0] - batch * 2, d[0] - (batch * 3 + 2)};
    if (std::ranges::none_of(forms, [](Dim other) { return other.is_const(0); }) && differ(s.node(), product(forms), 0))
      return Status(Code::kInvalidModel, fmt::format("a key mask of {} elements for a batch of {}", to_string(d[0]), to_string(batch)), s.node().name());
    keep = kept_by_lengths(s, mask, batch, keys);
  } else if (d.size() == 2) {
    if (d[1].is_const(1) && !keys.is_const(1)) return nullptr;
    keep = s.reshape(s.cast(mask, DType::kBool), {d[0], 1, 1, d[1]});
  } else if (d.size() == 3) {
    keep = s.reshape(s.cast(mask, DType::kBool), {d[0], 1, d[1], d[2]});
  } else if (d.size() == 4) {
    keep = s.slice(s.slice(s.cast(mask, DType::kBool), 2, keys - queries, keys), 3, 0, keys);
  } else {
    return Status(Code::kInvalidModel, fmt::format("a key mask of rank {}", d.size()), s.node().name());
  }
  return b.make("Where", {keep, b.scalar(type, 0), b.scalar(type, masked)});
}

Value* append_rows(Steps& s, Value* past, Value* fresh, Value* at, Dim rows, bool keep) {
  return s.builder().make("tenon.append_rows", {fresh, at, past},
                          {{"dims", Dims{rows}}, {"keep", static_cast<int64_t>(keep)}});
}

Value* extend_bias(Steps& s, Value* bias, Dim keys) {
  if (bias == nullptr || bias->tensor().dims->empty()) return bias;
  const Dim have = bias->tensor().dims->back();
  if (known_eq(have, keys) || have.is_const(1)) return bias;
  Builder& b = s.builder();
  Value* last = s.dim_scalar(have - 1);
  return b.make("Gather", {bias, b.make("Min", {positions(s, keys), last})}, {{"axis", int64_t{-1}}});
}

Value* head_slice(Steps& s, Value* x, Dim from, Dim to, int64_t heads) {
  return split_heads(s, s.slice(x, 2, from, to), heads);
}

Angles rotary_angles(Steps& s, Value* positions_, Dim rotary, DType type) {
  Builder& b = s.builder();
  const Dim half = floor_div(rotary, 2);
  Value* step = s.cast(positions(s, half), DType::kF32);
  Value* exponent = s.div(s.mul(step, -2.0), s.cast(s.dim_scalar(rotary), DType::kF32));
  Value* frequency = b.make("Pow", {b.scalar(DType::kF32, 10000), exponent});
  if (positions_ == nullptr || frequency == nullptr) return {};
  Dims column = *positions_->tensor().dims;
  column.push_back(1);
  Value* angle = s.mul(s.cast(s.reshape(positions_, column), DType::kF32), frequency);
  return {s.cast(s.unary("Cos", angle), type), s.cast(s.unary("Sin", angle), type)};
}

// ---- tenon.append_rows

namespace {

Status infer_append_rows(InferContext& c) {
  const Dims& dims = *c.node().attr_dims("dims");
  if (dims.size() != 1 || !dims[0].is_valid()) return c.fail("attribute dims must hold the number of rows");
  for (int i : {0, 2}) TENON_RETURN_IF_ERROR(require_rank(c, i, 4));
  TENON_RETURN_IF_ERROR(require_rank(c, 1, 1));
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  const Dims& x = c.shape(0);
  if (c.ranked(1) && !c.shape(1)[0].is_const(1)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[0], x[0], "rows and their places"));
  if (c.has(2) && c.ranked(2))
    for (size_t i : {0, 1, 3}) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(2)[i], x[i], "the cache and what is appended"));
  c.set(0, tensor_of(c.dtype(0), {x[0], x[1], dims[0], x[3]}));
  return {};
}

Result<std::vector<Body>> append_rows_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& p = *body.pool;
  const Expr zero = i64(p, 0), row = p.index(2), other = p.constant(body.dtype, 0);
  const Expr at = p.load(1, DType::kI64, std::vector<Expr>{dims_of(node, 1)[0].is_const(1) ? zero : p.index(0)});
  const Expr step = row - at;
  const Expr is_new = row >= at && step < p.dim(dims_of(node, 0)[2]);
  const std::vector<Expr> fresh_at = {p.index(0), p.index(1), step, p.index(3)};
  Expr value = p.load_guarded(0, body.dtype, fresh_at, is_new, other);
  if (node.has_input(2)) {
    Expr is_old = row < p.dim(dims_of(node, 2)[2]) && (node.attr_int("keep", 0) != 0 ? !is_new : row < at);
    value = select(is_new, value, p.load_guarded(2, body.dtype, index_range(p, 0, 4), is_old, other));
  }
  body.value = value;
  return one_body(std::move(body));
}

}  // namespace

std::vector<OpDef> ms_attention_common_ops() {
  return {{.domain = "tenon",
           .name = "append_rows",
           .inputs = {{"fresh", "T", kFloat16To64 | dtypes(DType::kI8, DType::kU8)},
                      {"at", "I", dtypes(DType::kI64)},
                      {"past", "T", kFloat16To64 | dtypes(DType::kI8, DType::kU8), true}},
           .outputs = {{"present", "T", kFloat16To64 | dtypes(DType::kI8, DType::kU8)}},
           .attrs = {{"dims", AttrKind::kDims, true}, {"keep", AttrKind::kInt, false, "0"}},
           .infer = infer_append_rows,
           .compute = {.body = append_rows_body},
           .doc = "A cache of keys or values with new rows put in from row `at` on"}};
}

}  // namespace tenon::ir
