#pragma once

#include <optional>
#include <vector>

#include "ir/compute.h"
#include "ir/graph.h"

/// How nodes read their inputs, as far as fusion goes.
namespace tenon::passes {

/// How a node reads one of its inputs, axes of size 1 aside.
enum class Access : uint8_t {
  kNone,       // not at all: only its shape or constant contents matter
  kIdentity,   // each output element reads the element at its own index
  kBroadcast,  // … at some of its own indices, in order
  kOther,      // elsewhere (movement, windows, gathers)
};

/// What fusion needs to know of a node, all from its body.
struct FuseInfo {
  bool fusable = false;          // has one body over ranked tensors of dtypes that kernels have
  bool reduces = false, row = false, elementwise = false;
  bool permutes = false;         // the one operand, its axes in another order (or repeated along new ones)
  bool moves = false;            // each element is one of the operand's, at a place that no data decides; views are such, too
  bool view = false;             // not fusable: no code at all on its own
  bool contraction = false, exponential = false;
  ir::Combiner combiner = ir::Combiner::kAdd;  // reductions
  std::vector<ir::Dim> shape;    // of the output, without axes of size 1
  std::vector<ir::Dim> domain;   // row reductions: the operand's shape; `shape` is that of the axes kept
  std::vector<char> kept;        // by axis of the domain
  std::vector<Access> inputs;
  std::vector<bool> once;        // by input: no element is read for two elements of the output
};
FuseInfo analyze_for_fusion(const ir::Node& node);

/// Dims other than 1.
std::vector<ir::Dim> without_units(const std::vector<ir::Dim>& dims);
/// Numbers of the axes whose dims are not 1, counted from `first`.
std::vector<int> axes_without_units(const std::vector<ir::Dim>& dims, int first = 0);
/// The axes that the arguments of a load name, for the operand's dims other than 1; nullopt when one is not a plain axis.
std::optional<std::vector<int>> plain_axes(const ir::Body& body, const ir::ExprNode& load, const std::vector<ir::Dim>& dims);

}  // namespace tenon::passes
