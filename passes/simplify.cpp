#include "passes/simplify_rules.h"

#include <unordered_map>

#include "ir/symbols.h"
#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/rewrite.h"

namespace tenon::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

constexpr int kMaxRounds = 16;

const std::vector<const Rule*>* rules_of(std::string_view op) {
  static const auto* table = [] {
    auto* made = new std::unordered_map<std::string_view, std::vector<const Rule*>>;
    for (std::span<const Rule> family : {arithmetic_rules(), shape_rules(), sequence_rules()})
      for (const Rule& rule : family) (*made)[rule.op].push_back(&rule);
    return made;
  }();
  auto it = table->find(op);
  return it == table->end() ? nullptr : &it->second;
}

bool only_first_used(const Node& node) {
  for (int i = 1; i < node.num_outputs(); ++i)
    if (!node.output(i)->unused()) return false;
  return node.num_outputs() > 0 && !node.output(0)->unused();
}

class Simplifier {
 public:
  explicit Simplifier(PassContext& context) : context_(context) {}

  Result<bool> run(Graph& graph) {
    return rewrite_nodes(graph, context_, [&](Node& node, Node*& next) { return simplify_node(node, next); });
  }

 private:
  /// `next` becomes the first new node, so that rules see those too.
  Result<bool> simplify_node(Node& node, Node*& next) {
    const auto* rules = rules_of(node.op_name());
    if (changed_ && node.num_regions() == 0 && node.num_inputs() > 0) TENON_RETURN_IF_ERROR(ir::infer_again(node));
    if (!rules || !only_first_used(node)) return false;
    for (const Rule* rule : *rules) {
      Patch patch(node);
      Value* value = rule->apply(node, patch.builder());
      TENON_RETURN_IF_ERROR(Status(patch.builder().status()));
      if (!value) continue;
      Node* first = patch.first_built();
      TENON_ASSIGN_OR_RETURN(bool done, patch.replace(context_, value));
      if (!done) return false;
      if (first) next = first;
      changed_ = true;
      return true;
    }
    return false;
  }

  PassContext& context_;
  bool changed_ = false;
};

}  // namespace

Result<bool> simplify(Graph& graph, PassContext& context) {
  bool changed = false;
  for (int round = 0; round < kMaxRounds; ++round) {
    TENON_ASSIGN_OR_RETURN(bool again, Simplifier(context).run(graph));
    changed |= again;
    if (!again) break;
  }
  return changed;
}

}  // namespace tenon::passes
