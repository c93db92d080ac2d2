#pragma once

#include "codegen/lower/group.h"

/// Steps that bring a group whose bodies are inlined into the form that `build_group` promises, each in place and without
/// failing. They run in this order; a group that grows by steps is only normalised.
namespace tenon::codegen {

/// Simplifies every stage and renumbers its axes without those of size 1.
void normalise(Group& group);
/// Reduce axes in the order in which the operand lies in memory, where the order does not matter.
void order_reduce_axes(Group& group);
/// A map that alone reads one reduction, each element once, becomes the reduction's `post`.
void fold_epilogues(Group& group);
/// Removes stages that nothing needs and renumbers the rest, in order of dependence.
void compact(Group& group);

}  // namespace tenon::codegen
