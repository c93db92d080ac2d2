// How many workgroups keep a device busy, from what drivers say.

#include "backends/vulkan/compute_units.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace tenon::backends::vulkan {
namespace {

TEST(ComputeUnits, AreWhatTheDriverSays) {
  EXPECT_EQ((ComputeUnits{.multiprocessors = 132}).count(), 132U);                                              // H100 SXM
  EXPECT_EQ((ComputeUnits{.engines = 6, .arrays = 2, .in_array = 8}).count(), 96U);                             // Radeon RX 7900 XTX
  EXPECT_EQ((ComputeUnits{.engines = 6, .arrays = 2, .in_array = 8, .active = 84}).count(), 84U);               // RX 7900 XT: some are switched off
  EXPECT_EQ((ComputeUnits{.cores = 10}).count(), 10U);                                                          // Mali-G710 MC10
  EXPECT_EQ(ComputeUnits{}.count(), 0U);
  EXPECT_EQ((ComputeUnits{.engines = 4, .in_array = 8}).count(), 0U);
}

TEST(ComputeUnits, ImpossibleNumbersAreNone) {
  EXPECT_EQ((ComputeUnits{.multiprocessors = UINT32_MAX}).count(), 0U);
  EXPECT_EQ((ComputeUnits{.engines = UINT32_MAX, .arrays = UINT32_MAX, .in_array = UINT32_MAX}).count(), 0U);
  EXPECT_EQ((ComputeUnits{.engines = 65536, .arrays = 65536, .in_array = 1}).count(), 0U);
  EXPECT_EQ((ComputeUnits{.multiprocessors = UINT32_MAX, .cores = 7}).count(), 7U);
}

TEST(ComputeUnits, TwoWorkgroupsKeepEachBusy) {
  EXPECT_EQ(busy_workgroups("discrete", {.multiprocessors = 132}), 264);
  EXPECT_EQ(busy_workgroups("integrated", {.cores = 10}), 20);
  EXPECT_EQ(busy_workgroups("discrete", {}), 256);
  EXPECT_EQ(busy_workgroups("integrated", {}), 64);
  EXPECT_EQ(busy_workgroups("software", {}), 256);
}

}  // namespace
}  // namespace tenon::backends::vulkan
