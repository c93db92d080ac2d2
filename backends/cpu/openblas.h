#pragma once

#include "codegen/plan/build.h"

namespace tenon::backends {

/// OpenBLAS for f32 matrix products (batched, either operand transposed), recognised by their element semantics.
/// The library is opened at first use, with the core type that this CPU deserves: the packaged one takes new CPUs for
/// Haswell. kUnsupported says what does not fit, or that the library is not installed.
Result<codegen::LibraryCall> openblas_matmul(const ir::Node& node);

}  // namespace tenon::backends
