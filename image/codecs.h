#pragma once

#include "image/decode.h"

/// One function a format; `bytes` begin with its signature.
namespace tenon::image {

Result<Image> decode_bmp(Bytes bytes, const DecodeLimits& limits);
Result<Image> decode_jpeg(Bytes bytes, const DecodeLimits& limits);
Result<Image> decode_jpeg2000(Bytes bytes, const DecodeLimits& limits);
Result<Image> decode_png(Bytes bytes, const DecodeLimits& limits);
Result<Plane> decode_png_plane(Bytes bytes, const DecodeLimits& limits);
Result<Image> decode_pnm(Bytes bytes, const DecodeLimits& limits);
Result<Image> decode_tiff(Bytes bytes, const DecodeLimits& limits);
Result<Image> decode_webp(Bytes bytes, const DecodeLimits& limits);

/// Checks the size against the limits before anything is allocated; `each`: bytes that the decoder takes for a pixel of
/// its own.
Status check_size(int64_t width, int64_t height, int64_t each, const DecodeLimits& limits);
/// A black image, after check_size.
Result<Image> blank(int64_t width, int64_t height, const DecodeLimits& limits, int64_t each = 0);
Status damaged(std::string_view format, std::string_view why);

/// Rounds a · b / 255.
constexpr uint8_t scale255(int a, int b) {
  const int product = a * b + 128;
  return static_cast<uint8_t>((product + (product >> 8)) >> 8);
}

}  // namespace tenon::image
