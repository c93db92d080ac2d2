#include "support/tensor.h"

#include <sys/mman.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "support/checked.h"
#include "support/float_types.h"
#include "support/large_pages.h"

namespace tenon {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMaxBytes = size_t{1} << 40;

double decode_float(DType dtype, uint32_t bits) {
  switch (dtype) {
    case DType::kF16: return half_to_float(static_cast<uint16_t>(bits));
    case DType::kBF16: return bf16_to_float(static_cast<uint16_t>(bits));
    case DType::kF8E4M3FN: return f8e4m3fn_to_float(static_cast<uint8_t>(bits));
    case DType::kF8E4M3FNUZ: return f8e4m3fnuz_to_float(static_cast<uint8_t>(bits));
    case DType::kF8E5M2: return f8e5m2_to_float(static_cast<uint8_t>(bits));
    case DType::kF8E5M2FNUZ: return f8e5m2fnuz_to_float(static_cast<uint8_t>(bits));
    case DType::kF8E8M0: return f8e8m0_to_float(static_cast<uint8_t>(bits));
    case DType::kF4E2M1: return f4e2m1_to_float(static_cast<uint8_t>(bits));
    default: return 0;
  }
}

uint32_t encode_float(DType dtype, double value) {
  switch (dtype) {
    case DType::kF16: return double_to_half(value);
    case DType::kBF16: return double_to_bf16(value);
    case DType::kF8E4M3FN: return double_to_f8e4m3fn(value);
    case DType::kF8E4M3FNUZ: return double_to_f8e4m3fnuz(value);
    case DType::kF8E5M2: return double_to_f8e5m2(value);
    case DType::kF8E5M2FNUZ: return double_to_f8e5m2fnuz(value);
    case DType::kF8E8M0: return double_to_f8e8m0(value);
    case DType::kF4E2M1: return double_to_f4e2m1(value);
    default: return 0;
  }
}

template <class T>
T read(const std::byte* data, int64_t i) {
  T value;
  std::memcpy(&value, data + static_cast<size_t>(i) * sizeof(T), sizeof(T));
  return value;
}

template <class T, class V>
void write(std::byte* data, int64_t i, V value) {
  const T stored = static_cast<T>(value);
  std::memcpy(data + static_cast<size_t>(i) * sizeof(T), &stored, sizeof(T));
}

// Towards zero; what int64 does not hold becomes its minimum, as x86's cvttsd2si gives.
int64_t truncate_to_int64(double value) {
  if (!(value >= -0x1p63 && value < 0x1p63)) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

uint64_t truncate_to_uint64(double value) {
  if (value >= 0x1p63 && value < 0x1p64) return static_cast<uint64_t>(value);
  return static_cast<uint64_t>(truncate_to_int64(value));
}

uint32_t small_float_bits(const std::byte* data, DType dtype, int64_t i) {
  switch (bits(dtype)) {
    case 16: return read<uint16_t>(data, i);
    case 8: return read<uint8_t>(data, i);
    default:
      return static_cast<uint32_t>(
          get_packed(reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(i), bits(dtype), false));
  }
}

}  // namespace

std::string to_string(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (int64_t d : shape) text += (text.empty() ? "" : "x") + std::to_string(d);
  return text;
}

Result<int64_t> element_count(std::span<const int64_t> shape) {
  for (int64_t d : shape)
    if (d < 0) return error(Code::kInvalidArgument, "shape {} has a negative dim", to_string(Shape(shape.begin(), shape.end())));
  const std::optional<int64_t> count = checked_product(shape);
  if (!count)
    return error(Code::kInvalidArgument, "shape {} has too many elements", to_string(Shape(shape.begin(), shape.end())));
  return *count;
}

Result<std::shared_ptr<Buffer>> Buffer::allocate(size_t bytes) {
  if (bytes > kMaxBytes) return error(Code::kResourceExhausted, "{} bytes are more than one buffer may have", bytes);
  // From this size on it may lie in large pages: fewer faults on first touch, fewer misses of the address cache after.
  const size_t alignment = bytes >= kLargePage ? kLargePage : kAlignment;
  const size_t rounded = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  void* data = nullptr;
  if (::posix_memalign(&data, alignment, rounded) != 0) return error(Code::kResourceExhausted, "out of memory: {} bytes", bytes);
  // Whole pages only: what is beyond the buffer's end would be paid for and not used.
  if (bytes >= kLargePage) ::madvise(data, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
  std::shared_ptr<Buffer> buffer(new Buffer);
  buffer->data_ = static_cast<std::byte*>(data);
  buffer->size_ = bytes;
  buffer->owned_ = true;
  return buffer;
}

std::shared_ptr<Buffer> Buffer::borrow(const void* data, size_t bytes, std::shared_ptr<const void> owner) {
  std::shared_ptr<Buffer> buffer(new Buffer);
  buffer->data_ = static_cast<std::byte*>(const_cast<void*>(data));
  buffer->size_ = bytes;
  buffer->owner_ = std::move(owner);
  return buffer;
}

Buffer::~Buffer() {
  if (owned_) std::free(data_);
}

Result<Tensor> Tensor::empty(DType dtype, Shape shape) {
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  const std::optional<size_t> bytes = storage_bytes(dtype, count);
  if (!bytes || *bytes > kMaxBytes || (dtype == DType::kString && count > int64_t{1} << 32))
    return error(Code::kResourceExhausted, "a tensor of {} {} is too large", to_string(shape), name(dtype));
  Tensor t;
  if (dtype == DType::kString) {
    t.strings_ = std::make_shared<std::vector<std::string>>(static_cast<size_t>(count));
  } else {
    TENON_ASSIGN_OR_RETURN(t.buffer_, Buffer::allocate(*bytes));
  }
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  t.count_ = count;
  t.bytes_ = *bytes;
  return t;
}

Result<Tensor> Tensor::zeros(DType dtype, Shape shape) {
  TENON_ASSIGN_OR_RETURN(Tensor t, empty(dtype, std::move(shape)));
  if (t.buffer_) std::memset(t.mutable_data(), 0, t.bytes_);
  return t;
}

Result<Tensor> Tensor::view(DType dtype, Shape shape, std::shared_ptr<Buffer> buffer, size_t offset) {
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  const std::optional<size_t> bytes = storage_bytes(dtype, count);
  if (dtype == DType::kString || dtype == DType::kInvalid)
    return error(Code::kInvalidArgument, "a view cannot have dtype {}", name(dtype));
  if (!bytes || !buffer || offset > buffer->size() || *bytes > buffer->size() - offset)
    return error(Code::kInvalidArgument, "a tensor of {} {} does not fit in {} bytes from byte {}", to_string(shape),
                 name(dtype), buffer ? buffer->size() : 0, offset);
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  t.count_ = count;
  t.bytes_ = *bytes;
  t.offset_ = offset;
  t.buffer_ = std::move(buffer);
  return t;
}

Result<Tensor> Tensor::strings(Shape shape, std::vector<std::string> values) {
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  if (count != static_cast<int64_t>(values.size()))
    return error(Code::kInvalidArgument, "shape {} needs {} strings, not {}", to_string(shape), count, values.size());
  Tensor t;
  t.dtype_ = DType::kString;
  t.shape_ = std::move(shape);
  t.count_ = count;
  t.strings_ = std::make_shared<std::vector<std::string>>(std::move(values));
  return t;
}

Result<Tensor> Tensor::reshaped(Shape shape) const {
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  if (count != count_)
    return error(Code::kInvalidArgument, "a tensor of shape {} cannot become {}", to_string(shape_), to_string(shape));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Result<Tensor> Tensor::reinterpreted(DType dtype, Shape shape) const {
  if (dtype != dtype_ && (tenon::bits(dtype) == 0 || tenon::bits(dtype) != tenon::bits(dtype_)))
    return error(Code::kInvalidArgument, "{} and {} have different widths", name(dtype_), name(dtype));
  TENON_ASSIGN_OR_RETURN(Tensor t, reshaped(std::move(shape)));
  t.dtype_ = dtype;
  return t;
}

Result<Tensor> Tensor::clone() const {
  Tensor t = *this;
  if (strings_) t.strings_ = std::make_shared<std::vector<std::string>>(*strings_);
  if (buffer_) {
    TENON_ASSIGN_OR_RETURN(t.buffer_, Buffer::allocate(bytes_));
    t.offset_ = 0;
    if (bytes_ > 0) std::memcpy(t.mutable_data(), data(), bytes_);
  }
  return t;
}

double Tensor::at_double(int64_t i) const {
  switch (dtype_) {
    case DType::kF32:
    case DType::kC64: return read<float>(data(), dtype_ == DType::kC64 ? 2 * i : i);
    case DType::kF64:
    case DType::kC128: return read<double>(data(), dtype_ == DType::kC128 ? 2 * i : i);
    case DType::kU64: return static_cast<double>(read<uint64_t>(data(), i));
    default:
      if (is_float(dtype_)) return decode_float(dtype_, small_float_bits(data(), dtype_, i));
      return static_cast<double>(at_int(i));
  }
}

int64_t Tensor::at_int(int64_t i) const {
  switch (dtype_) {
    case DType::kI8: return read<int8_t>(data(), i);
    case DType::kI16: return read<int16_t>(data(), i);
    case DType::kI32: return read<int32_t>(data(), i);
    case DType::kI64: return read<int64_t>(data(), i);
    case DType::kU8: return read<uint8_t>(data(), i);
    case DType::kU16: return read<uint16_t>(data(), i);
    case DType::kU32: return read<uint32_t>(data(), i);
    case DType::kU64: return static_cast<int64_t>(read<uint64_t>(data(), i));
    case DType::kBool: return read<uint8_t>(data(), i) != 0;
    case DType::kI4:
    case DType::kU4:
    case DType::kI2:
    case DType::kU2:
      return get_packed(reinterpret_cast<const uint8_t*>(data()), static_cast<size_t>(i), tenon::bits(dtype_),
                        is_signed_int(dtype_));
    case DType::kInvalid:
    case DType::kString: return 0;
    default: return truncate_to_int64(at_double(i));
  }
}

void Tensor::set_double(int64_t i, double value) {
  switch (dtype_) {
    case DType::kF32: return write<float>(mutable_data(), i, value);
    case DType::kF64: return write<double>(mutable_data(), i, value);
    case DType::kC64:
      write<float>(mutable_data(), 2 * i, value);
      return write<float>(mutable_data(), 2 * i + 1, 0);
    case DType::kC128:
      write<double>(mutable_data(), 2 * i, value);
      return write<double>(mutable_data(), 2 * i + 1, 0);
    case DType::kU64: return write<uint64_t>(mutable_data(), i, truncate_to_uint64(value));
    case DType::kBool: return write<uint8_t>(mutable_data(), i, value != 0 ? 1 : 0);
    default: break;
  }
  if (!is_float(dtype_)) return set_int(i, truncate_to_int64(value));
  const uint32_t code = encode_float(dtype_, value);
  if (tenon::bits(dtype_) == 16) return write<uint16_t>(mutable_data(), i, code);
  if (tenon::bits(dtype_) == 8) return write<uint8_t>(mutable_data(), i, code);
  set_packed(reinterpret_cast<uint8_t*>(mutable_data()), static_cast<size_t>(i), tenon::bits(dtype_),
             static_cast<int>(code));
}

void Tensor::set_int(int64_t i, int64_t value) {
  switch (dtype_) {
    case DType::kI8:
    case DType::kU8: return write<uint8_t>(mutable_data(), i, value);
    case DType::kI16:
    case DType::kU16: return write<uint16_t>(mutable_data(), i, value);
    case DType::kI32:
    case DType::kU32: return write<uint32_t>(mutable_data(), i, value);
    case DType::kI64:
    case DType::kU64: return write<int64_t>(mutable_data(), i, value);
    case DType::kBool: return write<uint8_t>(mutable_data(), i, value != 0 ? 1 : 0);
    case DType::kI4:
    case DType::kU4:
    case DType::kI2:
    case DType::kU2:
      return set_packed(reinterpret_cast<uint8_t*>(mutable_data()), static_cast<size_t>(i), tenon::bits(dtype_),
                        static_cast<int>(value & 0xff));
    case DType::kInvalid:
    case DType::kString: return;
    case DType::kF32: return write<float>(mutable_data(), i, value);
    default: return set_double(i, static_cast<double>(value));
  }
}

}  // namespace tenon
