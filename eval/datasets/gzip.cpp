#include "eval/datasets/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <vector>

namespace tenon::eval {
namespace {

constexpr size_t kStep = size_t{1} << 20;

/// The members one after the other, and zero bytes behind them (as tapes and blocks pad); false when they are damaged or end early.
bool inflate_members(z_stream& stream, std::span<const std::byte> bytes, size_t max_bytes, std::vector<std::byte>& out, bool& too_large) {
  size_t read = 0;
  bool inside = false;
  int state = Z_OK;
  while (read < bytes.size() || inside) {
    if (!inside) {
      if (inflateReset(&stream) != Z_OK) return false;
      inside = true;
    }
    const size_t old = out.size();
    if (old > max_bytes) {
      too_large = true;
      return false;
    }
    out.resize(old + kStep);
    const size_t given = std::min<size_t>(bytes.size() - read, size_t{1} << 30);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data() + read));
    stream.avail_in = static_cast<uInt>(given);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + old);
    stream.avail_out = kStep;
    state = inflate(&stream, Z_NO_FLUSH);
    const size_t taken = given - stream.avail_in, made = kStep - stream.avail_out;
    read += taken;
    out.resize(old + made);
    if (state == Z_STREAM_END) {
      inside = false;
      const auto rest = bytes.subspan(read);
      if (std::all_of(rest.begin(), rest.end(), [](std::byte b) { return b == std::byte{0}; })) break;
    } else if (state != Z_OK || (taken == 0 && made == 0)) {
      return false;
    }
  }
  too_large = out.size() > max_bytes;
  return !too_large;
}

}  // namespace

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

Result<std::shared_ptr<Buffer>> gunzip(std::span<const std::byte> bytes, size_t max_bytes, std::string_view where) {
  z_stream stream{};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) return Status(Code::kResourceExhausted, "no memory to unpack with", std::string(where));
  auto out = std::make_shared<std::vector<std::byte>>();
  bool too_large = false;
  const bool good = inflate_members(stream, bytes, max_bytes, *out, too_large);
  inflateEnd(&stream);
  if (too_large)
    return Status(Code::kResourceExhausted, fmt::format("the file unpacks to more than {} bytes", max_bytes), std::string(where));
  if (!good) return Status(Code::kInvalidArgument, "the gzip file is damaged or cut short", std::string(where), "get it again");
  return Buffer::borrow(out->data(), out->size(), out);
}

}  // namespace tenon::eval
