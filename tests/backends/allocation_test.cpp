#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/parser.h"

// Counts what this program allocates through operator new.
namespace {
std::atomic<int64_t> allocations = 0;

void* counted(size_t size, size_t alignment) {
  ++allocations;
  void* p = alignment <= alignof(std::max_align_t)
                ? std::malloc(size)
                : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace

void* operator new(size_t size) { return counted(size, 0); }
void* operator new(size_t size, std::align_val_t alignment) { return counted(size, static_cast<size_t>(alignment)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }

namespace tenon::backends {
namespace {

TEST(Cpu, AWarmRunAllocatesOnlyItsOutputs) {
  auto graph = ir::parse_text(R"(graph "g" {
    input %x: f32[B, 3, H, H]
    input %w: f32[8, 3, 3, 3]
    %c: f32[B, 8, H, H] = Conv(%x, %w) {pads = [1, 1, 1, 1], kernel_shape = [3, 3]}
    %r: f32[B, 8, H, H] = Relu(%c)
    %p: f32[B, 8, 1, 1] = GlobalAveragePool(%r)
    %f: f32[B, 8] = Flatten(%p) {axis = 1}
    %s: f32[B, 8] = Softmax(%f) {axis = -1}
    output %s
  })");
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const auto executable = *find_backend("cpu")->compile(**graph, {});
  const auto session = *executable->create_session();
  const auto allocations_of = [&](int64_t batch, int64_t size) {
    const std::vector<HostValue> in = {*Tensor::zeros(DType::kF32, {batch, 3, size, size}), *Tensor::zeros(DType::kF32, {8, 3, 3, 3})};
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(session->run(in).ok());
    const int64_t before = allocations;
    const bool ok = session->run(in).ok();
    const int64_t made = allocations - before;
    EXPECT_TRUE(ok);
    return made;
  };
  // The list of outputs, and for each its shape (twice), its bytes, and who owns them.
  EXPECT_LE(allocations_of(1, 9), 6);
  EXPECT_LE(allocations_of(5, 31), 6);
}

}  // namespace
}  // namespace tenon::backends
