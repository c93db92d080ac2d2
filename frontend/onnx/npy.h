#pragma once

#include <span>
#include <string>

#include "support/tensor.h"

namespace tenon::frontend {

/// NumPy's .npy format, versions 1 to 3 (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): little-endian
/// numbers and booleans, C or Fortran order. kInvalidArgument for anything malformed, kUnsupported for other dtypes.
Result<Tensor> parse_npy(std::span<const std::byte> bytes);
bool is_npy(std::span<const std::byte> bytes);
/// kUnsupported for dtypes that NumPy lacks (bfloat16, float8, packed integers, strings).
Result<std::string> format_npy(const Tensor& tensor);

}  // namespace tenon::frontend
