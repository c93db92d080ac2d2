#include "support/file_mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

namespace tenon {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPage = 4096;

/// A file of numbers, written in small parts, so that few file systems keep it in large pages.
class NumberFile {
 public:
  NumberFile(const fs::path& folder, size_t words) : numbers_(words) {
    std::string name = (folder / "tenon-mapping-XXXXXX").string();
    fd_ = ::mkstemp(name.data());
    ::unlink(name.c_str());
    for (size_t i = 0; i < words; ++i) numbers_[i] = static_cast<uint32_t>(i * 2654435761U);
    const auto* at = reinterpret_cast<const char*>(numbers_.data());
    for (size_t left = words * 4; left > 0 && fd_ >= 0;) {
      const ssize_t n = ::write(fd_, at, std::min(left, kPage));
      if (n <= 0) break;
      at += n;
      left -= static_cast<size_t>(n);
    }
  }
  ~NumberFile() { ::close(fd_); }
  int fd() const { return fd_; }
  bool equals(const FileMapping& mapping, size_t from) const {
    return std::memcmp(mapping.data(), numbers_.data() + from / 4, numbers_.size() * 4 - from) == 0;
  }

 private:
  std::vector<uint32_t> numbers_;
  int fd_ = -1;
};

TEST(FileMapping, HoldsThePartOfTheFile) {
  for (const size_t words : {size_t{1}, kPage, (size_t{3} << 20) + 77, (size_t{20} << 20) + 1}) {
    const NumberFile file(fs::temp_directory_path(), words);
    const size_t from = words > kPage ? kPage : 0;
    const auto mapping = FileMapping::of(file.fd(), from, words * 4 - from);
    ASSERT_NE(mapping, nullptr);
    EXPECT_TRUE(file.equals(*mapping, from)) << words;
    mapping->settle();
    EXPECT_TRUE(file.equals(*mapping, from)) << words;
  }
}

TEST(FileMapping, IsTheSameForReadersWhileACopyTakesItsPlace) {
  struct statfs system {};
  if (::statfs("/dev/shm", &system) != 0 || system.f_bavail * static_cast<uint64_t>(system.f_bsize) < (size_t{128} << 20)) GTEST_SKIP() << "no room in /dev/shm";
  constexpr size_t kWords = (size_t{16} << 20) + 100;
  const NumberFile file("/dev/shm", kWords);
  for (int i = 0; i < 5; ++i) {
    const auto mapping = FileMapping::of(file.fd(), 0, kWords * 4);
    ASSERT_NE(mapping, nullptr);
    std::atomic<int> wrong = 0;
    std::atomic<bool> done = false;
    std::vector<std::thread> readers;
    for (int t = 0; t < 3; ++t)
      readers.emplace_back([&] {
        do wrong += file.equals(*mapping, 0) ? 0 : 1;
        while (!done);
      });
    mapping->settle();
    done = true;
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(wrong, 0);
  }
}

TEST(FileMapping, EndsWhileItIsCopied) {
  const NumberFile file(fs::temp_directory_path(), size_t{24} << 20);
  for (int i = 0; i < 20; ++i) {
    const auto mapping = FileMapping::of(file.fd(), 0, size_t{96} << 20);
    ASSERT_NE(mapping, nullptr);
    EXPECT_EQ(std::memcmp(mapping->data(), "\0\0\0\0", 4), 0);
    std::this_thread::sleep_for(std::chrono::microseconds(500 * i));
  }
}

}  // namespace
}  // namespace tenon
