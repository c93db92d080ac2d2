#include "support/siphash.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tenon {
namespace {

// The first of the authors' test vectors (vectors_sip128): key 00 01 … 0f, inputs of the bytes 00 01 … of each length.
TEST(SipHash, GivesTheAuthorsVectors) {
  const std::string expected[] = {"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45", "8177228da4a45dc7fca38bdef60affe4"};
  SipKey key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i);
  std::vector<std::byte> input;
  for (const std::string& wanted : expected) {
    std::string hex;
    for (std::byte b : siphash128(key, input)) {
      constexpr char kDigits[] = "0123456789abcdef";
      hex += {kDigits[static_cast<unsigned>(b) >> 4], kDigits[static_cast<unsigned>(b) & 15]};
    }
    EXPECT_EQ(hex, wanted) << input.size();
    input.push_back(static_cast<std::byte>(input.size()));
  }
}

TEST(SipHash, EveryBitOfKeyAndInputCounts) {
  SipKey key{};
  std::vector<std::byte> input(29);
  const auto plain = siphash128(key, input);
  for (size_t i = 0; i < input.size(); ++i) {
    input[i] ^= std::byte{0x10};
    EXPECT_NE(siphash128(key, input), plain) << i;
    input[i] ^= std::byte{0x10};
  }
  for (std::byte& b : key) {
    b ^= std::byte{1};
    EXPECT_NE(siphash128(key, input), plain);
    b ^= std::byte{1};
  }
}

}  // namespace
}  // namespace tenon
