#pragma once

#include <string>
#include <vector>

#include "support/dtype.h"

namespace tenon::eval {

/// A graph to test a device with. Inputs whose names begin with "p" are above 0, those with "i" are 0, 1 or 2; each output is called
/// after its op.
struct SelfTestSource {
  std::string group;
  std::string text;                 // .tir
  double rtol = 1e-5;               // relative to the element and to the largest one
  DType precision = DType::kF32;    // CompileOptions::precision
};

std::vector<SelfTestSource> self_test_sources();

}  // namespace tenon::eval
