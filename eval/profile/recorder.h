#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/observer.h"

namespace tenon::eval {

/// Adds up the steps of runs. Between begin_run() and end_run(), in the order of their ends.
class Recorder final : public runtime::Observer {
 public:
  /// One step of one plan.
  struct Entry {
    const runtime::Plan* plan = nullptr;
    int32_t step = 0;
    int depth = 0, threads = 1;
    int64_t work = -1;                // of a call, the last one
    int32_t parent = -1;              // the entry whose body it belongs to
    double read = 0, written = 0;     // bytes of the last run
    std::vector<std::optional<int64_t>> symbols;  // of the first call
  };
  struct Sample {
    double ms = 0, self_ms = 0;       // without the steps of its bodies
    int64_t calls = 0;
  };
  struct Run {
    double ms = 0;
    std::vector<Sample> samples;      // by entry; may be shorter
  };
  struct Event {
    size_t entry;
    double start_us, duration_us;
  };

  void begin_run();
  /// `keep`: the run counts.
  void end_run(bool keep);

  void on_step(const runtime::StepEvent& event) override;
  void on_arena(const runtime::Plan& plan, std::span<const runtime::ArenaRange> ranges) override;

  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<Run>& runs() const { return runs_; }
  const std::vector<Event>& events() const { return events_; }  // of the last run
  bool events_cut() const { return events_cut_; }
  /// Of plan().
  std::span<const runtime::ArenaRange> arena() const { return plan_ == arena_plan_ ? arena_ : std::span<const runtime::ArenaRange>(); }
  /// The model's plan of the last run; null when it had no step and nothing to place.
  const runtime::Plan* plan() const { return plan_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Key {
    const runtime::Plan* plan;
    int32_t step;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const { return std::hash<const void*>()(key.plan) * 31 + static_cast<size_t>(key.step); }
  };
  size_t entry_of(const runtime::StepEvent& event);

  std::vector<Entry> entries_;
  std::unordered_map<Key, size_t, KeyHash> index_;
  std::vector<std::vector<size_t>> orphans_;  // by depth: entries whose parent has not ended yet
  std::vector<double> inner_ms_;              // by depth: of the steps whose parent has not ended yet
  std::vector<Run> runs_;
  Run run_;
  Clock::time_point start_;
  std::vector<Event> events_;
  bool events_cut_ = false;
  std::vector<runtime::ArenaRange> arena_;
  const runtime::Plan* plan_ = nullptr;
  const runtime::Plan* arena_plan_ = nullptr;
};

}  // namespace tenon::eval
