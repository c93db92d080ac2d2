#pragma once

#include <optional>
#include <vector>

#include "codegen/schedule/recurrence.h"

namespace tenon::codegen {

/// What a workgroup of a GPU keeps of each of its rows from step to step: states, in two halves, and what later phases multiply.
struct Held {
  int stage;
  int64_t size;      // of a half, in elements
  bool state;
  int buffer = -1;   // rows, one behind the other

  int64_t span() const { return (state ? 2 : 1) * size; }  // of a row
};

inline constexpr int kRow = 8;  // axis: which one of the workgroup's rows

/// Makes loads and stores of what is held ones of that alone: offsets in all `rows` become offsets in what is held of row kRow. kUnsupported
/// where a step reads other rows, or holds something that is not of rows; `recurrence` is of no use then.
Result<std::vector<Held>> hold_rows(Lowering& lowering, Recurrence& recurrence, const std::optional<ir::Dim>& rows);

/// null: it is not held.
const Held* find_held(const std::vector<Held>& held, int stage);

}  // namespace tenon::codegen
