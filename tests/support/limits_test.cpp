#include <gtest/gtest.h>

#include "support/interrupt.h"
#include "support/memory.h"

namespace tenon {
namespace {

TEST(Interrupt, SaysNothingWithoutReason) { EXPECT_TRUE(Interrupt().check().ok()); }

TEST(Interrupt, KnowsTheTime) {
  EXPECT_TRUE(Interrupt::after(std::chrono::hours(1)).check().ok());
  const Status late = Interrupt::after(-std::chrono::seconds(1)).check();
  EXPECT_EQ(late.code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(late.hint().empty());
}

TEST(Interrupt, ObeysTheFlagBeforeTheClock) {
  std::atomic<bool> flag = false;
  Interrupt interrupt = Interrupt::after(-std::chrono::seconds(1));
  interrupt.cancel = &flag;
  EXPECT_EQ(interrupt.check().code(), Code::kDeadlineExceeded);
  flag = true;
  EXPECT_EQ(interrupt.check().code(), Code::kCancelled);
}

TEST(Interrupt, KeepsADeadlineThatIsThere) {
  const Interrupt late = Interrupt::after(-std::chrono::seconds(1));
  EXPECT_EQ(late.or_after(std::chrono::hours(1)).check().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(Interrupt().or_after(std::chrono::hours(1)).deadline.has_value());
}

TEST(MemoryLimit, IsAShareOfWhatTheProcessCanHave) {
  EXPECT_GT(default_memory_limit(), size_t{64} << 20);
  EXPECT_LT(default_memory_limit(), physical_memory());
}

}  // namespace
}  // namespace tenon
