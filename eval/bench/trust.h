#pragma once

#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/bench/measure.h"

namespace tenon::eval {

/// Why figures of a group should not be trusted as they are, a sentence each that names the cause; empty when nothing speaks against
/// them. `cores` is how many this process may use.
std::vector<std::string> doubts(std::span<const Subject> subjects, const GroupMeasurement& measured, int cores);

/// The same of the machine itself: what its context (eval/bench/machine.h) says before anything is measured.
std::vector<std::string> machine_doubts(const nlohmann::json& context);

}  // namespace tenon::eval
