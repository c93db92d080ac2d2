#pragma once

#include <cstdint>

#include "support/tensor.h"

namespace tenon::backends {

/// A tensor of the extent `extent` along `axis` with the first `kept` places of this one, which has as many; the rest holds anything. Dtypes
/// of whole bytes.
Result<Tensor> resized(const Tensor& tensor, int axis, int64_t kept, int64_t extent);

/// Zeros at `count` places along `axis` from one on, which are there.
void clear_places(Tensor& tensor, int axis, int64_t from, int64_t count);

/// False where a float is an infinity or a NaN.
bool all_finite(const Tensor& tensor);

/// Bytes of a shape; kResourceExhausted where they cannot be counted.
Result<size_t> bytes_of(DType dtype, const Shape& shape);

}  // namespace tenon::backends
