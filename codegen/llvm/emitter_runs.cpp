#include "codegen/llvm/emitter_runs.h"

#include <algorithm>
#include <optional>

namespace tenon::codegen {

using kir::Inst;
using kir::InstKind;
using kir::Region;
using kir::ScalarOp;
using kir::ValueId;
using llvm::Value;
using Kind = LaneShape::Kind;

namespace {

bool stores_to(const Region& r, int buffer) {
  for (const auto& i : r.insts) {
    if (i->kind == InstKind::kStore && i->index == buffer) return true;
    for (const Region& inner : i->regions)
      if (stores_to(inner, buffer)) return true;
  }
  return false;
}

/// By value: the difference from one trip to the next; values from outside: 0.
class TripStrides {
 public:
  std::optional<int64_t> of(ValueId v) const {
    const auto found = strides_.find(v);
    return found == strides_.end() ? std::optional<int64_t>(0) : found->second;
  }
  void set(ValueId v, std::optional<int64_t> stride) { strides_[v] = stride; }
  void inst(const Inst& i) {
    std::optional<int64_t> stride = 0;
    for (ValueId v : i.operands)
      if (of(v) != 0) stride.reset();
    if (i.kind == InstKind::kOp && (i.op == ScalarOp::kAdd || i.op == ScalarOp::kSub)) {
      const auto a = of(i.operands[0]), b = of(i.operands[1]);
      if (a && b) stride = i.op == ScalarOp::kAdd ? *a + *b : *a - *b;
    }
    if (!i.regions.empty() || i.kind == InstKind::kLoad) stride.reset();
    for (ValueId v : i.results) set(v, stride);
  }

 private:
  std::unordered_map<ValueId, std::optional<int64_t>> strides_;
};

constexpr int kBlockBits = 128;  // within which x86 shuffles elements cheaply

/// Rows and columns of the squares that lie side by side in vectors of `width` elements exchanged, by blocks of half the size each time
/// (Eklundh, "A Fast Computer Method for Matrix Transposing", 1972).
void transpose(llvm::IRBuilder<>& b, llvm::MutableArrayRef<Value*> rows, int width) {
  const int n = static_cast<int>(rows.size());
  for (int d = n / 2; d >= 1; d /= 2) {
    llvm::SmallVector<int, 64> low, high;
    for (int e = 0; e < width; ++e) {
      low.push_back((e & d) ? width + e - d : e);
      high.push_back((e & d) ? width + e : e + d);
    }
    for (int i = 0; i < n; ++i) {
      if (i & d) continue;
      Value *x = rows[static_cast<size_t>(i)], *y = rows[static_cast<size_t>(i + d)];
      rows[static_cast<size_t>(i)] = b.CreateShuffleVector(x, y, low);
      rows[static_cast<size_t>(i + d)] = b.CreateShuffleVector(x, y, high);
    }
  }
}

/// Vectors one behind the other, of which there are a power of two.
Value* joined(llvm::IRBuilder<>& b, llvm::SmallVector<Value*, 16> parts) {
  while (parts.size() > 1) {
    const auto width = static_cast<int>(llvm::cast<llvm::FixedVectorType>(parts[0]->getType())->getNumElements());
    llvm::SmallVector<int, 64> all;
    for (int e = 0; e < 2 * width; ++e) all.push_back(e);
    for (size_t i = 0; i < parts.size() / 2; ++i) parts[i] = b.CreateShuffleVector(parts[2 * i], parts[2 * i + 1], all);
    parts.resize(parts.size() / 2);
  }
  return parts[0];
}

}  // namespace

UnrolledRuns find_runs(const Region& r, int64_t trips) {
  UnrolledRuns runs{.trips = trips, .trip = 0, .loads = {}};
  TripStrides strides;
  for (ValueId v : r.args) strides.set(v, std::nullopt);
  strides.set(r.args[0], 1);
  for (const auto& i : r.insts) {
    if (i->kind == InstKind::kLoad && i->operands.size() == 1 && strides.of(i->operands[0]) == 1 && !stores_to(r, i->index)) runs.loads[i.get()];
    strides.inst(*i);
  }
  return runs;
}

/// The runs' transposition is square; neighbouring lanes have better ways.
bool KernelEmitter::reads_runs(const Inst& i) const {
  if (runs_ == nullptr || lanes_.mask != nullptr || runs_->trips != lanes_.width || !runs_->loads.contains(&i)) return false;
  const LaneShape offset = shape(i.operands[0]);
  return offset.kind == Kind::kVarying || (offset.kind == Kind::kAffine && (offset.stride > 2 || offset.stride < -1));
}

/// Squares of 128 bits a side: where row r of each lies is known, so vectors of their rows are loaded part by part, and what remains is to
/// transpose within the parts.
Value* KernelEmitter::run_load(const Inst& i) {
  auto& made = runs_->loads[&i];
  if (made.empty()) {
    const DType dtype = k_.buffers[static_cast<size_t>(i.index)].dtype;
    const llvm::Align align(static_cast<uint64_t>(bits(dtype) < 8 ? 1 : bits(dtype) / 8));
    Value* base = at(i.operands[0]);
    const LaneShape offset = shape(i.operands[0]);
    const int width = lanes_.width, side = std::min(width, kBlockBits / std::max(8, bits(dtype)));
    llvm::SmallVector<Value*, 64> first;
    for (int l = 0; l < width; ++l)
      first.push_back(offset.kind == Kind::kVarying ? b_.CreateExtractElement(base, static_cast<uint64_t>(l)) : b_.CreateAdd(base, i64(l * offset.stride)));
    for (int column = 0; column < width; column += side) {
      for (int row = 0; row < side; ++row) {
        llvm::SmallVector<Value*, 16> parts;
        for (int l = row; l < width; l += side) {
          Value* pointer = element(i.index, b_.CreateAdd(first[static_cast<size_t>(l)], i64(column)));
          parts.push_back(tag(b_.CreateAlignedLoad(ops_.storage_type(dtype, side), pointer, align), i.index));
        }
        made.push_back(joined(b_, std::move(parts)));
      }
      transpose(b_, llvm::MutableArrayRef<Value*>(made).take_back(static_cast<size_t>(side)), width);
    }
  }
  return made[static_cast<size_t>(runs_->trip)];
}

}  // namespace tenon::codegen
