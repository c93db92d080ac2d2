#pragma once

#include <nlohmann/json.hpp>

#include "backends/backend.h"

namespace tenon::eval {

/// What one run of a plan whose kernels run on a device copies between that and the host, in bytes. Bodies count once; sizes that only run
/// time knows are left out, and counted.
struct Crossing {
  double inputs = 0, outputs = 0;   // of the model, where kernels read or write them
  double to_host = 0, to_device = 0;  // around steps on the host
  int host_steps = 0, segments = 0;   // steps on the host; runs of kernels between them
  int unknown = 0;
};

/// Symbolic dims are kDefaultDim. Zero for backends that run no plan.
Crossing crossing(const backends::Executable& executable);
nlohmann::json to_json(const Crossing& crossing);

}  // namespace tenon::eval
