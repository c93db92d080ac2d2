#pragma once

#include "ir/graph.h"
#include "support/status.h"

namespace tenon::ir {

inline constexpr int kMaxRegionDepth = 64;

struct VerifyOptions {
  bool types = true;  // false: before inference, types may be unknown
};

/// Checks a module, regions included:
/// - regions nest at most kMaxRegionDepth deep, know their owner and share its dim context;
/// - value names are unique in the module and not empty;
/// - every operand and graph output is defined before its use, in its graph or in an enclosing one;
/// - definitions and use lists agree with the operands;
/// - number of operands, results and regions, attributes and their kinds as the op table has them;
/// - with `types`: every value has a type which its op's parameters and type variables allow, dims are valid, not negative.
/// The first violation is the error: kInternal for a broken graph, kInvalidModel for what the op table refuses.
Status verify(const Graph& graph, const VerifyOptions& options = {});

}  // namespace tenon::ir
