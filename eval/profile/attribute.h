#pragma once

#include <string>
#include <vector>

#include "eval/profile/profile.h"

namespace tenon::eval {

struct Change {
  std::string name;                 // of a node or an op; kBetweenSteps for what no step takes
  std::string op;
  double old_ms = 0, new_ms = 0;    // 0 where a profile does not have it
  double delta_ms = 0;              // new - old
  double share = 0;                 // of the total's change, with its sign: above 0 the same way as the total
};

inline constexpr const char* kBetweenSteps = "(between steps)";

/// Where the difference between two profiles of a model comes from. The deltas of each list add up to the totals' difference.
struct Attribution {
  double old_ms = 0, new_ms = 0, delta_ms = 0;
  std::vector<Change> nodes, ops;   // largest change first, either way
};

/// By names of nodes and of ops; nodes of bodies count in the node around them. A node that was computed alone in one profile and
/// fused in the other is compared all the same, by its part of the kernel. What is folded in
/// either profile counts in both with the node that it is folded into.
Attribution attribute(const Profile& old_profile, const Profile& new_profile);

/// {"old_ms", "new_ms", "delta_ms", "nodes": [{"name", "op", "old_ms", "new_ms", "delta_ms", "share"}], "ops": [the same]}.
nlohmann::json to_json(const Attribution& attribution);

}  // namespace tenon::eval
