#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "runtime/plan.h"

namespace tenon::runtime {

/// Large constants of a plan, which lie outside its bytes: one block, that readers map.
struct WeightBlock {
  struct Piece {
    size_t offset;                  // ascending; a multiple of 64, for vectors
    std::span<const std::byte> bytes;
    Tensor tensor;                  // keeps them
  };
  std::vector<Piece> pieces;
  size_t bytes = 0;

  /// Where this tensor lies; tensors that share their bytes are one piece.
  size_t add(const Tensor& tensor);

 private:
  std::map<std::pair<const std::byte*, size_t>, size_t> offsets_;
};

/// A plan with its bodies as bytes, for this version of Tenon on this machine. Large constants are added to `weights`, but what may hold
/// indices or truth values, by which memory is reached, is among the bytes. kUnsupported for host calls and constants that are no tensors.
Result<std::vector<std::byte>> write_plan(const Plan& plan, WeightBlock& weights);

struct ReadPlan {
  std::shared_ptr<const Plan> plan;
  std::shared_ptr<std::vector<PlanKernel>> kernels;  // the plan's and its bodies'; the caller fills in the functions
};

/// The same from bytes, which may be hostile: kInvalidArgument for what breaks the format. What comes out is for prepare(), which checks
/// how its parts refer to one another. Constants in the block share it.
Result<ReadPlan> read_plan(std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights);

}  // namespace tenon::runtime
