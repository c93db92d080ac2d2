#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "ir/op.h"
#include "ir/symbols.h"
#include "passes/dependences.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;
using Copies = std::unordered_map<const Value*, Value*>;

/// Nodes that one run may add to a model: what follows one such If may hold another one.
constexpr int64_t kMaxCopied = 4096;

bool ranked(const Value& value) { return value.type().is_ranked_tensor(); }

/// Nothing is known of a value's shape behind the If, but all of it in either branch.
bool hides_ranks(const Node& node) {
  if (!node.is("If") || ir::constant_ints(node.input(0))) return false;
  for (int i = 0; i < node.num_outputs(); ++i) {
    const Value& output = *node.output(i);
    if (output.uses().empty() || ranked(output)) continue;
    const auto at = static_cast<size_t>(i);
    if (ranked(*node.region(0).outputs()[at]) && ranked(*node.region(1).outputs()[at])) return true;
  }
  return false;
}

int64_t count_nodes(const Node& node) {
  int64_t count = 1;
  for (const auto& region : node.regions())
    for (const auto& inner : region->nodes()) count += count_nodes(*inner);
  return count;
}

/// The nodes behind `node` that need what it makes: its values, or dims that only it knows.
std::vector<Node*> tail_of(Node& node) {
  const Graph& graph = *node.graph();
  const auto symbols = symbol_definitions(graph);
  std::unordered_set<const Node*> needed{&node};
  std::vector<Node*> tail;
  for (Node* n = node.next(); n != nullptr; n = n->next()) {
    std::vector<const Node*> defs;
    collect_definitions(*n, graph, defs);
    for (int s : symbols_of(*n))
      if (const auto def = symbols.find(s); def != symbols.end() && def->second != n) defs.push_back(def->second);
    if (std::ranges::none_of(defs, [&](const Node* d) { return needed.contains(d); })) continue;
    needed.insert(n);
    tail.push_back(n);
  }
  return tail;
}

Value* copy_of(Value* value, const Copies& copies) {
  const auto it = value == nullptr ? copies.end() : copies.find(value);
  return it == copies.end() ? value : it->second;
}

/// Makes the operands of a copied region those of the copies around it.
void use_copies(Graph& region, const Copies& copies) {
  for (const auto& node : region.nodes()) {
    for (int i = 0; i < node->num_inputs(); ++i) node->set_input(i, copy_of(node->input(i), copies));
    for (const auto& nested : node->regions()) use_copies(*nested, copies);
  }
  for (size_t i = 0; i < region.outputs().size(); ++i)
    region.set_output(static_cast<int>(i), copy_of(region.outputs()[i], copies));
}

void copy_node(const Node& node, Graph& to, Copies& copies) {
  std::vector<Value*> inputs;
  for (Value* input : node.inputs()) inputs.push_back(copy_of(input, copies));
  Node* copy = to.create(node.op(), inputs, 0);
  copy->set_name(node.name());
  copy->attrs() = node.attrs();
  for (const Value* output : node.outputs()) {
    Value* made = copy->add_output(to.unique_name(output->name()));
    made->set_type(output->type());
    made->set_dim_values(output->dim_values());
    copies[output] = made;
  }
  for (const auto& region : node.regions()) use_copies(copy->add_region(region->clone()), copies);
}

/// What follows makes no sense for the ranks of one branch: a run that takes it fails, as it would further on.
void fail_in(Graph& region, const Graph& other, const std::string& why) {
  for (size_t i = 0; i < region.outputs().size(); ++i) {
    Node* fail = region.create(*ir::find_op("tenon.fail"), {}, 0);
    Value* none = fail->add_output(region.unique_name(region.outputs()[i]->name()));
    fail->set_name(none->name());
    fail->attrs().set("type", other.outputs()[i]->type());
    fail->attrs().set("why", why);
    none->set_type(other.outputs()[i]->type());
    region.set_output(static_cast<int>(i), none);
  }
  for (Node* node = region.nodes().back().get(); node != nullptr;) {
    Node* before = node->prev();
    if (!node->is("tenon.fail")) region.erase(node);
    node = before;
  }
}

/// Puts an If that ends with the graph in place of `node` and of what needs it. False when inference refuses it.
bool take_in(Node& node, const std::vector<Node*>& tail) {
  Graph& graph = *node.graph();
  std::vector<Value*> wanted;
  const auto want = [&](const Node& n) {
    for (Value* v : n.outputs())
      if (std::ranges::find(graph.outputs(), v) != graph.outputs().end()) wanted.push_back(v);
  };
  want(node);
  for (const Node* n : tail) want(*n);
  Value* const condition[] = {node.input(0)};
  Node* made = graph.create(node.op(), condition, 0);
  made->set_name(node.name());
  for (const Value* v : wanted) made->add_output(graph.unique_name(v->name()));
  for (int r = 0; r < 2; ++r) {
    Graph& region = made->add_region();
    region.name = node.region(r).name;
    Copies copies;
    ir::copy_nodes(node.region(r), region, nullptr, copies);
    for (int i = 0; i < node.num_outputs(); ++i)
      copies[node.output(i)] = copy_of(node.region(r).outputs()[static_cast<size_t>(i)], copies);
    for (const Node* n : tail) copy_node(*n, region, copies);
    ir::separate_symbols(copies);
    for (Value* v : wanted) region.add_output(copy_of(v, copies));
  }
  const Status statuses[] = {ir::infer_graph(made->region(0)), ir::infer_graph(made->region(1))};
  for (int r = 0; r < 2; ++r)
    if (!statuses[r].ok() && statuses[1 - r].ok())
      fail_in(made->region(r), made->region(1 - r), statuses[r].to_string());
  if (!ir::infer_node(*made).ok()) {
    graph.erase(made);
    return false;
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < wanted.size(); ++i) {
    names.push_back(wanted[i]->name());
    graph.replace_all_uses(wanted[i], made->output(static_cast<int>(i)));
  }
  for (size_t i = tail.size(); i-- > 0;) graph.erase(tail[i]);
  graph.erase(&node);
  for (size_t i = 0; i < names.size(); ++i) ir::rename_value(*made->output(static_cast<int>(i)), std::move(names[i]));
  return true;
}

class Duplicator {
 public:
  explicit Duplicator(PassContext& context) : context_(context) {}

  Result<bool> run(Graph& graph) {
    bool changed = false;
    for (Node* node = graph.first(); node != nullptr;) {
      Node* before = node->prev();
      if (hides_ranks(*node) && duplicate(*node)) {
        changed = true;
        node = before == nullptr ? graph.first() : before->next();
        continue;
      }
      for (const auto& region : node->regions()) {
        TENON_ASSIGN_OR_RETURN(const bool inner, run(*region));
        changed |= inner;
      }
      node = node->next();
    }
    return changed;
  }

 private:
  bool duplicate(Node& node) {
    const std::vector<Node*> tail = tail_of(node);
    int64_t count = 0;
    for (const Node* n : tail) count += count_nodes(*n);
    const Node* const one = &node;
    if (tail.empty() || count > kMaxCopied - copied_ || !context_.take_rewrite(std::span(&one, 1), false)) return false;
    copied_ += count;  // also when it comes to nothing: trying takes as long
    return take_in(node, tail);
  }

  PassContext& context_;
  int64_t copied_ = 0;
};

}  // namespace

Result<bool> duplicate_tails(Graph& graph, PassContext& context) { return Duplicator(context).run(graph); }

}  // namespace tenon::passes
