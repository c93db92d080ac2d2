#include "codegen/lower/group.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "codegen/lower/flatten.h"
#include "codegen/lower/index_algebra.h"
#include "ir/op.h"
#include "ir/storage_order.h"

namespace tenon::codegen {

using ir::Body;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::Graph;
using ir::Node;
using ir::Scatter;
using ir::Value;

namespace {

constexpr size_t kMaxRegionNodes = 512;
constexpr int kMaxPoolNodes = 1 << 16;
constexpr int kMaxDepth = 4000;

bool kernel_dtype(DType d) {
  switch (d) {
    case DType::kBool:
    case DType::kI8: case DType::kI16: case DType::kI32: case DType::kI64:
    case DType::kU8: case DType::kU16: case DType::kU32: case DType::kU64:
    case DType::kF16: case DType::kBF16: case DType::kF32: case DType::kF64: return true;
    default: return false;
  }
}

/// A tensor of its own, which others load: anything but a map.
bool is_stage(const Body& body) { return !body.reduce_axes.empty() || body.scan || body.scatter; }

/// Inlines the bodies of a node or region on demand, from its outputs.
class GroupBuilder {
 public:
  GroupBuilder() : pool_(*group_.pool) {}
  /// Adds to a group that is there.
  explicit GroupBuilder(Group group) : group_(std::move(group)), pool_(*group_.pool) {}

  Result<Group> build(const Node& node) {
    TENON_RETURN_IF_ERROR(node.num_regions() == 0 ? collect_node(node) : collect_fused(node));
    std::vector<std::pair<const Value*, const Value*>> outputs;  // inner value, value outside
    if (node.num_regions() == 0) {
      for (const Value* v : node.outputs()) {
        if (!v->unused()) outputs.emplace_back(v, v);
      }
    } else {
      for (size_t i = 0; i < node.outputs().size(); ++i) {
        outputs.emplace_back(node.region(0).outputs()[i], node.output(static_cast<int>(i)));
      }
    }
    for (const auto& [inner, outer] : outputs) stored_as_.emplace(inner, outer);
    for (const auto& [inner, outer] : outputs) TENON_RETURN_IF_ERROR(add_output(inner, outer));
    if (!status_.ok()) return status_;
    TENON_RETURN_IF_ERROR(check_depth());
    return std::move(group_);
  }

  /// A map for each output of the region, all of whose stages have time as axis 0.
  Result<Group> build(const SteppedRegion& stepped) {
    stepped_ = &stepped;
    for (const Value* v : stepped.region->inputs()) {
      TENON_RETURN_IF_ERROR(check_type(v));
      if (!kernel_dtype(v->dtype())) return error(Code::kUnsupported, "kernels lack {}", name(v->dtype()));
    }
    TENON_RETURN_IF_ERROR(collect_region(*stepped.region));
    std::vector<Stage> maps;  // behind the reductions that they read
    for (const Value* v : stepped.region->outputs()) {
      TENON_RETURN_IF_ERROR(check_type(v));
      Stage& s = maps.emplace_back(stage_over(*v->tensor().dims));
      s.dtype = v->dtype();
      s.value = element(v, stage_index(v, v->tensor().dims->size(), 0), {}, {}, s.dtype);
    }
    std::move(maps.begin(), maps.end(), std::back_inserter(group_.stages));
    if (!status_.ok()) return status_;
    TENON_RETURN_IF_ERROR(check_depth());
    return std::move(group_);
  }

 private:
  Status collect_fused(const Node& node) {
    const Graph& region = node.region(0);
    if (region.inputs().size() != static_cast<size_t>(node.num_inputs()))
      return error(Code::kUnsupported, "region inputs do not match the node's");
    for (size_t i = 0; i < region.inputs().size(); ++i) formal_[region.inputs()[i]] = node.input(static_cast<int>(i));
    return collect_region(region);
  }

  Status collect_region(const Graph& region) {
    if (region.num_nodes() > kMaxRegionNodes) return error(Code::kUnsupported, "more than {} nodes in one group", kMaxRegionNodes);
    for (const auto& n : region.nodes()) {
      if (ir::constant_of(n->num_outputs() > 0 ? n->output(0) : nullptr) != nullptr) continue;
      TENON_RETURN_IF_ERROR(collect_node(*n));
    }
    return {};
  }

  Status collect_node(const Node& n) {
    if (n.is("tenon.fused")) {
      for (int i = 0; i < n.num_outputs(); ++i) formal_[n.output(i)] = n.region(0).outputs()[static_cast<size_t>(i)];
      return collect_fused(n);
    }
    if (n.op().compute.body == nullptr) return no_body(n);
    for (const Value* v : n.outputs()) TENON_RETURN_IF_ERROR(check_type(v));
    for (const Value* v : n.inputs()) {
      if (v != nullptr) TENON_RETURN_IF_ERROR(check_type(v));
    }
    TENON_ASSIGN_OR_RETURN(std::vector<Body> bodies, n.op().compute.body(n));
    if (bodies.size() > n.outputs().size()) return error(Code::kInternal, "{} has more bodies than outputs", n.op_name());
    for (size_t i = 0; i < bodies.size(); ++i) {
      TENON_RETURN_IF_ERROR(check_body(bodies[i]));
      bodies_.emplace(n.output(static_cast<int>(i)), Source{&n, bodies[i]});
    }
    return {};
  }

  static Status no_body(const Node& n) {
    if (n.op().compute.decompose == nullptr)
      return error(Code::kUnsupported, "{}", n.op().host.empty() ? "opaque: there are no element semantics" : n.op().host);
    for (const Value* v : n.inputs())
      if (v != nullptr) TENON_RETURN_IF_ERROR(check_type(v));
    return error(Code::kUnsupported, "the op is composed of simpler ones, but not in this form");
  }

  static Status check_type(const Value* v) {
    if (!v->type().is_tensor()) return error(Code::kUnsupported, "value {} is not a tensor", v->name());
    if (!v->type().is_ranked_tensor()) return error(Code::kUnsupported, "rank of {} is not known", v->name());
    return {};
  }

  static Status check_body(const Body& body) {
    if (!kernel_dtype(body.dtype)) return error(Code::kUnsupported, "kernels lack {}", name(body.dtype));
    if (body.axes.size() + body.reduce_axes.size() > 30) return error(Code::kUnsupported, "more than 30 axes");
    for (int id = 0; id < body.pool->size(); ++id) {
      if (!kernel_dtype(body.pool->node(id).dtype))
        return error(Code::kUnsupported, "kernels lack {}", name(body.pool->node(id).dtype));
    }
    return {};
  }

  /// What follows walks expressions by recursion.
  Status check_depth() const {
    std::vector<int> depth(static_cast<size_t>(pool_.size()), 0);
    for (int id = 0; id < pool_.size(); ++id) {
      int& own = depth[static_cast<size_t>(id)];
      for (int a : pool_.node(id).args) own = std::max(own, depth[static_cast<size_t>(a)] + 1);
      if (own > kMaxDepth) return error(Code::kUnsupported, "an expression is more than {} deep", kMaxDepth);
    }
    return {};
  }

  int operand_of(const Value* v) {
    const auto [it, fresh] = operand_.emplace(v, static_cast<int>(group_.operands.size()));
    if (fresh) group_.operands.push_back({v, permuted(*v->tensor().dims, order_of(v)), v->dtype()});
    return it->second;
  }

  /// The storage order of a value; a result of the region is stored as the node's is.
  std::vector<int> order_of(const Value* v) const {
    const auto outer = stored_as_.find(v);
    return ir::storage_order(*(outer == stored_as_.end() ? v : outer->second));
  }

  template <class T>
  static std::vector<T> permuted(std::vector<T> by_axis, const std::vector<int>& order) {
    if (order.empty()) return by_axis;
    std::vector<T> stored;
    for (int axis : order) stored.push_back(by_axis[static_cast<size_t>(axis)]);
    return stored;
  }

  Expr fail(Status status, DType dtype) {
    if (status_.ok()) status_ = std::move(status);
    return pool_.constant(dtype, 0);
  }

  /// Element of any value at `index` (one i64 each axis), read only where `guard`, when valid, holds.
  Expr element(const Value* v, std::span<const Expr> index, Expr guard, Expr other, DType dtype) {
    if (!status_.ok()) return pool_.constant(dtype, 0);
    if (pool_.size() > kMaxPoolNodes) return fail(error(Code::kUnsupported, "the group's expressions grow too large"), dtype);
    for (auto outer = formal_.find(v); outer != formal_.end(); outer = formal_.find(v)) v = outer->second;
    if (const SteppedRegion::Input* input = stepped_input(v)) return stepped_element(*input, index, guard, other, dtype);
    if (v == nullptr) return fail(error(Code::kInternal, "an absent input is read"), dtype);
    const std::vector<int> checks = checks_in(index);
    if (const Tensor* t = scalar_constant(v); t != nullptr && !guard.valid() && checks.empty()) return constant(*t, dtype);
    const auto source = bodies_.find(v);
    if (source == bodies_.end()) {
      if (!check_type(v).ok() || !kernel_dtype(v->dtype()) || index.size() != v->tensor().dims->size())
        return fail(error(Code::kUnsupported, "operand {} cannot be read", v->name()), dtype);
      return load(v, operand_of(v), index, guard, other);
    }
    if (is_stage(source->second.body)) {
      const int stage = stage_of(v);
      if (stepped_ == nullptr) return load(v, kStageOperand + stage, index, guard, other);
      std::vector<Expr> at(index.begin(), index.end());
      at.insert(at.begin(), pool_.index(0));
      return load_at(kStageOperand + stage, v->dtype(), at, guard, other);
    }
    // A value that several paths reach is made once: copying it for each path would double the work at every join.
    std::vector<int> key = {guard.id, guard.valid() ? other.id : -1};
    for (const Expr& i : index) key.push_back(i.id);
    auto& made = elements_[v];
    if (const auto found = made.find(key); found != made.end()) return found->second;
    Expr value = inline_expr(source->second, source->second.body.value, index, guard);
    // A producer that is the same everywhere would lose the check of where it is read.
    if (!checks.empty() && !std::ranges::includes(checks_in({&value, 1}), checks))
      return fail(error(Code::kUnsupported, "a checked index of {} decides nothing", v->name()), dtype);
    if (guard.valid()) value = ir::select(guard, value, other);
    elements_[v].emplace(std::move(key), value);
    return value;
  }

  /// The checked indices that expressions depend on, ascending.
  std::vector<int> checks_in(std::span<const Expr> roots) {
    for (; scanned_ < pool_.size(); ++scanned_) any_check_ |= pool_.node(scanned_).kind == ExprKind::kCheckedIndex;
    if (!any_check_) return {};
    std::vector<int> found, stack;
    std::unordered_set<int> seen;
    for (const Expr& root : roots) stack.push_back(root.id);
    while (!stack.empty()) {
      const int id = stack.back();
      stack.pop_back();
      if (!seen.insert(id).second) continue;
      const ExprNode& node = pool_.node(id);
      if (node.kind == ExprKind::kCheckedIndex) found.push_back(id);
      stack.insert(stack.end(), node.args.begin(), node.args.end());
    }
    std::ranges::sort(found);
    return found;
  }

  Expr load(const Value* v, int operand, std::span<const Expr> index, Expr guard, Expr other) {
    return load_at(operand, v->dtype(), permuted(std::vector<Expr>(index.begin(), index.end()), order_of(v)), guard, other);
  }

  Expr load_at(int operand, DType dtype, std::span<const Expr> index, Expr guard, Expr other) {
    return guard.valid() ? pool_.load_guarded(operand, dtype, index, guard, other) : pool_.load(operand, dtype, index);
  }

  struct Source {
    const Node* node;
    Body body;
  };

  /// A body's expression with its axes replaced by `index` and its loads by the elements of the node's inputs.
  Expr inline_expr(const Source& source, Expr e, std::span<const Expr> index, Expr guard) {
    return pool_.copy(e, [&, guard](const ExprNode& n, std::span<const Expr> args) -> Expr {
      if (n.kind == ExprKind::kIndex) {
        if (static_cast<size_t>(n.axis) >= index.size()) return fail(error(Code::kInternal, "axis out of range"), DType::kI64);
        return index[static_cast<size_t>(n.axis)];
      }
      if (n.kind != ExprKind::kLoad) return {};
      const Value* v = source.node->input(n.operand);
      Expr inner = guard, other;
      std::span<const Expr> at = args;
      if (n.guarded) {
        at = args.first(args.size() - 2);
        other = args.back();
        const Expr own = args[args.size() - 2];
        inner = guard.valid() ? (guard && own) : own;
      } else if (guard.valid()) {
        other = pool_.constant(n.dtype, 0);
      }
      return element(v, at, inner, other, n.dtype);
    });
  }

  const SteppedRegion::Input* stepped_input(const Value* v) const {
    if (stepped_ == nullptr) return nullptr;
    const auto& inputs = stepped_->region->inputs();
    const auto at = std::find(inputs.begin(), inputs.end(), v);
    return at == inputs.end() ? nullptr : &stepped_->inputs[static_cast<size_t>(at - inputs.begin())];
  }

  Expr stepped_element(const SteppedRegion::Input& input, std::span<const Expr> index, Expr guard, Expr other, DType dtype) {
    std::vector<Expr> at(index.begin(), index.end());
    at.insert(at.begin() + input.time_axis, input.time);
    return load_at(input.operand, dtype, at, guard, other);
  }

  /// A one-element constant, which becomes an immediate operand.
  static const Tensor* scalar_constant(const Value* v) {
    const Tensor* t = ir::constant_of(v);
    return t != nullptr && t->size() == 1 && kernel_dtype(t->dtype()) ? t : nullptr;
  }

  Expr constant(const Tensor& t, DType dtype) {
    return is_float(dtype) ? pool_.constant(dtype, t.at_double(0)) : pool_.constant_int(dtype, t.at_int(0));
  }

  /// Indices by axis of a value, then by reduce axis, in a stage whose axes are in the value's storage order, time before them.
  std::vector<Expr> stage_index(const Value* v, size_t axes, size_t reduce_axes) {
    std::vector<int> position(axes + reduce_axes);
    std::iota(position.begin(), position.end(), 0);
    const std::vector<int> order = order_of(v);
    for (size_t p = 0; p < order.size(); ++p) position[static_cast<size_t>(order[p])] = static_cast<int>(p);
    if (stepped_ != nullptr)
      for (int& p : position) ++p;
    std::vector<Expr> index;
    for (int p : position) index.push_back(pool_.index(p));
    return index;
  }

  Stage stage_over(const std::vector<Dim>& axes) const {
    Stage s;
    s.axes = axes;
    s.stepped = stepped_ != nullptr;
    if (s.stepped) s.axes.insert(s.axes.begin(), stepped_->steps);
    s.shape = s.axes;
    return s;
  }

  int stage_of(const Value* v) {
    if (const auto found = stage_.find(v); found != stage_.end()) return found->second;
    const Source& source = bodies_.at(v);
    const Body& body = source.body;
    const std::vector<Expr> index = stage_index(v, body.axes.size(), body.reduce_axes.size());
    Stage s = stage_over(permuted(body.axes, order_of(v)));
    s.reduce_axes = body.reduce_axes;
    s.combiner = body.combiner;
    s.acc_dtype = body.acc_dtype;
    s.dtype = body.dtype;
    s.value = inline_expr(source, body.value, index, {});
    s.scan = body.scan;
    if (s.scan) s.scan->axis = index[static_cast<size_t>(s.scan->axis)].node().axis;
    if (body.scatter) {
      s.scatter.emplace(Scatter{inline_expr(source, body.scatter->init, index, {}), {}, body.scatter->replaces});
      for (const Expr& e : permuted(body.scatter->target, order_of(v))) s.scatter->target.push_back(inline_expr(source, e, index, {}));
    }
    if (s.reduces()) {
      const DType result = s.is_arg() ? DType::kI64 : body.acc_dtype;
      s.post = body.post.valid() ? inline_expr(source, body.post, index, {}) : pool_.cast(pool_.acc(0, result), body.dtype);
    }
    const int id = static_cast<int>(group_.stages.size());
    group_.stages.push_back(std::move(s));
    stage_[v] = id;
    return id;
  }

  Status add_output(const Value* inner, const Value* outer) {
    TENON_RETURN_IF_ERROR(check_type(outer));
    if (bodies_.contains(inner) && !stage_.contains(inner)) {
      group_.stages[static_cast<size_t>(stage_of(inner))].output = outer;
      return {};
    }
    if (bodies_.contains(inner)) {
      Stage& s = group_.stages[static_cast<size_t>(stage_.at(inner))];
      if (s.output == nullptr) {
        s.output = outer;
        return {};
      }
    }
    Stage copy;  // an output that is an input of the region, or a second output of one value
    const std::vector<int> order = ir::storage_order(*outer);
    copy.axes = copy.shape = permuted(*outer->tensor().dims, order);
    copy.dtype = inner->dtype();
    std::vector<Expr> index(copy.axes.size());
    for (size_t p = 0; p < index.size(); ++p) {
      const size_t axis = order.empty() ? p : static_cast<size_t>(order[p]);
      index[axis] = pool_.index(static_cast<int>(p));
    }
    copy.value = element(inner, index, {}, {}, copy.dtype);
    copy.output = outer;
    group_.stages.push_back(std::move(copy));
    return {};
  }

  const SteppedRegion* stepped_ = nullptr;
  int scanned_ = 0;  // of the pool's nodes, for any_check_
  bool any_check_ = false;
  Group group_;
  ExprPool& pool_;
  Status status_;
  std::unordered_map<const Value*, const Value*> formal_;
  std::unordered_map<const Value*, const Value*> stored_as_;  // by result of the region: the node's
  std::map<const Value*, Source> bodies_;
  std::unordered_map<const Value*, std::map<std::vector<int>, Expr>> elements_;  // by guard, other and index
  std::unordered_map<const Value*, int> operand_, stage_;
};

/// Simplifies every stage and renumbers its axes without those of size 1.
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

/// Reduce axes in the order in which the operand lies in memory, where the order does not matter.
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

/// A map that alone reads one reduction, each element once, becomes the reduction's `post`.
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

/// Removes stages that nothing needs and renumbers the rest, in order of dependence.
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

}  // namespace

std::vector<Expr*> Stage::roots() {
  std::vector<Expr*> out{&value};
  if (reduces()) out.push_back(&post);
  if (!scatter) return out;
  out.push_back(&scatter->init);
  for (Expr& e : scatter->target) out.push_back(&e);
  return out;
}

std::vector<int> Stage::operands() const {
  std::vector<int> out;
  for (const Expr* e : const_cast<Stage*>(this)->roots()) collect_operands(*e, out);
  return out;
}

void visit(Expr e, const std::function<void(int id, const ExprNode& node)>& fn) {
  std::vector<char> needed(static_cast<size_t>(e.id) + 1, 0);
  needed.back() = 1;
  for (int id = e.id; id >= 0; --id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    for (int a : e.pool->node(id).args) needed[static_cast<size_t>(a)] = 1;
  }
  for (int id = 0; id <= e.id; ++id) {
    if (needed[static_cast<size_t>(id)]) fn(id, e.pool->node(id));
  }
}

void collect_operands(Expr e, std::vector<int>& operands) {
  visit(e, [&](int, const ExprNode& n) {
    if (n.kind == ExprKind::kLoad && std::find(operands.begin(), operands.end(), n.operand) == operands.end())
      operands.push_back(n.operand);
  });
}

Result<Group> build_group(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Group group, GroupBuilder().build(node));
  if (group.stages.empty()) return error(Code::kUnsupported, "nothing to compute");
  normalise(group);
  order_reduce_axes(group);
  fold_epilogues(group);
  compact(group);
  return group;
}

Result<Group> add_steps(Group group, const SteppedRegion& stepped) {
  TENON_ASSIGN_OR_RETURN(Group whole, GroupBuilder(std::move(group)).build(stepped));
  normalise(whole);
  return whole;
}

}  // namespace tenon::codegen
