#include "backends/vulkan/regions.h"

#include <sys/mman.h>

#include <algorithm>

namespace tenon::backends::vulkan {
namespace {

constexpr size_t kMostFree = 16;

}  // namespace

Result<std::shared_ptr<const Regions::Region>> Regions::make(size_t bytes) {
  auto region = std::make_shared<Region>();
  region->size = std::max<size_t>(bytes, 1);
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(detached_, region->size, [](const auto& m) { return std::max<size_t>(m->size(), 1); });
    if (found != detached_.end()) {
      region->memory = std::move(*found);
      detached_.erase(found);
    }
  }
  if (region->memory == nullptr) {
    TENON_ASSIGN_OR_RETURN(region->memory, device_->allocate(bytes));
  }
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
  const size_t size = std::max<size_t>(bytes, 1);
  std::shared_ptr<const Region> region;
  std::vector<std::shared_ptr<const Region>> stale;
  std::vector<std::unique_ptr<Memory>> stale_memory;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(free_, size, [](const auto& r) { return r->size; });
    const auto memory = std::ranges::find(detached_, size, [](const auto& m) { return std::max<size_t>(m->size(), 1); });
    const bool whole = found != free_.end() && ((*found)->memory != nullptr || memory != detached_.end());
    if (whole) {
      region = std::move(*found);
      free_.erase(found);
      if (region->memory == nullptr) {
        region->memory = std::move(*memory);
        detached_.erase(memory);
      }
    } else if (memory == detached_.end()) {
      stale.swap(free_);
      stale_memory.swap(detached_);
    }
  }
  stale.clear();
  stale_memory.clear();
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
  if (const auto held = held_.find(region->host); held != held_.end() && held->second == region) held_.erase(held);
  if (free_.size() < kMostFree) free_.push_back(std::move(region));
}

void Regions::detach(const std::byte* data) {
  const std::lock_guard lock(mutex_);
  const auto found = held_.find(data);
  if (found == held_.end() || found->second->shadow == nullptr) return;
  if (detached_.size() < kMostFree) detached_.push_back(std::move(found->second->memory));
  else found->second->memory.reset();
  held_.erase(found);
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
