#include "passes/fuse_groups.h"

#include <algorithm>
#include <set>

#include "ir/op.h"
#include "passes/dependences.h"

namespace tenon::passes {

using ir::Body;
using ir::Dim;
using ir::ExprKind;
using ir::ExprNode;
using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

constexpr size_t kMaxGroupOutputs = 4;
constexpr size_t kMaxEpilogueNodes = 24;
constexpr size_t kMaxConstantNodes = 8;
constexpr int64_t kFewElements = 16;  // of a dequantised value share a scale, at least
constexpr size_t kMaxSearchEdges = 4096;

/// Whether a view only splits axes.
bool splits_axes(const std::vector<Dim>& from, const std::vector<Dim>& to) {
  size_t at = 0;
  for (const Dim& whole : from) {
    Dim part = 1;
    while (part != whole && at < to.size()) part = part * to[at++];
    if (part != whole) return false;
  }
  return at == to.size();
}

}  // namespace

FuseGroups::FuseGroups(Graph& graph) : graph_(graph) {
  for (const auto& n : graph.nodes()) {
    index_[n.get()] = nodes_.size();
    nodes_.push_back(n.get());
    info_.push_back(analyze_for_fusion(*n));
  }
  group_.assign(nodes_.size(), -1);
  seen_.assign(nodes_.size(), 0);
  users_.resize(nodes_.size());
  const std::unordered_map<int, const Node*> symbols = symbol_definitions(graph);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    std::vector<const Node*> defs;
    collect_definitions(*nodes_[i], graph, defs);
    for (int s : symbols_of(*nodes_[i])) {
      if (const auto def = symbols.find(s); def != symbols.end() && index_.at(def->second) < i) defs.push_back(def->second);
    }
    for (const Node* d : defs) {
      std::vector<size_t>& users = users_[index_.at(d)];
      if (users.empty() || users.back() != i) users.push_back(i);
    }
  }
}

std::vector<size_t> FuseGroups::outside_users(std::span<const size_t> members) const {
  std::vector<size_t> out;
  for (size_t m : members) {
    for (size_t u : users(m)) {
      if (std::find(members.begin(), members.end(), u) == members.end()) out.push_back(u);
    }
  }
  return out;
}

/// Values that the rest of the graph needs.
size_t FuseGroups::outputs(std::span<const size_t> members) const {
  size_t count = 0;
  for (size_t m : members) {
    const bool outside = std::any_of(users(m).begin(), users(m).end(), [&](size_t u) {
      return std::find(members.begin(), members.end(), u) == members.end();
    });
    count += outside || nodes_[m]->output()->num_output_uses() > 0 ? 1 : 0;
  }
  return count;
}

/// Whether a path leaves `members` and comes back, with every group so far taken as one node. A search that grows long is
/// given up and counts as a cycle, so that all searches together stay linear in the graph.
bool FuseGroups::makes_cycle(const std::vector<size_t>& members) const {
  const size_t last = *std::max_element(members.begin(), members.end());
  const uint32_t search = ++search_;
  size_t edges = 0;
  for (size_t m : members) edges += users(m).size();
  steps_ += static_cast<int64_t>(edges);
  if (edges > kMaxSearchEdges) return true;
  std::vector<size_t> stack = outside_users(members);
  const auto inside = [&](size_t n) { return std::find(members.begin(), members.end(), n) != members.end(); };
  while (!stack.empty()) {
    const size_t n = stack.back();
    stack.pop_back();
    if (inside(n)) return true;
    if (seen_[n] == search) continue;
    std::vector<size_t> unit{n};
    if (group_[n] >= 0) unit = groups_[static_cast<size_t>(group_[n])].members;
    for (size_t u : unit) seen_[u] = search;
    if (*std::min_element(unit.begin(), unit.end()) > last) continue;
    for (size_t u : unit) {
      if (inside(u)) continue;
      edges += users(u).size();
      steps_ += static_cast<int64_t>(users(u).size());
      if (edges > kMaxSearchEdges) return true;
      for (size_t next : users(u)) {
        if (seen_[next] != search) stack.push_back(next);
      }
    }
  }
  return false;
}

/// The nodes that make a value, which nothing else needs, of constants alone; none when it takes other data, or many nodes.
std::vector<size_t> FuseGroups::made_of_constants(const Value* value) const {
  std::vector<size_t> found;
  std::vector<const Value*> stack{value};
  while (!stack.empty()) {
    const Value* v = stack.back();
    stack.pop_back();
    if (v == nullptr || ir::constant_of(v) != nullptr) continue;
    if (v->def() == nullptr || v->def()->graph() != &graph_ || !v->has_one_use() || found.size() >= kMaxConstantNodes) return {};
    const size_t def = index_.at(v->def());
    const FuseInfo& info = info_[def];
    if (group_[def] >= 0 || !((info.fusable && !info.reduces) || (info.view && info.moves))) return {};
    found.push_back(def);
    for (const Value* operand : nodes_[def]->inputs()) stack.push_back(operand);
  }
  return found;
}

/// Whether a value is small integers times numbers that blocks of them share: a product reads less when it reads those.
bool FuseGroups::dequantised(const Value* v) const {
  if (v == nullptr || v->def() == nullptr || v->def()->graph() != &graph_ || !is_float(v->dtype())) return false;
  const Node& n = *v->def();
  const FuseInfo& info = info_[index_.at(v->def())];
  if (!info.fusable || info.reduces || n.num_inputs() == 0 || n.input(0) == nullptr || ir::constant_of(n.input(0)) != nullptr) return false;
  if (info.inputs[0] != Access::kIdentity || !is_int(n.input(0)->dtype()) || bits(n.input(0)->dtype()) * 2 > bits(v->dtype())) return false;
  bool blocks = false;  // one scale for all goes into what follows the product
  for (int i = 1; i < n.num_inputs(); ++i) {
    if (n.input(i) == nullptr) continue;
    const Dim count = n.input(i)->tensor().count();
    if (!ir::known_le(count * kFewElements, v->tensor().count())) return false;
    blocks |= !count.is_const(1);
  }
  return blocks;
}

/// Whether a factor of the node is constant codes, or made of them.
bool FuseGroups::multiplies_codes(const Node& node) const {
  const auto codes = [&](const Value* v) {
    const Tensor* constant = v == nullptr ? nullptr : ir::constant_of(v);
    return constant != nullptr && is_int(constant->dtype()) && bits(constant->dtype()) <= 8;
  };
  return std::ranges::any_of(node.inputs(), [&](const Value* factor) {
    return codes(factor) || std::ranges::any_of(made_of_constants(factor), [&](size_t def) { return std::ranges::any_of(nodes_[def]->inputs(), codes); });
  });
}

/// Whether all that needs a value are products with codes: they multiply those, and read fewer bytes.
bool FuseGroups::for_products_of_codes(const Value& value) const {
  return value.num_output_uses() == 0 && std::ranges::all_of(value.uses(), [&](const ir::Use& use) {
    const auto user = index_.find(use.node);
    return user != index_.end() && info_[user->second].contraction && multiplies_codes(*use.node);
  });
}

/// The anchor, operands that only it reads and that move elements (a transposition, of a prefix), which it can read in place, and what makes
/// an operand of constants (the dequantisation of weights), which it can compute while it packs them.
void FuseGroups::take_permuted_operands(size_t anchor, std::vector<size_t>& members) {
  members = {anchor};
  for (int i = 0; i < nodes_[anchor]->num_inputs(); ++i) {
    const Value* v = nodes_[anchor]->input(i);
    if (const std::vector<size_t> made = made_of_constants(v); !made.empty() && info_[anchor].contraction) {
      members.insert(members.end(), made.begin(), made.end());
      continue;
    }
    const auto codes = [&](const Value* read) { return info_[anchor].contraction && dequantised(read); };
    if (codes(v) && !v->has_one_use() && for_products_of_codes(*v)) shared_inputs_.push_back({nodes_[anchor], i, false});
    while (v != nullptr && v->def() != nullptr && v->def()->graph() == &graph_ && v->has_one_use()) {
      const size_t def = index_.at(v->def());
      if (group_[def] >= 0 || !(info_[def].permutes || codes(v))) break;
      std::vector<size_t> grown = members;
      grown.push_back(def);
      if (makes_cycle(grown)) break;
      members = std::move(grown);
      v = info_[def].permutes ? nodes_[def]->input(0) : nullptr;
    }
  }
}

/// An elementwise node over `shape`, or a transposition of the one value that the group gives so far.
bool FuseGroups::joins_epilogue(size_t node, const std::vector<size_t>& members, const std::vector<Dim>& shape) const {
  const FuseInfo& info = info_[node];
  if (!info.fusable || group_[node] >= 0) return false;
  const bool transposes = info.permutes && outputs(members) == 1 && info.shape.size() == shape.size();
  if (!transposes && (!info.elementwise || info.shape != shape)) return false;
  for (int i = 0; i < nodes_[node]->num_inputs(); ++i) {
    const Value* v = nodes_[node]->input(i);
    if (v == nullptr || v->def() == nullptr || v->def()->graph() != &graph_) continue;
    if (std::find(members.begin(), members.end(), index_.at(v->def())) == members.end()) continue;
    if (transposes ? !v->has_one_use() : info.inputs[static_cast<size_t>(i)] != Access::kIdentity) return false;
  }
  return true;
}

/// The transposition that alone reads a view which splits axes of the value that the group gives: it can store where the
/// elements go. -1 when there is none.
int FuseGroups::transposition_behind(size_t view, const std::vector<size_t>& members, const std::vector<Dim>& shape) const {
  if (!info_[view].view || !info_[view].moves || group_[view] >= 0 || outputs(members) != 1) return -1;
  if (!nodes_[view]->input(0)->has_one_use() || !nodes_[view]->output()->has_one_use() || users(view).size() != 1) return -1;
  const size_t user = users(view)[0];
  if (!info_[user].permutes || !info_[user].fusable || group_[user] >= 0) return -1;
  return splits_axes(shape, info_[view].shape) ? static_cast<int>(user) : -1;
}

void FuseGroups::grow_epilogue(size_t anchor) {
  std::vector<size_t> members;
  take_permuted_operands(anchor, members);
  std::swap(members.front(), members.back());
  close_epilogue(std::move(members));
}

/// Makes a group of `members`, of which the last one's output alone is needed outside, and of that value's elementwise
/// consumers, as far as one value comes out at the end.
void FuseGroups::close_epilogue(std::vector<size_t> members) {
  size_t best = members.size();
  const size_t most = best + kMaxEpilogueNodes;
  std::vector<Dim> shape = info_[members.back()].shape;
  std::set<size_t> candidates;
  const auto add_users = [&](size_t member) {
    // With more users than an epilogue has nodes the member stays an output beside any later one.
    if (users(member).size() > kMaxEpilogueNodes) return false;
    candidates.insert(users(member).begin(), users(member).end());
    return true;
  };
  bool grows = std::all_of(members.begin(), members.end(), add_users);
  while (grows && members.size() < most && !candidates.empty()) {
    ++steps_;
    const size_t n = *candidates.begin();
    candidates.erase(candidates.begin());
    if (std::find(members.begin(), members.end(), n) != members.end()) continue;
    std::vector<size_t> grown = members;
    grown.push_back(n);
    if (const int last = transposition_behind(n, members, shape); last >= 0) grown.push_back(static_cast<size_t>(last));
    else if (!joins_epilogue(n, members, shape)) continue;
    if (makes_cycle(grown)) continue;
    shape = info_[grown.back()].shape;
    members = std::move(grown);
    if (outputs(members) == 1) best = members.size();
    grows = add_users(members.back());
  }
  members.resize(best);
  Group g;
  g.anchored = true;
  g.members = members;
  for (size_t m : members) group_[m] = static_cast<int>(groups_.size());
  groups_.push_back(std::move(g));
}

int FuseGroups::group_of(size_t node) {
  if (group_[node] >= 0) return group_[node];
  const FuseInfo& info = info_[node];
  Group g;
  g.members = {node};
  g.row = info.reduces;
  g.shape = info.reduces ? info.domain : info.shape;
  g.rows = info.shape;
  g.kept = info.kept;
  group_[node] = static_cast<int>(groups_.size());
  groups_.push_back(std::move(g));
  return group_[node];
}

/// Joins two groups whose kernels run over the same domain. The one with the smaller number stays.
bool FuseGroups::join(int a, int b) {
  if (a == b) return true;
  const Group &x = groups_[static_cast<size_t>(a)], &y = groups_[static_cast<size_t>(b)];
  if (x.anchored || y.anchored) return false;
  Group merged;
  merged.row = x.row || y.row;
  const Group& rows = x.row ? x : y;
  if (merged.row) {
    merged.rows = rows.rows;
    merged.kept = rows.kept;
    merged.shape = rows.shape;
    for (const Group* g : {&x, &y}) {
      if (g->row ? g->kept != merged.kept || g->shape != merged.shape : g->shape != merged.shape && g->shape != merged.rows) return false;
    }
  } else {
    if (x.shape != y.shape) return false;
    merged.shape = x.shape;
  }
  merged.members = x.members;
  merged.members.insert(merged.members.end(), y.members.begin(), y.members.end());
  std::sort(merged.members.begin(), merged.members.end());
  if (merged.members.size() > kMaxNodes || outputs(merged.members) > kMaxGroupOutputs || makes_cycle(merged.members))
    return false;
  for (size_t m : merged.members) group_[m] = std::min(a, b);
  groups_[static_cast<size_t>(std::max(a, b))].members.clear();
  groups_[static_cast<size_t>(std::min(a, b))] = std::move(merged);
  return true;
}

/// Whether `node` may read `value`, which `producer` computes, inside one kernel.
bool FuseGroups::compatible(const Group& producer, size_t value_def, const Value& value, size_t node,
                            Access access) const {
  const FuseInfo& info = info_[node];
  if (info.reduces) return info.row && info.domain == producer.shape && info_[value_def].shape == producer.shape;
  if (!producer.row) return access == Access::kIdentity;
  if (access == Access::kIdentity) return info.shape == producer.shape || info.shape == producer.rows;
  // A row's scalar, broadcast along the row.
  if (access != Access::kBroadcast || info.shape != producer.shape || without_units(*value.tensor().dims) != producer.rows) return false;
  Result<std::vector<Body>> bodies = nodes_[node]->op().compute.body(*nodes_[node]);
  if (!bodies.ok()) return false;
  const Body& body = (*bodies)[0];
  const std::vector<int> all = axes_without_units(body.axes);
  std::vector<int> rows;
  for (size_t i = 0; i < all.size(); ++i) {
    if (producer.kept[i]) rows.push_back(all[i]);
  }
  for (int id = 0; id < body.pool->size(); ++id) {
    const ExprNode& n = body.pool->node(id);
    if (n.kind != ExprKind::kLoad || nodes_[node]->input(n.operand) != &value) continue;
    if (plain_axes(body, n, *value.tensor().dims) != rows) return false;
  }
  return true;
}

/// Joins a node to the groups that compute its inputs.
void FuseGroups::grow_from_inputs(size_t node) {
  const Node& n = *nodes_[node];
  const FuseInfo& info = info_[node];
  for (int i = 0; i < n.num_inputs(); ++i) {
    const Value* v = n.input(i);
    const Access access = info.inputs[static_cast<size_t>(i)];
    if (v == nullptr || v->def() == nullptr || v->def()->graph() != &graph_ || access == Access::kNone) continue;
    const bool once = info.once[static_cast<size_t>(i)] || ir::known_eq(n.output()->tensor().count(), v->tensor().count());
    const bool moves = access == Access::kOther && !info.reduces && once;
    std::vector<size_t> grown;  // views on the way to what is moved
    if (moves) v = behind_views(v, grown);
    if (v->def() == nullptr || v->def()->graph() != &graph_) continue;
    const size_t def = index_.at(v->def());
    if (!info_[def].fusable || (group_[def] >= 0 && groups_[static_cast<size_t>(group_[def])].anchored)) continue;
    if (info_[def].reduces && !info_[def].row) continue;
    const int from = group_of(def);
    if (grown.empty() && compatible(groups_[static_cast<size_t>(from)], def, *v, node, access)) {
      join(from, group_of(node));
      continue;
    }
    // A movement takes over what only it needs, where nothing is computed twice.
    Group& g = groups_[static_cast<size_t>(from)];
    const bool alone = g.members.size() < kMaxNodes && outputs(g.members) == 1 && v->has_one_use() && !g.row;
    if (!moves || !alone || group_[node] >= 0) continue;
    grown.insert(grown.begin(), g.members.begin(), g.members.end());
    grown.push_back(node);
    if (makes_cycle(grown)) continue;
    for (size_t m : grown) group_[m] = from;
    g.members = std::move(grown);
    g.shape = info.shape;
  }
}

/// What is seen through views that nothing else uses; these are added to `views`.
const Value* FuseGroups::behind_views(const Value* v, std::vector<size_t>& views) const {
  while (v->def() != nullptr && v->def()->graph() == &graph_ && v->has_one_use()) {
    const size_t def = index_.at(v->def());
    if (!info_[def].view || !info_[def].moves || group_[def] >= 0) break;
    views.push_back(def);
    v = nodes_[def]->input(0);
  }
  return v;
}

void FuseGroups::run() {
  for (size_t n = 0; n < nodes_.size(); ++n) grow_attention(n);
  for (size_t n = 0; n < nodes_.size(); ++n) {
    if (info_[n].fusable && info_[n].reduces && !info_[n].row && group_[n] < 0) grow_epilogue(n);
  }
  for (size_t g = 0; g < groups_.size(); ++g)
    if (groups_[g].anchored) take_products_beside(g);
  for (size_t n = 0; n < nodes_.size(); ++n) {
    if (info_[n].fusable && !(group_[n] >= 0 && groups_[static_cast<size_t>(group_[n])].anchored)) grow_from_inputs(n);
  }
}

std::vector<std::vector<Node*>> FuseGroups::groups() const {
  std::vector<std::vector<Node*>> out;
  for (const Group& g : groups_) {
    if (g.members.size() < 2) continue;
    std::vector<size_t> members = g.members;
    std::sort(members.begin(), members.end());
    std::vector<Node*> nodes;
    for (size_t m : members) nodes.push_back(nodes_[m]);
    out.push_back(std::move(nodes));
  }
  return out;
}

}  // namespace tenon::passes
