#include "support/axis.h"

namespace tenon {

Result<int64_t> normalize_axis(int64_t axis, int64_t rank, std::string_view what) {
  if (axis < -rank || axis >= rank)
    return error(Code::kInvalidModel, "{} {} is outside [-{}, {})", what, axis, rank, rank);
  return axis < 0 ? axis + rank : axis;
}

}  // namespace tenon
