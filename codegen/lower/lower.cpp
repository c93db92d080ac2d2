#include "codegen/lower/lower.h"

#include <algorithm>

#include "codegen/lower/index_algebra.h"
#include "codegen/lower/phases.h"
#include "codegen/schedule/attention.h"
#include "codegen/schedule/contraction_beside.h"
#include "codegen/schedule/schedule.h"
#include "codegen/schedule/top_k.h"

namespace tenon::codegen {

namespace {

bool has_dependences(const Group& group) {
  return std::any_of(group.stages.begin(), group.stages.end(), [](const Stage& s) {
    const std::vector<int> used = s.operands();
    return std::any_of(used.begin(), used.end(), [](int o) { return o >= kStageOperand; });
  });
}

/// Maps with equal axes and shape share a kernel; the kernels are in order of the stages.
Status lower_maps(Lowering& lowering, std::vector<int> stages) {
  while (!stages.empty()) {
    std::vector<int> together, rest;
    for (int s : stages) (lowering.stage(s).axes == lowering.stage(stages[0]).axes ? together : rest).push_back(s);
    TENON_RETURN_IF_ERROR(schedule_map(lowering, together));
    stages = std::move(rest);
  }
  lowering.out.implementation = "map";
  return {};
}

struct Choice {
  const char* name;
  Status (*schedule)(Lowering&, int);
  bool gpu = true;
  int64_t elements = 0;             // of a GPU's workgroup; 0: the schedule itself cuts long sums
  int64_t least = 0;                // elements of a part of a sum that is cut
};

constexpr Choice kChoices[] = {
    {"winograd", schedule_winograd, false},
    {"contraction", schedule_contraction},
    {"row reduction", [](Lowering& l, int s) { return schedule_rows(l, std::span<const int>(&s, 1)); }, true, 1, 2048},
    {"window", schedule_window, true, 64, 64},
};

Status lower_reduction(Lowering& lowering, int stage, bool may_split = true);

/// By the choice's schedule; on a GPU in two steps, parts and then theirs, where that keeps more of the device busy.
Status schedule(Lowering& lowering, int stage, const Choice& choice, bool may_split) {
  if (!lowering.gpu() || !may_split || choice.elements == 0) return choice.schedule(lowering, stage);
  const Stage whole = lowering.stage(stage);
  const ir::Dim workgroups = ir::ceil_div(ir::product(whole.axes), choice.elements);
  const int parts = split_reduction(lowering, stage, workgroups, choice.least, choice.elements == 1);
  if (parts < 0) return choice.schedule(lowering, stage);
  const Status first = choice.schedule(lowering, parts);
  if (!first.ok()) {
    lowering.group.stages.pop_back();
    lowering.stage(stage) = whole;
    return first;
  }
  TENON_RETURN_IF_ERROR(lower_reduction(lowering, stage, false));
  lowering.out.implementation = fmt::format("{} in {} parts", choice.name, lowering.stage(stage).reduce_axes[0].value());
  return {};
}

/// One reduction: the best schedule that takes it.
Status lower_reduction(Lowering& lowering, int stage, bool may_split) {
  split_phases(lowering, stage);
  Status last;
  for (const Choice& choice : kChoices) {
    if (lowering.gpu() && !choice.gpu) continue;
    last = schedule(lowering, stage, choice, may_split);
    if (last.ok()) {
      if (lowering.out.implementation.empty()) lowering.out.implementation = choice.name;
      return {};
    }
    if (last.code() != Code::kUnsupported) return last;
    lowering.out.refused.push_back(std::string(choice.name) + ": " + last.what());
  }
  return last;
}

Status lower_ordered(Lowering& lowering, int stage) {
  const bool scan = lowering.stage(stage).scan.has_value(), alone = lowering.group.stages.size() == 1;
  TENON_RETURN_IF_ERROR(scan ? schedule_scan(lowering, stage) : schedule_scatter(lowering, stage));
  if (alone) lowering.out.implementation = scan ? "scan" : "scatter";
  return {};
}

constexpr int64_t kWorthStoring = 12;  // cost from which a factor is not computed again for every product

/// A factor of a product that takes results of several stages and much work (the weights of a softmax): computed once, by a stage
/// of its own. Its number, or -1.
int store_factor(Lowering& lowering, int stage) {
  ir::ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  const ir::ExprNode root = s.value.node();
  if (root.kind != ir::ExprKind::kOp || root.op != ir::ScalarOp::kMul) return -1;
  for (int id : root.args) {
    const ir::Expr factor{&pool, id};
    std::vector<int> read;
    collect_operands(factor, read);
    const auto stages = std::count_if(read.begin(), read.end(), [](int o) { return o >= kStageOperand; });
    if (stages < 2 || evaluation_cost(factor) < kWorthStoring) continue;
    Stage made;
    std::vector<ir::Expr> place;
    std::vector<int> number;
    const std::vector<ir::Dim> axes = s.all_axes();
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      const bool used = uses_axis(factor, static_cast<int>(axis));
      number.push_back(static_cast<int>(made.axes.size()));
      if (!used) continue;
      made.axes.push_back(axes[axis]);
      place.push_back(pool.index(static_cast<int>(axis)));
    }
    made.shape = made.axes;
    made.dtype = made.acc_dtype = factor.dtype();
    made.value = pool.copy(factor, [&](const ir::ExprNode& n, std::span<const ir::Expr>) -> ir::Expr {
      return n.kind == ir::ExprKind::kIndex ? pool.index(number[static_cast<size_t>(n.axis)]) : ir::Expr{};
    });
    const int t = static_cast<int>(lowering.group.stages.size());
    const ir::Expr value = substitute(s.value, {{id, pool.load(kStageOperand + t, made.dtype, place)}});
    lowering.stage(stage).value = value;
    lowering.group.stages.push_back(std::move(made));
    return t;
  }
  return -1;
}

/// Every stage in kernels of its own, through temporaries.
Status lower_stages(Lowering& lowering) {
  const int count = static_cast<int>(lowering.group.stages.size());  // schedules may add stages of their own
  for (int s = 0; s < count; ++s) {
    if (lowering.stage(s).reduces())
      if (const int factor = store_factor(lowering, s); factor >= 0) TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&factor, 1)));
    if (lowering.stage(s).reduces()) TENON_RETURN_IF_ERROR(lower_reduction(lowering, s));
    else if (lowering.stage(s).ordered()) TENON_RETURN_IF_ERROR(lower_ordered(lowering, s));
    else TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&s, 1)));
  }
  return {};
}

/// Attention: one kernel, or the scores, the weights of their rows and the product in kernels of their own.
Status lower_attention(Lowering& lowering, const Attention& attention) {
  const Status one = schedule_attention(lowering, attention);
  if (one.ok() || one.code() != Code::kUnsupported) return one;
  lowering.out.refused.push_back("attention: " + one.what());
  const int weights = store_weights(lowering, attention);
  TENON_RETURN_IF_ERROR(lower_reduction(lowering, attention.scores));
  const int rows[] = {attention.maxima, attention.sums, weights};
  const Status together = schedule_rows(lowering, rows);
  if (!together.ok() && together.code() != Code::kUnsupported) return together;
  if (!together.ok()) {
    for (int s : {attention.maxima, attention.sums}) TENON_RETURN_IF_ERROR(lower_reduction(lowering, s));
    TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&weights, 1)));
  }
  TENON_RETURN_IF_ERROR(lower_reduction(lowering, attention.out));
  lowering.out.implementation = "stages";
  return {};
}

Status lower_group(Lowering& lowering, const std::function<bool(ir::Dim, ir::Dim)>& equal) {
  std::vector<int> all;
  for (int s = 0; s < static_cast<int>(lowering.group.stages.size()); ++s) all.push_back(s);
  const bool any_ordered = std::any_of(lowering.group.stages.begin(), lowering.group.stages.end(),
                                       [](const Stage& s) { return s.ordered(); });
  if (any_ordered) return lower_stages(lowering);
  const bool any_reduction = std::any_of(lowering.group.stages.begin(), lowering.group.stages.end(),
                                         [](const Stage& s) { return s.reduces(); });
  if (!any_reduction && !has_dependences(lowering.group)) return lower_maps(lowering, all);
  if (all.size() == 1) return lower_reduction(lowering, 0);
  if (const auto beside = products_beside(lowering)) {
    const Status one = schedule_beside(lowering, all.back(), *beside);
    if (one.ok() || one.code() != Code::kUnsupported) return one;
    lowering.out.refused.push_back("products side by side: " + one.what());
    return lower_stages(lowering);
  }
  const Result<Attention> attention = match_attention(lowering, equal);
  if (attention.ok()) return lower_attention(lowering, *attention);
  const Status rows = schedule_rows(lowering, all);
  if (rows.ok()) {
    lowering.out.implementation = "row reduction";
    return {};
  }
  if (rows.code() != Code::kUnsupported) return rows;
  lowering.out.refused.push_back("attention: " + attention.status().what());
  lowering.out.refused.push_back("row reduction: " + rows.what());
  return lower_stages(lowering);
}

/// Marks kernels whose results are the same in all runs.
void mark_once(LoweredOp& op) {
  std::vector<char> constant(op.temporaries.size(), 0);
  const auto is_constant = [&](const BindingRef& binding) {
    if (const int* temporary = std::get_if<int>(&binding)) return constant[static_cast<size_t>(*temporary)] != 0;
    return ir::constant_of(std::get<const ir::Value*>(binding)) != nullptr;
  };
  for (LoweredKernel& k : op.kernels) {
    k.once = k.grid.is_const() && std::all_of(k.dims.begin(), k.dims.end(), [](ir::Dim d) { return d.is_const(); });
    for (size_t b = 0; b < k.bindings.size() && k.once; ++b) {
      const bool written = k.kernel.buffers[b].written;
      const int* temporary = std::get_if<int>(&k.bindings[b]);
      k.once = written ? temporary != nullptr && op.temporaries[static_cast<size_t>(*temporary)].count.is_const() : is_constant(k.bindings[b]);
    }
    for (size_t b = 0; b < k.bindings.size() && k.once; ++b)
      if (k.kernel.buffers[b].written) constant[static_cast<size_t>(std::get<int>(k.bindings[b]))] = 1;
  }
  // What a kernel of every run writes as well starts afresh in every run.
  for (bool changed = true; changed;) {
    changed = false;
    for (LoweredKernel& k : op.kernels)
      for (size_t b = 0; b < k.bindings.size(); ++b) {
        const int* temporary = std::get_if<int>(&k.bindings[b]);
        if (temporary == nullptr) continue;
        char& known = constant[static_cast<size_t>(*temporary)];
        const bool lost = k.once && !known, spoilt = !k.once && known && k.kernel.buffers[b].written;
        if (lost) k.once = false;
        if (spoilt) known = 0;
        changed |= lost || spoilt;
      }
  }
}

/// The operand whose bytes the group's one output has in the same order.
const ir::Value* viewed_operand(Group& group) {
  const Stage& s = group.stages.front();
  const ir::ExprNode& load = s.value.node();
  if (group.stages.size() != 1 || s.reduces() || s.ordered() || load.kind != ir::ExprKind::kLoad || load.guarded) return nullptr;
  const Operand& operand = group.operands[static_cast<size_t>(load.operand)];
  if (operand.dtype != s.dtype || !ir::known_eq(ir::product(operand.shape), ir::product(s.shape))) return nullptr;
  std::vector<ir::Dim> shape = operand.shape;
  const ir::Expr flat = flatten_loads(s.value, s.axes, [&](int) { return &shape; });
  IndexAlgebra algebra(*group.pool, s.axes);
  const Affine read = algebra.affine({group.pool.get(), flat.node().args[0]});
  const Affine written = algebra.affine(row_major_position(*group.pool, s.axes, 0));
  const Affine difference = algebra.add(read, written, -1);
  return difference.is_constant() && difference.constant.is_const(0) ? operand.value : nullptr;
}

bool assumed_equal(const ir::Graph* graph, ir::Dim a, ir::Dim b) {
  for (; graph != nullptr; graph = graph->parent() == nullptr ? nullptr : graph->parent()->graph())
    for (const ir::Graph::Assumption& one : graph->assumptions())
      if (!one.at_most && ((one.a == a && one.b == b) || (one.a == b && one.b == a))) return true;
  return false;
}

Status lower_node(const ir::Node& node, Lowering& lowering) {
  if (node.is("Scan")) return schedule_recurrence(lowering, node);
  if (node.is("TopK")) return schedule_top_k(lowering, node);
  TENON_ASSIGN_OR_RETURN(lowering.group, build_group(node));
  lowering.out.view_of = viewed_operand(lowering.group);
  if (lowering.out.view_of != nullptr) {
    lowering.out.implementation = "view";
    return {};
  }
  return lower_group(lowering, [&node](ir::Dim a, ir::Dim b) { return ir::known_eq(a, b) || assumed_equal(node.graph(), a, b); });
}

}  // namespace

Result<LoweredOp> lower(const ir::Node& node, const Target& target) {
  Lowering lowering{{}, target, {}, {}};
  const Status done = lower_node(node, lowering);
  if (!done.ok()) return Status(done).at(node.name());
  if (lowering.out.implementation.empty()) lowering.out.implementation = "stages";
  for (LoweredKernel& k : lowering.out.kernels) {
    if (!k.grid.is_valid()) return error(Code::kUnsupported, "the grid's extent overflows").at(node.name());
    // Beyond 64 bits; of symbolic dims it is rather an expression that became too long, and stays unknown.
    const bool constant = std::all_of(k.dims.begin(), k.dims.end(), [](ir::Dim d) { return d.is_const(); });
    if (!k.work.is_valid() && constant) k.work = INT64_MAX;
    const Status valid = kir::verify(k.kernel);
    if (!valid.ok()) return Status(valid).at(node.name());
  }
  if (!lowering.gpu()) mark_once(lowering.out);
  return std::move(lowering.out);
}

}  // namespace tenon::codegen
