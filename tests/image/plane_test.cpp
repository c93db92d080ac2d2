// decode_plane: the numbers that an image of classes holds.

#include <zlib.h>

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/decode.h"

namespace tenon::image {
namespace {

using ::testing::ElementsAre;

void add_number(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

std::string chunk(const std::string& type, const std::string& data) {
  std::string out;
  add_number(out, static_cast<uint32_t>(data.size()));
  const std::string body = type + data;
  out += body;
  add_number(out, static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
  return out;
}

/// A PNG (ISO 15948) of rows that begin with their filter, 0.
std::string png(uint32_t width, uint32_t height, char depth, char colour, const std::string& palette, const std::string& rows) {
  std::string header;
  add_number(header, width);
  add_number(header, height);
  header += {depth, colour, 0, 0, 0};
  std::string packed(compressBound(rows.size()), '\0');
  uLongf size = packed.size();
  EXPECT_EQ(compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(rows.data()), rows.size()), Z_OK);
  packed.resize(size);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + (palette.empty() ? "" : chunk("PLTE", palette)) + chunk("IDAT", packed) + chunk("IEND", "");
}

Result<Plane> decode(const std::string& bytes) { return decode_plane({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}); }

TEST(Plane, KeepsPaletteIndices) {
  // Two bits a pixel: 3 0 1 2 and 1 1 1 1.
  const auto plane = decode(png(4, 2, 2, 3, "aaabbbcccddd", std::string("\0\xc6\0\x55", 4)));
  ASSERT_TRUE(plane.ok()) << plane.status().to_string();
  EXPECT_EQ(plane->bits, 8);
  EXPECT_THAT(plane->values, ElementsAre(3, 0, 1, 2, 1, 1, 1, 1));
}

TEST(Plane, KeepsGreyValuesOfAnyDepth) {
  EXPECT_THAT(decode(png(3, 1, 8, 0, "", std::string("\0\1\xff\7", 4)))->values, ElementsAre(1, 255, 7));
  EXPECT_THAT(decode(png(2, 1, 1, 0, "", std::string("\0\x40", 2)))->values, ElementsAre(0, 1)) << "not scaled to 255";
  const auto wide = decode(png(2, 1, 16, 0, "", std::string("\0\x01\x02\xff\xff", 5)));
  EXPECT_EQ(wide->bits, 16);
  EXPECT_THAT(wide->values, ElementsAre(0x102, 0xffff));
  EXPECT_THAT(decode(png(1, 1, 8, 4, "", std::string("\0\x05\x80", 3)))->values, ElementsAre(5)) << "without alpha";
}

TEST(Plane, RefusesColours) {
  EXPECT_EQ(decode(png(1, 1, 8, 2, "", std::string("\0abc", 4))).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(decode("P6\n1 1\n255\nabc").status().code(), Code::kInvalidArgument);
  EXPECT_THAT(decode("P6\n1 1\n255\naaa")->values, ElementsAre('a'));
}

TEST(Plane, DamagedBytesGiveAnErrorOrAPlane) {
  const std::string bytes = png(4, 2, 2, 3, "aaabbbcccddd", std::string("\0\xc6\0\x55", 4));
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_FALSE(decode(bytes.substr(0, i)).ok()) << i;
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      const auto plane = decode(changed);
      EXPECT_TRUE(!plane.ok() || plane->values.size() == static_cast<size_t>(plane->height * plane->width));
    }
  }
}

}  // namespace
}  // namespace tenon::image
