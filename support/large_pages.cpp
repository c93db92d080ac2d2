#include "support/large_pages.h"

#include <sys/mman.h>

#include <cstdint>

namespace tenon {
namespace {

constexpr size_t kWorthIt = kLargePage / 4;
constexpr size_t kMost = size_t{1} << 40;  // beyond it Buffer::allocate decides

/// Memory that is not there yet, so that its first touch can bring a large page.
class Pages {
 public:
  Pages(void* reserved, size_t room) : reserved_(reserved), room_(room) {}
  ~Pages() { ::munmap(reserved_, room_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

 private:
  void* reserved_;
  size_t room_;
};

}  // namespace

Result<std::shared_ptr<Buffer>> allocate_in_large_pages(size_t bytes) {
  if (bytes < kWorthIt || bytes > kMost) return Buffer::allocate(bytes);
  const size_t whole = (bytes + kLargePage - 1) / kLargePage * kLargePage, room = whole + kLargePage;
  void* reserved = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved == MAP_FAILED) return Buffer::allocate(bytes);
  auto pages = std::make_shared<const Pages>(reserved, room);
  auto* data = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(reserved) + kLargePage - 1) / kLargePage * kLargePage);
  ::madvise(data, whole, MADV_HUGEPAGE);
  return Buffer::borrow(data, bytes, std::move(pages));
}

}  // namespace tenon
