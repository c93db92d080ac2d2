#include "codegen/plan/module.h"

#include <algorithm>
#include <utility>

namespace tenon::codegen {
namespace {

/// What a kernel does with its bindings, and whether it computes with what it loads.
class KernelFacts {
 public:
  explicit KernelFacts(const kir::Kernel& kernel)
      : access(static_cast<size_t>(kernel.num_bindings()), Access::kNone), loaded_(kernel.values.size(), false) {
    do {
      changed_ = false;
      visit(kernel.body);
    } while (changed_ && moves);
  }

  using Access = runtime::Access;
  std::vector<Access> access;
  bool moves = true;

 private:
  void add(const kir::Inst& inst, Access what) { add(inst.index, what); }
  void add(int32_t buffer, Access what) {
    const auto b = static_cast<size_t>(buffer);
    if (b < access.size()) access[b] = static_cast<Access>(static_cast<uint8_t>(access[b]) | static_cast<uint8_t>(what));
  }
  bool loaded(kir::ValueId v) const { return loaded_[static_cast<size_t>(v)]; }
  bool any_loaded(std::span<const kir::ValueId> values) const { return std::any_of(values.begin(), values.end(), [&](auto v) { return loaded(v); }); }
  void mark(std::span<const kir::ValueId> values) {
    for (kir::ValueId v : values) {
      changed_ |= !loaded(v);
      loaded_[static_cast<size_t>(v)] = true;
    }
  }

  void visit(const kir::Region& region) {
    for (const auto& inst : region.insts) {
      const bool from_load = any_loaded(inst->operands);
      if (inst->kind == kir::InstKind::kLoad) add(*inst, Access::kRead);
      if (inst->kind == kir::InstKind::kStore) add(*inst, Access::kWrite);
      for (const kir::TileAccess& tile : inst->tiles) {
        add(tile.buffer, inst->kind == kir::InstKind::kTileStore ? Access::kWrite : Access::kRead);
        moves = false;
      }
      if (inst->kind == kir::InstKind::kOp && from_load && inst->op != kir::ScalarOp::kSelect) moves = false;
      if (inst->kind == kir::InstKind::kLoad || from_load) mark(inst->results);
      for (const kir::Region& nested : inst->regions) {
        if (from_load) mark(nested.args);
        visit(nested);
        if (!any_loaded(nested.yields)) continue;
        mark(inst->results);
        mark(nested.args);
      }
    }
  }

  std::vector<bool> loaded_;  // by value: it depends on a load
  bool changed_ = false;
};

}  // namespace

int32_t Module::kernel(kir::Kernel kernel) {
  std::string name = std::exchange(kernel.name, {});
  const auto index = static_cast<int32_t>(built.kernels.size());
  const auto [found, added] = by_text.emplace(kir::print(kernel), index);
  kernel.name = std::move(name);
  if (!added) return found->second;
  KernelFacts facts(kernel);
  built.table->push_back({kernel.name, nullptr, kernel.num_bindings(), kernel.num_dims, std::move(facts.access), facts.moves, kernel.round});
  built.kernels.push_back(std::move(kernel));
  return index;
}

}  // namespace tenon::codegen
