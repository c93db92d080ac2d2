#include <algorithm>
#include <map>

#include "ir/op.h"
#include "ir/symbols.h"
#include "passes/passes.h"
#include "passes/patch.h"

namespace tenon::passes {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

constexpr int64_t kMaxValues = 32;  // of tenon.as_dims

/// A few integers that only run time knows.
bool unknown_integers(const Value* value) {
  if (value == nullptr || !value->type().is_ranked_tensor() || value->dim_values() || ir::constant_of(value) != nullptr)
    return false;
  if (value->dtype() != DType::kI64 && value->dtype() != DType::kI32) return false;
  const Dim count = value->tensor().count();
  return value->tensor().rank() <= 1 && count.is_const() && count.value() > 0 && count.value() <= kMaxValues;
}

/// Kernels can compute the node: the shapes of its results are known before it runs, and so is how they come about.
bool computable(const Node& node) {
  for (const Value* output : node.outputs()) {
    if (!output->type().is_ranked_tensor()) return false;
    for (int axis = 0; axis < output->tensor().rank(); ++axis)
      if (ir::binds_symbol(*output, axis)) return false;
  }
  return node.op().compute.body == nullptr || node.op().compute.body(node).ok();
}

bool wanted(const Node& node) {
  const ir::Compute& compute = node.op().compute;
  const bool candidate = (compute.body != nullptr || compute.decompose != nullptr) && !compute.structural &&
                         !node.op().side_effects && node.num_regions() == 0;
  if (!candidate || std::ranges::none_of(node.inputs(), unknown_integers)) return false;
  const auto ranked = [](const Value* v) { return v == nullptr || v->type().is_ranked_tensor(); };
  return std::ranges::all_of(node.inputs(), ranked) && !computable(node);
}

class Reader {
 public:
  explicit Reader(PassContext& context) : context_(context) {}

  Result<bool> run(Graph& graph) {
    bool changed = false;
    for (Node* node = graph.first(); node != nullptr;) {
      for (const auto& region : node->regions()) {
        TENON_ASSIGN_OR_RETURN(const bool inner, run(*region));
        changed |= inner;
      }
      Node* next = node->next();
      if (changed && node->num_regions() == 0 && node->num_inputs() > 0) TENON_RETURN_IF_ERROR(ir::infer_again(*node));
      if (wanted(*node)) {
        TENON_ASSIGN_OR_RETURN(const bool done, read(*node));
        changed |= done;
      }
      node = next;
    }
    return changed;
  }

 private:
  /// The node with those operands made of dims, when that makes it computable.
  Result<bool> read(Node& node) {
    Patch patch(node);
    ir::Builder& b = patch.builder();
    std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
    std::map<Value*, Value*> made;
    for (Value*& input : inputs) {
      if (!unknown_integers(input)) continue;
      Value*& values = made[input];
      if (values == nullptr) values = of_dims(b, input);
      if (values == nullptr) return b.status();
      input = values;
    }
    std::vector<std::pair<std::string, ir::Attr>> attrs(node.attrs().begin(), node.attrs().end());
    const std::vector<Value*> outputs = b.make_n(node.op_name(), inputs, node.num_outputs(), std::move(attrs));
    if (!b.status().ok() || !computable(*outputs[0]->def())) return false;
    return patch.replace(context_, outputs);
  }

  static Value* of_dims(ir::Builder& b, Value* integers) {
    Value* shape = b.make("tenon.as_dims", {integers});
    if (shape == nullptr) return nullptr;
    const std::vector<Dim>& parts = *shape->tensor().dims;
    std::vector<Dim> values;
    for (size_t i = 1; i + 2 < parts.size(); i += 3) values.push_back(parts[i] - parts[i + 1] - parts[i + 2]);
    const int64_t scalar = integers->tensor().rank() == 0 ? 1 : 0;
    Value* made = b.make("tenon.dim_values", {}, {{"dims", std::move(values)}, {"scalar", scalar}});
    if (made == nullptr || integers->dtype() == DType::kI64) return made;
    return b.make("Cast", {made}, {{"to", int64_t{info(integers->dtype()).onnx}}});
  }

  PassContext& context_;
};

}  // namespace

Result<bool> read_contents(Graph& graph, PassContext& context) { return Reader(context).run(graph); }

}  // namespace tenon::passes
