#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/tasks/evaluate.h"

namespace tenon::eval {

/// What a state folder says of its evaluation: a state is taken up, or merged with others, only where it is of the same one.
nlohmann::json manifest_of(const Dataset& dataset, const Recipe& recipe, const EvaluateOptions& options);

/// What the manifest of a shard says, checked.
struct Manifest {
  int64_t shard = -1, shards = 0, threads = 0, examples = 0;
  std::vector<std::string> names;            // of the backends
  std::string model;
};

/// kInvalidArgument where it is none.
Result<Manifest> parse_manifest(const nlohmann::json& manifest);

}  // namespace tenon::eval
