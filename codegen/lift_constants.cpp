#include "codegen/lift_constants.h"

#include <algorithm>
#include <unordered_map>

#include "codegen/kernel_copy.h"

namespace tenon::kir {
namespace {

bool divides(ScalarOp op) {
  using enum ScalarOp;
  return op == kDiv || op == kFloorDiv || op == kMod || op == kRem;
}

bool computes_indices(ScalarOp op) {
  using enum ScalarOp;
  constexpr ScalarOp kOps[] = {kAdd, kSub, kMul, kMin, kMax, kEq, kNe, kLt, kLe, kGt, kGe, kSelect};
  return divides(op) || std::ranges::find(kOps, op) != std::end(kOps);
}

/// How the values of a kernel are used.
class Uses {
 public:
  explicit Uses(const Kernel& kernel) : in_lanes_(kernel.values.size()), used_(kernel.values.size()), known_(kernel.values.size()) {
    region(kernel.body, false);
  }
  bool used(ValueId v) const { return used_[static_cast<size_t>(v)]; }
  /// Some use needs to know the value where it is constant.
  bool known(ValueId v) const { return known_[static_cast<size_t>(v)]; }

 private:
  bool in_lanes(ValueId v) const { return in_lanes_[static_cast<size_t>(v)]; }

  void use(ValueId v, bool known) {
    used_[static_cast<size_t>(v)] = true;
    if (known) known_[static_cast<size_t>(v)] = true;
  }

  bool needs_to_know(const Inst& i, size_t operand) const {
    if (i.kind == InstKind::kFor) return operand >= 2 || i.loop != LoopKind::kSerial;
    return i.kind != InstKind::kOp || !computes_indices(i.op) || (divides(i.op) && in_lanes(i.operands[1 - operand]));
  }

  void region(const Region& r, bool in_vector_loop) {
    for (const auto& i : r.insts) inst(*i, in_vector_loop);
    for (ValueId v : r.yields) use(v, true);
  }

  void inst(const Inst& i, bool in_vector_loop) {
    bool lanes = in_vector_loop && !i.regions.empty();
    for (size_t o = 0; o < i.operands.size(); ++o) {
      use(i.operands[o], needs_to_know(i, o));
      lanes |= in_lanes(i.operands[o]);
    }
    for (ValueId v : i.results) in_lanes_[static_cast<size_t>(v)] = lanes;
    const bool inner = in_vector_loop || (i.kind == InstKind::kFor && i.loop == LoopKind::kVector);
    for (const Region& r : i.regions) {
      for (ValueId v : r.args) in_lanes_[static_cast<size_t>(v)] = inner;
      region(r, inner);
    }
  }

  std::vector<bool> in_lanes_, used_, known_;
};

class Lifter final : public KernelCopier {
 public:
  Lifter(const Kernel& from, Kernel& to, std::span<const Inst* const> constants, std::span<const int> dims) : KernelCopier(from, to), uses_(from) {
    for (size_t i = 0; i < constants.size(); ++i)
      if (dims[i] >= 0) dims_.emplace(constants[i], dims[i]);
  }

 private:
  bool rewrite(const Inst& inst, std::span<const ValueId>) override {
    if (inst.kind != InstKind::kConst) return false;
    if (!uses_.used(inst.results[0])) return true;
    const auto dim = dims_.find(&inst);
    if (dim == dims_.end()) return false;
    map(inst.results[0]) = b_.dim(dim->second);
    return true;
  }

  const Uses uses_;
  std::unordered_map<const Inst*, int> dims_;
};

void collect(const Region& r, const Uses& uses, std::vector<const Inst*>& out) {
  for (const auto& i : r.insts) {
    const bool constant = i->kind == InstKind::kConst && i->dtype == DType::kI64;
    if (constant && uses.used(i->results[0]) && !uses.known(i->results[0])) out.push_back(i.get());
    for (const Region& inner : i->regions) collect(inner, uses, out);
  }
}

}  // namespace

std::vector<const Inst*> liftable_constants(const Kernel& kernel) {
  std::vector<const Inst*> out;
  collect(kernel.body, Uses(kernel), out);
  return out;
}

Kernel lift_constants(const Kernel& kernel, std::span<const Inst* const> constants, std::span<const int> dims) {
  Kernel out = without_body(kernel);
  Lifter(kernel, out, constants, dims).run();
  return out;
}

}  // namespace tenon::kir
