#include "codegen/kernel_copy.h"

#include <algorithm>
#include <array>

namespace tenon::kir {

KernelCopier::KernelCopier(const Kernel& from, Kernel& to) : from_(from), b_(to), map_(from.values.size(), -1) {
  map(from.body.args[0]) = b_.grid_index();
}

std::vector<ValueId> KernelCopier::mapped(std::span<const ValueId> values) {
  std::vector<ValueId> out;
  for (ValueId v : values) out.push_back(map(v));
  return out;
}

void KernelCopier::region(const Region& r) {
  for (const auto& i : r.insts) inst(*i);
}

void KernelCopier::inst(const Inst& i) {
  constexpr size_t kFew = 8;  // without a vector for each instruction
  std::array<ValueId, kFew> few;
  std::vector<ValueId> many;
  if (i.operands.size() > kFew) many = mapped(i.operands);
  else std::ranges::transform(i.operands, few.begin(), [&](ValueId v) { return map(v); });
  const std::span<const ValueId> o = many.empty() ? std::span<const ValueId>(few).first(i.operands.size()) : many;
  if (rewrite(i, o)) return;
  switch (i.kind) {
    case InstKind::kConst:
      map(i.results[0]) = is_float(i.dtype) ? b_.constant(i.dtype, i.constant.f) : b_.constant_int(i.dtype, i.constant.i);
      return;
    case InstKind::kDim:
      map(i.results[0]) = b_.dim(i.index);
      return;
    case InstKind::kOp:
      map(i.results[0]) = b_.op(i.op, o);
      return;
    case InstKind::kCast:
      map(i.results[0]) = b_.cast(o[0], i.dtype);
      return;
    case InstKind::kBitcast:
      map(i.results[0]) = b_.bitcast(o[0], i.dtype);
      return;
    case InstKind::kLoad:
      if (i.width > 1) {
        const auto loaded = b_.load_wide(i.index, o[0], i.width);
        for (size_t e = 0; e < loaded.size(); ++e) map(i.results[e]) = loaded[e];
        return;
      }
      map(i.results[0]) = o.size() == 1 ? b_.load(i.index, o[0]) : b_.load_masked(i.index, o[0], o[1], o[2]);
      return;
    case InstKind::kStore:
      if (i.width > 1)
        b_.store_wide(i.index, o[0], std::span(o).subspan(1));
      else if (o.size() == 2)
        b_.store(i.index, o[0], o[1]);
      else
        b_.store_masked(i.index, o[0], o[1], o[2]);
      return;
    case InstKind::kPrefetch:
      b_.prefetch(i.index, o[0]);
      return;
    case InstKind::kCheck:
      b_.check(o[0], static_cast<CheckCode>(i.index));
      return;
    case InstKind::kTileFill:
      b_.tile_fill(i.index, o[0]);
      return;
    case InstKind::kTileMma:
      b_.tile_mma(i.index, i.op, i.tiles[0], o[0], i.tiles[1], o[1], i.depth);
      return;
    case InstKind::kTileStore:
      b_.tile_store(i.index, o[1], i.depth, i.tiles[0], o[0]);
      return;
    case InstKind::kFor:
      loop(i, o);
      return;
    case InstKind::kIf: {
      const auto side = [&](size_t s) {
        region(i.regions[s]);
        return mapped(i.regions[s].yields);
      };
      const auto results = b_.if_else(
          o[0], [&] { return side(0); }, [&] { return side(1); });
      for (size_t c = 0; c < results.size(); ++c) map(i.results[c]) = results[c];
      return;
    }
  }
}

void KernelCopier::loop(const Inst& i, std::span<const ValueId> o) {
  const Region& r = i.regions[0];
  const auto results = b_.loop(
      i.loop, o[0], o[1], i.step, o.subspan(2),
      [&](ValueId iv, std::span<const ValueId> carried) {
        map(r.args[0]) = iv;
        for (size_t c = 0; c < carried.size(); ++c) map(r.args[c + 1]) = carried[c];
        region(r);
        return mapped(r.yields);
      },
      i.combiners, i.width);
  for (size_t c = 0; c < results.size(); ++c) map(i.results[c]) = results[c];
}

Kernel without_body(const Kernel& kernel) {
  Kernel out;
  out.name = kernel.name;
  out.buffers = kernel.buffers;
  out.num_dims = kernel.num_dims;
  out.lanes = kernel.lanes;
  out.round = kernel.round;
  return out;
}

}  // namespace tenon::kir
