#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "support/status.h"

/// Decoders of image files, for ONNX's ImageDecoder. The one home of the image libraries' headers.
namespace tenon::image {

using Bytes = std::span<const uint8_t>;

/// Rows from the top, pixels from the left, red, green, blue.
struct Image {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels;  // height · width · 3
};

struct DecodeLimits {
  int64_t max_pixels = int64_t{1} << 28;
  int64_t max_bytes = int64_t{1} << 32;  // of the decoded image, and of a decoder's own memory where it can be bounded
};

/// The name of the format that the first bytes announce: bmp, jpeg, jpeg2000, png, pnm, tiff, webp; empty for none.
std::string_view format_of(Bytes bytes);

/// Decodes the file's (first) image to 8 bits a channel, as Pillow's convert("RGB") does: grey becomes three equal
/// channels, palettes are looked up, alpha is dropped, deeper channels are scaled. JPEG: the accurate integer DCT and
/// smooth ("fancy") chroma upsampling. kInvalidArgument for a file that is none of the formats, is damaged or cut
/// short; kUnsupported for a form of a format that is not read (animation, subsampled JPEG 2000); kResourceExhausted,
/// before allocating, beyond limits.
Result<Image> decode(Bytes bytes, const DecodeLimits& limits = {});

/// One number a pixel, as it is stored: what an image of classes or depths holds.
struct Plane {
  int64_t height = 0, width = 0;
  int bits = 8;                   // of a number: 8 (also for 1, 2 and 4) or 16
  std::vector<uint16_t> values;   // height · width
};

/// The grey values or palette indices of a PNG (neither scaled nor looked up), or the grey values of another format. kInvalidArgument for
/// colours, whose pixels are no numbers.
Result<Plane> decode_plane(Bytes bytes, const DecodeLimits& limits = {});

}  // namespace tenon::image
