#pragma once

#include <memory>
#include <vector>

#include "runtime/plan.h"

namespace tenon::runtime {

/// A plan that was checked once (every index is in range, dims are known before they are needed) and analysed for all
/// sessions.
///
/// Dims become known in phases: from the inputs, then after each step that binds symbols. The arena values of a phase
/// are placed together when it begins.
struct PreparedPlan {
  struct Phase {
    int32_t after_step = -1;          // -1: before the first step
    std::vector<DimId> insts;         // become known, in order of evaluation
    std::vector<int32_t> symbols;     // that `insts` read, those of earlier phases aside
    std::vector<ValueIdx> shapes;     // ranked values whose dims are known from here on
    std::vector<ValueIdx> aliases;    // ranked aliases whose size can be compared with their root's from here on
    std::vector<ValueIdx> arena;      // values placed in this phase's part of the arena
    std::vector<ValueIdx> views;      // arena values and aliases whose memory or shape this phase decides: may hold a cached view
    std::vector<int32_t> outputs;     // plan outputs whose memory is allocated now
    std::vector<int32_t> checks;      // of plan->checks
  };

  /// Dispatches that follow each other with nothing to do between them.
  struct DispatchRun {
    int32_t first = 0, last = 0;      // steps, both included
    int32_t phase = 0;                // the last one that has begun before them
  };

  std::shared_ptr<const Plan> plan;
  std::vector<DispatchRun> dispatch_runs;
  std::vector<int32_t> dispatch_run_of;            // by step: of dispatch_runs, or -1
  std::vector<ValueIdx> root;                      // by value: end of its chain of aliases
  std::vector<ValueIdx> transient;                 // inputs, outputs, host values and their aliases: emptied after a run
  std::vector<int32_t> phase_of;                   // by value: the phase in which its dims become known
  std::vector<int32_t> output_of;                  // by root value: the plan output that owns its memory, or -1
  std::vector<bool> updated;                       // by root value: steps write to it in place, so whoever keeps it takes a copy; inputs among them are given up by their caller
  std::vector<int32_t> first_use, last_use;        // by root value: live range over all its aliases
  std::vector<Phase> phases;                       // the first one is before the first step
  std::vector<bool> work_known;                    // by step: `work` is known before the first step
  std::vector<int32_t> phase_after;                // by step: the phase that begins after it, or -1
  std::vector<std::vector<ValueIdx>> final_after;    // by step: values, aliases too, that steps write and that change no more
  std::vector<std::vector<ValueIdx>> release_after;  // by step: host values that nobody needs any more
  std::vector<std::vector<std::shared_ptr<const PreparedPlan>>> sub_plans;  // by step
  size_t max_dims = 0;              // of a dispatch
};

/// kInvalidArgument when the plan breaks a rule (a damaged artifact); the message names the step or value.
Result<std::shared_ptr<const PreparedPlan>> prepare(std::shared_ptr<const Plan> plan);

}  // namespace tenon::runtime
