#pragma once

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// TopK on a GPU: values (of the input's dtype) and indices (i64) of the K first elements of each row, in order; of equal elements the lower
/// index comes first, NaN is above every number and the zeros are equal (as ir/order.h has it). `lowering` has an empty group.
///
/// A workgroup has a row. Its shared memory holds `entries` pairs of an integer in the order of the elements and a position, of which no two
/// are equal, so that any sorting network is stable: here bitonic sorting (Batcher, "Sorting networks and their applications", 1968), whose
/// steps exchange entries / 2 disjoint pairs each. A row that does not fit comes in turns: those behind the K best ones make room for the next,
/// and are sorted if one of them is better than the last of the best. Long rows that are too few for the device are cut into parts with
/// workgroups of their own, whose best ones a second kernel sorts.
///
/// Refuses with kUnsupported where K is not known, or where rows do not fit and K is more than half of what does.
Status schedule_top_k(Lowering& lowering, const ir::Node& node);

}  // namespace tenon::codegen
