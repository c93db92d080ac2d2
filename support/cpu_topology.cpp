#include "support/cpu_topology.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

namespace tenon {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxCpus = 65536;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// CPUs of each node that has some, by number.
std::vector<std::vector<int>> nodes_below(const fs::path& root) {
  std::set<std::string> names;
  std::error_code failed;
  for (fs::directory_iterator it(root / "node", failed), end; !failed && it != end; it.increment(failed))
    if (const std::string name = it->path().filename().string(); name.starts_with("node")) names.insert(name);
  std::vector<std::vector<int>> nodes;
  for (const std::string& name : names)
    if (std::vector<int> cpus = parse_cpu_list(first_line(root / "node" / name / "cpulist")); !cpus.empty()) nodes.push_back(std::move(cpus));
  return nodes;
}

int count_cores(const fs::path& root, std::span<const int> cpus) {
  std::set<std::string> cores;
  for (int cpu : cpus) {
    const std::string siblings = first_line(root / "cpu" / ("cpu" + std::to_string(cpu)) / "topology" / "thread_siblings_list");
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  return static_cast<int>(cores.size());
}

}  // namespace

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> cpus;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    int first = 0;
    auto [next, error] = std::from_chars(at, end, first);
    if (error != std::errc{} || first < 0) break;
    int last = first;
    if (next != end && *next == '-') {
      const auto range = std::from_chars(next + 1, end, last);
      if (range.ec != std::errc{} || last < first) break;
      next = range.ptr;
    }
    if (last - first >= kMaxCpus - static_cast<int>(cpus.size())) break;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (next == end || *next != ',') break;
    at = next + 1;
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

CpuPlacement place_threads(const fs::path& root, std::span<const int> allowed, int current) {
  CpuPlacement best{0, {}};
  int usable = 0;
  for (const std::vector<int>& node : nodes_below(root)) {
    std::vector<int> cpus;
    std::set_intersection(node.begin(), node.end(), allowed.begin(), allowed.end(), std::back_inserter(cpus));
    if (cpus.empty()) continue;
    ++usable;
    const int cores = count_cores(root, cpus);
    const bool here = std::binary_search(cpus.begin(), cpus.end(), current);
    if (cores > best.cores || (cores == best.cores && here)) best = {cores, std::move(cpus)};
  }
  if (usable > 1) return best;
  return {std::max(1, count_cores(root, allowed)), {}};
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  return cpus;
}

}  // namespace tenon
