#include "support/hash.h"

#include <bit>

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tenon {
namespace {

Hash128 from_xxh(XXH128_hash_t h) { return {h.high64, h.low64}; }

std::optional<uint64_t> parse_hex16(std::string_view digits) {
  uint64_t value = 0;
  for (char c : digits) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return std::nullopt;
    value = value << 4 | static_cast<unsigned>(digit);
  }
  return value;
}

}  // namespace

std::string Hash128::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

std::optional<Hash128> Hash128::from_hex(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  const auto high = parse_hex16(text.substr(0, 16)), low = parse_hex16(text.substr(16));
  if (!high || !low) return std::nullopt;
  return Hash128{*high, *low};
}

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}
uint64_t hash64(std::string_view text, uint64_t seed) { return XXH3_64bits_withSeed(text.data(), text.size(), seed); }
Hash128 hash128(std::span<const std::byte> bytes, uint64_t seed) {
  return from_xxh(XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
}
Hash128 hash128(std::string_view text, uint64_t seed) {
  return from_xxh(XXH3_128bits_withSeed(text.data(), text.size(), seed));
}

struct Hasher::State {
  XXH3_state_t xxh;
};

// The 64- and 128-bit digests differ only in how they end, so one state serves both.
Hasher::Hasher(uint64_t seed) : state_(std::make_unique<State>()) { XXH3_128bits_reset_withSeed(&state_->xxh, seed); }
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

Hasher& Hasher::bytes(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
  return *this;
}

Hasher& Hasher::add(std::string_view text) {
  add_bits(text.size());
  return bytes(std::as_bytes(std::span(text.data(), text.size())));
}

Hasher& Hasher::add_bits(uint64_t value) {
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
  return bytes(std::as_bytes(std::span(&value, 1)));
}

uint64_t Hasher::digest64() const { return XXH3_64bits_digest(&state_->xxh); }
Hash128 Hasher::digest128() const { return from_xxh(XXH3_128bits_digest(&state_->xxh)); }

}  // namespace tenon
