#include <algorithm>
#include <charconv>

#include "ir/op.h"
#include "ir/symbols.h"
#include "passes/assumptions.h"
#include "passes/fuse_info.h"
#include "passes/passes.h"
#include "passes/product_columns.h"

namespace tenon::passes {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

constexpr size_t kMaxMembers = 16;
constexpr size_t kMaxUses = 64;  // of a left operand: products are compared with each other
constexpr size_t kMaxChain = 8;  // of elementwise nodes behind a product
constexpr int kMaxOperandDepth = 4;

/// Makes one product of several. All nodes are built before the first of them.
class Merger {
 public:
  Merger(Graph& graph, const std::unordered_map<const Node*, size_t>& position, std::vector<Product> products)
      : graph_(graph),
        position_(position),
        products_(std::move(products)),
        before_(products_.front().node),
        b_(graph, before_) {
    for (const Product& p : products_) last_.push_back(p.node->output());
    b_.set_name(last_.front()->name());
  }

  /// Follows the nodes that all products have in common behind them; the products of whose results the rest only moves
  /// elements.
  std::vector<Product> movable() {
    while (steps_.size() < kMaxChain && follow()) {
    }
    std::vector<Product> out;
    for (size_t i = 0; i < products_.size(); ++i) {
      const auto moves = [](const ir::Use& use) { return analyze_for_fusion(*use.node).moves; };
      if (last_[i]->num_output_uses() == 0 && !last_[i]->uses().empty() && std::ranges::all_of(last_[i]->uses(), moves))
        out.push_back(products_[i]);
    }
    return out;
  }

  Result<bool> merge(PassContext& context) {
    int64_t bytes = 0;
    for (const Product& p : products_)
      for (size_t i = 0; i < p.axis.size(); ++i)
        if (p.axis[i] >= 0) bytes += static_cast<int64_t>(ir::constant_of(p.node->input(static_cast<int>(i)))->bytes());
    if (bytes > context.max_fold_bytes) return false;
    const Node* const before = before_->prev();
    const size_t assumed = graph_.assumptions().size();
    TENON_ASSIGN_OR_RETURN(Value * whole, build());
    if (whole == nullptr || !context.take_rewrite(members())) {
      undo(before);
      forget_assumptions_since(graph_, assumed);
      return false;
    }
    part(whole);
    return true;
  }

  /// The products and what follows them; unused once they are merged.
  std::vector<Node*> members() const {
    std::vector<Node*> nodes;
    for (const Product& p : products_) nodes.push_back(p.node);
    for (const Step& step : steps_) nodes.insert(nodes.end(), step.nodes.begin(), step.nodes.end());
    return nodes;
  }

 private:
  /// The one node behind every product, if they are of one form, elementwise, and their other operands can be merged.
  bool follow() {
    std::vector<Node*> users;
    int at = -1;
    for (const Value* v : last_) {
      if (!v->has_one_use() || v->uses().size() != 1) return false;
      const ir::Use& use = v->uses().front();
      if (use.node->graph() != &graph_ || (at >= 0 && use.index != at)) return false;
      at = use.index;
      users.push_back(use.node);
    }
    for (size_t i = 0; i < users.size(); ++i)
      if (!same_form(*users[0], *users[i]) || !same_elements(*users[i], *last_[i]) || !rows_are_columns(*users[i])) return false;
    for (int input = 0; input < users[0]->num_inputs(); ++input)
      if (input != at && !mergeable(inputs(users, input), 0)) return false;
    for (size_t i = 0; i < users.size(); ++i) last_[i] = users[i]->output();
    steps_.push_back({std::move(users), at});
    return true;
  }

  /// Whether rows of constants lie along the columns: not where the op has an axis of its own for them, unless that is the last one.
  static bool rows_are_columns(const Node& node) {
    for (const ir::AttrDef& attr : node.op().attrs) {
      if (attr.name != "axis" || attr.kind != ir::AttrKind::kInt) continue;
      int64_t axis = 0;
      std::from_chars(attr.fallback.data(), attr.fallback.data() + attr.fallback.size(), axis);
      axis = node.attr_int("axis", axis);
      const int64_t last = node.output()->tensor().rank() - 1;
      return axis == last || axis == -1;
    }
    return true;
  }

  /// Whether a node computes each element from that of `value` at its place.
  static bool same_elements(const Node& node, const Value& value) {
    const FuseInfo info = analyze_for_fusion(node);
    if (!info.fusable || !info.elementwise || node.num_outputs() != 1) return false;
    return *node.output()->tensor().dims == *value.tensor().dims;
  }

  static std::vector<Value*> inputs(const std::vector<Node*>& nodes, int input) {
    std::vector<Value*> out;
    for (const Node* n : nodes) out.push_back(n->input(input));
    return out;
  }

  static bool all_same(const std::vector<Value*>& values) {
    return std::ranges::all_of(values, [&](const Value* v) { return v == values[0]; });
  }

  /// One value for all columns: the last of its axes, if it has any, is 1.
  static bool one_column(const Value& v) {
    return v.type().is_ranked_tensor() && (v.tensor().rank() == 0 || v.tensor().dims->back().is_const(1));
  }

  bool there(const Value& v) const {
    if (v.graph() != &graph_ || v.def() == nullptr || ir::constant_of(&v) != nullptr) return true;
    const auto at = position_.find(v.def());
    return at != position_.end() && at->second < position_.at(before_);
  }

  /// Whether operands of nodes of one form, one for each product, have a counterpart over all columns: the same value
  /// for all, constants, or results of elementwise nodes of one form whose operands have one.
  bool mergeable(const std::vector<Value*>& values, int depth) const {
    if (depth > kMaxOperandDepth || (values[0] == nullptr && !all_same(values))) return false;
    if (values[0] == nullptr || (all_same(values) && one_column(*values[0]) && there(*values[0]))) return true;
    std::vector<Node*> defs;
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] == nullptr || values[i]->def() == nullptr) return false;
      const Tensor *t = ir::constant_of(values[i]), *first = ir::constant_of(values[0]);
      if ((t == nullptr) != (first == nullptr)) return false;
      if (t != nullptr && (t->dtype() != first->dtype() || !as_row(*t, products_[i].columns))) return false;
      if (t == nullptr) defs.push_back(values[i]->def());
    }
    if (defs.empty()) return true;
    for (const Node* d : defs) {
      const FuseInfo info = analyze_for_fusion(*d);
      if (!same_form(*defs[0], *d) || d->graph() != &graph_ || !info.fusable || !info.elementwise ||
          d->num_outputs() != 1)
        return false;
      // Numbers alone: rows of columns for each row of the product would be a tensor of its own.
      if (!std::ranges::all_of(*d->output()->tensor().dims, [](Dim dim) { return dim.is_const(1); })) return false;
    }
    for (int i = 0; i < defs[0]->num_inputs(); ++i)
      if (!mergeable(inputs(defs, i), depth + 1)) return false;
    return true;
  }

  Result<Value*> merged(const std::vector<Value*>& values) {
    if (values[0] == nullptr || (all_same(values) && one_column(*values[0]))) return values[0];
    if (ir::constant_of(values[0]) != nullptr) {
      std::vector<Tensor> rows;
      for (size_t i = 0; i < values.size(); ++i)
        rows.push_back(*as_row(*ir::constant_of(values[i]), products_[i].columns));
      return constant(rows, 0);
    }
    std::vector<Node*> defs;
    for (const Value* v : values) defs.push_back(v->def());
    return merged_node(defs, -1, nullptr);
  }

  /// A node of the form of `nodes` over all columns; `whole` is its operand `at`.
  Result<Value*> merged_node(const std::vector<Node*>& nodes, int at, Value* whole) {
    std::vector<Value*> operands;
    for (int i = 0; i < nodes[0]->num_inputs(); ++i) {
      if (i == at) {
        operands.push_back(whole);
        continue;
      }
      TENON_ASSIGN_OR_RETURN(Value * operand, merged(inputs(nodes, i)));
      operands.push_back(operand);
    }
    return make(*nodes[0], operands);
  }

  Value* make(const Node& like, const std::vector<Value*>& operands) {
    std::vector<std::pair<std::string, ir::Attr>> attrs(like.attrs().begin(), like.attrs().end());
    return b_.make_n(like.op_name(), operands, 1, std::move(attrs))[0];
  }

  Result<Value*> constant(const std::vector<Tensor>& parts, int axis) {
    std::vector<const Tensor*> pointers;
    for (const Tensor& t : parts) pointers.push_back(&t);
    TENON_ASSIGN_OR_RETURN(Tensor whole, concatenated(pointers, axis));
    return b_.constant(std::move(whole));
  }

  /// The product of all columns and what follows it; null when its result is not what it should be.
  Result<Value*> build() {
    std::vector<Value*> operands;
    for (size_t i = 0; i < products_[0].axis.size(); ++i) {
      std::vector<Tensor> parts;
      for (const Product& p : products_)
        if (p.axis[i] >= 0) parts.push_back(*ir::constant_of(p.node->input(static_cast<int>(i))));
      operands.push_back(products_[0].node->input(static_cast<int>(i)));
      if (!parts.empty()) {
        TENON_ASSIGN_OR_RETURN(operands.back(), constant(parts, products_[0].axis[i]));
      }
    }
    Value* whole = make(*products_[0].node, operands);
    for (const Step& step : steps_) {
      if (!b_.status().ok()) return nullptr;
      TENON_ASSIGN_OR_RETURN(whole, merged_node(step.nodes, step.at, whole));
    }
    if (!b_.status().ok() || !whole->type().is_ranked_tensor() || whole->tensor().rank() != last_[0]->tensor().rank())
      return nullptr;
    int64_t columns = 0;
    for (const Product& p : products_) columns += p.columns;
    return whole->tensor().dims->back().is_const(columns) ? whole : nullptr;
  }

  /// Erases what was built behind `before` (null: from the beginning on), users first.
  void undo(const Node* before) {
    for (Node* n = before_->prev(); n != nullptr && n != before;) {
      Node* previous = n->prev();
      graph_.erase(n);
      n = previous;
    }
  }

  /// Each part of `whole` in the place of the last value of its product's chain.
  void part(Value* whole) {
    const int64_t axis = whole->tensor().rank() - 1;
    int64_t at = 0;
    for (size_t i = 0; i < products_.size(); ++i) {
      const int64_t end = at + products_[i].columns;
      Value* slice = b_.make("Slice", {whole, b_.ints({at}), b_.ints({end}), b_.ints({axis})});
      at = end;
      ir::rename_value(*slice, last_[i]->name());
      slice->def()->set_name(last_[i]->def()->name());
      graph_.replace_all_uses(last_[i], slice);
    }
  }

  struct Step {
    std::vector<Node*> nodes;  // by product
    int at;                    // the operand that is the product's value so far
  };
  Graph& graph_;
  const std::unordered_map<const Node*, size_t>& position_;
  std::vector<Product> products_;
  Node* before_;
  ir::Builder b_;
  std::vector<Value*> last_;  // by product
  std::vector<Step> steps_;
};

using Products = std::unordered_map<const Node*, Product>;

/// Sets of products that differ in their columns alone, among the users of one value.
std::vector<std::vector<Product>> products_of(const Value& operand, const Products& known) {
  std::vector<std::vector<Product>> sets;
  std::vector<Node*> users;
  for (const ir::Use& use : operand.uses())
    if (known.contains(use.node) && std::ranges::find(users, use.node) == users.end()) users.push_back(use.node);
  for (Node* user : users) {
    const Product* p = &known.at(user);
    const auto set = std::ranges::find_if(
        sets, [&](const auto& s) { return s.size() < kMaxMembers && same_product(s.front(), *p); });
    if (set == sets.end())
      sets.push_back({*p});
    else
      set->push_back(*p);
  }
  return sets;
}

/// Merges as many of the products as have results that are only moved.
Result<bool> merge(Graph& graph, const std::unordered_map<const Node*, size_t>& position, std::vector<Product> products,
                   PassContext& context, std::vector<Node*>& gone) {
  std::ranges::sort(products, {}, [&](const Product& p) { return position.at(p.node); });
  while (products.size() > 1) {
    Merger merger(graph, position, products);
    std::vector<Product> movable = merger.movable();
    if (movable.size() == products.size()) {
      TENON_ASSIGN_OR_RETURN(const bool merged, merger.merge(context));
      if (merged) gone = merger.members();
      return merged;
    }
    products = std::move(movable);
  }
  return false;
}

}  // namespace

Result<bool> merge_products(Graph& graph, PassContext& context) {
  bool changed = false;
  std::vector<Value*> operands(graph.inputs().begin(), graph.inputs().end());
  std::unordered_map<const Node*, size_t> position;
  Products known;
  for (Node* n = graph.first(); n != nullptr; n = n->next()) {
    TENON_RETURN_IF_ERROR(context.step());
    position.emplace(n, position.size());
    if (const std::optional<Product> p = product_of_columns(*n)) known.emplace(n, *p);
    if (ir::constant_of(n->num_outputs() > 0 ? n->output() : nullptr) == nullptr)
      operands.insert(operands.end(), n->outputs().begin(), n->outputs().end());
    for (const auto& region : n->regions()) {
      TENON_ASSIGN_OR_RETURN(const bool inner, merge_products(*region, context));
      changed |= inner;
    }
  }
  std::vector<Node*> gone;  // erased at the end: addresses stand for nodes until then
  for (size_t i = operands.size(); i-- > 0;) {
    if (operands[i]->uses().size() < 2 || operands[i]->uses().size() > kMaxUses) continue;
    TENON_RETURN_IF_ERROR(context.step(static_cast<int64_t>(operands[i]->uses().size())));
    for (std::vector<Product>& set : products_of(*operands[i], known)) {
      std::vector<Node*> merged_nodes;
      TENON_ASSIGN_OR_RETURN(const bool merged, merge(graph, position, std::move(set), context, merged_nodes));
      changed |= merged;
      for (const Node* n : merged_nodes) known.erase(n);
      gone.insert(gone.end(), merged_nodes.rbegin(), merged_nodes.rend());
    }
  }
  for (Node* n : gone) graph.erase(n);
  return changed;
}

}  // namespace tenon::passes
