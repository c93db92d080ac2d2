#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::run_op;
using test::try_op;
using test::values;
using testing::ElementsAre;

Tensor bytes(const std::string& text) {
  return Tensor::from<uint8_t>({static_cast<int64_t>(text.size())},
                               std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}
const std::string kTwoPixels = "P3 2 1 255 10 20 30 255 0 1";

TEST(ImageDecoder, GivesThePixelFormatAskedFor) {
  const Tensor rgb = run_op("ImageDecoder", {bytes(kTwoPixels)});
  EXPECT_EQ(rgb.shape(), (Shape{1, 2, 3}));
  EXPECT_EQ(rgb.dtype(), DType::kU8);
  EXPECT_THAT(values(rgb), ElementsAre(10, 20, 30, 255, 0, 1));
  EXPECT_THAT(values(run_op("ImageDecoder", {bytes(kTwoPixels)}, {{"pixel_format", std::string("BGR")}})),
              ElementsAre(30, 20, 10, 1, 0, 255));
  const Tensor grey = run_op("ImageDecoder", {bytes(kTwoPixels)}, {{"pixel_format", std::string("Grayscale")}});
  EXPECT_EQ(grey.shape(), (Shape{1, 2, 1}));
  // 0.299 R + 0.587 G + 0.114 B: 18.15 and 76.36.
  EXPECT_THAT(values(grey), ElementsAre(18, 76));
}

// The op's definition: "If it can't decode for any reason … it will return an empty matrix".
TEST(ImageDecoder, GivesAnEmptyImageForWhatItCannotDecode) {
  for (const char* text : {"", "GIF89a", "P3 2 1 255 10 20 30", "P3 0 0 255", "BM", "\x89PNG\r\n\x1a\n", "\xff\xd8\xff",
                           "II*", "RIFF....WEBPVP8 "}) {
    EXPECT_EQ(run_op("ImageDecoder", {bytes(text)}).shape(), (Shape{0, 0, 3})) << text;
    EXPECT_EQ(run_op("ImageDecoder", {bytes(text)}, {{"pixel_format", std::string("Grayscale")}}).shape(),
              (Shape{0, 0, 1}))
        << text;
  }
}

TEST(ImageDecoder, RefusesWhatIsNoStream) {
  EXPECT_EQ(try_op("ImageDecoder", {bytes("P6 100000 100000 255\n")}).status().code(), Code::kResourceExhausted);
  EXPECT_FALSE(try_op("ImageDecoder", {bytes(kTwoPixels)}, {{"pixel_format", std::string("CMYK")}}).ok());
  EXPECT_FALSE(try_op("ImageDecoder", {Tensor::from<uint8_t>({1, 2}, {1, 2})}).ok());
  EXPECT_FALSE(try_op("ImageDecoder", {Tensor::scalar<uint8_t>(1)}).ok());
  EXPECT_FALSE(try_op("ImageDecoder", {Tensor::from<int8_t>({2}, {1, 2})}).ok());
}

}  // namespace
}  // namespace tenon::ir
