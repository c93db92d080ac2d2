#include "codegen/schedule/recurrence.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "support/axis.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using ir::Value;

namespace {

constexpr int kStoreOperand = kStageOperand - 128;  // stands for what is stored to in the expression of an offset
constexpr int kFirstGate = 1 << 20;                 // gates are loads of stages from this number on

class Builder {
 public:
  Builder(const ir::Node& scan, Lowering& lowering) : scan_(scan), lowering_(lowering), pool_(*lowering.group.pool) {}

  Result<Recurrence> build() {
    TENON_RETURN_IF_ERROR(add_stages());
    for (int s : reductions_) TENON_RETURN_IF_ERROR(add_product(s));
    for (size_t i = 0; i < maps_.size(); ++i) TENON_RETURN_IF_ERROR(add_level(maps_[i]));
    TENON_RETURN_IF_ERROR(add_phases());
    for (Phase& phase : r_.phases) TENON_RETURN_IF_ERROR(pack_matrices(lowering_, r_, phase));
    for (size_t k = 0; k < r_.states.size(); ++k) add_last(k);
    return std::move(r_);
  }

 private:
  Stage& stage(int s) { return lowering_.stage(s); }
  Expr number(int64_t value) { return pool_.constant_int(DType::kI64, value); }
  const ExprNode& node(Expr e) const { return pool_.node(e.id); }
  int append(Stage s) {
    lowering_.group.stages.push_back(std::move(s));
    return static_cast<int>(lowering_.group.stages.size()) - 1;
  }
  std::vector<Expr> indices(size_t first, size_t count) {
    std::vector<Expr> index;
    for (size_t i = 0; i < count; ++i) index.push_back(pool_.index(static_cast<int>(first + i)));
    return index;
  }
  /// The axes of a value in a stage whose first axes are others: those of size 1 are 0.
  std::vector<Expr> place(std::span<const Dim> dims, int first) {
    std::vector<Expr> index;
    for (Dim d : dims) index.push_back(d.is_const(1) ? number(0) : pool_.index(first++));
    return index;
  }

  // ---- Stages

  Status add_stages() {
    const ir::Graph& region = scan_.region(0);
    const int64_t scans = scan_.attr_int("num_scan_inputs", 0);
    states_ = scan_.num_inputs() - static_cast<int>(scans);
    SteppedRegion stepped{&region, {}, {}};
    if (scans < 1 || states_ < 0 || region.inputs().size() != static_cast<size_t>(scan_.num_inputs()))
      return error(Code::kUnsupported, "the region does not fit the node");
    for (const Value* v : scan_.inputs())
      if (v == nullptr || !v->type().is_ranked_tensor()) return error(Code::kUnsupported, "an operand has no known rank");
    for (int k = 0; k < states_; ++k) stepped.inputs.push_back(add_state(*scan_.input(k)));
    for (int i = 0; i < scans; ++i) TENON_RETURN_IF_ERROR(add_scanned(i, stepped));
    Group whole = lowering_.group;
    TENON_ASSIGN_OR_RETURN(lowering_.group, add_steps(std::move(whole), stepped));
    r_.steps = stepped.steps;
    return sort_stages();
  }

  int operand(const Value& v) {
    lowering_.group.operands.push_back({&v, *v.tensor().dims, v.dtype()});
    return static_cast<int>(lowering_.group.operands.size()) - 1;
  }

  SteppedRegion::Input add_state(const Value& initial) {
    Stage s;
    s.axes = s.shape = *initial.tensor().dims;
    s.dtype = initial.dtype();
    s.value = pool_.load(operand(initial), s.dtype, indices(0, s.axes.size()));
    s.shape.insert(s.shape.begin(), 2);
    r_.states.push_back(append(std::move(s)));
    return {kStageOperand + r_.states.back(), 0, ir::mod(pool_.index(0), number(2))};
  }

  Status add_scanned(int i, SteppedRegion& stepped) {
    const Value& v = *scan_.input(states_ + i);
    const std::vector<Dim>& dims = *v.tensor().dims;
    TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(entry("scan_input_axes", i), std::ssize(dims)));
    if (i == 0) stepped.steps = dims[static_cast<size_t>(axis)];
    stepped.inputs.push_back({operand(v), static_cast<int>(axis), time(entry("scan_input_directions", i) != 0, dims[static_cast<size_t>(axis)])});
    return {};
  }

  Expr time(bool reverse, Dim steps) { return reverse ? pool_.dim(steps) - number(1) - pool_.index(0) : pool_.index(0); }

  int64_t entry(std::string_view list, int i) const {
    const std::vector<int64_t> all = scan_.attr_ints(list);
    return static_cast<size_t>(i) < all.size() ? all[static_cast<size_t>(i)] : 0;
  }

  /// Which stages are reductions, and what the maps at the end write.
  Status sort_stages() {
    const int total = static_cast<int>(lowering_.group.stages.size()), first = total - scan_.num_outputs();
    for (int s = states_; s < first; ++s) {
      if (!stage(s).reduces()) return error(Code::kUnsupported, "a step has elements in order");
      reductions_.push_back(s);
    }
    for (int o = 0; o < scan_.num_outputs(); ++o) {
      if (o >= states_ && scan_.output(o)->unused()) continue;
      if (stage(first + o).axes.size() < 2 || stage(first + o).axes.size() > 3)
        return error(Code::kUnsupported, "a step computes {} axes", stage(first + o).axes.size() - 1);
      TENON_RETURN_IF_ERROR(o < states_ ? add_next(first + o, o) : add_output(first + o, o));
    }
    return {};
  }

  Status add_next(int s, int state) {
    const std::vector<Dim> dims(stage(s).shape.begin() + 1, stage(s).shape.end());
    const std::vector<Dim>& held = stage(r_.states[static_cast<size_t>(state)]).shape;
    if (held.size() != dims.size() + 1) return error(Code::kUnsupported, "a state changes its rank");
    if (stage(s).dtype != stage(r_.states[static_cast<size_t>(state)]).dtype) return error(Code::kUnsupported, "a state changes its dtype");
    std::vector<Expr> index = place(dims, 1);
    index.insert(index.begin(), ir::mod(pool_.index(0) + number(1), number(2)));
    add_map(s, r_.states[static_cast<size_t>(state)], index);
    return {};
  }

  Status add_output(int s, int output) {
    Stage& made = stage(s);
    const Value* v = scan_.output(output);
    if (!v->type().is_ranked_tensor()) return error(Code::kUnsupported, "rank of {} is not known", v->name());
    const std::vector<Dim> dims(made.shape.begin() + 1, made.shape.end());
    TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(entry("scan_output_axes", output - states_), v->tensor().rank()));
    made.output = v;
    made.shape = *v->tensor().dims;
    std::vector<Expr> index = place(dims, 1);
    index.insert(index.begin() + axis, time(entry("scan_output_directions", output - states_) != 0, r_.steps));
    add_map(s, s, index);
    return {};
  }

  void add_map(int s, int into, std::span<const Expr> index) {
    const auto flat = shape_of();
    StepMap map{s, into, flatten_loads(stage(s).value, stage(s).axes, flat), {}, 0};
    const Expr store = flatten_loads(pool_.load(kStoreOperand, stage(s).dtype, index), stage(s).axes, [&](int operand) {
      return operand == kStoreOperand ? &stage(into).shape : flat(operand);
    });
    map.store = {&pool_, node(store).args[0]};
    maps_.push_back(std::move(map));
  }

  std::function<const std::vector<Dim>*(int)> shape_of() { return shapes(lowering_); }

  // ---- Products

  Status add_product(int s) {
    const Stage whole = stage(s);
    const ExprNode root = node(whole.value);
    if (whole.combiner != ir::Combiner::kAdd || root.kind != ExprKind::kOp || root.op != ScalarOp::kMul || whole.reduce_axes.size() != 1)
      return error(Code::kUnsupported, "a step reduces something else than products");
    if (whole.axes.size() < 2 || whole.axes.size() > 3) return error(Code::kUnsupported, "a step's product has {} axes", whole.axes.size() - 1);
    if (!whole.axes.back().is_const() || !whole.reduce_axes[0].is_const()) return error(Code::kUnsupported, "the size of a matrix is not known");
    StepProduct product;
    product.stage = s;
    product.k = whole.reduce_axes[0].value();
    product.n = whole.axes.back().value();
    product.a = {&pool_, root.args[0]};
    product.b = {&pool_, root.args[1]};
    const int n = static_cast<int>(whole.axes.size()) - 1;
    if (uses_axis(product.a, n)) std::swap(product.a, product.b);
    bool same = !uses_axis(product.a, n) && product.k > 0;
    for (int axis = 0; axis < n; ++axis) same &= !uses_axis(product.b, axis);
    visit(product.b, [&](int, const ExprNode& e) { same &= e.kind != ExprKind::kLoad || e.operand < kStageOperand; });
    visit(whole.post, [&](int, const ExprNode& e) { same &= e.kind != ExprKind::kLoad || e.operand < kStageOperand; });
    if (!same) return error(Code::kUnsupported, "a step multiplies by a matrix that is not the same in all steps");
    if (!read_in_place(product, whole)) store_factor(product, whole);
    number_of_[s] = static_cast<int>(r_.products.size());
    r_.products.push_back(std::move(product));
    return {};
  }

  bool of_reduction(int operand) const {
    return std::find(reductions_.begin(), reductions_.end(), operand - kStageOperand) != reductions_.end();
  }

  /// A as a bare load: its offset in two parts.
  bool read_in_place(StepProduct& product, const Stage& whole) {
    const Expr a = flatten_loads(product.a, whole.all_axes(), shape_of());
    const ExprNode load = node(a);
    if (load.kind != ExprKind::kLoad || load.guarded || load.dtype != whole.acc_dtype || of_reduction(load.operand)) return false;
    const int m = static_cast<int>(whole.axes.size()) - 2, k = static_cast<int>(whole.axes.size());
    IndexAlgebra algebra(pool_, whole.all_axes());
    Affine row = algebra.affine({&pool_, load.args[0]}), along;
    for (const Affine::Term& t : row.terms) {
      const Expr atom{&pool_, t.atom};
      if (node(atom).kind != ExprKind::kIndex && (uses_axis(atom, k) || (m > 0 && uses_axis(atom, m)))) return false;
      bool computed = false;
      visit(atom, [&](int, const ExprNode& e) { computed |= e.kind == ExprKind::kLoad || e.kind == ExprKind::kCheckedIndex; });
      if (computed) return false;
    }
    std::erase_if(row.terms, [&](const Affine::Term& t) {
      const bool moves = pool_.node(t.atom).kind == ExprKind::kIndex && pool_.node(t.atom).axis == k;
      if (moves) along.terms.push_back(t);
      return moves;
    });
    product.a = a;
    product.row = algebra.expr(row);
    product.along = algebra.expr(along);
    return true;
  }

  /// A as a map of its own, in a round before: axes time, m (if any), k.
  void store_factor(StepProduct& product, const Stage& whole) {
    const int n = static_cast<int>(whole.axes.size()) - 1;
    Stage s;
    s.stepped = true;
    s.axes = whole.axes;
    s.axes.back() = whole.reduce_axes[0];
    s.dtype = whole.acc_dtype;
    s.value = pool_.copy(product.a, [&](const ExprNode& e, std::span<const Expr>) -> Expr {
      return e.kind == ExprKind::kIndex && e.axis == n + 1 ? pool_.index(n) : Expr{};
    });
    s.shape.assign(s.axes.begin() + 1, s.axes.end());
    for (const StepMap& map : maps_)
      if (map.stage == map.into && stage(map.stage).value.id == s.value.id && stage(map.stage).shape == s.shape) product.source = map.stage;
    if (product.source < 0) {
      product.source = append(std::move(s));
      add_map(product.source, product.source, indices(1, static_cast<size_t>(n)));
    }
    std::vector<Expr> index = indices(1, static_cast<size_t>(n));
    index.back() = pool_.index(n + 1);
    product.a = pool_.load(kStageOperand + product.source, whole.acc_dtype, index);
    read_in_place(product, whole);
  }

  // ---- Phases

  /// The phase that a map can be in: that of the products it uses.
  Status add_level(StepMap& map) {
    std::vector<int> operands;
    collect_operands(map.value, operands);
    for (int o : operands) {
      if (!of_reduction(o)) continue;
      TENON_ASSIGN_OR_RETURN(const int level, level_of(number_of_.at(o - kStageOperand)));
      map.level = std::max(map.level, level);
    }
    return {};
  }

  Result<int> level_of(int product) {
    const int source = r_.products[static_cast<size_t>(product)].source;
    if (source < 0) return 0;
    for (StepMap& map : maps_) {
      if (map.stage != source) continue;
      TENON_RETURN_IF_ERROR(add_level(map));
      return map.level + 1;
    }
    return error(Code::kInternal, "a factor is not computed");
  }

  Status add_phases() {
    std::stable_sort(maps_.begin(), maps_.end(), [](const StepMap& a, const StepMap& b) { return a.level < b.level; });
    int level = -1;
    size_t first = 0;  // phase of this level
    for (StepMap& map : maps_) {
      const std::vector<Dim> axes = stage(map.stage).axes;
      if (!axes.back().is_const() || axes.back().value() < 1) return error(Code::kUnsupported, "the size of a state is not known");
      if (map.level != level) first = r_.phases.size();
      level = map.level;
      auto phase = std::find_if(r_.phases.begin() + static_cast<int64_t>(first), r_.phases.end(), [&](const Phase& p) { return p.axes == axes; });
      if (phase == r_.phases.end()) phase = r_.phases.insert(phase, Phase{axes, {}, {}, 1, 0});
      TENON_RETURN_IF_ERROR(add_gates(*phase, map));
      phase->maps.push_back(map);
    }
    return {};
  }

  /// Replaces loads of products by those of gates.
  Status add_gates(Phase& phase, StepMap& map) {
    std::unordered_map<int, Expr> replacement;
    std::vector<int> loads;
    visit(map.value, [&](int id, const ExprNode& e) {
      if (e.kind == ExprKind::kLoad && of_reduction(e.operand)) loads.push_back(id);
    });
    for (int id : loads) {
      const ExprNode load = pool_.node(id);
      const int product = number_of_.at(load.operand - kStageOperand);
      const std::optional<int64_t> offset = column(phase, load, r_.products[static_cast<size_t>(product)]);
      if (!offset) return error(Code::kUnsupported, "a step reads a product in another order");
      replacement[id] = gate(phase, product, *offset);
    }
    map.value = substitute(map.value, replacement);
    return {};
  }

  /// Column of the product that is read for n = 0, when the others follow.
  std::optional<int64_t> column(const Phase& phase, const ExprNode& load, const StepProduct& product) {
    if (load.guarded || stage(product.stage).axes.size() != phase.axes.size()) return std::nullopt;
    IndexAlgebra algebra(pool_, phase.axes);
    const Affine offset = algebra.affine({&pool_, load.args[0]});
    const std::vector<Dim>& axes = stage(product.stage).axes;
    Dim stride = 1;
    size_t found = 0;
    for (size_t axis = axes.size(); axis-- > 0; stride = stride * axes[axis]) {
      const Dim* c = offset.coefficient_of(pool_.index(static_cast<int>(axis)).id);
      if (c != nullptr && *c == stride) ++found;
      else if (!(axis == 0 && axes[0].is_const(1) && c == nullptr)) return std::nullopt;
    }
    if (found != offset.terms.size() || !offset.constant.is_const()) return std::nullopt;
    const int64_t first = offset.constant.value();
    return first < 0 || first + phase.n() > product.n ? std::nullopt : std::optional(first);
  }

  Expr gate(Phase& phase, int product, int64_t offset) {
    auto part = std::find_if(phase.products.begin(), phase.products.end(), [&](const Phase::Product& p) { return p.product == product; });
    if (part == phase.products.end()) part = phase.products.insert(part, Phase::Product{product, {}, -1});
    auto found = std::find_if(part->gates.begin(), part->gates.end(), [&](const Gate& g) { return g.offset == offset; });
    if (found == part->gates.end()) found = part->gates.insert(found, Gate{product, offset, kFirstGate + next_gate_++});
    const Stage& s = stage(r_.products[static_cast<size_t>(product)].stage);
    const Expr nothing[] = {number(0)};
    const Expr acc = pool_.load(kStageOperand + found->stage, s.acc_dtype, nothing);
    const int n = static_cast<int>(s.axes.size()) - 1;
    const Expr post = flatten_loads(s.post, s.axes, shape_of());
    return pool_.copy(post, [&](const ExprNode& e, std::span<const Expr>) -> Expr {
      if (e.kind == ExprKind::kAcc) return acc;
      return e.kind == ExprKind::kIndex && e.axis == n ? pool_.index(n) + number(offset) : Expr{};
    });
  }

  void add_last(size_t state) {
    const Value* v = scan_.output(static_cast<int>(state));
    if (v->unused()) return;
    const Stage& held = stage(r_.states[state]);
    Stage s;
    s.axes = held.axes;
    s.dtype = held.dtype;
    s.output = v;
    s.shape.assign(held.shape.begin() + 1, held.shape.end());
    std::vector<Expr> index = place(s.shape, 0);
    index.insert(index.begin(), pool_.dim(ir::mod(r_.steps, 2)));
    s.value = pool_.load(kStageOperand + r_.states[state], s.dtype, index);
    r_.last.push_back(append(std::move(s)));
  }

  const ir::Node& scan_;
  Lowering& lowering_;
  ir::ExprPool& pool_;
  Recurrence r_;
  int states_ = 0, next_gate_ = 0;
  std::vector<int> reductions_;
  std::vector<StepMap> maps_;
  std::unordered_map<int, int> number_of_;  // product, by stage
};

/// Maps of equal axes in one kernel.
Status schedule_maps(Lowering& lowering, std::vector<int> stages) {
  while (!stages.empty()) {
    std::vector<int> together, rest;
    for (int s : stages) (lowering.stage(s).axes == lowering.stage(stages[0]).axes ? together : rest).push_back(s);
    TENON_RETURN_IF_ERROR(schedule_map(lowering, together));
    stages = std::move(rest);
  }
  return {};
}

}  // namespace

Status schedule_recurrence(Lowering& lowering, const ir::Node& scan) {
  TENON_ASSIGN_OR_RETURN(const Recurrence r, Builder(scan, lowering).build());
  for (const Phase& phase : r.phases)
    for (const Phase::Product& part : phase.products)
      if (part.packed >= 0) TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&part.packed, 1)));
  TENON_RETURN_IF_ERROR(schedule_maps(lowering, r.states));
  std::string how = "recurrence";
  if (lowering.gpu()) {
    TENON_ASSIGN_OR_RETURN(how, emit_recurrence_in_lanes(lowering, r));
  } else {
    emit_recurrence(lowering, r);
    if (!r.phases.empty()) how += fmt::format(" {}x{}x{}", r.phases[0].rows, r.phases[0].gates(), r.phases[0].width);
  }
  TENON_RETURN_IF_ERROR(schedule_maps(lowering, r.last));
  lowering.out.implementation = std::move(how);
  return {};
}

}  // namespace tenon::codegen
