#include "passes/patch.h"

#include "ir/symbols.h"
#include "passes/assumptions.h"

namespace tenon::passes {

using ir::Node;
using ir::TensorType;
using ir::Type;
using ir::Value;

Patch::Patch(Node& node) : graph_(*node.graph()), node_(&node), before_(node.prev()), assumed_(graph_.assumptions().size()), builder_(graph_, &node) {
  builder_.set_name(node.num_outputs() > 0 ? node.output(0)->name() : node.name());
}

Patch::~Patch() {
  if (!node_) return;
  for (Node* built = node_->prev(); built != before_; built = node_->prev()) {
    for (Value* output : built->outputs())
      if (!output->unused()) return;
    graph_.erase(built);
  }
  forget_assumptions_since(graph_, assumed_);
}

Node* Patch::first_built() const {
  Node* first = before_ ? before_->next() : graph_.first();
  return first == node_ ? nullptr : first;
}

Status Patch::check(std::span<Value* const> values) const {
  TENON_RETURN_IF_ERROR(builder_.status());
  auto fail = [&](int i, std::string_view why) {
    return Status(Code::kInternal, fmt::format("a rewrite of output {} {}", i, why),
                  fmt::format("{} node '{}'", node_->op_name(), node_->name()));
  };
  for (int i = 0; i < node_->num_outputs(); ++i) {
    const Value* from = node_->output(i);
    const Value* to = static_cast<size_t>(i) < values.size() ? values[static_cast<size_t>(i)] : nullptr;
    if (!to) {
      if (!from->unused()) return fail(i, "gives no value");
      continue;
    }
    if (!from->type().is_tensor() || !to->type().is_tensor()) continue;
    if (from->dtype() != to->dtype())
      return fail(i, fmt::format("changes {} to {}", name(from->dtype()), name(to->dtype())));
    if (from->tensor().ranked() && to->tensor().ranked() && from->tensor().rank() != to->tensor().rank())
      return fail(i, fmt::format("changes {} to {}", to_string(from->type()), to_string(to->type())));
    if (!from->type().is_ranked_tensor() || !to->type().is_ranked_tensor()) continue;
    for (int axis = 0; axis < from->tensor().rank(); ++axis)
      if (known_ne(from->tensor().dim(axis), to->tensor().dim(axis)))
        return error(Code::kInvalidModel, "the inputs of {} node '{}' give {} where {} is inferred", node_->op_name(), node_->name(),
                     to_string(to->type()), to_string(from->type())).with_hint("give inputs whose shapes agree");
  }
  return {};
}

namespace {

/// Both are types of the same value: `to` gets what only `from` knows. Not from inside a region outwards: a branch may
/// state what holds only where it is taken.
void refine(Value& to, const Value& from) {
  if (to.graph() != from.graph()) return;
  if (!to.type().known()) to.set_type(from.type());
  if (!to.type().is_tensor() || !from.type().is_ranked_tensor()) return;
  if (!to.tensor().ranked()) {
    to.set_type(from.type());
    return;
  }
  std::vector<ir::Dim> dims = *to.tensor().dims;
  for (size_t i = 0; i < dims.size(); ++i)
    if (const ir::Dim& known = (*from.tensor().dims)[i]; known.is_const() && !dims[i].is_const()) dims[i] = known;
  to.set_type(TensorType(to.dtype(), std::move(dims)));
  if (!to.dim_values()) to.set_dim_values(from.dim_values());
}

}  // namespace

Result<bool> Patch::replace(PassContext& context, std::span<Value* const> values) {
  TENON_RETURN_IF_ERROR(check(values));
  if (!context.take_rewrite(*node_)) return false;
  ir::SymbolMap rebound;
  for (int i = 0; i < node_->num_outputs(); ++i) {
    Value* from = node_->output(i);
    Value* to = static_cast<size_t>(i) < values.size() ? values[static_cast<size_t>(i)] : nullptr;
    if (!to) continue;
    refine(*to, *from);
    if (to->unused() && to->def() && to->graph() == &graph_) {
      ir::rename_value(*to, from->name());
      if (to->def_index() == 0) to->def()->set_name(node_->name());
    }
    ir::collect_rebound(*from, from->type(), to->type(), rebound);
    graph_.replace_all_uses(from, to);
  }
  graph_.erase(node_);
  node_ = nullptr;
  ir::replace_symbols(graph_, rebound);
  return true;
}

}  // namespace tenon::passes
