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
    int packed;   // stage: [tile, k, gate, lane]
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

/// Appends the kernel of all steps. The packed matrices and the states' first halves are filled by then.
void emit_recurrence(Lowering& lowering, const Recurrence& recurrence);

}  // namespace tenon::codegen
