#include "support/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

namespace tenon {
namespace {

namespace fs = std::filesystem;

std::optional<double> ratio(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return std::nullopt;
  return quota / period;
}

std::optional<double> quota_v2(const fs::path& group) {
  std::ifstream file(group / "cpu.max");  // "max 100000" or "150000 100000"
  double quota, period;
  if (!(file >> quota >> period)) return std::nullopt;
  return ratio(quota, period);
}

std::optional<double> quota_v1(const fs::path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us"), period_file(group / "cpu.cfs_period_us");
  double quota, period;  // a quota of -1 is none
  if (!(quota_file >> quota) || !(period_file >> period)) return std::nullopt;
  return ratio(quota, period);
}

// In a container the group's path is often the host's and does not exist here, while the root is the container's own;
// reading every ancestor that exists covers both.
template <class Read>
std::optional<double> smallest_up_to(const fs::path& root, std::string_view group, Read read) {
  std::optional<double> smallest;
  while (true) {
    if (const auto quota = read(root / fs::path(group).relative_path()))
      smallest = std::min(*quota, smallest.value_or(*quota));
    const size_t slash = group.rfind('/');
    if (group.empty() || slash == std::string_view::npos) return smallest;
    group = group.substr(0, slash);
  }
}

bool lists_cpu(std::string_view controllers) {
  while (!controllers.empty()) {
    const size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == "cpu") return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

std::optional<double> cgroup_cpu_quota(const fs::path& root, std::string_view membership) {
  std::optional<double> smallest;
  while (!membership.empty()) {
    const size_t end = std::min(membership.find('\n'), membership.size());
    const std::string_view line = membership.substr(0, end);  // hierarchy:controllers:/group
    membership.remove_prefix(std::min(end + 1, membership.size()));
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    std::optional<double> quota;
    if (controllers.empty())
      quota = smallest_up_to(root, group, quota_v2);
    else if (lists_cpu(controllers))
      quota = smallest_up_to(root / "cpu", group, quota_v1);
    if (quota) smallest = std::min(*quota, smallest.value_or(*quota));
  }
  return smallest;
}

namespace {

/// No more than this process's quota, rounded up; at least 1.
int within_quota(int cores) {
  std::ifstream file("/proc/self/cgroup");
  const std::string membership((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (const auto quota = cgroup_cpu_quota("/sys/fs/cgroup", membership))
    cores = std::min(cores, static_cast<int>(std::ceil(std::min(*quota, 1e6))));
  return std::max(cores, 1);
}

}  // namespace

int available_cores() {
  const int cpus = static_cast<int>(allowed_cpus().size());
  return within_quota(cpus > 0 ? cpus : static_cast<int>(std::thread::hardware_concurrency()));
}

const CpuPlacement& default_placement() {
  static const CpuPlacement placement = [] {
    const std::vector<int> allowed = allowed_cpus();
    if (allowed.empty()) return CpuPlacement{available_cores(), {}};
    CpuPlacement found = place_threads("/sys/devices/system", allowed, sched_getcpu());
    found.cores = within_quota(found.cores);
    return found;
  }();
  return placement;
}

}  // namespace tenon
