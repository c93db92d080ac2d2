#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tenon {

/// Philox4x32 with 10 rounds (Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011):
/// 128 random bits as a pure function of a counter and a key, so that element i of a tensor does not depend on the
/// order or the number of threads in which elements are made.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// One stream of random numbers by seed; number i is the same whenever it is asked for.
class RandomStream {
 public:
  explicit RandomStream(uint64_t seed) : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)} {}

  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform(uint64_t i) const { return unit(words(i), 0); }
  /// Standard normal (Box and Muller, 1958).
  double normal(uint64_t i) const;

 private:
  std::array<uint32_t, 4> words(uint64_t i) const {
    return philox4x32({static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), 0, 0}, key_);
  }
  static double unit(const std::array<uint32_t, 4>& words, size_t first) {
    const uint64_t bits = (uint64_t{words[first + 1]} << 32) | words[first];
    return static_cast<double>(bits >> 11) * 0x1p-53;
  }
  std::array<uint32_t, 2> key_;
};

}  // namespace tenon
