#include "support/disk_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "support/disk_cache_files.h"

namespace tenon {
namespace fs = std::filesystem;
using namespace cache_files;
namespace {

constexpr char kMagic[8] = {'T', 'N', 'C', 'A', 'C', 'H', 'E', '1'};
constexpr const char* kSecretFile = "key";

struct Header {
  char magic[8];
  uint64_t key_bytes, value_bytes;
};

std::optional<SipKey> read_secret(int folder) {
  size_t size = 0;
  const File file = open_own(folder, kSecretFile, size);
  struct stat st {};
  SipKey secret;
  if (!file.open() || size != secret.size() || ::fstat(file.get(), &st) != 0 || (st.st_mode & 0077) != 0) return std::nullopt;
  if (!read_all(file.get(), secret.data(), secret.size())) return std::nullopt;
  return secret;
}

// Of processes that make one at the same time, one wins; a key that cannot be trusted is replaced.
Result<SipKey> make_secret(int folder) {
  if (const auto secret = read_secret(folder)) return *secret;
  SipKey fresh;
  if (::getrandom(fresh.data(), fresh.size(), 0) != static_cast<ssize_t>(fresh.size())) return io_error("no random numbers");
  const std::string name = write_temporary(folder, fresh);
  if (name.empty()) return io_error("cannot write");
  struct stat st {};
  if (::fstatat(folder, kSecretFile, &st, AT_SYMLINK_NOFOLLOW) == 0 && !read_secret(folder)) ::unlinkat(folder, kSecretFile, 0);
  ::linkat(folder, name.c_str(), folder, kSecretFile, 0);
  ::unlinkat(folder, name.c_str(), 0);
  const auto secret = read_secret(folder);
  return secret ? Result<SipKey>(*secret) : Result<SipKey>(io_error("cannot keep a key"));
}

bool is_entry(std::string_view name) {
  return name.size() == 2 * kTagBytes && name.find_first_not_of("0123456789abcdef") == name.npos;
}

struct Listed {
  std::string name;
  time_t used;
  size_t bytes;
};

/// Entries, and what dead processes left.
std::vector<Listed> list(int folder) {
  std::vector<Listed> out;
  const int fd = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : ::fdopendir(fd);
  if (dir == nullptr) {
    if (fd >= 0) ::close(fd);
    return out;
  }
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    struct stat st {};
    const bool temporary = name.starts_with(kTemporary);
    if ((!is_entry(name) && !temporary) || ::fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (temporary && ::time(nullptr) - st.st_mtime > kRecent) ::unlinkat(folder, entry->d_name, 0);
    if (temporary) continue;
    struct stat seen {};
    if (::fstatat(folder, fmt::format("{}{}", name, kSeen).c_str(), &seen, AT_SYMLINK_NOFOLLOW) != 0) seen = st;
    out.push_back({std::string(name), std::max(st.st_mtime, seen.st_mtime), static_cast<size_t>(std::max<off_t>(st.st_size, 0))});
  }
  ::closedir(dir);
  return out;
}

}  // namespace

Result<std::shared_ptr<const DiskCache>> DiskCache::open(const fs::path& path, size_t max_bytes) {
  std::error_code ec;
  const fs::path folder = path.has_filename() ? path : path.parent_path();  // without a slash at its end
  if (folder.has_parent_path()) fs::create_directories(folder.parent_path(), ec);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return io_error("cannot make the folder").at(folder.string());
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return io_error("cannot open the folder").at(folder.string());
  File guard(fd);
  struct stat st {};
  if (::fstat(fd, &st) != 0 || st.st_uid != ::geteuid() || (st.st_mode & 0022) != 0)
    return Status(Code::kInvalidArgument, "others can write to the cache's folder", folder.string(), "name a folder of your own, with mode 0700");
  TENON_ASSIGN_OR_RETURN(const SipKey secret, make_secret(fd));
  return std::shared_ptr<const DiskCache>(new DiskCache(::fcntl(fd, F_DUPFD_CLOEXEC, 0), max_bytes, secret));
}

DiskCache::~DiskCache() { ::close(folder_); }

std::string DiskCache::file_of(std::string_view key) const {
  std::string out;
  for (std::byte b : siphash128(secret_, bytes_of(key))) out += fmt::format("{:02x}", static_cast<unsigned>(b));
  return out;
}

std::optional<std::vector<std::byte>> DiskCache::find(std::string_view key) const {
  size_t size = 0;
  const File file = open_own(folder_, file_of(key).c_str(), size);
  if (!file.open() || size < sizeof(Header) + key.size() + kTagBytes || size > max_bytes_) return std::nullopt;
  std::vector<std::byte> all(size);
  if (!read_all(file.get(), all.data(), size)) return std::nullopt;
  const std::span<const std::byte> content = std::span(all).first(size - kTagBytes);
  const auto tag = siphash128(secret_, content);
  if (std::memcmp(tag.data(), all.data() + content.size(), kTagBytes) != 0) return std::nullopt;
  Header header;
  std::memcpy(&header, all.data(), sizeof header);
  const bool fits = std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 && header.key_bytes == key.size() &&
                    header.value_bytes == content.size() - sizeof header - key.size() &&
                    std::memcmp(all.data() + sizeof header, key.data(), key.size()) == 0;
  if (!fits) return std::nullopt;
  struct stat st {};
  if (::fstat(file.get(), &st) == 0 && ::time(nullptr) - st.st_mtime > kRecent) ::futimens(file.get(), nullptr);
  all.resize(content.size());
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(sizeof header + key.size()));
  return all;
}

Status DiskCache::store(std::string_view key, std::span<const std::byte> value) const {
  Header header{{}, key.size(), value.size()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::vector<std::byte> all;
  all.reserve(sizeof header + key.size() + value.size() + kTagBytes);
  const auto append = [&](std::span<const std::byte> bytes) { all.insert(all.end(), bytes.begin(), bytes.end()); };
  append(std::as_bytes(std::span(&header, 1)));
  append(bytes_of(key));
  append(value);
  append(siphash128(secret_, all));
  if (all.size() > max_bytes_) return error(Code::kResourceExhausted, "{} bytes are more than the whole cache may have", all.size());
  make_room(all.size());
  const std::string name = write_temporary(folder_, all);
  if (name.empty()) return io_error("cannot write");
  return rename(name, file_of(key));
}

Status DiskCache::rename(const std::string& temporary, const std::string& name) const {
  if (::renameat(folder_, temporary.c_str(), folder_, name.c_str()) == 0) return {};
  Status failed = io_error("cannot rename");
  ::unlinkat(folder_, temporary.c_str(), 0);
  return failed;
}

void DiskCache::make_room(size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const bool known = used_.has_value();
  used_ = used_.value_or(0) + bytes;
  if (known && *used_ <= max_bytes_) return;
  std::vector<Listed> entries = list(folder_);
  size_t sum = bytes;
  for (const Listed& entry : entries) sum += entry.bytes;
  std::ranges::sort(entries, {}, &Listed::used);
  // Down to three quarters, so that a full cache is not listed for every entry.
  const size_t wanted = sum > max_bytes_ ? max_bytes_ / 4 * 3 : max_bytes_;
  for (const Listed& entry : entries) {
    if (sum <= wanted) break;
    if (::unlinkat(folder_, entry.name.c_str(), 0) == 0) sum -= entry.bytes;
    ::unlinkat(folder_, (entry.name + std::string(kSeen)).c_str(), 0);
  }
  used_ = sum;
}

namespace {

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

}  // namespace

size_t user_executables_room() {
  constexpr size_t kGib = size_t{1} << 30, kMost = size_t{1} << 20;
  const std::string text = variable("TENON_CACHE_GIB");
  size_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  return text.empty() || code != std::errc() || *end != '\0' ? kDefaultExecutablesBytes : std::min(number, kMost) * kGib;
}

std::optional<fs::path> user_cache_folder() {
  const std::string own = variable("TENON_CACHE"), cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
  if (own == "off") return std::nullopt;
  if (!own.empty()) return fs::path(own);
  if (cache.starts_with('/')) return fs::path(cache) / "tenon";  // relative ones are to be ignored, says the XDG specification
  if (home.starts_with('/')) return fs::path(home) / ".cache" / "tenon";
  return std::nullopt;
}

}  // namespace tenon
