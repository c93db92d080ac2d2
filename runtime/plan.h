#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "support/dtype.h"
#include "support/executor.h"
#include "support/interrupt.h"
#include "support/status.h"
#include "support/tensor.h"

/// What a compiled graph is at run time: plain data, no compiler types. The executor walks `steps`; shapes are evaluated
/// by a small program over the symbols; buffers are placed in one arena from live ranges whenever the symbols change.
namespace tenon::runtime {

/// Machine code of a kernel: executes grid indices [begin, end), of one round or of whole rounds. Returns 0, or a kir::CheckCode.
using KernelFn = int32_t (*)(void* const* bindings, const int64_t* dims, int64_t begin, int64_t end);

using DimId = int32_t;   // an instruction of the DimProgram
using ValueIdx = int32_t;

/// Straight-line int64 program: the dims, element counts and kernel parameters of a plan. Overflow and division by zero
/// are errors (kOutOfRange), never wrong sizes.
struct DimProgram {
  enum class Op : uint8_t { kConst, kSymbol, kAdd, kMul, kFloorDiv, kMod, kMin, kMax };
  struct Inst {
    Op op;
    int64_t imm = 0;   // kConst: value; kSymbol: symbol number
    DimId a = -1, b = -1;
  };
  std::vector<Inst> insts;
  int num_symbols = 0;              // numbering is shared by a plan and its sub-plans
  std::vector<std::string> symbol_names;
};

enum class Storage : uint8_t {
  kInput,      // bound by the caller
  kConstant,   // `constant`
  kArena,      // placed in the arena by live range, or in a returned output
  kAlias,      // the same bytes as `alias_of`, under another shape or a dtype of the same width
  kHost,       // made at run time by a host step: dynamic tensors, sequences, optionals, strings
};

struct PlanValue {
  std::string name;
  DType dtype = DType::kInvalid;    // kInvalid for sequences, maps, optionals
  bool ranked = false;
  std::vector<DimId> dims;          // when ranked
  /// Axes from the outermost in memory to the innermost; empty: row-major. A tensor of such a value has the shape above and its
  /// bytes in this order: only kernels and observers meet one, never inputs, outputs or operands of control flow.
  std::vector<int32_t> order;
  Storage storage = Storage::kArena;
  ValueIdx alias_of = -1;
  HostValue constant;
};

/// What a kernel does with a binding.
enum class Access : uint8_t { kNone = 0, kRead = 1, kWrite = 2, kReadWrite = 3 };
constexpr bool reads(Access access) { return (static_cast<int>(access) & 1) != 0; }
constexpr bool writes(Access access) { return (static_cast<int>(access) & 2) != 0; }

/// A kernel, compiled once and used by any number of dispatches.
struct PlanKernel {
  std::string name;
  KernelFn fn = nullptr;            // null on devices that bind code otherwise
  int32_t num_bindings = 0, num_dims = 0;
  std::vector<Access> access;       // by binding
  bool moves = false;               // computes nothing from what it loads: it copies and pads
  int64_t round = 0;                // not 0: the grid is a sequence of rounds of so many indices, one after the other
};

struct HostCallContext {
  std::span<const HostValue> inputs;   // monostate: absent
  /// Outputs whose storage is kArena hold a tensor of the right shape to write into (its bytes are not defined before);
  /// the others are monostate and the function makes them.
  std::span<HostValue> outputs;
  std::span<const std::optional<int64_t>> symbols;
  Executor* executor = nullptr;        // for functions that run on several threads; results must not depend on how many
  int max_threads = 1;
  Interrupt interrupt = {};
  size_t max_bytes = 0;                // what the function may hold at once, outputs included; 0: the default memory limit
};
/// A node that runs as a call on the host. Thread-safe: one object serves all sessions.
class HostFunction {
 public:
  virtual ~HostFunction() = default;
  virtual Status call(HostCallContext& context) const = 0;
};

struct Plan;

struct Step {
  enum class Kind : uint8_t { kDispatch, kHostCall, kIf, kLoop, kScan };
  Kind kind = Kind::kDispatch;
  std::string node;                 // original node names, for errors and profiles
  int32_t placement = -1;           // the row of the compiler's report that says how the node runs; -1: none

  // kDispatch
  int32_t kernel = -1;
  std::vector<ValueIdx> bindings;
  std::vector<DimId> kernel_dims;
  DimId grid = -1;                  // extent
  DimId work = -1;                  // estimated scalar operations in all, decides the number of threads; -1: unknown
  DimId updates = -1;               // elements of what it writes that it changes, leaving the others as they are; -1: it writes all

  // kHostCall
  std::shared_ptr<const HostFunction> host;

  // kHostCall, kIf, kLoop, kScan. Inputs may be -1 (absent). After the step, dims of outputs that are bare symbols
  // without a value are bound from the actual shapes; others are checked against them.
  std::vector<ValueIdx> inputs, outputs;

  // kIf: inputs = {condition}; plans = {then, else}. kLoop (ONNX Loop): inputs = {trip count, condition, carried…},
  // plans = {body}. kScan (ONNX Scan, normalised): inputs = {states…, scanned…}, plans = {body}, attributes below.
  // A sub-plan's inputs are its formal inputs followed by the captured outer values listed in `captures`.
  std::vector<std::shared_ptr<const Plan>> plans;
  std::vector<std::vector<ValueIdx>> captures;  // per sub-plan: values of this plan
  int32_t num_scan_inputs = 0;
  std::vector<int64_t> scan_input_axes, scan_output_axes, scan_input_directions, scan_output_directions;
};

struct PlanIo {
  std::string name;
  ValueIdx value = -1;
};

/// A fact that compilation took for granted and that only run time can know: two dims that must broadcast to one.
/// Checked when the dims become known, before any step that follows; a failure is kInvalidArgument and names the node.
struct DimCheck {
  enum class Kind : uint8_t { kEqual, kLessEqual, kBroadcast } kind = Kind::kEqual;  // kBroadcast: b is a, or 1
  DimId a = -1, b = -1;
  std::string node;
};

struct Plan {
  std::vector<PlanValue> values;
  DimProgram dims;                  // of this plan (sub-plans have their own, over the same symbols)
  std::vector<DimCheck> checks;
  std::vector<Step> steps;
  std::vector<PlanIo> inputs, outputs;
  std::shared_ptr<const std::vector<PlanKernel>> kernels;  // shared with sub-plans
};

}  // namespace tenon::runtime
