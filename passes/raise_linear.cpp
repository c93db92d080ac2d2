#include "passes/raise_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Value;

/// A product of two matrices and a row to add to each of its rows.
Value* gemm(const Match& m, Builder& b) {
  Value *x = m["x"], *w = m["w"], *bias = m["bias"];
  if (!is_float(m.out()->dtype()) || !ranked(x) || !ranked(w) || !ranked(bias)) return nullptr;
  const std::vector<ir::Dim>& row = dims_of(bias);
  if (dims_of(x).size() != 2 || dims_of(w).size() != 2 || row.size() > 2) return nullptr;
  if (row.size() == 2 && !row[0].is_const(1)) return nullptr;
  return b.make("Gemm", {x, w, bias});
}

}  // namespace

std::span<const RaiseRule> linear_rules() {
  static const auto* rules = new std::vector<RaiseRule>{{op("MatMul", {any("x"), any("w")}) + any("bias"), gemm}};
  return *rules;
}

}  // namespace tenon::passes
