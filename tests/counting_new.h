#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

/// Replaces the program's operator new by one that counts. Include it in one file of a test program. Sanitizers have an
/// operator new of their own to check: there is no count under them, and TENON_COUNTS_ALLOCATIONS is 0.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TENON_COUNTS_ALLOCATIONS 0
#else
#define TENON_COUNTS_ALLOCATIONS 1
#endif

namespace tenon::testing_support {
inline std::atomic<int64_t> allocations = 0;
}

#if TENON_COUNTS_ALLOCATIONS
namespace tenon::testing_support {
inline void* counted(size_t size, size_t alignment) noexcept {
  ++allocations;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size == 0 ? 1 : size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
inline void* counted_or_throw(size_t size, size_t alignment) {
  void* p = counted(size, alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace tenon::testing_support

void* operator new(size_t size) { return tenon::testing_support::counted_or_throw(size, 0); }
void* operator new(size_t size, std::align_val_t alignment) {
  return tenon::testing_support::counted_or_throw(size, static_cast<size_t>(alignment));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return tenon::testing_support::counted(size, 0); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
#endif
