#include <algorithm>

#include "ir/op.h"
#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/rewrite.h"

namespace tenon::passes {
namespace {

using ir::Dim;
using ir::Node;
using ir::Value;

/// Parts of one tensor along an axis, of known sizes and each with one reader, which can then read its part where it lies.
Result<bool> slice(Node& node, PassContext& context) {
  if (!node.is("Split") || !node.input(0)->type().is_ranked_tensor()) return false;
  const int64_t rank = node.input(0)->tensor().rank();
  int64_t axis = node.attr_int("axis", 0);
  axis += axis < 0 ? rank : 0;
  const auto simple = [&](const Value* v) {
    return v->type().is_ranked_tensor() && v->tensor().dim(axis).is_const() && v->num_output_uses() == 0 && v->uses().size() <= 1;
  };
  if (node.num_outputs() < 2 || !std::ranges::all_of(node.outputs(), simple)) return false;
  Patch patch(node);
  ir::Builder& b = patch.builder();
  std::vector<Value*> parts;
  int64_t at = 0;
  for (const Value* v : node.outputs()) {
    const int64_t end = at + v->tensor().dim(axis).value();
    parts.push_back(v->unused() ? nullptr : b.make("Slice", {node.input(0), b.ints({at}), b.ints({end}), b.ints({axis})}));
    at = end;
  }
  return patch.replace(context, parts);
}

}  // namespace

Result<bool> slice_splits(ir::Graph& graph, PassContext& context) {
  return rewrite_nodes(graph, context, [&](Node& node, Node*&) { return slice(node, context); });
}

}  // namespace tenon::passes
