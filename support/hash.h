#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace tenon {

// Content hashes by XXH3 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md): the same on every machine and in
// every version of Tenon, so they may be stored in files. Not cryptographic: never the only guard against a forger.

struct Hash128 {
  uint64_t high = 0, low = 0;
  auto operator<=>(const Hash128&) const = default;
  /// 32 lower-case hexadecimal digits, high half first.
  std::string hex() const;
  /// The inverse of hex(); nullopt for anything else.
  static std::optional<Hash128> from_hex(std::string_view text);
};

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);
uint64_t hash64(std::string_view text, uint64_t seed = 0);
Hash128 hash128(std::span<const std::byte> bytes, uint64_t seed = 0);
Hash128 hash128(std::string_view text, uint64_t seed = 0);

/// Mixes `next` into `hash`; the order matters. The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
constexpr uint64_t hash_combine(uint64_t hash, uint64_t next) {
  uint64_t x = hash + 0x9e3779b97f4a7c15u + next * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Hashes a structure piece by piece. Text and byte runs are preceded by their length, so that ("ab", "c") and
/// ("a", "bc") differ; bytes() alone adds nothing but its bytes.
class Hasher {
 public:
  explicit Hasher(uint64_t seed = 0);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  Hasher& bytes(std::span<const std::byte> bytes);
  Hasher& add(std::string_view text);
  /// Integers, enumerators, bool, float and double, by their value bits in 8 little-endian bytes.
  template <class T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  Hasher& add(T value) {
    if constexpr (std::is_floating_point_v<T>) {
      const double wide = value;
      return add_bits(__builtin_bit_cast(uint64_t, wide));
    } else {
      return add_bits(static_cast<uint64_t>(value));
    }
  }

  /// Of all that was added so far; more may be added after.
  uint64_t digest64() const;
  Hash128 digest128() const;

 private:
  Hasher& add_bits(uint64_t value);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tenon

template <>
struct std::hash<tenon::Hash128> {
  size_t operator()(const tenon::Hash128& h) const noexcept { return static_cast<size_t>(h.low); }
};
