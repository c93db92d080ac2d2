// Products of the same rows whose results meet in one epilogue, as a gate and what it lets through.

#include "passes/fuse_groups.h"
#include "passes/product_columns.h"

namespace tenon::passes {

using ir::Value;

/// The contraction of a group that has one.
std::optional<size_t> FuseGroups::product_of(const Group& group) const {
  std::optional<size_t> found;
  for (size_t m : group.members) {
    if (!info_[m].contraction) continue;
    if (found) return std::nullopt;
    found = m;
  }
  return found;
}

/// Products of the same rows by other constants whose results only this group's epilogue needs, as a gate: its kernel can make their sums
/// beside its own.
void FuseGroups::take_products_beside(size_t group) {
  const std::optional<size_t> own = product_of(groups_[group]);
  const std::optional<Product> product = own ? product_of_columns(*nodes_[*own]) : std::nullopt;
  if (!product || !is_float(nodes_[*own]->output()->dtype())) return;  // those of bytes are dot products, a kernel each
  size_t products = 1;
  for (size_t i = 0; i < groups_[group].members.size(); ++i) {
    for (const Value* v : nodes_[groups_[group].members[i]]->inputs()) {
      if (v == nullptr || v->def() == nullptr || v->def()->graph() != &graph_) continue;
      const size_t def = index_.at(v->def());
      if (group_[def] < 0 || group_[def] == static_cast<int>(group)) continue;
      Group& other = groups_[static_cast<size_t>(group_[def])];
      const std::optional<size_t> beside = other.anchored ? product_of(other) : std::nullopt;
      if (!beside || info_[*beside].shape != info_[*own].shape || info_[def].shape != info_[*own].shape) continue;
      const std::optional<Product> others = product_of_columns(*nodes_[*beside]);
      if (!others || others->columns != product->columns || !same_product(*product, *others)) continue;
      std::vector<size_t> grown = groups_[group].members;
      grown.insert(grown.end(), other.members.begin(), other.members.end());
      if (products == kMostProductsBeside || grown.size() > kMaxNodes || outputs(grown) != 1 || makes_cycle(grown)) continue;
      for (size_t m : other.members) group_[m] = static_cast<int>(group);
      other.members.clear();
      groups_[group].members = std::move(grown);
      ++products;
    }
  }
}

}  // namespace tenon::passes
