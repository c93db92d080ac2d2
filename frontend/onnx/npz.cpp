#include "frontend/onnx/npz.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "frontend/onnx/npy.h"

namespace tenon::frontend {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kMember = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr size_t kLocalSize = 30, kMemberSize = 46, kEndSize = 22, kEnd64Size = 56, kLocator64Size = 20;
constexpr uint64_t kMaxMembers = 1 << 16;
constexpr uint64_t kIn64 = 0xffffffff;  // the number stands in the ZIP64 field instead

Status damaged(std::string_view what) {
  return Status(Code::kInvalidArgument, fmt::format("damaged .npz: {}", what), {}, "write it again with numpy.savez");
}

struct Member {
  std::string_view name;
  uint64_t packed = 0, unpacked = 0, offset = 0;
  uint32_t crc = 0;
  unsigned method = 0, flags = 0;
};

class Archive {
 public:
  explicit Archive(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<std::vector<Member>> members() const {
    uint64_t count = 0, size = 0, offset = 0;
    TENON_RETURN_IF_ERROR(find_directory(count, size, offset));
    if (count > kMaxMembers) return damaged("more than 65536 members");
    if (!inside(offset, size)) return damaged("its directory lies outside the file");
    std::vector<Member> out;
    uint64_t at = offset;
    const uint64_t end = offset + size;
    for (uint64_t i = 0; i < count; ++i) {
      if (end - at < kMemberSize || number(at, 4) != kMember) return damaged("its directory is cut off");
      const uint64_t name = number(at + 28, 2), extra = number(at + 30, 2), comment = number(at + 32, 2);
      if (end - at - kMemberSize < name + extra + comment) return damaged("its directory is cut off");
      Member m;
      m.flags = static_cast<unsigned>(number(at + 8, 2));
      m.method = static_cast<unsigned>(number(at + 10, 2));
      m.crc = static_cast<uint32_t>(number(at + 16, 4));
      m.packed = number(at + 20, 4);
      m.unpacked = number(at + 24, 4);
      m.offset = number(at + 42, 4);
      m.name = {reinterpret_cast<const char*>(bytes_.data()) + at + kMemberSize, static_cast<size_t>(name)};
      TENON_RETURN_IF_ERROR(read_zip64(at + kMemberSize + name, extra, m));
      out.push_back(m);
      at += kMemberSize + name + extra + comment;
    }
    return out;
  }

  /// The member's bytes as they are stored.
  Result<std::span<const std::byte>> packed(const Member& m) const {
    if (!inside(m.offset, kLocalSize) || number(m.offset, 4) != kLocal) return damaged("a member has no header");
    const uint64_t begin = m.offset + kLocalSize + number(m.offset + 26, 2) + number(m.offset + 28, 2);
    if (!inside(begin, m.packed)) return damaged("a member lies outside the file");
    return bytes_.subspan(static_cast<size_t>(begin), static_cast<size_t>(m.packed));
  }

 private:
  bool inside(uint64_t offset, uint64_t size) const { return offset <= bytes_.size() && size <= bytes_.size() - offset; }

  uint64_t number(uint64_t at, int width) const {  // little-endian; the caller has checked the place
    uint64_t value = 0;
    for (int i = width; i-- > 0;) value = value << 8 | static_cast<uint64_t>(bytes_[static_cast<size_t>(at) + static_cast<size_t>(i)]);
    return value;
  }

  Status find_directory(uint64_t& count, uint64_t& size, uint64_t& offset) const {
    if (bytes_.size() < kEndSize) return damaged("too short");
    // A comment of up to 65535 bytes may follow.
    const size_t lowest = bytes_.size() - std::min<size_t>(bytes_.size(), kEndSize + 65535);
    for (size_t at = bytes_.size() - kEndSize + 1; at-- > lowest;) {
      if (number(at, 4) != kEnd || number(at + 20, 2) != bytes_.size() - at - kEndSize) continue;
      count = number(at + 10, 2);
      size = number(at + 12, 4);
      offset = number(at + 16, 4);
      if (count == 0xffff || size == kIn64 || offset == kIn64) return find_directory64(at, count, size, offset);
      return {};
    }
    return damaged("it has no end");
  }

  Status find_directory64(size_t end, uint64_t& count, uint64_t& size, uint64_t& offset) const {
    if (end < kLocator64Size || number(end - kLocator64Size, 4) != kLocator64) return damaged("its ZIP64 end is missing");
    const uint64_t at = number(end - kLocator64Size + 8, 8);
    if (!inside(at, kEnd64Size) || number(at, 4) != kEnd64) return damaged("its ZIP64 end is missing");
    count = number(at + 32, 8);
    size = number(at + 40, 8);
    offset = number(at + 48, 8);
    return {};
  }

  /// Numbers that did not fit their fields, in the order of those fields.
  Status read_zip64(uint64_t at, uint64_t size, Member& m) const {
    if (m.packed != kIn64 && m.unpacked != kIn64 && m.offset != kIn64) return {};
    const uint64_t end = at + size;
    while (end - at >= 4) {
      const uint64_t id = number(at, 2), length = number(at + 2, 2);
      at += 4;
      if (length > end - at) break;
      if (id == 1) {
        uint64_t next = at;
        for (uint64_t* field : {&m.unpacked, &m.packed, &m.offset}) {
          if (*field != kIn64) continue;
          if (at + length - next < 8) return damaged("a ZIP64 field is cut off");
          *field = number(next, 8);
          next += 8;
        }
        return {};
      }
      at += length;
    }
    return damaged("a ZIP64 field is missing");
  }

  std::span<const std::byte> bytes_;
};

Result<std::shared_ptr<Buffer>> inflate_member(std::span<const std::byte> packed, uint64_t size) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> out, Buffer::allocate(static_cast<size_t>(size)));
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return error(Code::kResourceExhausted, "no memory to unpack with");
  const std::byte* from = packed.data();
  std::byte* to = out->data();
  uint64_t in_left = packed.size(), out_left = size;
  int state = Z_OK;
  while (state == Z_OK) {
    constexpr uint64_t kMost = 1u << 30;
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from));
    stream.next_out = reinterpret_cast<Bytef*>(to);
    stream.avail_in = static_cast<uInt>(std::min(in_left, kMost));
    stream.avail_out = static_cast<uInt>(std::min(out_left, kMost));
    const uInt in_given = stream.avail_in, out_given = stream.avail_out;
    state = inflate(&stream, Z_NO_FLUSH);
    const uInt taken = in_given - stream.avail_in, made = out_given - stream.avail_out;
    from += taken;
    in_left -= taken;
    to += made;
    out_left -= made;
    if (taken == 0 && made == 0) break;
  }
  inflateEnd(&stream);
  if (state != Z_STREAM_END || in_left != 0 || out_left != 0) return damaged("a member does not unpack to its size");
  return out;
}

Result<Tensor> read(const Archive& archive, const Member& m, size_t max_bytes) {
  if ((m.flags & 1) != 0) return error(Code::kUnsupported, "an encrypted .npz");
  if (m.unpacked > max_bytes)
    return error(Code::kResourceExhausted, "array {} unpacks to {} bytes, the limit is {}", m.name, m.unpacked, max_bytes);
  TENON_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, archive.packed(m));
  std::shared_ptr<Buffer> unpacked;
  if (m.method == Z_DEFLATED) {
    // No byte of deflate makes more than 1032 (RFC 1951: 258 bytes for 2 bits).
    if (m.unpacked / 1032 > m.packed) return damaged("a member claims more than it can unpack to");
    TENON_ASSIGN_OR_RETURN(unpacked, inflate_member(bytes, m.unpacked));
    bytes = {unpacked->data(), static_cast<size_t>(m.unpacked)};
  } else if (m.method != 0) {
    return error(Code::kUnsupported, ".npz with compression method {}", m.method).with_hint("use numpy.savez or savez_compressed");
  } else if (m.packed != m.unpacked) {
    return damaged("a stored member has two sizes");
  }
  if (crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()) != m.crc) return damaged("a checksum does not fit");
  return parse_npy(bytes);
}

}  // namespace

bool is_npz(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && (std::memcmp(bytes.data(), "PK\3\4", 4) == 0 || std::memcmp(bytes.data(), "PK\5\6", 4) == 0);
}

Result<std::vector<std::string>> npz_names(std::span<const std::byte> bytes) {
  TENON_ASSIGN_OR_RETURN(const std::vector<Member> members, Archive(bytes).members());
  std::vector<std::string> names;
  for (const Member& m : members) {
    std::string_view array = m.name;
    if (array.ends_with(".npy")) array.remove_suffix(4);
    names.emplace_back(array);
  }
  return names;
}

Result<Tensor> parse_npz(std::span<const std::byte> bytes, std::string_view name, size_t max_bytes) {
  const Archive archive(bytes);
  TENON_ASSIGN_OR_RETURN(const std::vector<Member> members, archive.members());
  constexpr size_t kListed = 10;
  std::vector<std::string_view> names;
  for (const Member& m : members) {
    std::string_view array = m.name;
    if (array.ends_with(".npy")) array.remove_suffix(4);
    if (array == name || m.name == name || members.size() == 1) {
      Result<Tensor> tensor = read(archive, m, max_bytes);
      if (!tensor.ok()) return std::move(tensor).status().at(fmt::format("array {}", array));
      return tensor;
    }
    if (names.size() < kListed) names.push_back(array);
  }
  return Status(Code::kNotFound, fmt::format("the archive has no array '{}'", name), {},
                members.empty() ? "it is empty" : fmt::format("it has {}{}", fmt::join(names, ", "), members.size() > kListed ? ", …" : ""));
}

}  // namespace tenon::frontend
