#include "runtime/output_pool.h"

#include <algorithm>

namespace tenon::runtime {
namespace {

constexpr size_t kLarge = size_t{128} << 10;  // less comes from malloc's heap, which keeps its pages
constexpr size_t kMaxFree = 16;

}  // namespace

// A size that is not there says that shapes have changed: blocks of the old ones are let go.
Result<std::shared_ptr<Buffer>> OutputPool::allocate(size_t bytes) {
  if (bytes < kLarge) return Buffer::allocate(bytes);
  std::shared_ptr<Buffer> block;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(free_, bytes, [](const auto& b) { return b->size(); });
    if (found != free_.end()) {
      block = std::move(*found);
      free_.erase(found);
    } else {
      free_.clear();
    }
  }
  if (block == nullptr) {
    TENON_ASSIGN_OR_RETURN(block, Buffer::allocate(bytes));
  }
  std::byte* data = block->data();
  std::shared_ptr<const void> lease(data, [pool = weak_from_this(), block = std::move(block)](const void*) mutable {
    if (const auto alive = pool.lock()) alive->give_back(std::move(block));
  });
  return Buffer::borrow(data, bytes, std::move(lease));
}

void OutputPool::give_back(std::shared_ptr<Buffer> block) {
  const std::lock_guard lock(mutex_);
  if (free_.size() < kMaxFree) free_.push_back(std::move(block));
}

}  // namespace tenon::runtime
