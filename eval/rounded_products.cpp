#include "eval/rounded_products.h"

#include <algorithm>
#include <cmath>

#include "passes/pass.h"
#include "passes/rounded_factors.h"

namespace tenon::eval {
namespace {

using Counts = std::unordered_map<std::string, int>;

constexpr int64_t kMostTrips = 1 << 16;  // beyond it no tolerance means anything

/// How often a node executes its regions, as far as that is a constant.
int trips(const ir::Node& node) {
  if (!node.is("Loop") || node.num_inputs() == 0 || node.input(0) == nullptr) return 1;
  const auto count = ir::constant_ints(node.input(0));
  return count && count->size() == 1 ? static_cast<int>(std::clamp<int64_t>(count->front(), 1, kMostTrips)) : 1;
}

/// Calls `look` with what the node's regions read from `graph`.
void for_captures(const ir::Node& node, const ir::Graph& graph, const std::function<void(const ir::Value*)>& look) {
  const auto of_graph = [&](const ir::Value* v) {
    if (v != nullptr && v->graph() == &graph) look(v);
  };
  for (const auto& region : node.regions()) {
    for (const auto& inner : region->nodes()) {
      for (const ir::Value* v : inner->inputs()) of_graph(v);
      for_captures(*inner, graph, look);
    }
    for (const ir::Value* v : region->outputs()) of_graph(v);
  }
}

/// Counts of the values of one graph, in its order. Those of a region begin anew at what it reads from outside.
Counts count(const ir::Graph& graph, const std::function<bool(std::string_view)>& known) {
  Counts out;
  const auto before = [&](const ir::Value* v) {
    const auto found = v == nullptr || (known && known(v->name())) ? out.end() : out.find(v->name());
    return found == out.end() ? 0 : found->second;
  };
  for (const auto& node : graph.nodes()) {
    int most = 0, own = passes::has_plain_factors(*node) ? 1 : 0;
    for (const ir::Value* input : node->inputs()) most = std::max(most, before(input));
    for_captures(*node, graph, [&](const ir::Value* v) { most = std::max(most, before(v)); });
    if (!node->is("Scan"))  // whose steps add up what they round
      for (const auto& region : node->regions())
        for (const auto& [name, inner] : count(*region, {})) own = std::max(own, inner * trips(*node));
    for (const ir::Value* output : node->outputs()) out[output->name()] = most + own;
  }
  return out;
}

}  // namespace

bool rounds_factors(const backends::Backend& backend, DType precision) {
  return precision != DType::kF32 && backend.rounds_factors();
}

Result<Counts> products_before(const ir::Graph& graph, const Interrupt& interrupt, const std::function<bool(std::string_view)>& known) {
  const auto copy = graph.clone();
  TENON_RETURN_IF_ERROR(passes::run_pipeline(*copy, {.level = 0, .interrupt = interrupt}));
  return count(*copy, known);
}

Tolerance with_rounded_factors(Tolerance exact, DType precision, int products) {
  if (precision == DType::kF32 || products == 0) return exact;
  const double epsilon = (precision == DType::kF16 ? 0x1p-10 : 0x1p-7) * std::sqrt(products);
  exact.rtol = std::max(exact.rtol, 2 * epsilon);
  exact.scaled_atol = std::max(exact.scaled_atol, epsilon);
  return exact;
}

Result<Rounding> rounding_of_outputs(const ir::Graph& graph, const Tolerance& exact, DType precision, const Interrupt& interrupt) {
  Rounding out{0, exact};
  if (precision == DType::kF32) return out;
  TENON_ASSIGN_OR_RETURN(const Counts counts, products_before(graph, interrupt));
  for (const ir::Value* output : graph.outputs())
    if (const auto found = counts.find(output->name()); found != counts.end()) out.products = std::max(out.products, found->second);
  out.tolerance = with_rounded_factors(exact, precision, out.products);
  return out;
}

std::string describe(const Rounding& rounding, DType precision) {
  if (rounding.products == 0) return {};
  return fmt::format("{} factors of {}: rtol {:.2g}, scaled-atol {:.2g}", name(precision),
                     rounding.products == 1 ? "1 product" : fmt::format("{} products one behind the other", rounding.products), rounding.tolerance.rtol,
                     rounding.tolerance.scaled_atol);
}

}  // namespace tenon::eval
