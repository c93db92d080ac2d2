#include "codegen/lower/group.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "codegen/lower/kernel_limits.h"
#include "codegen/lower/simplify_group.h"
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
    TENON_RETURN_IF_ERROR(check_depth(pool_));
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
    TENON_RETURN_IF_ERROR(check_depth(pool_));
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
    if (guard.valid() && !gives(value, guard, other)) value = ir::select(guard, value, other);
    elements_[v].emplace(std::move(key), value);
    return value;
  }

  /// Whether `value` is `other` by itself where the guard does not hold: conversions of a load under that guard.
  bool gives(Expr value, Expr guard, Expr other) {
    std::vector<DType> conversions;
    while (value.node().kind == ExprKind::kCast) {
      conversions.push_back(value.dtype());
      value = {&pool_, value.node().args[0]};
    }
    const ExprNode& load = value.node();
    if (load.kind != ExprKind::kLoad || !load.guarded || load.args[load.args.size() - 2] != guard.id) return false;
    Expr there{&pool_, load.args.back()};
    for (size_t i = conversions.size(); i-- > 0;) there = pool_.cast(there, conversions[i]);
    return there.id == other.id;
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

}  // namespace

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
