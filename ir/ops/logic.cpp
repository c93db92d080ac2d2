#include "ir/ops/elementwise.h"
#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kBoolOnly = dtypes(DType::kBool);
constexpr DTypeSet kComparable = kNumeric | dtypes(DType::kBool, DType::kString);

Dim truth(bool yes, bool no) { return yes ? Dim(1) : no ? Dim(0) : Dim::invalid(); }

// ---- Where

// Contents are known where the condition is, element by element.
void propagate_where(InferContext& c) {
  std::optional<std::vector<Dim>> condition = c.dim_values(0);
  if (const Tensor* t = c.constant(0); t != nullptr && t->rank() <= 1 && t->size() <= 4096) {
    condition.emplace();
    for (int64_t i = 0; i < t->size(); ++i) condition->emplace_back(t->at_int(i));
  }
  const std::optional<std::vector<Dim>> a = c.dim_values(1), b = c.dim_values(2);
  if (!condition || !a || !b || condition->empty() || a->empty() || b->empty()) return;
  const size_t n = std::max({condition->size(), a->size(), b->size()});
  std::vector<Dim> out;
  for (size_t i = 0; i < n; ++i) {
    const auto at = [&](const std::vector<Dim>& v) { return v.size() == 1 ? v[0] : i < v.size() ? v[i] : Dim::invalid(); };
    if (!at(*condition).is_const()) return;
    out.push_back(at(*condition).is_const(0) ? at(*b) : at(*a));
    if (!out.back().is_valid()) return;
  }
  c.set_dim_values(0, std::move(out));
}

Status infer_where(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_elementwise(c, c.dtype(1)));
  propagate_where(c);
  return {};
}

// No arithmetic: 16-bit floats, strings and the like move as they are.
Result<std::vector<Body>> where_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  const std::vector<Expr> at = axis_indices(*body.pool, body.axes.size());
  const auto operand = [&](int i) { return load_broadcast(body, node, i, at, body.axes); };
  const Expr condition = operand(0), x = operand(1), y = operand(2);
  body.value = select(condition, x, y);
  return one_body(std::move(body));
}

// Conditions on shapes decide which branch of an If there is: what they hold is 1 or 0.
Status infer_not(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_elementwise(c, DType::kBool));
  std::optional<std::vector<Dim>> values = c.dim_values(0);
  if (!values) return {};
  for (Dim& v : *values) v = Dim(1) - v;
  c.set_dim_values(0, std::move(*values));
  return {};
}

template <bool kAll>
Status infer_junction(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_elementwise(c, DType::kBool));
  propagate_dims(c, [](Dim a, Dim b) { return kAll ? min(a, b) : max(a, b); });
  return {};
}

OpDef with_infer(OpDef op, InferFn infer) {
  op.infer = infer;
  return op;
}

template <ScalarOp kOp>
OpDef logical(std::string_view name, DTypeSet types) {
  return binary(name, types, [](Expr a, Expr b) {
    const Expr args[] = {a, b};
    return a.pool->op(kOp, args);
  });
}

}  // namespace

std::vector<OpDef> logic_ops() {
  return {
      comparison(
          "Equal", kComparable, [](Expr a, Expr b) { return a == b; },
          [](Dim a, Dim b) { return truth(known_eq(a, b), known_ne(a, b)); }),
      comparison(
          "Less", kNumeric, [](Expr a, Expr b) { return a < b; },
          [](Dim a, Dim b) { return truth(known_lt(a, b), known_le(b, a)); }),
      comparison(
          "LessOrEqual", kNumeric, [](Expr a, Expr b) { return a <= b; },
          [](Dim a, Dim b) { return truth(known_le(a, b), known_lt(b, a)); }),
      comparison(
          "Greater", kNumeric, [](Expr a, Expr b) { return a > b; },
          [](Dim a, Dim b) { return truth(known_lt(b, a), known_le(a, b)); }),
      comparison(
          "GreaterOrEqual", kNumeric, [](Expr a, Expr b) { return a >= b; },
          [](Dim a, Dim b) { return truth(known_le(b, a), known_lt(a, b)); }),
      with_infer(logical<ScalarOp::kAnd>("And", kBoolOnly), infer_junction<true>),
      with_infer(logical<ScalarOp::kOr>("Or", kBoolOnly), infer_junction<false>),
      logical<ScalarOp::kXor>("Xor", kBoolOnly),
      with_infer(unary("Not", kBoolOnly, [](Expr x) { return !x; }), infer_not),
      logical<ScalarOp::kAnd>("BitwiseAnd", kInts),
      logical<ScalarOp::kOr>("BitwiseOr", kInts),
      logical<ScalarOp::kXor>("BitwiseXor", kInts),
      unary("BitwiseNot", kInts, [](Expr x) { return unary(ScalarOp::kNot, x); }),
      {.domain = "",
       .name = "Where",
       .inputs = {{"condition", "B", kBoolOnly}, {"X", "T"}, {"Y", "T"}},
       .outputs = {{"output", "T"}},
       .infer = infer_where,
       .compute = {.body = where_body},
       .doc = "X where the condition holds, else Y (Where)"},
  };
}

}  // namespace tenon::ir
