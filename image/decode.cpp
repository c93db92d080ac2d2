#include "image/decode.h"

#include "image/codecs.h"
#include "support/checked.h"

namespace tenon::image {
namespace {

using namespace std::string_view_literals;

bool starts(Bytes bytes, std::string_view with, size_t at = 0) {
  if (bytes.size() < at + with.size()) return false;
  for (size_t i = 0; i < with.size(); ++i)
    if (bytes[at + i] != static_cast<uint8_t>(with[i])) return false;
  return true;
}

struct Format {
  std::string_view name;
  bool (*announced)(Bytes bytes);
  Result<Image> (*decode)(Bytes bytes, const DecodeLimits& limits);
};

constexpr Format kFormats[] = {
    {"bmp", [](Bytes b) { return starts(b, "BM"); }, decode_bmp},
    {"jpeg", [](Bytes b) { return starts(b, "\xff\xd8\xff"); }, decode_jpeg},
    {"jpeg2000", [](Bytes b) { return starts(b, "\0\0\0\x0cjP  \r\n\x87\n"sv) || starts(b, "\xff\x4f\xff\x51"); },
     decode_jpeg2000},
    {"png", [](Bytes b) { return starts(b, "\x89PNG\r\n\x1a\n"); }, decode_png},
    {"pnm", [](Bytes b) { return b.size() > 2 && b[0] == 'P' && b[1] >= '1' && b[1] <= '6'; }, decode_pnm},
    {"tiff",
     [](Bytes b) {
       return starts(b, "II*\0"sv) || starts(b, "MM\0*"sv) || starts(b, "II+\0"sv) || starts(b, "MM\0+"sv);
     },
     decode_tiff},
    {"webp", [](Bytes b) { return starts(b, "RIFF") && starts(b, "WEBP", 8); }, decode_webp},
};

const Format* find(Bytes bytes) {
  for (const Format& format : kFormats)
    if (format.announced(bytes)) return &format;
  return nullptr;
}

}  // namespace

Status damaged(std::string_view format, std::string_view why) {
  return Status(Code::kInvalidArgument, fmt::format("the {} file cannot be decoded: {}", format, why));
}

Status check_size(int64_t width, int64_t height, int64_t each, const DecodeLimits& limits) {
  if (width < 1 || height < 1) return error(Code::kInvalidArgument, "the image has the size {} x {}", width, height);
  const auto pixels = checked_mul(width, height);
  const auto bytes = pixels ? checked_mul(*pixels, 3 + each) : std::nullopt;
  if (bytes && *pixels <= limits.max_pixels && *bytes <= limits.max_bytes) return {};
  return error(Code::kResourceExhausted, "an image of {} x {} is larger than the limits of {} pixels and {} bytes",
               width, height, limits.max_pixels, limits.max_bytes);
}

Result<Image> blank(int64_t width, int64_t height, const DecodeLimits& limits, int64_t each) {
  TENON_RETURN_IF_ERROR(check_size(width, height, each, limits));
  return Image{height, width, std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
}

std::string_view format_of(Bytes bytes) {
  const Format* format = find(bytes);
  return format == nullptr ? std::string_view() : format->name;
}

Result<Image> decode(Bytes bytes, const DecodeLimits& limits) {
  const Format* format = find(bytes);
  if (format == nullptr) return error(Code::kInvalidArgument, "the bytes are no image of a known format");
  return format->decode(bytes, limits);
}

Result<Plane> decode_plane(Bytes bytes, const DecodeLimits& limits) {
  if (format_of(bytes) == "png") return decode_png_plane(bytes, limits);
  TENON_ASSIGN_OR_RETURN(const Image image, decode(bytes, limits));
  Plane plane{image.height, image.width, 8, std::vector<uint16_t>(static_cast<size_t>(image.height * image.width))};
  for (size_t i = 0; i < plane.values.size(); ++i) {
    const uint8_t* pixel = image.pixels.data() + i * 3;
    if (pixel[0] != pixel[1] || pixel[0] != pixel[2])
      return error(Code::kInvalidArgument, "the image has colours where one number a pixel is wanted").with_hint("give a grey or palette PNG");
    plane.values[i] = pixel[0];
  }
  return plane;
}

}  // namespace tenon::image
