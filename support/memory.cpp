#include "support/memory.h"

#include <unistd.h>

namespace tenon {

size_t default_memory_limit() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages <= 0 || page <= 0) return size_t{1} << 36;
  return static_cast<size_t>(pages) / 10 * 8 * static_cast<size_t>(page);
}

}  // namespace tenon
