#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "support/byte_io.h"
#include "support/checked.h"
#include "support/disk_cache.h"
#include "support/disk_cache_files.h"
#include "support/executor.h"
#include "support/file_mapping.h"
#include "support/mapped_files.h"

namespace tenon {
using namespace cache_files;

/// The file: this, the key, the value, a tag for each chunk of the body, a tag for all of that, and, from a page's start on, the body.
struct DiskCache::MappedHeader {
  char magic[8] = {'T', 'N', 'M', 'A', 'P', 'P', 'D', '1'};
  uint64_t key_bytes = 0, value_bytes = 0, body_bytes = 0, body_offset = 0;

  uint64_t chunks() const { return (body_bytes + kChunk - 1) / kChunk; }
  uint64_t head_bytes() const { return sizeof *this + key_bytes + value_bytes + (chunks() + 1) * kTagBytes; }

  static constexpr size_t kChunk = size_t{8} << 20;
};

namespace {

/// Parts that are written at once and so aligned can be mapped in large pages (support/file_mapping.h).
constexpr size_t kLargePage = size_t{2} << 20, kPage = size_t{4} << 10;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

std::string boot_id() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

/// Reads the body piece by piece. What it read from mapped files takes no memory after.
class Source {
 public:
  explicit Source(std::span<const DiskCache::Piece> pieces) : pieces_(pieces) {}

  void fill(size_t begin, std::span<std::byte> to) {
    std::ranges::fill(to, std::byte{0});
    for (size_t i = next_; i < pieces_.size() && pieces_[i].offset < begin + to.size(); ++i) {
      const DiskCache::Piece& piece = pieces_[i];
      const size_t end = piece.offset + piece.bytes.size();
      const size_t from = std::max(begin, piece.offset), until = std::min(begin + to.size(), end);
      if (from < until) std::ranges::copy(piece.bytes.subspan(from - piece.offset, until - from), to.subspan(from - begin).begin());
      if (from < until) files_.drop(piece.bytes.subspan(from - piece.offset, until - from));
      if (end <= begin + to.size() && i == next_) ++next_;
    }
  }

 private:
  std::span<const DiskCache::Piece> pieces_;
  const MappedFiles files_ = MappedFiles::now();
  size_t next_ = 0;  // the first one that is not written to its end
};

bool write_at(int file, std::span<const std::byte> bytes, size_t offset) {
  return ::lseek(file, static_cast<off_t>(offset), SEEK_SET) >= 0 && write_all(file, bytes);
}

bool authentic(const SipKey& secret, std::span<const std::byte> body, std::span<const std::byte> tags, size_t chunk) {
  std::atomic<bool> good = true;
  default_pool().parallel_for(static_cast<int64_t>(tags.size() / kTagBytes), [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end) && good; ++i) {
      const auto tag = siphash128(secret, body.subspan(i * chunk, std::min(chunk, body.size() - i * chunk)));
      if (!std::ranges::equal(tag, tags.subspan(i * kTagBytes, kTagBytes))) good = false;
    }
  });
  return good;
}

}  // namespace

/// Says that a file was authentic when the machine had started so and the file was as it is now; nullopt where the system tells neither.
std::optional<DiskCache::Tag> DiskCache::seen_tag(int file, std::span<const std::byte> tag) const {
  const std::string boot = boot_id();
  struct stat st {};
  if (boot.empty() || ::fstat(file, &st) != 0) return std::nullopt;
  ByteWriter text;
  text.put(std::string_view("seen"));
  text.put(boot);
  for (const auto number : {static_cast<int64_t>(st.st_dev), static_cast<int64_t>(st.st_ino), static_cast<int64_t>(st.st_size)}) text.put(number);
  for (const timespec& time : {st.st_mtim, st.st_ctim}) {
    text.put(int64_t{time.tv_sec});
    text.put(int64_t{time.tv_nsec});
  }
  text.bytes(tag);
  return siphash128(secret_, text.written());
}

bool DiskCache::was_seen(const std::string& name, int file, std::span<const std::byte> tag) const {
  const auto wanted = seen_tag(file, tag);
  size_t size = 0;
  const File seen = open_own(folder_, (name + std::string(kSeen)).c_str(), size);
  Tag found;
  if (!wanted || !seen.open() || size != found.size() || !read_all(seen.get(), found.data(), found.size()) || found != *wanted) return false;
  struct stat st {};
  if (::fstat(seen.get(), &st) == 0 && ::time(nullptr) - st.st_mtime > kRecent) ::futimens(seen.get(), nullptr);
  return true;
}

void DiskCache::note_seen(const std::string& name, int file, std::span<const std::byte> tag) const {
  const auto seen = seen_tag(file, tag);
  const std::string temporary = seen ? write_temporary(folder_, *seen) : std::string();
  if (!temporary.empty()) (void)rename(temporary, name + std::string(kSeen));
}

std::optional<DiskCache::Mapped> DiskCache::find_mapped(std::string_view key) const {
  const std::string name = file_of(key);
  size_t size = 0;
  const File file = open_own(folder_, name.c_str(), size);
  MappedHeader header;
  const MappedHeader ours;
  if (!file.open() || size > max_bytes_ || size < sizeof header || !read_all(file.get(), reinterpret_cast<std::byte*>(&header), sizeof header)) return std::nullopt;
  const bool sizes = std::memcmp(header.magic, ours.magic, sizeof ours.magic) == 0 && header.key_bytes == key.size() && header.value_bytes <= size &&
                     header.body_bytes <= size && header.head_bytes() <= header.body_offset && header.body_offset % kPage == 0 &&
                     header.body_offset <= size && header.body_bytes <= size - header.body_offset;
  if (!sizes) return std::nullopt;
  std::vector<std::byte> head(header.head_bytes());
  std::memcpy(head.data(), &header, sizeof header);
  if (!read_all(file.get(), head.data() + sizeof header, head.size() - sizeof header)) return std::nullopt;
  const auto content = std::span<const std::byte>(head).first(head.size() - kTagBytes), tag = std::span<const std::byte>(head).last(kTagBytes);
  if (!std::ranges::equal(siphash128(secret_, content), tag)) return std::nullopt;
  if (!std::ranges::equal(content.subspan(sizeof header, key.size()), bytes_of(key))) return std::nullopt;
  Mapped out;
  const auto value = content.subspan(sizeof header + key.size(), header.value_bytes);
  out.value.assign(value.begin(), value.end());
  if (header.body_bytes == 0) {
    out.body = Buffer::borrow(nullptr, 0, nullptr);
    return out;
  }
  const auto mapping = FileMapping::of(file.get(), header.body_offset, size - header.body_offset);
  if (mapping == nullptr) return std::nullopt;
  if (!was_seen(name, file.get(), tag)) {
    if (!authentic(secret_, {mapping->data(), header.body_bytes}, content.last(header.chunks() * kTagBytes), MappedHeader::kChunk)) return std::nullopt;
    note_seen(name, file.get(), tag);
  }
  out.body = Buffer::borrow(mapping->data(), header.body_bytes, mapping);
  return out;
}

Result<DiskCache::Tag> DiskCache::write_mapped(int file, std::string_view key, std::span<const std::byte> value, std::span<const Piece> body,
                                               const MappedHeader& header) const {
  ByteWriter head;
  head.bytes(std::as_bytes(std::span(&header, 1)));
  head.bytes(bytes_of(key));
  head.bytes(value);
  Source source(body);
  TENON_ASSIGN_OR_RETURN(const auto buffer, Buffer::allocate(MappedHeader::kChunk));
  for (size_t at = 0; at < header.body_bytes; at += MappedHeader::kChunk) {
    const size_t bytes = std::min<size_t>(MappedHeader::kChunk, header.body_bytes - at);
    const std::span<std::byte> chunk(buffer->data(), round_up(bytes, header.body_bytes >= kLargePage ? kLargePage : kPage));
    source.fill(at, chunk);
    if (!write_at(file, chunk, header.body_offset + at)) return io_error("cannot write");
    head.bytes(siphash128(secret_, chunk.first(bytes)));
  }
  const Tag tag = siphash128(secret_, head.written());
  head.bytes(tag);
  const bool written = write_at(file, head.written(), 0) && (header.body_bytes > 0 || ::ftruncate(file, static_cast<off_t>(header.body_offset)) == 0);
  return written ? Result<Tag>(tag) : Result<Tag>(io_error("cannot write"));
}

Status DiskCache::store_mapped(std::string_view key, std::span<const std::byte> value, std::span<const Piece> body) const {
  MappedHeader header;
  header.key_bytes = key.size();
  header.value_bytes = value.size();
  if (!body.empty()) header.body_bytes = body.back().offset + body.back().bytes.size();
  header.body_offset = round_up(header.head_bytes(), header.body_bytes >= kLargePage ? kLargePage : kPage);
  const size_t size = header.body_offset + header.body_bytes;
  struct statvfs disk {};
  if (::fstatvfs(folder_, &disk) == 0 && size > disk.f_bavail * disk.f_frsize / 2) return error(Code::kResourceExhausted, "{} bytes are more than half of what the disk has left", size);
  if (size > max_bytes_) return error(Code::kResourceExhausted, "{} bytes are more than the whole cache may have", size);
  make_room(size);
  const std::string name = file_of(key);
  std::string temporary;
  const File file = create_temporary(folder_, temporary);
  if (!file.open()) return io_error("cannot write");
  const Result<Tag> tag = write_mapped(file.get(), key, value, body, header);
  if (!tag.ok()) {
    ::unlinkat(folder_, temporary.c_str(), 0);
    return tag.status();
  }
  TENON_RETURN_IF_ERROR(rename(temporary, name));
  note_seen(name, file.get(), *tag);
  return {};
}

}  // namespace tenon
