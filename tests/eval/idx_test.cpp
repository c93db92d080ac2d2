#include "eval/idx.h"

#include <filesystem>
#include <random>

#include <gtest/gtest.h>

namespace tenon::eval {
namespace {

Result<Tensor> parse(std::vector<uint8_t> bytes) { return parse_idx(std::as_bytes(std::span(bytes)), "test"); }

TEST(Idx, ReadsBytesWithTheirShape) {
  const Result<Tensor> t = parse({0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255});
  ASSERT_TRUE(t.ok()) << t.status().to_string();
  EXPECT_EQ(t->dtype(), DType::kU8);
  EXPECT_EQ(t->shape(), (Shape{2, 3}));
  EXPECT_EQ(t->at_int(5), 255);
}

TEST(Idx, ReadsBigEndianElements) {
  const Result<Tensor> ints = parse({0, 0, 0x0c, 1, 0, 0, 0, 2, 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe});
  ASSERT_TRUE(ints.ok());
  EXPECT_EQ(ints->at_int(0), 258);
  EXPECT_EQ(ints->at_int(1), -2);
  const Result<Tensor> floats = parse({0, 0, 0x0d, 1, 0, 0, 0, 1, 0x3f, 0xc0, 0, 0});
  ASSERT_TRUE(floats.ok());
  EXPECT_EQ(floats->at_double(0), 1.5);
}

TEST(Idx, RefusesWhatIsNotIdx) {
  EXPECT_FALSE(parse({}).ok());
  EXPECT_FALSE(parse({0, 0, 8}).ok());
  EXPECT_FALSE(parse({1, 0, 8, 0, 7}).ok());
  EXPECT_FALSE(parse({0, 0, 0x0a, 1, 0, 0, 0, 1, 7}).ok()) << "unknown element type";
  EXPECT_FALSE(parse({0x1f, 0x8b, 8, 0}).ok()) << "gzip";
}

TEST(Idx, RefusesSizesThatDisagreeBeforeAllocating) {
  EXPECT_FALSE(parse({0, 0, 8, 1, 0, 0, 0, 2, 1}).ok()) << "an element short";
  EXPECT_FALSE(parse({0, 0, 8, 1, 0, 0, 0, 1, 1, 2}).ok()) << "an element more";
  EXPECT_FALSE(parse({0, 0, 0x0c, 1, 0, 0, 0, 1, 1, 2, 3}).ok()) << "part of an element";
  EXPECT_FALSE(parse({0, 0, 8, 1, 0xff, 0xff, 0xff, 0xff}).ok());
  std::vector<uint8_t> huge{0, 0, 8, 8};
  huge.insert(huge.end(), 32, 0xff);
  EXPECT_FALSE(parse(huge).ok()) << "a product that overflows";
  huge[3] = 255;
  EXPECT_FALSE(parse(huge).ok()) << "a rank that the file cannot hold";
  EXPECT_TRUE(parse({0, 0, 8, 1, 0, 0, 0, 0}).ok()) << "no elements is a size too";
}

TEST(Idx, AnyBytesGiveAResultOrAnError) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> bytes(random() % 40);
    for (uint8_t& b : bytes) b = random() % 4 == 0 ? static_cast<uint8_t>(random()) : static_cast<uint8_t>(random() % 3);
    if (bytes.size() > 2) bytes[0] = bytes[1] = 0, bytes[2] = static_cast<uint8_t>(8 + random() % 7);
    const Result<Tensor> t = parse(bytes);
    ASSERT_TRUE(!t.ok() || t->bytes() <= bytes.size());
  }
}

TEST(Idx, NamesAMissingFile) {
  const Result<Tensor> t = read_idx("no/such/file");
  ASSERT_FALSE(t.ok());
  EXPECT_EQ(t.status().code(), Code::kNotFound);
  EXPECT_NE(t.status().to_string().find("no/such/file"), std::string::npos);
  EXPECT_FALSE(read_idx(std::filesystem::path(TENON_SOURCE_DIR)).ok()) << "a folder";
}

}  // namespace
}  // namespace tenon::eval
