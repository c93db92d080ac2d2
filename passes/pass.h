#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "passes/fault.h"
#include "support/interrupt.h"
#include "support/status.h"

namespace tenon::passes {

/// One rewrite: what it was applied to.
struct Rewrite {
  int64_t number = 0;                 // in the run of the pipeline, from 1
  std::string pass;
  std::vector<std::string> nodes;     // "Conv 'conv1'"; several where a rewrite takes them together
  std::vector<std::string> values;    // what they compute
};
/// Which rewrites to describe, by number, and how many there were.
struct RewriteLog {
  std::map<int64_t, Rewrite> watched;  // what is never reached keeps number 0
  int64_t taken = 0;
};

/// What passes need to know of the target that they prepare a graph for; by default nothing is.
struct TargetFacts {
  /// Of its vectors, for layouts in which they are full; 0: it has none, or wants values row-major.
  int vector_bytes = 0;
  /// It multiplies bytes into sums of 32 bits faster than f32.
  bool byte_products = false;
};

struct PassContext {
  /// Rewrites that may still be applied (--max-rewrites); a pass asks before each. Negative: no limit.
  int64_t rewrites_left = -1;
  RewriteLog log;
  int64_t wrong_rewrite = 0;                   // Fault::rewrite
  Status wrong;                                // of making it wrong
  bool take_rewrite(const ir::Node& node) {
    const ir::Node* const one = &node;
    return take_rewrite(std::span(&one, 1));
  }
  /// Of several nodes at once, in graph order. `replaceable`: nothing is left to do but to put something in the place of what the last
  /// one gives, so a fault may be planted behind that.
  bool take_rewrite(std::span<const ir::Node* const> nodes, bool replaceable = true) {
    if (rewrites_left == 0) return false;
    if (rewrites_left > 0) --rewrites_left;
    if (++log.taken == wrong_rewrite || !log.watched.empty()) take_note(nodes, replaceable);
    return true;
  }
  int64_t max_fold_bytes = int64_t{64} << 20;  // fold-constants does not make larger constants
  bool for_export = false;                     // PipelineOptions::for_export
  TargetFacts target;                          // PipelineOptions::target
  bool codes_settled = false;                  // constants that are dequantised are of no use as codes any more: they may be folded
  DType factors = DType::kF32;                 // PipelineOptions::factors
  Interrupt interrupt;                         // asked before each node
  int64_t steps = 0;                           // nodes and edges that passes have looked at
  /// Says that a pass is about to look at a node (or walks `count` edges at once). The error of the interrupt.
  Status step(int64_t count = 1) {
    steps += count;
    return interrupt.check();
  }
  std::string_view pass;                       // the one that runs

 private:
  void take_note(std::span<const ir::Node* const> nodes, bool replaceable);
};

/// One row a pass: name (fold-constants), one line of help, the lowest -O level that runs it, and the function. run()
/// returns whether it changed the graph.
struct PassInfo {
  std::string_view name;
  std::string_view help;
  int level;
  Result<bool> (*run)(ir::Graph& graph, PassContext& context);
  bool lowering = false;  // makes a graph for backends: not run where PipelineOptions::for_export is set
};

/// All passes in the order in which a pipeline runs them. A pass may stand in it more than once.
std::span<const PassInfo> pipeline();
const PassInfo* find_pass(std::string_view name);

struct PipelineOptions {
  int level = 3;
  std::vector<std::string> disabled;
  std::vector<std::string> print_after;               // names, or "all"
  std::function<void(std::string_view text)> print;   // where print_after goes
  bool verify_each = false;
  int64_t max_rewrites = -1;
  RewriteLog* log = nullptr;  // rewrites to describe; written also when a pass fails
  Fault fault;                // made on purpose
  /// The result is to be written as a model for others to run: ops that users know (Softmax,
  /// LayerNormalization …) stay whole, and one standard op is preferred even where kernels would be as well off without it.
  bool for_export = false;
  TargetFacts target;
  /// What sums of products of f32 round their factors to: kF32 leaves them as they are, kF16 and kBF16 halve the bytes of weights. Sums stay f32.
  DType factors = DType::kF32;
  Interrupt interrupt;
};
struct PassTime {
  std::string_view name;
  double ms;
  bool changed;
  int64_t steps;  // see PassContext
};
/// Runs the pipeline on an imported graph. `times`, when given, gets a row for each pass run.
Status run_pipeline(ir::Graph& graph, const PipelineOptions& options, std::vector<PassTime>* times = nullptr);

}  // namespace tenon::passes
