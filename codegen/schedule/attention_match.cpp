#include <algorithm>
#include <limits>

#include "codegen/schedule/attention.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;

namespace {

bool loads(Expr e, int operand) {
  std::vector<int> operands;
  collect_operands(e, operands);
  return std::find(operands.begin(), operands.end(), operand) != operands.end();
}

bool loads_stages(Expr e) {
  std::vector<int> operands;
  collect_operands(e, operands);
  return std::any_of(operands.begin(), operands.end(), [](int o) { return o >= kStageOperand; });
}

/// Finds the parts in the coordinates of the last stage.
class Matcher {
 public:
  Matcher(Lowering& lowering, const std::function<bool(Dim, Dim)>& equal)
      : lowering_(lowering), pool_(*lowering.group.pool), equal_(equal) {}

  Result<Attention> run() {
    TENON_RETURN_IF_ERROR(find_output());
    TENON_RETURN_IF_ERROR(find_weight());
    TENON_RETURN_IF_ERROR(find_statistics());
    TENON_RETURN_IF_ERROR(find_scores());
    TENON_RETURN_IF_ERROR(classify());
    forget_places();
    return std::move(a_);
  }

 private:
  Stage& stage(int s) { return lowering_.stage(s); }
  Expr node(int id) { return {&pool_, id}; }

  /// out = sum over keys of weight * V.
  Status find_output() {
    const int count = static_cast<int>(lowering_.group.stages.size());
    if (count != 4) return error(Code::kUnsupported, "{} stages", count);
    a_.out = count - 1;
    for (int s = 0; s < count; ++s) {
      const Stage& one = stage(s);
      if (!one.reduces() || one.ordered() || one.reduce_axes.size() != 1 || (one.output != nullptr) != (s == a_.out))
        return error(Code::kUnsupported, "not scores, their rows' maxima and sums, and a product");
    }
    const Stage& last = stage(a_.out);
    a_.outer = last.axes.size();
    a_.axes = last.all_axes();
    a_.key_axis = static_cast<int>(a_.outer);
    a_.d_axis = a_.key_axis + 1;
    a_.dtype = last.acc_dtype;
    a_.post = last.post;
    if (a_.dtype != DType::kF32 && a_.dtype != DType::kF64) return error(Code::kUnsupported, "sums are of {}", name(a_.dtype));
    const ExprNode root = last.value.node();
    if (last.combiner != ir::Combiner::kAdd || root.kind != ExprKind::kOp || root.op != ScalarOp::kMul)
      return error(Code::kUnsupported, "not a sum of products");
    a_.weight = node(root.args[0]);
    a_.v = node(root.args[1]);
    if (!loads_stages(a_.weight)) std::swap(a_.weight, a_.v);
    if (loads_stages(a_.v) || loads_stages(a_.post)) return error(Code::kUnsupported, "values come from the same kernel");
    return {};
  }

  /// Loads of stages that `e` makes, each at one place.
  Result<std::unordered_map<int, std::vector<Expr>>> places(Expr e) {
    std::unordered_map<int, std::vector<Expr>> found;
    bool one = true;
    visit(e, [&](int, const ExprNode& n) {
      if (n.kind != ExprKind::kLoad || n.operand < kStageOperand) return;
      std::vector<Expr> args;
      for (int i : n.args) args.push_back(node(i));
      const auto [it, fresh] = found.emplace(n.operand - kStageOperand, args);
      one &= !n.guarded && (fresh || std::equal(args.begin(), args.end(), it->second.begin(), it->second.end(),
                                                [](Expr x, Expr y) { return x.id == y.id; }));
    });
    if (!one) return error(Code::kUnsupported, "a stage is read at several places");
    return found;
  }

  /// weight = E * row, E = exp(X - shift).
  Status find_weight() {
    const auto read = places(a_.weight);
    if (!read.ok()) return read.status();
    if (read->size() != 3) return error(Code::kUnsupported, "weights are not scores and two numbers a row");
    places_ = *read;
    std::vector<int> exps;
    visit(a_.weight, [&](int id, const ExprNode& n) {
      if (n.kind == ExprKind::kOp && n.op == ScalarOp::kExp) exps.push_back(id);
    });
    for (int id : exps) {
      const Expr inside = node(pool_.node(id).args[0]);
      if (!uses_axis(inside, a_.key_axis)) continue;
      const ExprNode difference = inside.node();
      if (difference.kind != ExprKind::kOp || difference.op != ScalarOp::kSub) continue;
      e_ = node(id);
      a_.x = node(difference.args[0]);
      a_.shift = node(difference.args[1]);
    }
    if (!e_.valid() || uses_axis(a_.shift, a_.key_axis) || e_.dtype() != a_.dtype)
      return error(Code::kUnsupported, "no exponentials of scores less a number for the row");
    const Expr one[] = {pool_.constant_int(DType::kI64, 0)};
    const std::optional<Expr> factor = per_row(a_.weight, pool_.load(kStageOperand + a_.out, a_.dtype, one));
    if (!factor) return error(Code::kUnsupported, "weights are not proportional to the exponentials");
    a_.factor = *factor;
    return {};
  }

  bool of_row(Expr e) { return !uses_axis(e, a_.key_axis) && !uses_axis(e, n_axis()); }
  int n_axis() {
    for (int axis = 0; axis < static_cast<int>(a_.outer); ++axis)
      if (uses_axis(a_.v, axis) && !uses_axis(a_.weight, axis)) return axis;
    return -1;
  }

  /// `w` with E replaced, if it is E times (or over) what depends on the row alone, or 0 by the row's choice. Roundings to
  /// smaller floats on the way are left out.
  std::optional<Expr> per_row(Expr w, Expr unit) {
    if (w.id == e_.id) return unit;
    const ExprNode n = w.node();
    const auto arg = [&](size_t i) { return node(n.args[i]); };
    if (n.kind == ExprKind::kCast && is_float(n.dtype) && is_float(arg(0).dtype())) {
      const std::optional<Expr> inner = per_row(arg(0), unit);
      return inner;
    }
    if (n.kind != ExprKind::kOp) return std::nullopt;
    if (n.op == ScalarOp::kDiv || n.op == ScalarOp::kMul) {
      const std::optional<Expr> left = per_row(arg(0), unit);
      if (left && of_row(arg(1)) && arg(1).dtype() == left->dtype()) return n.op == ScalarOp::kDiv ? *left / arg(1) : *left * arg(1);
      if (n.op == ScalarOp::kDiv || !of_row(arg(0))) return std::nullopt;
      const std::optional<Expr> right = per_row(arg(1), unit);
      return right && arg(0).dtype() == right->dtype() ? std::optional(arg(0) * *right) : std::nullopt;
    }
    const auto zero = [&](Expr e) { return e.node().kind == ExprKind::kConst && is_float(e.dtype()) && e.node().scalar.f == 0; };
    if (n.op == ScalarOp::kSelect && !of_row(arg(0)) && !loads_stages(arg(0)) && (zero(arg(1)) || zero(arg(2)))) {
      const Expr keep = zero(arg(1)) ? !arg(0) : arg(0);
      a_.keep = a_.keep.valid() ? a_.keep && keep : keep;
      return per_row(arg(zero(arg(1)) ? 2 : 1), unit);
    }
    if (n.op == ScalarOp::kSelect && of_row(arg(0))) {
      const Expr none = pool_.constant(a_.dtype, 0), kept = a_.keep;
      const std::optional<Expr> yes = zero(arg(1)) ? std::optional(none) : per_row(arg(1), unit);
      const std::optional<Expr> no = zero(arg(2)) ? std::optional(none) : per_row(arg(2), unit);
      const bool masked = a_.keep.valid() != kept.valid() || (kept.valid() && a_.keep.id != kept.id);  // one side alone
      if (!masked && yes && no && yes->dtype() == no->dtype()) return ir::select(arg(0), *yes, *no);
    }
    return std::nullopt;
  }

  /// An expression of stage `s`, read at `place`, in the last stage's coordinates.
  Expr here(int s, Expr e, int reduced_axis) {
    const Stage& from = stage(s);
    std::vector<Expr> index;
    for (size_t i = 0; i < from.shape.size(); ++i)
      if (!from.shape[i].is_const(1)) index.push_back(places_.at(s)[i]);
    index.push_back(pool_.index(reduced_axis));
    const Expr moved = pool_.copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex) return {};
      return static_cast<size_t>(n.axis) < index.size() ? index[static_cast<size_t>(n.axis)] : Expr{};
    });
    return simplified(moved);
  }

  Expr simplified(Expr e) {
    IndexAlgebra algebra(pool_, a_.axes);
    return algebra.simplify(e);
  }

  Status find_statistics() {
    a_.scores = a_.maxima = a_.sums = -1;
    std::vector<int> stats;
    for (const auto& [s, place] : places_) {
      const bool per_key = std::any_of(place.begin(), place.end(), [&](Expr e) { return uses_axis(e, a_.key_axis); });
      if (stage(s).axes.size() + 1 != stage(s).all_axes().size() || (per_key && a_.scores >= 0))
        return error(Code::kUnsupported, "not one tensor of scores");
      if (per_key) a_.scores = s;
      else stats.push_back(s);
    }
    if (a_.scores < 0 || stats.size() != 2) return error(Code::kUnsupported, "not one tensor of scores");
    for (int s : stats) (stage(s).combiner == ir::Combiner::kMax ? a_.maxima : a_.sums) = s;
    if (a_.maxima < 0 || a_.sums < 0 || stage(a_.sums).combiner != ir::Combiner::kAdd)
      return error(Code::kUnsupported, "no maxima or sums of rows");
    for (int s : {a_.maxima, a_.sums}) {
      const Stage& one = stage(s);
      const ExprNode post = one.post.node();
      if (!equal_(one.reduce_axes[0], a_.extent(a_.key_axis)) || one.acc_dtype != a_.dtype || one.dtype != a_.dtype || post.kind != ExprKind::kAcc)
        return error(Code::kUnsupported, "rows are of another length or type");
    }
    // The expressions are interned: equal ones have one number.
    const Expr of_maximum = here(a_.maxima, stage(a_.maxima).value, a_.key_axis);
    const Expr of_sum = here(a_.sums, stage(a_.sums).value, a_.key_axis);
    if (simplified(a_.x).id != of_maximum.id) return error(Code::kUnsupported, "the maxima are not of what is exponentiated");
    if (simplified(e_).id != of_sum.id) return error(Code::kUnsupported, "the sums are not of the weights");
    if (loads(a_.x, kStageOperand + a_.maxima) || loads(a_.x, kStageOperand + a_.sums) || loads(a_.shift, kStageOperand + a_.sums))
      return error(Code::kUnsupported, "scores depend on their row's maximum or sum");
    const ExprNode shift = a_.shift.node();
    a_.shifted = shift.kind != ExprKind::kLoad || shift.operand != kStageOperand + a_.maxima;
    return {};
  }

  Status find_scores() {
    const Stage& s = stage(a_.scores);
    const ExprNode root = s.value.node();
    if (s.combiner != ir::Combiner::kAdd || root.kind != ExprKind::kOp || root.op != ScalarOp::kMul || s.acc_dtype != a_.dtype)
      return error(Code::kUnsupported, "scores are no sums of products");
    a_.axes.push_back(s.reduce_axes[0]);
    a_.q = here(a_.scores, node(root.args[0]), a_.d_axis);
    a_.k = here(a_.scores, node(root.args[1]), a_.d_axis);
    a_.score = here(a_.scores, s.post, a_.d_axis);
    if (uses_axis(a_.q, a_.key_axis)) std::swap(a_.q, a_.k);
    if (loads_stages(a_.q) || loads_stages(a_.k) || loads_stages(a_.score)) return error(Code::kUnsupported, "scores come from the same kernel");
    if (uses_axis(a_.q, a_.key_axis) || !uses_axis(a_.k, a_.key_axis)) return error(Code::kUnsupported, "keys are not in one factor");
    return {};
  }

  Status classify() {
    a_.n_axis = n_axis();
    if (a_.n_axis < 0) return error(Code::kUnsupported, "values have one component");
    for (Expr e : {a_.q, a_.k, a_.x, a_.shift, a_.factor, a_.score, a_.keep})
      if (e.valid() && uses_axis(e, a_.n_axis)) return error(Code::kUnsupported, "weights differ between components of the values");
    for (int axis = 0; axis < static_cast<int>(a_.outer); ++axis) {
      if (axis == a_.n_axis) continue;
      const bool shared = uses_axis(a_.k, axis) || uses_axis(a_.v, axis);
      (shared ? a_.batch_axes : a_.m_axes).push_back(axis);
    }
    find_limits(a_.x);
    std::vector<Expr*> roots = {&a_.q, &a_.k, &a_.v, &a_.score, &a_.x, &a_.shift, &a_.factor, &a_.post};
    for (Expr& e : a_.limits) roots.push_back(&e);
    if (a_.keep.valid()) roots.push_back(&a_.keep);
    for (Expr* e : roots)
      *e = flatten_loads(*e, a_.axes, shapes(lowering_, {a_.scores, a_.maxima, a_.sums, a_.out}));
    return {};
  }

  /// Terms of a sum that are -inf where a condition chooses.
  void find_limits(Expr e) {
    const ExprNode n = e.node();
    if (n.kind != ExprKind::kOp) return;
    if (n.op == ScalarOp::kAdd || n.op == ScalarOp::kSub) find_limits(node(n.args[0]));
    if (n.op == ScalarOp::kAdd) find_limits(node(n.args[1]));
    if (n.op != ScalarOp::kSelect) return;
    const auto masked = [&](size_t i) {
      const ExprNode c = pool_.node(n.args[i]);
      return c.kind == ExprKind::kConst && c.scalar.f == -std::numeric_limits<double>::infinity();
    };
    if (masked(2)) add_limits(node(n.args[0]), true);
    if (masked(1)) add_limits(node(n.args[0]), false);
  }

  /// `condition` must be `wanted` for a key to be seen.
  void add_limits(Expr condition, bool wanted) {
    const ExprNode n = condition.node();
    if (n.kind != ExprKind::kOp) return;
    if (n.op == ScalarOp::kNot) return add_limits(node(n.args[0]), !wanted);
    if (n.op == (wanted ? ScalarOp::kAnd : ScalarOp::kOr)) {
      for (int a : n.args) add_limits(node(a), wanted);
      return;
    }
    const bool less = n.op == ScalarOp::kLt || n.op == ScalarOp::kLe, greater = n.op == ScalarOp::kGt || n.op == ScalarOp::kGe;
    if ((!less && !greater) || pool_.node(n.args[0]).dtype != DType::kI64) return;
    // As key < e or key <= e, whichever side the key is on and whatever its negation is.
    IndexAlgebra algebra(pool_, a_.axes);
    Affine d = algebra.add(algebra.affine(node(n.args[0])), algebra.affine(node(n.args[1])), -1);
    if (greater) d = algebra.scale(d, -1);
    bool strict = n.op == ScalarOp::kLt || n.op == ScalarOp::kGt;
    if (!wanted) {  // not (d < 0) is -d <= 0
      d = algebra.scale(d, -1);
      strict = !strict;
    }
    const Affine::Term* key = nullptr;
    for (const Affine::Term& t : d.terms) {
      const ExprNode& atom = pool_.node(t.atom);
      if (atom.kind == ExprKind::kIndex && atom.axis == a_.key_axis) key = &t;
      else if (uses_axis(node(t.atom), a_.key_axis)) return;
    }
    if (key == nullptr || !key->coefficient.is_const(1)) return;
    std::erase_if(d.terms, [&](const Affine::Term& t) { return pool_.node(t.atom).kind == ExprKind::kIndex && pool_.node(t.atom).axis == a_.key_axis; });
    Affine limit = algebra.scale(d, -1);
    if (!strict) limit.constant = limit.constant + 1;
    a_.limits.push_back(algebra.expr(limit));
  }

  /// Loads of stages stand for the row's or the score's own value: they keep no index.
  void forget_places() {
    const Expr none[] = {pool_.constant_int(DType::kI64, 0)};
    for (Expr* e : {&a_.x, &a_.shift, &a_.factor}) {
      *e = pool_.copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
        const bool own = n.kind == ExprKind::kLoad && n.operand >= kStageOperand;
        return own ? pool_.load(n.operand, n.dtype, none) : Expr{};
      });
    }
  }

  Lowering& lowering_;
  ir::ExprPool& pool_;
  const std::function<bool(Dim, Dim)>& equal_;
  Attention a_;
  Expr e_;
  std::unordered_map<int, std::vector<Expr>> places_;
};

Dim product_of(const Attention& a, const std::vector<int>& axes) {
  Dim all = 1;
  for (int axis : axes) all = all * a.extent(axis);
  return all;
}

}  // namespace

Dim Attention::m() const { return product_of(*this, m_axes); }
Dim Attention::batch() const { return product_of(*this, batch_axes); }

int store_weights(Lowering& lowering, const Attention& a) {
  ir::ExprPool& pool = *lowering.group.pool;
  Stage& last = lowering.stage(a.out);
  // In the order of the rows' statistics where their axes are plain, so that one kernel makes both.
  std::vector<int> order;
  visit(a.weight, [&](int, const ExprNode& n) {
    if (n.kind != ExprKind::kLoad || n.operand != kStageOperand + a.maxima || !order.empty()) return;
    for (int i : n.args)
      if (pool.node(i).kind == ExprKind::kIndex) order.push_back(pool.node(i).axis);
  });
  for (int axis = 0; axis < a.key_axis; ++axis)
    if (axis != a.n_axis && std::find(order.begin(), order.end(), axis) == order.end()) order.push_back(axis);
  order.push_back(a.key_axis);
  Stage weights;
  std::vector<Expr> place;
  for (int axis : order) {
    weights.axes.push_back(a.extent(axis));
    place.push_back(pool.index(axis));
  }
  weights.shape = weights.axes;
  weights.dtype = weights.acc_dtype = a.weight.dtype();
  weights.value = pool.copy(a.weight, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    if (n.kind != ExprKind::kIndex) return {};
    return pool.index(static_cast<int>(std::find(order.begin(), order.end(), n.axis) - order.begin()));
  });
  const int number = static_cast<int>(lowering.group.stages.size());
  const Expr load = pool.load(kStageOperand + number, weights.dtype, place);
  last.value = substitute(last.value, {{a.weight.id, load}});
  lowering.group.stages.push_back(std::move(weights));
  return number;
}

Result<Attention> match_attention(Lowering& lowering, const std::function<bool(Dim, Dim)>& equal) { return Matcher(lowering, equal).run(); }

}  // namespace tenon::codegen
