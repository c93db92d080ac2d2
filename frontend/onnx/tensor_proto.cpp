#include "frontend/onnx/tensor_proto.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <set>

#include "frontend/onnx/wire.h"
#include "support/mapped_files.h"

namespace tenon::frontend {
namespace {

constexpr size_t kLarge = size_t{1} << 20;  // bytes whose pages are worth a call to the system

Status invalid(std::string what) { return Status(Code::kInvalidModel, std::move(what)); }

std::string label(const onnx::TensorProto& proto) {
  return proto.name().empty() ? "unnamed tensor" : fmt::format("tensor {}", proto.name());
}

/// Which typed field holds the data of a dtype (onnx.proto, TensorProto).
enum class Field : uint8_t { kFloat, kInt32, kString, kInt64, kDouble, kUint64 };

Field field_of(DType dtype) {
  switch (dtype) {
    case DType::kF32: case DType::kC64: return Field::kFloat;
    case DType::kF64: case DType::kC128: return Field::kDouble;
    case DType::kI64: return Field::kInt64;
    case DType::kU32: case DType::kU64: return Field::kUint64;
    case DType::kString: return Field::kString;
    default: return Field::kInt32;
  }
}

int field_size(const onnx::TensorProto& proto, Field field) {
  switch (field) {
    case Field::kFloat: return proto.float_data_size();
    case Field::kInt32: return proto.int32_data_size();
    case Field::kString: return proto.string_data_size();
    case Field::kInt64: return proto.int64_data_size();
    case Field::kDouble: return proto.double_data_size();
    case Field::kUint64: return proto.uint64_data_size();
  }
  return 0;
}

Status check_fields(const onnx::TensorProto& proto, Field used, bool raw) {
  constexpr std::pair<Field, const char*> kAll[] = {{Field::kFloat, "float_data"},   {Field::kInt32, "int32_data"},
                                                    {Field::kString, "string_data"}, {Field::kInt64, "int64_data"},
                                                    {Field::kDouble, "double_data"}, {Field::kUint64, "uint64_data"}};
  for (const auto& [field, name] : kAll)
    if (field_size(proto, field) > 0 && (raw || field != used))
      return invalid(fmt::format("{} is set, which is not where this tensor's data belongs", name));
  return {};
}

Status wrong_count(int64_t have, int64_t want, const char* unit) {
  return invalid(fmt::format("holds {} {}, its dims need {}", have, unit, want));
}

template <class To, class From>
Status copy_checked(const From& from, Tensor& out) {
  std::span<To> to = out.mutable_span<To>();
  for (int i = 0; i < from.size(); ++i) {
    const auto value = from.Get(i);
    if (value < std::numeric_limits<To>::min() || value > std::numeric_limits<To>::max())
      return invalid(fmt::format("value {} does not fit {}", value, name(out.dtype())));
    to[static_cast<size_t>(i)] = static_cast<To>(value);
  }
  return {};
}

/// int32_data holds one element an entry, or one byte of packed elements.
Status copy_int32(const onnx::TensorProto& proto, Tensor& out) {
  const auto& from = proto.int32_data();
  auto* bytes = reinterpret_cast<uint8_t*>(out.mutable_data());
  switch (out.dtype()) {
    case DType::kI32: std::copy(from.begin(), from.end(), out.mutable_span<int32_t>().begin()); return {};
    case DType::kI16: return copy_checked<int16_t>(from, out);
    case DType::kI8: return copy_checked<int8_t>(from, out);
    case DType::kU16: return copy_checked<uint16_t>(from, out);
    case DType::kU8: return copy_checked<uint8_t>(from, out);
    case DType::kBool:
      for (int i = 0; i < from.size(); ++i) bytes[i] = from[i] != 0;
      return {};
    case DType::kF16: case DType::kBF16:
      for (int i = 0; i < from.size(); ++i) {
        if (from[i] < -32768 || from[i] > 65535) return invalid(fmt::format("{} is no 16-bit pattern", from[i]));
        out.mutable_span<uint16_t>()[static_cast<size_t>(i)] = static_cast<uint16_t>(from[i]);
      }
      return {};
    default:  // 8-bit floats, and packed types a byte an entry
      for (int i = 0; i < from.size(); ++i) {
        if (from[i] < -128 || from[i] > 255) return invalid(fmt::format("{} is no 8-bit pattern", from[i]));
        bytes[i] = static_cast<uint8_t>(from[i]);
      }
      return {};
  }
}

Result<Tensor> from_typed_field(const onnx::TensorProto& proto, DType dtype, Shape shape, int64_t count, size_t bytes) {
  const Field field = field_of(dtype);
  const int have = field_size(proto, field);
  int64_t want = count;
  if (dtype == DType::kC64 || dtype == DType::kC128) want = count * 2;
  if (is_packed(dtype)) want = static_cast<int64_t>(bytes);
  if (have != want) return wrong_count(have, want, "values");
  if (dtype == DType::kString)
    return Tensor::strings(std::move(shape), {proto.string_data().begin(), proto.string_data().end()});
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, std::move(shape)));
  if (have == 0) return out;
  switch (field) {
    case Field::kFloat: std::memcpy(out.mutable_data(), proto.float_data().data(), bytes); return out;
    case Field::kDouble: std::memcpy(out.mutable_data(), proto.double_data().data(), bytes); return out;
    case Field::kInt64: std::memcpy(out.mutable_data(), proto.int64_data().data(), bytes); return out;
    case Field::kUint64:
      if (dtype == DType::kU64)
        std::memcpy(out.mutable_data(), proto.uint64_data().data(), bytes);
      else
        TENON_RETURN_IF_ERROR(copy_checked<uint32_t>(proto.uint64_data(), out));
      return out;
    default: TENON_RETURN_IF_ERROR(copy_int32(proto, out)); return out;
  }
}

Result<uint64_t> parse_size(const std::string& text, const char* key) {
  uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || text.empty())
    return invalid(fmt::format("external data {} '{}' is not a non-negative number", key, text));
  return value;
}

}  // namespace

Result<Tensor> TensorReader::read(const onnx::TensorProto& proto) {
  Result<Tensor> out = read_checked(proto);
  if (!out.ok()) return std::move(out).status().at(label(proto));
  return out;
}

Result<Tensor> TensorReader::read_checked(const onnx::TensorProto& proto) {
  if (proto.has_segment()) return Status(Code::kUnsupported, "segmented tensors are not supported");
  const std::optional<DType> dtype = dtype_from_onnx(proto.data_type());
  if (!dtype) return Status(Code::kUnsupported, fmt::format("unknown element type {}", proto.data_type()));
  Shape shape(proto.dims().begin(), proto.dims().end());
  if (shape.size() > 64) return invalid("more than 64 dims");
  Result<int64_t> count = element_count(shape);
  if (!count.ok()) return invalid(fmt::format("dims {} are negative or too large", to_string(shape)));
  const std::optional<size_t> bytes = storage_bytes(*dtype, *count);
  if (!bytes) return invalid(fmt::format("dims {} are too large", to_string(shape)));

  if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
    if (proto.has_raw_data() || unknown_varint(proto, kRawSizeField)) return invalid("both external and raw data are set");
    TENON_RETURN_IF_ERROR(check_fields(proto, Field::kFloat, true));
    return external(proto, *dtype, std::move(shape), *bytes);
  }
  const std::optional<uint64_t> offset = unknown_varint(proto, kRawOffsetField);
  const std::optional<uint64_t> size = unknown_varint(proto, kRawSizeField);
  std::span<const std::byte> raw;
  bool has_raw = proto.has_raw_data() && !proto.raw_data().empty();
  if (offset && size) {
    if (*offset > source_.span.size() || *size > source_.span.size() - *offset) return invalid("raw_data lies outside the file");
    raw = source_.span.subspan(*offset, *size);
    has_raw = true;
  } else if (has_raw) {
    raw = {reinterpret_cast<const std::byte*>(proto.raw_data().data()), proto.raw_data().size()};
  }
  TENON_RETURN_IF_ERROR(check_fields(proto, field_of(*dtype), has_raw));
  if (!has_raw) return from_typed_field(proto, *dtype, std::move(shape), *count, *bytes);
  if (*dtype == DType::kString) return invalid("strings cannot be stored as raw_data");
  if (raw.size() != *bytes)
    return wrong_count(static_cast<int64_t>(raw.size()), static_cast<int64_t>(*bytes), "bytes of raw_data");
  return from_bytes(*dtype, std::move(shape), offset ? source_ : Bytes{}, raw);
}

Result<Tensor> TensorReader::from_bytes(DType dtype, Shape shape, const Bytes& owner, std::span<const std::byte> data) {
  const size_t alignment = std::max<size_t>(1, static_cast<size_t>(std::min(bits(dtype), 64)) / 8);
  const bool aligned = reinterpret_cast<uintptr_t>(data.data()) % alignment == 0;
  const bool odd_bool = dtype == DType::kBool &&
                        std::any_of(data.begin(), data.end(), [](std::byte b) { return b > std::byte{1}; });
  if (owner.owner != nullptr && aligned && !odd_bool)
    return Tensor::view(dtype, std::move(shape), Buffer::borrow(data.data(), data.size(), owner.owner));
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, std::move(shape)));
  if (!data.empty()) std::memcpy(out.mutable_data(), data.data(), data.size());
  if (owner.owner != nullptr && data.size() >= kLarge) MappedFiles::now().drop(data);
  if (odd_bool)
    for (size_t i = 0; i < data.size(); ++i) out.mutable_data()[i] = std::byte{data[i] != std::byte{0}};
  return out;
}

Result<Tensor> TensorReader::external(const onnx::TensorProto& proto, DType dtype, Shape shape, size_t bytes) {
  if (dtype == DType::kString) return invalid("strings cannot be external data");
  std::string location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
  std::set<std::string> seen;
  for (const auto& entry : proto.external_data()) {
    if (!seen.insert(entry.key()).second) return invalid(fmt::format("external data key '{}' is given twice", entry.key()));
    if (entry.key() == "location") {
      location = entry.value();
    } else if (entry.key() == "offset") {
      TENON_ASSIGN_OR_RETURN(offset, parse_size(entry.value(), "offset"));
    } else if (entry.key() == "length") {
      TENON_ASSIGN_OR_RETURN(length, parse_size(entry.value(), "length"));
    } else if (entry.key() != "checksum") {
      return invalid(fmt::format("unknown external data key '{}'", entry.key()));
    }
  }
  if (!folder_)
    return Status(Code::kInvalidModel, "external data cannot be found for a model read from memory", {},
                  "load the model from its file, or give the folder that holds its data");
  if (length && *length != bytes)
    return wrong_count(static_cast<int64_t>(std::min<uint64_t>(*length, INT64_MAX)), static_cast<int64_t>(bytes),
                       "bytes of external data");
  auto found = files_.find(location);
  if (found == files_.end()) {
    TENON_ASSIGN_OR_RETURN(Bytes mapped, folder_->map(location));
    found = files_.emplace(location, std::move(mapped)).first;
  }
  const Bytes& file = found->second;
  if (offset > file.span.size() || bytes > file.span.size() - offset)
    return Status(Code::kInvalidModel, fmt::format("external data is too short: {} bytes from {} on are wanted of {}, which has {}", bytes, offset, location, file.span.size()),
                  {}, "download or copy the file again, with the model that it belongs to");
  return from_bytes(dtype, std::move(shape), file, file.span.subspan(offset, bytes));
}

Result<Tensor> TensorReader::read(const onnx::SparseTensorProto& proto) {
  TENON_ASSIGN_OR_RETURN(Tensor values, read(proto.values()));
  TENON_ASSIGN_OR_RETURN(Tensor indices, read(proto.indices()));
  const std::string where = "sparse " + label(proto.values());
  const auto fail = [&](std::string what) { return Status(Code::kInvalidModel, std::move(what), where); };
  Shape shape(proto.dims().begin(), proto.dims().end());
  Result<int64_t> count = element_count(shape);
  const std::optional<size_t> bytes = count.ok() ? storage_bytes(values.dtype(), *count) : std::nullopt;
  if (!bytes || shape.size() > 64) return fail(fmt::format("dims {} are negative or too large", to_string(shape)));
  if (*bytes > static_cast<size_t>(kMaxDenseBytes))
    return Status(Code::kResourceExhausted, fmt::format("its dense form takes {} bytes, more than {}", *bytes, kMaxDenseBytes), where);
  if (values.dtype() == DType::kString || is_packed(values.dtype()) || values.rank() != 1)
    return fail("values must be numbers of whole bytes in one dimension");
  const int64_t rank = static_cast<int64_t>(shape.size());
  const bool linear = indices.rank() == 1;
  if (indices.dtype() != DType::kI64 || !(linear || (indices.rank() == 2 && indices.dim(1) == rank)) ||
      indices.dim(0) != values.size())
    return fail("indices must be int64 of shape [values] or [values, rank]");
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(values.dtype(), shape));
  const size_t width = static_cast<size_t>(bits(values.dtype())) / 8;
  for (int64_t i = 0; i < values.size(); ++i) {
    int64_t flat = 0;
    if (linear) {
      flat = indices.at_int(i);
      if (flat < 0 || flat >= *count) return fail(fmt::format("index {} is outside [0, {})", flat, *count));
    } else {
      for (int64_t d = 0; d < rank; ++d) {
        const int64_t index = indices.at_int(i * rank + d);
        if (index < 0 || index >= shape[static_cast<size_t>(d)])
          return fail(fmt::format("index {} is outside [0, {})", index, shape[static_cast<size_t>(d)]));
        flat = flat * shape[static_cast<size_t>(d)] + index;
      }
    }
    std::memcpy(out.mutable_data() + static_cast<size_t>(flat) * width, values.data() + static_cast<size_t>(i) * width, width);
  }
  return out;
}

}  // namespace tenon::frontend
