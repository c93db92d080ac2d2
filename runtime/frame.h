#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/arena.h"
#include "runtime/device.h"
#include "runtime/dispatch_cost.h"
#include "runtime/output_pool.h"
#include "runtime/prepare.h"
#include "support/executor.h"
#include "support/interrupt.h"

namespace tenon::runtime {

class Observer;

/// What all frames of a session share.
struct RunContext {
  Executor* executor = nullptr;
  std::shared_ptr<Device> device;       // null: dispatches run on the executor
  std::shared_ptr<OutputPool> outputs;
  Observer* observer = nullptr;         // null: nobody looks
  int max_threads = 1;
  size_t max_bytes = 0;
  int64_t max_loop_trips = 0;

  size_t arena_bytes = 0;               // taken by all frames so far
  size_t held_bytes = 0;                // by everything else that steps made and somebody still needs
  Interrupt interrupt;
  bool unit_dim = false;                // the run failed at a check of two dims, one of them 1
  bool began = false;                   // the run came to its first step

  size_t free_bytes() const { return max_bytes - std::min(max_bytes, arena_bytes + held_bytes); }
  /// Lets `account`, a part of held_bytes, be `bytes`. kResourceExhausted, and 0, where that is beyond the limit.
  Status hold(size_t& account, size_t bytes);
};

/// A value given to a plan. The bytes of a lent one change once the step that lends them is over: who keeps it copies it.
struct Operand {
  const HostValue* value = nullptr;
  bool lent = false;
};

using Symbols = std::vector<std::optional<int64_t>>;

/// Executes one plan over and over: owns its arena, its values and the frames of its bodies.
class Frame {
 public:
  /// `repeated`: the body of a loop, whose runs follow each other closely. `depth`: of nested bodies, 0 for the model.
  Frame(std::shared_ptr<const PreparedPlan> plan, RunContext& context, bool repeated = false, int depth = 0);
  ~Frame();
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  /// `symbols`: the dims that the enclosing plan knows. A tensor in `outputs` that nobody shares is written again when
  /// dtype and shape are right; all others are replaced.
  Status run(std::span<const Operand> inputs, const Symbols& symbols, std::span<HostValue> outputs);

  const PreparedPlan& plan() const { return *plan_; }

 private:
  struct StepState;
  struct PhaseState {
    uint64_t evaluation = 0;                  // the last one of this phase; 0: none that holds
    uint64_t before = 0;                      // the evaluation of the phase before that it built on
    std::vector<std::optional<int64_t>> key;  // of the phase's symbols
    std::shared_ptr<Buffer> arena;
    std::vector<size_t> placed;               // sizes that the arena's layout has room for
  };

  /// A dispatch with everything that it needs.
  struct Call {
    KernelFn fn = nullptr;
    void* const* pointers = nullptr;
    const int64_t* dims = nullptr;
    int64_t grid = 0;
    int64_t part = 0;                         // indices between two looks at the interrupt
    int threads = 1;
    bool rounds = false;                      // the parts are rounds, one after the other
    bool look = false;                        // at the interrupt before it
  };
  /// The dispatches of a DispatchRun, for the dims and the memory of one evaluation.
  struct Calls {
    uint64_t evaluation = 0;                  // 0: none that holds
    std::vector<Call> calls;
    std::vector<void*> pointers;              // of all calls
    std::vector<int64_t> dims;
    std::vector<std::pair<uint32_t, ValueIdx>> moving;  // pointers to values whose memory is another one in each run
  };

  /// Dispatches on a device, recorded for the dims and the memory of one evaluation.
  struct DeviceRun {
    uint64_t evaluation = 0;                  // 0: none that holds
    std::unique_ptr<DeviceProgram> program;
    std::vector<ValueIdx> bound, written;     // roots
    std::vector<ValueIdx> moving;             // of `bound`: the values that the program calls moving
  };
  /// Which side has the bytes of a value in a staged device's memory.
  enum class Home : uint8_t { kBoth, kHost, kDevice };

  const PlanValue& value(ValueIdx v) const { return plan_->plan->values[static_cast<size_t>(v)]; }
  ValueIdx root(ValueIdx v) const { return plan_->root[static_cast<size_t>(v)]; }
  HostValue& slot(ValueIdx v) { return slots_[static_cast<size_t>(v)]; }
  int64_t dim(DimId d) const { return dims_[static_cast<size_t>(d)]; }

  Status bind_inputs(std::span<const Operand> inputs);
  Status check_input_shapes();
  Status bind_shape(ValueIdx v, const HostValue& actual);
  Status check_shape(ValueIdx v, const HostValue& actual) const;
  Shape shape_of(ValueIdx v) const;
  bool shape_is(const Tensor& tensor, ValueIdx v) const;

  Status begin_phase(size_t index, std::span<HostValue> outputs);
  Status evaluate_phase(size_t index);
  Status check_sizes(const PreparedPlan::Phase& phase);
  Status place_arena(size_t index);
  bool fits_layout(size_t index) const;
  Result<ArenaLayout> lay_out(size_t index, bool with_room, std::vector<size_t>& placed) const;
  int choose_threads() const;
  Status allocate_output(int32_t output, std::span<HostValue> outputs);
  Status check_facts(const PreparedPlan::Phase& phase) const;

  Status run_steps();
  Status run_step(size_t index);
  Status execute(size_t index);
  /// Executes a step, and tells the observer.
  Status observe(size_t index);
  /// Whether a run of dispatches may be observed as one: the device measures each, and nobody wants to see a value in between.
  bool observes_together(const PreparedPlan::DispatchRun& range) const;
  Status observe_run(size_t run);
  void show_step(size_t index, std::chrono::steady_clock::time_point start, std::chrono::steady_clock::time_point end);
  Status observe_values(size_t index);
  Status show_value(ValueIdx v, const HostValue& made);
  void observe_arena(size_t phase);
  size_t tensor_bytes(std::span<const ValueIdx> values) const;
  DispatchCost cost_of(const Step& step) const;
  /// Of a value that the step updates.
  size_t updated_bytes(const Step& step, ValueIdx v) const;
  /// The calls of a run of dispatches, made anew where dims or memory have changed since.
  Result<Calls*> calls(size_t run);
  Result<Call> make_call(size_t step, Calls& calls);
  Status run_dispatches(size_t run);
  Status call(const Call& call, const Step& step);
  Status dispatch(size_t index);
  /// Queues the dispatches from one step to another, both included.
  Status run_on_device(size_t first, size_t last, DeviceRun& run);
  Status record(size_t first, size_t last, DeviceRun& run);
  /// Waits for the device, if there is one, so that the host sees what it wrote and what was asked for by to_host().
  Status finish_device(std::string_view where);
  bool staged() const { return context_.device != nullptr && context_.device->staged(); }
  bool moves(ValueIdx r) const;
  /// Asks for the value's bytes where the device alone has them; they are there after finish_device().
  Status to_host(ValueIdx v);
  Status to_host(std::span<const ValueIdx> values);
  /// The same of a tensor that a body has made. Waits.
  Status bring(const HostValue& value);
  /// Gives the device the bytes where the host alone has them.
  Status to_device(ValueIdx v);
  void set_home(ValueIdx v, Home home);
  /// Callers may keep outputs for long: not the device's memory behind them.
  void detach_outputs();
  Status fetch_for(const Step& step);
  Result<std::shared_ptr<Buffer>> allocate_for_output(size_t bytes);
  Status call_host(size_t index);
  Status run_if(size_t index);
  Status run_loop(size_t index);
  Status run_scan(size_t index);
  /// Runs a body once: `carried` operands from `first_in` on are replaced by the outputs from `first_out` on, and the
  /// outputs after them are stacked.
  Status iterate(size_t index, size_t first_in, size_t first_out, size_t carried);
  /// Gives the body carried values that it writes to in memory that nothing else shares: that of the last iteration, else a copy.
  Status own_updated(size_t index, size_t first_in, size_t first_out, size_t carried);
  /// Accounts for what results[turn] of a step holds.
  Status hold_results(size_t index, size_t turn);
  Status finish_iterations(size_t index, size_t first_in, size_t carried);
  Result<Tensor> stacked(size_t index, size_t which, size_t output);
  Status fill_slices(size_t index, size_t first, int64_t step, int64_t length);

  /// The value as a tensor (or sequence …) over its memory; cached.
  Result<const HostValue*> host_value(ValueIdx v);
  /// Whether the value's bytes may change after its last use here.
  bool lent(ValueIdx v) const;
  Status add_operands(std::span<const ValueIdx> values, std::vector<Operand>& operands);
  /// Takes what a step made: checks dtype and rank, copies what is lent, binds the dims that it defines. `home`: of its bytes where
  /// they lie in a staged device's memory.
  Status set_output(ValueIdx v, HostValue made, std::span<const Operand> inputs, Home home = Home::kDevice);
  Status store_output(ValueIdx v, const HostValue& made);
  Status collect_outputs(std::span<HostValue> outputs);
  void release_after(size_t step);
  void release();
  void forget(ValueIdx v);
  StepState& state(size_t index);
  Frame& body(size_t index, size_t which);

  std::shared_ptr<const PreparedPlan> plan_;
  RunContext& context_;
  const bool repeated_;
  const int depth_;
  int threads_ = 1;                     // that the dispatches of a run may use
  int step_threads_ = 1;                // that the last dispatch used
  Symbols symbols_;
  std::vector<int64_t> dims_;           // values of the dim program
  std::vector<size_t> bytes_;           // by value, once its dims are known
  std::vector<HostValue> slots_;        // by value: what it holds, or a cached view of it
  std::vector<std::byte*> data_;        // by root value
  std::vector<bool> lent_inputs_;       // by value
  std::vector<size_t> held_;            // by value: its account in the context
  std::vector<PhaseState> phases_;
  uint64_t evaluations_ = 0;
  std::vector<std::unique_ptr<StepState>> states_;
  std::vector<Calls> calls_;            // by DispatchRun
  std::vector<DeviceRun> device_runs_;  // by DispatchRun
  std::vector<DeviceRun> device_steps_;  // by step, where each runs alone for an observer
  std::vector<Home> homes_;             // by root value; of a staged device
  std::vector<const std::byte*> pointers_;  // scratch of run_on_device
  std::span<HostValue> outputs_;        // of the run in progress
};

}  // namespace tenon::runtime
