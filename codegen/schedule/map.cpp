#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kBlock = 8192;  // elements of one grid index on a CPU

/// Equal-shaped maps after merging axes: `axes` are the loops, `values` the elements to store.
struct Map {
  std::vector<int> stages;
  std::vector<Expr> values;
  std::vector<Dim> axes;
  size_t lane_axis = 0;
};

Map prepare(Lowering& lowering, std::span<const int> stages) {
  Map map;
  map.stages.assign(stages.begin(), stages.end());
  map.axes = lowering.stage(stages[0]).axes;
  for (int s : stages) map.values.push_back(flatten_loads(lowering.stage(s).value, map.axes, shapes(lowering)));
  std::vector<Expr*> roots;
  for (Expr& e : map.values) roots.push_back(&e);
  merge_axes(*lowering.group.pool, roots, map.axes, -1);
  if (map.axes.empty()) map.axes.push_back(1);
  return map;
}

void store_elements(KernelWriter& writer, const Map& map, ValueId offset) {
  for (size_t i = 0; i < map.stages.size(); ++i)
    writer.emitter().store_buffer(writer.output(map.stages[i]), offset, writer.emitter().emit(map.values[i]));
}

/// One element a grid index.
Dim element_grid(KernelWriter& writer, const Map& map) {
  Emitter& em = writer.emitter();
  const std::vector<ValueId> index = em.unflatten(em.builder().grid_index(), map.axes);
  for (size_t a = 0; a < map.axes.size(); ++a) em.bind(static_cast<int>(a), index[a]);
  store_elements(writer, map, em.builder().grid_index());
  return ir::product(map.axes);
}

Dim row_grid(KernelWriter& writer, const Map& map) {
  Emitter& em = writer.emitter();
  return emit_row_grid(em, map.axes, map.lane_axis, kBlock, [&](std::span<ValueId> index, ValueId lo, ValueId hi) {
    for (Expr e : map.values) em.hoist(e);
    em.loop(LoopKind::kVector, lo, hi, 1, [&](ValueId iv) {
      em.bind(static_cast<int>(map.lane_axis), iv);
      index[map.lane_axis] = iv;
      store_elements(writer, map, row_major_offset(em, map.axes, index, map.lane_axis));
    });
  });
}

}  // namespace

Status schedule_map(Lowering& lowering, std::span<const int> stages) {
  Map map = prepare(lowering, stages);
  map.lane_axis = choose_lane_axis(map.axes);
  int64_t cost = 0;
  for (Expr e : map.values) cost += evaluation_cost(e);
  KernelWriter writer(lowering, "map", map.values, stages);
  const Dim grid = lowering.gpu() ? element_grid(writer, map) : row_grid(writer, map);
  writer.finish(grid, ir::product(map.axes) * cost);
  return {};
}

}  // namespace tenon::codegen
