#include "support/hash.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace tenon {
namespace {

// XXH3's published values for empty input: a change of algorithm would orphan every stored hash.
TEST(Hash, IsXXH3) {
  EXPECT_EQ(hash64(std::string_view()), 0x2d06800538d394c2u);
  EXPECT_EQ(hash128(std::string_view()).hex(), "99aa06d3014798d86001c324468d497f");
}

TEST(Hash, PiecesEqualTheWhole) {
  std::vector<std::byte> bytes(5000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31);
  for (size_t length : {0u, 1u, 16u, 240u, 241u, 1024u, 5000u}) {
    const std::span<const std::byte> data(bytes.data(), length);
    for (uint64_t seed : {uint64_t{0}, uint64_t{7}}) {
      Hasher hasher(seed);
      for (size_t i = 0; i < length; i += 97) hasher.bytes(data.subspan(i, std::min<size_t>(97, length - i)));
      EXPECT_EQ(hasher.digest64(), hash64(data, seed)) << length;
      EXPECT_EQ(hasher.digest128(), hash128(data, seed)) << length;
    }
  }
}

TEST(Hash, TextsKeepTheirBoundaries) {
  EXPECT_NE(Hasher().add("ab").add("c").digest64(), Hasher().add("a").add("bc").digest64());
  EXPECT_EQ(Hasher().add("ab").digest64(), Hasher().add("ab").digest64());
}

TEST(Hash, ValuesHashByValueNotByWidth) {
  EXPECT_EQ(Hasher().add(int32_t{-1}).digest64(), Hasher().add(int64_t{-1}).digest64());
  EXPECT_EQ(Hasher().add(1.5f).digest64(), Hasher().add(1.5).digest64());
  EXPECT_NE(Hasher().add(0.0).digest64(), Hasher().add(-0.0).digest64());
}

TEST(Hash, HexRoundTrips) {
  const Hash128 h = hash128("tenon");
  EXPECT_EQ(Hash128::from_hex(h.hex()), h);
  EXPECT_FALSE(Hash128::from_hex("12"));
  EXPECT_FALSE(Hash128::from_hex(std::string(32, 'G')));
  EXPECT_FALSE(Hash128::from_hex(std::string(32, 'A')));
}

TEST(Hash, CombineDependsOnOrder) {
  std::set<uint64_t> seen;
  for (uint64_t a = 0; a < 100; ++a)
    for (uint64_t b = 0; b < 100; ++b) seen.insert(hash_combine(hash_combine(0, a), b));
  EXPECT_EQ(seen.size(), 10000u);
}

}  // namespace
}  // namespace tenon
