// Archives written by NumPy 1.24 (savez and savez_compressed), whole and damaged.

#include "frontend/onnx/npz.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kPlenty = size_t{1} << 30;

/// first = int16 [[1, 2], [3, 4]], second = float64 7.
constexpr std::string_view kPlain =
    "504b03041400000000000000210000cadc6d88000000880000000900140066697273742e6e70790100100088000000000000008800000000"
    "000000934e554d5059010076007b276465736372273a20273c6932272c2027666f727472616e5f6f72646572273a2046616c73652c202773"
    "68617065273a2028322c2032292c207d20202020202020202020202020202020202020202020202020202020202020202020202020202020"
    "2020202020202020202020202020202020200a0100020003000400504b0304140000000000000021006c2c211188000000880000000a0014"
    "007365636f6e642e6e70790100100088000000000000008800000000000000934e554d5059010076007b276465736372273a20273c663827"
    "2c2027666f727472616e5f6f72646572273a2046616c73652c20277368617065273a2028292c207d20202020202020202020202020202020"
    "202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020200a0000000000001c4050"
    "4b010214031400000000000000210000cadc6d880000008800000009000000000000000000000080010000000066697273742e6e7079504b"
    "01021403140000000000000021006c2c211188000000880000000a00000000000000000000008001c30000007365636f6e642e6e7079504b"
    "050600000000020002006f000000870100000000";

/// first as above, second = float32 of 2000 elements, all 0 but the last, which is 2.5.
constexpr std::string_view kPacked =
    "504b03041400000008000000210000cadc6d4e000000880000000900140066697273742e6e70790100100088000000000000004e00000000"
    "0000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9369a4aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416"
    "a402f91a463a0a469a3a0ab50a64032e460626066606160600504b03041400000008000000210078a40a496e000000c01f00000a00140073"
    "65636f6e642e6e707901001000c01f0000000000006e00000000000000edc8310e82301840e1b27a8a7ffb35e9d01826e2e0e40661717032"
    "8d94301821ad61219c820b835760f57ddb7b4b752feb476646336913d22b6a217a6973b5a26d1fbfd17f9e7d6cc2efdffc3b85eda7ce0f61"
    "ebe3d939674f5666d9eb600000000000000000000000f87b725d01504b010214031400000008000000210000cadc6d4e0000008800000009"
    "000000000000000000000080010000000066697273742e6e7079504b010214031400000008000000210078a40a496e000000c01f00000a00"
    "000000000000000000008001890000007365636f6e642e6e7079504b050600000000020002006f000000330100000000";

std::string unhex(std::string_view text) {
  std::string out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) out += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
  return out;
}

std::span<const std::byte> view(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

TEST(Npz, ReadsWhatNumPyWrites) {
  for (std::string_view text : {kPlain, kPacked}) {
    const std::string bytes = unhex(text);
    EXPECT_TRUE(is_npz(view(bytes)));
    const auto first = parse_npz(view(bytes), "first", kPlenty);
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    EXPECT_EQ(first->dtype(), DType::kI16);
    EXPECT_EQ(first->shape(), (Shape{2, 2}));
    EXPECT_THAT(numbers(HostValue(*first)), ElementsAre(1, 2, 3, 4));
  }
  const std::string plain = unhex(kPlain), packed = unhex(kPacked);
  EXPECT_THAT(numbers(HostValue(*parse_npz(view(plain), "second", kPlenty))), ElementsAre(7));
  const auto second = parse_npz(view(packed), "second", kPlenty);
  ASSERT_TRUE(second.ok()) << second.status().to_string();
  EXPECT_EQ(second->shape(), (Shape{2000}));
  EXPECT_EQ(second->at_double(1998), 0);
  EXPECT_EQ(second->at_double(1999), 2.5);
}

TEST(Npz, NamesTheArraysThereAre) {
  const std::string bytes = unhex(kPlain);
  const Status status = parse_npz(view(bytes), "third", kPlenty).status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(status.to_string(), HasSubstr("first, second"));
}

TEST(Npz, RefusesMoreThanTheLimitBeforeUnpacking) {
  const std::string bytes = unhex(kPacked);
  EXPECT_EQ(parse_npz(view(bytes), "second", 4000).status().code(), Code::kResourceExhausted);
  // The same with a size in the directory that no deflated stream of this length can have.
  std::string lying = bytes;
  const size_t entry = lying.rfind(std::string("PK\x01\x02", 4));
  for (size_t i = 24; i < 28; ++i) lying[entry + i] = '\x70';
  EXPECT_THAT(parse_npz(view(lying), "second", size_t{1} << 40).status().to_string(), HasSubstr("claims more than it can unpack to"));
}

TEST(Npz, EveryTruncationIsAnError) {
  for (std::string_view text : {kPlain, kPacked}) {
    const std::string bytes = unhex(text);
    for (size_t n = 0; n < bytes.size(); ++n)
      EXPECT_FALSE(parse_npz(view(bytes.substr(0, n)), "first", kPlenty).ok()) << n;
  }
}

TEST(Npz, EveryFlippedBitGivesAnErrorOrTheSameArray) {
  for (std::string_view text : {kPlain, kPacked}) {
    const std::string bytes = unhex(text);
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      const auto read = parse_npz(view(flipped), "first", kPlenty);
      if (read.ok()) {
        EXPECT_THAT(numbers(HostValue(*read)), ElementsAre(1, 2, 3, 4)) << bit;
      }
    }
  }
}

TEST(Npz, IsReadAsAValue) {
  TemporaryFolder folder;
  const auto file = folder.write("inputs.npz", unhex(kPlain));
  const auto value = read_value(file, ir::TensorType::unranked(DType::kI16), "first");
  ASSERT_TRUE(value.ok()) << value.status().to_string();
  EXPECT_THAT(numbers(*value), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(read_value(file, ir::TensorType::unranked(DType::kI16), "x").status().to_string(), HasSubstr("inputs.npz"));
}

}  // namespace
}  // namespace tenon::frontend
