#include "support/mapped_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace tenon {
namespace {

constexpr size_t kPage = 4096, kSize = 16 * kPage;

size_t resident(const void* at) {
  std::vector<unsigned char> pages(kSize / kPage);
  // mincore tells of the page cache; what this process has mapped is in its pagemap.
  std::ifstream map("/proc/self/pagemap", std::ios::binary);
  map.seekg(static_cast<std::streamoff>(reinterpret_cast<uintptr_t>(at) / kPage * 8));
  size_t count = 0;
  for (size_t i = 0; i < pages.size(); ++i) {
    uint64_t entry = 0;
    map.read(reinterpret_cast<char*>(&entry), sizeof entry);
    count += entry >> 63;
  }
  return count;
}

TEST(MappedFiles, DropsPagesOfFilesOnly) {
  ASSERT_EQ(::sysconf(_SC_PAGESIZE), static_cast<long>(kPage));
  std::string name = (std::filesystem::temp_directory_path() / "tenon-mapped-XXXXXX").string();
  const int fd = ::mkstemp(name.data());
  ASSERT_GE(fd, 0);
  const std::string content(kSize, 'x');
  ASSERT_EQ(::write(fd, content.data(), kSize), static_cast<ssize_t>(kSize));
  auto* file = static_cast<std::byte*>(::mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE, fd, 0));
  auto* own = static_cast<std::byte*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  auto* plain = static_cast<std::byte*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ::close(fd);
  std::filesystem::remove(name);
  std::memset(own, 'y', kSize);
  std::memset(plain, 'z', kSize);
  EXPECT_EQ(std::memcmp(file, content.data(), kSize), 0);
  const size_t before = resident(file);

  const MappedFiles files = MappedFiles::now();
  files.drop({file + 1, kSize - 2});  // the first and the last page are not whole
  if (before == kSize / kPage) {
    EXPECT_EQ(resident(file), 2u);
  }
  files.drop({own, kSize});
  files.drop({plain, kSize});
  EXPECT_EQ(std::memcmp(file, content.data(), kSize), 0) << "the content comes back";
  EXPECT_EQ(own[kSize / 2], std::byte{'y'});
  EXPECT_EQ(plain[kSize / 2], std::byte{'z'});
  for (std::byte* memory : {file, own, plain}) ::munmap(memory, kSize);
}

}  // namespace
}  // namespace tenon
