#include "eval/debug/cut.h"

#include <algorithm>
#include <set>

#include "ir/op.h"
#include "ir/symbols.h"

namespace tenon::eval {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

constexpr int64_t kMaxShapeElements = 64;  // integers that stand for shapes become constants

ir::TensorType type_of(const Tensor& tensor) {
  return {tensor.dtype(), std::vector<ir::Dim>(tensor.shape().begin(), tensor.shape().end())};
}

/// The values of `graph` that a node reads, in its operands and in its regions.
void collect_reads(const Node& node, const Graph& graph, std::vector<const Value*>& reads) {
  for (const Value* input : node.inputs())
    if (input != nullptr && input->graph() == &graph) reads.push_back(input);
  for (const auto& region : node.regions()) {
    for (const auto& inner : region->nodes()) collect_reads(*inner, graph, reads);
    for (const Value* output : region->outputs())
      if (output->graph() == &graph) reads.push_back(output);
  }
}

class Cutter {
 public:
  Cutter(const Graph& from, const std::vector<HostValue>& inputs) : graph_(from.clone()) {
    for (size_t i = 0; i < graph_->inputs().size() && i < inputs.size(); ++i) contents_[graph_->inputs()[i]] = inputs[i];
    for (Value* input : graph_->inputs()) values_[input->name()] = input;
    for (const auto& node : graph_->nodes())
      for (Value* output : node->outputs()) values_[output->name()] = output;
  }

  Result<Cut> run(const std::vector<std::string>& outputs, const std::map<std::string, HostValue>& given) {
    TENON_RETURN_IF_ERROR(set_outputs(outputs));
    for (const auto& [name, value] : given) TENON_RETURN_IF_ERROR(give(name, value));
    drop_unused();
    TENON_RETURN_IF_ERROR(bind_symbols());
    forget_types();
    TENON_RETURN_IF_ERROR(ir::infer_graph(*graph_));
    Cut out;
    for (const Value* input : graph_->inputs()) out.inputs.push_back(contents_.at(input));
    out.graph = std::move(graph_);
    return out;
  }

 private:
  Result<Value*> find(const std::string& name) const {
    const auto found = values_.find(name);
    if (found != values_.end()) return found->second;
    return Status(Code::kNotFound, fmt::format("the graph has no value '{}'", name));
  }

  Status set_outputs(const std::vector<std::string>& names) {
    for (int i = static_cast<int>(graph_->outputs().size()); i-- > 0;) graph_->remove_output(i);
    for (const std::string& name : names) {
      TENON_ASSIGN_OR_RETURN(Value* const value, find(name));
      graph_->add_output(value);
    }
    return {};
  }

  Status give(const std::string& name, const HostValue& host) {
    TENON_ASSIGN_OR_RETURN(Value* const value, find(name));
    const auto* tensor = std::get_if<Tensor>(&host);
    if (tensor == nullptr) return Status(Code::kUnsupported, fmt::format("value '{}' is no tensor", name));
    if (value->def() == nullptr || value->num_output_uses() > 0) return {};  // an input already, or what is asked for
    value->set_name(graph_->unique_name(name));
    Value* made = nullptr;
    if (is_int(tensor->dtype()) && tensor->rank() <= 1 && tensor->size() <= kMaxShapeElements) {
      Node* const constant = graph_->create(*ir::find_op("Constant"), {}, 1, graph_->first());
      constant->attrs().set("value", *tensor);
      made = constant->output();
      made->set_name(name);
    } else {
      made = graph_->add_input(name, type_of(*tensor));
      contents_[made] = host;
    }
    made->set_type(type_of(*tensor));
    graph_->replace_all_uses(value, made);
    return {};
  }

  void drop_unused() {
    for (Node* node = graph_->nodes().empty() ? nullptr : graph_->nodes().back().get(); node != nullptr;) {
      Node* const before = node->prev();
      if (std::ranges::all_of(node->outputs(), [](const Value* output) { return output->unused(); })) graph_->erase(node);
      node = before;
    }
    for (int i = static_cast<int>(graph_->inputs().size()); i-- > 0;)
      if (graph_->inputs()[static_cast<size_t>(i)]->unused()) {
        contents_.erase(graph_->inputs()[static_cast<size_t>(i)]);
        graph_->remove_input(i);
      }
  }

  /// Inputs get the shapes of their contents; symbols that these settle become numbers everywhere.
  Status bind_symbols() {
    ir::SymbolMap map;
    for (Value* input : graph_->inputs()) {
      const auto found = contents_.find(input);
      if (found == contents_.end()) return Status(Code::kInternal, fmt::format("input '{}' has no contents", input->name()));
      const auto* tensor = std::get_if<Tensor>(&found->second);
      if (tensor == nullptr) continue;
      if (input->type().is_ranked_tensor() && input->tensor().rank() == tensor->rank())
        for (int axis = 0; axis < input->tensor().rank(); ++axis)
          if (const ir::Dim& dim = input->tensor().dim(axis); dim.is_symbol()) map.emplace(dim.symbol_id(), ir::Dim(tensor->dim(axis)));
      input->set_type(type_of(*tensor));
    }
    ir::replace_symbols(*graph_, map);
    return {};
  }

  /// What was inferred for the whole graph, with its symbols, is inferred anew.
  void forget_types() {
    ir::walk(*graph_, [](Node& node) {
      if (node.is("Constant")) return;
      for (Value* output : node.outputs()) {
        if (!output->type().is_tensor() && output->type().known()) continue;
        output->set_type(ir::Type());
        output->set_dim_values(std::nullopt);
      }
    });
    graph_->forget_assumptions();
  }

  std::unique_ptr<Graph> graph_;
  std::unordered_map<std::string, Value*> values_;
  std::unordered_map<const Value*, HostValue> contents_;
};

}  // namespace

std::string describe(const Node& node) {
  return fmt::format("{} '{}'", node.op_name(), node.name().empty() && node.num_outputs() > 0 ? node.output()->name() : node.name());
}

Region region_of(const Value& value, const std::unordered_set<std::string>& known) {
  Region out;
  if (value.def() == nullptr) return out;
  const Graph& graph = *value.graph();
  std::unordered_set<const Node*> inside = {value.def()};
  std::unordered_set<const Value*> inputs;
  std::vector<const Node*> work = {value.def()};
  while (!work.empty()) {
    const Node* const node = work.back();
    work.pop_back();
    std::vector<const Value*> reads;
    collect_reads(*node, graph, reads);
    for (const Value* read : reads) {
      if (read->def() != nullptr && read->def()->is("Constant")) continue;
      if (read->def() == nullptr || known.contains(read->name())) {
        if (inputs.insert(read).second) out.inputs.push_back(read);
      } else if (inside.insert(read->def()).second) {
        work.push_back(read->def());
      }
    }
  }
  for (const auto& node : graph.nodes())
    if (inside.contains(node.get())) out.nodes.push_back(node.get());
  return out;
}

Result<Cut> cut(const Graph& from, const std::vector<HostValue>& inputs, const std::vector<std::string>& outputs,
                const std::map<std::string, HostValue>& given) {
  return Cutter(from, inputs).run(outputs, given);
}

size_t count_operations(const Graph& graph) {
  return static_cast<size_t>(std::ranges::count_if(graph.nodes(), [](const auto& node) { return !node->is("Constant"); }));
}

}  // namespace tenon::eval
