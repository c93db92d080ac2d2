#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "support/dtype.h"
#include "support/status.h"

namespace tenon {

using Shape = std::vector<int64_t>;

/// "2x3x4"; "scalar" for rank 0.
std::string to_string(const Shape& shape);

/// Product of the dims; an error when a dim is negative or the product overflows int64.
Result<int64_t> element_count(std::span<const int64_t> shape);

/// Bytes that somebody owns: the heap (64-byte aligned), a mapped file, a caller. Immutable size.
class Buffer {
 public:
  /// 64-byte aligned, uninitialised. kResourceExhausted when the system refuses.
  static Result<std::shared_ptr<Buffer>> allocate(size_t bytes);
  /// Bytes that stay valid while `owner` lives (a mapping, a protobuf message). Read-only by convention.
  static std::shared_ptr<Buffer> borrow(const void* data, size_t bytes, std::shared_ptr<const void> owner);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Buffer() = default;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool owned_ = false;
  std::shared_ptr<const void> owner_;
};

/// A dense, row-major host tensor: dtype, shape, shared bytes. Copies share the bytes. Elements below 8 bits are packed
/// low bits first; strings are a vector<string> beside the (empty) bytes. Treat the bytes as immutable once shared.
class Tensor {
 public:
  Tensor() = default;  // dtype kInvalid: no tensor

  /// Zero-filled (strings empty). Errors: negative or overflowing shape (kInvalidArgument), no memory or more than the
  /// process-wide allocation limit of 2^40 bytes (kResourceExhausted).
  static Result<Tensor> zeros(DType dtype, Shape shape);
  /// As zeros, bytes uninitialised.
  static Result<Tensor> empty(DType dtype, Shape shape);
  /// A view of `buffer` from byte `offset`; kInvalidArgument when the shape does not fit in it.
  static Result<Tensor> view(DType dtype, Shape shape, std::shared_ptr<Buffer> buffer, size_t offset = 0);
  static Result<Tensor> strings(Shape shape, std::vector<std::string> values);

  /// From values of the C++ type that stores the dtype: from<float>({2}, {1, 2}). dtype by dtype_of<T>().
  template <class T>
  static Tensor from(Shape shape, std::span<const T> values);
  template <class T>
  static Tensor from(Shape shape, std::initializer_list<T> values) {
    return from<T>(std::move(shape), std::span<const T>(values.begin(), values.size()));
  }
  template <class T>
  static Tensor scalar(T value) {
    return from<T>({}, std::span<const T>(&value, 1));
  }

  bool defined() const { return dtype_ != DType::kInvalid; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t rank() const { return static_cast<int64_t>(shape_.size()); }
  int64_t dim(int64_t axis) const { return shape_[static_cast<size_t>(axis)]; }
  int64_t size() const { return count_; }  // elements
  size_t bytes() const { return bytes_; }

  const std::byte* data() const { return buffer_ ? buffer_->data() + offset_ : nullptr; }
  std::byte* mutable_data() { return buffer_ ? buffer_->data() + offset_ : nullptr; }
  /// Elements as their storage type (half and bf16 as uint16_t, float8 as uint8_t, bool as bool or uint8_t). Not for packed types.
  template <class T>
  std::span<const T> span() const {
    return {reinterpret_cast<const T*>(data()), static_cast<size_t>(count_)};
  }
  template <class T>
  std::span<T> mutable_span() {
    return {reinterpret_cast<T*>(mutable_data()), static_cast<size_t>(count_)};
  }
  const std::vector<std::string>& string_values() const { return *strings_; }
  std::vector<std::string>& mutable_strings() { return *strings_; }

  /// Whether no other tensor shares the bytes, so that they may be written again.
  bool unique() const { return buffer_ != nullptr && buffer_.use_count() == 1; }

  /// Same bytes, another shape of the same element count (kInvalidArgument otherwise).
  Result<Tensor> reshaped(Shape shape) const;
  /// The same with a dtype of the same width.
  Result<Tensor> reinterpreted(DType dtype, Shape shape) const;
  /// A deep copy that shares nothing.
  Result<Tensor> clone() const;

  /// Element i (row-major) as double / int64, whatever the dtype (not strings, complex: real part). int64 truncates floats.
  double at_double(int64_t i) const;
  int64_t at_int(int64_t i) const;
  /// Sets element i, converting as ONNX Cast does (round to nearest even; ints wrap).
  void set_double(int64_t i, double value);
  void set_int(int64_t i, int64_t value);

 private:
  DType dtype_ = DType::kInvalid;
  Shape shape_;
  int64_t count_ = 0;
  size_t bytes_ = 0, offset_ = 0;
  std::shared_ptr<Buffer> buffer_;
  std::shared_ptr<std::vector<std::string>> strings_;
};

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::kF32;
  else if constexpr (std::is_same_v<T, double>) return DType::kF64;
  else if constexpr (std::is_same_v<T, int8_t>) return DType::kI8;
  else if constexpr (std::is_same_v<T, int16_t>) return DType::kI16;
  else if constexpr (std::is_same_v<T, int32_t>) return DType::kI32;
  else if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, long long>) return DType::kI64;
  else if constexpr (std::is_same_v<T, uint8_t>) return DType::kU8;
  else if constexpr (std::is_same_v<T, uint16_t>) return DType::kU16;
  else if constexpr (std::is_same_v<T, uint32_t>) return DType::kU32;
  else if constexpr (std::is_same_v<T, uint64_t>) return DType::kU64;
  else if constexpr (std::is_same_v<T, bool>) return DType::kBool;
  else return DType::kInvalid;
}

template <class T>
Tensor Tensor::from(Shape shape, std::span<const T> values) {
  static_assert(dtype_of<T>() != DType::kInvalid);
  Result<Tensor> made = empty(dtype_of<T>(), std::move(shape));
  TENON_CHECK(made.ok() && made->size() == static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), made->mutable_span<T>().begin());
  return std::move(made).value();
}

struct Sequence;
struct MapValue;
/// What an ONNX value can be at run time. An empty optional is std::monostate; a full one is what it holds.
using HostValue = std::variant<std::monostate, Tensor, std::shared_ptr<Sequence>, std::shared_ptr<MapValue>>;
struct Sequence {
  DType elem = DType::kInvalid;  // element dtype, known also when empty
  std::vector<HostValue> items;
};
/// ONNX map<K, V> as ZipMap makes it: keys int64 or string, values tensors of one element or more.
struct MapValue {
  std::variant<std::map<int64_t, Tensor>, std::map<std::string, Tensor>> entries;
};

}  // namespace tenon
