#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"

namespace tenon::eval {

struct TuneOptions {
  double seconds = 60;              // of search; the trial that runs then is the last one
  backends::SessionOptions session; // its threads are what is tuned for
  std::function<void(std::string_view doing)> progress;
};

struct TunedChoice {
  std::string signature;
  codegen::Choice before, after;
  double before_ms = 0, after_ms = 0;  // of a run, in the trial that found it
};

struct Tuned {
  codegen::Tuning tuning;           // empty: nothing better was found
  std::vector<TunedChoice> choices;
  double before_ms = 0, after_ms = 0;  // a whole run, measured in turn at the end
  int trials = 0;
  bool complete = false;            // everything that schedules offer was tried
};

/// Searches the choices of a model's schedules by measuring them where they matter: in runs of the whole model. Each trial compiles the
/// model with another choice for each computation at once and runs it in turn with the best so far; steps' times say which choices to
/// keep. A choice is kept when it is at least 3 % faster by the lower quartile, all of them together only when the whole model is faster.
/// `compile.reload` must be set. kUnsupported when the backend has no choices, kNotFound when the model has none.
Result<Tuned> tune(const backends::Backend& backend, const backends::CompileOptions& compile, std::span<const HostValue> inputs,
                   const TuneOptions& options);

}  // namespace tenon::eval
