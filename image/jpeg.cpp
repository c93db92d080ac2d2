#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>

#include "image/codecs.h"

namespace tenon::image {
namespace {

constexpr int kMaxScans = 256;  // of a progressive file: each goes over the whole image

/// libjpeg's state and where it jumps on an error. Functions that call setjmp hold nothing that needs a destructor.
struct Decoder {
  jpeg_decompress_struct info = {};
  jpeg_error_mgr errors = {};
  jpeg_progress_mgr progress = {};
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX] = "";
  bool too_large = false;

  ~Decoder() { jpeg_destroy_decompress(&info); }
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* decoder = static_cast<Decoder*>(info->client_data);
  info->err->format_message(info, decoder->message);
  decoder->too_large = info->err->msg_code == JERR_OUT_OF_MEMORY || info->err->msg_code == JERR_NO_BACKING_STORE;
  std::longjmp(decoder->escape, 1);
}

/// Warnings (level -1) are about damage, but for a few.
void on_message(j_common_ptr info, int level) {
  const int code = info->err->msg_code;
  if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR) on_error(info);
}

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* decoder = static_cast<Decoder*>(info->client_data);
  std::snprintf(decoder->message, sizeof decoder->message, "more than %d scans", kMaxScans);
  std::longjmp(decoder->escape, 1);
}

bool read_header(Decoder& d, Bytes bytes, int64_t max_memory) {
  d.info.err = jpeg_std_error(&d.errors);
  d.errors.error_exit = on_error;
  d.errors.emit_message = on_message;
  d.info.client_data = &d;
  if (setjmp(d.escape) != 0) return false;
  jpeg_create_decompress(&d.info);
  d.progress.progress_monitor = on_progress;
  d.info.progress = &d.progress;
  d.info.mem->max_memory_to_use = max_memory;
  jpeg_mem_src(&d.info, bytes.data(), bytes.size());
  jpeg_read_header(&d.info, TRUE);
  const bool inks = d.info.jpeg_color_space == JCS_CMYK || d.info.jpeg_color_space == JCS_YCCK;
  d.info.out_color_space = inks ? JCS_CMYK : JCS_RGB;
  d.info.dct_method = JDCT_ISLOW;
  d.info.do_fancy_upsampling = TRUE;
  return true;
}

/// `row` has room for four channels.
bool read_rows(Decoder& d, uint8_t* row, uint8_t* pixels) {
  if (setjmp(d.escape) != 0) return false;
  jpeg_start_decompress(&d.info);
  const size_t width = d.info.output_width;
  while (d.info.output_scanline < d.info.output_height) {
    uint8_t* out = pixels + size_t{d.info.output_scanline} * width * 3;
    JSAMPROW rows[] = {d.info.output_components == 4 ? row : out};
    jpeg_read_scanlines(&d.info, rows, 1);
    if (d.info.output_components != 4) continue;
    // Adobe's files hold what is left of the paper's white, others hold the ink.
    const bool ink = d.info.saw_Adobe_marker == FALSE;
    for (size_t x = 0; x < width; ++x)
      for (size_t c = 0; c < 3; ++c) {
        const int black = row[4 * x + 3], colour = row[4 * x + c];
        out[3 * x + c] = ink ? scale255(255 - colour, 255 - black) : scale255(colour, black);
      }
  }
  jpeg_finish_decompress(&d.info);
  return true;
}

}  // namespace

Result<Image> decode_jpeg(Bytes bytes, const DecodeLimits& limits) {
  const auto failed = [](const Decoder& d) {
    return d.too_large
               ? Status(Code::kResourceExhausted, fmt::format("the JPEG file needs too much memory: {}", d.message))
               : damaged("JPEG", d.message);
  };
  Decoder decoder;
  if (!read_header(decoder, bytes, std::max<int64_t>(limits.max_bytes, 1))) return failed(decoder);
  // Progressive files keep all their coefficients: two bytes a channel.
  const int64_t own = jpeg_has_multiple_scans(&decoder.info) ? 2 * decoder.info.num_components : 0;
  TENON_ASSIGN_OR_RETURN(Image image, blank(decoder.info.image_width, decoder.info.image_height, limits, own));
  std::vector<uint8_t> row(static_cast<size_t>(image.width) * 4);
  if (!read_rows(decoder, row.data(), image.pixels.data())) return failed(decoder);
  return image;
}

}  // namespace tenon::image
