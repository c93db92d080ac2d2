#include "eval/tune.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>

#include <fmt/format.h>

#include "eval/profile/recorder.h"

namespace tenon::eval {
namespace {

using backends::Executable;
using backends::Placement;
using codegen::Choice;
using codegen::Tunable;
using codegen::Tuning;
using Clock = std::chrono::steady_clock;

constexpr double kBetter = 0.97;         // of the time before: what is kept
constexpr double kTrialMs = 400;         // of runs, both sides together
constexpr int kMinRuns = 5, kMaxRuns = 60;

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

double lower_quartile(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 4);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// A compiled model and a session with its observer.
struct Trial {
  std::shared_ptr<const Executable> executable;
  std::unique_ptr<Recorder> recorder = std::make_unique<Recorder>();
  std::unique_ptr<backends::Session> session;
  std::vector<double> whole_ms;
};

class Tuner {
 public:
  Tuner(const backends::Backend& backend, const backends::CompileOptions& compile, std::span<const HostValue> inputs, const TuneOptions& options)
      : backend_(backend), compile_(compile), inputs_(inputs), options_(options) {}

  Result<Tuned> run() {
    if (!compile_.reload) return Status(Code::kInvalidArgument, "the model cannot be made again", "tuning");
    TENON_ASSIGN_OR_RETURN(Trial first, make({}));
    TENON_RETURN_IF_ERROR(warm(first));
    if (signatures(first).empty()) return Status(Code::kNotFound, "no kernel of this model has anything to choose", "tuning");
    TENON_ASSIGN_OR_RETURN(Trial best, make({}));
    TENON_RETURN_IF_ERROR(warm(best));
    while (std::chrono::duration<double>(Clock::now() - start_).count() < options_.seconds) {
      TENON_RETURN_IF_ERROR(compile_.interrupt.check().at("tuning"));
      const Tuning next = next_trial(best);
      if (next == out_.tuning) {
        out_.complete = true;
        break;
      }
      ++out_.trials;
      if (options_.progress) options_.progress(fmt::format("trial {}: {} of {} choices changed", out_.trials, changed_.size(), signatures(best).size()));
      TENON_ASSIGN_OR_RETURN(Trial other, make(next));
      TENON_RETURN_IF_ERROR(alternate(best, other));
      if (!keep_better(best, other)) continue;
      TENON_ASSIGN_OR_RETURN(best, make(out_.tuning));
      TENON_RETURN_IF_ERROR(warm(best));
    }
    if (out_.tuning.empty()) return std::move(out_);
    TENON_RETURN_IF_ERROR(alternate(first, best));
    out_.before_ms = lower_quartile(first.whole_ms);
    out_.after_ms = lower_quartile(best.whole_ms);
    if (out_.after_ms >= out_.before_ms) out_.tuning.clear();
    return std::move(out_);
  }

 private:
  Result<Trial> make(const Tuning& tuning) {
    Trial out;
    backends::CompileOptions compile = compile_;
    compile.tuning = std::make_shared<Tuning>(tuning);
    TENON_ASSIGN_OR_RETURN(auto graph, compile_.reload());
    TENON_ASSIGN_OR_RETURN(out.executable, backend_.compile_owned(std::move(graph), compile));
    backends::SessionOptions session = options_.session;
    session.observer = out.recorder.get();
    TENON_ASSIGN_OR_RETURN(out.session, out.executable->create_session(session));
    return out;
  }

  Status once(Trial& trial, bool keep) {
    trial.recorder->begin_run();
    const auto start = Clock::now();
    TENON_RETURN_IF_ERROR(trial.session->run(inputs_, compile_.interrupt).status());
    if (keep) trial.whole_ms.push_back(ms_since(start));
    trial.recorder->end_run(keep);
    return {};
  }

  /// The first run, which allocates, and learns which rows of the report there are.
  Status warm(Trial& trial) { return once(trial, false); }

  Status alternate(Trial& a, Trial& b) {
    TENON_RETURN_IF_ERROR(warm(a));
    TENON_RETURN_IF_ERROR(warm(b));
    *a.recorder = Recorder();
    *b.recorder = Recorder();
    a.whole_ms.clear();
    b.whole_ms.clear();
    const auto start = Clock::now();
    for (int i = 0; i < kMaxRuns && (i < kMinRuns || ms_since(start) < kTrialMs); ++i) {
      TENON_RETURN_IF_ERROR(once(i % 2 == 0 ? a : b, true));
      TENON_RETURN_IF_ERROR(once(i % 2 == 0 ? b : a, true));
    }
    return {};
  }

  static const std::vector<Placement>& rows(const Trial& trial) {
    const std::vector<Placement>* last = trial.session->last_placement();
    return last != nullptr ? *last : trial.executable->placement();
  }

  static std::set<std::string> signatures(const Trial& trial) {
    std::set<std::string> out;
    for (const Placement& row : rows(trial))
      for (const Tunable& t : row.tunables) out.insert(t.signature);
    return out;
  }

  /// The best so far with one more choice of each computation that has one left. Of those in one row, whose times cannot be told apart, one.
  Tuning next_trial(const Trial& best) {
    Tuning next = out_.tuning;
    changed_.clear();
    std::set<std::string> seen;
    for (const Placement& row : rows(best)) {
      const bool taken = std::any_of(row.tunables.begin(), row.tunables.end(), [&](const Tunable& t) { return changed_.contains(t.signature); });
      for (const Tunable& t : row.tunables) {
        if (taken || !seen.insert(t.signature).second) break;
        const Choice* untried = nullptr;
        for (const Choice& c : t.others)
          if (untried == nullptr && !(c == t.taken) && !tried_[t.signature].contains(codegen::to_text({{"", c}}))) untried = &c;
        if (untried == nullptr) continue;
        tried_[t.signature].insert(codegen::to_text({{"", *untried}}));
        changed_[t.signature] = {t.taken, *untried};
        next[t.signature] = *untried;
        break;
      }
    }
    return next;
  }

  /// Lower quartile of what the rows with this computation took, a run. `by` says which rows these are.
  static double time_of(const Trial& trial, const std::vector<Placement>& by, const std::string& signature) {
    std::vector<double> runs;
    const auto& entries = trial.recorder->entries();
    for (const Recorder::Run& run : trial.recorder->runs()) {
      double ms = 0;
      for (size_t e = 0; e < run.samples.size(); ++e) {
        const int32_t row = entries[e].plan->steps[static_cast<size_t>(entries[e].step)].placement;
        if (row < 0 || static_cast<size_t>(row) >= by.size()) continue;
        const auto& tunables = by[static_cast<size_t>(row)].tunables;
        if (std::any_of(tunables.begin(), tunables.end(), [&](const Tunable& t) { return t.signature == signature; })) ms += run.samples[e].self_ms;
      }
      runs.push_back(ms);
    }
    return lower_quartile(std::move(runs));
  }

  bool keep_better(const Trial& best, const Trial& other) {
    const std::vector<Placement>& by = rows(best);
    if (rows(other).size() != by.size()) return false;
    bool any = false;
    for (const auto& [signature, change] : changed_) {
      const double before = time_of(best, by, signature), after = time_of(other, by, signature);
      if (!(after < before * kBetter)) continue;
      any = true;
      out_.tuning[signature] = change.second;
      out_.choices.push_back({signature, change.first, change.second, before, after});
    }
    return any;
  }

  const backends::Backend& backend_;
  const backends::CompileOptions& compile_;
  std::span<const HostValue> inputs_;
  const TuneOptions& options_;
  const Clock::time_point start_ = Clock::now();
  std::map<std::string, std::set<std::string>> tried_;
  std::map<std::string, std::pair<Choice, Choice>> changed_;
  Tuned out_;
};

}  // namespace

Result<Tuned> tune(const backends::Backend& backend, const backends::CompileOptions& compile, std::span<const HostValue> inputs,
                   const TuneOptions& options) {
  return Tuner(backend, compile, inputs, options).run();
}

}  // namespace tenon::eval
