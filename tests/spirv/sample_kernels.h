#pragma once

#include <string>
#include <vector>

#include "codegen/kernel_ir.h"

namespace tenon::testing {

/// A kernel with two inputs and one output of `dtype` elements (out[g] over the grid), for emitters to agree on.
struct SampleKernel {
  std::string name;
  DType in, out;
  kir::Kernel kernel;
};

/// Every operation on every dtype it is defined for, casts between all pairs, loops with carried values, masks, branches,
/// local buffers, dims, lanes that work together. Bindings: a, b (inputs, `in`), c (output, `out`), each of `grid` elements; one dim: the grid extent.
std::vector<SampleKernel> sample_kernels();

}  // namespace tenon::testing
