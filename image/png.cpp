#include <csetjmp>
#include <cstring>

#include <png.h>

#include "image/codecs.h"

namespace tenon::image {
namespace {

constexpr png_alloc_size_t kMaxChunk = png_alloc_size_t{8} << 20;

/// libpng's state. Functions that call setjmp hold nothing that needs a destructor.
struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Bytes bytes;
  size_t at = 0;
  std::string message;

  explicit Decoder(Bytes b) : bytes(b) {}
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  static_cast<Decoder*>(png_get_error_ptr(png))->message = message;
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep to, size_t count) {
  auto* d = static_cast<Decoder*>(png_get_io_ptr(png));
  if (d->bytes.size() - d->at < count) png_error(png, "it is cut short");
  std::memcpy(to, d->bytes.data() + d->at, count);
  d->at += count;
}

bool read_header(Decoder& d) {
  if (setjmp(png_jmpbuf(d.png)) != 0) return false;
  png_set_chunk_malloc_max(d.png, kMaxChunk);
  png_set_chunk_cache_max(d.png, 128);
  png_set_user_limits(d.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_read_fn(d.png, &d, on_read);
  png_read_info(d.png, d.info);
  return true;
}

/// `rows` are of three channels.
bool read_rows(Decoder& d, png_bytepp rows) {
  if (setjmp(png_jmpbuf(d.png)) != 0) return false;
  png_set_expand(d.png);
  png_set_scale_16(d.png);
  png_set_strip_alpha(d.png);
  png_set_gray_to_rgb(d.png);
  png_set_interlace_handling(d.png);
  png_read_update_info(d.png, d.info);
  if (png_get_rowbytes(d.png, d.info) != size_t{png_get_image_width(d.png, d.info)} * 3)
    png_error(d.png, "its rows have an unknown form");
  png_read_image(d.png, rows);
  png_read_end(d.png, nullptr);
  return true;
}

}  // namespace

Result<Image> decode_png(Bytes bytes, const DecodeLimits& limits) {
  Decoder decoder(bytes);
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
  decoder.info = decoder.png == nullptr ? nullptr : png_create_info_struct(decoder.png);
  if (decoder.info == nullptr) return error(Code::kResourceExhausted, "there is no memory for a PNG decoder");
  if (!read_header(decoder)) return damaged("PNG", decoder.message);
  TENON_ASSIGN_OR_RETURN(Image image, blank(png_get_image_width(decoder.png, decoder.info),
                                            png_get_image_height(decoder.png, decoder.info), limits));
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < image.height; ++y) rows.push_back(image.pixels.data() + y * image.width * 3);
  if (!read_rows(decoder, rows.data())) return damaged("PNG", decoder.message);
  return image;
}

}  // namespace tenon::image
