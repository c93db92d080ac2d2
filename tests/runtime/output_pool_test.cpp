#include "runtime/output_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "plan_maker.h"
#include "runtime/session.h"

namespace tenon::runtime {
namespace {

constexpr size_t kBytes = size_t{1} << 20, kBlocks = 4;

TEST(OutputPool, GivesMemoryAgainOnceNobodyHoldsIt) {
  const auto pool = std::make_shared<OutputPool>(kBlocks);
  auto first = *pool->allocate(kBytes);
  const std::byte* memory = first->data();
  auto second = *pool->allocate(kBytes);
  EXPECT_NE(second->data(), memory);
  auto copy = first;
  first.reset();
  EXPECT_NE((*pool->allocate(kBytes))->data(), memory);
  copy.reset();
  auto third = *pool->allocate(kBytes), fourth = *pool->allocate(kBytes);
  EXPECT_TRUE(third->data() == memory || fourth->data() == memory);
  EXPECT_EQ(third->size(), kBytes);
}

TEST(OutputPool, LetsGoOfSizesThatAreNoLongerWanted) {
  const auto pool = std::make_shared<OutputPool>(kBlocks);
  (*pool->allocate(kBytes)).reset();
  auto larger = *pool->allocate(2 * kBytes);
  EXPECT_EQ(larger->size(), 2 * kBytes);
  std::memset(larger->data(), 1, larger->size());
}

// As the present keys and values of a decoder, each step's larger than the last one's.
TEST(OutputPool, MemoryServesWhatGrowsALittle) {
  const auto pool = std::make_shared<OutputPool>(kBlocks);
  auto block = *pool->allocate(kBytes);
  const std::byte* memory = block->data();
  block.reset();
  for (size_t step = 1; step <= 8; ++step) {
    block = *pool->allocate(kBytes + step * (kBytes / 64));
    EXPECT_EQ(block->data(), memory) << "step " << step;
    std::memset(block->data(), 1, block->size());
    block.reset();
  }
  EXPECT_EQ((*pool->allocate(kBytes / 2))->size(), kBytes / 2);
}

TEST(OutputPool, TakesTheBlockThatLeavesLeastUnused) {
  const auto pool = std::make_shared<OutputPool>(kBlocks);
  auto small = *pool->allocate(kBytes), large = *pool->allocate(kBytes + kBytes / 8);
  const std::byte* memory = small->data();
  large.reset();  // first in the list
  small.reset();
  EXPECT_EQ((*pool->allocate(kBytes))->data(), memory);
}

TEST(OutputPool, KeepsAsManyBlocksAsARunHasOutputs) {
  const auto pool = std::make_shared<OutputPool>(kBlocks);
  std::vector<std::shared_ptr<Buffer>> held;
  for (size_t i = 0; i < kBlocks; ++i) held.push_back(*pool->allocate(kBytes));
  std::vector<const std::byte*> memory;
  for (const auto& block : held) memory.push_back(block->data());
  held.clear();
  for (size_t i = 0; i < kBlocks; ++i) {
    held.push_back(*pool->allocate(kBytes));
    EXPECT_NE(std::find(memory.begin(), memory.end(), held.back()->data()), memory.end()) << "block " << i;
  }
}

TEST(OutputPool, MemoryOutlivesThePool) {
  auto pool = std::make_shared<OutputPool>(kBlocks);
  auto held = *pool->allocate(kBytes);
  pool.reset();
  std::memset(held->data(), 1, held->size());
  std::thread([held = std::move(held)]() mutable { held.reset(); }).join();
}

// A result that the caller keeps is not written to by later runs.
TEST(OutputPool, RunsDoNotShareWhatTheCallerKeeps) {
  PlanMaker m;
  const DimId n = m.d("N");
  const ValueIdx x = m.input("x", {n}), y = m.value("y", Storage::kArena, {n});
  m.dispatch("inc", add_one, {x, y}, {}, n);
  m.output("y", y);
  auto session = *Session::create(*prepare(m.done()));
  std::vector<std::vector<HostValue>> kept;
  for (int i = 0; i < 5; ++i) {
    for (int64_t size : {100'000, 100'000, 50'000}) {
      Tensor in = *Tensor::zeros(DType::kF32, {size});
      in.mutable_span<float>()[0] = static_cast<float>(kept.size());
      std::vector<HostValue> inputs = {in};
      kept.push_back(*session->run(inputs));
      auto dropped = *session->run(inputs);
      EXPECT_EQ(floats(dropped[0])[0], floats(kept.back()[0])[0]);
    }
  }
  session.reset();
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(floats(kept[i][0])[0], static_cast<float>(i) + 1);
}

}  // namespace
}  // namespace tenon::runtime
