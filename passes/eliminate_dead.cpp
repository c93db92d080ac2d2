#include <algorithm>
#include <unordered_set>

#include "ir/symbols.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

/// Users before what they use, so that one sweep is enough. A node whose results nobody reads stays while something
/// needs a dim that their shapes bind.
class Sweep {
 public:
  explicit Sweep(PassContext& context) : context_(context) {}

  bool run(Graph& graph) {
    bool changed = false;
    for (Value* input : graph.inputs()) need(*input);
    for (Node* node = graph.nodes().empty() ? nullptr : graph.nodes().back().get(); node;) {
      ++context_.steps;
      Node* previous = node->prev();
      if (dead(*node)) {
        if (!context_.take_rewrite(*node)) return changed;
        graph.erase(node);
        changed = true;
      } else {
        for (const auto& region : node->regions()) changed |= run(*region);
        need(*node);
      }
      node = previous;
    }
    return changed;
  }

 private:
  bool dead(const Node& node) const {
    return std::ranges::all_of(node.outputs(), [&](const Value* output) {
      if (!output->unused()) return false;
      if (!output->type().is_ranked_tensor()) return true;
      for (int axis = 0; axis < output->tensor().rank(); ++axis)
        if (ir::binds_symbol(*output, axis) && symbols_.contains(output->tensor().dim(axis).symbol_id())) return false;
      return true;
    });
  }

  void need(const std::vector<ir::Dim>& dims) {
    std::vector<int> ids;
    for (const ir::Dim& dim : dims) collect_symbols(dim, ids);
    symbols_.insert(ids.begin(), ids.end());
  }

  void need(const Value& value) {
    if (value.type().is_ranked_tensor()) need(*value.tensor().dims);
  }

  void need(const Node& node) {
    for (const Value* output : node.outputs()) need(*output);
    for (const auto& [name, attr] : node.attrs())
      if (const auto* dims = std::get_if<std::vector<ir::Dim>>(&attr)) need(*dims);
  }

  PassContext& context_;
  std::unordered_set<int> symbols_;  // that live nodes mention
};

}  // namespace

Result<bool> eliminate_dead(Graph& graph, PassContext& context) { return Sweep(context).run(graph); }

}  // namespace tenon::passes
