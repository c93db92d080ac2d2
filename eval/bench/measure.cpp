#include "eval/bench/measure.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include <nlohmann/json.hpp>

#include "eval/bench/child.h"
#include "eval/bench/machine.h"
#include "eval/bench/outputs.h"
#include "eval/bench/worker.h"
#include "eval/compare.h"
#include "eval/model.h"
#include "eval/quantised_steps.h"
#include "eval/rounded_products.h"
#include "eval/tuning_file.h"

namespace tenon::eval {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// A child says itself that its time is over; one that cannot is ended this much later.
constexpr double kGraceSeconds = 1;

/// A file in memory that a child inherits.
class MemoryFile {
 public:
  explicit MemoryFile(bool wanted) : fd_(wanted ? ::memfd_create("tenon-outputs", MFD_CLOEXEC) : -1) {}
  ~MemoryFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

/// At most so many quantiles of the samples of a round, so that memory does not grow with their number.
std::vector<double> thinned(std::vector<double> samples) {
  constexpr size_t kMost = 1000;
  if (samples.size() <= kMost) return samples;
  std::sort(samples.begin(), samples.end());
  std::vector<double> out;
  for (size_t i = 0; i < kMost; ++i) out.push_back(samples[(2 * i + 1) * samples.size() / (2 * kMost)]);
  return out;
}

/// Figures of each launch; what is reported is the median.
struct Launched {
  struct Start {
    std::vector<double> load_ms, compile_ms, first_run_ms;
  };
  Start compiled, from_cache;       // two kinds, whose times have no median together
  std::vector<double> throughput;
};

class Group {
 public:
  Group(std::span<const Subject> subjects, const MeasureOptions& options, const std::function<void(const std::string&)>& progress)
      : subjects_(subjects), options_(options), progress_(progress), launched_(subjects.size()), children_(subjects.size()) {
    out_.subjects.resize(subjects.size());
  }

  GroupMeasurement run() {
    warn_of_tuning();
    out_.conditions.mhz_before = current_mhz();
    const int64_t throttles = thermal_throttles();
    const int launches = options_.duration_s > 0 ? options_.launches : std::min(options_.launches, options_.rounds);
    for (int launch = 0; launch < launches; ++launch) run_launch(launch, launches);
    out_.conditions.mhz_after = current_mhz();
    out_.conditions.throttles = std::max<int64_t>(0, thermal_throttles() - throttles);
    if (const double s = out_.conditions.seconds; s > 0) {
      out_.conditions.other_cores = std::max(0.0, out_.conditions.other_cores / s);
      out_.conditions.stolen_cores /= s;
      out_.conditions.idle_cores /= s;
    }
    for (size_t i = 0; i < subjects_.size(); ++i) conclude(out_.subjects[i], launched_[i]);
    return std::move(out_);
  }

 private:
  Measurement& subject(size_t i) { return out_.subjects[i]; }
  bool any_ok() const {
    return std::any_of(out_.subjects.begin(), out_.subjects.end(), [](const Measurement& m) { return m.status.ok(); });
  }

  /// What each child would say of a file that it cannot use is said once, before there are any.
  void warn_of_tuning() const {
    for (const Subject& subject : subjects_) {
      backends::CompileOptions compile = options_.compile;
      use_tuning(subject.model, *subject.backend, compile);
    }
  }

  bool stopped() const { return options_.stop != nullptr && options_.stop->load(); }

  void run_launch(int launch, int launches) {
    if (!any_ok() || stopped()) return;
    // One at a time: preparing is measured too.
    for (size_t k = 0; k < subjects_.size(); ++k) {
      const size_t i = launch % 2 == 0 || launch == 0 ? k : subjects_.size() - 1 - k;
      if (!subject(i).status.ok()) continue;
      progress_(fmt::format("{}: launch {}/{}", subjects_[i].backend->name(), launch + 1, launches));
      subject(i).status = start(i, launch == 0);
      if (subject(i).status.ok()) subject(i).samples.emplace_back();
    }
    const int first = launch * options_.rounds / launches, last = (launch + 1) * options_.rounds / launches;
    const auto begin = Clock::now();
    const CpuTimes cpu_before = cpu_times();
    const double own_before = tree_cpu_seconds(::getpid());
    for (int round = 0; more_rounds(round, first, last, begin, launches); ++round) {
      progress_(options_.duration_s > 0 ? fmt::format("launch {}/{}, round {}", launch + 1, launches, round + 1)
                                        : fmt::format("round {}/{}", first + round + 1, options_.rounds));
      for (size_t k = 0; k < subjects_.size(); ++k) {
        const size_t i = turn_ % 2 == 0 ? k : subjects_.size() - 1 - k;
        if (subject(i).status.ok()) subject(i).status = run_round(i);
      }
      ++turn_;
    }
    const CpuTimes cpu_after = cpu_times();
    out_.conditions.seconds += seconds_since(begin);
    out_.conditions.other_cores += cpu_after.busy - cpu_before.busy - (tree_cpu_seconds(::getpid()) - own_before);
    out_.conditions.stolen_cores += cpu_after.stolen - cpu_before.stolen;
    for (size_t i = 0; i < subjects_.size(); ++i) read_figures(i);
    for (size_t i = 0; i < subjects_.size(); ++i)
      if (subject(i).status.ok() && options_.streams > 0 && !stopped()) subject(i).status = run_throughput(i);
    for (Child& child : children_) child.finish();
  }

  bool more_rounds(int round, int first, int last, Clock::time_point begin, int launches) const {
    if (round == 0) return true;
    if (!any_ok() || stopped()) return false;
    return options_.duration_s > 0 ? seconds_since(begin) < options_.duration_s / launches : first + round < last;
  }

  Result<json> ask(size_t i, const char* command) {
    if (!children_[i].send(command)) {
      // The reason is in how it ended.
      const Result<std::string> gone = children_[i].receive(kGraceSeconds);
      return gone.ok() ? error(Code::kInternal, "the process that runs the model ended early") : gone.status();
    }
    Result<json> out = answer(i);
    if (out.ok()) TENON_RETURN_IF_ERROR(failure_of(*out));
    return out;
  }

  Result<json> answer(size_t i) {
    TENON_ASSIGN_OR_RETURN(const std::string line, children_[i].receive(options_.timeout_s + kGraceSeconds));
    json value = json::parse(line, nullptr, false);
    if (value.is_discarded()) return error(Code::kInternal, "cannot read the answer of the process that runs the model");
    return value;
  }

  Status start(size_t i, bool first_launch) {
    const MemoryFile outputs(first_launch);
    Result<Child> child = Child::start(children_, [&](Lines& lines) { serve_subject(subjects_[i], options_, outputs.fd(), lines); });
    if (!child.ok()) return child.status();
    children_[i] = std::move(*child);
    TENON_ASSIGN_OR_RETURN(const json report, answer(i));
    Measurement& m = subject(i);
    m.absent = report.value("absent", std::vector<std::string>());
    TENON_RETURN_IF_ERROR(failure_of(report));
    const bool from_cache = report.value("from_cache", false);
    m.from_cache += from_cache ? 1 : 0;
    Launched::Start& start = from_cache ? launched_[i].from_cache : launched_[i].compiled;
    start.load_ms.push_back(report.value("load_ms", 0.0));
    start.compile_ms.push_back(report.value("compile_ms", 0.0));
    start.first_run_ms.push_back(report.value("first_run_ms", 0.0));
    m.warmup_runs += report.value("warmup_runs", 0);
    m.settled = m.settled && report.value("settled", true);
    m.runtime = report.value("runtime", "");
    m.dims.clear();
    const json dims = report.value("dims", json::object());
    for (const auto& [name, size] : dims.items()) m.dims.emplace_back(name, size.get<int64_t>());
    m.shapes.clear();
    const json shapes = report.value("shapes", json::object());
    for (const auto& [name, shape] : shapes.items()) m.shapes.emplace_back(name, shape.get<std::vector<int64_t>>());
    if (outputs.fd() >= 0) compare_outputs(i, outputs.fd());
    return {};
  }

  void compare_outputs(size_t i, int fd) {
    Result<std::vector<HostValue>> own = load_outputs(fd);
    if (!own.ok()) return;
    if (i == 0) {
      expected_ = std::move(*own);
      return;
    }
    if (!expected_ || expected_->size() != own->size()) return;
    Measurement& m = subject(i);
    for (size_t k = 0; k < own->size(); ++k) {
      if (!std::holds_alternative<Tensor>((*own)[k]) || !std::holds_alternative<Tensor>((*expected_)[k])) continue;
      const Difference d = compare((*expected_)[k], (*own)[k], {});
      m.max_abs = std::max(m.max_abs.value_or(0), d.max_abs);
      m.outputs_agree = m.outputs_agree && (d.ok || compare((*expected_)[k], (*own)[k], tolerance(i, k)).ok);
    }
  }

  /// For what the subject, or the first one, rounds on the way to an output. Only outputs that differ make this process load the model.
  Tolerance tolerance(size_t i, size_t output) {
    const DType precision = options_.compile.precision;
    if (!allowed_) allowed_ = load_allowed(precision);
    const bool rounds = rounds_factors(*subjects_[0].backend, precision) || rounds_factors(*subjects_[i].backend, precision);
    const Tolerance exact = rounds ? allowed_->rounded : Tolerance();
    return output < allowed_->steps.size() ? with_steps(exact, allowed_->steps[output]) : exact;
  }

  struct Allowed {
    Tolerance rounded;                  // behind factors of that precision
    std::vector<QuantisedSteps> steps;  // by output
  };
  /// What cannot be loaded here is allowed nothing.
  Allowed load_allowed(DType precision) const {
    frontend::ImportOptions import = subjects_[0].import;
    std::vector<std::string> absent;
    if (subjects_[0].skip_absent) import.absent = &absent;
    Allowed out;
    const auto graph = load_model(subjects_[0].model, import);
    if (!graph.ok()) return out;
    if (const auto rounding = rounding_of_outputs(**graph, {}, precision, options_.compile.interrupt); rounding.ok()) out.rounded = rounding->tolerance;
    if (auto steps = steps_of_outputs(**graph, options_.compile.interrupt); steps.ok()) out.steps = std::move(*steps);
    return out;
  }

  double idle_seconds(size_t active) const {
    double sum = 0;
    for (size_t i = 0; i < children_.size(); ++i)
      if (i != active && children_[i].running()) sum += tree_cpu_seconds(children_[i].pid());
    return sum;
  }

  Status run_round(size_t i) {
    const double idle_before = idle_seconds(i);
    TENON_ASSIGN_OR_RETURN(const json samples, ask(i, "run"));
    out_.conditions.idle_cores += idle_seconds(i) - idle_before;
    subject(i).runs += static_cast<int64_t>(samples.size());
    subject(i).samples.back().push_back(thinned(samples.get<std::vector<double>>()));
    return {};
  }

  Status run_throughput(size_t i) {
    progress_(fmt::format("{}: throughput", subjects_[i].backend->name()));
    TENON_ASSIGN_OR_RETURN(const json rate, ask(i, "throughput"));
    launched_[i].throughput.push_back(rate.get<double>());
    return {};
  }

  /// Before the throughput, whose sessions would count.
  void read_figures(size_t i) {
    Measurement& m = subject(i);
    if (!m.status.ok() || !children_[i].running()) return;
    const Result<json> figures = ask(i, "figures");
    if (!figures.ok()) {
      m.status = figures.status();
      return;
    }
    m.arena_mb = figures->value("arena_mb", 0.0);
    if (const std::string other = figures->value("taken_over_by", ""); !other.empty()) m.taken_over_by = other;
    m.peak_rss_mb = std::max(m.peak_rss_mb, figures->value("peak_rss_mb", 0.0));
  }

  static void conclude(Measurement& m, const Launched& l) {
    const Launched::Start& start = l.compiled.load_ms.empty() ? l.from_cache : l.compiled;
    m.load_ms = median(start.load_ms);
    m.compile_ms = median(start.compile_ms);
    m.first_run_ms = median(start.first_run_ms);
    m.throughput = median(l.throughput);
  }

  std::span<const Subject> subjects_;
  const MeasureOptions& options_;
  const std::function<void(const std::string&)>& progress_;
  GroupMeasurement out_;
  std::vector<Launched> launched_;
  std::vector<Child> children_;
  int turn_ = 0;  // rounds so far, of all launches: who begins alternates
  std::optional<std::vector<HostValue>> expected_;  // of the first subject
  std::optional<Allowed> allowed_;
};

}  // namespace

GroupMeasurement measure(std::span<const Subject> subjects, const MeasureOptions& options,
                         const std::function<void(const std::string& what)>& progress) {
  return Group(subjects, options, progress).run();
}

}  // namespace tenon::eval
