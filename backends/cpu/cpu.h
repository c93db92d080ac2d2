#pragma once

#include "backends/backend.h"

namespace tenon::backends {

/// Compiles with LLVM for the host's CPU; nodes without generated code run on the host's interpreter or a library.
const Backend& cpu_backend();

}  // namespace tenon::backends
