#pragma once

#include <optional>
#include <span>
#include <vector>

#include "codegen/schedule/contraction_prepare.h"

/// Products of the same rows whose results meet element by element, as a gate and what it lets through (SwiGLU, GEGLU): one kernel, whose
/// register tile holds the sums of all.
namespace tenon::codegen {

/// The products that stand beside the group's last stage, where the group is that: sums of products of one left factor over equal axes, of
/// which the last one's epilogue reads the others' results at its own place, and nothing else reads them.
std::optional<std::vector<Beside>> products_beside(const Lowering& lowering);

/// One kernel for `stage` and those beside it. Refuses with kUnsupported and the reason, and nothing changed.
Status schedule_beside(Lowering& lowering, int stage, std::span<const Beside> beside);

}  // namespace tenon::codegen
