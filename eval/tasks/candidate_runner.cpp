#include "eval/tasks/candidate_runner.h"

#include <algorithm>
#include <chrono>

#include "support/cpu_count.h"

namespace tenon::eval {
namespace {

using Clock = std::chrono::steady_clock;

/// Longer runs do not hang on what caches held before.
constexpr double kTimedTwiceMs = 100;

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

}  // namespace

CandidateRunner::CandidateRunner(const Candidate& candidate, const EvaluateOptions& options) : candidate_(candidate), options_(options) {
  result.name = candidate.name;
  result.threads = options.session.num_threads > 0 ? options.session.num_threads : default_placement().cores;
}

void CandidateRunner::compile(const ir::Graph& graph) {
  const auto start = Clock::now();
  std::optional<double> own_clock;
  std::optional<CompiledModel> model;
  result.status = [&]() -> Status {
    if (Status status = candidate_.backend->available(); !status.ok()) {
      result.available = false;
      return status;
    }
    if (candidate_.request) {
      TENON_ASSIGN_OR_RETURN(model, CompiledModel::open(*candidate_.request));
      TENON_RETURN_IF_ERROR(model->compile());
      executable_ = model->executable();
    } else {
      TENON_ASSIGN_OR_RETURN(executable_, candidate_.backend->compile(graph, candidate_.compile));
    }
    TENON_ASSIGN_OR_RETURN(session_, executable_->create_session(options_.session));
    TENON_ASSIGN_OR_RETURN(const auto process, session_->process());
    if (process) {
      external_ = true;
      result.runtime = process->runtime;
      own_clock = process->load_ms;
    }
    return {};
  }();
  if (const double took = own_clock.value_or(ms_since(start)); result.state.compile_ms == 0) result.state.compile_ms = took;
  if (result.status.ok() && model) model->keep();
}

Result<std::vector<HostValue>> CandidateRunner::run(std::span<const HostValue> inputs, int64_t examples, BatchFigures& figures) {
  const auto start = Clock::now();
  Result<std::vector<HostValue>> outputs = session_->run(inputs, options_.interrupt);
  double took = ms_since(start);
  if (!outputs.ok()) return outputs;
  // A run that others' caches, or the way to another process, may have slowed is timed once more, by the clock of where it runs.
  if (external_ || took < kTimedTwiceMs) {
    TENON_ASSIGN_OR_RETURN(const std::vector<double> times, session_->time(inputs, {.runs = 1}, options_.interrupt));
    if (!times.empty()) took = times.front();
  }
  figures.runs.push_back({took, examples, !ran_});
  figures.arena_bytes = std::max(figures.arena_bytes, session_->arena_bytes());
  ran_ = true;
  return outputs;
}

void CandidateRunner::close() {
  if (session_ == nullptr) return;
  const auto process = session_->process();
  if (process.ok() && process->has_value()) result.peak_rss_bytes = (*process)->peak_rss_bytes;
}

}  // namespace tenon::eval
