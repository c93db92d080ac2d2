#include "codegen/lower/emitter.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "codegen/lower/group.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using kir::ValueId;

namespace {
constexpr int kCheckKey = 1 << 28;  // memo key of a checked index's condition: kCheckKey + id
}

int Emitter::add_binding(std::string name, DType dtype, bool written, BindingRef ref) {
  out_.bindings.push_back(ref);
  return builder_.add_binding(std::move(name), dtype, written);
}

ValueId Emitter::dim(Dim d) {
  if (d.is_const()) return builder_.i64(d.value());
  const auto found = std::find(out_.dims.begin(), out_.dims.end(), d);
  const int index = static_cast<int>(found - out_.dims.begin());
  if (found == out_.dims.end()) {
    out_.dims.push_back(d);
    out_.kernel.num_dims = static_cast<int>(out_.dims.size());
  }
  return builder_.dim(index);
}

void Emitter::push() { scopes_.emplace_back(); }

void Emitter::pop() {
  Scope& s = scopes_.back();
  for (size_t i = s.restore_axes.size(); i-- > 0;) {
    axes_[s.restore_axes[i].first] = s.restore_axes[i].second;
    levels_[s.restore_levels[i].first] = s.restore_levels[i].second;
  }
  for (size_t i = s.restore_results.size(); i-- > 0;) results_[s.restore_results[i].first] = s.restore_results[i].second;
  if (s.sets_acc) {
    acc_ = s.outer_acc;
    acc_level_ = s.outer_acc_level;
  }
  scopes_.pop_back();
}

void Emitter::bind(int axis, ValueId value) {
  Scope& s = scopes_.back();
  const auto found = axes_.find(axis);
  s.restore_axes.emplace_back(axis, found == axes_.end() ? -1 : found->second);
  s.restore_levels.emplace_back(axis, levels_.contains(axis) ? levels_[axis] : -1);
  axes_[axis] = value;
  levels_[axis] = static_cast<int>(scopes_.size()) - 1;
}

void Emitter::bind_acc(ValueId value) {
  Scope& s = scopes_.back();
  if (!s.sets_acc) {
    s.sets_acc = true;
    s.outer_acc = acc_;
    s.outer_acc_level = acc_level_;
  }
  acc_ = value;
  acc_level_ = static_cast<int>(scopes_.size()) - 1;
}

void Emitter::bind_result(int operand, ValueId value) {
  const auto found = results_.find(operand);
  scopes_.back().restore_results.emplace_back(operand, found == results_.end() ? -1 : found->second);
  results_[operand] = value;
  result_levels_[operand] = static_cast<int>(scopes_.size()) - 1;
}

const Emitter::Needs& Emitter::needs(int id) {
  if (const auto found = needs_.find(id); found != needs_.end()) return found->second;
  visit({&pool_, id}, [&](int n, const ExprNode& node) {
    if (needs_.contains(n)) return;
    Needs all;
    if (node.kind == ExprKind::kIndex) all.axes |= uint64_t{1} << node.axis;
    if (node.kind == ExprKind::kAcc) all.acc = true;
    all.memory = node.kind == ExprKind::kLoad || node.kind == ExprKind::kCheckedIndex;
    if (node.kind == ExprKind::kLoad && node.operand >= kStageOperand) all.stages.push_back(node.operand);
    for (int a : node.args) {
      const Needs& arg = needs_.at(a);
      all.axes |= arg.axes;
      all.acc |= arg.acc;
      all.memory |= arg.memory;
      for (int s : arg.stages) {
        if (std::find(all.stages.begin(), all.stages.end(), s) == all.stages.end()) all.stages.push_back(s);
      }
    }
    needs_.emplace(n, std::move(all));
  });
  return needs_.at(id);
}

int Emitter::level_needed(const Needs& n) const {
  int level = 0;
  for (uint64_t rest = n.axes; rest != 0; rest &= rest - 1) {
    const int axis = __builtin_ctzll(rest);
    const auto bound = axes_.find(axis);
    if (bound == axes_.end() || bound->second < 0) return -1;
    level = std::max(level, levels_.at(axis));
  }
  if (n.acc) {
    if (acc_ < 0) return -1;
    level = std::max(level, acc_level_);
  }
  for (int s : n.stages) {
    const auto result = results_.find(s);
    if (result != results_.end() && result->second >= 0) level = std::max(level, result_levels_.at(s));
    else if (!buffers_.contains(s)) return -1;
  }
  return level;
}

bool Emitter::available(int id) { return level_needed(needs(id)) >= 0; }

ValueId Emitter::lookup(int id) {
  const int key = id < 0 ? -id - 1 : id % kCheckKey;
  const int level = std::max(0, level_needed(needs(key)));
  for (size_t s = scopes_.size(); s-- > static_cast<size_t>(level);) {
    if (const auto found = scopes_[s].memo.find(id); found != scopes_[s].memo.end()) return found->second;
  }
  return -1;
}

void Emitter::hoist(Expr e) {
  if (mask_ < 0) hoist(e, true);
}

void Emitter::hoist_indices(Expr e) { hoist(e, false); }

void Emitter::hoist(Expr e, bool memory) {
  std::unordered_set<int> seen;  // shared parts once: walking every path to them takes time exponential in their depth
  std::vector<int> stack = {e.id};
  while (!stack.empty()) {
    const int id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second || lookup(id) >= 0) continue;
    const ExprNode node = pool_.node(id);
    if (node.kind == ExprKind::kConst || node.kind == ExprKind::kIndex || node.kind == ExprKind::kDim) continue;
    if (available(id) && (memory || !needs(id).memory)) {
      emit({&pool_, id});
      continue;
    }
    if (by_reciprocal(node) && available(node.args[1])) reciprocal(node.args[1]);
    stack.insert(stack.end(), node.args.rbegin(), node.args.rend());
  }
}

ValueId Emitter::emit(Expr e) {
  if (const ValueId known = lookup(e.id); known >= 0) return known;
  // Arguments first without recursion: expressions of long chains are deep.
  std::vector<std::pair<int, size_t>> stack{{e.id, 0}};
  while (!stack.empty()) {
    auto& [id, next] = stack.back();
    const ExprNode& node = pool_.node(id);
    const bool bound = node.kind == ExprKind::kLoad && results_.contains(node.operand) && results_[node.operand] >= 0;
    if (!bound && next < node.args.size()) {
      const int arg = node.args[next++];
      if (by_reciprocal(node) && arg == node.args[1]) continue;
      if (lookup(arg) < 0) stack.emplace_back(arg, 0);
      continue;
    }
    const int done = id;
    stack.pop_back();
    if (lookup(done) < 0) {
      const ValueId value = emit_node(done);
      scopes_.back().memo[done] = value;
    }
  }
  return lookup(e.id);
}

ValueId Emitter::emit_node(int id) {
  const ExprNode node = pool_.node(id);
  switch (node.kind) {
    case ExprKind::kConst:
      return is_float(node.dtype) ? builder_.constant(node.dtype, node.scalar.f)
                                  : builder_.constant_int(node.dtype, node.scalar.i);
    case ExprKind::kDim: return dim(node.dim);
    case ExprKind::kIndex: return axes_.at(node.axis);
    case ExprKind::kAcc: return acc_;
    case ExprKind::kCast: return builder_.cast(lookup(node.args[0]), node.dtype);
    case ExprKind::kLoad: return emit_load(node);
    case ExprKind::kOp: return emit_op(id, node);
    case ExprKind::kCheckedIndex: {
      const ValueId index = lookup(node.args[0]), extent = lookup(node.args[1]);
      const ValueId zero = builder_.i64(0);
      const ValueId inside = builder_.op(ScalarOp::kAnd, {builder_.op(ScalarOp::kGe, {index, zero}),
                                                          builder_.op(ScalarOp::kLt, {index, extent})});
      const ValueId counts = mask_ < 0 ? inside
                                       : builder_.op(ScalarOp::kOr, {inside, builder_.op(ScalarOp::kNot, {mask_})});
      builder_.check(counts, kir::kCheckIndexOutOfRange);
      scopes_.back().memo[kCheckKey + id] = inside;
      return builder_.op(ScalarOp::kSelect, {inside, index, zero});
    }
  }
  return -1;
}

/// The conjunction of the checks inside an offset: memory is read only where they hold.
ValueId Emitter::checked_condition(int offset) {
  ValueId all = -1;
  visit({&pool_, offset}, [&](int id, const ExprNode& node) {
    if (node.kind != ExprKind::kCheckedIndex) return;
    const ValueId inside = lookup(kCheckKey + id);
    if (inside >= 0) all = all < 0 ? inside : builder_.op(ScalarOp::kAnd, {all, inside});
  });
  return all;
}

ValueId Emitter::emit_load(const ExprNode& node) {
  if (const auto result = results_.find(node.operand); result != results_.end() && result->second >= 0) return result->second;
  const ValueId offset = lookup(node.args[0]);
  ValueId guard = node.guarded ? lookup(node.args[1]) : -1;
  const auto restrict_to = [&](ValueId condition) {
    if (condition < 0) return;
    guard = guard < 0 ? condition : builder_.op(ScalarOp::kAnd, {guard, condition});
  };
  restrict_to(checked_condition(node.args[0]));
  restrict_to(mask_);
  const int from = buffer(node.operand);
  if (guard < 0) return builder_.load(from, offset);
  const ValueId other = node.guarded ? lookup(node.args[2])
                                     : (is_float(node.dtype) ? builder_.constant(node.dtype, 0) : builder_.constant_int(node.dtype, 0));
  return builder_.load_masked(from, offset, guard, other);
}

bool Emitter::by_reciprocal(const ExprNode& node) {
  if (reciprocal_axis_ < 0 || node.kind != ExprKind::kOp || node.op != ScalarOp::kDiv) return false;
  if (node.dtype != DType::kF32 && node.dtype != DType::kF64) return false;
  if (pool_.node(node.args[1]).kind == ExprKind::kConst) return false;
  const uint64_t bit = uint64_t{1} << reciprocal_axis_;
  return (needs(node.args[1]).axes & bit) == 0 && (needs(node.args[0]).axes & bit) != 0;
}

ValueId Emitter::reciprocal(int divisor) {
  if (const ValueId known = lookup(-divisor - 1); known >= 0) return known;
  const ValueId d = emit({&pool_, divisor});
  const ValueId one = builder_.constant(pool_.node(divisor).dtype, 1);
  const ValueId value = builder_.op(ScalarOp::kDiv, {one, d});
  scopes_.back().memo[-divisor - 1] = value;
  return value;
}

ValueId Emitter::emit_op(int id, const ExprNode& node) {
  (void)id;
  const ValueId a = lookup(node.args[0]);
  if (by_reciprocal(node)) return builder_.op(ScalarOp::kMul, {a, reciprocal(node.args[1])});
  const bool is_f = is_float(node.dtype);
  if (node.args.size() == 2 && is_f && pool_.node(node.args[1]).kind == ExprKind::kConst) {
    const double c = pool_.node(node.args[1]).scalar.f;
    if (node.op == ScalarOp::kPow) {
      if (c == 1) return a;
      if (c == 2) return builder_.op(ScalarOp::kMul, {a, a});
      if (c == 3) return builder_.op(ScalarOp::kMul, {builder_.op(ScalarOp::kMul, {a, a}), a});
    }
    int exponent = 0;
    if (node.op == ScalarOp::kDiv && std::isfinite(c) && std::abs(std::frexp(c, &exponent)) == 0.5 && std::abs(exponent) < 14)
      return builder_.op(ScalarOp::kMul, {a, builder_.constant(node.dtype, 1 / c)});  // exact
  }
  if (node.args.size() == 1) return builder_.op(node.op, {a});
  if (node.args.size() == 2) {
    ScalarOp op = node.op;
    if (node.dtype == DType::kI64 && (op == ScalarOp::kFloorDiv || op == ScalarOp::kMod)) {
      const ExprNode& divisor = pool_.node(node.args[1]);
      const bool positive = (divisor.kind == ExprKind::kConst && divisor.scalar.i > 0) || divisor.kind == ExprKind::kDim;
      const ExprNode& x = pool_.node(node.args[0]);
      if (positive && x.kind == ExprKind::kIndex) op = op == ScalarOp::kMod ? ScalarOp::kRem : ScalarOp::kDiv;
    }
    return builder_.op(op, {a, lookup(node.args[1])});
  }
  return builder_.op(node.op, {a, lookup(node.args[1]), lookup(node.args[2])});
}

void Emitter::loop(kir::LoopKind kind, ValueId lo, ValueId hi, int64_t step, const std::function<void(ValueId iv)>& body,
                   int width) {
  builder_.loop(kind, lo, hi, step, [&](ValueId iv) {
    push();
    body(iv);
    pop();
  }, width);
}

std::vector<ValueId> Emitter::loop(
    kir::LoopKind kind, ValueId lo, ValueId hi, int64_t step, std::span<const ValueId> inits,
    const std::function<std::vector<ValueId>(ValueId iv, std::span<const ValueId> carried)>& body,
    std::vector<kir::Combiner> combiners, int width) {
  return builder_.loop(kind, lo, hi, step, inits, [&](ValueId iv, std::span<const ValueId> carried) {
    push();
    std::vector<ValueId> yields = body(iv, carried);
    pop();
    return yields;
  }, std::move(combiners), width);
}

void Emitter::scoped(const std::function<void()>& body) {
  push();
  body();
  pop();
}

std::vector<ValueId> Emitter::unflatten(ValueId flat, std::span<const Dim> extents) {
  std::vector<ValueId> index(extents.size());
  for (size_t i = extents.size(); i-- > 0;) {
    if (i == 0) {
      index[i] = flat;
      break;
    }
    const ValueId extent = dim(extents[i]);
    const ValueId quotient = builder_.op(ScalarOp::kDiv, {flat, extent});
    index[i] = builder_.sub(flat, builder_.mul(quotient, extent));
    flat = quotient;
  }
  return index;
}

ValueId Emitter::load_buffer(int buffer, ValueId offset) {
  if (mask_ < 0) return builder_.load(buffer, offset);
  const DType d = out_.kernel.buffers[static_cast<size_t>(buffer)].dtype;
  return builder_.load_masked(buffer, offset, mask_, is_float(d) ? builder_.constant(d, 0) : builder_.constant_int(d, 0));
}

void Emitter::store_buffer(int buffer, ValueId offset, ValueId value) {
  if (mask_ < 0) builder_.store(buffer, offset, value);
  else builder_.store_masked(buffer, offset, value, mask_);
}

}  // namespace tenon::codegen
