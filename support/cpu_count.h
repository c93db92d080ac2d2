#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "support/cpu_topology.h"

namespace tenon {

/// CPUs that this process may use: those of its affinity mask, and no more than its control group's quota of CPU time
/// rounded up. At least 1.
int available_cores();

/// Threads that computations get unless told otherwise, and where they belong (support/cpu_topology.h), no more than the quota
/// allows. Read once: what the process may use should not change under a pool of threads.
const CpuPlacement& default_placement();

/// CPU time quota in cores of the control group that `membership`, the text of /proc/self/cgroup, names, the smallest
/// of it and its ancestors; nullopt when there is none. Reads cpu.max (cgroup v2) or cpu/cpu.cfs_quota_us (v1) below
/// `root`, normally /sys/fs/cgroup.
std::optional<double> cgroup_cpu_quota(const std::filesystem::path& root, std::string_view membership);

}  // namespace tenon
