#pragma once

#include <concepts>
#include <optional>
#include <span>
#include <type_traits>

namespace tenon {

// Integer arithmetic for sizes that input decides: nullopt when the exact result does not fit the type.

template <std::integral T>
constexpr std::optional<T> checked_add(T a, std::type_identity_t<T> b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
constexpr std::optional<T> checked_sub(T a, std::type_identity_t<T> b) {
  T out;
  if (__builtin_sub_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
constexpr std::optional<T> checked_mul(T a, std::type_identity_t<T> b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

/// Quotient towards zero; nullopt for division by zero and for the minimum divided by -1.
template <std::integral T>
constexpr std::optional<T> checked_div(T a, std::type_identity_t<T> b) {
  if (b == 0) return std::nullopt;
  if constexpr (std::is_signed_v<T>)
    if (b == -1) return checked_sub(T{0}, a);
  return static_cast<T>(a / b);
}

/// The value in another integer type, nullopt when that type does not hold it.
template <std::integral To, std::integral From>
constexpr std::optional<To> checked_cast(From value) {
  To out;
  if (__builtin_add_overflow(value, From{0}, &out)) return std::nullopt;
  return out;
}

/// Product of all values, 1 when there are none, 0 when any is 0 whatever the others are; nullopt when it does not fit.
template <std::integral T>
constexpr std::optional<T> checked_product(std::span<const T> values) {
  T out = 1;
  bool overflowed = false;
  for (T value : values) {
    if (value == 0) return T{0};
    overflowed |= __builtin_mul_overflow(out, value, &out);
  }
  if (overflowed) return std::nullopt;
  return out;
}

template <class Container>
constexpr auto checked_product(const Container& values) {
  using T = typename Container::value_type;
  return checked_product(std::span<const T>(values.data(), values.size()));
}

}  // namespace tenon
