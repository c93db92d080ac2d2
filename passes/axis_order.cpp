#include "passes/axis_order.h"

#include <algorithm>
#include <numeric>

namespace tenon::passes {

using ir::Dim;

namespace {

std::vector<int> without_units(const Order& order, std::span<const Dim> dims) {
  std::vector<int> out;
  for (int axis : order)
    if (!dims[static_cast<size_t>(axis)].is_const(1)) out.push_back(axis);
  return out;
}

}  // namespace

Order row_major(size_t rank) {
  Order order(rank);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

bool same_order(const Order& a, const Order& b, std::span<const Dim> dims) { return without_units(a, dims) == without_units(b, dims); }

std::optional<Order> carried(const AxisMap& map, const Order& order, std::span<const Dim> from, std::span<const Dim> to) {
  if (map.size() != from.size() || order.size() != from.size()) return std::nullopt;
  Order out;
  std::vector<char> placed(to.size(), 0);
  int before = -1;  // the axis mapped that brought the last one
  for (int j : order) {
    if (from[static_cast<size_t>(j)].is_const(1)) continue;
    for (int axis : map[static_cast<size_t>(j)]) {
      if (to[static_cast<size_t>(axis)].is_const(1)) continue;
      // Of an axis that several are merged into they must stay side by side, in order.
      if (placed[static_cast<size_t>(axis)]) {
        if (out.back() != axis || j < before) return std::nullopt;
      } else {
        out.push_back(axis);
        placed[static_cast<size_t>(axis)] = 1;
      }
      before = j;
    }
  }
  Order all;  // axes of size 1 first
  for (size_t axis = 0; axis < to.size(); ++axis) {
    if (placed[axis]) continue;
    if (!to[axis].is_const(1)) return std::nullopt;
    all.push_back(static_cast<int>(axis));
  }
  all.insert(all.end(), out.begin(), out.end());
  return all;
}

std::optional<Order> pulled(const AxisMap& map, const Order& order, std::span<const Dim> from, std::span<const Dim> to) {
  if (map.size() != from.size()) return std::nullopt;
  Order in;
  std::vector<char> placed(from.size(), 0);
  for (int axis : order) {
    for (size_t j = 0; j < map.size(); ++j) {
      if (placed[j] || std::ranges::find(map[j], axis) == map[j].end()) continue;
      in.push_back(static_cast<int>(j));
      placed[j] = 1;
    }
  }
  for (size_t j = 0; j < map.size(); ++j)
    if (!placed[j]) in.push_back(static_cast<int>(j));
  const std::optional<Order> back = carried(map, in, from, to);
  return back && same_order(*back, order, to) ? std::optional(in) : std::nullopt;
}

}  // namespace tenon::passes
