// Values as files: TensorProto, SequenceProto, OptionalProto, .npy, .npz.

#include <fstream>

#include "frontend/onnx/file.h"
#include "frontend/onnx/import.h"
#include "frontend/onnx/npy.h"
#include "frontend/onnx/npz.h"
#include "frontend/onnx/proto.h"
#include "frontend/onnx/tensor_proto.h"
#include "frontend/onnx/wire.h"
#include "support/memory.h"

namespace tenon::frontend {
namespace {

constexpr int kMaxDepth = 32;

class ValueReader {
 public:
  explicit ValueReader(TensorReader& tensors) : tensors_(tensors) {}

  Result<HostValue> tensor(const onnx::TensorProto& proto) {
    TENON_ASSIGN_OR_RETURN(Tensor t, tensors_.read(proto));
    return HostValue(std::move(t));
  }

  Result<HostValue> sequence(const onnx::SequenceProto& proto, const ir::Type& elem) {
    auto out = std::make_shared<Sequence>();
    out->elem = elem.dtype();
    const auto add = [&](Result<HostValue> item) -> Status {
      if (!item.ok()) return std::move(item).status();
      out->items.push_back(std::move(item).value());
      return {};
    };
    switch (proto.elem_type()) {
      case onnx::SequenceProto::TENSOR:
        for (const auto& item : proto.tensor_values()) TENON_RETURN_IF_ERROR(add(tensor(item)));
        break;
      case onnx::SequenceProto::SPARSE_TENSOR:
        for (const auto& item : proto.sparse_tensor_values()) {
          TENON_ASSIGN_OR_RETURN(Tensor t, tensors_.read(item));
          out->items.emplace_back(std::move(t));
        }
        break;
      case onnx::SequenceProto::SEQUENCE:
        for (const auto& item : proto.sequence_values()) TENON_RETURN_IF_ERROR(add(sequence(item, {})));
        break;
      case onnx::SequenceProto::MAP:
        for (const auto& item : proto.map_values()) TENON_RETURN_IF_ERROR(add(map(item)));
        break;
      case onnx::SequenceProto::OPTIONAL:
        for (const auto& item : proto.optional_values()) TENON_RETURN_IF_ERROR(add(optional(item, {})));
        break;
      default:
        if (proto.tensor_values_size() > 0) return Status(Code::kInvalidArgument, "a sequence without an element type");
    }
    if (out->elem == DType::kInvalid && !out->items.empty())
      if (const auto* first = std::get_if<Tensor>(&out->items.front())) out->elem = first->dtype();
    return HostValue(std::move(out));
  }

  Result<HostValue> optional(const onnx::OptionalProto& proto, const ir::Type& elem) {
    switch (proto.elem_type()) {
      case onnx::OptionalProto::TENSOR:
        if (!proto.has_tensor_value()) return HostValue();
        return tensor(proto.tensor_value());
      case onnx::OptionalProto::SEQUENCE: {
        if (!proto.has_sequence_value()) return HostValue();
        const ir::SequenceType* type = elem.as_sequence();
        return sequence(proto.sequence_value(), type != nullptr && type->elem ? *type->elem : ir::Type());
      }
      case onnx::OptionalProto::MAP:
        if (!proto.has_map_value()) return HostValue();
        return map(proto.map_value());
      case onnx::OptionalProto::OPTIONAL:
        if (!proto.has_optional_value()) return HostValue();
        return optional(proto.optional_value(), {});
      case onnx::OptionalProto::UNDEFINED: return HostValue();
      default: return Status(Code::kUnsupported, "an optional sparse tensor");
    }
  }

  /// Tensor or sequence values are one list beside the keys (onnx-data.proto, MapProto).
  Result<HostValue> map(const onnx::MapProto& proto) {
    if (proto.values().tensor_values_size() != proto.keys_size() + proto.string_keys_size())
      return Status(Code::kInvalidArgument, "a map whose keys and tensor values differ in number");
    auto out = std::make_shared<MapValue>();
    std::map<int64_t, Tensor> numbers;
    std::map<std::string, Tensor> strings;
    for (int i = 0; i < proto.values().tensor_values_size(); ++i) {
      TENON_ASSIGN_OR_RETURN(Tensor t, tensors_.read(proto.values().tensor_values(i)));
      if (proto.string_keys_size() > i)
        strings[proto.string_keys(i)] = std::move(t);
      else if (proto.keys_size() > i)
        numbers[proto.keys(i)] = std::move(t);
      else
        return Status(Code::kInvalidArgument, "a map with keys of two kinds");
    }
    if (proto.string_keys_size() > 0) out->entries = std::move(strings);
    else out->entries = std::move(numbers);
    return HostValue(std::move(out));
  }

 private:
  TensorReader& tensors_;
};

template <class Proto>
Result<Proto> parse(const Bytes& bytes, Message message) {
  TENON_ASSIGN_OR_RETURN(const std::string skeleton, wire_skeleton(bytes.span, message, kMaxDepth));
  Proto proto;
  if (!parse_message(skeleton, proto)) return Status(Code::kInvalidArgument, "neither a protobuf message of the expected kind nor .npy");
  return proto;
}

Result<HostValue> read(const Bytes& bytes, const std::filesystem::path& file, const ir::Type& type) {
  if (is_npy(bytes.span)) {
    TENON_ASSIGN_OR_RETURN(Tensor t, parse_npy(bytes.span));
    return HostValue(std::move(t));
  }
  TENON_ASSIGN_OR_RETURN(ModelFolder folder, ModelFolder::of_model(file));
  TensorReader tensors(bytes, std::move(folder));
  ValueReader reader(tensors);
  if (const ir::SequenceType* sequence = type.as_sequence()) {
    TENON_ASSIGN_OR_RETURN(const auto proto, parse<onnx::SequenceProto>(bytes, Message::kSequence));
    return reader.sequence(proto, sequence->elem ? *sequence->elem : ir::Type());
  }
  if (const ir::OptionalType* optional = type.as_optional()) {
    TENON_ASSIGN_OR_RETURN(const auto proto, parse<onnx::OptionalProto>(bytes, Message::kOptional));
    // A full optional may be stored as the sequence that it holds. Both messages start alike; their kinds of element tell.
    if (proto.elem_type() == onnx::OptionalProto::TENSOR && optional->elem && optional->elem->as_sequence() != nullptr)
      return read(bytes, file, *optional->elem);
    return reader.optional(proto, optional->elem ? *optional->elem : ir::Type());
  }
  if (type.as_map() != nullptr) return Status(Code::kUnsupported, "maps cannot be read from files");
  TENON_ASSIGN_OR_RETURN(const auto proto, parse<onnx::TensorProto>(bytes, Message::kTensor));
  return reader.tensor(proto);
}

Result<HostValue> read_archive(const Bytes& bytes, std::string_view name) {
  TENON_ASSIGN_OR_RETURN(Tensor t, parse_npz(bytes.span, name, default_memory_limit()));
  return HostValue(std::move(t));
}

}  // namespace

Result<HostValue> read_value(const std::filesystem::path& file, const ir::Type& type, std::string_view name) {
  TENON_ASSIGN_OR_RETURN(const Bytes bytes, map_file(file));
  Result<HostValue> value = is_npz(bytes.span) ? read_archive(bytes, name) : read(bytes, file, type);
  if (!value.ok()) return std::move(value).status().at(file.string());
  return value;
}

Status write_tensor(const Tensor& tensor, std::string_view name, const std::filesystem::path& file) {
  onnx::TensorProto proto;
  proto.set_name(std::string(name));
  proto.set_data_type(info(tensor.dtype()).onnx);
  for (int64_t d : tensor.shape()) proto.add_dims(d);
  if (tensor.dtype() == DType::kString)
    for (const std::string& s : tensor.string_values()) proto.add_string_data(s);
  else if (tensor.bytes() > size_t{2'000'000'000})
    return Status(Code::kUnsupported, "a tensor of more than 2 GB does not fit into one .pb file", file.string(), "write .npy");
  else if (tensor.bytes() > 0)
    proto.set_raw_data(tensor.data(), tensor.bytes());
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  if (!out || !proto.SerializeToOstream(&out) || !out.flush())
    return Status(Code::kIo, "cannot write", file.string(), "check the folder and the space left");
  return {};
}

}  // namespace tenon::frontend
