#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace tenon::passes {

/// Divides nodes between a source and a sink so that the capacities of the arcs from the source's side to the sink's are as small as
/// they can be in all: Dinic, "Algorithm for solution of a problem of maximum flow" (1970).
class MinCut {
 public:
  static constexpr int64_t kNever = INT64_MAX / 4;  // of an arc that must not be cut
  static constexpr int kSource = 0, kSink = 1;

  int add_node();
  void add_arc(int from, int to, int64_t capacity);
  /// By node: whether it is on the source's side. nullopt where more than max_steps arcs would have to be looked at. `steps` counts them.
  std::optional<std::vector<char>> solve(int64_t max_steps, int64_t& steps);

 private:
  struct Arc {
    int to;
    int64_t left;
  };
  bool find_levels(int64_t& steps);
  int64_t push(int64_t& steps);

  std::vector<Arc> arcs_;                // each with its reverse behind it
  std::vector<std::vector<int>> from_ = std::vector<std::vector<int>>(2);
  std::vector<int> level_, next_;
};

}  // namespace tenon::passes
