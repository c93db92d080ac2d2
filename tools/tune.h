#pragma once

#include <string>

#include "tools/common.h"
#include "tools/inputs.h"

namespace tenon::tools {

struct TuneRequest {
  double seconds = 0;               // 0: no tuning was asked for
  int threads = 1;
  InputOptions inputs;
};
/// --tune and what goes with it.
void add_tune_options(CLI::App& app, TuneRequest& request);
/// Searches, prints what it found, and writes that beside the model.
Status tune_model(ModelOptions& model, const std::string& target, int level, DType precision, const TuneRequest& request);

}  // namespace tenon::tools
