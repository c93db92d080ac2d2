#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/compare.h"
#include "eval/debug/variant.h"
#include "eval/quantised_steps.h"
#include "eval/rounded_products.h"

/// Where two ways to run a model part. Every value of the model that is still there in what a variant compiled is compared twice.
/// Its total difference is from the same value of the first variant. Its own error is from what the reference interpreter makes of
/// the variant's own values of the nearest compared values upstream: what comes in wrong goes out wrong in both, so own errors are
/// those of the nodes between, however far off everything after them is.
namespace tenon::eval {

struct CompareOptions {
  Tolerance tolerance;                // of own errors and of total differences
  bool widen = true;                  // it, for what a variant's precision rounds and quantisers do (eval/rounded_products.h, quantised_steps.h)
  int round_off_samples = 8;          // of what is beyond it: see eval/round_off.h; 0: none
  TapOptions taps;
  std::function<void(std::string_view doing)> progress;
};

struct ValueDifference {
  size_t variant = 0;
  std::string value, op, node;        // the node that computes the value
  Difference own, total;
  bool has_total = false;             // false where the first variant does not have the value, or is this one
  bool ok = true;                     // the own error is within tolerance, quantisers' steps or round-off
  bool by_steps = false;              // only since quantisers between the compared values and this one may take another step
  std::string note;                   // why it is ok all the same, or what differs
  std::vector<std::string> covers;    // nodes between this value and the compared ones upstream; of those beyond tolerance and the worst
};

struct OutputDifference {
  size_t variant = 0;
  std::string name;
  Difference total;                   // from the first variant
  bool ok = true;                     // within tolerance, quantisers' steps or round-off
  std::string note;
};

struct Comparison {
  std::vector<ValueDifference> values;    // by variant, each in the order of the graph
  std::vector<OutputDifference> outputs;
  std::vector<size_t> uncompared;         // by variant: values of the model that it does not have
  std::optional<size_t> first, worst;     // in `values`: the first whose own error is too large, and that with the largest of what is allowed
  std::vector<Rounding> roundings;        // by variant: what its outputs are allowed for its precision
  QuantisedSteps steps;                   // what outputs are allowed where quantisers are before them; of that with most
  bool random = false;                    // the model draws random numbers: totals say nothing and are left out
  bool ok = true;
};

/// What every variant computed, the reference's aside: run_tapped for each.
using TappedVariants = std::vector<Tapped>;

/// Runs the variants, two at least, on the same inputs and compares. Values wait on disk (TapOptions::max_spill_bytes, shared), so
/// memory holds what one run holds. `tapped`, when given, receives them.
Result<Comparison> compare_values(const ir::Graph& graph, std::span<const Variant> variants, const std::vector<HostValue>& inputs,
                                  const CompareOptions& options, TappedVariants* tapped = nullptr);

}  // namespace tenon::eval
