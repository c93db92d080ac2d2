#include "ir/graph.h"

#include <algorithm>

#include "ir/op.h"
#include "ir/symbols.h"

namespace tenon::ir {

const Attr* Attrs::find(std::string_view name) const {
  auto it = std::ranges::lower_bound(items_, name, {}, [](const auto& item) -> std::string_view { return item.first; });
  return it != items_.end() && it->first == name ? &it->second : nullptr;
}

void Attrs::set(std::string_view name, Attr value) {
  auto it = std::ranges::lower_bound(items_, name, {}, [](const auto& item) -> std::string_view { return item.first; });
  if (it != items_.end() && it->first == name) {
    it->second = std::move(value);
  } else {
    items_.emplace(it, std::string(name), std::move(value));
  }
}

void Attrs::erase(std::string_view name) {
  std::erase_if(items_, [&](const auto& item) { return item.first == name; });
}

/// Every name that a value of the module has had, with the next suffix to try for it.
struct Graph::Names {
  std::unordered_map<std::string, int64_t> used;
};

void Value::set_name(std::string name) {
  graph_->names_->used.try_emplace(name, 1);
  name_ = std::move(name);
}

// ---- Node

namespace {

template <class T>
const T* attr_as(const Attrs& attrs, std::string_view name) {
  const Attr* attr = attrs.find(name);
  return attr ? std::get_if<T>(attr) : nullptr;
}

}  // namespace

void Node::unlink(size_t input) {
  std::vector<Use>& uses = inputs_[input]->uses_;
  const size_t at = use_of_[input];
  uses[at] = uses.back();
  uses[at].node->use_of_[static_cast<size_t>(uses[at].index)] = at;
  uses.pop_back();
  inputs_[input] = nullptr;
}

void Node::set_input(int i, Value* value) {
  TENON_CHECK(i >= 0);
  auto at = static_cast<size_t>(i);
  if (at >= inputs_.size()) {
    inputs_.resize(at + 1, nullptr);
    use_of_.resize(at + 1, 0);
  }
  if (inputs_[at] == value) return;
  if (inputs_[at]) unlink(at);
  inputs_[at] = value;
  if (!value) return;
  use_of_[at] = value->uses_.size();
  value->uses_.push_back({this, i});
}

void Node::remove_input(int i) {
  for (int k = i; k + 1 < num_inputs(); ++k) set_input(k, inputs_[static_cast<size_t>(k) + 1]);
  set_input(num_inputs() - 1, nullptr);
  inputs_.pop_back();
  use_of_.pop_back();
}

void Node::clear_inputs() {
  for (int i = 0; i < num_inputs(); ++i) set_input(i, nullptr);
  inputs_.clear();
  use_of_.clear();
}

int64_t Node::attr_int(std::string_view name, int64_t fallback) const {
  const auto* v = attr_as<int64_t>(attrs_, name);
  return v ? *v : fallback;
}
double Node::attr_float(std::string_view name, double fallback) const {
  const auto* v = attr_as<double>(attrs_, name);
  return v ? *v : fallback;
}
std::string Node::attr_string(std::string_view name, std::string_view fallback) const {
  const auto* v = attr_as<std::string>(attrs_, name);
  return v ? *v : std::string(fallback);
}
std::vector<int64_t> Node::attr_ints(std::string_view name) const {
  const auto* v = attr_as<std::vector<int64_t>>(attrs_, name);
  return v ? *v : std::vector<int64_t>();
}
std::vector<double> Node::attr_floats(std::string_view name) const {
  const auto* v = attr_as<std::vector<double>>(attrs_, name);
  return v ? *v : std::vector<double>();
}
std::vector<std::string> Node::attr_strings(std::string_view name) const {
  const auto* v = attr_as<std::vector<std::string>>(attrs_, name);
  return v ? *v : std::vector<std::string>();
}
const Tensor* Node::attr_tensor(std::string_view name) const { return attr_as<Tensor>(attrs_, name); }
const std::vector<Dim>* Node::attr_dims(std::string_view name) const { return attr_as<std::vector<Dim>>(attrs_, name); }

Value* Node::add_output(std::string name) {
  Value* value = graph_->new_value(std::move(name));
  value->def_ = this;
  value->def_index_ = num_outputs();
  outputs_.push_back(value);
  return value;
}

Graph& Node::add_region() { return add_region(std::make_unique<Graph>(graph_->dims_)); }

Graph& Node::add_region(std::unique_ptr<Graph> region) {
  region->parent_ = this;
  region->share_names(graph_->names_);
  regions_.push_back(std::move(region));
  return *regions_.back();
}

Node* Node::next() const {
  auto it = std::next(self_);
  return it == graph_->nodes_.end() ? nullptr : it->get();
}

Node* Node::prev() const { return self_ == graph_->nodes_.begin() ? nullptr : std::prev(self_)->get(); }

// ---- Graph

Graph::Graph(std::shared_ptr<DimContext> dims)
    : dims_(dims ? std::move(dims) : std::make_shared<DimContext>()), names_(std::make_shared<Names>()) {}

Graph::~Graph() {
  // Users go before what they use; a region gives back its uses of outer values, which outlive it.
  while (!nodes_.empty()) {
    nodes_.back()->regions_.clear();
    nodes_.back()->clear_inputs();
    nodes_.pop_back();
  }
  for (size_t i = outputs_.size(); i-- > 0;) unlink_output(i);
}

Value* Graph::new_value(std::string name) {
  values_.push_back(std::make_unique<Value>());
  Value* value = values_.back().get();
  value->self_ = std::prev(values_.end());
  value->graph_ = this;
  value->set_name(std::move(name));
  return value;
}

void Graph::free_value(Value* value) { values_.erase(value->self_); }

void Graph::share_names(const std::shared_ptr<Names>& names) {
  if (names_ == names) return;
  for (auto& [name, next] : names_->used) {
    int64_t& there = names->used.try_emplace(name, next).first->second;
    there = std::max(there, next);
  }
  names_ = names;
  for (const auto& node : nodes_)
    for (const auto& region : node->regions_) region->share_names(names);
}

Value* Graph::add_input(std::string name, Type type) {
  Value* value = new_value(std::move(name));
  value->set_type(std::move(type));
  value->def_index_ = static_cast<int>(inputs_.size());
  inputs_.push_back(value);
  return value;
}

void Graph::remove_input(int i) {
  Value* value = inputs_[static_cast<size_t>(i)];
  TENON_CHECK(value->unused());
  inputs_.erase(inputs_.begin() + i);
  for (size_t k = static_cast<size_t>(i); k < inputs_.size(); ++k) inputs_[k]->def_index_ = static_cast<int>(k);
  free_value(value);
}

void Graph::add_output(Value* value, std::string name) {
  output_names_.push_back(name.empty() ? value->name() : std::move(name));
  outputs_.push_back(nullptr);
  output_use_of_.push_back(0);
  link_output(outputs_.size() - 1, value);
}

void Graph::link_output(size_t output, Value* value) {
  outputs_[output] = value;
  output_use_of_[output] = value->output_uses_.size();
  value->output_uses_.push_back({this, static_cast<int>(output)});
}

void Graph::unlink_output(size_t output) {
  std::vector<OutputUse>& uses = outputs_[output]->output_uses_;
  const size_t at = output_use_of_[output];
  uses[at] = uses.back();
  uses[at].graph->output_use_of_[static_cast<size_t>(uses[at].index)] = at;
  uses.pop_back();
  outputs_[output] = nullptr;
}

void Graph::set_output(int i, Value* value) {
  unlink_output(static_cast<size_t>(i));
  link_output(static_cast<size_t>(i), value);
}

void Graph::remove_output(int i) {
  const auto at = static_cast<size_t>(i);
  for (size_t k = at; k + 1 < outputs_.size(); ++k) set_output(static_cast<int>(k), outputs_[k + 1]);
  unlink_output(outputs_.size() - 1);
  outputs_.pop_back();
  output_use_of_.pop_back();
  output_names_.erase(output_names_.begin() + i);
}

Node* Graph::create(const OpDef& op, std::span<Value* const> inputs, int num_outputs, Node* before) {
  TENON_CHECK(!before || before->graph_ == this);
  auto it = nodes_.insert(before ? before->self_ : nodes_.end(), std::make_unique<Node>());
  Node* node = it->get();
  node->self_ = it;
  node->op_ = &op;
  if (op.closure) node->state_ = std::make_shared<NodeState>();
  node->graph_ = this;
  for (size_t i = 0; i < inputs.size(); ++i) node->set_input(static_cast<int>(i), inputs[i]);
  node->inputs_.resize(inputs.size(), nullptr);
  node->use_of_.resize(inputs.size(), 0);
  for (int i = 0; i < num_outputs; ++i) node->add_output(unique_name(op.name));
  return node;
}

void Graph::move_before(Node* node, Node* before) {
  TENON_CHECK(node->graph_ == this && (!before || before->graph_ == this));
  if (node == before) return;
  nodes_.splice(before ? before->self_ : nodes_.end(), nodes_, node->self_);
}

void Graph::erase(Node* node) {
  TENON_CHECK(node->graph_ == this);
  for (Value* output : node->outputs_) TENON_CHECK(output->unused());
  node->regions_.clear();
  node->clear_inputs();
  for (Value* output : node->outputs_) free_value(output);
  nodes_.erase(node->self_);
}

void Graph::replace_all_uses(Value* from, Value* to) {
  if (from == to) return;
  while (!from->uses_.empty()) {
    Use use = from->uses_.back();
    use.node->set_input(use.index, to);
  }
  while (!from->output_uses_.empty()) {
    const OutputUse use = from->output_uses_.back();
    use.graph->set_output(use.index, to);
  }
}

std::string Graph::unique_name(std::string_view hint) {
  std::string name(hint.empty() ? "v" : hint);
  auto [it, inserted] = names_->used.try_emplace(name, 1);
  if (inserted) return name;
  // References into an unordered_map survive insertions; iterators need not.
  int64_t& next = it->second;
  for (;;) {
    std::string candidate = fmt::format("{}_{}", name, next++);
    if (names_->used.try_emplace(candidate, 1).second) return candidate;
  }
}

namespace {

void copy_all(const Graph& from, Graph& to, Node* before, std::unordered_map<const Value*, Value*>& map);

void copy_region(const Graph& from, Graph& to, std::unordered_map<const Value*, Value*>& map, bool keep_names) {
  to.name = from.name;
  to.metadata = from.metadata;
  for (const Value* input : from.inputs()) {
    Value* copy = to.add_input(keep_names ? input->name() : to.unique_name(input->name()), input->type());
    copy->set_dim_values(input->dim_values());
    map[input] = copy;
  }
  copy_all(from, to, nullptr, map);
  for (size_t i = 0; i < from.outputs().size(); ++i) {
    auto it = map.find(from.outputs()[i]);
    to.add_output(it == map.end() ? from.outputs()[i] : it->second, from.output_name(static_cast<int>(i)));
  }
}

void copy_all(const Graph& from, Graph& to, Node* before, std::unordered_map<const Value*, Value*>& map) {
  std::vector<Value*> inputs;
  for (const auto& node : from.nodes()) {
    inputs.clear();
    for (Value* input : node->inputs()) {
      auto it = input ? map.find(input) : map.end();
      inputs.push_back(it == map.end() ? input : it->second);
    }
    Node* copy = to.create(node->op(), inputs, 0, before);
    copy->set_name(node->name());
    copy->attrs() = node->attrs();
    for (int i = 0; i < node->num_outputs(); ++i) {
      const Value* output = node->output(i);
      Value* value = copy->add_output(to.unique_name(output->name()));
      value->set_type(output->type());
      value->set_dim_values(output->dim_values());
      map[output] = value;
    }
    for (const auto& region : node->regions()) copy_region(*region, copy->add_region(), map, false);
  }
}

}  // namespace

void copy_nodes(const Graph& from, Graph& to, Node* before, std::unordered_map<const Value*, Value*>& map) {
  copy_all(from, to, before, map);
  separate_symbols(map);
}

void Graph::forget_assumptions() {
  assumptions_.clear();
  assumption_by_hash_.clear();
}

void Graph::assume(Dim a, Dim b, bool at_most, const Node& node) {
  const size_t hash = a.hash() * 31 + b.hash();
  const auto [begin, end] = assumption_by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (const Assumption& known = assumptions_[it->second]; known.a == a && known.b == b && known.at_most == at_most) return;
  assumption_by_hash_.emplace(hash, assumptions_.size());
  assumptions_.push_back({a, b, at_most, node.name().empty() ? std::string(node.op_name()) : node.name()});
}

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>(dims_);
  copy->op_registry_ = op_registry_;
  if (parent_) copy->names_ = names_;
  std::unordered_map<const Value*, Value*> map;
  copy_region(*this, *copy, map, parent_ == nullptr);
  if (parent_) separate_symbols(map);
  return copy;
}

const Tensor* constant_of(const Value* value) {
  if (!value || !value->def() || value->def()->op_name() != "Constant") return nullptr;
  return value->def()->attr_tensor("value");
}

std::optional<std::vector<int64_t>> constant_ints(const Value* value) {
  if (!value) return std::nullopt;
  if (const Tensor* tensor = constant_of(value)) {
    if (!is_int(tensor->dtype()) && tensor->dtype() != DType::kBool) return std::nullopt;
    std::vector<int64_t> out(static_cast<size_t>(tensor->size()));
    for (int64_t i = 0; i < tensor->size(); ++i) out[static_cast<size_t>(i)] = tensor->at_int(i);
    return out;
  }
  if (!value->dim_values()) return std::nullopt;
  std::vector<int64_t> out;
  for (const Dim& dim : *value->dim_values()) {
    if (!dim.is_const()) return std::nullopt;
    out.push_back(dim.value());
  }
  return out;
}

}  // namespace tenon::ir
