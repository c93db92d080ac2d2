#include "backends/external/interface.h"

namespace tenon::backends::external {
namespace {

/// Dims that are known must hold, and a symbol have one size in all of them.
Status check_shape(const ir::TensorType& type, const Shape& shape, std::map<int, int64_t>& symbols) {
  if (!type.ranked()) return {};
  if (type.rank() != static_cast<int64_t>(shape.size()))
    return error(Code::kInvalidArgument, "the shape [{}] has rank {} where {} has {}", fmt::join(shape, ", "), shape.size(), ir::to_string(type), type.rank());
  for (int64_t axis = 0; axis < type.rank(); ++axis) {
    const ir::Dim& dim = type.dim(axis);
    const int64_t size = shape[static_cast<size_t>(axis)];
    int64_t wanted = size;
    if (dim.is_const()) wanted = dim.value();
    else if (dim.is_symbol()) wanted = symbols.emplace(dim.symbol_id(), size).first->second;
    if (wanted != size) return error(Code::kInvalidArgument, "axis {} has size {} where {} needs {}", axis, size, ir::to_string(type), wanted);
  }
  return {};
}

bool is_number(DType dtype) { return is_float(dtype) || is_int(dtype) || dtype == DType::kBool; }

Result<Tensor> converted(const Tensor& from, DType to) {
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(to, from.shape()));
  for (int64_t i = 0; i < from.size(); ++i) {
    if (is_float(from.dtype())) out.set_double(i, from.at_double(i));
    else out.set_int(i, from.at_int(i));
  }
  return out;
}

Result<HostValue> checked_tensor(const ir::Type& type, const HostValue& value) {
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr) return error(Code::kInternal, "the runner gives no tensor where {} is due", ir::to_string(type));
  std::map<int, int64_t> symbols;
  if (Status status = check_shape(type.tensor(), tensor->shape(), symbols); !status.ok())
    return error(Code::kInternal, "the runner gives another shape: {}", status.what());
  if (tensor->dtype() == type.dtype() || type.dtype() == DType::kInvalid) return value;
  if (!is_number(tensor->dtype()) || !is_number(type.dtype()))
    return error(Code::kInternal, "the runner gives {} where {} is due", name(tensor->dtype()), name(type.dtype()));
  TENON_ASSIGN_OR_RETURN(Tensor out, converted(*tensor, type.dtype()));
  return HostValue(std::move(out));
}

Status another_kind(const ir::Type& type) { return error(Code::kInternal, "the runner gives another kind of value where {} is due", ir::to_string(type)); }

Result<HostValue> checked_output(const ir::Type& type, const HostValue& value);

Result<HostValue> checked_sequence(const ir::Type& type, const HostValue& value) {
  const auto* given = std::get_if<std::shared_ptr<Sequence>>(&value);
  if (given == nullptr) return another_kind(type);
  const ir::Type& elem = *type.as_sequence()->elem;
  auto out = std::make_shared<Sequence>();
  out->elem = (*given)->elem;
  if (const DType due = elem.dtype(); due != DType::kInvalid && due != out->elem) {
    // A runtime may not know what an empty sequence is of.
    if (!(*given)->items.empty() && (!is_number(due) || !is_number(out->elem)))
      return error(Code::kInternal, "the runner gives a sequence of {} where {} is due", name(out->elem), ir::to_string(type));
    out->elem = due;
  }
  for (size_t i = 0; i < (*given)->items.size(); ++i) {
    Result<HostValue> item = checked_output(elem, (*given)->items[i]);
    if (!item.ok()) return std::move(item).status().at(fmt::format("element {}", i));
    out->items.push_back(std::move(*item));
  }
  return HostValue(std::move(out));
}

template <class Key>
Result<HostValue> checked_entries(const ir::Type& type, const MapValue& given) {
  // A map without entries does not show the type of its keys.
  std::map<Key, Tensor> out;
  const bool empty = std::visit([](const auto& entries) { return entries.empty(); }, given.entries);
  const auto* entries = std::get_if<std::map<Key, Tensor>>(&given.entries);
  if (entries == nullptr && !empty) return error(Code::kInternal, "the runner gives a map with other keys where {} is due", ir::to_string(type));
  if (entries != nullptr)
    for (const auto& [key, tensor] : *entries) {
      Result<HostValue> one = checked_output(*type.as_map()->value, tensor);
      if (!one.ok()) return std::move(one).status().at(fmt::format("key {}", key));
      out.emplace(key, std::get<Tensor>(std::move(*one)));
    }
  auto map = std::make_shared<MapValue>();
  map->entries = std::move(out);
  return HostValue(std::move(map));
}

Result<HostValue> checked_map(const ir::Type& type, const HostValue& value) {
  const auto* given = std::get_if<std::shared_ptr<MapValue>>(&value);
  if (given == nullptr) return another_kind(type);
  return type.as_map()->key == DType::kString ? checked_entries<std::string>(type, **given) : checked_entries<int64_t>(type, **given);
}

Result<HostValue> checked_output(const ir::Type& type, const HostValue& value) {
  if (type.is_tensor()) return checked_tensor(type, value);
  if (type.as_sequence() != nullptr) return checked_sequence(type, value);
  if (type.as_map() != nullptr) return checked_map(type, value);
  if (type.as_optional() != nullptr && !std::holds_alternative<std::monostate>(value)) return checked_output(*type.as_optional()->elem, value);
  return value;
}

}  // namespace

Interface::Interface(const ir::Graph& graph) : dims_(graph.shared_dims()) {
  for (const ir::Value* input : graph.inputs()) inputs_.push_back({input->name(), input->type()});
  for (size_t i = 0; i < graph.outputs().size(); ++i) outputs_.push_back({graph.output_name(static_cast<int>(i)), graph.outputs()[i]->type()});
}

nlohmann::json Interface::input_shapes() const {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [name, type] : inputs_) {
    nlohmann::json& shape = out[name] = nullptr;
    if (!type.is_ranked_tensor()) continue;
    shape = nlohmann::json::array();
    for (const ir::Dim& dim : *type.tensor().dims) shape.push_back(dim.is_const() ? nlohmann::json(dim.value()) : nlohmann::json(nullptr));
  }
  return out;
}

Status Interface::check_inputs(std::span<const HostValue> inputs) const {
  if (inputs.size() != inputs_.size()) return error(Code::kInvalidArgument, "{} inputs are given where the model has {}", inputs.size(), inputs_.size());
  std::map<int, int64_t> symbols;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& [name, type] = inputs_[i];
    if (!type.is_tensor()) continue;
    const auto* tensor = std::get_if<Tensor>(&inputs[i]);
    Status status;
    if (tensor == nullptr || !tensor->defined()) status = error(Code::kInvalidArgument, "no tensor is given where {} is needed", ir::to_string(type));
    else if (tensor->dtype() != type.dtype()) status = error(Code::kInvalidArgument, "{} is given where {} is needed", tenon::name(tensor->dtype()), ir::to_string(type));
    else status = check_shape(type.tensor(), tensor->shape(), symbols);
    if (!status.ok()) return std::move(status).at("input " + name);
  }
  return {};
}

Result<std::vector<HostValue>> Interface::outputs(const std::map<std::string, HostValue>& values) const {
  std::vector<HostValue> out;
  for (const auto& [name, type] : outputs_) {
    const auto found = values.find(name);
    if (found == values.end()) return error(Code::kInternal, "the runner gives no output '{}'", name);
    Result<HostValue> value = checked_output(type, found->second);
    if (!value.ok()) return std::move(value).status().at("output " + name);
    out.push_back(std::move(*value));
  }
  return out;
}

}  // namespace tenon::backends::external
