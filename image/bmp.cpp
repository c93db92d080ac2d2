// Windows and OS/2 bitmaps (Microsoft, "Bitmap Storage"): 1, 4, 8, 16, 24 and 32 bits a pixel, run lengths, channel
// masks.

#include <algorithm>
#include <array>
#include <bit>

#include "image/codecs.h"

namespace tenon::image {
namespace {

constexpr uint32_t kNone = 0, kRle8 = 1, kRle4 = 2, kMasks = 3, kAlphaMasks = 6;

using Rgb = std::array<uint8_t, 3>;

uint32_t little(Bytes b, size_t at, size_t count) {
  uint32_t v = 0;
  for (size_t i = 0; i < count; ++i) v |= uint32_t{b[at + i]} << (8 * i);
  return v;
}

struct Header {
  int64_t width = 0, height = 0;
  bool top_down = false;
  uint32_t bits = 0, compression = kNone, colours = 0;
  size_t palette_at = 0, palette_entry = 4;
  std::array<uint32_t, 3> masks = {};
};

Result<Header> read_header(Bytes b) {
  Header h;
  if (b.size() < 26) return damaged("BMP", "it is cut short");
  const size_t size = little(b, 14, 4);
  if (size == 12) {
    h.width = little(b, 18, 2);
    h.height = little(b, 20, 2);
    h.bits = little(b, 24, 2);
    h.palette_entry = 3;
  } else {
    if (size < 40 || size > 4096 || b.size() < 14 + size) return damaged("BMP", "its header is not valid");
    h.width = static_cast<int32_t>(little(b, 18, 4));
    h.height = static_cast<int32_t>(little(b, 22, 4));
    h.top_down = h.height < 0;
    h.height = std::abs(h.height);
    h.bits = little(b, 28, 2);
    h.compression = little(b, 30, 4);
    h.colours = little(b, 46, 4);
  }
  h.palette_at = 14 + size;
  if (h.compression == kMasks || h.compression == kAlphaMasks) {
    // In the header from its second version on, else right behind it.
    if (b.size() < 54 + 12) return damaged("BMP", "it is cut short");
    for (size_t i = 0; i < 3; ++i) h.masks[i] = little(b, 54 + 4 * i, 4);
    if (size == 40) h.palette_at += h.compression == kMasks ? 12 : 16;
  } else if (h.bits == 16) {
    h.masks = {0x7c00, 0x03e0, 0x001f};
  } else if (h.bits == 32) {
    h.masks = {0xff0000, 0x00ff00, 0x0000ff};
  }
  return h;
}

Status check(const Header& h) {
  const bool depth = h.bits == 1 || h.bits == 4 || h.bits == 8 || h.bits == 16 || h.bits == 24 || h.bits == 32;
  const bool masked = h.compression == kMasks || h.compression == kAlphaMasks;
  const bool fits = h.compression == kNone || (h.compression == kRle8 && h.bits == 8) ||
                    (h.compression == kRle4 && h.bits == 4) || (masked && (h.bits == 16 || h.bits == 32));
  if (!depth || !fits)
    return Status(Code::kUnsupported, fmt::format("BMP of {} bits with compression {}", h.bits, h.compression));
  const bool run_lengths = h.compression == kRle8 || h.compression == kRle4;
  if (run_lengths && h.top_down) return damaged("BMP", "run lengths from the top are not valid");
  return {};
}

/// The part of `value` under a mask, of any depth, as 8 bits.
uint8_t channel(uint32_t value, uint32_t mask) {
  if (mask == 0) return 0;
  const uint32_t max = mask >> std::countr_zero(mask);
  return static_cast<uint8_t>((uint64_t{(value & mask) >> std::countr_zero(mask)} * 255 * 2 + max) /
                              (2 * uint64_t{max}));
}

Result<std::vector<Rgb>> read_palette(Bytes b, const Header& h) {
  std::vector<Rgb> palette;
  if (h.bits > 8) return palette;
  const size_t count = h.colours == 0 || h.colours > (1U << h.bits) ? size_t{1} << h.bits : h.colours;
  if (h.palette_at > b.size() || (b.size() - h.palette_at) / h.palette_entry < count)
    return damaged("BMP", "its palette is cut short");
  for (size_t i = 0; i < count; ++i) {
    const size_t at = h.palette_at + i * h.palette_entry;
    palette.push_back({b[at + 2], b[at + 1], b[at]});
  }
  return palette;
}

class Rows {
 public:
  Rows(const Header& h, std::vector<Rgb> palette, Image& image) : h_(h), palette_(std::move(palette)), image_(image) {}

  /// Row y of the file; false for a colour that the palette lacks.
  void set(int64_t x, int64_t y, Rgb colour) {
    const int64_t row = h_.top_down ? y : h_.height - 1 - y;
    std::copy(colour.begin(), colour.end(), image_.pixels.begin() + (row * h_.width + x) * 3);
  }
  bool set_index(int64_t x, int64_t y, uint32_t index) {
    if (index >= palette_.size()) return false;
    set(x, y, palette_[index]);
    return true;
  }

  Status read_plain(Bytes data) {
    const int64_t stride = (h_.width * h_.bits + 31) / 32 * 4;
    // The padding of the last row is often left off.
    const int64_t last = (h_.width * h_.bits + 7) / 8;
    if (static_cast<int64_t>(data.size()) < stride * (h_.height - 1) + last) return damaged("BMP", "it is cut short");
    for (int64_t y = 0; y < h_.height; ++y)
      for (int64_t x = 0; x < h_.width; ++x) {
        const auto at = static_cast<size_t>(y * stride + x * h_.bits / 8);
        if (h_.bits == 24) {
          set(x, y, {data[at + 2], data[at + 1], data[at]});
        } else if (h_.bits > 8) {
          const uint32_t value = little(data, at, h_.bits / 8);
          set(x, y, {channel(value, h_.masks[0]), channel(value, h_.masks[1]), channel(value, h_.masks[2])});
        } else {
          const uint32_t shift = 8 - h_.bits - static_cast<uint32_t>(x * h_.bits % 8);
          if (!set_index(x, y, (data[at] >> shift) & ((1U << h_.bits) - 1)))
            return damaged("BMP", "a colour is not in its palette");
        }
      }
    return {};
  }

  /// Pixels that the runs leave out are those of palette entry 0.
  Status read_runs(Bytes data) {
    for (int64_t y = 0; y < h_.height; ++y)
      for (int64_t x = 0; x < h_.width; ++x) set_index(x, y, 0);
    size_t at = 0;
    int64_t x = 0, y = 0;
    const auto index = [&](uint8_t byte, int64_t i) -> uint32_t {
      return h_.bits == 8 ? byte : i % 2 == 0 ? byte >> 4 : byte & 15;
    };
    const auto write = [&](uint32_t value) { return x < h_.width && y < h_.height && set_index(x++, y, value); };
    while (at + 2 <= data.size()) {
      const uint8_t count = data[at], value = data[at + 1];
      at += 2;
      if (count > 0) {
        for (int64_t i = 0; i < count; ++i)
          if (!write(index(value, i))) return damaged("BMP", "a run leaves the image or its palette");
      } else if (value == 0) {
        x = 0;
        ++y;
      } else if (value == 1) {
        return {};
      } else if (value == 2) {
        if (at + 2 > data.size()) break;
        x += data[at];
        y += data[at + 1];
        at += 2;
        if (x > h_.width || y > h_.height) return damaged("BMP", "a run leaves the image");
      } else {
        const size_t bytes = h_.bits == 8 ? value : (value + 1U) / 2;
        if (data.size() - at < bytes) break;
        for (int64_t i = 0; i < value; ++i)
          if (!write(index(data[at + static_cast<size_t>(h_.bits == 8 ? i : i / 2)], i)))
            return damaged("BMP", "a run leaves the image or its palette");
        at += bytes + bytes % 2;
      }
    }
    return damaged("BMP", "it is cut short");
  }

 private:
  const Header& h_;
  std::vector<Rgb> palette_;
  Image& image_;
};

}  // namespace

Result<Image> decode_bmp(Bytes bytes, const DecodeLimits& limits) {
  TENON_ASSIGN_OR_RETURN(const Header h, read_header(bytes));
  TENON_RETURN_IF_ERROR(check(h));
  TENON_RETURN_IF_ERROR(check_size(h.width, h.height, 0, limits));
  const size_t offset = little(bytes, 10, 4);
  if (offset < 26 || offset > bytes.size()) return damaged("BMP", "its pixels lie outside of it");
  const Bytes data = bytes.subspan(offset);
  const bool runs = h.compression == kRle8 || h.compression == kRle4;
  // Before allocating: plain rows are all there; two bytes of run lengths hold at most 255 pixels, or skip so many
  // rows.
  if (!runs && static_cast<int64_t>(data.size()) < (h.width * h.bits + 31) / 32 * 4 * (h.height - 1))
    return damaged("BMP", "it is cut short");
  TENON_ASSIGN_OR_RETURN(std::vector<Rgb> palette, read_palette(bytes, h));
  TENON_ASSIGN_OR_RETURN(Image image, blank(h.width, h.height, limits));
  Rows rows(h, std::move(palette), image);
  TENON_RETURN_IF_ERROR(runs ? rows.read_runs(data) : rows.read_plain(data));
  return image;
}

}  // namespace tenon::image
