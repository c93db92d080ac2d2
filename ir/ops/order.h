#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "ir/scalar_op.h"
#include "support/tensor.h"

/// Numbers in order, and the least of many.
namespace tenon::ir {

/// Unsigned integers in the order of the elements: NaN is above every number, the zeros are equal.
template <class T>
uint64_t order_key(T x) {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  if constexpr (std::is_floating_point_v<T>) {
    using Bits = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
    const auto bits = std::bit_cast<Bits>(x + T{0});
    const Bits flip = (bits >> (sizeof(T) * 8 - 1)) | std::numeric_limits<Bits>::min();  // all bits of a negative number
    const auto key = static_cast<std::make_unsigned_t<Bits>>(bits ^ flip);
    return std::isnan(x) ? UINT64_MAX : key;
  } else if constexpr (std::is_signed_v<T>) {
    return static_cast<uint64_t>(static_cast<int64_t>(x)) ^ kSign;
  } else {
    return x;
  }
}

template <class T>
void load_order_keys(const Tensor& x, int64_t first, int64_t stride, std::span<uint64_t> keys) {
  const T* data = reinterpret_cast<const T*>(x.data()) + first;
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = order_key(data[static_cast<int64_t>(i) * stride]);
}

/// Of the elements first, first + stride …
inline void load_order_keys(const Tensor& x, int64_t first, int64_t stride, std::span<uint64_t> keys) {
  switch (x.dtype()) {
    case DType::kF32: return load_order_keys<float>(x, first, stride, keys);
    case DType::kF64: return load_order_keys<double>(x, first, stride, keys);
    case DType::kI32: return load_order_keys<int32_t>(x, first, stride, keys);
    case DType::kI64: return load_order_keys<int64_t>(x, first, stride, keys);
    default: break;
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    const Scalar v = load_scalar(x.data(), x.dtype(), first + static_cast<int64_t>(i) * stride);
    const bool is_unsigned = x.dtype() == DType::kU64;
    keys[i] = is_float(x.dtype()) ? order_key(v.f) : is_unsigned ? static_cast<uint64_t>(v.i) : order_key(v.i);
  }
}

/// The k least of keys that come in the order of their positions; of equal ones the first.
class Least {
 public:
  struct Entry {
    uint64_t key;
    int64_t position;
    auto operator<=>(const Entry&) const = default;
  };

  explicit Least(int64_t k) : k_(static_cast<size_t>(k)), room_(std::max<size_t>(2 * k_, 64)) { kept_.reserve(room_); }
  void clear() {
    kept_.clear();
    bounded_ = false;
  }
  /// Keys of the positions from 0 on, the bits of `turn` inverted in each.
  void add(std::span<const uint64_t> keys, uint64_t turn) {
    size_t i = 0;
    for (; i < keys.size() && !bounded_; ++i) push(keys[i] ^ turn, i);
    for (uint64_t bound = bound_; i < keys.size(); ++i) {
      if ((keys[i] ^ turn) >= bound) continue;  // its position is the greatest so far
      push(keys[i] ^ turn, i);
      bound = bound_;
    }
  }
  std::span<const Entry> sorted() {
    if (kept_.size() > k_) keep_least();
    std::sort(kept_.begin(), kept_.end());
    return kept_;
  }

 private:
  void push(uint64_t key, size_t position) {
    kept_.push_back({key, static_cast<int64_t>(position)});
    if (kept_.size() == room_) keep_least();
  }
  void keep_least() {
    if (k_ > 0) std::nth_element(kept_.begin(), kept_.begin() + static_cast<int64_t>(k_) - 1, kept_.end());
    kept_.resize(k_);
    bounded_ = true;
    bound_ = k_ > 0 ? kept_.back().key : 0;
  }

  size_t k_, room_;
  std::vector<Entry> kept_;
  bool bounded_ = false;
  uint64_t bound_ = 0;  // where bounded: what comes must be less
};

}  // namespace tenon::ir
