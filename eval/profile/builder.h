#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "eval/profile/origins.h"
#include "eval/profile/profile.h"
#include "eval/profile/recorder.h"

/// From what a recorder saw to the lists of a profile.
namespace tenon::eval {

/// A node of the model, or one that passes made, in a node of the compiled graph.
struct NodePart {
  std::optional<size_t> origin;     // in Origins::nodes
  std::string node, op;             // as the compiled graph calls it
  double weight = 1;
};

/// Averages the steps of the recorded runs and gives each its operations, bytes and nodes (profile_steps.cpp), then makes the lists of those
/// (profile_lists.cpp).
class ProfileBuilder {
 public:
  ProfileBuilder(const ir::Graph& model, const Recorder& recorder, const std::vector<backends::Placement>& placement, Profile& out)
      : recorder_(recorder), placement_(placement), origins_(model), out_(out) {}

  void run() {
    select();
    average();
    share_operations();
    count_bytes();
    divide();
    add_steps();
    add_kernels();
    add_nodes();
    add_silent();
    add_memory();
    add_trace();
  }

 private:
  using Placement = backends::Placement;
  using Entry = Recorder::Entry;

  struct Measured {
    size_t entry;                   // in the recorder
    const Placement* row;           // null: none
    std::vector<NodePart> parts;
    double ms = 0, self_ms = 0, median_ms = 0, calls = 0;
    std::optional<double> flops;    // of a run
    NarrowFlops narrow;             // of these
    double bytes = 0;               // of a run
  };

  const Entry& entry(const Measured& m) const { return recorder_.entries()[m.entry]; }
  const runtime::Step& step(const Measured& m) const { return entry(m).plan->steps[static_cast<size_t>(entry(m).step)]; }
  const Measured* parent(const Measured& m) const {
    const int32_t p = entry(m).parent;
    return p == -1 ? nullptr : &measured_[measured_of_[static_cast<size_t>(p)]];
  }
  /// By a dispatch.
  std::vector<runtime::ValueIdx> written_by(const Measured& m) const {
    std::vector<runtime::ValueIdx> out;
    for (size_t b = 0; b < step(m).bindings.size(); ++b)
      if (runtime::writes((*entry(m).plan->kernels)[static_cast<size_t>(step(m).kernel)].access[b])) out.push_back(step(m).bindings[b]);
    return out;
  }
  std::string node_of(const NodePart& part) const { return part.origin ? origins_.nodes()[*part.origin].name : part.node; }
  std::string kernel_name(const Measured& m) const {
    const runtime::Step& s = step(m);
    if (s.kind == runtime::Step::Kind::kDispatch)
      return fmt::format("{}.{}", (*entry(m).plan->kernels)[static_cast<size_t>(s.kernel)].name, s.kernel);
    return m.row == nullptr ? s.node : m.row->implementation;
  }

  void select();
  void average();
  void share_operations();
  void count_bytes();
  void divide();
  void add_steps();
  void add_kernels();
  void add_nodes();
  void add_silent();
  void add_memory();
  void add_trace();
  void rate(KernelProfile& kernel, double least_ms, double compute_ms) const;

  const Recorder& recorder_;
  const std::vector<Placement>& placement_;
  const Origins origins_;
  Profile& out_;
  std::vector<Measured> measured_;
  std::vector<size_t> measured_of_;        // by entry
  std::map<size_t, bool> merged_;          // original nodes that several compiled ones stem from
  std::set<size_t> seen_;                  // original nodes with time
};

}  // namespace tenon::eval
