// Which nodes write to the memory of an operand instead of a copy of it.

#include <algorithm>

#include "codegen/plan/builder.h"

namespace tenon::codegen {

using ir::Node;
using ir::Value;
using runtime::Storage;
using runtime::ValueIdx;

void PlanBuilder::number_nodes() {
  for (const auto& node : graph_.nodes()) position_.emplace(node.get(), position_.size());
}

ValueIdx PlanBuilder::root_of(ValueIdx value) const {
  while (plan_->values[static_cast<size_t>(value)].storage == Storage::kAlias) value = plan_->values[static_cast<size_t>(value)].alias_of;
  return value;
}

/// Inputs of a loop's body that an iteration hands to the next one; the run time gives each memory that nothing else shares.
bool PlanBuilder::is_carried(ValueIdx input) const {
  const Node& node = *graph_.parent();
  const bool loop = node.is("Loop");
  if (!loop && !node.is("Scan")) return false;
  const auto begin = plan_->inputs.begin(), formal = begin + std::ssize(graph_.inputs());
  const auto first = loop ? begin + 2 : begin, last = loop ? formal : formal - node.attr_int("num_scan_inputs", 0);
  return std::find_if(first, last, [&](const runtime::PlanIo& io) { return io.value == input; }) != last;
}

/// Memory of this run alone: the arena's, or what callers and earlier iterations have given up.
bool PlanBuilder::owns_memory(ValueIdx root) const {
  const Storage storage = plan_->values[static_cast<size_t>(root)].storage;
  if (storage == Storage::kArena) return true;
  if (storage != Storage::kInput) return false;
  if (graph_.parent() != nullptr) return is_carried(root);
  const auto& names = module_.options.updated_inputs;
  return std::ranges::find(names, plan_->values[static_cast<size_t>(root)].name) != names.end();
}

/// Whether all uses of a value, those in bodies included, are before the node.
bool PlanBuilder::all_before(const Value& value, const Node& node) const {
  if (value.num_output_uses() > 0) return false;
  return std::ranges::all_of(value.uses(), [&](const ir::Use& use) {
    const Node* user = use.node;
    while (user != nullptr && user->graph() != &graph_) user = user->graph()->parent();
    const auto found = position_.find(user);
    return user == &node || (found != position_.end() && found->second < position_.at(&node));
  });
}

bool PlanBuilder::may_update(const Node& node, const Value& base) const {
  const auto found = values_.find(&base);
  if (module_.options.target.kind != Target::Kind::kCpu || found == values_.end()) return false;
  const ValueIdx root = root_of(found->second);
  if (!owns_memory(root) || !plan_->values[static_cast<size_t>(root)].order.empty() || !plan_->values[static_cast<size_t>(found->second)].order.empty()) return false;
  const auto reads_beside = [&](const Value* operand) {
    const auto at = operand == nullptr ? values_.end() : values_.find(operand);
    return operand != &base && at != values_.end() && root_of(at->second) == root;
  };
  if (std::ranges::any_of(node.inputs(), reads_beside)) return false;
  return std::ranges::all_of(sharing_.at(root), [&](const Value* value) { return all_before(*value, node); });
}

Status PlanBuilder::define_updated(const Value& base, const Value* output) {
  const ValueIdx root = root_of(values_.at(&base));
  TENON_ASSIGN_OR_RETURN(const ValueIdx updated, define(output, Storage::kAlias));
  plan_->values[static_cast<size_t>(updated)].alias_of = root;
  sharing_[root] = {output};  // the others have no reader after this node
  return {};
}

}  // namespace tenon::codegen
