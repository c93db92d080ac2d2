#pragma once

#include <span>
#include <vector>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A loop over time (ONNX Scan) as one kernel. Each step multiplies what the last one left (the states) by matrices that stay the
/// same, and computes new states and outputs elementwise from the products and what the step reads. A step is one or more
/// phases, each a round of the grid (kir::Kernel::round) over tiles of `width` elements: what a phase needs of all elements
/// of another value than a state is stored by a phase before. The columns of the products that the elements of a tile need
/// lie side by side in a packed matrix, which every step reads from end to end, every other one backwards.

/// Σ over k of A(m, k) B(k, n), B being the same in all steps.
struct StepProduct {
  int stage = -1;
  ir::Expr a, b;     // over the stage's axes: time, m (if any), n, then k
  int64_t k = 0, n = 0;
  int source = -1;   // the map that stores A; -1: A is read in place
  ir::Expr row, along;  // A's offset: what does not depend on k, and the rest
};

/// What a map wants of a product: the columns from `offset` on. In the map it is the load of a stage of this number.
struct Gate {
  int product = -1;  // index
  int64_t offset = 0;
  int stage = -1;
};

/// A map of each step: `value` goes to place `store` of what stage `into` stores.
struct StepMap {
  int stage = -1, into = -1;
  ir::Expr value, store;  // flat offsets; products are gates' loads
  int level = 0;
};

/// Maps of equal axes that one round computes, from the gates of some products.
struct Phase {
  std::vector<ir::Dim> axes;  // time, m (if any), n
  std::vector<StepMap> maps;
  struct Product {
    int product;
    std::vector<Gate> gates;
    int packed;   // stage: [tile, k, gate, lane]; -1: the matrix is read in place
  };
  std::vector<Product> products;
  int64_t rows = 1, width = 0;  // register tile: rows of m, elements of n

  bool has_rows() const { return axes.size() == 3; }
  int64_t n() const { return axes.back().value(); }
  int64_t tiles() const { return (n() + width - 1) / width; }
  int64_t gates() const;
};

struct Recurrence {
  ir::Dim steps;
  std::vector<int> states;   // stages of two halves: step t reads half t mod 2 and writes the other
  std::vector<int> last;     // maps of the states after all steps
  std::vector<StepProduct> products;
  std::vector<Phase> phases;
};

/// Scalar operations of one step, about.
ir::Dim work_of_step(const Recurrence& recurrence);
/// x * y + sum, with one rounding of floats where the target has that.
kir::ValueId multiply_add(kir::KernelBuilder& b, const Target& target, kir::ValueId x, kir::ValueId y, kir::ValueId sum);

/// Chooses the phase's tile and adds the stages of its packed matrices. A GPU's tile is the whole phase, and it reads matrices in place whose
/// elements lie side by side in memory already.
Status pack_matrices(Lowering& lowering, const Recurrence& recurrence, Phase& phase);

/// Appends the kernel of all steps for a CPU. The packed matrices and the states' first halves are filled by then.
void emit_recurrence(Lowering& lowering, const Recurrence& recurrence);

/// The same for a GPU. A workgroup has a row of m (all there is, without m), or several where there are more rows than units, for the whole
/// sequence, and its lanes share the elements of each phase, or those times parts of K. What steps hand to each other stays in the memory that
/// the lanes share; a state's first half is read from where it is stored, and the last one goes there. kUnsupported where a step reads other
/// rows of a state, that memory is too small, or a workgroup would read its matrices for longer than a step of the whole device takes.
/// Returns how it is done.
Result<std::string> emit_recurrence_in_lanes(Lowering& lowering, const Recurrence& recurrence);

}  // namespace tenon::codegen
