#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

namespace tenon {

/// Cores that this process may use: those of its affinity mask, and no more than its control group's quota of CPU time
/// rounded up. At least 1.
int available_cores();

/// CPU time quota in cores of the control group that `membership`, the text of /proc/self/cgroup, names, the smallest
/// of it and its ancestors; nullopt when there is none. Reads cpu.max (cgroup v2) or cpu/cpu.cfs_quota_us (v1) below
/// `root`, normally /sys/fs/cgroup.
std::optional<double> cgroup_cpu_quota(const std::filesystem::path& root, std::string_view membership);

}  // namespace tenon
