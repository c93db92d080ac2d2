#include "ir/op.h"

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "ir/ops/families.h"
#include "support/axis.h"

namespace tenon::ir {

// ---- The table

namespace {

struct OpTable {
  std::deque<OpDef> ops;
  std::vector<const OpDef*> list;
  std::deque<std::string> names;
  std::unordered_map<std::string_view, const OpDef*> by_name;

  OpTable() {
    for (OpFamily family : op_families())
      for (OpDef& op : family()) add(std::move(op));
  }

  void add(OpDef op) {
    OpDef& def = ops.emplace_back(std::move(op));
    def.qualified = names.emplace_back(qualified_name(def));
    TENON_CHECK(by_name.emplace(def.qualified, &def).second);
    list.push_back(&def);
  }
};

const OpTable& op_table() {
  static const OpTable table;
  return table;
}

}  // namespace

const OpDef* find_op(std::string_view domain, std::string_view name) {
  if (domain.empty() || domain == "ai.onnx") return find_op(name);
  return find_op(fmt::format("{}.{}", domain, name));
}

const OpDef* find_op(std::string_view qualified) {
  auto it = op_table().by_name.find(qualified);
  return it == op_table().by_name.end() ? nullptr : it->second;
}

std::span<const OpDef* const> all_ops() { return op_table().list; }

std::string qualified_name(const OpDef& op) {
  return op.domain.empty() ? std::string(op.name) : fmt::format("{}.{}", op.domain, op.name);
}

std::string_view Node::op_name() const { return op_->qualified.empty() ? op_->name : op_->qualified; }

// ---- Form: what inference may rely on

namespace {

std::string place(const Node& node) {
  std::string_view name = node.name();
  if (name.empty() && node.num_outputs() > 0) name = node.output(0)->name();
  return fmt::format("{} node '{}'", node.op_name(), name);
}

template <class... Args>
Status node_error(const Node& node, fmt::format_string<Args...> format, Args&&... args) {
  return Status(Code::kInvalidModel, fmt::format(format, std::forward<Args>(args)...), place(node));
}

const Param* param_at(const std::vector<Param>& params, int i) {
  if (static_cast<size_t>(i) < params.size()) return &params[static_cast<size_t>(i)];
  return !params.empty() && params.back().variadic ? &params.back() : nullptr;
}

constexpr std::string_view kAttrKindNames[] = {"int",  "float",  "string",  "tensor", "ints",
                                               "floats", "strings", "dims", "type",   "tensors"};

/// Attr's alternatives stand in AttrKind's order.
static_assert(std::is_same_v<std::variant_alternative_t<static_cast<size_t>(AttrKind::kDims), Attr>, std::vector<Dim>>);
static_assert(std::is_same_v<std::variant_alternative_t<static_cast<size_t>(AttrKind::kTensors), Attr>,
                             std::vector<Tensor>>);

Status check_attrs(const Node& node) {
  for (const AttrDef& def : node.op().attrs) {
    const Attr* attr = node.attrs().find(def.name);
    if (!attr && def.required) return node_error(node, "the attribute '{}' is missing", def.name);
    if (attr && attr->index() != static_cast<size_t>(def.kind))
      return node_error(node, "the attribute '{}' is of kind {}, not {}", def.name, kAttrKindNames[attr->index()],
                        kAttrKindNames[static_cast<size_t>(def.kind)]);
  }
  return {};
}

Status check_arity(const Node& node) {
  const OpDef& op = node.op();
  for (int i = 0; i < std::max<int>(node.num_inputs(), static_cast<int>(op.inputs.size())); ++i) {
    const Param* param = param_at(op.inputs, i);
    if (!param) return node_error(node, "{} inputs are given, {} allowed", node.num_inputs(), op.inputs.size());
    if (!node.has_input(i) && !param->optional && !(param->variadic && i >= node.num_inputs()))
      return node_error(node, "the input '{}' (number {}) is missing", param->name, i);
  }
  for (int i = 0; i < node.num_outputs(); ++i)
    if (!param_at(op.outputs, i))
      return node_error(node, "{} outputs are named, {} allowed", node.num_outputs(), op.outputs.size());
  if (node.num_regions() != op.num_regions)
    return node_error(node, "{} regions are given, {} needed", node.num_regions(), op.num_regions);
  return {};
}

/// The dtypes that type variables stand for in one node.
using TypeVars = std::vector<std::pair<std::string_view, DType>>;

Status check_param(const Node& node, const Param& param, const Value& value, std::string_view side, TypeVars& vars) {
  const Type& type = value.type();
  if (!type.is_tensor()) {
    if (param.any) return {};
    return node_error(node, "the {} '{}' ({}) is {}, not a tensor", side, param.name, value.name(), to_string(type));
  }
  DType dtype = type.dtype();
  if (dtype == DType::kInvalid || !(param.types & dtype_bit(dtype)))
    return node_error(node, "the {} '{}' ({}) may not be {}", side, param.name, value.name(), name(dtype));
  if (param.any || param.var.empty()) return {};
  auto bound = std::ranges::find(vars, param.var, &TypeVars::value_type::first);
  if (bound == vars.end()) {
    vars.emplace_back(param.var, dtype);
  } else if (bound->second != dtype) {
    return node_error(node, "the {} '{}' ({}) is {} where {} must be {}", side, param.name, value.name(), name(dtype),
                      param.var, name(bound->second));
  }
  return {};
}

Status check_input_types(const Node& node, TypeVars& vars) {
  for (int i = 0; i < node.num_inputs(); ++i) {
    const Value* value = node.input(i);
    if (!value) continue;
    if (!value->type().known()) return node_error(node, "the type of the input '{}' is not known", value->name());
    TENON_RETURN_IF_ERROR(check_param(node, *param_at(node.op().inputs, i), *value, "input", vars));
  }
  return {};
}

/// `now` with what `before` knew and it does not, which the node's graph assumes to be true.
Type refine(const Node& node, const Type& before, const Type& now) {
  if (!now.known()) return before;
  if (!before.is_ranked_tensor() || !now.is_tensor() || before.dtype() != now.dtype()) return now;
  if (!now.tensor().ranked()) return before;
  if (before.tensor().rank() != now.tensor().rank()) return now;
  std::vector<Dim> dims = *now.tensor().dims;
  for (size_t i = 0; i < dims.size(); ++i) {
    const Dim& known = (*before.tensor().dims)[i];
    if (known.is_const() && !dims[i].is_const() && !differ(node, known, dims[i])) dims[i] = known;
  }
  return TensorType(now.dtype(), std::move(dims));
}

Status check_output(const Node& node, int i, TypeVars& vars) {
  const Value& output = *node.output(i);
  if (!output.type().known()) return node_error(node, "the type of the output '{}' cannot be inferred", output.name());
  if (output.type().is_ranked_tensor())
    for (const Dim& dim : *output.tensor().dims)
      if (!dim.is_valid() || (dim.is_const() && dim.value() < 0))
        return node_error(node, "the output '{}' would have the shape {}", output.name(), to_string(output.type()));
  return check_param(node, *param_at(node.op().outputs, i), output, "output", vars);
}

}  // namespace

Status check_node_form(const Node& node) {
  TENON_RETURN_IF_ERROR(check_arity(node));
  return check_attrs(node);
}

Status check_node_types(const Node& node) {
  TypeVars vars;
  TENON_RETURN_IF_ERROR(check_input_types(node, vars));
  for (int i = 0; i < node.num_outputs(); ++i) TENON_RETURN_IF_ERROR(check_output(node, i, vars));
  return {};
}

Status infer_node(Node& node) {
  TypeVars vars;
  TENON_RETURN_IF_ERROR(check_node_form(node));
  TENON_RETURN_IF_ERROR(check_input_types(node, vars));
  std::vector<Type> before;
  for (Value* output : node.outputs()) {
    before.push_back(output->type());
    output->set_type({});
    output->set_dim_values(std::nullopt);
  }
  Status status;
  if (node.op().infer) {
    InferContext context(node);
    status = node.op().infer(context);
  }
  for (int i = 0; i < node.num_outputs(); ++i) {
    Value* output = node.output(i);
    output->set_type(status.ok() ? refine(node, before[static_cast<size_t>(i)], output->type())
                                 : before[static_cast<size_t>(i)]);
  }
  TENON_RETURN_IF_ERROR(std::move(status));
  for (int i = 0; i < node.num_outputs(); ++i) TENON_RETURN_IF_ERROR(check_output(node, i, vars));
  return {};
}

Status infer_graph(Graph& graph) {
  for (Node* node = graph.first(); node; node = node->next()) TENON_RETURN_IF_ERROR(infer_node(*node));
  return {};
}

// ---- InferContext

std::optional<std::vector<Dim>> InferContext::dim_values(int i) const {
  constexpr int64_t kMaxTracked = 4096;
  if (!has(i)) return std::nullopt;
  if (const Tensor* tensor = constant(i)) {
    if (!is_int(tensor->dtype()) || tensor->rank() > 1 || tensor->size() > kMaxTracked) return std::nullopt;
    std::vector<Dim> out;
    for (int64_t k = 0; k < tensor->size(); ++k) out.emplace_back(tensor->at_int(k));
    return out;
  }
  return node_.input(i)->dim_values();
}

Dim InferContext::fresh_dim(int output, int axis) {
  return dims().symbol(fmt::format("{}.d{}", node_.output(output)->name(), axis));
}

Status InferContext::fail_text(std::string text) const {
  return Status(Code::kInvalidModel, std::move(text), place(node_));
}

bool differ(const Node& node, Dim a, Dim b) {
  if (known_ne(a, b)) return true;
  if (!known_eq(a, b)) node.graph()->assume(a, b, false, node);
  return false;
}

bool exceeds(const Node& node, Dim a, Dim limit) {
  if (known_lt(limit, a)) return true;
  if (!known_le(a, limit)) node.graph()->assume(a, limit, true, node);
  return false;
}

Result<std::vector<Dim>> broadcast(std::span<const std::vector<Dim>> shapes) {
  size_t rank = 0;
  for (const auto& shape : shapes) rank = std::max(rank, shape.size());
  std::vector<Dim> out(rank, Dim(1));
  for (const auto& shape : shapes) {
    for (size_t i = 0; i < shape.size(); ++i) {
      Dim& to = out[rank - shape.size() + i];
      Dim from = shape[i];
      if (from.is_const(1) || from == to) continue;
      if (to.is_const(1) || (from.is_const() && !to.is_const())) {
        to = from;
      } else if (from.is_const()) {
        return error(Code::kInvalidModel, "shapes do not broadcast: {} against {} on axis {} of {}", from.value(),
                     to.value(), rank - shape.size() + i, rank);
      }
    }
  }
  return out;
}

Result<int64_t> normalize_axis(int64_t axis, int64_t rank, std::string_view attribute) {
  return tenon::normalize_axis(axis, rank, attribute);
}

Result<Type> merge_types(const Type& a, const Type& b, const std::function<Dim(int axis)>& fresh) {
  if (a == b) return a;
  auto differ = [&] { return error(Code::kInvalidModel, "the types {} and {} differ", to_string(a), to_string(b)); };
  auto element = [](const std::shared_ptr<const Type>& x, const std::shared_ptr<const Type>& y)
      -> Result<std::shared_ptr<const Type>> {
    if (!x || !x->known()) return y;
    if (!y || !y->known()) return x;
    if (*x == *y) return x;
    // Elements of one sequence have shapes of their own: no symbol stands for a dim of all of them.
    if (x->is_tensor() && y->is_tensor() && x->dtype() == y->dtype())
      return std::make_shared<const Type>(TensorType::unranked(x->dtype()));
    TENON_ASSIGN_OR_RETURN(Type merged, merge_types(*x, *y, [](int) { return Dim::invalid(); }));
    return std::make_shared<const Type>(std::move(merged));
  };
  if (a.is_tensor() && b.is_tensor()) {
    if (a.dtype() != b.dtype()) return differ();
    if (!a.is_ranked_tensor() || !b.is_ranked_tensor() || a.tensor().rank() != b.tensor().rank())
      return Type(TensorType::unranked(a.dtype()));
    std::vector<Dim> dims = *a.tensor().dims;
    for (size_t i = 0; i < dims.size(); ++i)
      if (dims[i] != b.tensor().dim(static_cast<int64_t>(i))) dims[i] = fresh(static_cast<int>(i));
    return Type(TensorType(a.dtype(), std::move(dims)));
  }
  if (a.as_sequence() && b.as_sequence()) {
    TENON_ASSIGN_OR_RETURN(auto elem, element(a.as_sequence()->elem, b.as_sequence()->elem));
    return Type(SequenceType{std::move(elem)});
  }
  if (a.as_optional() || b.as_optional()) {
    auto held = [](const Type& t) { return t.as_optional() ? t.as_optional()->elem : std::make_shared<const Type>(t); };
    TENON_ASSIGN_OR_RETURN(auto elem, element(held(a), held(b)));
    return Type(OptionalType{std::move(elem)});
  }
  if (a.as_map() && b.as_map() && a.as_map()->key == b.as_map()->key) {
    TENON_ASSIGN_OR_RETURN(auto value, element(a.as_map()->value, b.as_map()->value));
    return Type(MapType{a.as_map()->key, std::move(value)});
  }
  return differ();
}

// ---- EvalContext

Result<Tensor*> EvalContext::allocate(int output, DType dtype, Shape shape) const {
  TENON_ASSIGN_OR_RETURN(int64_t count, element_count(shape));
  auto bytes = storage_bytes(dtype, count);
  if (!bytes || static_cast<uint64_t>(*bytes) > static_cast<uint64_t>(max_bytes) || count > max_bytes)
    return Status(Code::kResourceExhausted,
                  fmt::format("an output of {} x {} is larger than the limit of {} bytes", tenon::to_string(shape),
                              name(dtype), max_bytes),
                  place(node));
  TENON_ASSIGN_OR_RETURN(Tensor tensor, Tensor::zeros(dtype, std::move(shape)));
  HostValue& slot = outputs[static_cast<size_t>(output)];
  slot = std::move(tensor);
  return &std::get<Tensor>(slot);
}

// ---- Builder

Value* Builder::make(std::string_view op, std::initializer_list<Value*> inputs,
                     std::initializer_list<std::pair<std::string_view, Attr>> attrs) {
  std::vector<std::pair<std::string, Attr>> list;
  for (const auto& [name, attr] : attrs) list.emplace_back(std::string(name), attr);
  return make_n(op, std::span<Value* const>(inputs.begin(), inputs.size()), 1, std::move(list))[0];
}

std::vector<Value*> Builder::make_n(std::string_view op, std::span<Value* const> inputs, int num_outputs,
                                    std::vector<std::pair<std::string, Attr>> attrs) {
  return make_region(op, inputs, num_outputs, std::move(attrs), {});
}

std::vector<Value*> Builder::make_region(std::string_view op, std::span<Value* const> inputs, int num_outputs,
                                         std::vector<std::pair<std::string, Attr>> attrs,
                                         const std::function<Status(Graph& region)>& fill) {
  std::vector<Value*> none(static_cast<size_t>(num_outputs), nullptr);
  if (!status_.ok()) return none;
  const OpDef* def = find_op(op);
  if (!def) {
    status_ = error(Code::kInternal, "there is no op {}", op);
    return none;
  }
  Node* node = graph_.create(*def, inputs, 0, before_);
  std::string prefix = name_.empty() ? std::string(def->name) : fmt::format("{}.{}", name_, def->name);
  for (int i = 0; i < num_outputs; ++i) node->add_output(graph_.unique_name(prefix));
  node->set_name(num_outputs > 0 ? node->output(0)->name() : prefix);
  for (auto& [name, attr] : attrs) node->attrs().set(name, std::move(attr));
  if (fill) status_ = fill(node->add_region());
  if (status_.ok()) status_ = infer_node(*node);
  if (!status_.ok()) return none;
  return {node->outputs().begin(), node->outputs().end()};
}

Value* Builder::constant(Tensor tensor, std::string_view name) {
  std::string saved = name_;
  if (!name.empty()) name_ = name;
  Value* value = make("Constant", {}, {{"value", Attr(std::move(tensor))}});
  name_ = std::move(saved);
  return value;
}

Value* Builder::scalar(DType dtype, double value) {
  Result<Tensor> tensor = Tensor::zeros(dtype, {});
  if (!tensor.ok()) {
    if (status_.ok()) status_ = tensor.status();
    return nullptr;
  }
  tensor->set_double(0, value);
  return constant(std::move(*tensor));
}

Value* Builder::ints(std::span<const int64_t> values) {
  return constant(Tensor::from<int64_t>({static_cast<int64_t>(values.size())}, values));
}

}  // namespace tenon::ir
