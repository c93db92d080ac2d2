#include "eval/profile/attribute.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace tenon::eval {
namespace {

class Changes {
 public:
  void add(const std::string& name, const std::string& op, double ms, double Change::* side) {
    Change& change = rows_[name];
    change.name = name;
    change.op = op;
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

void add(const Profile& profile, double Change::* side, Changes& nodes, Changes& ops) {
  for (const NodeProfile& node : profile.nodes)
    if (node.parent.empty()) nodes.add(node.node, node.op, node.ms, side);
  for (const OpProfile& op : profile.ops) ops.add(op.op, op.op, op.ms, side);
  for (Changes* list : {&nodes, &ops}) list->add(kBetweenSteps, "", profile.total_ms - profile.steps_ms, side);
}

}  // namespace

Attribution attribute(const Profile& old_profile, const Profile& new_profile) {
  Changes nodes, ops;
  add(old_profile, &Change::old_ms, nodes, ops);
  add(new_profile, &Change::new_ms, nodes, ops);
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
