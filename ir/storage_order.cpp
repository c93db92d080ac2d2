#include "ir/storage_order.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::ir {
namespace {

std::string attribute(const Value& value) {
  return value.def_index() == 0 ? "tenon.stored" : fmt::format("tenon.stored.{}", value.def_index());
}

bool is_permutation(const std::vector<int64_t>& order, const Value& value) {
  if (!value.type().is_ranked_tensor() || static_cast<int64_t>(order.size()) != value.tensor().rank()) return false;
  std::vector<int64_t> axes = order;
  std::ranges::sort(axes);
  for (size_t i = 0; i < axes.size(); ++i)
    if (axes[i] != static_cast<int64_t>(i)) return false;
  return true;
}

}  // namespace

std::vector<int> storage_order(const Value& value) {
  if (value.def() == nullptr || value.def()->attrs().size() == 0) return {};
  const Attr* attr = value.def()->attrs().find(attribute(value));
  const auto* order = attr == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(attr);
  if (order == nullptr || !is_permutation(*order, value)) return {};
  return {order->begin(), order->end()};
}

void set_storage_order(Value& value, const std::vector<int>& order) {
  if (std::ranges::is_sorted(order)) value.def()->attrs().erase(attribute(value));
  else value.def()->attrs().set(attribute(value), std::vector<int64_t>(order.begin(), order.end()));
}

bool is_row_major(const Value& value) {
  int last = -1;
  for (int axis : storage_order(value)) {
    if (value.tensor().dim(axis).is_const(1)) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

}  // namespace tenon::ir
