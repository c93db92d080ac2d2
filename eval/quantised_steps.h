#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "eval/compare.h"
#include "ir/graph.h"
#include "support/interrupt.h"

/// What results may be off by where quantisers round them to integers. Floats that agree within their tolerance may lie on both sides of the
/// middle between two codes: these are a step apart then, and so is what is dequantised from them. Behind n quantisers, each of which may move
/// results by a step of its own, up as often as down, these steps add up to about √n, as roundings do (eval/rounded_products.h).
namespace tenon::eval {

struct QuantisedSteps {
  int quantisers = 0;   // one behind the other on the way to a value
  int bits = 0;         // of the coarsest codes among them
  double step = 0;      // of the value's elements: 1 of codes, their scale where they are dequantised; 0: it is neither
};

/// By name, of the values behind quantisers: whatever rounds to integers of at most 16 bits, on ways as longest_ways() has them. Ops are
/// decomposed for this, in a copy; the error of that.
Result<std::unordered_map<std::string, QuantisedSteps>> steps_before(const ir::Graph& graph, const Interrupt& interrupt,
                                                                     const std::function<bool(std::string_view name)>& known = {});
/// Of the outputs, in the graph's order.
Result<std::vector<QuantisedSteps>> steps_of_outputs(const ir::Graph& graph, const Interrupt& interrupt);

/// `exact`, widened by √quantisers steps: in atol where the value's step is known, else in scaled_atol, as if the codes covered its range, up to a quarter of that.
Tolerance with_steps(Tolerance exact, const QuantisedSteps& steps);

/// "3 quantisers one behind the other: 1.7 steps of 8 bits"; empty where there are none.
std::string describe(const QuantisedSteps& steps);

}  // namespace tenon::eval
