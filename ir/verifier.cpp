#include "ir/verifier.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "ir/op.h"
#include "ir/storage_order.h"

namespace tenon::ir {
namespace {

class Verifier {
 public:
  explicit Verifier(const VerifyOptions& options) : options_(options) {}

  Status run(const Graph& graph) {
    TENON_RETURN_IF_ERROR(check_graph(graph, 0));
    for (const auto& [value, counts] : counts_) {
      TENON_RETURN_IF_ERROR(check_uses(*value, counts.operands));
      if (static_cast<size_t>(value->num_output_uses()) != counts.outputs)
        return fail("the value '{}' counts {} uses as output and has {}", value->name(), value->num_output_uses(),
                    counts.outputs);
    }
    return {};
  }

 private:
  struct Counts {
    size_t operands = 0, outputs = 0;
  };

  template <class... Args>
  static Status fail(fmt::format_string<Args...> format, Args&&... args) {
    return error(Code::kInternal, format, std::forward<Args>(args)...);
  }

  Status define(const Value& value, const Graph& graph) {
    if (value.name().empty()) return fail("a value of {} has no name", to_string(value.type()));
    if (!names_.insert(value.name()).second) return fail("two values are named '{}'", value.name());
    if (value.graph() != &graph) return fail("the value '{}' belongs to another graph", value.name());
    visible_.insert(&value);
    counts_.try_emplace(&value);
    TENON_RETURN_IF_ERROR(check_storage_order(value));
    if (options_.types) TENON_RETURN_IF_ERROR(check_type(value));
    return {};
  }

  /// What others than one graph's kernels see is row-major.
  static Status check_storage_order(const Value& value) {
    if (storage_order(value).empty()) return {};
    if (value.num_output_uses() > 0 || (value.def()->op().num_regions > 0 && !value.def()->is("tenon.fused")))
      return fail("'{}' leaves its graph and is not row-major", value.name());
    for (const Use& use : value.uses())
      if (use.node->graph() != value.graph()) return fail("'{}' is not row-major and used in a region", value.name());
    return {};
  }

  static Status check_type(const Value& value) {
    const Type& type = value.type();
    if (!type.known()) return error(Code::kInvalidModel, "the value '{}' has no type", value.name());
    if (!type.is_ranked_tensor()) return {};
    for (const Dim& dim : *type.tensor().dims)
      if (!dim.is_valid() || (dim.is_const() && dim.value() < 0))
        return error(Code::kInvalidModel, "the value '{}' has the type {}", value.name(), to_string(type));
    return {};
  }

  /// As many uses as operands, all different and each of them one: then the lists are equal.
  Status check_uses(const Value& value, size_t operands) const {
    if (value.uses().size() != operands)
      return fail("the value '{}' lists {} uses and has {}", value.name(), value.uses().size(), operands);
    std::vector<std::pair<const Node*, int>> uses;
    for (const Use& use : value.uses()) {
      if (!nodes_.contains(use.node) || use.node->input(use.index) != &value)
        return fail("the value '{}' lists a use that is none", value.name());
      uses.emplace_back(use.node, use.index);
    }
    std::ranges::sort(uses);
    if (std::ranges::adjacent_find(uses) != uses.end())
      return fail("the value '{}' lists a use twice", value.name());
    return {};
  }

  Status check_operands(const Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i) {
      const Value* input = node.input(i);
      if (!input) continue;
      // Membership first: a value that is not visible may no longer exist.
      if (!visible_.contains(input))
        return fail("operand {} of the {} node '{}' is used before its definition or outside its graph", i,
                    node.op_name(), node.name());
      ++counts_[input].operands;
    }
    return {};
  }

  Status check_node(const Node& node, const Graph& graph, int depth) {
    nodes_.insert(&node);
    if (node.graph() != &graph) return fail("the {} node '{}' belongs to another graph", node.op_name(), node.name());
    TENON_RETURN_IF_ERROR(check_operands(node));
    TENON_RETURN_IF_ERROR(check_node_form(node));
    for (const auto& region : node.regions()) {
      if (region->parent() != &node) return fail("a region of the {} node '{}' has another owner", node.op_name(), node.name());
      if (region->shared_dims() != graph.shared_dims())
        return fail("a region of the {} node '{}' has dims of its own", node.op_name(), node.name());
      TENON_RETURN_IF_ERROR(check_graph(*region, depth + 1));
    }
    for (int i = 0; i < node.num_outputs(); ++i) {
      const Value& output = *node.output(i);
      if (output.def() != &node || output.def_index() != i)
        return fail("the value '{}' does not know the {} node that makes it", output.name(), node.op_name());
      TENON_RETURN_IF_ERROR(define(output, graph));
    }
    return options_.types ? check_node_types(node) : Status();
  }

  Status check_graph(const Graph& graph, int depth) {
    if (depth > kMaxRegionDepth)
      return error(Code::kInvalidModel, "regions nest more than {} deep", kMaxRegionDepth);
    for (const Value* input : graph.inputs()) {
      if (input->def()) return fail("the graph input '{}' is made by a node", input->name());
      TENON_RETURN_IF_ERROR(define(*input, graph));
    }
    for (const auto& node : graph.nodes()) TENON_RETURN_IF_ERROR(check_node(*node, graph, depth));
    for (const Value* output : graph.outputs()) {
      if (!visible_.contains(output)) return fail("output of the graph '{}' is not defined in it", graph.name);
      ++counts_[output].outputs;
    }
    for (const Value* input : graph.inputs()) visible_.erase(input);
    for (const auto& node : graph.nodes())
      for (const Value* output : node->outputs()) visible_.erase(output);
    return {};
  }

  const VerifyOptions& options_;
  std::unordered_set<const Value*> visible_;
  std::unordered_set<const Node*> nodes_;
  std::unordered_set<std::string_view> names_;
  std::unordered_map<const Value*, Counts> counts_;
};

}  // namespace

Status verify(const Graph& graph, const VerifyOptions& options) { return Verifier(options).run(graph); }

}  // namespace tenon::ir
