#include "codegen/spirv/narrow.h"

#include "codegen/spirv/emit.h"

namespace tenon::codegen::spirv {
namespace {

using ir::ScalarOp;
using kir::Inst;
using kir::InstKind;
using kir::Region;
using kir::ValueId;

bool is_comparison(ScalarOp op) { return ir::info(op).result_is_bool; }

bool keeps_bounds(ScalarOp op) {
  switch (op) {
    case ScalarOp::kAdd: case ScalarOp::kSub: case ScalarOp::kMul: case ScalarOp::kDiv: case ScalarOp::kRem: case ScalarOp::kFloorDiv:
    case ScalarOp::kMod: case ScalarOp::kMin: case ScalarOp::kMax: case ScalarOp::kSelect: return true;
    default: return false;
  }
}

class Analysis {
 public:
  Analysis(const kir::Kernel& kernel, int log) : k_(kernel), log_(log), narrow_(kernel.values.size(), 0), uniform_(kernel.values.size(), 0), computed_(kernel.values.size(), 0) {}

  std::vector<char> run() {
    narrow(k_.body.args[0]) = 1;
    define(k_.body);
    for (bool changed = true; changed;) {
      changed = false;
      visit(k_.body, changed);
    }
    return std::move(narrow_);
  }

 private:
  char& narrow(ValueId v) { return narrow_[static_cast<size_t>(v)]; }
  char& uniform(ValueId v) { return uniform_[static_cast<size_t>(v)]; }
  bool index(ValueId v) const { return k_.dtype(v) == DType::kI64; }

  /// What can be narrow by how it is made, operands first.
  void define(const Region& region) {
    for (const auto& i : region.insts) {
      const ValueId result = i->results.empty() ? -1 : i->results[0];
      if (i->kind == InstKind::kConst && i->dtype == DType::kI64) {
        narrow(result) = i->constant.i > -kNarrowLimit && i->constant.i < kNarrowLimit;
        uniform(result) = 1;
      } else if (i->kind == InstKind::kDim) {
        narrow(result) = uniform(result) = 1;
      } else if (i->kind == InstKind::kOp && index(result) && keeps_bounds(i->op)) {
        bool all = true, known = i->op != ScalarOp::kMul, same = true;
        for (ValueId v : i->operands) {
          all = all && (!index(v) || narrow(v));
          known = known || uniform(v);
          same = same && uniform(v);
        }
        narrow(result) = all && known;
        uniform(result) = same;
        computed_[static_cast<size_t>(result)] = 1;
      } else if (i->kind == InstKind::kFor) {
        narrow(i->regions[0].args[0]) = narrow(i->operands[0]) && narrow(i->operands[1]) && i->step < (1 << 20);
      }
      for (const Region& inner : i->regions) define(inner);
    }
  }

  /// Only what is computed: counters, dims, constants and grid indices are as small wherever they are used.
  void widen(ValueId v, bool& changed) {
    if (!index(v) || !narrow(v) || !computed_[static_cast<size_t>(v)]) return;
    narrow(v) = 0;
    changed = true;
  }
  /// Widens what becomes data, and what is made of something wide.
  void visit(const Region& region, bool& changed) {
    for (const auto& i : region.insts) {
      switch (i->kind) {
        case InstKind::kLoad:
          for (size_t o = 2; o < i->operands.size(); ++o) widen(i->operands[o], changed);
          break;
        case InstKind::kStore:
          for (size_t o = 1; i->index != log_ && o < i->operands.size(); ++o) widen(i->operands[o], changed);
          break;
        case InstKind::kPrefetch: break;
        case InstKind::kTileMma:
        case InstKind::kTileStore: break;  // offsets
        case InstKind::kFor:
          for (size_t o = 2; o < i->operands.size(); ++o) widen(i->operands[o], changed);
          if (char& iv = narrow(i->regions[0].args[0]); iv && (!narrow(i->operands[0]) || !narrow(i->operands[1]))) iv = 0, changed = true;
          if (!narrow(i->regions[0].args[0])) widen(i->operands[0], changed), widen(i->operands[1], changed);
          break;
        case InstKind::kOp: {
          if (is_comparison(i->op)) break;
          const ValueId result = i->results[0];
          bool all = index(result) && narrow(result);
          for (ValueId v : i->operands) all = all && (!index(v) || narrow(v));
          if (index(result) && narrow(result) && !all) narrow(result) = 0, changed = true;
          if (!all)
            for (ValueId v : i->operands) widen(v, changed);
          break;
        }
        default:
          for (ValueId v : i->operands) widen(v, changed);
      }
      for (const Region& inner : i->regions) {
        visit(inner, changed);
        for (ValueId v : inner.yields) widen(v, changed);
      }
    }
  }

  const kir::Kernel& k_;
  const int log_;
  std::vector<char> narrow_, uniform_, computed_;
};

}  // namespace

std::vector<char> narrow_values(const kir::Kernel& kernel, int log) { return Analysis(kernel, log).run(); }

}  // namespace tenon::codegen::spirv
