#include <algorithm>
#include <memory>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "ir/op.h"
#include "passes/dependences.h"
#include "passes/fuse_groups.h"
#include "passes/passes.h"

namespace tenon::passes {

using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

constexpr int kNamesListed = 3;

/// "a+b+c", or "a+…+z" for longer groups.
std::string joined_name(const std::vector<Node*>& members) {
  std::string name;
  for (size_t i = 0; i < members.size(); ++i) {
    if (members.size() > kNamesListed && i > 0 && i + 1 < members.size()) {
      if (i == 1) name += "+...";
      continue;
    }
    name += (name.empty() ? "" : "+") + members[i]->name();
  }
  return name;
}

/// Moves the members into the region of one fused node.
class RegionBuilder {
 public:
  RegionBuilder(Graph& graph, const std::vector<Node*>& members, const FuseGroups& groups)
      : graph_(graph), members_(members), groups_(groups), inside_(members.begin(), members.end()) {}

  Node* build() {
    collect();
    Node* fused = graph_.create(*ir::find_op("tenon.fused"), inputs_, static_cast<int>(outputs_.size()), members_.back());
    fused->set_name(joined_name(members_));
    region_ = &fused->add_region();
    for (Value* v : inputs_) {
      Value* formal = region_->add_input(graph_.unique_name(v->name()), v->type());
      formal->set_dim_values(v->dim_values());
      map_[v] = formal;
    }
    for (const Node* n : members_) copy(*n);
    for (size_t i = 0; i < outputs_.size(); ++i) {
      Value* made = fused->output(static_cast<int>(i));
      Value* old = outputs_[i];
      region_->add_output(map_.at(old));
      made->set_type(old->type());
      made->set_dim_values(old->dim_values());
      graph_.replace_all_uses(old, made);
      const std::string name = old->name();
      old->set_name(graph_.unique_name(name));
      made->set_name(name);
    }
    for (size_t i = members_.size(); i-- > 0;) graph_.erase(members_[i]);
    return fused;
  }

 private:
  /// Constants whose contents bodies and inference want to see go inside; data comes in as an operand.
  bool is_immediate(const Node& n, int input) const {
    const Tensor* t = ir::constant_of(n.input(input));
    if (t == nullptr) return false;
    return t->size() == 1 || groups_.info(&n).inputs[static_cast<size_t>(input)] == Access::kNone;
  }

  void collect() {
    std::unordered_set<const Value*> seen;
    for (const Node* n : members_) {
      for (int i = 0; i < n->num_inputs(); ++i) {
        Value* v = n->input(i);
        if (v == nullptr || is_immediate(*n, i) || (v->def() != nullptr && inside_.contains(v->def()))) continue;
        if (seen.insert(v).second) inputs_.push_back(v);
      }
      for (Value* v : n->outputs()) {
        const bool used_outside = std::any_of(v->uses().begin(), v->uses().end(),
                                              [&](const ir::Use& u) { return !inside_.contains(u.node); });
        if (used_outside || v->num_output_uses() > 0) outputs_.push_back(v);
      }
    }
  }

  Value* inner(const Node& n, int input) {
    Value* v = n.input(input);
    if (v == nullptr) return nullptr;
    if (!is_immediate(n, input)) return map_.at(v);
    if (const auto found = immediate_.find(v); found != immediate_.end()) return found->second;
    Node* constant = region_->create(v->def()->op(), {}, 1);
    for (const auto& [name, attr] : v->def()->attrs()) constant->attrs().set(name, attr);
    constant->output()->set_name(graph_.unique_name(v->name()));
    constant->output()->set_type(v->type());
    constant->output()->set_dim_values(v->dim_values());
    return immediate_[v] = constant->output();
  }

  void copy(const Node& n) {
    std::vector<Value*> inputs;
    for (int i = 0; i < n.num_inputs(); ++i) inputs.push_back(inner(n, i));
    Node* made = region_->create(n.op(), inputs, n.num_outputs());
    made->set_name(n.name());
    for (const auto& [name, attr] : n.attrs()) made->attrs().set(name, attr);
    for (int i = 0; i < n.num_outputs(); ++i) {
      Value* v = made->output(i);
      v->set_name(graph_.unique_name(n.output(i)->name()));
      v->set_type(n.output(i)->type());
      v->set_dim_values(n.output(i)->dim_values());
      map_[n.output(i)] = v;
    }
  }

  Graph& graph_;
  const std::vector<Node*>& members_;
  const FuseGroups& groups_;
  std::unordered_set<const Node*> inside_;
  std::vector<Value*> inputs_, outputs_;
  std::unordered_map<const Value*, Value*> map_, immediate_;
  Graph* region_ = nullptr;
};

/// Definitions before uses again, of values and of symbols, otherwise as the order was.
void sort_nodes(Graph& graph, const std::unordered_map<int, const Node*>& symbols) {
  std::unordered_map<const Node*, size_t> position;
  std::vector<Node*> nodes;
  for (const auto& n : graph.nodes()) {
    position[n.get()] = nodes.size();
    nodes.push_back(n.get());
  }
  std::vector<std::vector<size_t>> users(nodes.size());
  std::vector<int> waiting(nodes.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    std::vector<const Node*> defs;
    collect_definitions(*nodes[i], graph, defs);
    for (int s : symbols_of(*nodes[i])) {
      if (const auto def = symbols.find(s); def != symbols.end() && def->second != nodes[i]) defs.push_back(def->second);
    }
    for (const Node* d : defs) {
      users[position.at(d)].push_back(i);
      ++waiting[i];
    }
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (waiting[i] == 0) ready.push(i);
  }
  while (!ready.empty()) {
    const size_t i = ready.top();
    ready.pop();
    graph.move_before(nodes[i], nullptr);
    for (size_t u : users[i]) {
      if (--waiting[u] == 0) ready.push(u);
    }
  }
}

}  // namespace

Result<bool> fuse(Graph& graph, PassContext& context) {
  bool changed = false;
  for (Node* n = graph.first(); n != nullptr; n = n->next()) {
    if (n->is("tenon.fused")) continue;
    for (const auto& region : n->regions()) {
      TENON_ASSIGN_OR_RETURN(const bool inner, fuse(*region, context));
      changed |= inner;
    }
  }
  TENON_RETURN_IF_ERROR(context.step(static_cast<int64_t>(graph.num_nodes())));
  auto found = std::make_unique<FuseGroups>(graph);
  found->run();
  if (!found->shared_inputs().empty()) {
    separate_inputs(graph, found->shared_inputs());
    found = std::make_unique<FuseGroups>(graph);
    found->run();
  }
  const FuseGroups& groups = *found;
  TENON_RETURN_IF_ERROR(context.step(groups.steps()));
  std::unordered_map<int, const Node*> symbols = symbol_definitions(graph);
  std::unordered_map<const Node*, const Node*> fused_of;  // by member; its own is gone, only its address counts
  for (const std::vector<Node*>& members : groups.groups()) {
    if (!context.take_rewrite(std::span<const Node* const>(members))) break;
    const Node* fused = RegionBuilder(graph, members, groups).build();
    for (const Node* member : members) fused_of.emplace(member, fused);
  }
  if (fused_of.empty()) return changed;
  for (auto& [symbol, def] : symbols) {
    if (const auto found = fused_of.find(def); found != fused_of.end()) def = found->second;
  }
  sort_nodes(graph, symbols);
  return true;
}

}  // namespace tenon::passes
