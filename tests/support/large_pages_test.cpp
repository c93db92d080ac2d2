#include "support/large_pages.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>

namespace tenon {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;

TEST(LargePages, HoldWhatWasAskedForAndBeginAtAPage) {
  for (const size_t bytes : {size_t{1}, size_t{511} << 10, size_t{512} << 10, kLargePage - 1, kLargePage, kLargePage + 1, 5 * kLargePage + 64}) {
    auto buffer = allocate_in_large_pages(bytes);
    ASSERT_TRUE(buffer.ok()) << bytes;
    EXPECT_EQ((*buffer)->size(), bytes);
    const bool large = bytes >= kLargePage / 4;
    EXPECT_TRUE(!large || reinterpret_cast<uintptr_t>((*buffer)->data()) % kLargePage == 0) << bytes;
    std::memset((*buffer)->data(), 0x5a, bytes);
    EXPECT_EQ((*buffer)->data()[bytes - 1], std::byte{0x5a});
  }
}

TEST(LargePages, RefuseWhatNoMachineHas) {
  for (const size_t bytes : {std::numeric_limits<size_t>::max(), std::numeric_limits<size_t>::max() / 2, size_t{1} << 60, (size_t{1} << 40) + 1}) {
    const auto buffer = allocate_in_large_pages(bytes);
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.status().code(), Code::kResourceExhausted);
  }
}

}  // namespace
}  // namespace tenon
