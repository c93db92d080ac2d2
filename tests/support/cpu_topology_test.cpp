#include "support/cpu_topology.h"

#include <unistd.h>

#include <fstream>
#include <numeric>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "support/cpu_count.h"
#include "support/executor.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using Cpus = std::vector<int>;

class CpuTopology : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_); }
  void TearDown() override { fs::remove_all(root_); }
  void write(const fs::path& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << '\n';
  }
  void siblings(int cpu, const std::string& text) {
    write(fs::path("cpu") / ("cpu" + std::to_string(cpu)) / "topology" / "thread_siblings_list", text);
  }
  const fs::path root_ = fs::temp_directory_path() / ("tenon_topology_" + std::to_string(getpid()));
};

Cpus numbers(int n) {
  Cpus out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

TEST(CpuList, Forms) {
  EXPECT_EQ(parse_cpu_list("0-3,8,10-11"), (Cpus{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_cpu_list("5"), Cpus{5});
  EXPECT_EQ(parse_cpu_list("4,2,2-3\n"), (Cpus{2, 3, 4}));
  for (const char* bad : {"", "\n", "x", "-3", "3-1", "0-99999999999999", "0-2147483647"}) EXPECT_EQ(parse_cpu_list(bad), Cpus{}) << bad;
  EXPECT_EQ(parse_cpu_list("1,x"), Cpus{1});
}

TEST_F(CpuTopology, WithoutFilesEachCpuIsACoreOfOneNode) {
  const CpuPlacement found = place_threads(root_, numbers(6), 0);
  EXPECT_EQ(found.cores, 6);
  EXPECT_EQ(found.cpus, Cpus{});
  EXPECT_EQ(place_threads(root_, {}, 0).cores, 1);
}

TEST_F(CpuTopology, CpusOfOneCoreCountOnce) {
  for (int cpu = 0; cpu < 8; ++cpu) siblings(cpu, std::to_string(cpu % 4) + "," + std::to_string(cpu % 4 + 4));
  EXPECT_EQ(place_threads(root_, numbers(8), 0).cores, 4);
  EXPECT_EQ(place_threads(root_, Cpus{0, 4, 5}, 0).cores, 2);
}

TEST_F(CpuTopology, OneNodeOfSeveral) {
  write("node/node0/cpulist", "0-3,8-11");
  write("node/node1/cpulist", "4-7,12-15");
  write("node/node2/cpulist", "");  // memory alone
  write("node/possible", "0-2");
  for (int cpu = 0; cpu < 16; ++cpu) siblings(cpu, std::to_string(cpu % 8) + "," + std::to_string(cpu % 8 + 8));
  EXPECT_EQ(place_threads(root_, numbers(16), 0).cores, 4);
  EXPECT_EQ(place_threads(root_, numbers(16), 1).cpus, (Cpus{0, 1, 2, 3, 8, 9, 10, 11}));
  EXPECT_EQ(place_threads(root_, numbers(16), 13).cpus, (Cpus{4, 5, 6, 7, 12, 13, 14, 15}));
  const CpuPlacement larger = place_threads(root_, Cpus{3, 4, 5, 12}, 3);
  EXPECT_EQ(larger.cores, 2);
  EXPECT_EQ(larger.cpus, (Cpus{4, 5, 12}));
  // A mask that leaves one node leaves nothing to choose.
  EXPECT_EQ(place_threads(root_, Cpus{1, 2}, 1).cpus, Cpus{});
}

TEST(DefaultPlacement, WithinWhatTheProcessMayUse) {
  EXPECT_GE(default_placement().cores, 1);
  EXPECT_LE(default_placement().cores, available_cores());
}

TEST(DefaultPlacement, ThreadsRunOnTheirCpus) {
  const Cpus allowed = allowed_cpus();
  ASSERT_FALSE(allowed.empty());
  const Cpus one{allowed.back()};
  ThreadPool pool(3, one, 3);
  std::vector<Cpus> seen(3);
  const std::thread::id caller = std::this_thread::get_id();
  for (int round = 0; round < 200; ++round)
    pool.parallel_for(64, [&](int64_t, int64_t, int part) {
      if (std::this_thread::get_id() != caller) seen[static_cast<size_t>(part)] = allowed_cpus();
    });
  for (const Cpus& cpus : seen)
    EXPECT_TRUE(cpus.empty() || cpus == one);
}

}  // namespace
}  // namespace tenon
