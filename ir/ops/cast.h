#pragma once

#include "support/status.h"
#include "support/tensor.h"

namespace tenon::ir {

/// Stores element `from` of `in` as element `to` of `out`, converted as ONNX Cast does, also from and to strings
/// (numbers as NumPy prints them). kInvalidArgument for a string that is no number.
Status cast_element(const Tensor& in, int64_t from, Tensor& out, int64_t to);

}  // namespace tenon::ir
