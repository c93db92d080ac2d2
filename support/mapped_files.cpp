#include "support/mapped_files.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>

namespace tenon {

// Lines as "7f00-7f80 r--p 00000000 08:01 1234 /path"; memory without a file has inode 0.
MappedFiles MappedFiles::now() {
  MappedFiles out;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    uint64_t inode = 0;
    char mode[5] = {};
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*x:%*x %" SCNu64, &begin, &end, mode, &inode) != 4) continue;
    if (std::string_view(mode) == "r--p" && inode != 0) out.ranges_.push_back({begin, end});
  }
  return out;
}

void MappedFiles::drop(std::span<const std::byte> bytes) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + bytes.size()) / page * page;
  for (const Range& range : ranges_) {
    const uintptr_t from = std::max(begin, range.begin), to = std::min(end, range.end);
    if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
  }
}

}  // namespace tenon
