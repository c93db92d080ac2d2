// Files of tests/image/data were written by Pillow (make_images.py there), which says what they decode to; small
// formats are spelt out here.

#include "image/decode.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>

namespace tenon::image {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

const fs::path kData = fs::path(TENON_SOURCE_DIR) / "tests/image/data";

std::vector<uint8_t> read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Every encoded file with the pixels that Pillow gives.
struct Sample {
  std::string name;
  std::vector<uint8_t> bytes, pixels;
};

std::vector<Sample> samples() {
  std::vector<Sample> out;
  for (const auto& entry : fs::directory_iterator(kData)) {
    if (entry.path().extension() == ".ppm") continue;
    fs::path expected = entry.path();
    std::vector<uint8_t> ppm = read(expected.replace_extension(".ppm"));
    ppm.erase(ppm.begin(), ppm.end() - 21 * 13 * 3);
    out.push_back({entry.path().filename().string(), read(entry.path()), std::move(ppm)});
  }
  return out;
}

Result<Image> decode_text(const std::string& text, const DecodeLimits& limits = {}) {
  return decode({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, limits);
}
std::string little(uint32_t v, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += static_cast<char>(v >> (8 * i));
  return out;
}

TEST(ImageDecode, AgreesWithPillow) {
  const std::vector<Sample> all = samples();
  ASSERT_EQ(all.size(), 21u);
  for (const Sample& s : all) {
    SCOPED_TRACE(s.name);
    const auto image = decode(s.bytes);
    ASSERT_TRUE(image.ok()) << image.status().to_string();
    EXPECT_EQ(image->width, 21);
    EXPECT_EQ(image->height, 13);
    EXPECT_THAT(image->pixels, ElementsAreArray(s.pixels));
  }
}

TEST(ImageDecode, KnowsFormatsByTheirFirstBytes) {
  const auto name = [](const char* file) { return format_of(read(kData / file)); };
  EXPECT_EQ(name("jpeg_420.jpg"), "jpeg");
  EXPECT_EQ(name("jp2_lossy.jp2"), "jpeg2000");
  EXPECT_EQ(name("j2k_grey.j2k"), "jpeg2000");
  EXPECT_EQ(name("png_16.png"), "png");
  EXPECT_EQ(name("png_16.ppm"), "pnm");
  EXPECT_EQ(name("webp_lossy.webp"), "webp");
  EXPECT_EQ(name("tiff_lzw.tiff"), "tiff");
  EXPECT_EQ(name("bmp_24.bmp"), "bmp");
  EXPECT_EQ(format_of({}), "");
  EXPECT_EQ(decode({}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(decode_text("GIF89a....").status().code(), Code::kInvalidArgument);
}

// A file cut short fails, or misses what its pixels do not need.
TEST(ImageDecode, SurvivesTruncationAtEveryByte) {
  for (const Sample& s : samples()) {
    SCOPED_TRACE(s.name);
    for (size_t size = 0; size < s.bytes.size(); ++size) {
      const std::vector<uint8_t> cut(s.bytes.begin(), s.bytes.begin() + static_cast<std::ptrdiff_t>(size));
      const auto image = decode(cut);
      EXPECT_TRUE(!image.ok() || image->pixels == s.pixels) << size << " of " << s.bytes.size() << " bytes";
    }
    const std::vector<uint8_t> half(s.bytes.begin(), s.bytes.begin() + static_cast<std::ptrdiff_t>(s.bytes.size() / 2));
    EXPECT_FALSE(decode(half).ok());
  }
}

TEST(ImageDecode, SurvivesDamageOfEveryByte) {
  const DecodeLimits limits{.max_pixels = 1 << 20, .max_bytes = 1 << 24};
  for (const Sample& s : samples()) {
    SCOPED_TRACE(s.name);
    for (size_t at = 0; at < s.bytes.size(); ++at)
      for (uint8_t flip : {0x01, 0x80, 0xff}) {
        std::vector<uint8_t> bytes = s.bytes;
        bytes[at] ^= flip;
        const auto image = decode(bytes, limits);
        EXPECT_TRUE(!image.ok() || static_cast<int64_t>(image->pixels.size()) == image->width * image->height * 3);
      }
  }
}

TEST(ImageDecode, RefusesLargeImagesBeforeAllocating) {
  for (const Sample& s : samples()) {
    EXPECT_EQ(decode(s.bytes, {.max_pixels = 21 * 13 - 1}).status().code(), Code::kResourceExhausted) << s.name;
    EXPECT_EQ(decode(s.bytes, {.max_bytes = 21 * 13 * 3 - 1}).status().code(), Code::kResourceExhausted) << s.name;
  }
  EXPECT_EQ(decode_text("P6 2000000000 2000000000 255\n").status().code(), Code::kResourceExhausted);
  EXPECT_EQ(decode_text("P6 16000 16000 255\n").status().code(), Code::kInvalidArgument) << "too few bytes for it";
  std::vector<uint8_t> jpeg = read(kData / "jpeg_444_progressive.jpg");
  const uint8_t frame[] = {0xff, 0xc2};
  auto at = std::search(jpeg.begin(), jpeg.end(), std::begin(frame), std::end(frame));
  ASSERT_NE(at, jpeg.end());
  for (int i : {5, 7}) at[i] = 0xfd;  // 64768 + 13 by 64768 + 21
  EXPECT_EQ(decode(jpeg).status().code(), Code::kResourceExhausted);
}

// ---- Portable maps

TEST(ImageDecodePnm, ReadsPlainForms) {
  EXPECT_THAT(decode_text("P1\n# comment\n3 1\n1 01")->pixels, ElementsAre(0, 0, 0, 255, 255, 255, 0, 0, 0));
  EXPECT_THAT(decode_text("P2 2 1 4 1 4")->pixels, ElementsAre(64, 64, 64, 255, 255, 255));
  EXPECT_THAT(decode_text("P3 1 1 65535 65535 0 32768\n")->pixels, ElementsAre(255, 0, 128));
}

TEST(ImageDecodePnm, ReadsRawForms) {
  EXPECT_THAT(decode_text("P4 9 2\n\xff\x80\x7f\xff")->pixels[3 * 9], 255);
  EXPECT_THAT(decode_text("P4 9 2\n\xff\x80\x7f\xff")->pixels[3 * 8], 0);
  EXPECT_THAT(decode_text(std::string("P5 2 1 255\n\x07\xff"))->pixels, ElementsAre(7, 7, 7, 255, 255, 255));
  EXPECT_THAT(decode_text(std::string("P6 1 1 65535\n\xff\xff\x80\x00\x00\x00", 19))->pixels, ElementsAre(255, 128, 0));
}

TEST(ImageDecodePnm, RefusesDamage) {
  for (const char* text : {"P6", "P6 1", "P6 1 1", "P6 1 1 255", "P6 0 1 255\nabc", "P6 -1 1 255\nabc", "P6 1 1 0\nabc",
                           "P6 1 1 65536\nabcdef", "P6 1 1 255\nab", "P5 1 1 9\n\x0a", "P2 2 1 9 1", "P2 1 1 9 10",
                           "P2 1 1 9 x", "P1 1 1 2", "P3 99999999999999999999 1 255 1 1 1", "P6 1 1 255#", "P1#"})
    EXPECT_FALSE(decode_text(text).ok()) << text;
}

// ---- Bitmaps

/// A file with a header of 40 bytes; `palette` also holds channel masks.
std::string bitmap(int32_t width, int32_t height, int bits, uint32_t compression, const std::string& palette,
                   const std::string& data, uint32_t colours = 0) {
  std::string out = "BM" + little(0, 8) + little(static_cast<uint32_t>(54 + palette.size()), 4) + little(40, 4);
  out += little(static_cast<uint32_t>(width), 4) + little(static_cast<uint32_t>(height), 4) + little(1, 2) +
         little(static_cast<uint32_t>(bits), 2);
  return out + little(compression, 4) + little(0, 12) + little(colours, 4) + little(0, 4) + palette + data;
}

const std::string kTwoColours =
    std::string("\x03\x02\x01\x00", 4) + std::string("\x06\x05\x04\x00", 4);  // (1, 2, 3), (4, 5, 6)

TEST(ImageDecodeBmp, ReadsRowsFromEitherEnd) {
  const std::string rows = std::string("\x80\0\0\0", 4) + std::string("\0\0\0\0", 4);
  EXPECT_THAT(decode_text(bitmap(1, 2, 1, 0, kTwoColours, rows))->pixels, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(decode_text(bitmap(1, -2, 1, 0, kTwoColours, rows))->pixels, ElementsAre(4, 5, 6, 1, 2, 3));
}

TEST(ImageDecodeBmp, ReadsSixteenBitsAndMasks) {
  EXPECT_THAT(decode_text(bitmap(2, 1, 16, 0, "", little(0x7c00 | 0x001f | (uint32_t{0x03e0} << 16), 4)))->pixels,
              ElementsAre(255, 0, 255, 0, 255, 0));
  const std::string masks565 = little(0xf800, 4) + little(0x07e0, 4) + little(0x001f, 4);
  EXPECT_THAT(decode_text(bitmap(2, 1, 16, 3, masks565, little(0xf800 | 0x0400 | (uint32_t{0x07e0} << 16), 4)))->pixels,
              ElementsAre(255, 130, 0, 0, 255, 0));
  const std::string deep = little(0x3ff00000, 4) + little(0x000ffc00, 4) + little(0x000003ff, 4);
  EXPECT_THAT(decode_text(bitmap(1, 1, 32, 3, deep, little(0x3ff00000 | (512 << 10), 4)))->pixels,
              ElementsAre(255, 128, 0));
}

TEST(ImageDecodeBmp, ReadsRunLengths) {
  // Row 0: three times colour 1; row 1: 0 1 spelt out, then a step; the rest stays colour 0.
  const std::string rle8 = std::string("\x03\x01\x00\x00\x02\x00\x01\x01\x00\x01", 10);
  EXPECT_THAT(decode_text(bitmap(3, 2, 8, 1, kTwoColours, rle8, 2))->pixels,
              ElementsAre(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6, 4, 5, 6, 4, 5, 6));
  const std::string literal = std::string("\x00\x03\x01\x00\x01\x00\x00\x01", 8);
  EXPECT_THAT(decode_text(bitmap(3, 1, 8, 1, kTwoColours, literal, 2))->pixels, ElementsAre(4, 5, 6, 1, 2, 3, 4, 5, 6));
  const std::string rle4 = std::string("\x03\x10\x00\x01", 4);
  EXPECT_THAT(decode_text(bitmap(3, 1, 4, 2, kTwoColours, rle4, 2))->pixels, ElementsAre(4, 5, 6, 1, 2, 3, 4, 5, 6));
  const std::string step = std::string("\x00\x02\x02\x00\x01\x01\x00\x01", 8);
  EXPECT_THAT(decode_text(bitmap(3, 1, 8, 1, kTwoColours, step, 2))->pixels, ElementsAre(1, 2, 3, 1, 2, 3, 4, 5, 6));
}

TEST(ImageDecodeBmp, RefusesDamage) {
  const std::string row = std::string(4, '\0');
  for (const std::string& bytes :
       {bitmap(0, 1, 24, 0, "", row), bitmap(-1, 1, 24, 0, "", row), bitmap(INT32_MAX, INT32_MIN, 24, 0, "", row),
        bitmap(1, 1, 7, 0, "", row), bitmap(1, 1, 24, 1, "", row), bitmap(1, 1, 24, 9, "", row),
        bitmap(1, 1, 8, 0, kTwoColours, row), bitmap(1, 1, 8, 0, kTwoColours, "\x02\0\0\0", 2),
        bitmap(3, 1, 8, 1, kTwoColours, "\x04\x01", 2), bitmap(3, 1, 8, 1, kTwoColours, "\x03\x02", 2),
        bitmap(3, 1, 8, 1, kTwoColours, "\x03\x01", 2),
        bitmap(3, 1, 8, 1, kTwoColours, std::string("\0\x02\x04\0", 4), 2),
        bitmap(3, 1, 8, 1, kTwoColours, std::string("\0\x03\x01", 3), 2),
        bitmap(3, -1, 8, 1, kTwoColours, std::string("\0\x01", 2), 2), bitmap(9, 9, 24, 0, "", row)})
    EXPECT_FALSE(decode(Bytes(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())).ok());
  EXPECT_EQ(decode_text(bitmap(60'000, 60'000, 8, 1, kTwoColours, std::string("\0\x01", 2), 2)).status().code(),
            Code::kResourceExhausted);
}

}  // namespace
}  // namespace tenon::image
