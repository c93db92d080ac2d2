#pragma once

#include <span>

#include <nlohmann/json.hpp>

#include "backends/backend.h"

namespace tenon::tools {

/// What is said of states in JSON, by the executable's order: input, output, axis (null: they do not grow), in_place, reason.
inline nlohmann::json states_json(std::span<const backends::StateInfo> states) {
  nlohmann::json rows = nlohmann::json::array();
  for (const backends::StateInfo& s : states)
    rows.push_back({{"input", s.pair.input}, {"output", s.pair.output}, {"axis", s.axis < 0 ? nlohmann::json() : nlohmann::json(s.axis)}, {"in_place", s.in_place}, {"reason", s.in_place ? "" : s.reason}});
  return rows;
}

}  // namespace tenon::tools
