// Nodes, function calls and regions.

#include <algorithm>

#include "frontend/onnx/importer.h"
#include "ir/symbols.h"

namespace tenon::frontend {

using onnx::AttributeProto;

Status Importer::import_nodes(const Nodes& nodes, ir::Graph& graph, Scope& scope, const Frame& frame, const Hints& hints) {
  TENON_ASSIGN_OR_RETURN(const std::vector<int> order,
                         order_nodes(nodes, [&](const std::string& name) { return scope.find(name) != nullptr; }));
  for (int i : order) TENON_RETURN_IF_ERROR(import_node(nodes[i], graph, scope, frame, hints));
  return {};
}

Status Importer::import_node(const onnx::NodeProto& proto, ir::Graph& graph, Scope& scope, const Frame& frame, const Hints& hints) {
  if (++visited_ > options_.max_nodes)
    return error(Code::kResourceExhausted, "more than {} nodes once functions are inlined", options_.max_nodes);
  TENON_RETURN_IF_ERROR(options_.interrupt.check());
  if (const Functions::Entry* function = functions_.find(proto))
    return import_call(proto, *function, graph, scope, frame, hints);

  const std::string name = node_name(proto, frame);
  // Inference names the node by its name alone.
  const auto placed = [&](Status status) {
    std::string place = fmt::format("{} node {}", proto.op_type(), name);
    if (!name.empty() && status.where() == name) return Status(status.code(), status.what(), std::move(place), status.hint());
    return std::move(status).at(place);
  };
  std::vector<const onnx::GraphProto*> regions;
  Result<Call> call = read_call(proto, scope, frame, regions);
  if (!call.ok()) return placed(std::move(call).status());
  call->name = name;
  if (call->domain.empty() && call->op == "Constant") {
    Result<Tensor> value = read_constant(call->attrs);
    if (!value.ok()) return placed(std::move(value).status());
    call->attrs = {};
    call->attrs.set("value", std::move(value).value());
  }
  ir::Builder builder(graph);
  builder.set_name(name);
  std::optional<std::vector<ir::Value*>> outputs;
  if (Status status = registered_op(*call) ? Status() : normalize(*call, builder, outputs); !status.ok()) {
    if (status.code() != Code::kUnsupported) return placed(std::move(status));
    unsupported_.push_back(fmt::format("{} (node {})", status.what(), name));
  }
  if (!outputs) {
    const Form* form = find_form(call->domain, call->op, call->version);
    Values emitted = form != nullptr && unsupported_.empty() ? (this->*form->import)(*call, regions, graph, scope, frame) : emit(*call, regions, graph, scope, frame);
    if (!emitted.ok()) return placed(std::move(emitted).status());
    outputs = std::move(emitted).value();
  }
  const bool reorders = proto.domain() == "com.microsoft.nchwc";
  if (channel_block_ != 0 && (reorders ? proto.op_type() != "ReorderOutput" : call->blocked))
    blocked_.insert(outputs->begin(), outputs->end());
  return placed(bind_outputs(proto, *outputs, scope, frame, hints));
}

Result<const AttributeProto*> Importer::resolve_attribute(const AttributeProto& a, const Frame& frame) {
  if (a.ref_attr_name().empty()) return &a;
  if (frame.function == nullptr)
    return error(Code::kInvalidModel, "attribute {} refers to a function's attribute outside of any function", a.name());
  auto it = frame.attributes.find(a.ref_attr_name());
  return it == frame.attributes.end() ? static_cast<const AttributeProto*>(nullptr) : it->second;
}

Result<Call> Importer::read_call(const onnx::NodeProto& proto, const Scope& scope, const Frame& frame,
                                 std::vector<const onnx::GraphProto*>& regions) {
  Call call;
  call.domain = canonical_domain(proto.domain());
  call.op = proto.op_type();
  const auto opset = frame.opsets->find(call.domain);
  call.version = opset == frame.opsets->end() ? 1 : opset->second;
  call.channel_block = channel_block_;
  for (const std::string& name : proto.input()) {
    ir::Value* value = name.empty() ? nullptr : scope.find(name);
    if (value == nullptr && !name.empty()) return error(Code::kInvalidModel, "nothing defines '{}'", name);
    call.inputs.push_back(value);
  }
  call.blocked = std::any_of(call.inputs.begin(), call.inputs.end(), [&](const ir::Value* v) { return blocked_.contains(v); });
  for (const std::string& name : proto.output()) call.used.push_back(!name.empty());
  const std::span<const std::string_view> region_names = region_attributes(call.domain, call.op);
  regions.assign(region_names.size(), nullptr);
  std::unordered_set<std::string> seen;
  for (const AttributeProto& own : proto.attribute()) {
    if (!seen.insert(own.name()).second) return error(Code::kInvalidModel, "attribute {} is given twice", own.name());
    TENON_ASSIGN_OR_RETURN(const AttributeProto* a, resolve_attribute(own, frame));
    if (a == nullptr) continue;
    const auto region = std::find(region_names.begin(), region_names.end(), own.name());
    if (region != region_names.end()) {
      if (attribute_type(*a) != AttributeProto::GRAPH || !a->has_g())
        return error(Code::kInvalidModel, "attribute {} must be a graph", own.name());
      if (a != &own) return error(Code::kUnsupported, "attribute {} takes a graph from a function's attribute", own.name());
      regions[static_cast<size_t>(region - region_names.begin())] = &a->g();
      continue;
    }
    TENON_ASSIGN_OR_RETURN(ir::Attr value, read_attribute(*a, tensors_, *dims_));
    call.attrs.set(own.name(), std::move(value));
  }
  for (size_t i = 0; i < regions.size(); ++i)
    if (regions[i] == nullptr && call.domain.empty()) return error(Code::kInvalidModel, "attribute {} is missing", region_names[i]);
  return call;
}

namespace {

bool attr_is(const ir::Attr& attr, ir::AttrKind kind) {
  switch (kind) {
    case ir::AttrKind::kInt: return std::holds_alternative<int64_t>(attr);
    case ir::AttrKind::kFloat: return std::holds_alternative<double>(attr);
    case ir::AttrKind::kString: return std::holds_alternative<std::string>(attr);
    case ir::AttrKind::kTensor: return std::holds_alternative<Tensor>(attr);
    case ir::AttrKind::kInts: return std::holds_alternative<std::vector<int64_t>>(attr);
    case ir::AttrKind::kFloats: return std::holds_alternative<std::vector<double>>(attr);
    case ir::AttrKind::kStrings: return std::holds_alternative<std::vector<std::string>>(attr);
    case ir::AttrKind::kDims: return std::holds_alternative<std::vector<ir::Dim>>(attr);
    case ir::AttrKind::kType: return std::holds_alternative<ir::Type>(attr);
    case ir::AttrKind::kTensors: return std::holds_alternative<std::vector<Tensor>>(attr);
  }
  return false;
}

}  // namespace

/// Null for what the op table has to have.
const ir::OpDef* Importer::registered_op(const Call& call) const {
  return options_.ops == nullptr ? nullptr : options_.ops->find(call.domain, call.op, call.version);
}

Status Importer::check_attributes(const Call& call, const ir::OpDef& op) {
  for (const auto& [name, value] : call.attrs) {
    const auto found = std::find_if(op.attrs.begin(), op.attrs.end(), [&](const ir::AttrDef& def) { return def.name == name; });
    if (found == op.attrs.end())
      unsupported_.push_back(fmt::format("{} of opset {}: attribute {} (node {})", ir::qualified_name(op), call.version, name, call.name));
    else if (!attr_is(value, found->kind))
      return error(Code::kInvalidModel, "attribute {} has the wrong type", name);
  }
  for (const ir::AttrDef& def : op.attrs)
    if (def.required && !call.attrs.has(def.name)) return error(Code::kInvalidModel, "attribute {} is missing", def.name);
  return {};
}

namespace {

Status check_arity(const Call& call, const ir::OpDef& op, size_t num_inputs, size_t num_outputs) {
  const bool variadic = !op.inputs.empty() && op.inputs.back().variadic;
  if (num_inputs > op.inputs.size() && !variadic)
    return error(Code::kInvalidModel, "has {} inputs; {} takes at most {}", num_inputs, op.name, op.inputs.size());
  for (size_t i = 0; i < op.inputs.size(); ++i)
    if (!op.inputs[i].optional && !op.inputs[i].variadic && !call.has(i))
      return error(Code::kInvalidModel, "input {} ({}) is missing", i, op.inputs[i].name);
  const bool many = !op.outputs.empty() && op.outputs.back().variadic;
  if (num_outputs > op.outputs.size() && !many)
    return error(Code::kInvalidModel, "has {} outputs; {} gives at most {}", num_outputs, op.name, op.outputs.size());
  return {};
}

}  // namespace

Result<std::vector<ir::Value*>> Importer::emit(const Call& call, const std::vector<const onnx::GraphProto*>& regions, ir::Graph& graph,
                                               const Scope& scope, const Frame& frame) {
  const ir::OpDef* op = registered_op(call);
  if (op == nullptr) op = ir::find_op(call.domain, call.op);
  if (op == nullptr) return error(Code::kUnsupported, "{} is not in the op table", call.op);
  std::vector<ir::Value*> inputs = call.inputs;
  while (!inputs.empty() && inputs.back() == nullptr) inputs.pop_back();
  size_t num_outputs = call.used.size();
  while (num_outputs > 1 && !call.used[num_outputs - 1] && call.op != "Split") --num_outputs;
  TENON_RETURN_IF_ERROR(check_arity(call, *op, inputs.size(), num_outputs));
  TENON_RETURN_IF_ERROR(check_attributes(call, *op));

  ir::Node* node = graph.create(*op, inputs, static_cast<int>(std::max<size_t>(num_outputs, 1)));
  node->set_name(call.name);
  for (const auto& [name, value] : call.attrs) node->attrs().set(name, value);
  for (const onnx::GraphProto* region : regions) TENON_RETURN_IF_ERROR(import_region(*region, *node, node->add_region(), scope, frame));
  // After the first node that cannot be inferred the rest is only read, to report everything at once.
  if (unsupported_.empty()) TENON_RETURN_IF_ERROR(ir::infer_node(*node));
  return std::vector<ir::Value*>(node->outputs().begin(), node->outputs().end());
}

namespace {

/// The declared type where inference found none: an op whose outputs only run time knows still has a rank. Sizes are not
/// taken over, since files state them wrongly.
void apply_hint(ir::Value& value, const onnx::TypeProto& hint, DimNames& dims) {
  const bool lacking = !value.type().known() || (value.type().is_tensor() && !value.tensor().ranked());
  if (!lacking) return;
  Result<ir::Type> type = read_type(hint, dims, "unknown");
  if (!type.ok() || !type->known()) return;
  if (value.type().known() && type->dtype() != value.dtype()) return;
  if (type->is_ranked_tensor()) {
    std::vector<ir::Dim> any(static_cast<size_t>(type->tensor().rank()));
    for (ir::Dim& dim : any) dim = dims.dim(std::string_view(), is_bare_name(value.name()) ? value.name() : "unknown");
    type = ir::Type(ir::TensorType(type->dtype(), std::move(any)));
  }
  value.set_type(std::move(type).value());
}

}  // namespace

Status Importer::bind_outputs(const onnx::NodeProto& proto, const std::vector<ir::Value*>& outputs, Scope& scope, const Frame& frame,
                              const Hints& hints) {
  for (int i = 0; i < proto.output_size(); ++i) {
    const std::string& name = proto.output(i);
    if (name.empty()) continue;
    ir::Value* value = static_cast<size_t>(i) < outputs.size() ? outputs[static_cast<size_t>(i)] : nullptr;
    if (value == nullptr) return error(Code::kInvalidModel, "output {} ('{}') does not exist in this form of the op", i, name);
    name_value(value, frame.prefix + name);
    if (auto hint = hints.find(name); hint != hints.end()) apply_hint(*value, *hint->second, *dims_);
    if (!scope.values.emplace(name, value).second) return error(Code::kInvalidModel, "'{}' is defined twice", name);
  }
  return {};
}

Status Importer::import_call(const onnx::NodeProto& proto, const Functions::Entry& function, ir::Graph& graph, Scope& scope,
                             const Frame& frame, const Hints& hints) {
  const onnx::FunctionProto& f = *function.proto;
  const std::string name = node_name(proto, frame);
  const auto fail = [&](Code code, std::string what) { return Status(code, std::move(what), fmt::format("call of function {} in node {}", f.name(), name)); };
  if (frame.depth + 1 > options_.max_nesting) return fail(Code::kResourceExhausted, fmt::format("calls are nested more than {} deep", options_.max_nesting));
  for (const Frame* at = &frame; at != nullptr; at = at->caller)
    if (at->function == &function) return fail(Code::kInvalidModel, "the function calls itself");
  if (proto.input_size() > f.input_size() || proto.output_size() > f.output_size())
    return fail(Code::kInvalidModel, fmt::format("has {} inputs and {} outputs, the function {} and {}", proto.input_size(),
                                                 proto.output_size(), f.input_size(), f.output_size()));
  Frame inner;
  inner.opsets = &function.opsets;
  // Calls of calls with long names would take memory by their product.
  inner.prefix = name.size() <= kMaxPrefix ? name + "/" : fmt::format("call_{}/", unnamed_++);
  inner.function = &function;
  inner.caller = &frame;
  inner.depth = frame.depth + 1;
  for (const auto& [key, a] : function.defaults) inner.attributes[key] = &a;
  for (const AttributeProto& a : proto.attribute()) {
    Result<const AttributeProto*> value = resolve_attribute(a, frame);
    if (!value.ok()) return std::move(value).status().at(name);
    if (*value != nullptr) inner.attributes[a.name()] = *value;
  }
  Scope body;
  std::set<std::string> absent;
  for (int i = 0; i < f.input_size(); ++i) {
    const std::string& outer = i < proto.input_size() ? proto.input(i) : std::string();
    ir::Value* value = outer.empty() ? nullptr : scope.find(outer);
    if (!outer.empty() && value == nullptr) return fail(Code::kInvalidModel, fmt::format("nothing defines '{}'", outer));
    // A name bound to null is an optional input that the caller left out.
    if (!body.values.emplace(f.input(i), value).second) return fail(Code::kInvalidModel, fmt::format("input '{}' is declared twice", f.input(i)));
    if (value == nullptr) absent.insert(f.input(i));
  }
  if (absent.empty()) {
    TENON_RETURN_IF_ERROR(import_nodes(f.node(), graph, body, inner, {}).at(fmt::format("in function {}", f.name())));
  } else {
    Nodes nodes = f.node();
    for (auto& node : nodes)
      for (auto& input : *node.mutable_input())
        if (absent.count(input) != 0) input.clear();
    for (const std::string& key : absent) body.values.erase(key);
    TENON_RETURN_IF_ERROR(import_nodes(nodes, graph, body, inner, {}).at(fmt::format("in function {}", f.name())));
  }
  std::vector<ir::Value*> outputs;
  for (int i = 0; i < f.output_size(); ++i) outputs.push_back(body.find(f.output(i)));
  // The call's own names win over those that the body gave.
  for (int i = 0; i < proto.output_size(); ++i) {
    ir::Value* value = outputs[static_cast<size_t>(i)];
    if (value == nullptr || proto.output(i).empty() || value->def() == nullptr) continue;
    const std::string inside = inner.prefix + f.output(i);
    if (value->name() == inside && names_.erase(inside) > 0)
      ir::rename_new_value(*value, unique(frame.prefix + proto.output(i)));
  }
  return bind_outputs(proto, outputs, scope, frame, hints).at(fmt::format("call of function {} in node {}", f.name(), name));
}

ir::Type Importer::region_input_type(const ir::Node& owner, int index, int num_inputs, const onnx::ValueInfoProto& declared) {
  Result<ir::Type> read = read_type(declared.type(), *dims_, "unknown");
  ir::Type type = read.ok() ? std::move(read).value() : ir::Type();
  const auto loosened = [&](const ir::TensorType& t) {
    if (!t.ranked()) return ir::Type(t);
    std::vector<ir::Dim> dims = *t.dims;
    for (ir::Dim& dim : dims)
      if (!dim.is_const()) dim = dims_->dim(std::string_view(), is_bare_name(declared.name()) ? declared.name() : "state");
    return ir::Type(ir::TensorType(t.dtype, std::move(dims)));
  };
  const auto outer = [&](int i) { return owner.has_input(i) ? owner.input(i)->type() : ir::Type(); };

  if (owner.is("Loop")) {
    if (index == 0) return ir::TensorType(DType::kI64, {});
    if (index == 1) return ir::TensorType(DType::kBool, {});
    // A carried value may change its sizes from one iteration to the next; only what is declared holds.
    const ir::Type from = outer(index);
    if (!type.known()) return from.is_tensor() ? ir::Type(ir::TensorType::unranked(from.dtype())) : from;
    if (!type.is_ranked_tensor() || !from.is_ranked_tensor() || from.tensor().rank() != type.tensor().rank())
      return type.is_tensor() ? ir::Type(ir::TensorType::unranked(type.dtype())) : type;
    std::vector<ir::Dim> dims = *type.tensor().dims;
    for (size_t i = 0; i < dims.size(); ++i)
      if (dims[i].is_const() && from.tensor().dim(static_cast<int64_t>(i)).is_const() && dims[i] != from.tensor().dim(static_cast<int64_t>(i)))
        dims[i] = dims_->dim(std::string_view(), "state");
    return loosened(ir::TensorType(type.dtype(), std::move(dims)));
  }
  if (owner.is("Scan")) {
    // States keep their shape; scanned inputs lose the scanned axis.
    const int64_t scanned = owner.attr_int("num_scan_inputs", 0);
    const ir::Type from = outer(index);
    if (!from.is_ranked_tensor()) return type.known() ? type : from;
    if (index < num_inputs - scanned) return from;
    const std::vector<int64_t> axes = owner.attr_ints("scan_input_axes");
    const size_t k = static_cast<size_t>(index - (num_inputs - scanned));
    Result<int64_t> axis = ir::normalize_axis(k < axes.size() ? axes[k] : 0, from.tensor().rank());
    if (!axis.ok()) return type;
    std::vector<ir::Dim> dims = *from.tensor().dims;
    dims.erase(dims.begin() + *axis);
    return ir::TensorType(from.dtype(), std::move(dims));
  }
  // SequenceMap: elements of a sequence, or the tensor itself.
  const ir::Type from = outer(index);
  if (const ir::SequenceType* sequence = from.as_sequence()) return sequence->elem ? *sequence->elem : type;
  return from.known() ? from : type;
}

Status Importer::import_region(const onnx::GraphProto& proto, ir::Node& owner, ir::Graph& graph, const Scope& outer, const Frame& frame) {
  if (frame.depth + 1 > options_.max_nesting)
    return error(Code::kResourceExhausted, "subgraphs are nested more than {} deep", options_.max_nesting);
  if (owner.is("If") && proto.input_size() > 0) return error(Code::kInvalidModel, "a branch cannot have inputs");
  Frame inner = frame;
  inner.depth = frame.depth + 1;
  Scope scope;
  scope.parent = &outer;
  std::unordered_set<std::string> initialized;
  for (const auto& tensor : proto.initializer()) initialized.insert(tensor.name());
  for (int i = 0; i < proto.input_size(); ++i) {
    const auto& input = proto.input(i);
    if (initialized.count(input.name()) != 0) return error(Code::kUnsupported, "region input '{}' is also an initializer", input.name());
    ir::Value* value = graph.add_input(unique(frame.prefix + input.name()), region_input_type(owner, i, proto.input_size(), input));
    named_.insert(value);
    if (!input.name().empty() && !scope.values.emplace(input.name(), value).second)
      return error(Code::kInvalidModel, "region input '{}' is declared twice", input.name());
  }
  TENON_RETURN_IF_ERROR(import_initializers(proto, graph, scope, inner));
  Hints hints;
  for (const auto& info : proto.value_info()) hints.emplace(info.name(), &info.type());
  for (const auto& info : proto.output()) hints.emplace(info.name(), &info.type());
  TENON_RETURN_IF_ERROR(import_nodes(proto.node(), graph, scope, inner, hints));
  return import_outputs(proto.output(), graph, scope);
}

}  // namespace tenon::frontend
