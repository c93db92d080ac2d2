#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "ir/compute.h"
#include "ir/graph.h"

/// The tensors that a group computes, and what their expressions load.
namespace tenon::codegen {

/// Loads of stage s have operand number kStageOperand + s.
inline constexpr int kStageOperand = 1 << 24;

/// One computed tensor of a group: a map (no reduce axes), a reduction, a scan or a scatter, with producers that are maps
/// inlined.
struct Stage {
  std::vector<ir::Dim> axes, reduce_axes;  // kIndex numbers axes, then reduce axes
  ir::Combiner combiner = ir::Combiner::kAdd;
  DType acc_dtype = DType::kInvalid, dtype = DType::kInvalid;
  ir::Expr value;                          // of acc_dtype when reducing, else of dtype
  ir::Expr post;                           // reductions only: from kAcc to dtype
  std::optional<ir::Scan> scan;
  std::optional<ir::Scatter> scatter;      // its targets index `shape`
  const ir::Value* output = nullptr;       // the value that it defines for others, if any
  std::vector<ir::Dim> shape;              // of the tensor as it is stored; `axes` lacks those of size 1
  bool stepped = false;                    // axis 0 is time, whatever its extent; its steps are in order
  int same_memory_as = -1;  // the operand whose memory this stage is under another dtype; nothing computes it
  int64_t slack = 0;                       // elements that its temporary has behind the tensor
  ir::Expr stored;                         // a load of the element of `axes`, of its own number; invalid: they are in the order of `shape`

  bool reduces() const { return !reduce_axes.empty() && !scatter; }
  /// Its elements depend on one another: a scan or a scatter.
  bool ordered() const { return scan || scatter; }
  bool is_arg() const { return combiner >= ir::Combiner::kArgMin; }
  std::vector<ir::Dim> all_axes() const {
    std::vector<ir::Dim> all = axes;
    all.insert(all.end(), reduce_axes.begin(), reduce_axes.end());
    return all;
  }
  /// Its expressions.
  std::vector<ir::Expr*> roots();
  /// Operand numbers that they load.
  std::vector<int> operands() const;
};

/// Operand numbers that an expression loads, in order of first use.
void collect_operands(ir::Expr e, std::vector<int>& operands);
/// Calls fn for every node that `e` reaches, arguments first, each once.
void visit(ir::Expr e, const std::function<void(int id, const ir::ExprNode& node)>& fn);

}  // namespace tenon::codegen
