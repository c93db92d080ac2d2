#include "passes/facts.h"

#include <algorithm>

#include "ir/op.h"

namespace tenon::passes {

using ir::Node;
using ir::Value;

std::optional<double> number_of(const Value* value) {
  const Tensor* tensor = ir::constant_of(value);
  if (!tensor || tensor->size() == 0) return std::nullopt;
  DTypeClass cls = info(tensor->dtype()).cls;
  if (cls == DTypeClass::kString || cls == DTypeClass::kComplex) return std::nullopt;
  double first = tensor->at_double(0);
  for (int64_t i = 1; i < tensor->size(); ++i)
    if (tensor->at_double(i) != first) return std::nullopt;
  return first;
}

std::optional<std::vector<int64_t>> permutation(const Node& node) {
  if (!ranked(node.input(0))) return std::nullopt;
  int64_t rank = node.input(0)->tensor().rank();
  std::vector<int64_t> perm = node.attr_ints("perm");
  if (!node.attrs().has("perm"))
    for (int64_t i = 0; i < rank; ++i) perm.push_back(rank - 1 - i);
  std::vector<int64_t> sorted = perm;
  std::ranges::sort(sorted);
  for (int64_t i = 0; i < static_cast<int64_t>(sorted.size()); ++i)
    if (sorted[static_cast<size_t>(i)] != i) return std::nullopt;
  return static_cast<int64_t>(perm.size()) == rank ? std::optional(perm) : std::nullopt;
}

std::optional<std::vector<int64_t>> reduced_axes(const Node& node) {
  if (!ranked(node.input(0))) return std::nullopt;
  int64_t rank = node.input(0)->tensor().rank();
  std::vector<int64_t> axes;
  if (node.has_input(1)) {
    auto given = ir::constant_ints(node.input(1));
    if (!given) return std::nullopt;
    axes = *given;
  }
  if (axes.empty()) {
    if (node.attr_int("noop_with_empty_axes", 0) != 0) return std::nullopt;
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  }
  for (int64_t& axis : axes) {
    auto normal = ir::normalize_axis(axis, rank);
    if (!normal.ok()) return std::nullopt;
    axis = *normal;
  }
  std::ranges::sort(axes);
  return axes;
}

}  // namespace tenon::passes
