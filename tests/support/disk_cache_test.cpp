#include "support/disk_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

namespace tenon {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

class DiskCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "tenon-cache-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    folder_ = root_ / "cache";
  }
  void TearDown() override { fs::remove_all(root_); }

  std::shared_ptr<const DiskCache> open(size_t max_bytes = DiskCache::kDefaultMaxBytes) const { return *DiskCache::open(folder_, max_bytes); }
  static std::optional<std::string> find(const DiskCache& cache, std::string_view key) {
    const auto found = cache.find(key);
    if (!found) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(found->data()), found->size());
  }
  std::vector<fs::path> entries() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_))
      if (entry.path().filename() != "key") out.push_back(entry.path());
    return out;
  }
  static std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

  fs::path root_, folder_;
};

TEST_F(DiskCacheTest, FindsWhatWasStoredAlsoInAnotherProcess) {
  const auto cache = open();
  EXPECT_EQ(find(*cache, "a"), std::nullopt);
  ASSERT_TRUE(cache->store("a", bytes("one")).ok());
  ASSERT_TRUE(cache->store("b", bytes("")).ok());
  EXPECT_EQ(find(*cache, "a"), "one");
  EXPECT_EQ(find(*open(), "a"), "one");
  EXPECT_EQ(find(*open(), "b"), "");
  ASSERT_TRUE(open()->store("a", bytes("two")).ok());
  EXPECT_EQ(find(*cache, "a"), "two");
}

TEST_F(DiskCacheTest, TheFolderIsTheUsersAlone) {
  open();
  EXPECT_EQ(fs::status(folder_).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(folder_ / "key").permissions(), fs::perms::owner_read | fs::perms::owner_write);
  for (const fs::perms more : {fs::perms::group_write, fs::perms::others_write}) {
    fs::permissions(folder_, fs::perms::owner_all | more);
    EXPECT_EQ(DiskCache::open(folder_).status().code(), Code::kInvalidArgument);
  }
  fs::permissions(folder_, fs::perms::owner_all);
  fs::create_directory_symlink(folder_, root_ / "link");
  EXPECT_FALSE(DiskCache::open(root_ / "link").ok());
}

TEST_F(DiskCacheTest, ADamagedEntryIsAbsent) {
  const auto cache = open();
  ASSERT_TRUE(cache->store("key", bytes("value")).ok());
  const fs::path file = entries().at(0);
  const std::string good = read(file);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    write(file, bad);
    EXPECT_EQ(find(*cache, "key"), std::nullopt) << "byte " << i;
    write(file, good.substr(0, i));
    EXPECT_EQ(find(*cache, "key"), std::nullopt) << "cut at " << i;
  }
  write(file, good + '\0');
  EXPECT_EQ(find(*cache, "key"), std::nullopt);
  ASSERT_TRUE(cache->store("key", bytes("new")).ok());
  EXPECT_EQ(find(*cache, "key"), "new");
}

TEST_F(DiskCacheTest, AForeignEntryIsAbsent) {
  const auto cache = open();
  ASSERT_TRUE(cache->store("a", bytes("one")).ok());
  const fs::path a = entries().at(0);
  ASSERT_TRUE(cache->store("b", bytes("two")).ok());
  const fs::path b = entries().at(0) == a ? entries().at(1) : entries().at(0);
  fs::copy_file(b, a, fs::copy_options::overwrite_existing);  // authentic, but under another key
  EXPECT_EQ(find(*cache, "a"), std::nullopt);
  EXPECT_EQ(find(*cache, "b"), "two");

  fs::remove(a);  // links are not followed
  fs::create_symlink(b, a);
  EXPECT_EQ(find(*cache, "a"), std::nullopt);

  fs::permissions(b, fs::perms::others_write, fs::perm_options::add);
  EXPECT_EQ(find(*cache, "b"), std::nullopt);
  fs::permissions(b, fs::perms::others_write, fs::perm_options::remove);
  EXPECT_EQ(find(*cache, "b"), "two");

  fs::remove(folder_ / "key");  // who lacks the key wrote none of the entries
  EXPECT_EQ(find(*open(), "b"), std::nullopt);
}

TEST_F(DiskCacheTest, AKeyThatOthersMayKnowIsReplaced) {
  ASSERT_TRUE(open()->store("a", bytes("one")).ok());
  fs::permissions(folder_ / "key", fs::perms::others_read, fs::perm_options::add);
  const auto cache = open();
  EXPECT_EQ(find(*cache, "a"), std::nullopt);
  ASSERT_TRUE(cache->store("a", bytes("two")).ok());
  EXPECT_EQ(find(*open(), "a"), "two");
}

TEST_F(DiskCacheTest, TheOldestGoWhenItIsFull) {
  const auto cache = open(4000);
  const auto age = [&](std::string_view key, int hours) {
    for (const fs::path& file : entries())
      if (read(file).find(key) != std::string::npos)
        fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  const std::string value(900, 'x');
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(cache->store(fmt::format("entry {}", i), bytes(value)).ok());
    age(fmt::format("entry {}", i), 10 - i);
  }
  EXPECT_EQ(entries().size(), 4u);
  EXPECT_TRUE(find(*cache, "entry 0"));  // used again
  ASSERT_TRUE(cache->store("entry 4", bytes(value)).ok());
  EXPECT_TRUE(find(*cache, "entry 0"));
  EXPECT_FALSE(find(*cache, "entry 1"));
  EXPECT_TRUE(find(*cache, "entry 4"));
  size_t sum = 0;
  for (const fs::path& file : entries()) sum += fs::file_size(file);
  EXPECT_LE(sum, 4000u);
  EXPECT_EQ(cache->store("large", bytes(std::string(5000, 'x'))).code(), Code::kResourceExhausted);
}

TEST_F(DiskCacheTest, ServesManyAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const auto cache = open();
      for (int i = 0; i < 200; ++i) {
        const std::string key = fmt::format("{}", i % 7), value(static_cast<size_t>(i % 7) * 100, 'v');
        if (!cache->store(key, bytes(value)).ok()) ++wrong;
        const auto found = find(*cache, key);
        if (!found || *found != value) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(entries().size(), 7u);
}

TEST(UserCacheFolder, FollowsTheEnvironment) {
  const auto set = [](const char* name, const char* value) { value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1); };
  set("TENON_CACHE", nullptr);
  set("XDG_CACHE_HOME", nullptr);
  set("HOME", "/home/someone");
  EXPECT_EQ(user_cache_folder(), fs::path("/home/someone/.cache/tenon"));
  set("XDG_CACHE_HOME", "relative");
  EXPECT_EQ(user_cache_folder(), fs::path("/home/someone/.cache/tenon"));
  set("XDG_CACHE_HOME", "/cache");
  EXPECT_EQ(user_cache_folder(), fs::path("/cache/tenon"));
  set("TENON_CACHE", "/elsewhere");
  EXPECT_EQ(user_cache_folder(), fs::path("/elsewhere"));
  set("TENON_CACHE", "off");
  EXPECT_EQ(user_cache_folder(), std::nullopt);
  set("TENON_CACHE", nullptr);
  set("XDG_CACHE_HOME", nullptr);
  set("HOME", nullptr);
  EXPECT_EQ(user_cache_folder(), std::nullopt);
}

}  // namespace
}  // namespace tenon
