#pragma once

#include <vector>

#include "ir/graph.h"
#include "runtime/plan.h"

namespace tenon::codegen {

/// A relation between dims that a node's element semantics need and that symbols alone do not prove.
struct DimFact {
  runtime::DimCheck::Kind kind;
  ir::Dim a, b;
};

/// For a node with bodies, or a fused one: every operand must be as long as the axis that indexes it. Inference takes
/// different symbols that meet in a broadcast as equal; what it took on trust is here.
std::vector<DimFact> dim_facts(const ir::Node& node);

}  // namespace tenon::codegen
