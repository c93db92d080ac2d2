#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "backends/backend.h"
#include "eval/compare.h"
#include "ir/graph.h"

/// What results may be off by where products of f32 round their factors to f16 or bf16 (CompileOptions::precision).
///
/// Rounding to nearest moves a factor by at most u of itself, u = 2^-11 (f16) or 2^-8 (bf16), so a product by 2u + u² of itself and a sum of
/// products by that part of the sum of their magnitudes, which is about ε = 2u. With n such sums one behind the other, whose errors are
/// independent and as often up as down, the errors add up to about √n ε, with high probability (N. J. Higham, T. Mary, "A new approach to
/// probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019, theorem 2.4). Where sums cancel, results are off by more.
namespace tenon::eval {

/// Whether the backend rounds factors when it is asked to: others compute with them as they are.
bool rounds_factors(const backends::Backend& backend, DType precision);

/// For every value of the graph, by name, the most sums of products of f32 on a way to it that --precision can reach: see longest_ways(). Ops
/// are decomposed for this, in a copy; the error of that.
Result<std::unordered_map<std::string, int>> products_before(const ir::Graph& graph, const Interrupt& interrupt, const std::function<bool(std::string_view name)>& known = {});
/// `exact`, widened for results behind `products` sums of products whose factors round to `precision`: rtol to at least 2 ε √products and
/// scaled_atol to at least ε √products, as Tolerance has it for values of such a type.
Tolerance with_rounded_factors(Tolerance exact, DType precision, int products);

/// The most products whose factors are rounded on a way to an output, and the tolerance for that.
struct Rounding {
  int products = 0;                   // 0: nothing is rounded, and the tolerance is that for exact factors
  Tolerance tolerance;
};
Result<Rounding> rounding_of_outputs(const ir::Graph& graph, const Tolerance& exact, DType precision, const Interrupt& interrupt);
/// "f16 factors of 12 products one behind the other: rtol 0.0068, scaled-atol 0.0034"; empty where nothing is rounded.
std::string describe(const Rounding& rounding, DType precision);

}  // namespace tenon::eval
