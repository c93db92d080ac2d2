#include "eval/profile/profile.h"

#include <algorithm>

#include "eval/profile/builder.h"
#include "eval/states.h"
#include "eval/statistics.h"

namespace tenon::eval {

Result<Profile> profile(const ir::Graph& model, const backends::Executable& executable, std::span<const HostValue> inputs,
                        const ProfileOptions& options) {
  Recorder recorder;
  backends::SessionOptions session_options{.num_threads = options.threads, .max_bytes = options.max_bytes};
  TENON_ASSIGN_OR_RETURN(const auto plain, executable.create_session(session_options));
  session_options.observer = &recorder;
  TENON_ASSIGN_OR_RETURN(const auto observed, executable.create_session(session_options));
  if (observed->last_placement() == nullptr)
    return Status(Code::kUnsupported, "it runs no plan whose steps could be seen", "profile", "profile the cpu or vulkan backend");
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> own, set_states(*plain, model, inputs));
  TENON_RETURN_IF_ERROR(set_states(*observed, model, inputs).status());
  const auto run_observed = [&](bool keep) -> Status {
    recorder.begin_run();
    const auto ran = observed->time(own, {.runs = 1}, options.interrupt);
    if (!ran.ok()) return ran.status();
    recorder.end_run(keep);
    return {};
  };
  for (int i = 0; i < std::max(options.warmup, 1); ++i) {
    TENON_RETURN_IF_ERROR(run_observed(false));
    TENON_RETURN_IF_ERROR(plain->time(own, {.runs = 1}, options.interrupt).status());
  }
  Profile out;
  out.threads = options.threads > 0 ? std::min(options.threads, default_pool().num_threads()) : default_pool().num_threads();
  std::optional<codegen::Target> machine;
  std::optional<Burst> burst;
  if (options.calibrate) {
    TENON_ASSIGN_OR_RETURN(machine, codegen::cpu_target(options.target.empty() ? "host" : options.target));
    TENON_ASSIGN_OR_RETURN(burst, Burst::make(*machine, default_pool(), out.threads));
  }
  const auto run_by = [&] { return std::string(observed->taken_over_by().empty() ? executable.code_of() : observed->taken_over_by()); };
  out.run_by = run_by();
  constexpr int kLeastRuns = 3;
  std::vector<double> unobserved, bursts;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.max_seconds);
  for (int i = 0; i < std::max(options.runs, 1); ++i) {
    if (i >= kLeastRuns && std::chrono::steady_clock::now() >= end) break;
    TENON_RETURN_IF_ERROR(run_observed(true));
    if (burst) bursts.push_back(burst->gflops());
    TENON_ASSIGN_OR_RETURN(const std::vector<double> ms, plain->time(own, {.runs = 1}, options.interrupt));
    unobserved.push_back(ms[0]);
  }

  if (run_by() != out.run_by)
    return Status(Code::kIo, fmt::format("{} failed between the runs that count, and {} took over", out.run_by, run_by()), "profile", "profile again");
  out.runs = static_cast<int>(unobserved.size());
  if (machine) {
    TENON_ASSIGN_OR_RETURN(out.peak, calibrate(*machine, default_pool(), out.threads));
    out.peak->run_at(median(bursts));
  }
  out.unobserved_ms = median(unobserved);
  std::vector<double> lengths;
  for (const Recorder::Run& run : recorder.runs()) lengths.push_back(run.ms);
  out.observed_overhead = out.unobserved_ms > 0 ? median(lengths) / out.unobserved_ms - 1 : 0;
  ProfileBuilder(model, recorder, *observed->last_placement(), out).run();
  out.memory.arena_bytes = observed->arena_bytes();
  return out;
}

}  // namespace tenon::eval
