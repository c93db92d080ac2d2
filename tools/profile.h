#pragma once

#include <string>

#include "eval/profile/attribute.h"
#include "eval/profile/profile.h"
#include "tools/common.h"

namespace tenon::tools {

/// What to profile, and what to do with it.
struct ProfileRequest {
  ModelOptions model;
  std::string backend = "cpu";
  TargetOptions target;
  int threads = 1, opt_level = 3;
  DType precision = DType::kF32;
  int warmup = 2, runs = 20;
  uint64_t seed = 0;                // of random inputs
  bool test_data = false;           // inputs of test_data_set_0 instead
  int top = 15;                     // kernels, nodes and ops to show
  bool quiet = false;               // shows nothing
  std::string json, trace;          // files to write, "-": stdout, which replaces the text; empty: none
  std::string baseline;             // a profile's JSON to compare with; empty: none
};

/// Loads, compiles, profiles, shows and writes. Fills in the model's path.
Result<eval::Profile> profile_model(ProfileRequest& request);

void print_profile(const eval::Profile& profile, int top);
void print_attribution(const eval::Attribution& attribution, int top);

}  // namespace tenon::tools
