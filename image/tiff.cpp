#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>

#include <tiffio.h>

#include "image/codecs.h"

namespace tenon::image {
namespace {

constexpr int64_t kTables = 1 << 20;  // what directories and decoders may take whatever the image

/// What libtiff reads from, in place of a file.
struct Source {
  Bytes bytes;
  uint64_t at = 0;
  std::string message;
};

tmsize_t read(thandle_t handle, void* to, tmsize_t count) {
  auto* s = static_cast<Source*>(handle);
  if (count < 0 || s->at >= s->bytes.size()) return 0;
  const auto available = static_cast<tmsize_t>(s->bytes.size() - s->at);
  count = std::min(count, available);
  std::memcpy(to, s->bytes.data() + s->at, static_cast<size_t>(count));
  s->at += static_cast<uint64_t>(count);
  return count;
}
tmsize_t write(thandle_t, void*, tmsize_t) { return 0; }
toff_t seek(thandle_t handle, toff_t offset, int whence) {
  auto* s = static_cast<Source*>(handle);
  const uint64_t from = whence == SEEK_CUR ? s->at : whence == SEEK_END ? s->bytes.size() : 0;
  return s->at = from + offset;
}
int close(thandle_t) { return 0; }
toff_t size(thandle_t handle) { return static_cast<Source*>(handle)->bytes.size(); }

int on_error(TIFF*, void* user, const char*, const char* format, va_list args) {
  auto* s = static_cast<Source*>(user);
  char text[256];
  std::vsnprintf(text, sizeof text, format, args);
  if (s->message.empty()) s->message = text;
  return 1;  // nothing goes to stderr
}
int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }

struct CloseTiff {
  void operator()(TIFF* t) const { TIFFClose(t); }
};
using Tiff = std::unique_ptr<TIFF, CloseTiff>;

Tiff open(Source& source, const DecodeLimits& limits) {
  TIFFOpenOptions* options = TIFFOpenOptionsAlloc();
  if (options == nullptr) return nullptr;
  TIFFOpenOptionsSetMaxSingleMemAlloc(options, std::max(limits.max_bytes, kTables));
  TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, &source);
  TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, &source);
  // m: not mapped, since the procedures read from memory.
  Tiff tiff(TIFFClientOpenExt("image", "rm", &source, read, write, seek, close, size, nullptr, nullptr, options));
  TIFFOpenOptionsFree(options);
  return tiff;
}

}  // namespace

Result<Image> decode_tiff(Bytes bytes, const DecodeLimits& limits) {
  Source source{bytes, 0, {}};
  const auto failed = [&] { return damaged("TIFF", source.message.empty() ? "it is not valid" : source.message); };
  const Tiff tiff = open(source, limits);
  if (tiff == nullptr) return failed();
  uint32_t width = 0, height = 0;
  if (TIFFGetField(tiff.get(), TIFFTAG_IMAGEWIDTH, &width) != 1 ||
      TIFFGetField(tiff.get(), TIFFTAG_IMAGELENGTH, &height) != 1)
    return failed();
  TENON_ASSIGN_OR_RETURN(Image image, blank(width, height, limits, 4));
  char why[1024] = "";
  if (TIFFRGBAImageOK(tiff.get(), why) != 1)
    return Status(Code::kUnsupported, fmt::format("this form of TIFF: {}", why));
  std::vector<uint32_t> raster(static_cast<size_t>(image.width * image.height));
  if (TIFFReadRGBAImageOriented(tiff.get(), width, height, raster.data(), ORIENTATION_TOPLEFT, 1) != 1) return failed();
  for (size_t i = 0; i < raster.size(); ++i) {
    image.pixels[3 * i] = static_cast<uint8_t>(TIFFGetR(raster[i]));
    image.pixels[3 * i + 1] = static_cast<uint8_t>(TIFFGetG(raster[i]));
    image.pixels[3 * i + 2] = static_cast<uint8_t>(TIFFGetB(raster[i]));
  }
  return image;
}

}  // namespace tenon::image
