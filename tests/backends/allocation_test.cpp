#include <gtest/gtest.h>

#include <algorithm>

#include "tests/counting_new.h"
#include "backends/backend.h"
#include "backends/stateful/stateful.h"
#include "ir/graph.h"
#include "ir/parser.h"

namespace tenon::backends {
namespace {

using testing_support::allocations;

TEST(Cpu, AWarmRunAllocatesOnlyItsOutputs) {
  if (!TENON_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer owns operator new";
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

// Between two times that memory grows, the length of the past costs nothing: no step allocates more than the one before.
TEST(Cpu, AStepWithStatesAllocatesOnlyItsOutputs) {
  if (!TENON_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer owns operator new";
  auto graph = ir::parse_text(R"(graph "g" {
    input %x: f32[B, S, 8]
    input %past: f32[B, P, 8]
    %all: f32[B, P + S, 8] = Concat(%past, %x) {axis = 1}
    %turned: f32[B, 8, P + S] = Transpose(%all) {perm = [0, 2, 1]}
    %scores: f32[B, S, P + S] = MatMul(%x, %turned)
    %axis: i64[] = Constant {value = dense<i64[], 2>}
    %sums: f32[B, S, P + S] = CumSum(%scores, %axis)
    %weights: f32[B, S, P + S] = Softmax(%sums) {axis = -1}
    %y: f32[B, S, 8] = MatMul(%weights, %all)
    output %y
    output %all
  })");
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const std::vector<StatePair> pairs = {{"past", "all"}};
  const auto executable = *compile_stateful(*find_backend("cpu"), std::move(*graph), {}, pairs);
  const auto session = *executable->create_session();
  const std::vector<HostValue> in = {*Tensor::zeros(DType::kF32, {1, 1, 8})};
  for (int i = 0; i < 70; ++i) ASSERT_TRUE(session->run(in).ok());  // room for 128
  std::vector<int64_t> made;
  for (int i = 0; i < 50; ++i) {
    const int64_t before = allocations;
    const bool ok = session->run(in).ok();
    made.push_back(allocations - before);
    ASSERT_TRUE(ok);
  }
  std::ranges::sort(made);
  EXPECT_LE(made[45], 24);  // shapes and owners of inputs, outputs and the state; the few others place temporaries anew that have grown
}

}  // namespace
}  // namespace tenon::backends
