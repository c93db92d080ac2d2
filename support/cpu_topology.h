#pragma once

#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace tenon {

/// Where the threads of a computation belong.
struct CpuPlacement {
  int cores = 1;          // physical ones: threads that share a core's arithmetic units gain nothing from each other
  std::vector<int> cpus;  // to which threads are bound, ascending; empty: wherever the process may run
};

/// Of the CPUs in `allowed`, those of the NUMA node that has the most cores; of equal ones, the node of the CPU `current`.
/// Threads on other nodes would read each other's results, and weights, across the link between the nodes. Reads
/// node/node*/cpulist and cpu/cpu*/topology/thread_siblings_list below `root`, normally /sys/devices/system; what is absent
/// there counts as one node, and as a core for each CPU. `cpus` is empty where there is one node.
CpuPlacement place_threads(const std::filesystem::path& root, std::span<const int> allowed, int current);

/// The numbers in a list of the kernel's, "0-3,8,10-11"; what is no number ends it. At most 65536 of them.
std::vector<int> parse_cpu_list(std::string_view text);

/// CPUs in this process's affinity mask, ascending.
std::vector<int> allowed_cpus();

}  // namespace tenon
