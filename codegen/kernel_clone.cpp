#include "codegen/kernel_ir.h"

namespace tenon::kir {
namespace {

Region clone(const Region& region, InstPool& pool) {
  Region copy{region.args, {}, region.yields};
  copy.insts.reserve(region.insts.size());
  for (const auto& inst : region.insts) {
    InstPtr made = pool.make();
    made->kind = inst->kind;
    made->op = inst->op;
    made->dtype = inst->dtype;
    made->constant = inst->constant;
    made->index = inst->index;
    made->loop = inst->loop;
    made->width = inst->width;
    made->step = inst->step;
    made->combiners = inst->combiners;
    made->tiles = inst->tiles;
    made->depth = inst->depth;
    made->operands = inst->operands;
    made->results = inst->results;
    for (const Region& nested : inst->regions) made->regions.push_back(clone(nested, pool));
    copy.insts.push_back(std::move(made));
  }
  return copy;
}

}  // namespace

Kernel clone(const Kernel& kernel) {
  Kernel copy;
  copy.name = kernel.name;
  copy.buffers = kernel.buffers;
  copy.num_dims = kernel.num_dims;
  copy.lanes = kernel.lanes;
  copy.round = kernel.round;
  copy.values = kernel.values;
  copy.body = clone(kernel.body, copy.pool);
  return copy;
}

}  // namespace tenon::kir
