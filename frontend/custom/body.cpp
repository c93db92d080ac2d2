// Bodies of custom ops: expressions of the interface are numbered as in the body's pool, from 1. What the pool takes
// for granted, that operands agree in dtype and reads stay inside, is checked here.

#include <algorithm>
#include <ranges>

#include "frontend/custom/api.h"
#include "ir/compute.h"
#include "ir/ops/body_helpers.h"

using namespace tenon;
using namespace tenon::frontend::custom;
using ir::Body;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;

struct tenon_body {
  tenon_node& node;
  Body body;
  Expr result = {};       // of reduce
  bool in_place = false;  // an operand is read at the output's index
  bool set = false;

  ir::ExprPool& pool() { return *body.pool; }
  size_t rank() const { return body.axes.size(); }
  bool has(size_t input) const {
    return input < static_cast<size_t>(node.node.num_inputs()) && node.node.has_input(static_cast<int>(input));
  }
  Dim extent_of(int axis) const {
    const auto a = static_cast<size_t>(axis);
    return a < rank() ? body.axes[a] : body.reduce_axes[a - rank()];
  }
  /// An invalid Expr, and the misuse noted, when there is no such expression.
  Expr find(tenon_expr e) {
    if (e.id >= 1 && e.id <= static_cast<uint32_t>(pool().size())) return {body.pool.get(), static_cast<int>(e.id) - 1};
    node.misused("an expression is used that does not exist");
    return {};
  }
};

namespace {

constexpr int kMaxExpressions = 4096;
constexpr size_t kMaxReduceAxes = 16;

template <class... Args>
tenon_expr misuse(tenon_body& b, fmt::format_string<Args...> format, Args&&... args) {
  b.node.misused(fmt::format(format, std::forward<Args>(args)...));
  return {};
}

tenon_expr give(tenon_body& b, Expr e) {
  if (b.pool().size() > kMaxExpressions) return misuse(b, "a body has more than {} expressions", kMaxExpressions);
  return {static_cast<uint32_t>(e.id) + 1};
}

bool computes(DType d) { return d == DType::kBool || ((is_float(d) || is_int(d)) && !is_packed(d)); }

/// The operand's type, when it can be read in a body.
const ir::TensorType* operand_type(tenon_body& b, size_t input) {
  if (b.has(input)) {
    const ir::TensorType& type = b.node.node.input(static_cast<int>(input))->tensor();
    if (computes(type.dtype)) return &type;
    misuse(b, "the input {} is {}, which bodies do not read", input, name(type.dtype));
    return nullptr;
  }
  misuse(b, "the input {} is absent", input);
  return nullptr;
}

Expr widened(tenon_body& b, Expr e) { return b.pool().cast(e, ir::compute_dtype(e.dtype())); }

tenon_expr operand(tenon_body* b, size_t input) {
  if (b == nullptr) return {};
  const ir::TensorType* type = operand_type(*b, input);
  if (type == nullptr) return {};
  const std::vector<Dim>& shape = *type->dims;
  if (shape.size() > b->rank())
    return misuse(*b, "the input {} has the rank {}, the output {}", input, shape.size(), b->rank());
  for (size_t i = 0; i < shape.size(); ++i) {
    const Dim& to = b->body.axes[b->rank() - shape.size() + i];
    if (!shape[i].is_const(1) && ir::known_ne(shape[i], to))
      return misuse(*b, "the input {} of shape {} does not broadcast to the output", input, to_string(*type));
  }
  b->in_place = true;
  const std::vector<Expr> at = ir::axis_indices(b->pool(), b->rank());
  return give(*b, widened(*b, ir::load_broadcast(b->body, b->node.node, static_cast<int>(input), at, b->body.axes)));
}

/// The indices of an element; empty, with the misuse noted, when they do not fit the operand.
std::optional<std::vector<Expr>> read_indices(tenon_body& b, const ir::TensorType& type, const tenon_expr* indices,
                                              size_t count) {
  std::vector<Expr> out;
  const bool fits = count == type.dims->size() && (indices != nullptr || count == 0);
  if (!fits) misuse(b, "{} indices are given for an operand of type {}", count, to_string(type));
  for (size_t i = 0; fits && i < count; ++i) {
    const Expr e = b.find(indices[i]);
    if (!e.valid()) return std::nullopt;
    if (e.dtype() != DType::kI64)
      misuse(b, "an index is {}, not i64", name(e.dtype()));
    else
      out.push_back(e);
  }
  return fits && out.size() == count ? std::optional(std::move(out)) : std::nullopt;
}

/// An axis of the output or of the reduction that is as long as the operand's.
bool stays_inside(const tenon_body& b, Expr index, Dim extent) {
  return index.node().kind == ExprKind::kIndex && ir::known_eq(b.extent_of(index.node().axis), extent);
}

tenon_expr element(tenon_body* b, size_t input, const tenon_expr* indices, size_t count) {
  if (b == nullptr) return {};
  const ir::TensorType* type = operand_type(*b, input);
  if (type == nullptr) return {};
  auto at = read_indices(*b, *type, indices, count);
  if (!at) return {};
  for (size_t i = 0; i < at->size(); ++i)
    if (const Dim extent = (*type->dims)[i]; !stays_inside(*b, (*at)[i], extent))
      (*at)[i] = b->pool().checked_index((*at)[i], b->pool().dim(extent));
  return give(*b, widened(*b, ir::load_at(b->body, b->node.node, static_cast<int>(input), *at)));
}

tenon_expr element_or(tenon_body* b, size_t input, const tenon_expr* indices, size_t count, tenon_expr other) {
  if (b == nullptr) return {};
  const ir::TensorType* type = operand_type(*b, input);
  if (type == nullptr) return {};
  const auto at = read_indices(*b, *type, indices, count);
  const Expr outside = b->find(other);
  if (!at || !outside.valid()) return {};
  if (outside.dtype() != ir::compute_dtype(type->dtype))
    return misuse(*b, "what element_or gives outside is {}, an element {}", name(outside.dtype()),
                  name(ir::compute_dtype(type->dtype)));
  ir::ExprPool& pool = b->pool();
  Expr inside = pool.constant_int(DType::kBool, 1);
  for (size_t i = 0; i < at->size(); ++i) {
    const Dim extent = (*type->dims)[i];
    if (!stays_inside(*b, (*at)[i], extent))
      inside = inside && (*at)[i] >= ir::i64(pool, 0) && (*at)[i] < pool.dim(extent);
  }
  const Expr e = pool.load_guarded(static_cast<int>(input), type->dtype, *at, inside, pool.cast(outside, type->dtype));
  return give(*b, widened(*b, e));
}

tenon_expr index(tenon_body* b, size_t axis) {
  if (b == nullptr) return {};
  if (axis >= b->rank()) return misuse(*b, "index of axis {} of an output of rank {}", axis, b->rank());
  return give(*b, b->pool().index(static_cast<int>(axis)));
}

tenon_expr extent(tenon_body* b, size_t input, size_t axis) {
  if (b == nullptr) return {};
  if (!b->has(input)) return misuse(*b, "the input {} is absent", input);
  const std::vector<Dim>& dims = *b->node.node.input(static_cast<int>(input))->tensor().dims;
  if (axis >= dims.size()) return misuse(*b, "extent of axis {} of an input of rank {}", axis, dims.size());
  return give(*b, b->pool().dim(dims[axis]));
}

tenon_expr constant(tenon_body* b, tenon_dtype dtype, double value) {
  if (b == nullptr) return {};
  const DType type = dtype_from_c(dtype);
  if (!computes(type)) return misuse(*b, "there is no constant of dtype {}", dtype);
  return give(*b, b->pool().constant(type, value));
}

tenon_expr constant_int(tenon_body* b, tenon_dtype dtype, int64_t value) {
  if (b == nullptr) return {};
  const DType type = dtype_from_c(dtype);
  if (!computes(type)) return misuse(*b, "there is no constant of dtype {}", dtype);
  return give(*b, b->pool().cast(b->pool().constant_int(DType::kI64, value), type));
}

tenon_expr cast(tenon_body* b, tenon_expr value, tenon_dtype dtype) {
  if (b == nullptr) return {};
  const Expr e = b->find(value);
  const DType type = dtype_from_c(dtype);
  if (!computes(type)) return misuse(*b, "there is no cast to dtype {}", dtype);
  return e.valid() ? give(*b, b->pool().cast(e, type)) : tenon_expr{};
}

tenon_dtype expr_dtype(tenon_body* b, tenon_expr value) {
  const Expr e = b == nullptr ? Expr{} : b->find(value);
  return e.valid() ? to_c(e.dtype()) : TENON_NO_DTYPE;
}

tenon_expr op(tenon_body* b, const char* text, const tenon_expr* operands, size_t count) {
  if (b == nullptr) return {};
  const std::string_view called = text == nullptr ? "" : text;
  const auto found = ir::scalar_op_from_name(called);
  if (!found) return misuse(*b, "there is no operation '{}'", called);
  if (operands == nullptr || count != static_cast<size_t>(ir::info(*found).arity))
    return misuse(*b, "{} takes {} operands, not {}", called, ir::info(*found).arity, count);
  std::vector<Expr> args;
  for (size_t i = 0; i < count; ++i) {
    args.push_back(b->find(operands[i]));
    if (!args.back().valid()) return {};
  }
  const bool select = *found == ScalarOp::kSelect;
  if (select && args[0].dtype() != DType::kBool)
    return misuse(*b, "select decides by {}, not by bool", name(args[0].dtype()));
  for (size_t i = select ? 1 : 0; i < count; ++i) {
    if (args[i].dtype() != args.back().dtype())
      return misuse(*b, "{} of {} and {}: cast one of them", called, name(args[i].dtype()), name(args.back().dtype()));
    if (!ir::takes(*found, args[i].dtype())) return misuse(*b, "{} does not take {}", called, name(args[i].dtype()));
  }
  return give(*b, b->pool().op(*found, args));
}

tenon_expr reduce_axis(tenon_body* b, tenon_expr extent) {
  if (b == nullptr) return {};
  const Expr e = b->find(extent);
  if (!e.valid()) return {};
  const ExprNode& n = e.node();
  const bool sized = n.dtype == DType::kI64 && (n.kind == ExprKind::kDim || n.kind == ExprKind::kConst);
  const Dim dim = n.kind == ExprKind::kDim ? n.dim : Dim(n.scalar.i);
  if (!sized || !ir::known_le(0, dim)) return misuse(*b, "the extent of a reduce_axis is not a size");
  if (b->result.valid()) return misuse(*b, "reduce_axis after reduce");
  if (b->body.reduce_axes.size() >= kMaxReduceAxes)
    return misuse(*b, "there are more than {} reduce axes", kMaxReduceAxes);
  b->body.reduce_axes.push_back(dim);
  return give(*b, b->pool().index(static_cast<int>(b->rank() + b->body.reduce_axes.size()) - 1));
}

std::optional<ir::Combiner> combiner_of(std::string_view name) {
  if (name == "add") return ir::Combiner::kAdd;
  if (name == "mul") return ir::Combiner::kMul;
  if (name == "min") return ir::Combiner::kMin;
  if (name == "max") return ir::Combiner::kMax;
  if (name == "and") return ir::Combiner::kAnd;
  if (name == "or") return ir::Combiner::kOr;
  return std::nullopt;
}

tenon_expr reduce(tenon_body* b, const char* text, tenon_expr value) {
  if (b == nullptr) return {};
  const std::string_view called = text == nullptr ? "" : text;
  const auto combiner = combiner_of(called);
  const Expr e = b->find(value);
  if (!e.valid()) return {};
  if (!combiner) return misuse(*b, "there is no reduction '{}'", called);
  if (b->body.reduce_axes.empty() || b->result.valid()) return misuse(*b, "reduce without reduce_axis, or twice");
  const bool logical = *combiner == ir::Combiner::kAnd || *combiner == ir::Combiner::kOr;
  if (logical ? is_float(e.dtype()) : e.dtype() == DType::kBool)
    return misuse(*b, "{} does not reduce {}", called, name(e.dtype()));
  b->body.combiner = *combiner;
  b->body.acc_dtype = e.dtype();
  b->body.value = e;
  b->result = b->pool().acc(0, e.dtype());
  return give(*b, b->result);
}

/// The nodes that an expression is made of.
std::vector<char> reachable(Expr root) {
  std::vector<char> seen(static_cast<size_t>(root.id) + 1, 0);
  seen.back() = 1;
  for (int id = root.id; id >= 0; --id)
    if (seen[static_cast<size_t>(id)])
      for (int a : root.pool->node(id).args) seen[static_cast<size_t>(a)] = 1;
  return seen;
}

Status set(tenon_body& b, tenon_expr value) {
  const Expr e = b.find(value);
  if (!e.valid()) return error(Code::kInvalidArgument, "set_value of an expression that does not exist");
  if (b.set) return error(Code::kInvalidArgument, "set_value is called twice");
  if (e.dtype() != ir::compute_dtype(b.body.dtype) && e.dtype() != b.body.dtype)
    return error(Code::kInvalidArgument, "set_value of {} for an output of {}: cast it", name(e.dtype()),
                 name(b.body.dtype));
  const std::vector<char> used = reachable(e);
  const bool reduces = !b.body.reduce_axes.empty();
  for (size_t id = 0; id < used.size(); ++id) {
    const ExprNode& n = b.pool().node(static_cast<int>(id));
    if (used[id] && n.kind == ExprKind::kIndex && static_cast<size_t>(n.axis) >= b.rank())
      return error(Code::kInvalidArgument, "set_value reads a reduce axis outside reduce");
  }
  if (reduces &&
      (!b.result.valid() || static_cast<size_t>(b.result.id) >= used.size() || !used[static_cast<size_t>(b.result.id)]))
    return error(Code::kInvalidArgument, "set_value does not use the result of reduce");
  const bool reads = std::ranges::any_of(std::views::iota(0, b.pool().size()),
                                         [&](int id) { return b.pool().node(id).kind == ExprKind::kLoad; });
  b.body.kind = reduces                ? ir::ComputeKind::kReduce
                : reads && !b.in_place ? ir::ComputeKind::kMovement
                                       : ir::ComputeKind::kElementwise;
  (reduces ? b.body.post : b.body.value) = b.pool().cast(e, b.body.dtype);
  b.set = true;
  return {};
}

tenon_status set_value(tenon_body* b, tenon_expr value) {
  return b == nullptr ? TENON_INVALID_ARGUMENT : b->node.keep(set(*b, value));
}

Result<Body> build(const ir::Node& node, int output) {
  tenon_node n{node};
  if (!computes(node.output(output)->dtype()))
    return error(Code::kUnsupported, "the output {} is {}, which bodies do not give", output,
                 name(node.output(output)->dtype()));
  tenon_body b{n, ir::start_body(node, ir::ComputeKind::kElementwise, output)};
  TENON_RETURN_IF_ERROR(n.run("body", [&] { return n.op.calls.body(&api(), &n, &b, static_cast<size_t>(output)); }));
  if (!b.set) return n.defect(fmt::format("body does not set the value of output {}", output));
  return std::move(b.body);
}

}  // namespace

Result<std::vector<Body>> tenon::frontend::custom::build_bodies(const ir::Node& node) {
  TENON_RETURN_IF_ERROR(ir::require_known_shape(node));
  for (const ir::Value* v : node.inputs())
    if (v != nullptr && !v->type().is_ranked_tensor())
      return error(Code::kUnsupported, "the rank of the input {} is not known", v->name());
  std::vector<Body> out;
  for (int i = 0; i < node.num_outputs(); ++i) {
    TENON_ASSIGN_OR_RETURN(Body body, build(node, i));
    out.push_back(std::move(body));
  }
  return out;
}

void tenon::frontend::custom::add_body_functions(tenon_custom_api& a) {
  a.operand = operand;
  a.element = element;
  a.element_or = element_or;
  a.index = index;
  a.extent = extent;
  a.constant = constant;
  a.constant_int = constant_int;
  a.cast = cast;
  a.expr_dtype = expr_dtype;
  a.op = op;
  a.reduce_axis = reduce_axis;
  a.reduce = reduce;
  a.set_value = set_value;
}
