#include "support/cpu_count.h"

#include <unistd.h>

#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace tenon {
namespace {

namespace fs = std::filesystem;

class CpuCount : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_); }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  const fs::path root_ = fs::temp_directory_path() / ("tenon_cgroup_" + std::to_string(getpid()));
};

TEST_F(CpuCount, NoneWithoutFilesOrLimits) {
  EXPECT_FALSE(cgroup_cpu_quota(root_, ""));
  EXPECT_FALSE(cgroup_cpu_quota(root_, "garbage\n::\n0:\n"));
  EXPECT_FALSE(cgroup_cpu_quota(root_, "0::/a\n"));
  write("a/cpu.max", "max 100000\n");
  EXPECT_FALSE(cgroup_cpu_quota(root_, "0::/a\n"));
  write("a/cpu.max", "100000 0\n");
  EXPECT_FALSE(cgroup_cpu_quota(root_, "0::/a\n"));
}

TEST_F(CpuCount, SmallestOfTheGroupAndItsAncestors) {
  write("a/b/cpu.max", "250000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/a/b\n"), 2.5);
  write("a/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/a/b\n"), 1.5);
  write("cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/a/b\n"), 0.5);
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/somewhere/on/the/host\n"), 0.5);
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/"), 0.5);
}

TEST_F(CpuCount, VersionOne) {
  write("cpu/job/cpu.cfs_quota_us", "300000\n");
  write("cpu/job/cpu.cfs_period_us", "100000\n");
  write("cpu/cpu.cfs_quota_us", "-1\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "12:memory:/job\n4:cpu,cpuacct:/job\n"), 3.0);
  EXPECT_FALSE(cgroup_cpu_quota(root_, "4:cpuset:/job\n"));
}

TEST_F(CpuCount, AtLeastOneCore) { EXPECT_GE(available_cores(), 1); }

}  // namespace
}  // namespace tenon
