#pragma once

#include <string>

#include "runtime/plan.h"

namespace tenon::runtime {

/// The plan as text, for `--emit plan` and for debugging: values with their storage and shape, steps with what they read
/// and write, bodies indented.
std::string print(const Plan& plan);

}  // namespace tenon::runtime
