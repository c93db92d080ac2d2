#include "eval/rounded_products.h"

#include <algorithm>
#include <cmath>

#include "eval/longest_ways.h"
#include "passes/pass.h"
#include "passes/rounded_factors.h"

namespace tenon::eval {

bool rounds_factors(const backends::Backend& backend, DType precision) {
  return precision != DType::kF32 && backend.rounds_factors();
}

Result<std::unordered_map<std::string, int>> products_before(const ir::Graph& graph, const Interrupt& interrupt, const std::function<bool(std::string_view)>& known) {
  const auto copy = graph.clone();
  TENON_RETURN_IF_ERROR(passes::run_pipeline(*copy, {.level = 0, .interrupt = interrupt}));
  // Steps of a Scan add up what they round.
  return longest_ways(*copy, [](const ir::Node& node) { return passes::has_plain_factors(node) ? 1 : 0; }, known);
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
  TENON_ASSIGN_OR_RETURN(const auto counts, products_before(graph, interrupt));
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
