#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include <openjpeg.h>

#include "image/codecs.h"

namespace tenon::image {
namespace {

/// What OpenJPEG reads from.
struct Source {
  Bytes bytes;
  size_t at = 0;
};

OPJ_SIZE_T read(void* to, OPJ_SIZE_T count, void* user) {
  auto* s = static_cast<Source*>(user);
  count = std::min<OPJ_SIZE_T>(count, s->bytes.size() - s->at);
  if (count == 0) return static_cast<OPJ_SIZE_T>(-1);
  std::memcpy(to, s->bytes.data() + s->at, count);
  s->at += count;
  return count;
}
OPJ_OFF_T skip(OPJ_OFF_T count, void* user) {
  auto* s = static_cast<Source*>(user);
  if (count < 0 || static_cast<OPJ_SIZE_T>(count) > s->bytes.size() - s->at) return -1;
  s->at += static_cast<size_t>(count);
  return count;
}
OPJ_BOOL seek(OPJ_OFF_T to, void* user) {
  auto* s = static_cast<Source*>(user);
  if (to < 0 || static_cast<OPJ_SIZE_T>(to) > s->bytes.size()) return OPJ_FALSE;
  s->at = static_cast<size_t>(to);
  return OPJ_TRUE;
}

void on_error(const char* message, void* user) {
  auto* first = static_cast<std::string*>(user);
  if (first->empty()) *first = std::string_view(message).substr(0, std::string_view(message).find('\n'));
}

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Stream = std::unique_ptr<opj_stream_t, Freed<opj_stream_destroy>>;
using Codec = std::unique_ptr<opj_codec_t, Freed<opj_destroy_codec>>;
using Picture = std::unique_ptr<opj_image_t, Freed<opj_image_destroy>>;

Status check_components(const opj_image_t& p) {
  if (p.numcomps < 1 || p.numcomps > 4)
    return Status(Code::kUnsupported, fmt::format("JPEG 2000 of {} components", p.numcomps));
  for (OPJ_UINT32 i = 0; i < p.numcomps; ++i) {
    const opj_image_comp_t& c = p.comps[i];
    if (c.dx != p.comps[0].dx || c.dy != p.comps[0].dy || c.w != p.comps[0].w || c.h != p.comps[0].h)
      return Status(Code::kUnsupported, "JPEG 2000 with subsampled components");
    if (c.prec < 1 || c.prec > 31) return Status(Code::kUnsupported, fmt::format("JPEG 2000 of {} bits", c.prec));
  }
  return {};
}

/// A sample as 8 bits; signed ones are around the middle.
uint8_t sample(const opj_image_comp_t& c, size_t i) {
  const int64_t max = (int64_t{1} << c.prec) - 1;
  const int64_t value = std::clamp<int64_t>(int64_t{c.data[i]} + (c.sgnd ? (max + 1) / 2 : 0), 0, max);
  return static_cast<uint8_t>((value * 255 * 2 + max) / (2 * max));
}

uint8_t clamped(double v) { return static_cast<uint8_t>(std::clamp(std::lround(v), 0L, 255L)); }

}  // namespace

Result<Image> decode_jpeg2000(Bytes bytes, const DecodeLimits& limits) {
  Source source{bytes};
  std::string message;
  const auto failed = [&] { return damaged("JPEG 2000", message.empty() ? "it is not valid" : message); };
  const Codec codec(opj_create_decompress(bytes[0] == 0 ? OPJ_CODEC_JP2 : OPJ_CODEC_J2K));
  const Stream stream(opj_stream_default_create(OPJ_TRUE));
  if (codec == nullptr || stream == nullptr)
    return error(Code::kResourceExhausted, "there is no memory for a JPEG 2000 decoder");
  opj_set_error_handler(codec.get(), on_error, &message);
  opj_stream_set_user_data(stream.get(), &source, nullptr);
  opj_stream_set_user_data_length(stream.get(), bytes.size());
  opj_stream_set_read_function(stream.get(), read);
  opj_stream_set_skip_function(stream.get(), skip);
  opj_stream_set_seek_function(stream.get(), seek);
  opj_dparameters_t parameters;
  opj_set_default_decoder_parameters(&parameters);
  if (!opj_setup_decoder(codec.get(), &parameters) || !opj_decoder_set_strict_mode(codec.get(), OPJ_TRUE))
    return failed();
  opj_image_t* raw = nullptr;
  const bool read_header = opj_read_header(stream.get(), codec.get(), &raw);
  const Picture picture(raw);
  if (!read_header || picture == nullptr) return failed();
  TENON_RETURN_IF_ERROR(check_components(*picture));
  // Coefficients and samples are 32-bit integers.
  TENON_RETURN_IF_ERROR(check_size(picture->comps[0].w, picture->comps[0].h, 8 * int64_t{picture->numcomps}, limits));
  if (!opj_decode(codec.get(), stream.get(), picture.get()) || !opj_end_decompress(codec.get(), stream.get()))
    return failed();

  const opj_image_t& p = *picture;
  TENON_RETURN_IF_ERROR(check_components(p));  // a palette has made one component several
  for (OPJ_UINT32 i = 0; i < p.numcomps; ++i)
    if (p.comps[i].data == nullptr) return failed();
  TENON_ASSIGN_OR_RETURN(Image image, blank(p.comps[0].w, p.comps[0].h, limits));
  const bool grey = p.numcomps < 3, luma = !grey && p.color_space == OPJ_CLRSPC_SYCC;
  for (size_t i = 0; i < image.pixels.size() / 3; ++i) {
    uint8_t* out = image.pixels.data() + 3 * i;
    for (size_t c = 0; c < 3; ++c) out[c] = sample(p.comps[grey ? 0 : c], i);
    if (!luma) continue;
    const double y = out[0], cb = out[1] - 128.0, cr = out[2] - 128.0;  // ITU-R BT.601
    out[0] = clamped(y + 1.402 * cr);
    out[1] = clamped(y - 0.344136 * cb - 0.714136 * cr);
    out[2] = clamped(y + 1.772 * cb);
  }
  return image;
}

}  // namespace tenon::image
