#include "support/siphash.h"

#include <bit>
#include <cstring>

namespace tenon {
namespace {

static_assert(std::endian::native == std::endian::little);

uint64_t word(const std::byte* at) {
  uint64_t out;
  std::memcpy(&out, at, sizeof out);
  return out;
}

struct State {
  uint64_t v0, v1, v2, v3;

  void rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }
  void absorb(uint64_t m) {
    v3 ^= m;
    rounds(2);
    v0 ^= m;
  }
  uint64_t mixed() const { return v0 ^ v1 ^ v2 ^ v3; }
};

}  // namespace

std::array<std::byte, 16> siphash128(const SipKey& key, std::span<const std::byte> bytes) {
  const uint64_t k0 = word(key.data()), k1 = word(key.data() + 8);
  State s{k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du ^ 0xeeu, k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u};
  const size_t whole = bytes.size() / 8 * 8;
  for (size_t at = 0; at < whole; at += 8) s.absorb(word(bytes.data() + at));
  uint64_t last = uint64_t{bytes.size()} << 56;
  for (size_t i = whole; i < bytes.size(); ++i) last |= static_cast<uint64_t>(bytes[i]) << (8 * (i - whole));
  s.absorb(last);
  s.v2 ^= 0xee;
  s.rounds(4);
  const uint64_t low = s.mixed();
  s.v1 ^= 0xdd;
  s.rounds(4);
  const uint64_t high = s.mixed();
  std::array<std::byte, 16> out;
  std::memcpy(out.data(), &low, 8);
  std::memcpy(out.data() + 8, &high, 8);
  return out;
}

}  // namespace tenon
