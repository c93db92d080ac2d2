#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "support/status.h"
#include "support/tensor.h"

/// How far a model's outputs move when each of its operations rounds differently: Monte Carlo arithmetic (D. S. Parker,
/// "Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic", UCLA CSD-970002, 1997). Two correct
/// implementations differ by about that much, so where it is large the stored outputs are one sample of many.
namespace tenon::eval {

/// Moves the float results of a node by -1, 0 or +1 unit in the last place, each element by chance, when the node
/// rounds: when its body computes with an operation whose result is not exact. Copies, comparisons, Min, Max, Neg, Abs…
/// and opaque ops are left alone. The same seed gives the same change.
Status perturb(const ir::Node& node, std::span<HostValue> outputs, uint64_t seed);

/// How far two values of the same type and shape are apart: for floats |a - b| / |b| in the Euclidean norm, for others
/// the share of elements that differ. Infinite when type, shape or the places of NaN and infinities differ.
double relative_distance(const HostValue& a, const HostValue& b);

/// The least relative_distance over every order of the elements of `a`: of floats that in ascending order, of others the
/// share that has no equal in `b`.
double unordered_distance(const HostValue& a, const HostValue& b);

struct RoundOff {
  std::vector<double> noise;  // per output: the largest relative_distance of a perturbed run from the run without
  std::vector<double> unordered_noise;  // the same of unordered_distance
  int samples = 0;
};

/// Runs the reference evaluator once as it is and `samples` times perturbed. kUnsupported for a model with random
/// operations. `enough` is asked after each perturbed run; false ends the sampling.
Result<RoundOff> measure_round_off(const ir::Graph& graph, std::span<const HostValue> inputs, int samples,
                                   const std::function<bool(const RoundOff&)>& go_on = {});

/// Whether every expected output is as near to the actual one as two correctly rounded runs of the model are: at most
/// twice the noise of that output (the triangle inequality: each of the two may be the noise away from the exact
/// result), element by element and also in whatever order: where noise swaps the rows, the first alone would take any values
/// for near. Gives a sentence with the figures when it is, nullopt when it is not.
Result<std::optional<std::string>> within_round_off(const ir::Graph& graph, std::span<const HostValue> inputs,
                                                    const std::map<size_t, HostValue>& expected,
                                                    std::span<const HostValue> actual, int samples);

}  // namespace tenon::eval
