#pragma once

#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/bench/measure.h"

namespace tenon::eval {

/// Why figures should not be trusted as they are.
struct Doubt {
  std::string_view cause;  // a word, the same for all that have this cause
  double severity = 0;     // comparable among those
  std::string text;        // a sentence that names cause and remedy
};

/// Of a group; empty when nothing speaks against its figures. `cores` is how many this process may use.
std::vector<Doubt> doubts(std::span<const Subject> subjects, const GroupMeasurement& measured, int cores);

/// The same of the machine itself: what its context (eval/bench/machine.h) says before anything is measured.
std::vector<Doubt> machine_doubts(const nlohmann::json& context);

}  // namespace tenon::eval
