#include "backends/vulkan/regions.h"

#include <sys/mman.h>

#include <algorithm>

namespace tenon::backends::vulkan {
namespace {

constexpr size_t kMostFree = 16;

}  // namespace

Result<std::shared_ptr<const Regions::Region>> Regions::make(size_t bytes) const {
  auto region = std::make_shared<Region>();
  region->size = std::max<size_t>(bytes, 1);
  TENON_ASSIGN_OR_RETURN(region->memory, device_->allocate(bytes));
  region->host = region->memory->host();
  if (device_->info().staged) {
    void* pages = ::mmap(nullptr, region->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return error(Code::kResourceExhausted, "the system refuses {} bytes of address space", region->size);
    region->shadow = {static_cast<std::byte*>(pages), [size = region->size](std::byte* p) { ::munmap(p, size); }};
    region->host = region->shadow.get();
  }
  return std::shared_ptr<const Region>(std::move(region));
}

// A size that is not there says that shapes have changed: regions of the old ones are let go.
Result<std::shared_ptr<Buffer>> Regions::allocate(size_t bytes) {
  std::shared_ptr<const Region> region;
  std::vector<std::shared_ptr<const Region>> stale;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(free_, std::max<size_t>(bytes, 1), [](const auto& r) { return r->size; });
    if (found != free_.end()) {
      region = std::move(*found);
      free_.erase(found);
    } else {
      stale.swap(free_);
    }
  }
  stale.clear();
  if (region == nullptr) {
    TENON_ASSIGN_OR_RETURN(region, make(bytes));
  }
  std::byte* host = region->host;
  {
    const std::lock_guard lock(mutex_);
    held_[host] = region;
  }
  std::shared_ptr<const void> lease(host, [pool = weak_from_this(), region = std::move(region)](const void*) mutable {
    if (const auto alive = pool.lock()) alive->give_back(std::move(region));
  });
  return Buffer::borrow(host, bytes, std::move(lease));
}

void Regions::give_back(std::shared_ptr<const Region> region) {
  const std::lock_guard lock(mutex_);
  held_.erase(region->host);
  if (free_.size() < kMostFree) free_.push_back(std::move(region));
}

Regions::Place Regions::find(const std::byte* data) {
  const std::lock_guard lock(mutex_);
  const auto after = held_.upper_bound(data);
  if (after == held_.begin()) return {};
  const auto& [begin, region] = *std::prev(after);
  const auto offset = static_cast<size_t>(data - begin);
  return offset < region->size ? Place{region, offset} : Place{};
}

}  // namespace tenon::backends::vulkan
