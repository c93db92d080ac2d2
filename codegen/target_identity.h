#pragma once

#include <string>

#include "codegen/target.h"

namespace tenon::codegen {

/// Everything that a target is, as text; of the host's also what its processor says of itself. Equal texts take the same code.
std::string identity(const Target& target);

}  // namespace tenon::codegen
