#include "codegen/bounds_check.h"

#include <iterator>
#include <utility>

namespace tenon::kir {
namespace {

class Checker {
 public:
  explicit Checker(const Kernel& kernel) : original_(kernel) {}

  CheckedKernel run() {
    out_.kernel = clone(original_);
    Kernel& k = out_.kernel;
    const int bindings = k.num_bindings();
    out_.log = bindings;
    k.buffers.insert(k.buffers.begin() + bindings, {"violations", DType::kI64, BufferSpace::kBinding, true, 0});
    k.num_dims += bindings;
    insts_ = &entry_;
    zero_ = constant(DType::kI64);
    for (int b = 0; b < std::ssize(original_.buffers); ++b) {
      const BufferInfo& buffer = original_.buffers[static_cast<size_t>(b)];
      sizes_.push_back(buffer.space == BufferSpace::kBinding ? dim(original_.num_dims + b)
                                                             : constant(DType::kI64, buffer.count));
    }
    rewrite(k.body);
    std::move(k.body.insts.begin(), k.body.insts.end(), std::back_inserter(entry_));
    k.body.insts = std::move(entry_);
    return std::move(out_);
  }

 private:
  using Insts = std::vector<InstPtr>;

  ValueId append(InstPtr inst, DType result) {
    out_.kernel.values.push_back({result});
    inst->results = {static_cast<ValueId>(out_.kernel.values.size()) - 1};
    insts_->push_back(std::move(inst));
    return insts_->back()->results[0];
  }
  ValueId constant(DType dtype, int64_t value = 0) {
    InstPtr inst = out_.kernel.pool.make();
    inst->dtype = dtype;
    inst->constant.i = value;
    return append(std::move(inst), dtype);
  }
  ValueId dim(int index) {
    InstPtr inst = out_.kernel.pool.make();
    inst->kind = InstKind::kDim;
    inst->index = index;
    return append(std::move(inst), DType::kI64);
  }
  ValueId test(ScalarOp op, std::vector<ValueId> operands) {
    InstPtr inst = out_.kernel.pool.make();
    inst->kind = InstKind::kOp;
    inst->op = op;
    inst->operands = std::move(operands);
    return append(std::move(inst), DType::kBool);
  }

  void rewrite(Region& region) {
    Insts old = std::exchange(region.insts, {});
    for (auto& inst : old) {
      for (Region& inner : inst->regions) rewrite(inner);
      insts_ = &region.insts;
      const bool access = inst->kind == InstKind::kLoad || inst->kind == InstKind::kStore;
      if (access && inst->width > 1) {
        split(*inst, region);
        continue;
      }
      if (access)
        guard(*inst);
      else if (inst->kind == InstKind::kPrefetch)
        shift(*inst);
      region.insts.push_back(std::move(inst));
    }
  }

  /// The log has taken a number among the buffers.
  void shift(Inst& inst) const { inst.index += inst.index >= out_.log ? 1 : 0; }

  /// Several elements at once, one by one.
  void split(const Inst& inst, Region& region) {
    for (int e = 0; e < inst.width; ++e) {
      InstPtr one = out_.kernel.pool.make();
      one->kind = inst.kind;
      one->index = inst.index;
      InstPtr at = out_.kernel.pool.make();
      at->kind = InstKind::kOp;
      at->op = ScalarOp::kAdd;
      at->operands = {inst.operands[0], constant(DType::kI64, e)};
      one->operands = {append(std::move(at), DType::kI64)};
      if (inst.kind == InstKind::kLoad) one->results = {inst.results[static_cast<size_t>(e)]};
      else one->operands.push_back(inst.operands[static_cast<size_t>(e) + 1]);
      guard(*one);
      region.insts.push_back(std::move(one));
    }
  }

  void guard(Inst& inst) {
    const bool store = inst.kind == InstKind::kStore;
    const size_t mask_at = store ? 2 : 1;
    const bool masked = inst.operands.size() > mask_at;
    const ValueId index = inst.operands[0], size = sizes_[static_cast<size_t>(inst.index)];
    ValueId inside = test(ScalarOp::kAnd, {test(ScalarOp::kGe, {index, zero_}), test(ScalarOp::kLt, {index, size})});
    ValueId outside = test(ScalarOp::kNot, {inside});
    if (masked) {
      inside = test(ScalarOp::kAnd, {inst.operands[mask_at], inside});
      outside = test(ScalarOp::kAnd, {inst.operands[mask_at], outside});
    }
    InstPtr record = out_.kernel.pool.make();
    record->kind = InstKind::kStore;
    record->index = out_.log;
    record->operands = {constant(DType::kI64, std::ssize(out_.sites)), index, outside};
    insts_->push_back(std::move(record));
    out_.sites.push_back({inst.index, store});
    if (masked)
      inst.operands[mask_at] = inside;
    else if (store)
      inst.operands.push_back(inside);
    else
      inst.operands.insert(inst.operands.end(),
                           {inside, constant(original_.buffers[static_cast<size_t>(inst.index)].dtype)});
    shift(inst);
  }

  const Kernel& original_;
  CheckedKernel out_;
  Insts entry_;             // what is known at the beginning
  Insts* insts_ = nullptr;  // where instructions go
  ValueId zero_ = -1;
  std::vector<ValueId> sizes_;  // by buffer of the original
};

}  // namespace

CheckedKernel check_bounds(const Kernel& kernel) { return Checker(kernel).run(); }

}  // namespace tenon::kir
