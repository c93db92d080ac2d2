#include "passes/min_cut.h"

#include <algorithm>

namespace tenon::passes {

int MinCut::add_node() {
  from_.emplace_back();
  return static_cast<int>(from_.size()) - 1;
}

void MinCut::add_arc(int from, int to, int64_t capacity) {
  if (from == to || capacity <= 0) return;
  from_[static_cast<size_t>(from)].push_back(static_cast<int>(arcs_.size()));
  arcs_.push_back({to, std::min(capacity, kNever)});
  from_[static_cast<size_t>(to)].push_back(static_cast<int>(arcs_.size()));
  arcs_.push_back({from, 0});
}

/// Distances from the source along arcs with capacity left.
bool MinCut::find_levels(int64_t& steps) {
  level_.assign(from_.size(), -1);
  level_[kSource] = 0;
  std::vector<int> queue{kSource};
  for (size_t head = 0; head < queue.size(); ++head) {
    const int node = queue[head];
    for (int a : from_[static_cast<size_t>(node)]) {
      ++steps;
      const Arc& arc = arcs_[static_cast<size_t>(a)];
      if (arc.left == 0 || level_[static_cast<size_t>(arc.to)] >= 0) continue;
      level_[static_cast<size_t>(arc.to)] = level_[static_cast<size_t>(node)] + 1;
      queue.push_back(arc.to);
    }
  }
  return level_[kSink] >= 0;
}

/// Flow along one path on which levels grow; 0: there is none left.
int64_t MinCut::push(int64_t& steps) {
  std::vector<int> path;  // arcs
  int node = kSource;
  while (node != kSink) {
    int& next = next_[static_cast<size_t>(node)];
    const std::vector<int>& arcs = from_[static_cast<size_t>(node)];
    while (next < static_cast<int>(arcs.size())) {
      ++steps;
      const Arc& arc = arcs_[static_cast<size_t>(arcs[static_cast<size_t>(next)])];
      if (arc.left > 0 && level_[static_cast<size_t>(arc.to)] == level_[static_cast<size_t>(node)] + 1) break;
      ++next;
    }
    if (next < static_cast<int>(arcs.size())) {
      path.push_back(arcs[static_cast<size_t>(next)]);
      node = arcs_[static_cast<size_t>(path.back())].to;
      continue;
    }
    if (path.empty()) return 0;
    node = arcs_[static_cast<size_t>(path.back() ^ 1)].to;
    path.pop_back();
    ++next_[static_cast<size_t>(node)];
  }
  int64_t flow = kNever;
  for (int a : path) flow = std::min(flow, arcs_[static_cast<size_t>(a)].left);
  for (int a : path) {
    arcs_[static_cast<size_t>(a)].left -= flow;
    arcs_[static_cast<size_t>(a ^ 1)].left += flow;
  }
  return flow;
}

std::optional<std::vector<char>> MinCut::solve(int64_t max_steps, int64_t& steps) {
  while (find_levels(steps)) {
    next_.assign(from_.size(), 0);
    while (push(steps) > 0)
      if (steps > max_steps) return std::nullopt;
    if (steps > max_steps) return std::nullopt;
  }
  std::vector<char> source_side;
  for (int level : level_) source_side.push_back(level >= 0 ? 1 : 0);
  return source_side;
}

}  // namespace tenon::passes
