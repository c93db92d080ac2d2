#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/common.h"

namespace tenon::tools {

/// What a model is run on: random values by default, files, or the data set beside it.
struct InputOptions {
  std::vector<std::string> files;   // NAME=FILE
  uint64_t seed = 0;
  bool test_data = false;
};
/// --input, --test-data and --seed.
void add_input_options(CLI::App& app, InputOptions& options);
/// For every input of a loaded model. What is not given is random.
/// The inputs that --input names.
std::vector<std::string> given_inputs(const InputOptions& options);
Result<std::vector<HostValue>> inputs_of(const InputOptions& options, const ir::Graph& graph, const ModelOptions& model);

}  // namespace tenon::tools
