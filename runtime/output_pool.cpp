#include "runtime/output_pool.h"

#include <algorithm>
#include <cstdint>

#include "support/large_pages.h"

namespace tenon::runtime {
namespace {

constexpr size_t kLarge = size_t{128} << 10;  // less comes from malloc's heap, which keeps its pages
constexpr size_t kRoom = 8;                   // a block has one part in so many beyond what it was made for
constexpr size_t kSlab = size_t{4} << 20;     // of whole large pages, which blocks up to a quarter of it share
constexpr size_t kLine = 64;                  // at which blocks begin
constexpr size_t kMaxWaste = 4;               // and serves what leaves up to one in so many of it unused

}  // namespace

// With room for what grows, or without it where memory or its limits have none. Blocks of less than a large page share some, since memory in
// small pages that is seldom touched (a decoder reads all its weights in between) waits for the translation of each page.
Result<std::shared_ptr<Buffer>> OutputPool::fresh(size_t bytes) {
  const size_t room = bytes / kRoom + kLine;
  if (bytes > SIZE_MAX - room) return Buffer::allocate(bytes);
  const size_t wanted = (bytes + room) / kLine * kLine;
  if (wanted > kSlab / 4) {
    auto roomy = allocate_in_large_pages(wanted);
    return roomy.ok() ? std::move(roomy) : Buffer::allocate(bytes);
  }
  if (slab_ == nullptr || slab_->size() - slab_used_ < wanted) {
    auto slab = allocate_in_large_pages(kSlab);
    if (!slab.ok()) return Buffer::allocate(bytes);
    slab_ = std::move(*slab);
    slab_used_ = 0;
  }
  std::byte* data = slab_->data() + slab_used_;
  slab_used_ += wanted;
  return Buffer::borrow(data, wanted, slab_);
}

// A size that nothing free fits may say that shapes have changed: the block that has been free for longest is let go, so those of old
// shapes are gone after a run.
Result<std::shared_ptr<Buffer>> OutputPool::allocate(size_t bytes) {
  if (bytes < kLarge) return Buffer::allocate(bytes);
  std::shared_ptr<Buffer> block;
  {
    const std::lock_guard lock(mutex_);
    auto best = free_.end();
    for (auto b = free_.begin(); b != free_.end(); ++b) {
      const size_t size = (*b)->size();
      if (size >= bytes && size - bytes <= size / kMaxWaste && (best == free_.end() || size < (*best)->size())) best = b;
    }
    if (best != free_.end()) {
      block = std::move(*best);
      free_.erase(best);
    } else if (!free_.empty()) {
      free_.erase(free_.begin());
    }
  }
  if (block == nullptr) {
    const std::lock_guard lock(mutex_);
    TENON_ASSIGN_OR_RETURN(block, fresh(bytes));
  }
  std::byte* data = block->data();
  std::shared_ptr<const void> lease(data, [pool = weak_from_this(), block = std::move(block)](const void*) mutable {
    if (const auto alive = pool.lock()) alive->give_back(std::move(block));
  });
  return Buffer::borrow(data, bytes, std::move(lease));
}

void OutputPool::give_back(std::shared_ptr<Buffer> block) {
  const std::lock_guard lock(mutex_);
  if (free_.size() < blocks_) free_.push_back(std::move(block));
}

}  // namespace tenon::runtime
