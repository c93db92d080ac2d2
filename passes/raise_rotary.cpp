#include <algorithm>

#include "passes/raise_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Node;
using ir::Value;

using Dims = std::vector<Dim>;

bool is_last(int64_t axis, const Value* value) { return axis == -1 || axis == value->tensor().rank() - 1; }

/// Whether a Slice takes [from, to) of its last axis.
bool takes(const Node& slice, int64_t from, int64_t to) {
  const Value* x = slice.input(0);
  auto start = ir::constant_ints(slice.input(1)), end = ir::constant_ints(slice.input(2));
  auto axis = ir::constant_ints(slice.input(3)), step = ir::constant_ints(slice.input(4));
  if (!ranked(x) || !start || !end || !axis || start->size() != 1 || end->size() != 1 || axis->size() != 1) return false;
  const Dim size = dims_of(x).back();
  if (!size.is_const() || !is_last((*axis)[0], x) || (slice.has_input(4) && (!step || *step != std::vector<int64_t>{1}))) return false;
  auto place = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size.value() : at, 0, size.value()); };
  return place((*start)[0]) == from && place((*end)[0]) == to;
}

/// The first half of a constant's last axis, when the second is the same.
Value* half_of_constant(Builder& b, const Tensor& tensor) {
  if (tensor.rank() < 1 || tensor.size() == 0 || tensor.dim(tensor.rank() - 1) % 2 != 0) return nullptr;
  Shape shape = tensor.shape();
  int64_t size = shape.back(), half = shape.back() /= 2;
  auto out = Tensor::zeros(tensor.dtype(), std::move(shape));
  if (!out.ok()) return nullptr;
  for (int64_t i = 0; i < out->size(); ++i) {
    int64_t from = i / half * size + i % half;
    double value = tensor.at_double(from);
    if (tensor.at_double(from + half) != value) return nullptr;
    out->set_double(i, value);
  }
  return b.constant(std::move(*out));
}

/// The first half of the last axis of cosines or sines whose second half is the same, as the caches of RotaryEmbedding
/// are: angles f were written Concat(f, f). Axes of 1 are dropped on the way. Null where that cannot be seen.
Value* half_of(Builder& b, Value* value, int depth = 0) {
  constexpr int kMaxDepth = 8;
  if (!ranked(value) || dims_of(value).empty() || depth > kMaxDepth) return nullptr;
  if (const Tensor* tensor = ir::constant_of(value)) return half_of_constant(b, *tensor);
  const Node* node = value->def();
  if (!node) return nullptr;
  auto inner = [&](int i) { return half_of(b, node->input(i), depth + 1); };
  if (node->is("Concat"))
    return node->num_inputs() == 2 && node->input(0) == node->input(1) && is_last(node->attr_int("axis", 0), value) ? node->input(0)
                                                                                                                    : nullptr;
  if (node->is("Cos") || node->is("Sin") || node->is("Cast")) {
    Value* half = inner(0);
    std::vector<std::pair<std::string, ir::Attr>> attrs(node->attrs().begin(), node->attrs().end());
    return half ? b.make_n(node->op_name(), std::span(&half, 1), 1, std::move(attrs))[0] : nullptr;
  }
  if (node->is("Mul")) {
    int by = number_of(node->input(1)) ? 1 : 0;
    Value* half = number_of(node->input(by)) ? inner(1 - by) : nullptr;
    return half ? b.make("Mul", {half, node->input(by)}) : nullptr;
  }
  if (node->is("Gather") && node->attr_int("axis", 0) == 0 && ranked(node->input(0)) && dims_of(node->input(0)).size() == 2) {
    Value* half = inner(0);
    return half ? b.make("Gather", {half, node->input(1)}, {{"axis", int64_t{0}}}) : nullptr;
  }
  if (!node->is("Unsqueeze") && !node->is("Reshape") && !node->is("tenon.reshape")) return nullptr;
  if (!ranked(node->input(0))) return nullptr;
  Dims out = dims_of(value), in = dims_of(node->input(0));
  std::erase_if(out, [](Dim d) { return d.is_const(1); });
  std::erase_if(in, [](Dim d) { return d.is_const(1); });
  return out == in ? inner(0) : nullptr;
}

/// cos or sin, which broadcast to x [B, N, S, D], as a cache [B, S, D/2].
Value* cache_of(Value* cosines, const Value* x, Builder& b) {
  const Dims &have = dims_of(cosines), &want = dims_of(x);
  // [B, 1, S, D], or without leading axes
  Dims full(want.size() - std::min(want.size(), have.size()), 1);
  full.insert(full.end(), have.begin(), have.end());
  if (full.size() != 4 || (full[0] != want[0] && !full[0].is_const(1)) || !full[1].is_const(1) || full[2] != want[2] || full[3] != want[3])
    return nullptr;
  Value* half = half_of(b, cosines);
  if (!half) return nullptr;
  half = reshape_to(b, half, {full[0], full[2], want[3].value() / 2});
  if (full[0] == want[0]) return half;
  return b.make("tenon.expand", {half}, {{"dims", Dims{want[0], full[2], want[3].value() / 2}}});
}

/// x cos + [-x₂, x₁] sin: rotate_half of GPT-NeoX and Llama.
Value* rotary(const Match& m, Builder& b) {
  Value* x = m["x"];
  if (!ranked(x) || dims_of(x).size() != 4 || !ranked(m["cos"]) || !ranked(m["sin"])) return nullptr;
  Dim size = dims_of(x)[3];
  if (!size.is_const() || size.value() < 2 || size.value() % 2 != 0) return nullptr;
  int64_t half = size.value() / 2;
  if (!is_last(m.node("turned").attr_int("axis", 0), x)) return nullptr;
  if (!takes(m.node("high"), half, size.value()) || !takes(m.node("low"), 0, half)) return nullptr;
  Value *cosines = cache_of(m["cos"], x, b), *sines = cosines ? cache_of(m["sin"], x, b) : nullptr;
  return sines ? b.make("RotaryEmbedding", {x, cosines, sines}) : nullptr;
}

/// The first components rotated, the others as they are.
Value* partial_rotary(const Match& m, Builder& b) {
  Value* x = m["x"];
  const Node& inner = m.node("rotary");
  if (!ranked(x) || dims_of(x).size() != 4 || !is_last(m.root().attr_int("axis", 0), x)) return nullptr;
  Dim size = dims_of(x)[3], rotated = dims_of(m["first"])[3];
  if (!size.is_const() || !rotated.is_const() || inner.attrs().has("rotary_embedding_dim")) return nullptr;
  if (!takes(m.node("first"), 0, rotated.value()) || !takes(m.node("rest"), rotated.value(), size.value())) return nullptr;
  return b.make("RotaryEmbedding", {x, m["cos"], m["sin"]}, {{"rotary_embedding_dim", rotated.value()}});
}

Pattern slice(const Pattern& x, std::string_view name) { return op("Slice", {x}).and_more().as(name); }

std::vector<RaiseRule> make_rules() {
  const Pattern x = any("x"), cosines = any("cos"), sines = any("sin");
  const Pattern turned = op("Concat", {-slice(x, "high"), slice(x, "low")}).as("turned");
  return {
      {x * cosines + turned * sines, rotary},
      {op("Concat", {op("RotaryEmbedding", {slice(x, "first"), cosines, sines}).as("rotary"), slice(x, "rest")}), partial_rotary},
  };
}

}  // namespace

std::span<const RaiseRule> rotary_rules() {
  static const auto* rules = new std::vector<RaiseRule>(make_rules());
  return *rules;
}

}  // namespace tenon::passes
