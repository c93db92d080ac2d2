#include "codegen/llvm/lanes.h"

#include <algorithm>

#include "support/checked.h"

namespace tenon::codegen {
namespace {

using kir::Inst;
using kir::InstKind;
using kir::Region;
using kir::ScalarOp;
using kir::ValueId;
using Kind = LaneShape::Kind;

constexpr LaneShape kUniform{};
constexpr LaneShape kVarying{Kind::kVarying, 0};

LaneShape affine(std::optional<int64_t> stride) {
  if (!stride) return kVarying;
  return *stride == 0 ? kUniform : LaneShape{Kind::kAffine, *stride};
}

class Analysis {
 public:
  Analysis(const kir::Kernel& kernel) : k_(kernel), shapes_(kernel.values.size()), constants_(kernel.values.size()) {
    find_constants(kernel.body);
  }

  LaneShapes run(const Inst& loop) {
    const Region& r = loop.regions[0];
    at(r.args[0]) = affine(loop.step);
    for (size_t c = 1; c < r.args.size(); ++c) at(r.args[c]) = kVarying;
    region(r);
    return std::move(shapes_);
  }

 private:
  LaneShape& at(ValueId v) { return shapes_[static_cast<size_t>(v)]; }

  void find_constants(const Region& r) {
    for (const auto& i : r.insts) {
      if (i->kind == InstKind::kConst && i->dtype == DType::kI64)
        constants_[static_cast<size_t>(i->results[0])] = i->constant.i;
      for (const Region& inner : i->regions) find_constants(inner);
    }
  }

  void region(const Region& r) {
    for (const auto& i : r.insts) inst(*i);
  }

  LaneShape join(std::span<const ValueId> values) {
    for (ValueId v : values)
      if (at(v).kind != Kind::kUniform) return kVarying;
    return kUniform;
  }

  void inst(const Inst& i) {
    switch (i.kind) {
      case InstKind::kOp:
        at(i.results[0]) = op(i);
        return;
      case InstKind::kCast:
      case InstKind::kBitcast:
      case InstKind::kLoad:
        at(i.results[0]) = join(i.operands);
        return;
      case InstKind::kFor:
        loop(i);
        return;
      case InstKind::kIf:
        branch(i);
        return;
      default:
        for (ValueId v : i.results) at(v) = kUniform;
    }
  }

  LaneShape op(const Inst& i) {
    const LaneShape any = join(i.operands);
    if (any.kind == Kind::kUniform || k_.dtype(i.results[0]) != DType::kI64) return any;
    for (ValueId v : i.operands)
      if (at(v).kind == Kind::kVarying || k_.dtype(v) != DType::kI64) return kVarying;
    const auto stride = [&](size_t o) { return at(i.operands[o]).stride; };
    const auto constant = [&](size_t o) { return constants_[static_cast<size_t>(i.operands[o])]; };
    switch (i.op) {
      case ScalarOp::kAdd:
        return affine(checked_add(stride(0), stride(1)));
      case ScalarOp::kSub:
        return affine(checked_sub(stride(0), stride(1)));
      case ScalarOp::kNeg:
        return affine(checked_sub(int64_t{0}, stride(0)));
      case ScalarOp::kMul:
        if (const auto c = constant(1)) return affine(checked_mul(stride(0), *c));
        if (const auto c = constant(0)) return affine(checked_mul(stride(1), *c));
        return kVarying;
      default:
        return kVarying;
    }
  }

  // Shapes of carried values only ever rise from uniform or affine to varying, so this ends.
  void loop(const Inst& i) {
    const Region& r = i.regions[0];
    const LaneShape lo = at(i.operands[0]), hi = at(i.operands[1]);
    const bool same_trips = lo == hi && lo.kind != Kind::kVarying;
    at(r.args[0]) = lo;
    for (size_t c = 1; c < r.args.size(); ++c) at(r.args[c]) = same_trips ? at(i.operands[c + 1]) : kVarying;
    for (bool changed = true; changed;) {
      changed = false;
      region(r);
      for (size_t c = 1; c < r.args.size(); ++c) {
        LaneShape& arg = at(r.args[c]);
        if (arg == at(r.yields[c - 1]) || arg == kVarying) continue;
        arg = kVarying;
        changed = true;
      }
    }
    for (size_t c = 0; c < i.results.size(); ++c) at(i.results[c]) = at(r.args[c + 1]);
  }

  void branch(const Inst& i) {
    for (const Region& r : i.regions) region(r);
    const bool uniform = at(i.operands[0]).kind == Kind::kUniform;
    for (size_t c = 0; c < i.results.size(); ++c) {
      const LaneShape a = at(i.regions[0].yields[c]), b = at(i.regions[1].yields[c]);
      at(i.results[c]) = uniform && a == b ? a : kVarying;
    }
  }

  const kir::Kernel& k_;
  LaneShapes shapes_;
  std::vector<std::optional<int64_t>> constants_;
};

struct WidthScan {
  const kir::Kernel& k;
  const LaneShapes& shapes;
  int widest = 8;
  int varying_ops = 0;
  bool has_loop = false;
  bool simple = true;  // no loops, memory is accessed as it lies, and no instruction is for one vector alone

  bool varies(ValueId v) const { return shapes[static_cast<size_t>(v)].kind == Kind::kVarying; }
  void count(ValueId v) { widest = std::max(widest, k.dtype(v) == DType::kBool ? 8 : bits(compute_dtype(k.dtype(v)))); }
  static bool accesses_memory(const Inst& i) { return i.kind == InstKind::kLoad || i.kind == InstKind::kStore; }
  bool contiguous(ValueId offset) const {
    const LaneShape s = shapes[static_cast<size_t>(offset)];
    return s.kind == Kind::kUniform || (s.kind == Kind::kAffine && s.stride == 1);
  }
  bool dot_or_integer(const Inst& i) const {
    if (i.kind == InstKind::kOp) return i.op == ScalarOp::kDot4 || i.op == ScalarOp::kDot4Signed;
    return i.kind == InstKind::kCast && compute_dtype(k.dtype(i.operands[0])) == DType::kF32 && !is_float(k.dtype(i.results[0]));
  }
  static DType compute_dtype(DType d) { return d == DType::kF16 || d == DType::kBF16 ? DType::kF32 : d; }

  void scan(const Region& r) {
    for (const auto& i : r.insts) {
      if (i->kind == InstKind::kLoad && varies(i->results[0])) count(i->results[0]);
      if (i->kind == InstKind::kStore) count(i->operands[1]);
      for (ValueId v : i->results) {
        if (!varies(v)) continue;
        ++varying_ops;
        if (bits(k.dtype(v)) <= 32 && k.dtype(v) != DType::kBool) count(v);
      }
      has_loop |= i->kind == InstKind::kFor;
      simple &= i->kind != InstKind::kFor && !dot_or_integer(*i) && (!accesses_memory(*i) || contiguous(i->operands[0]));
      for (const Region& inner : i->regions) scan(inner);
    }
  }
};

constexpr int kShortReduction = 16;     // varying values
constexpr int kReductionRegisters = 4;  // shared by the carried values
constexpr int kLongChains = 256;        // varying values of a body that several vectors may go through side by side

}  // namespace

LaneShapes analyze_lanes(const kir::Kernel& kernel, const kir::Inst& vector_loop) {
  return Analysis(kernel).run(vector_loop);
}

int choose_width(const kir::Kernel& kernel, const kir::Inst& vector_loop, const LaneShapes& shapes,
                 const Target& target) {
  if (vector_loop.width > 0) return vector_loop.width;
  WidthScan scan{kernel, shapes};
  scan.scan(vector_loop.regions[0]);
  for (size_t o = 2; o < vector_loop.operands.size(); ++o) scan.count(vector_loop.operands[o]);
  const int width = std::max(target.lanes(scan.widest), 1);
  const int carried = static_cast<int>(vector_loop.operands.size()) - 2;
  const bool short_reduction = (carried == 1 || carried == 2) && scan.varying_ops <= kShortReduction && !scan.has_loop;
  return short_reduction ? width * kReductionRegisters / carried : width;
}

namespace {

bool accesses_words(const kir::Kernel& kernel, const Region& r, const LaneShapes& shapes) {
  for (const auto& i : r.insts) {
    const bool access = i->kind == InstKind::kLoad || i->kind == InstKind::kStore;
    if (access && bits(kernel.buffers[static_cast<size_t>(i->index)].dtype) < 32) {
      const bool scalar =
          i->kind == InstKind::kLoad && shapes[static_cast<size_t>(i->results[0])].kind == Kind::kUniform;
      if (!scalar) return false;
    }
    for (const Region& inner : i->regions)
      if (!accesses_words(kernel, inner, shapes)) return false;
  }
  return true;
}

}  // namespace

int vectors_together(const kir::Kernel& kernel, const kir::Inst& vector_loop, const LaneShapes& shapes, const Target& target) {
  if (vector_loop.width > 0) return 1;
  WidthScan scan{kernel, shapes};
  scan.scan(vector_loop.regions[0]);
  const bool long_chain = scan.varying_ops > kShortReduction && scan.varying_ops <= kLongChains;
  if (!long_chain || !scan.simple || vector_loop.operands.size() > 4) return 1;
  return target.vector_registers >= 32 ? 4 : 2;
}

bool masks_are_cheap(const kir::Kernel& kernel, const kir::Inst& vector_loop, const LaneShapes& shapes,
                     const Target& target) {
  if (target.vector_bits >= 512) return true;
  return target.vector_bits == 256 && accesses_words(kernel, vector_loop.regions[0], shapes);
}

}  // namespace tenon::codegen
