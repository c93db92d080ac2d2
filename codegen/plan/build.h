#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/plan/placement.h"
#include "codegen/target.h"
#include "ir/graph.h"
#include "runtime/device.h"
#include "runtime/plan.h"

namespace tenon::codegen {

/// The call that evaluates a node as the reference interpreter does. The node must outlive it.
std::shared_ptr<const runtime::HostFunction> interpreted_call(const ir::Node& node, std::span<const ir::Value* const> captures);

/// An implementation of a node outside generated code.
struct LibraryCall {
  std::shared_ptr<const runtime::HostFunction> function;  // writes into the outputs that it is given
  std::string implementation;                             // "OpenBLAS sgemm"
};

struct PlanOptions {
  Target target;
  /// Makes the call for a node that runs on the host. Its inputs are the node's, then `captures`: the outer values that the
  /// node's regions use. Empty: interpreted_call.
  std::function<Result<std::shared_ptr<const runtime::HostFunction>>(const ir::Node& node,
                                                                     std::span<const ir::Value* const> captures)>
      host;
  /// The library's implementation of a node; kUnsupported with the reason when it has none. May be empty.
  std::function<Result<LibraryCall>(const ir::Node& node)> library;
  bool prefer_library = false;      // before generated code, not only when that refuses
  /// Why a kernel must not be used (its compilation failed), by structural hash. May be empty.
  std::function<std::optional<std::string>(const kir::Kernel& kernel)> refuse;
  /// Inputs of the graph whose memory the plan may write to, by name: their callers do not need what they gave. CPUs only.
  std::vector<std::string> updated_inputs;
  bool merge_kernels = false;       // those of setup steps that differ in sizes alone become one, which gets the sizes as dims
  Interrupt interrupt;              // asked before each node
};

/// A kernel that runs once, when the executable is made: it writes constants of a plan (packed weights) from other constants.
struct SetupStep {
  std::shared_ptr<runtime::Plan> plan;
  int32_t kernel = -1;
  std::vector<std::variant<Tensor, runtime::ValueIdx>> bindings;  // what is read, what is made or was made before
  std::vector<int64_t> dims;
  int64_t grid = 0, work = -1;
  std::string node;
};

struct BuiltPlan {
  std::shared_ptr<const runtime::Plan> plan;
  std::vector<kir::Kernel> kernels;  // distinct ones, in the order of `table`
  /// The plan's and its bodies' kernels; the backend fills in the functions.
  std::shared_ptr<std::vector<runtime::PlanKernel>> table;
  std::vector<SetupStep> setup;      // in order; until they have run, the constants that they make hold nothing
  std::vector<Placement> placement;  // nodes of bodies included, outer nodes first
  int dispatches = 0;
};

/// Plans a graph after passes: a dispatch for each kernel of a node that lowers, views for reshapes, host calls for the
/// rest. Equal kernels are kept once. Never fails because of one node: that one runs on the host, its placement says why.
Result<BuiltPlan> build_plan(const ir::Graph& graph, const PlanOptions& options);

/// Executes the setup steps of a plan whose kernels are compiled. What they read stays alive only where the plan needs it too.
Status run_setup(BuiltPlan& built, Executor& executor, const Interrupt& interrupt);
/// The same on a device, in whose memory the made constants lie.
Status run_setup(BuiltPlan& built, runtime::Device& device, const Interrupt& interrupt);

}  // namespace tenon::codegen
