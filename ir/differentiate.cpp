#include "ir/differentiate.h"

#include <unordered_map>
#include <unordered_set>

namespace tenon::ir {
namespace {

using ValueSet = std::unordered_set<const Value*>;

bool is_float_tensor(const Value* v) { return v->type().is_tensor() && (kFloat16To64 & dtype_bit(v->dtype())) != 0; }

/// The nodes that y depends on through values outside of `ends`, each after those it reads. Iterative: graphs are deep.
std::vector<Node*> nodes_before(const Value* y, const ValueSet& ends) {
  std::vector<Node*> order;
  std::unordered_set<const Node*> seen;
  std::vector<std::pair<Node*, int>> stack;
  const auto visit = [&](const Value* v) {
    if (v != nullptr && ends.count(v) == 0 && v->def() != nullptr && seen.insert(v->def()).second)
      stack.emplace_back(v->def(), 0);
  };
  visit(y);
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next < node->num_inputs()) {
      const Value* input = node->input(next++);
      visit(input);
    } else {
      order.push_back(node);
      stack.pop_back();
    }
  }
  return order;
}

/// Drops the axes that broadcasting added or widened.
Result<Value*> sum_to_shape_of(Steps& s, Value* g, Value* x) {
  if (!g->type().is_ranked_tensor() || !x->type().is_ranked_tensor())
    return Status(Code::kUnsupported, fmt::format("the rank of {} is not known", x->name()), {},
                  "give the model's inputs shapes");
  const Dims from = *g->tensor().dims, to = *x->tensor().dims;
  if (from.size() < to.size())
    return error(Code::kInternal, "a cotangent of {} for {}", to_string(g->type()), to_string(x->type()));
  const size_t added = from.size() - to.size();
  std::vector<int64_t> axes;
  for (size_t i = 0; i < from.size(); ++i)
    if (i < added || (to[i - added].is_const(1) && !from[i].is_const(1))) axes.push_back(static_cast<int64_t>(i));
  if (!axes.empty()) g = s.reduce("ReduceSum", g, axes);
  return added == 0 ? g : s.reshape(g, to);
}

class Tape {
 public:
  explicit Tape(Builder& builder) : builder_(builder), s_(builder) {}

  Result<std::vector<Value*>> gradients(Value* y, std::span<Value* const> xs) {
    const ValueSet ends(xs.begin(), xs.end());
    for (Value* x : xs) active_.insert(x);
    for (Node* node : nodes_before(y, ends)) TENON_RETURN_IF_ERROR(record(*node, ends));
    if (active_.count(y) != 0) cotangents_[canonical(y)] = filled_like(y, 1);
    for (size_t i = tape_.size(); i-- > 0;)
      TENON_RETURN_IF_ERROR(
          pull_back(*tape_[i]).at(fmt::format("{} node '{}'", tape_[i]->op_name(), tape_[i]->name())));
    std::vector<Value*> out;
    for (Value* x : xs) {
      auto found = cotangents_.find(canonical(x));
      out.push_back(found != cotangents_.end() ? found->second : filled_like(x, 0));
    }
    TENON_RETURN_IF_ERROR(builder_.status());
    return out;
  }

 private:
  Value* canonical(Value* v) const {
    for (auto it = stands_for_.find(v); it != stands_for_.end(); it = stands_for_.find(v)) v = it->second;
    return v;
  }

  Value* filled_like(Value* v, double value) {
    Result<Tensor> element = Tensor::zeros(v->dtype(), {1});
    element->set_double(0, value);
    return builder_.make("ConstantOfShape", {builder_.make("Shape", {v})}, {{"value", std::move(*element)}});
  }

  /// Puts a node that carries a derivative on the tape; in place of one without a rule, what it decomposes to.
  Status record(Node& node, const ValueSet& ends) {
    bool active = false;
    for (Value* input : node.inputs()) active |= input != nullptr && active_.count(input) != 0;
    bool floats = false;
    for (Value* output : node.outputs()) floats |= is_float_tensor(output);
    if (!active || !floats) return {};
    const auto place = [&] { return fmt::format("{} node '{}'", node.op_name(), node.name()); };
    if (derivative_of(node.op()) != nullptr) {
      tape_.push_back(&node);
      for (Value* output : node.outputs())
        if (is_float_tensor(output) && ends.count(output) == 0) active_.insert(output);
      return {};
    }
    if (node.op().compute.decompose == nullptr || node.num_regions() > 0 || ++decomposed_ > kMaxDecomposed)
      return Status(Code::kUnsupported, fmt::format("{} has no derivative rule", node.op_name()), node.name());
    Graph& graph = builder_.graph();
    Node* last = graph.nodes().empty() ? nullptr : graph.nodes().back().get();
    Result<std::vector<Value*>> values = node.op().compute.decompose(node, builder_);
    if (!values.ok()) return std::move(values).status().at(place());
    TENON_RETURN_IF_ERROR(builder_.status());
    for (Node* n = last == nullptr ? graph.first() : last->next(); n != nullptr; n = n->next())
      TENON_RETURN_IF_ERROR(record(*n, ends));
    for (size_t i = 0; i < values->size(); ++i) {
      Value *output = node.output(static_cast<int>(i)), *value = (*values)[i];
      if (value == nullptr || active_.count(value) == 0 || ends.count(output) != 0) continue;
      active_.insert(output);
      stands_for_.emplace(output, value);
    }
    return {};
  }

  Status pull_back(Node& node) {
    std::vector<Value*> cotangents;
    bool any = false;
    for (Value* output : node.outputs()) {
      auto found = cotangents_.find(output);
      cotangents.push_back(found == cotangents_.end() ? nullptr : found->second);
      any |= cotangents.back() != nullptr;
    }
    if (!any) return {};
    Pullback p{s_, node, cotangents};
    TENON_ASSIGN_OR_RETURN(const std::vector<Value*> results, derivative_of(node.op())(p));
    TENON_RETURN_IF_ERROR(builder_.status());
    for (size_t i = 0; i < results.size(); ++i) {
      Value* input = node.input(static_cast<int>(i));
      if (input == nullptr || results[i] == nullptr || active_.count(input) == 0) continue;
      TENON_ASSIGN_OR_RETURN(Value * g, sum_to_shape_of(s_, results[i], input));
      Value*& total = cotangents_[canonical(input)];
      total = total == nullptr ? g : s_.add(total, g);
    }
    return builder_.status();
  }

  static constexpr int kMaxDecomposed = 1'000'000;
  Builder& builder_;
  Steps s_;
  std::vector<Node*> tape_;
  ValueSet active_;                                // float values that depend on xs
  std::unordered_map<Value*, Value*> stands_for_;  // an output of a decomposed node: the value that took its place
  std::unordered_map<const Value*, Value*> cotangents_;
  int decomposed_ = 0;
};

}  // namespace

Result<std::vector<Value*>> gradients(Builder& builder, Value* y, std::span<Value* const> xs) {
  if (!is_float_tensor(y))
    return error(Code::kInvalidModel, "{} is {}, which has no derivative", y->name(), to_string(y->type()));
  for (Value* x : xs)
    if (!is_float_tensor(x))
      return error(Code::kInvalidModel, "{} is {}: there is no derivative by it", x->name(), to_string(x->type()));
  return Tape(builder).gradients(y, xs);
}

Result<Value*> substitute(Builder& builder, Value* y, std::span<Value* const> from, std::span<Value* const> to) {
  std::unordered_map<const Value*, Value*> map;
  for (size_t i = 0; i < from.size(); ++i)
    if (from[i] != to[i]) map.emplace(from[i], to[i]);
  if (map.empty()) return y;
  const auto mapped = [&](Value* v) {
    auto it = map.find(v);
    return it == map.end() ? v : it->second;
  };
  for (Node* node : nodes_before(y, ValueSet(from.begin(), from.end()))) {
    std::vector<Value*> inputs;
    bool changed = false;
    for (Value* input : node->inputs()) {
      inputs.push_back(mapped(input));
      changed |= inputs.back() != input;
    }
    if (!changed) continue;
    if (node->num_regions() > 0)
      return Status(Code::kUnsupported, fmt::format("{} cannot be run again with other values", node->op_name()),
                    node->name());
    Node* copy = builder.graph().create(node->op(), inputs, node->num_outputs());
    copy->set_name(copy->num_outputs() > 0 ? copy->output(0)->name() : node->name());
    copy->attrs() = node->attrs();
    TENON_RETURN_IF_ERROR(infer_node(*copy));
    for (int i = 0; i < node->num_outputs(); ++i) map.emplace(node->output(i), copy->output(i));
  }
  return mapped(y);
}

}  // namespace tenon::ir
