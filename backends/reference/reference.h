#pragma once

#include "backends/backend.h"

namespace tenon::backends {

/// The interpreter of ir/evaluate.h behind the backend interface: no passes, no generated code.
const Backend& reference_backend();

}  // namespace tenon::backends
