// PBM, PGM and PPM, plain and raw (netpbm's manual pages pbm(5), pgm(5), ppm(5)).

#include <algorithm>

#include "image/codecs.h"

namespace tenon::image {
namespace {

bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}

  /// A decimal number after spaces and comments; -1 when there is none or it exceeds `max`.
  int64_t number(int64_t max) {
    skip();
    int64_t value = -1;
    for (; at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9'; ++at_) {
      value = std::max<int64_t>(value, 0) * 10 + (bytes_[at_] - '0');
      if (value > max) return -1;
    }
    return value;
  }
  /// Plain bitmaps need no space between digits.
  int bit() {
    skip();
    return at_ < bytes_.size() && (bytes_[at_] == '0' || bytes_[at_] == '1') ? bytes_[at_++] - '0' : -1;
  }
  bool one_space() { return at_ < bytes_.size() && is_space(bytes_[at_++]); }
  Bytes rest() const { return bytes_.subspan(at_); }

 private:
  void skip() {
    while (at_ < bytes_.size() && (is_space(bytes_[at_]) || bytes_[at_] == '#')) {
      if (bytes_[at_] == '#')
        while (at_ < bytes_.size() && bytes_[at_] != '\n' && bytes_[at_] != '\r') ++at_;
      else
        ++at_;
    }
  }
  Bytes bytes_;
  size_t at_ = 2;  // after "P6"
};

struct Header {
  int64_t width, height, channels, max;
  bool bitmap, plain;
  int64_t samples() const { return width * height * channels; }
};

uint8_t scaled(int64_t value, int64_t max) { return static_cast<uint8_t>((value * 255 * 2 + max) / (2 * max)); }

void put(Image& image, const Header& h, int64_t sample, uint8_t value) {
  uint8_t* pixel = image.pixels.data() + sample / h.channels * 3;
  if (h.channels == 3)
    pixel[sample % 3] = value;
  else
    std::fill_n(pixel, 3, value);
}

Status read_plain(Reader& in, const Header& h, Image& image) {
  for (int64_t i = 0; i < h.samples(); ++i) {
    const int64_t value = h.bitmap ? in.bit() : in.number(h.max);
    if (value < 0) return damaged("PNM", fmt::format("there is no sample {}", i));
    put(image, h, i, h.bitmap ? (value ? 0 : 255) : scaled(value, h.max));
  }
  return {};
}

Status read_raw(Bytes data, const Header& h, Image& image) {
  const int64_t row = h.bitmap ? (h.width + 7) / 8 : h.width * h.channels * (h.max > 255 ? 2 : 1);
  if (static_cast<int64_t>(data.size()) < row * h.height) return damaged("PNM", "it is cut short");
  for (int64_t i = 0; i < h.samples(); ++i) {
    if (h.bitmap) {
      const int64_t x = i % h.width;
      const uint8_t byte = data[static_cast<size_t>(i / h.width * row + x / 8)];
      put(image, h, i, (byte >> (7 - x % 8)) & 1 ? 0 : 255);
      continue;
    }
    const auto at = static_cast<size_t>(i);
    const int64_t value = h.max > 255 ? data[2 * at] * 256 + data[2 * at + 1] : data[at];
    if (value > h.max) return damaged("PNM", fmt::format("sample {} is {}, more than {}", i, value, h.max));
    put(image, h, i, scaled(value, h.max));
  }
  return {};
}

}  // namespace

Result<Image> decode_pnm(Bytes bytes, const DecodeLimits& limits) {
  Reader in(bytes);
  const int kind = bytes[1] - '0';
  Header h{.channels = kind % 3 == 0 ? 3 : 1, .max = 1, .bitmap = kind % 3 == 1, .plain = kind <= 3};
  h.width = in.number(INT32_MAX);
  h.height = in.number(INT32_MAX);
  if (!h.bitmap) h.max = in.number(65535);
  if (h.width < 1 || h.height < 1 || h.max < 1 || !in.one_space()) return damaged("PNM", "its header is not valid");
  // Every sample takes a byte at least, or a bit of a raw bitmap: a short file cannot ask for a large image.
  TENON_RETURN_IF_ERROR(check_size(h.width, h.height, 0, limits));
  if (static_cast<int64_t>(in.rest().size()) < h.samples() / (h.bitmap && !h.plain ? 8 : 1))
    return damaged("PNM", "it is cut short");
  TENON_ASSIGN_OR_RETURN(Image image, blank(h.width, h.height, limits));
  TENON_RETURN_IF_ERROR(h.plain ? read_plain(in, h, image) : read_raw(in.rest(), h, image));
  return image;
}

}  // namespace tenon::image
