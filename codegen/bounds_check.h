#pragma once

#include <vector>

#include "codegen/kernel_ir.h"

namespace tenon::kir {

/// A load or store of a kernel, in program order.
struct AccessSite {
  int buffer = -1;  // of the kernel as it was
  bool store = false;
};

/// A kernel that does nothing outside its buffers, and says where it would have.
struct CheckedKernel {
  Kernel kernel;
  std::vector<AccessSite> sites;
  int log = -1;  // the binding behind all others: an i64 a site
};

/// No index of an access is this one: kernels' buffers have sizes of 64 bits.
inline constexpr int64_t kNoViolation = INT64_MIN;

/// The kernel with every load and store under a mask: the index is in [0, size). The sizes, in elements, are dims
/// behind the kernel's own, one for each binding; those of locals are known. What is outside is skipped (a load gives
/// its masked value, else 0), and its index is written to the site's element of the log, which the caller fills with
/// kNoViolation before. An element is written whole, so that no record is of two invocations; of several violations at
/// one site, one stays.
CheckedKernel check_bounds(const Kernel& kernel);

}  // namespace tenon::kir
