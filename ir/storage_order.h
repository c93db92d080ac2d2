#pragma once

#include <vector>

#include "ir/graph.h"

namespace tenon::ir {

/// The axes of a tensor from the outermost in memory to the innermost; empty: row-major. What a value is does not depend on it:
/// only who lays values out in memory reads it. It is an attribute of the node that makes the value, `tenon.stored` of its first
/// output, `tenon.stored.1` of the second, so inputs of graphs have none. One that is no permutation of the axes counts as none.
std::vector<int> storage_order(const Value& value);
void set_storage_order(Value& value, const std::vector<int>& order);  // row-major removes it

/// Whether the bytes are those of a row-major tensor: only axes of size 1 are elsewhere.
bool is_row_major(const Value& value);

}  // namespace tenon::ir
