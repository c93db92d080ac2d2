#include <algorithm>
#include <unordered_map>

#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/raise_rules.h"

namespace tenon::passes {

using ir::Graph;
using ir::Node;
using ir::Value;

// ---- Shorthand for rules

Pattern reshaped(const Pattern& p, std::string_view name) {
  return op("Reshape|tenon.reshape|Unsqueeze|Squeeze|Flatten", {p}).and_more().as(name);
}

Pattern reduced(std::string_view name, const Pattern& p, std::string_view capture) {
  return op(name, {p}).and_more().as(capture);
}

bool keeps_dims(const Node& node) { return node.attr_int("keepdims", 1) != 0; }

Value* reshape_to(ir::Builder& b, Value* value, std::vector<ir::Dim> dims) {
  if (!ranked(value) || dims_of(value) == dims) return value;
  if (const Tensor* tensor = ir::constant_of(value)) {
    Shape shape;
    for (const ir::Dim& dim : dims) shape.push_back(dim.is_const() ? dim.value() : -1);
    auto same = tensor->reshaped(std::move(shape));
    return same.ok() ? b.constant(std::move(*same)) : nullptr;
  }
  return b.make("tenon.reshape", {value}, {{"dims", std::move(dims)}});
}

Value* filled(ir::Builder& b, DType dtype, Shape shape, double number) {
  constexpr int64_t kMaxElements = int64_t{1} << 24;
  int64_t count = 1;
  for (int64_t dim : shape) {
    if (dim < 0 || dim > kMaxElements || (dim > 0 && count > kMaxElements / dim)) return nullptr;
    count *= dim;
  }
  auto tensor = Tensor::zeros(dtype, std::move(shape));
  if (!tensor.ok()) return nullptr;
  for (int64_t i = 0; i < tensor->size(); ++i) tensor->set_double(i, number);
  return b.constant(std::move(*tensor));
}

namespace {

constexpr int kMaxRounds = 8;

using Rules = std::vector<const RaiseRule*>;

const Rules* rules_at(std::string_view op) {
  static const auto* table = [] {
    auto* made = new std::unordered_map<std::string_view, Rules>;
    for (std::span<const RaiseRule> family : {activation_rules(), softmax_rules(), normalization_rules(),
                                              movement_rules(), linear_rules(), attention_rules(), rotary_rules()})
      for (const RaiseRule& rule : family)
        for (std::string_view root : root_ops(rule.pattern)) (*made)[root].push_back(&rule);
    return made;
  }();
  auto it = table->find(op);
  return it == table->end() ? nullptr : &it->second;
}

/// Nodes of a match that nothing uses any more. Each comes after those that use it, but for shared ones.
void erase_unused(const std::vector<Node*>& nodes) {
  std::vector<Node*> left = nodes;
  for (size_t before = 0; before != left.size();) {
    before = left.size();
    std::erase_if(left, [](Node* node) {
      bool dead = std::ranges::all_of(node->outputs(), [](const Value* output) { return output->unused(); });
      if (dead) node->graph()->erase(node);
      return dead;
    });
  }
}

/// Two symbolic dims that meet in a broadcast are taken as equal, and checked when run; either may stand in its type.
bool same_type(const Value& a, const Value& b) {
  if (!ranked(&a) || !ranked(&b) || a.dtype() != b.dtype()) return false;
  return std::ranges::equal(dims_of(&a), dims_of(&b), [](ir::Dim p, ir::Dim q) {
    return p == q || (!p.is_const() && !q.is_const() && !known_ne(p, q));
  });
}

Result<bool> apply(const RaiseRule& rule, Node& node, PassContext& context) {
  if (rule.for_export && !context.for_export) return false;
  std::optional<Match> found = match(rule.pattern, node);
  if (!found) return false;
  Patch patch(node);
  Value* value = rule.rewrite(*found, patch.builder());
  if (!value || !patch.builder().status().ok() || !same_type(*value, *node.output())) return false;
  TENON_ASSIGN_OR_RETURN(bool done, patch.replace(context, value));
  if (!done) return false;
  std::vector<Node*> inner = found->nodes();
  inner.erase(inner.begin());
  std::ranges::sort(inner);
  inner.erase(std::ranges::unique(inner).begin(), inner.end());
  erase_unused(inner);
  return true;
}

/// Nodes from the last to the first, so that the largest form that ends at a node is found before its parts are.
Result<bool> raise_graph(Graph& graph, PassContext& context) {
  bool changed = false;
  Node* after = nullptr;  // everything from here on is done
  while (Node* node = after ? after->prev() : graph.nodes().empty() ? nullptr : graph.nodes().back().get()) {
    TENON_RETURN_IF_ERROR(context.step());
    for (const auto& region : node->regions()) {
      TENON_ASSIGN_OR_RETURN(bool inner, raise_graph(*region, context));
      changed |= inner;
    }
    const Rules* rules = node->num_outputs() == 1 ? rules_at(node->op_name()) : nullptr;
    bool done = false;
    if (rules && ranked(node->output()) && !node->output()->unused())
      for (const RaiseRule* rule : *rules) {
        TENON_ASSIGN_OR_RETURN(done, apply(*rule, *node, context));
        if (done) break;
      }
    changed |= done;
    if (!done) after = node;
  }
  return changed;
}

}  // namespace

Result<bool> raise(Graph& graph, PassContext& context) {
  bool changed = false;
  for (int round = 0; round < kMaxRounds; ++round) {
    TENON_ASSIGN_OR_RETURN(bool again, raise_graph(graph, context));
    if (!again) break;
    changed = true;
  }
  return changed;
}

}  // namespace tenon::passes
