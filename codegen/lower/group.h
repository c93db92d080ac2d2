#pragma once

#include <memory>
#include <vector>

#include "codegen/lower/lower.h"
#include "codegen/lower/stage.h"
#include "ir/compute.h"
#include "ir/graph.h"

namespace tenon::codegen {

/// A tensor that kernels read and that the group does not compute.
struct Operand {
  const ir::Value* value;
  std::vector<ir::Dim> shape;   // as it is stored
  DType dtype;
};

/// What a node computes: stages in order of dependence, over one expression pool. Axes are in the order in which values are
/// stored (ir::storage_order), so all that follows sees row-major tensors. Index arguments of loads are those of
/// the operand's full shape; unit axes are already 0 in them.
struct Group {
  std::shared_ptr<ir::ExprPool> pool = std::make_shared<ir::ExprPool>();
  std::vector<Operand> operands;
  std::vector<Stage> stages;

  const std::vector<ir::Dim>& shape_of(int operand) const {
    return operand >= kStageOperand ? stages[static_cast<size_t>(operand - kStageOperand)].shape
                                    : operands[static_cast<size_t>(operand)].shape;
  }
};

/// Bodies of a node, or of all nodes of a fused region, inlined into each other. kUnsupported with the reason when the node
/// has no bodies or uses dtypes that kernels lack.
Result<Group> build_group(const ir::Node& node);

/// A region that runs once a step. Its input i is read from `operand` at the input's own index with `time` (over axis 0 and dims)
/// put in as axis `time_axis`.
struct SteppedRegion {
  struct Input {
    int operand;
    int time_axis;
    ir::Expr time;
  };
  const ir::Graph* region;
  ir::Dim steps;
  std::vector<Input> inputs;
};

/// Appends the region's reductions and, last, a map for each of its outputs to `group`; axis 0 of each is time.
Result<Group> add_steps(Group group, const SteppedRegion& stepped);

}  // namespace tenon::codegen
