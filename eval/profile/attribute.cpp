#include "eval/profile/attribute.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace tenon::eval {
namespace {

class Changes {
 public:
  /// `node`: what it is about, another than `name` in a group.
  void add(const std::string& name, const std::string& node, const std::string& op, double ms, double Change::* side) {
    Change& change = rows_[name];
    change.name = name;
    if (change.op.empty() || name == node) change.op = op;
    change.*side += ms;
  }

  std::vector<Change> sorted(double total) const {
    std::vector<Change> out;
    for (const auto& [name, row] : rows_) {
      Change change = row;
      change.delta_ms = change.new_ms - change.old_ms;
      change.share = total != 0 ? change.delta_ms / total : 0;
      out.push_back(std::move(change));
    }
    std::stable_sort(out.begin(), out.end(), [](const Change& a, const Change& b) { return std::abs(a.delta_ms) > std::abs(b.delta_ms); });
    return out;
  }

 private:
  std::map<std::string, Change> rows_;
};

/// Nodes that are folded in one profile or the other stand for one another: each group goes by the name of one of them.
class Groups {
 public:
  void join(const Profile& profile) {
    for (const SilentNode& node : profile.silent)
      if (node.why == "folded" && !node.into.empty()) {
        const std::string from = root(node.node), to = root(node.into);
        if (from != to) parent_[from] = to;
      }
  }
  std::string root(std::string name) {
    for (auto at = parent_.find(name); at != parent_.end(); at = parent_.find(name)) {
      // Shorter for who comes next.
      if (const auto above = parent_.find(at->second); above != parent_.end()) at->second = above->second;
      name = at->second;
    }
    return name;
  }

 private:
  std::map<std::string, std::string> parent_;  // a forest: roots alone are joined
};

void add(const Profile& profile, Groups& groups, double Change::* side, Changes& nodes, Changes& ops) {
  for (const NodeProfile& node : profile.nodes)
    if (node.parent.empty()) nodes.add(groups.root(node.node), node.node, node.op, node.ms, side);
  for (const OpProfile& op : profile.ops) ops.add(op.op, op.op, op.op, op.ms, side);
  for (Changes* list : {&nodes, &ops}) list->add(kBetweenSteps, kBetweenSteps, "", profile.total_ms - profile.steps_ms, side);
}

}  // namespace

Attribution attribute(const Profile& old_profile, const Profile& new_profile) {
  Changes nodes, ops;
  Groups groups;
  for (const Profile* one : {&old_profile, &new_profile}) groups.join(*one);
  add(old_profile, groups, &Change::old_ms, nodes, ops);
  add(new_profile, groups, &Change::new_ms, nodes, ops);
  Attribution out{old_profile.total_ms, new_profile.total_ms, new_profile.total_ms - old_profile.total_ms};
  out.nodes = nodes.sorted(out.delta_ms);
  out.ops = ops.sorted(out.delta_ms);
  return out;
}

nlohmann::json to_json(const Attribution& a) {
  const auto list = [](const std::vector<Change>& changes) {
    nlohmann::json rows = nlohmann::json::array();
    for (const Change& c : changes)
      rows.push_back({{"name", c.name}, {"op", c.op}, {"old_ms", c.old_ms}, {"new_ms", c.new_ms}, {"delta_ms", c.delta_ms}, {"share", c.share}});
    return rows;
  };
  return {{"old_ms", a.old_ms}, {"new_ms", a.new_ms}, {"delta_ms", a.delta_ms}, {"nodes", list(a.nodes)}, {"ops", list(a.ops)}};
}

}  // namespace tenon::eval
