#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "ir/compute.h"

namespace tenon::codegen {

/// An i64 expression as a sum: constant + Σ coefficient × atom. Atoms are expressions that are not sums themselves:
/// indices, quotients, remainders, loaded integers.
struct Affine {
  struct Term {
    int atom;  // expression id
    ir::Dim coefficient;
  };
  std::vector<Term> terms;  // sorted by atom, no duplicates, no zero coefficients
  ir::Dim constant = 0;

  const ir::Dim* coefficient_of(int atom) const;
  bool is_constant() const { return terms.empty(); }
};

/// Simplifies index arithmetic under the bounds of the axes, 0 <= axis a < extents[a]: (i*D + j) / D is i and
/// (i*D + j) % D is j where 0 <= j < D, for constant and symbolic D; quotients and remainders of one number recombine;
/// comparisons that always or never hold fold. Rules as in Halide's bounds-aware simplifier (src/Simplify*.cpp).
class IndexAlgebra {
 public:
  struct Range {
    std::optional<ir::Dim> lo, hi;  // inclusive
  };

  IndexAlgebra(ir::ExprPool& pool, std::vector<ir::Dim> extents) : pool_(pool), extents_(std::move(extents)) {}

  /// The same value (of any dtype) with every index expression inside in normal form.
  ir::Expr simplify(ir::Expr e);
  /// Normal form of an i64 expression.
  Affine affine(ir::Expr e);
  /// Back to an expression; terms in order of `rank` (by axis: the depth at which a loop binds it), so that partial sums
  /// of outer axes are subexpressions.
  ir::Expr expr(const Affine& a, const std::vector<int>& rank = {});
  Range range(const Affine& a);
  /// Proven facts.
  bool non_negative(const Affine& a);

  Affine add(const Affine& a, const Affine& b, ir::Dim scale_b = 1);
  Affine scale(const Affine& a, ir::Dim factor) { return add(Affine{}, a, factor); }

 private:
  struct Division {
    Affine quotient, remainder;
  };
  Affine atom(ir::Expr e);
  Affine opaque(const ir::ExprNode& node);
  /// Dims as divisors: zero is legal (no iteration then happens), negative is not known to be handled by the rules.
  static bool usable_divisor(ir::Dim d);
  Affine divide(const Affine& a, ir::Dim divisor, bool want_quotient);
  std::optional<Division> split(const Affine& a, ir::Dim divisor);
  Affine recombine(Affine a);
  Range atom_range(int id);
  Range compute_atom_range(int id);
  /// The greatest rank of an axis below an expression; loads come after all axes.
  int depth(int id, const std::vector<int>& rank, std::unordered_map<int, int>& known);
  std::optional<bool> compare(ir::ScalarOp op, const Affine& a, const Affine& b);
  ir::Expr simplify_op(const ir::ExprNode& node);

  ir::ExprPool& pool_;
  std::vector<ir::Dim> extents_;
  std::unordered_map<int, int> simplified_;
  std::unordered_map<int, Affine> affine_;
  std::unordered_map<int, Range> ranges_;
};

}  // namespace tenon::codegen
