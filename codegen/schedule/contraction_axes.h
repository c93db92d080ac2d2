#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "codegen/schedule/contraction.h"

/// What the axes of a product are, and how its factors walk memory along them.
namespace tenon::codegen {

/// The product's two factors. Which is A and which is B: see classify().
Status factors(const Stage& s, ir::Expr value, Contraction& c);
/// Sorts the output's axes into batch, M (only in A) and N (only in B; a suffix, which runs in lanes).
Status classify(Contraction& c);
/// Sets `wide` when B's offset allows it: N is (row, column), read at pitch * row + column.
void choose_wide(Contraction& c);
/// Sets `rows` when rows of B along the innermost axis of N can be read in place, and those of all its axes cannot.
void choose_rows(Contraction& c);
/// Replaces the M, N and K axes by one flat axis each, numbered after all others. Wide: B alone gets a flat N, which runs
/// over image rows. `keep_k`: K's loops stay as they are.
void flatten_groups(Contraction& c, bool keep_k);
/// A bare load with an offset of plain indices: its part along the reduce axes can be added in the inner loop.
bool plain_offset(const Contraction& c, ir::Expr e);
/// A bare load whose offset is affine, with the given axes only as indices: cheap to address in the inner loops.
bool direct_load(const Contraction& c, ir::Expr e, const std::vector<int>& axes, int unit_axis);

/// The output axis and divisor of some quotient in `value` by which the axis, of an extent that it divides, falls into two: the
/// channels of a grouped convolution are groups × channels of one.
std::optional<std::pair<int, int64_t>> divided_axis(const Stage& s);
/// Replaces axis `axis` by extent / inner and inner; row-major order stays.
void split_axis(Stage& s, int axis, int64_t inner);
/// Whether the innermost reduce axis walks a factor's memory element by element.
bool lies_along_k(const Lowering& lowering, const Stage& s, ir::Expr factor);
/// A product with a constant matrix that is stored transposed: the axes that only the matrix has become the innermost ones, so that it
/// can be packed and its columns run in lanes, and `stored` says where results lie. Where the other factor's rows lie along the
/// innermost axis of the result (images), lanes along that are better, and nothing changes; so too where a window walks both and the columns are
/// fewer than lanes.
void put_constant_innermost(Lowering& lowering, int stage);

}  // namespace tenon::codegen
