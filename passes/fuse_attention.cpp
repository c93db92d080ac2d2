#include <algorithm>
#include <functional>
#include <set>

#include "ir/op.h"
#include "passes/fuse_groups.h"

namespace tenon::passes {

using ir::Node;
using ir::Value;

namespace {

constexpr size_t kMaxChain = 64;
constexpr size_t kNone = SIZE_MAX;

bool contains(std::span<const size_t> nodes, size_t n) { return std::find(nodes.begin(), nodes.end(), n) != nodes.end(); }

}  // namespace

/// The node of this graph that makes a value and is in no group yet; kNone for others.
size_t FuseGroups::def_of(const Value* value) const {
  if (value == nullptr || value->def() == nullptr || value->def()->graph() != &graph_) return kNone;
  const size_t def = index_.at(value->def());
  return group_[def] < 0 ? def : kNone;
}

/// Whether a node reads its input at its own index: element by element, along a row or through a view.
bool FuseGroups::follows_rows(size_t node, int input) const {
  const Access access = info_[node].inputs[static_cast<size_t>(input)];
  return info_[node].view || access == Access::kIdentity || access == Access::kBroadcast;
}

/// Nodes of `chain` between the two, in graph order, when they are a softmax: their results are needed nowhere else, one
/// row reduction is a maximum and one the sum of exponentials.
std::vector<size_t> FuseGroups::attention_between(size_t scores, size_t product, const std::vector<size_t>& chain) const {
  std::vector<size_t> found{scores};
  for (size_t n : chain) {  // ascending: operands before their users
    bool depends = false;
    for (int i = 0; i < nodes_[n]->num_inputs(); ++i) {
      if (!contains(found, def_of(nodes_[n]->input(i)))) continue;
      if (!follows_rows(n, i)) return {};
      depends = true;
    }
    if (depends) found.push_back(n);
  }
  int maxima = 0, sums = 0;
  for (size_t n : found) {
    if (nodes_[n]->output()->num_output_uses() > 0) return {};
    for (size_t u : users(n))
      if (u != product && !contains(found, u)) return {};
    if (!info_[n].reduces || n == scores) continue;
    const size_t from = def_of(nodes_[n]->input(0));
    if (info_[n].combiner == ir::Combiner::kMax) ++maxima;
    else if (info_[n].combiner == ir::Combiner::kAdd && from != kNone && info_[from].exponential) ++sums;
    else return {};
  }
  if (maxima != 1 || sums != 1) return {};
  found.push_back(product);
  return found;
}

/// What moves the operands of a contraction and serves nothing else: it can read them where they lie.
void FuseGroups::take_moved_operands(size_t anchor, std::vector<size_t>& members) const {
  for (const Value* v : nodes_[anchor]->inputs()) {
    std::vector<size_t> chain;
    size_t taken = 0;  // views at the far end cost nothing where they are
    for (size_t def = def_of(v); def != kNone && info_[def].moves && v->has_one_use() && !contains(members, def) && chain.size() < kMaxChain; def = def_of(v)) {
      chain.push_back(def);
      if (!info_[def].view) taken = chain.size();
      v = nodes_[def]->input(0);
    }
    members.insert(members.begin(), chain.rend() - static_cast<int64_t>(taken), chain.rend());
  }
}

/// The nodes that make a value of indices and dims alone; none when it takes data, or many nodes.
std::vector<size_t> FuseGroups::generator(const Value* value) const {
  std::vector<size_t> found, stack{def_of(value)};
  while (!stack.empty()) {
    const size_t n = stack.back();
    stack.pop_back();
    if (n != kNone && contains(found, n)) continue;
    if (n == kNone || found.size() >= kMaxChain) return {};
    const FuseInfo& info = info_[n];
    if (!(info.fusable && !info.reduces) && !(info.view && info.moves)) return {};
    found.push_back(n);
    for (const Value* v : nodes_[n]->inputs()) {
      const Tensor* constant = v == nullptr ? nullptr : ir::constant_of(v);
      if (v == nullptr || (constant != nullptr && constant->size() == 1)) continue;
      stack.push_back(constant != nullptr ? kNone : def_of(v));
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// Masks that indices decide: the kernel then knows which keys no query sees.
void FuseGroups::take_generators(std::vector<size_t>& members) {
  const std::vector<size_t> core = members;
  for (size_t m : core) {
    for (int i = 0; i < nodes_[m]->num_inputs(); ++i) {
      const Value* v = nodes_[m]->input(i);
      if (v == nullptr || ir::constant_of(v) != nullptr || contains(members, def_of(v))) continue;
      const std::vector<size_t> made = generator(v);
      if (made.empty()) continue;
      const bool alone = std::all_of(made.begin(), made.end(), [&](size_t n) {
        const auto inside = [&](size_t u) { return contains(made, u) || contains(members, u); };
        return nodes_[n]->output()->num_output_uses() == 0 && std::all_of(users(n).begin(), users(n).end(), inside);
      });
      if (alone) members.insert(members.begin(), made.begin(), made.end());
      else shared_inputs_.push_back({nodes_[m], i, true});
    }
  }
}

void separate_inputs(ir::Graph& graph, std::span<const SharedInput> inputs) {
  std::vector<Node*> replaced;
  for (const auto& [user, input, whole] : inputs) {
    std::unordered_map<const Value*, Value*> copies;
    const Value* shared = user->input(input);
    const std::function<Value*(Value*)> copy = [&](Value* v) -> Value* {
      if (v == nullptr || v->def() == nullptr || v->graph() != &graph || ir::constant_of(v) != nullptr) return v;
      if (!whole && v != shared) return v;
      if (const auto made = copies.find(v); made != copies.end()) return made->second;
      const Node& from = *v->def();
      std::vector<Value*> operands;
      for (Value* operand : from.inputs()) operands.push_back(copy(operand));
      Node* to = graph.create(from.op(), operands, 1, user);
      to->set_name(from.name());
      to->attrs() = from.attrs();
      to->output()->set_name(graph.unique_name(v->name()));
      to->output()->set_type(v->type());
      to->output()->set_dim_values(v->dim_values());
      replaced.push_back(v->def());
      return copies[v] = to->output();
    };
    user->set_input(input, copy(user->input(input)));
  }
  std::set<Node*> left(replaced.begin(), replaced.end());
  for (bool any = true; any;) {
    any = false;
    for (auto it = left.begin(); it != left.end();) {
      const bool dead = (*it)->output()->unused();
      if (dead) graph.erase(*it);
      any |= dead;
      it = dead ? left.erase(it) : std::next(it);
    }
  }
}

bool FuseGroups::grow_attention(size_t product) {
  if (!info_[product].fusable || !info_[product].contraction || group_[product] >= 0) return false;
  for (const Value* weights : nodes_[product]->inputs()) {
    // Backwards along what keeps to the rows of the weights, up to contractions.
    std::vector<size_t> chain, contractions, stack{def_of(weights)};
    while (!stack.empty() && chain.size() < kMaxChain) {
      const size_t n = stack.back();
      stack.pop_back();
      if (n == kNone || contains(chain, n) || contains(contractions, n)) continue;
      const FuseInfo& info = info_[n];
      if (info.fusable && info.contraction) {
        contractions.push_back(n);
        continue;
      }
      const bool row = info.reduces && info.row && std::count(info.kept.begin(), info.kept.end(), 0) == 1 && info.kept.back() == 0;
      if (!(info.fusable && (!info.reduces || row)) && !(info.view && info.moves)) continue;
      const DType dtype = nodes_[n]->output()->dtype();
      if (!is_float(dtype) && dtype != DType::kBool) continue;  // indices
      chain.push_back(n);
      for (int i = 0; i < nodes_[n]->num_inputs(); ++i)
        if (follows_rows(n, i)) stack.push_back(def_of(nodes_[n]->input(i)));
    }
    std::sort(chain.begin(), chain.end());
    for (size_t scores : contractions) {
      std::vector<size_t> members = attention_between(scores, product, chain);
      if (members.empty() || !contains(members, def_of(weights))) continue;
      take_generators(members);
      take_moved_operands(scores, members);
      take_moved_operands(product, members);
      close_epilogue(std::move(members));
      return true;
    }
  }
  return false;
}

}  // namespace tenon::passes
