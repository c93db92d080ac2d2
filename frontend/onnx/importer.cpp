#include "frontend/onnx/importer.h"

#include <algorithm>
#include <set>

#include "frontend/onnx/channel_block.h"
#include "frontend/onnx/model_fields.h"
#include "ir/symbols.h"
#include "ir/verifier.h"
#include "support/log.h"

namespace tenon::frontend {
namespace {

constexpr int64_t kOldestIr = 3, kNewestIr = 13;

Status check_model(const onnx::ModelProto& model) {
  if (!model.has_graph()) return Status(Code::kInvalidModel, "there is no graph in it", {}, "is this an ONNX model?");
  if (model.ir_version() < kOldestIr || model.ir_version() > kNewestIr)
    return Status(Code::kUnsupported, fmt::format("IR version {}; {} to {} are supported", model.ir_version(), kOldestIr, kNewestIr),
                  {}, "export the model again");
  return {};
}

}  // namespace

Result<std::unique_ptr<ir::Graph>> Importer::run() {
  TENON_RETURN_IF_ERROR(check_model(model_));
  TENON_ASSIGN_OR_RETURN(opsets_, read_opsets(model_.opset_import()));
  TENON_ASSIGN_OR_RETURN(functions_, Functions::read(model_, options_.ops.get()));
  TENON_RETURN_IF_ERROR(check_supported(model_, opsets_, functions_, options_));
  if (model_.training_info_size() > 0)
    log(LogLevel::kWarn, "the model's training_info is left out: its graph alone is read");
  channel_block_ = channel_block(model_.graph());
  graph_ = std::make_unique<ir::Graph>();
  graph_->set_op_registry(options_.ops);
  dims_ = std::make_unique<DimNames>(graph_->dims());
  read_metadata(*graph_);

  const onnx::GraphProto& proto = model_.graph();
  Frame frame;
  frame.opsets = &opsets_;
  Scope scope;
  TENON_RETURN_IF_ERROR(declare_dims());
  TENON_RETURN_IF_ERROR(import_inputs(scope));
  TENON_RETURN_IF_ERROR(import_initializers(proto, *graph_, scope, frame));
  Hints hints;
  for (const auto& info : proto.value_info()) hints.emplace(info.name(), &info.type());
  for (const auto& info : proto.output()) hints.emplace(info.name(), &info.type());
  const Status imported = import_nodes(proto.node(), *graph_, scope, frame, hints);
  if (!unsupported_.empty())
    return error(Code::kUnsupported, "the model needs what Tenon lacks:\n  {}", fmt::join(unsupported_, "\n  "));
  TENON_RETURN_IF_ERROR(imported);
  TENON_RETURN_IF_ERROR(import_outputs(proto.output(), *graph_, scope));
  for (const auto& [param, symbol] : dims_->names())
    if (param != symbol) graph_->metadata[fields::dim_param(symbol)] = param;
  note_unnamed_dims();
  for (ir::Value* value : initializers_)
    if (value->unused()) value->def()->graph()->erase(value->def());
  TENON_RETURN_IF_ERROR(ir::verify(*graph_));
  return std::move(graph_);
}

/// Symbols of the inputs' dims that --dim cannot bind.
void Importer::note_unnamed_dims() {
  std::set<std::string_view> named;
  for (const auto& [param, symbol] : dims_->names()) named.insert(symbol);
  for (const ir::Value* input : graph_->inputs()) {
    if (!input->type().is_ranked_tensor()) continue;
    for (const ir::Dim& dim : *input->tensor().dims) {
      if (!dim.is_symbol()) continue;
      const std::string& symbol = graph_->dims().symbol_name(dim.symbol_id());
      if (!named.contains(symbol) && !dims_->declared(symbol)) graph_->metadata[fields::dim_param(symbol)] = "";
    }
  }
}

void Importer::read_metadata(ir::Graph& graph) {
  graph.name = model_.graph().name();
  for (const auto& entry : model_.metadata_props())
    graph.metadata[fields::is_taken(entry.key()) ? std::string(fields::kProp) + entry.key() : entry.key()] = entry.value();
  const auto keep = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) graph.metadata[std::string(key)] = value;
  };
  keep(fields::kProducerName, model_.producer_name());
  keep(fields::kProducerVersion, model_.producer_version());
  keep(fields::kDomain, model_.domain());
  keep(fields::kDoc, model_.doc_string());
  keep(fields::kGraphDoc, model_.graph().doc_string());
  if (model_.model_version() != 0) keep(fields::kModelVersion, fmt::format("{}", model_.model_version()));
  std::string opsets;
  for (const auto& [domain, version] : opsets_)
    if (domain.empty()) opsets = fmt::format("{}", version) + opsets;
    else opsets += fmt::format(" {}:{}", domain, version);
  keep(fields::kOpsets, opsets);
  keep(fields::kIrVersion, fmt::format("{}", model_.ir_version()));
}

Status Importer::declare_dims() {
  for (const auto& input : model_.graph().input())
    for (const auto& dim : input.type().tensor_type().shape().dim()) dims_->declare(dim.dim_param());
  for (const auto& [name, value] : options_.dims) {
    if (options_.absent != nullptr && !dims_->declared(name)) options_.absent->push_back(name);
    else TENON_RETURN_IF_ERROR(dims_->bind(name, value).at("--dim"));
  }
  // A shape given for one input binds its symbols wherever they occur.
  for (const auto& [name, shape] : options_.shapes) {
    const onnx::ValueInfoProto* found = nullptr;
    std::vector<std::string> inputs;
    for (const auto& input : model_.graph().input()) {
      inputs.push_back(input.name());
      if (input.name() == name) found = &input;
    }
    if (found == nullptr && options_.absent != nullptr) {
      options_.absent->push_back(name);
      continue;
    }
    if (found == nullptr)
      return error(Code::kInvalidArgument, "--shape: the model has no input '{}'; it has: {}", name, fmt::join(inputs, ", "));
    const auto& tensor = found->type().tensor_type();
    if (!tensor.has_shape()) continue;
    if (tensor.shape().dim_size() != static_cast<int>(shape.size()))
      return error(Code::kInvalidArgument, "--shape {}: the input has rank {}, the shape {}", name, tensor.shape().dim_size(), shape.size());
    for (int i = 0; i < tensor.shape().dim_size(); ++i) {
      const std::string& param = tensor.shape().dim(i).dim_param();
      const int64_t value = shape[static_cast<size_t>(i)];
      if (value >= 0 && is_bare_name(param)) TENON_RETURN_IF_ERROR(dims_->bind(param, value).at(fmt::format("--shape {}", name)));
    }
  }
  return {};
}

Status Importer::apply_shape(const std::string& input, std::vector<ir::Dim>& dims) {
  for (const auto& [name, shape] : options_.shapes) {
    if (name != input) continue;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == -1) continue;
      if (shape[i] < 0) return error(Code::kInvalidArgument, "--shape {}: a dim cannot be {}", name, shape[i]);
      if (dims[i].is_const() && dims[i].value() != shape[i])
        return error(Code::kInvalidArgument, "--shape {}: dim {} is {} in the model and cannot be {}", name, i, dims[i].value(), shape[i]);
      dims[i] = shape[i];
    }
  }
  return {};
}

Status Importer::import_inputs(Scope& scope) {
  const onnx::GraphProto& proto = model_.graph();
  std::unordered_set<std::string> initialized;
  for (const auto& tensor : proto.initializer()) initialized.insert(tensor.name());
  for (const auto& tensor : proto.sparse_initializer()) initialized.insert(tensor.values().name());
  for (const auto& input : proto.input()) {
    if (input.name().empty()) return Status(Code::kInvalidModel, "a graph input has no name");
    if (initialized.count(input.name()) != 0) continue;
    const std::string where = fmt::format("input {}", input.name());
    Result<ir::Type> type = read_type(input.type(), *dims_, input.name());
    if (!type.ok()) return std::move(type).status().at(where);
    if (!type->known()) return Status(Code::kInvalidModel, "has no type", where);
    if (type->is_tensor()) {
      for (const auto& [name, shape] : options_.shapes)
        if (name == input.name() && !type->tensor().ranked()) {
          std::vector<ir::Dim> any;
          for (size_t i = 0; i < shape.size(); ++i) any.push_back(dims_->dim(std::string_view(), "unknown"));
          type = ir::Type(ir::TensorType(type->dtype(), std::move(any)));
        }
      if (type->tensor().ranked()) {
        std::vector<ir::Dim> dims = *type->tensor().dims;
        TENON_RETURN_IF_ERROR(apply_shape(input.name(), dims));
        type = ir::Type(ir::TensorType(type->dtype(), std::move(dims)));
      }
    }
    ir::Value* value = graph_->add_input(input.name(), std::move(type).value());
    if (!scope.values.emplace(input.name(), value).second) return Status(Code::kInvalidModel, "is declared twice", where);
    names_.insert(input.name());
    named_.insert(value);
  }
  return {};
}

ir::Value* Importer::add_constant(ir::Graph& graph, Tensor tensor, const std::string& name) {
  const ir::OpDef* op = ir::find_op("", "Constant");
  ir::Node* node = graph.create(*op, {}, 1);
  node->attrs().set("value", std::move(tensor));
  name_value(node->output(), name);
  node->set_name(node->output()->name());
  return ir::infer_node(*node).ok() ? node->output() : nullptr;
}

Status Importer::import_initializers(const onnx::GraphProto& proto, ir::Graph& graph, Scope& scope, const Frame& frame) {
  const auto add = [&](const std::string& name, Result<Tensor> tensor) -> Status {
    if (!tensor.ok()) return std::move(tensor).status();
    if (name.empty()) return Status(Code::kInvalidModel, "an initializer has no name");
    ir::Value* value = add_constant(graph, std::move(tensor).value(), frame.prefix + name);
    if (value == nullptr) return Status(Code::kInternal, "the constant is not valid", name);
    if (!scope.values.emplace(name, value).second)
      return Status(Code::kInvalidModel, fmt::format("'{}' is defined twice", name), "initializers");
    initializers_.push_back(value);
    return {};
  };
  for (const auto& tensor : proto.initializer()) {
    if (++visited_ > options_.max_nodes) return error(Code::kResourceExhausted, "more than {} nodes", options_.max_nodes);
    TENON_RETURN_IF_ERROR(add(tensor.name(), tensors_.read(tensor)));
  }
  for (const auto& tensor : proto.sparse_initializer()) {
    if (++visited_ > options_.max_nodes) return error(Code::kResourceExhausted, "more than {} nodes", options_.max_nodes);
    TENON_RETURN_IF_ERROR(add(tensor.values().name(), tensors_.read(tensor)));
  }
  return {};
}

Status Importer::import_outputs(const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& outputs, ir::Graph& graph,
                                const Scope& scope) {
  for (const auto& output : outputs) {
    ir::Value* value = scope.find(output.name());
    if (value == nullptr)
      return Status(Code::kInvalidModel, fmt::format("nothing defines '{}'", output.name()), "graph outputs");
    // A region's outputs must be its own values.
    if (value->graph() != &graph) {
      ir::Builder builder(graph);
      value = builder.make("Identity", {value});
      TENON_RETURN_IF_ERROR(builder.status());
    }
    graph.add_output(value, output.name());
  }
  return {};
}

ir::Value* Importer::Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent)
    if (auto it = scope->values.find(name); it != scope->values.end()) return it->second;
  return nullptr;
}

std::string Importer::unique(const std::string& name) {
  std::string out = name;
  // Counting on from the last suffix: starting anew for each of many equal names takes quadratic time.
  if (!names_.insert(out).second)
    do out = fmt::format("{}.{}", name, ++suffixes_[name]);
    while (!names_.insert(out).second);
  return out;
}

void Importer::name_value(ir::Value* value, const std::string& name) {
  if (named_.insert(value).second) ir::rename_new_value(*value, unique(name));
}

std::string Importer::node_name(const onnx::NodeProto& proto, const Frame& frame) {
  return frame.prefix + (proto.name().empty() ? fmt::format("{}_{}", proto.op_type(), unnamed_++) : proto.name());
}

}  // namespace tenon::frontend
