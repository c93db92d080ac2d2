#include <algorithm>

#include "passes/facts.h"
#include "passes/simplify_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Node;
using ir::Value;

/// The input, when it has the output's type and `node` moves nothing.
Value* if_same_shape(const Node& node) {
  return ranked(node.input(0)) && node.input(0)->type() == node.output()->type() ? node.input(0) : nullptr;
}

bool all_equal(const Value* value, int64_t wanted) {
  auto ints = ir::constant_ints(value);
  return ints && std::ranges::all_of(*ints, [&](int64_t v) { return v == wanted; });
}

// ---- Transpose

/// Axes longer than 1 keep their order: only the shape changes.
bool moves_only_ones(const std::vector<int64_t>& perm, const std::vector<Dim>& from) {
  int64_t last = -1;
  for (int64_t axis : perm) {
    if (from[static_cast<size_t>(axis)].is_const(1)) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

/// A matrix product whose axes i and i + 1 are seen as one and then moved (grouped heads): moved first, it is one transposition
/// of what the product computes, and a view of that.
Value* transpose_before_merge(const Node& node, const std::vector<int64_t>& perm, Builder& b) {
  const Node* merge = def_of(node.input(0), "tenon.reshape");
  if (!merge || !merge->output()->has_one_use() || !def_of(merge->input(0), "MatMul") || !ranked(merge->input(0))) return nullptr;
  const std::vector<Dim>&from = dims_of(merge->input(0)), &to = dims_of(merge->output());
  if (from.size() != to.size() + 1 || !ranked(node.output())) return nullptr;
  size_t at = 0;
  while (at < to.size() && from[at] == to[at]) ++at;
  if (at == to.size() || from[at] * from[at + 1] != to[at] || !std::equal(to.begin() + static_cast<int64_t>(at) + 1, to.end(), from.begin() + static_cast<int64_t>(at) + 2)) return nullptr;
  std::vector<int64_t> wide;
  for (int64_t axis : perm) {
    const auto i = static_cast<size_t>(axis);
    wide.push_back(i > at ? axis + 1 : axis);
    if (i == at) wide.push_back(axis + 1);
  }
  return b.make("tenon.reshape", {b.make("Transpose", {merge->input(0)}, {{"perm", wide}})}, {{"dims", dims_of(node.output())}});
}

Value* simplify_transpose(Node& node, Builder& b) {
  auto perm = permutation(node);
  if (!perm) return nullptr;
  if (std::ranges::is_sorted(*perm)) return node.input(0);
  if (moves_only_ones(*perm, dims_of(node.input(0))) && ranked(node.output()))
    return b.make("tenon.reshape", {node.input(0)}, {{"dims", dims_of(node.output())}});
  if (Value* moved = transpose_before_merge(node, *perm, b)) return moved;
  const Node* inner = def_of(node.input(0), "Transpose");
  auto first = inner ? permutation(*inner) : std::nullopt;
  if (!first) return nullptr;
  for (int64_t& axis : *perm) axis = (*first)[static_cast<size_t>(axis)];
  return b.make("Transpose", {inner->input(0)}, {{"perm", *perm}});
}

// ---- Reshape, expand

Value* simplify_reshape(Node& node, Builder& b) {
  if (Value* same = if_same_shape(node)) return same;
  const Node* inner = def_of(node.input(0), "tenon.reshape");
  if (!inner) return nullptr;
  return b.make("tenon.reshape", {inner->input(0)}, {{"dims", *node.attr_dims("dims")}});
}

Value* simplify_expand(Node& node, Builder& b) {
  if (Value* same = if_same_shape(node)) return same;
  const Node* inner = def_of(node.input(0), "tenon.expand");
  if (!inner) return nullptr;
  return b.make("tenon.expand", {inner->input(0)}, {{"dims", *node.attr_dims("dims")}});
}

/// The target of Expand as dims, when inference knows it.
std::optional<std::vector<Dim>> target_dims(const Value* shape) {
  if (!shape) return std::nullopt;
  if (shape->dim_values()) return shape->dim_values();
  auto ints = ir::constant_ints(shape);
  if (!ints || ints->size() > 64) return std::nullopt;
  return std::vector<Dim>(ints->begin(), ints->end());
}

/// Expand to a shape that is known and needs no check at run time.
Value* expand_to_dims(Node& node, Builder& b) {
  auto target = target_dims(node.input(1));
  if (!target || !ranked(node.input(0)) || !ranked(node.output())) return nullptr;
  const std::vector<Dim>&from = dims_of(node.input(0)), &to = dims_of(node.output());
  if (to.size() != std::max(from.size(), target->size())) return nullptr;
  for (size_t i = 0; i < to.size(); ++i) {
    Dim in = i + from.size() < to.size() ? Dim(1) : from[i + from.size() - to.size()];
    Dim wanted = i + target->size() < to.size() ? Dim(1) : (*target)[i + target->size() - to.size()];
    bool sure = (in.is_const(1) && wanted == to[i]) || (in == to[i] && (wanted == in || wanted.is_const(1)));
    if (!sure) return nullptr;
  }
  return b.make("tenon.expand", {node.input(0)}, {{"dims", to}});
}

/// A splat of a known shape: the scalar, expanded.
Value* splat_to_dims(Node& node, Builder& b) {
  auto target = target_dims(node.input(0));
  if (!target || !ranked(node.output()) || *target != dims_of(node.output())) return nullptr;
  for (const Dim& dim : *target)
    if (!known_le(0, dim)) return nullptr;
  const Tensor* value = node.attr_tensor("value");
  auto scalar = value && value->size() == 1 ? value->reshaped({}) : Tensor::zeros(node.output()->dtype(), {});
  if (!scalar.ok()) return nullptr;
  return b.make("tenon.expand", {b.constant(std::move(*scalar))}, {{"dims", *target}});
}

// ---- Slice, pad, concat, split, tile

/// Steps of 1 that leave the shape as it is take everything.
Value* drop_slice(Node& node, Builder&) {
  return !node.has_input(4) || all_equal(node.input(4), 1) ? if_same_shape(node) : nullptr;
}

Value* drop_pad(Node& node, Builder&) { return all_equal(node.input(1), 0) ? if_same_shape(node) : nullptr; }

Value* drop_tile(Node& node, Builder&) { return all_equal(node.input(1), 1) ? if_same_shape(node) : nullptr; }

Value* drop_split(Node& node, Builder&) { return node.num_outputs() == 1 ? if_same_shape(node) : nullptr; }

/// One operand is the result; operands without elements add nothing; a concat of a concat on the same axis is one.
Value* simplify_concat(Node& node, Builder& b) {
  if (node.num_inputs() == 1) return if_same_shape(node);
  if (!ranked(node.output())) return nullptr;
  int64_t rank = node.output()->tensor().rank(), axis = node.attr_int("axis", 0);
  if (axis < 0) axis += rank;
  auto flattens = [&](const Value* input) {
    const Node* inner = def_of(input, "Concat");
    if (!inner || !input->has_one_use() || !ranked(input)) return false;
    int64_t inner_axis = inner->attr_int("axis", 0);
    return (inner_axis < 0 ? inner_axis + rank : inner_axis) == axis;
  };
  std::vector<Value*> parts;
  for (Value* input : node.inputs()) {
    if (ranked(input) && input->tensor().dim(axis).is_const(0)) continue;
    if (flattens(input)) {
      parts.insert(parts.end(), input->def()->inputs().begin(), input->def()->inputs().end());
    } else {
      parts.push_back(input);
    }
  }
  if (parts.empty() || std::ranges::equal(parts, node.inputs())) return nullptr;
  if (parts.size() == 1) return parts[0]->type() == node.output()->type() ? parts[0] : nullptr;
  return b.make_n("Concat", parts, 1, {{"axis", ir::Attr(axis)}})[0];
}

constexpr Rule kRules[] = {
    {"Transpose", simplify_transpose},
    {"tenon.reshape", simplify_reshape},
    {"tenon.expand", simplify_expand},
    {"Expand", expand_to_dims},
    {"ConstantOfShape", splat_to_dims},
    {"Slice", drop_slice},
    {"Pad", drop_pad},
    {"Tile", drop_tile},
    {"Split", drop_split},
    {"Concat", simplify_concat},
};

}  // namespace

std::span<const Rule> shape_rules() { return kRules; }

}  // namespace tenon::passes
