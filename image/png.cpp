#include <algorithm>
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

/// `rows` are of one sample, 8 or 16 bits in the machine's order, a pixel.
bool read_samples(Decoder& d, png_bytepp rows) {
  if (setjmp(png_jmpbuf(d.png)) != 0) return false;
  png_set_packing(d.png);
  png_set_strip_alpha(d.png);
  if (png_get_bit_depth(d.png, d.info) == 16) png_set_swap(d.png);
  png_set_interlace_handling(d.png);
  png_read_update_info(d.png, d.info);
  if (png_get_rowbytes(d.png, d.info) != size_t{png_get_image_width(d.png, d.info)} * (png_get_bit_depth(d.png, d.info) == 16 ? 2 : 1))
    png_error(d.png, "its rows have an unknown form");
  png_read_image(d.png, rows);
  png_read_end(d.png, nullptr);
  return true;
}

Status make_decoder(Decoder& decoder) {
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
  decoder.info = decoder.png == nullptr ? nullptr : png_create_info_struct(decoder.png);
  if (decoder.info == nullptr) return error(Code::kResourceExhausted, "there is no memory for a PNG decoder");
  if (!read_header(decoder)) return damaged("PNG", decoder.message);
  return {};
}

}  // namespace

Result<Plane> decode_png_plane(Bytes bytes, const DecodeLimits& limits) {
  Decoder decoder(bytes);
  TENON_RETURN_IF_ERROR(make_decoder(decoder));
  const auto colour = png_get_color_type(decoder.png, decoder.info);
  if (colour != PNG_COLOR_TYPE_PALETTE && (colour & PNG_COLOR_MASK_COLOR) != 0)
    return error(Code::kInvalidArgument, "the image has colours where one number a pixel is wanted").with_hint("give a grey or palette PNG");
  Plane plane;
  plane.height = png_get_image_height(decoder.png, decoder.info);
  plane.width = png_get_image_width(decoder.png, decoder.info);
  TENON_RETURN_IF_ERROR(check_size(plane.width, plane.height, 0, limits));
  const bool wide = png_get_bit_depth(decoder.png, decoder.info) == 16;
  plane.bits = wide ? 16 : 8;
  const auto width = static_cast<size_t>(plane.width);
  std::vector<uint8_t> narrow(wide ? 0 : width * static_cast<size_t>(plane.height));
  plane.values.resize(width * static_cast<size_t>(plane.height));
  std::vector<png_bytep> rows;
  for (size_t y = 0; y < static_cast<size_t>(plane.height); ++y)
    rows.push_back(wide ? reinterpret_cast<png_bytep>(plane.values.data() + y * width) : narrow.data() + y * width);
  if (!read_samples(decoder, rows.data())) return damaged("PNG", decoder.message);
  if (!wide) std::copy(narrow.begin(), narrow.end(), plane.values.begin());
  return plane;
}

Result<Image> decode_png(Bytes bytes, const DecodeLimits& limits) {
  Decoder decoder(bytes);
  TENON_RETURN_IF_ERROR(make_decoder(decoder));
  TENON_ASSIGN_OR_RETURN(Image image, blank(png_get_image_width(decoder.png, decoder.info),
                                            png_get_image_height(decoder.png, decoder.info), limits));
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < image.height; ++y) rows.push_back(image.pixels.data() + y * image.width * 3);
  if (!read_rows(decoder, rows.data())) return damaged("PNG", decoder.message);
  return image;
}

}  // namespace tenon::image
