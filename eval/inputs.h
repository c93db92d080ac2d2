#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "support/tensor.h"

namespace tenon::eval {

/// Sizes that symbolic dims take where nothing else says so; the same for every use of a symbol.
inline constexpr int64_t kDefaultDim = 1;

/// Inputs from a seed: floats uniform in [-1, 1), integers and booleans 0 or 1 (valid as indices, masks and token ids), strings
/// "a" or "b", sequences empty. Inputs that `given` has stay as they are there; symbolic dims are as in those, else kDefaultDim.
Result<std::vector<HostValue>> random_inputs(const ir::Graph& graph, uint64_t seed, std::vector<HostValue> given = {});

/// `input_K.pb` (or .npy) of a folder for every input of the graph, by position. kNotFound names the first that is missing.
Result<std::vector<HostValue>> read_inputs(const ir::Graph& graph, const std::filesystem::path& folder);
/// `output_K.pb` by position; outputs without a file are left out.
Result<std::map<size_t, HostValue>> read_outputs(const ir::Graph& graph, const std::filesystem::path& folder);
/// The folders test_data_set_0, test_data_set_1, … beside a model, in order of their numbers.
std::vector<std::filesystem::path> data_sets(const std::filesystem::path& folder);

/// "f32[1, 3, 224, 224]" of a value.
std::string describe(const HostValue& value);

}  // namespace tenon::eval
