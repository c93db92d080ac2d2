#include "support/file_stamp.h"

#include <sys/stat.h>

#include <algorithm>

namespace tenon {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * kSecond + time.tv_nsec; }

FileStamp stamp(const struct stat& st) {
  return {st.st_dev, st.st_ino, st.st_size, nanoseconds(st.st_mtim), nanoseconds(st.st_ctim)};
}

}  // namespace

std::optional<FileStamp> FileStamp::of(const std::filesystem::path& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 ? std::optional(stamp(st)) : std::nullopt;
}

std::optional<FileStamp> FileStamp::of_link(const std::filesystem::path& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0 ? std::optional(stamp(st)) : std::nullopt;
}

// Linux counts the times of files in ticks of up to 10 ms, some file systems in seconds, FAT in two.
bool FileStamp::settled_before(std::chrono::system_clock::time_point moment) const {
  const int64_t last = std::max(modified_ns, changed_ns);
  const int64_t step = modified_ns % kSecond == 0 && changed_ns % kSecond == 0 ? 2 * kSecond : kSecond / 50;
  return last + step < std::chrono::duration_cast<std::chrono::nanoseconds>(moment.time_since_epoch()).count();
}

}  // namespace tenon
