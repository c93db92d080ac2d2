#include <cmath>
#include <limits>

#include "ir/range.h"
#include "passes/raise_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Node;
using ir::Value;

using Dims = std::vector<Dim>;
using Perm = std::vector<int64_t>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Sizes that are one, or that run time will find to be one.
bool fits(Dim a, Dim b) { return a == b || (!a.is_const() && !b.is_const() && !known_ne(a, b)); }

/// What a node of one of these kinds reads; null for other values.
Value* under(const Value* value, std::initializer_list<std::string_view> ops) {
  for (std::string_view op : ops)
    if (const Node* node = def_of(value, op)) return ranked(node->input(0)) ? node->input(0) : nullptr;
  return nullptr;
}

/// [B, N, S, D] repeated to [B, N g, S, D] by way of [B, N, 1, S, D] and [B, N, g, S, D] (repeat_kv): the value before,
/// else null.
Value* before_repeat(const Value* value) {
  const std::initializer_list<std::string_view> views = {"Reshape", "tenon.reshape", "Unsqueeze"};
  const Value* wide = under(value, views);
  const Value* thin = under(wide, {"Expand", "tenon.expand"});
  Value* base = under(thin, views);
  if (!base || !ranked(value) || dims_of(value).size() != 4 || dims_of(base).size() != 4) return nullptr;
  const Dims &out = dims_of(value), &from = dims_of(base), &repeated = dims_of(wide);
  if (repeated.size() != 5 || dims_of(thin) != Dims{from[0], from[1], 1, from[2], from[3]}) return nullptr;
  if (repeated != Dims{from[0], from[1], repeated[2], from[2], from[3]}) return nullptr;
  return out == Dims{from[0], from[1] * repeated[2], from[2], from[3]} ? base : nullptr;
}

/// The keys [B, N, S, D] of which `m["kt"]` makes [B, N, D, S].
Value* keys(const Match& m, Builder& b) {
  auto perm = permutation(m.node("kt"));
  if (!perm || perm->size() != 4) return nullptr;
  std::swap((*perm)[2], (*perm)[3]);
  return *perm == Perm{0, 1, 2, 3} ? m["k"] : b.make("Transpose", {m["k"]}, {{"perm", *perm}});
}

double lowest_of(DType dtype) {
  return dtype == DType::kF32    ? -std::numeric_limits<float>::max()
         : dtype == DType::kF64  ? -std::numeric_limits<double>::max()
         : dtype == DType::kBF16 ? -0x1.FEp127
                                 : -65504;
}

/// Added to a score, this number leaves itself: what Where puts in a score's place, masks that add may put on it. Half
/// precision has no number of that size.
bool absorbs(double number, DType dtype) {
  if (number == -kInfinity) return true;
  return dtype != DType::kF16 && number == lowest_of(dtype);
}

/// What is added to the scores [B, N, Q, S], null for nothing. False: what is there cannot be said as a mask.
bool mask_of(const Match& m, Builder& b, const Dims& scores, Value*& mask) {
  DType dtype = m["q"]->dtype();
  auto broadcasts = [&](const Value* value) {
    if (!ranked(value)) return false;
    const Dims& dims = dims_of(value);
    if (dims.size() < 2 || dims.size() > 4 || !fits(dims.back(), scores.back())) return false;
    for (size_t i = 0; i < dims.size(); ++i) {
      Dim wanted = scores[i + 4 - dims.size()];
      if (!dims[i].is_const(1) && !fits(dims[i], wanted)) return false;
    }
    return true;
  };
  mask = m["mask"];
  if (mask && (mask->dtype() != dtype || !broadcasts(mask))) return false;
  for (bool keeps : {true, false}) {
    std::string_view name = keeps ? "keep" : "drop";
    if (!m.has(name)) continue;
    if (!broadcasts(m[name]) || !absorbs(m.number("masked"), dtype)) return false;
    Value *zero = b.scalar(dtype, 0), *masked = b.scalar(dtype, m.number("masked"));
    Value* chosen = b.make("Where", {m[name], keeps ? zero : masked, keeps ? masked : zero});
    mask = mask ? b.make("Add", {chosen, mask}) : chosen;
  }
  return true;
}

/// A query that may look at no key makes softmax divide 0 by 0; Attention gives 0 for it (ONNX Attention). The masks of
/// such queries become NaN, others stay: m + 0 max(m).
Value* keep_nan(Builder& b, Value* mask) {
  Value* largest = b.make("ReduceMax", {mask, b.ints({-1})}, {{"keepdims", int64_t{1}}});
  return b.make("Add", {mask, b.make("Mul", {largest, b.scalar(mask->dtype(), 0)})});
}

/// The number above lowest_of.
double next_to_lowest(DType dtype) {
  return dtype == DType::kF32    ? std::nextafter(-std::numeric_limits<float>::max(), 0.0F)
         : dtype == DType::kF64  ? std::nextafter(-std::numeric_limits<double>::max(), 0.0)
         : dtype == DType::kBF16 ? -0x1.FCp127
                                 : -65472;
}

/// A mask as every reader of ONNX takes it. ONNX Runtime does not broadcast along the queries, and gives 0 for a query all
/// of whose keys have the lowest number, where softmax makes their mean; the number next to it serves as well.
Value* written_mask(Builder& b, Value* mask, Dim queries) {
  DType dtype = mask->dtype();
  ir::Range range = ir::range_of(mask);
  if (!(range.lo > -kInfinity)) mask = keep_nan(b, mask);
  if (!(range.lo > lowest_of(dtype)))
    mask = b.make("Where", {b.make("Equal", {mask, b.scalar(dtype, lowest_of(dtype))}), b.scalar(dtype, next_to_lowest(dtype)), mask});
  if (!ranked(mask)) return nullptr;
  Dims dims = dims_of(mask);
  Dim& rows = dims[dims.size() - 2];
  if (!rows.is_const(1) || queries.is_const(1)) return mask;
  rows = queries;
  return b.make("tenon.expand", {mask}, {{"dims", dims}});
}

/// The attention of a match, when a query without keys is impossible, or by keeping its NaN where it is to be written.
Value* attention(const Match& m, Builder& b, bool for_export) {
  Value *q = m["q"], *v = m["v"];
  if (!ranked(q) || dims_of(q).size() != 4 || !ranked(v) || dims_of(v).size() != 4) return nullptr;
  int64_t axis = m.node("softmax").attr_int("axis", -1);
  DType up = m.has("up") ? m["up"]->dtype() : q->dtype();
  if ((axis != -1 && axis != 3) || v->dtype() != q->dtype() || m.has("up") != m.has("down")) return nullptr;
  if (m.has("down") && m["down"]->dtype() != q->dtype()) return nullptr;
  double scale = m.number("scale") * m.number("scale_q") * m.number("scale_k") * m.number("scale_kt");
  if (!(scale > 0) || !std::isfinite(scale)) return nullptr;

  Value* k = keys(m, b);
  if (!ranked(k)) return nullptr;
  if (Value* fewer_k = before_repeat(k), *fewer_v = before_repeat(v); fewer_k && fewer_v) k = fewer_k, v = fewer_v;
  const Dims dq = dims_of(q), dk = dims_of(k), dv = dims_of(v);
  if (!fits(dq[0], dk[0]) || !fits(dq[0], dv[0]) || dk[1] != dv[1] || !fits(dk[2], dv[2]) || dq[3] != dk[3])
    return nullptr;
  bool grouped = dq[1].is_const() && dk[1].is_const() && dk[1].value() > 0 && dq[1].value() % dk[1].value() == 0;
  if (dq[1] != dk[1] && !grouped) return nullptr;

  Value* mask = nullptr;
  if (!mask_of(m, b, {dq[0], dq[1], dq[2], dk[2]}, mask)) return nullptr;
  if (mask && for_export) {
    mask = written_mask(b, mask, dq[2]);
    if (!mask) return nullptr;
  } else if (mask && (m.has("keep") || m.has("drop") || !(ir::range_of(mask).lo > -kInfinity))) {
    return nullptr;  // a mask that is added does not hide a NaN, as one that chooses does
  }
  std::vector<Value*> inputs = {q, k, v};
  if (mask) inputs.push_back(mask);
  std::vector<std::pair<std::string, ir::Attr>> attrs = {{"scale", scale}};
  if (up != q->dtype()) attrs.emplace_back("softmax_precision", int64_t{info(up).onnx});
  return b.make_n("Attention", inputs, 1, std::move(attrs))[0];
}

std::vector<RaiseRule> make_rules() {
  const Pattern kt = op("Transpose", {number("scale_k") * any("k")}).as("kt");
  const Pattern scores = number("scale") * op("MatMul", {number("scale_q") * any("q"), number("scale_kt") * kt});
  const Pattern lowest = number("masked");
  const Pattern chosen =
      either({scores, op("Where", {any("keep"), scores, lowest}), op("Where", {any("drop"), lowest, scores})});
  const Pattern biased = either({chosen, chosen + any("mask")});
  const Pattern weights = op("Softmax", {maybe_cast(biased, "up")}).as("softmax");
  const Pattern pattern = op("MatMul", {maybe_cast(weights, "down"), any("v")});
  return {
      {pattern, [](auto& m, auto& b) { return attention(m, b, true); }, true},
      {pattern, [](auto& m, auto& b) { return attention(m, b, false); }},
  };
}

}  // namespace

std::span<const RaiseRule> attention_rules() {
  static const auto* rules = new std::vector<RaiseRule>(make_rules());
  return *rules;
}

}  // namespace tenon::passes
