#pragma once

#include <string>
#include <variant>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/target.h"
#include "ir/graph.h"

namespace tenon::codegen {

/// What a dispatch's buffer argument is: a value of the graph, or temporary number i of the lowered op.
using BindingRef = std::variant<const ir::Value*, int>;

struct Temporary {
  DType dtype = DType::kInvalid;
  ir::Dim count;                    // elements
};

/// One dispatch. Kernel dims are numbered in order of first use and independent of symbol names, so that equal layers give
/// structurally equal kernels.
struct LoweredKernel {
  kir::Kernel kernel;
  std::vector<BindingRef> bindings; // in the order of the kernel's bindings
  std::vector<ir::Dim> dims;        // arguments for the kernel's dims
  ir::Dim grid;                     // extent
  ir::Dim work;                     // scalar operations over the whole grid, about
  /// It reads constants and what such kernels make, and writes temporaries alone: it runs once, when the executable is made.
  bool once = false;
};

/// One node (with a Body) or fused node as kernels in order, or the reason why it is not generated.
struct LoweredOp {
  const ir::Value* view_of = nullptr;  // the node's one output has this operand's bytes: there are no kernels
  /// The node's one output is this operand but for some elements, and the kernels before `first_update` copy it: where nobody needs the
  /// operand any more, they may be left out, and the output be the operand's memory.
  const ir::Value* updated = nullptr;
  size_t first_update = 0;
  ir::Dim updates;                     // elements that the update writes
  std::vector<LoweredKernel> kernels;
  std::vector<Temporary> temporaries;
  std::string implementation;       // "map", "row reduction", "window", "contraction 6x32" …
  std::vector<Tunable> tunables;    // what was chosen, and could be otherwise
  std::vector<std::string> refused; // "contraction: K is data-dependent" …: better-ranked implementations and why not
};

/// kUnsupported (with the reason) when the node must run as a host call: opaque op, unranked value, dtype that kernels lack.
/// Knows compute kinds, and of ops by name those alone that no body says: Scan and, for GPUs, TopK.
Result<LoweredOp> lower(const ir::Node& node, const Target& target);

}  // namespace tenon::codegen
