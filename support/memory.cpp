#include "support/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>

namespace tenon {
namespace {

/// The number in a control group's file, the largest where there is none ("max").
size_t group_limit(const char* file) {
  size_t bytes = 0;
  std::ifstream in(file);
  return in >> bytes ? bytes : SIZE_MAX;
}

size_t find_physical_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  const size_t machine = pages > 0 && page > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(page) : size_t{1} << 36;
  return std::min({machine, group_limit("/sys/fs/cgroup/memory.max"), group_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

}  // namespace

size_t physical_memory() {
  static const size_t bytes = find_physical_memory();
  return bytes;
}

size_t default_memory_limit() { return physical_memory() / 10 * 8; }

}  // namespace tenon
