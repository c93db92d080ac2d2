#include "codegen/lower/simplify_group.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "codegen/lower/flatten.h"
#include "codegen/lower/index_algebra.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

void normalise(Group& group) {
  for (Stage& s : group.stages) {
    IndexAlgebra algebra(*group.pool, s.all_axes());
    std::vector<int> renumbered;
    int next = 0;
    const bool all_unit = std::all_of(s.reduce_axes.begin(), s.reduce_axes.end(), [](Dim d) { return d.is_const(1); });
    const size_t outer = s.axes.size();
    std::vector<Dim> axes, reduce_axes;
    for (size_t i = 0; i < outer + s.reduce_axes.size(); ++i) {
      const Dim d = i < outer ? s.axes[i] : s.reduce_axes[i - outer];
      const bool last_reduce = s.reduces() && all_unit && i + 1 == outer + s.reduce_axes.size();
      const bool scanned = s.scan && i == static_cast<size_t>(s.scan->axis);
      const bool keep = !d.is_const(1) || last_reduce || scanned || (s.stepped && i == 0);  // a reduction keeps one axis at least
      renumbered.push_back(keep ? next++ : -1);
      if (keep) (i < outer ? axes : reduce_axes).push_back(d);
    }
    const auto rename = [&](Expr e) {
      return group.pool->copy(algebra.simplify(e), [&](const ExprNode& n, std::span<const Expr>) -> Expr {
        if (n.kind != ExprKind::kIndex) return {};
        const int axis = renumbered[static_cast<size_t>(n.axis)];
        return axis < 0 ? group.pool->constant_int(DType::kI64, 0) : group.pool->index(axis);
      });
    };
    for (Expr* e : s.roots()) *e = rename(*e);
    if (s.scan) s.scan->axis = renumbered[static_cast<size_t>(s.scan->axis)];
    s.axes = axes;
    s.reduce_axes = reduce_axes;
  }
}

namespace {

/// For each reduce axis the innermost place at which the first operand that is no constant has it; -1: none.
std::vector<int> places_of_reduce_axes(const Group& group, const Stage& s) {
  std::vector<int> places(s.reduce_axes.size(), -1);
  bool found = false;
  visit(s.value, [&](int, const ExprNode& n) {
    if (found || n.kind != ExprKind::kLoad) return;
    const bool stage = n.operand >= kStageOperand;
    if (!stage && ir::constant_of(group.operands[static_cast<size_t>(n.operand)].value) != nullptr) return;
    found = true;
    for (size_t j = 0; j < group.shape_of(n.operand).size(); ++j) {
      for (size_t r = 0; r < places.size(); ++r)
        if (uses_axis({s.value.pool, n.args[j]}, static_cast<int>(s.axes.size() + r))) places[r] = static_cast<int>(j);
    }
  });
  return places;
}

/// Whether a load of `from` is at axes of `user`, each once and whole: plain ones, or several that number one axis row by row.
bool rearranges(const ExprNode& load, const Stage& user, const Stage& from, ExprPool& pool) {
  if (load.guarded) return false;
  std::vector<bool> seen(user.axes.size(), false);
  for (size_t i = 0; i < load.args.size(); ++i) {
    if (from.shape[i].is_const(1)) continue;
    IndexAlgebra algebra(pool, user.axes);
    Affine index = algebra.affine({&pool, load.args[i]});
    Dim stride = 1;
    while (!index.terms.empty()) {  // the axis of the smallest stride first
      const auto next = std::find_if(index.terms.begin(), index.terms.end(), [&](const Affine::Term& t) { return t.coefficient == stride; });
      if (next == index.terms.end()) return false;
      const ExprNode& atom = pool.node(next->atom);
      const auto axis = static_cast<size_t>(atom.axis);
      if (atom.kind != ExprKind::kIndex || axis >= user.axes.size() || seen[axis]) return false;
      seen[axis] = true;
      stride = stride * user.axes[axis];
      index.terms.erase(next);
    }
    if (!index.constant.is_const(0) || !known_eq(stride, from.shape[i])) return false;
  }
  return std::all_of(seen.begin(), seen.end(), [](bool s) { return s; });
}

/// The reduction with the user's axes: its own ones are what `load` has in their places.
void rearrange(Stage& s, const ExprNode& load, const Stage& user, ExprPool& pool) {
  std::vector<Expr> index;
  for (size_t i = 0; i < load.args.size(); ++i)
    if (!s.shape[i].is_const(1)) index.push_back({&pool, load.args[i]});
  for (size_t i = 0; i < s.reduce_axes.size(); ++i) index.push_back(pool.index(static_cast<int>(user.axes.size() + i)));
  s.axes = user.axes;
  IndexAlgebra algebra(pool, s.all_axes());
  const auto rename = [&](Expr e) {
    return algebra.simplify(pool.copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      return n.kind == ExprKind::kIndex && static_cast<size_t>(n.axis) < index.size() ? index[static_cast<size_t>(n.axis)] : Expr{};
    }));
  };
  s.value = rename(s.value);
  s.post = rename(s.post);
}

}  // namespace

void order_reduce_axes(Group& group) {
  for (Stage& s : group.stages) {
    if (!s.reduces() || s.ordered() || s.is_arg() || s.reduce_axes.size() < 2) continue;
    const std::vector<int> places = places_of_reduce_axes(group, s);
    std::vector<int> order(places.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return places[static_cast<size_t>(a)] < places[static_cast<size_t>(b)]; });
    if (std::is_sorted(order.begin(), order.end())) continue;
    const std::vector<Dim> extents = s.reduce_axes;
    std::vector<int> position(order.size());
    for (size_t p = 0; p < order.size(); ++p) {
      s.reduce_axes[p] = extents[static_cast<size_t>(order[p])];
      position[static_cast<size_t>(order[p])] = static_cast<int>(p);
    }
    const int outer = static_cast<int>(s.axes.size());
    s.value = group.pool->copy(s.value, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex || n.axis < outer) return {};
      return group.pool->index(outer + position[static_cast<size_t>(n.axis - outer)]);
    });
  }
}

void fold_epilogues(Group& group) {
  for (size_t u = 0; u < group.stages.size(); ++u) {
    if (group.stages[u].reduces() || group.stages[u].ordered()) continue;
    std::vector<int> operands;
    collect_operands(group.stages[u].value, operands);
    for (int operand : operands) {
      if (operand < kStageOperand) continue;
      const size_t r = static_cast<size_t>(operand - kStageOperand);
      Stage &user = group.stages[u], &from = group.stages[r];
      if (from.output != nullptr || !from.reduces()) continue;
      bool alone = true;
      for (size_t other = 0; other < group.stages.size() && alone; ++other) {
        if (other == u) continue;
        const std::vector<int> used = group.stages[other].operands();
        alone = std::find(used.begin(), used.end(), operand) == used.end();
      }
      std::optional<ExprNode> place;
      bool later = false;  // what the map needs must be there when the reduction runs
      visit(user.value, [&](int, const ExprNode& n) {
        if (n.kind != ExprKind::kLoad) return;
        if (n.operand > operand) later = true;
        if (n.operand != operand) return;
        alone &= !place || place->args == n.args;
        place = n;
      });
      if (!alone || later || !place || !rearranges(*place, user, from, *group.pool)) continue;
      rearrange(from, *place, user, *group.pool);
      const Expr result = from.post;
      from.post = group.pool->copy(user.value, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
        return n.kind == ExprKind::kLoad && n.operand == operand ? result : Expr{};
      });
      from.output = user.output;
      from.dtype = user.dtype;
      from.shape = user.shape;
      user.output = nullptr;
      user.value = group.pool->constant(user.dtype, 0);
      user.shape.clear();
      user.axes.clear();
      break;
    }
  }
}

void compact(Group& group) {
  std::vector<int> order;
  std::vector<char> seen(group.stages.size(), 0);
  const std::function<void(size_t)> place = [&](size_t s) {
    if (seen[s]) return;
    seen[s] = 1;
    for (int o : group.stages[s].operands()) {
      if (o >= kStageOperand) place(static_cast<size_t>(o - kStageOperand));
    }
    order.push_back(static_cast<int>(s));
  };
  for (size_t s = 0; s < group.stages.size(); ++s) {
    if (group.stages[s].output != nullptr) place(s);
  }
  std::vector<int> number(group.stages.size(), -1);
  std::vector<Stage> stages;
  for (size_t i = 0; i < order.size(); ++i) {
    number[static_cast<size_t>(order[i])] = static_cast<int>(i);
    stages.push_back(group.stages[static_cast<size_t>(order[i])]);
  }
  const auto rename = [&](Expr e) {
    return group.pool->copy(e, [&](const ExprNode& n, std::span<const Expr> args) -> Expr {
      if (n.kind != ExprKind::kLoad || n.operand < kStageOperand) return {};
      const int operand = kStageOperand + number[static_cast<size_t>(n.operand - kStageOperand)];
      if (!n.guarded) return group.pool->load(operand, n.dtype, args);
      return group.pool->load_guarded(operand, n.dtype, args.first(args.size() - 2), args[args.size() - 2], args.back());
    });
  };
  for (Stage& s : stages)
    for (Expr* e : s.roots()) *e = rename(*e);
  group.stages = std::move(stages);
}

}  // namespace tenon::codegen
