#include <webp/decode.h>

#include "image/codecs.h"

namespace tenon::image {

Result<Image> decode_webp(Bytes bytes, const DecodeLimits& limits) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK)
    return damaged("WebP", "its header is not valid");
  if (features.has_animation) return Status(Code::kUnsupported, "a WebP animation");
  // The lossless decoder keeps the image as 32-bit pixels.
  TENON_ASSIGN_OR_RETURN(Image image, blank(features.width, features.height, limits, 4));
  if (WebPDecodeRGBInto(bytes.data(), bytes.size(), image.pixels.data(), image.pixels.size(),
                        static_cast<int>(image.width * 3)) == nullptr)
    return damaged("WebP", "its data are not valid, or cut short");
  return image;
}

}  // namespace tenon::image
