#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "support/disk_cache.h"
#include "support/file_stamp.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> numbers(size_t count, unsigned seed) {
  std::vector<std::byte> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>((i * 31 + seed) >> (i % 3));
  return out;
}

/// Times of files are coarse.
void pass_time() { std::this_thread::sleep_for(std::chrono::milliseconds(25)); }

class MappedEntries : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "tenon-cache-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::shared_ptr<const DiskCache> open(size_t max_bytes = DiskCache::kDefaultMaxBytes) const { return *DiskCache::open(folder_, max_bytes); }
  static Status store(const DiskCache& cache, std::string_view key, unsigned seed, size_t bytes) {
    const auto value = numbers(100, seed), body = numbers(bytes, seed + 1);
    const size_t half = bytes / 3;
    const DiskCache::Piece pieces[] = {{0, std::span(body).first(half)}, {half, std::span(body).subspan(half)}};
    return cache.store_mapped(key, value, pieces);
  }
  static bool has(const DiskCache& cache, std::string_view key, unsigned seed, size_t bytes) {
    const auto found = cache.find_mapped(key);
    return found && found->value == numbers(100, seed) && std::ranges::equal(std::span(found->body->data(), found->body->size()), numbers(bytes, seed + 1));
  }
  /// The entry's file, and the one that says that its body was seen.
  std::vector<fs::path> files(bool seen) const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_))
      if (entry.path().filename() != "key" && (entry.path().extension() == ".seen") == seen) out.push_back(entry.path());
    return out;
  }
  static void flip(const fs::path& file, size_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const int old = stream.get();
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(old ^ 0x10));
  }

  fs::path folder_;
};

TEST_F(MappedEntries, AreFoundOfAnySize) {
  const auto cache = open();
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{5000}, size_t{2} << 20, (size_t{17} << 20) + 12345}) {
    const std::string key = fmt::format("entry of {}", bytes);
    EXPECT_FALSE(cache->find_mapped(key));
    ASSERT_TRUE(store(*cache, key, 3, bytes).ok());
    EXPECT_TRUE(has(*cache, key, 3, bytes)) << bytes;
    EXPECT_TRUE(has(*open(), key, 3, bytes)) << bytes;
    EXPECT_FALSE(cache->find(key)) << "it is of the other kind";
    ASSERT_TRUE(store(*cache, key, 4, bytes).ok());
    EXPECT_TRUE(has(*cache, key, 4, bytes)) << bytes;
  }
}

TEST_F(MappedEntries, HaveZerosBetweenTheirPieces) {
  const auto cache = open();
  const auto bytes = numbers(1000, 1);
  const DiskCache::Piece pieces[] = {{64, bytes}, {(size_t{9} << 20) + 64, bytes}};
  ASSERT_TRUE(cache->store_mapped("key", {}, pieces).ok());
  const auto found = cache->find_mapped("key");
  ASSERT_TRUE(found);
  std::vector<std::byte> expected((size_t{9} << 20) + 64 + 1000);
  for (const auto& piece : pieces) std::ranges::copy(piece.bytes, expected.begin() + static_cast<std::ptrdiff_t>(piece.offset));
  EXPECT_TRUE(std::ranges::equal(std::span(found->body->data(), found->body->size()), expected));
}

TEST_F(MappedEntries, TheBodyOutlivesEntryAndCache) {
  auto cache = open();
  ASSERT_TRUE(store(*cache, "key", 3, 100000).ok());
  const auto found = cache->find_mapped("key");
  ASSERT_TRUE(found);
  ASSERT_TRUE(store(*cache, "key", 4, 100000).ok());
  cache = nullptr;
  fs::remove_all(folder_);
  EXPECT_TRUE(std::ranges::equal(std::span(found->body->data(), found->body->size()), numbers(100000, 4)));
}

TEST_F(MappedEntries, DamagedOnesAreAbsent) {
  constexpr size_t kBytes = 3 << 20;
  const auto cache = open();
  ASSERT_TRUE(store(*cache, "key", 3, kBytes).ok());
  const fs::path file = files(false).at(0);
  const size_t size = fs::file_size(file), body = 2 << 20;
  for (const size_t at : {size_t{0}, size_t{9}, size_t{40}, size_t{70}, size_t{150}, body, body + kBytes / 2, body + kBytes - 1}) {
    pass_time();
    flip(file, at);
    EXPECT_FALSE(cache->find_mapped("key")) << "byte " << at;
    flip(file, at);
    EXPECT_TRUE(has(*cache, "key", 3, kBytes)) << "it is authentic again";
  }
  pass_time();
  fs::resize_file(file, size / 2);
  EXPECT_FALSE(cache->find_mapped("key"));
  fs::resize_file(file, 10);
  EXPECT_FALSE(cache->find_mapped("key"));
  ASSERT_TRUE(store(*cache, "key", 3, kBytes).ok());
  EXPECT_TRUE(has(*cache, "key", 3, kBytes));
}

TEST_F(MappedEntries, ANoteOfSomebodyElseDoesNotMakeABodyAuthentic) {
  constexpr size_t kBytes = 3 << 20;
  const auto cache = open();
  ASSERT_TRUE(store(*cache, "key", 3, kBytes).ok());
  const fs::path file = files(false).at(0), note = files(true).at(0);
  pass_time();
  flip(file, 3 << 20);
  EXPECT_FALSE(cache->find_mapped("key"));
  flip(note, 5);
  EXPECT_FALSE(cache->find_mapped("key"));
  fs::remove(note);
  EXPECT_FALSE(cache->find_mapped("key"));
  flip(file, 3 << 20);
  EXPECT_TRUE(has(*cache, "key", 3, kBytes)) << "without a note the body is read";
  EXPECT_TRUE(fs::exists(note));
}

TEST_F(MappedEntries, ForeignOnesAreAbsent) {
  const auto cache = open();
  ASSERT_TRUE(store(*cache, "key", 3, 5000).ok());
  fs::copy_file(files(false).at(0), folder_ / "copy");
  ASSERT_TRUE(store(*cache, "other", 4, 5000).ok());
  for (const fs::path& file : files(false))
    if (file.filename() != "copy") fs::copy_file(folder_ / "copy", file, fs::copy_options::overwrite_existing);
  EXPECT_TRUE(has(*cache, "key", 3, 5000)) << "the same bytes in another file";
  EXPECT_FALSE(cache->find_mapped("other"));
  fs::remove(folder_ / "key");
  EXPECT_FALSE(open()->find_mapped("key"));
}

TEST_F(MappedEntries, TheOldestGoWhenItIsFull) {
  const auto cache = open(size_t{1} << 20);
  for (unsigned i = 0; i < 6; ++i) {
    ASSERT_TRUE(store(*cache, fmt::format("{}", i), i, 300 << 10).ok());
    for (const bool seen : {false, true})
      for (const fs::path& file : files(seen)) fs::last_write_time(file, fs::last_write_time(file) - std::chrono::hours(2));
    EXPECT_TRUE(has(*cache, "0", 0, 300 << 10) || i >= 3);
  }
  EXPECT_TRUE(has(*cache, "5", 5, 300 << 10));
  EXPECT_FALSE(cache->find_mapped("1"));
  EXPECT_LE(files(false).size(), 3U);
  EXPECT_LE(files(true).size(), files(false).size());
  EXPECT_EQ(store(*cache, "large", 1, 2 << 20).code(), Code::kResourceExhausted);
}

TEST_F(MappedEntries, ServeManyAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const auto cache = open();
      for (unsigned i = 0; i < 40; ++i) {
        const std::string key = fmt::format("{}", i % 5);
        if (!store(*cache, key, i % 5, 200000).ok() || !has(*cache, key, i % 5, 200000)) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(files(false).size(), 5U);
}

TEST_F(MappedEntries, AStampChangesWithItsFile) {
  const fs::path file = folder_ / "file";
  EXPECT_EQ(FileStamp::of(file), std::nullopt);
  std::ofstream(file) << "one";
  const auto first = FileStamp::of(file);
  ASSERT_TRUE(first);
  EXPECT_FALSE(first->settled_before(std::chrono::system_clock::now() - std::chrono::seconds(5)));
  EXPECT_TRUE(first->settled_before(std::chrono::system_clock::now() + std::chrono::seconds(5)));
  pass_time();
  std::ofstream(file) << "two";
  const auto second = FileStamp::of(file);
  EXPECT_NE(first, second);
  pass_time();
  fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(1));
  const auto third = FileStamp::of(file);
  EXPECT_NE(second, third);
  fs::copy_file(file, folder_ / "copy");
  fs::rename(folder_ / "copy", file);
  EXPECT_NE(FileStamp::of(file), third);
}

}  // namespace
}  // namespace tenon
