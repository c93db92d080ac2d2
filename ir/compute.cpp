#include "ir/compute.h"

#include <bit>
#include <limits>

#include "support/checked.h"

namespace tenon::ir {
namespace {

size_t mix(size_t seed, size_t value) { return seed ^ (value + 0x9e3779b97f4a7c15u + (seed << 6) + (seed >> 2)); }

size_t hash_node(const ExprNode& n) {
  size_t h = static_cast<size_t>(n.kind);
  h = mix(h, static_cast<size_t>(n.dtype));
  h = mix(h, static_cast<size_t>(n.op));
  h = mix(h, static_cast<size_t>(n.axis));
  h = mix(h, static_cast<size_t>(n.operand) * 2 + n.guarded);
  h = mix(h, std::bit_cast<uint64_t>(n.scalar.f));
  h = mix(h, static_cast<size_t>(n.scalar.i));
  h = mix(h, n.dim.hash());
  for (int a : n.args) h = mix(h, static_cast<size_t>(a));
  return h;
}

bool same(const ExprNode& a, const ExprNode& b) {
  return a.kind == b.kind && a.dtype == b.dtype && a.op == b.op && a.axis == b.axis && a.operand == b.operand &&
         a.guarded == b.guarded && std::bit_cast<uint64_t>(a.scalar.f) == std::bit_cast<uint64_t>(b.scalar.f) &&
         a.scalar.i == b.scalar.i && a.dim == b.dim && a.args == b.args;
}

bool is_const(const ExprNode& n) { return n.kind == ExprKind::kConst; }
bool is_const_int(const ExprNode& n, int64_t value) {
  return is_const(n) && !is_float(n.dtype) && n.scalar.i == value;
}

// An i64 constant or dim as a Dim.
std::optional<Dim> as_dim(const ExprNode& n) {
  if (n.kind == ExprKind::kDim) return n.dim;
  if (is_const(n) && n.dtype == DType::kI64) return Dim(n.scalar.i);
  return std::nullopt;
}

std::optional<Dim> fold_dims(ScalarOp op, Dim a, Dim b) {
  switch (op) {
    case ScalarOp::kAdd: return a + b;
    case ScalarOp::kSub: return a - b;
    case ScalarOp::kMul: return a * b;
    case ScalarOp::kMin: return min(a, b);
    case ScalarOp::kMax: return max(a, b);
    case ScalarOp::kFloorDiv: return known_lt(0, b) ? std::optional(floor_div(a, b)) : std::nullopt;
    case ScalarOp::kDiv: return known_lt(0, b) && known_le(0, a) ? std::optional(floor_div(a, b)) : std::nullopt;
    case ScalarOp::kMod: return known_lt(0, b) ? std::optional(mod(a, b)) : std::nullopt;
    case ScalarOp::kRem: return known_lt(0, b) && known_le(0, a) ? std::optional(mod(a, b)) : std::nullopt;
    default: return std::nullopt;
  }
}

std::optional<bool> compare_dims(ScalarOp op, Dim a, Dim b) {
  const auto decide = [](bool yes, bool no) { return yes ? std::optional(true) : no ? std::optional(false) : std::nullopt; };
  switch (op) {
    case ScalarOp::kEq: return decide(known_eq(a, b), known_ne(a, b));
    case ScalarOp::kNe: return decide(known_ne(a, b), known_eq(a, b));
    case ScalarOp::kLt: return decide(known_lt(a, b), known_le(b, a));
    case ScalarOp::kLe: return decide(known_le(a, b), known_lt(b, a));
    case ScalarOp::kGt: return decide(known_lt(b, a), known_le(a, b));
    case ScalarOp::kGe: return decide(known_le(b, a), known_lt(a, b));
    default: return std::nullopt;
  }
}

// x + 0, x * 1 and the like on integers and bools; an invalid Expr when nothing applies.
Expr fold_identity(ExprPool& pool, ScalarOp op, Expr a, Expr b) {
  const ExprNode &x = a.node(), &y = b.node();
  const DType dtype = x.dtype;
  switch (op) {
    case ScalarOp::kAdd:
      if (is_const_int(x, 0)) return b;
      [[fallthrough]];
    case ScalarOp::kSub: return is_const_int(y, 0) ? a : Expr{};
    case ScalarOp::kMul:
      if (is_const_int(x, 1) || is_const_int(y, 0)) return b;
      return is_const_int(y, 1) || is_const_int(x, 0) ? a : Expr{};
    case ScalarOp::kDiv:
    case ScalarOp::kFloorDiv: return is_const_int(y, 1) || is_const_int(x, 0) ? a : Expr{};
    case ScalarOp::kMod:
    case ScalarOp::kRem: return is_const_int(y, 1) ? pool.constant_int(dtype, 0) : is_const_int(x, 0) ? a : Expr{};
    case ScalarOp::kMin:
    case ScalarOp::kMax: return a.id == b.id ? a : Expr{};
    case ScalarOp::kAnd:
      if (a.id == b.id || is_const_int(x, 0)) return a;
      if (is_const_int(y, 0)) return b;
      if (dtype != DType::kBool) return {};
      return is_const_int(x, 1) ? b : is_const_int(y, 1) ? a : Expr{};
    case ScalarOp::kOr:
      if (a.id == b.id || is_const_int(y, 0)) return a;
      if (is_const_int(x, 0)) return b;
      if (dtype != DType::kBool) return {};
      return is_const_int(x, 1) ? a : is_const_int(y, 1) ? b : Expr{};
    case ScalarOp::kEq:
    case ScalarOp::kLe:
    case ScalarOp::kGe: return a.id == b.id ? pool.constant_int(DType::kBool, 1) : Expr{};
    case ScalarOp::kNe:
    case ScalarOp::kLt:
    case ScalarOp::kGt: return a.id == b.id ? pool.constant_int(DType::kBool, 0) : Expr{};
    default: return {};
  }
}

Expr fold_op(ExprPool& pool, ScalarOp op, std::span<const Expr> args) {
  if (op == ScalarOp::kSelect) {
    if (is_const(args[0].node())) return args[0].node().scalar.i != 0 ? args[1] : args[2];
    return args[1].id == args[2].id ? args[1] : Expr{};
  }
  const DType dtype = args[0].dtype();
  if (is_float(dtype)) return {};
  bool constant = true;
  Scalar values[3];
  for (size_t i = 0; i < args.size(); ++i) {
    constant &= is_const(args[i].node());
    values[i] = args[i].node().scalar;
  }
  if (constant)
    return pool.constant_int(info(op).result_is_bool ? DType::kBool : dtype, eval_scalar(op, dtype, values).i);
  if (args.size() != 2) return {};
  if (dtype == DType::kI64) {
    const std::optional<Dim> a = as_dim(args[0].node()), b = as_dim(args[1].node());
    if (a && b) {
      if (const std::optional<bool> known = compare_dims(op, *a, *b)) return pool.constant_int(DType::kBool, *known);
      const std::optional<Dim> folded = fold_dims(op, *a, *b);
      if (folded && folded->is_valid()) return pool.dim(*folded);
    }
  }
  return fold_identity(pool, op, args[0], args[1]);
}

Expr binary(ScalarOp op, Expr a, Expr b) {
  const Expr args[] = {a, b};
  return a.pool->op(op, args);
}
Expr with_constant(ScalarOp op, Expr a, double b) { return binary(op, a, a.pool->constant(a.dtype(), b)); }
Expr constant_with(ScalarOp op, double a, Expr b) { return binary(op, b.pool->constant(b.dtype(), a), b); }

}  // namespace

const ExprNode& Expr::node() const { return pool->node(id); }

Expr ExprPool::intern(ExprNode node) {
  const size_t h = hash_node(node);
  const auto [begin, end] = by_hash_.equal_range(h);
  for (auto it = begin; it != end; ++it)
    if (same(nodes_[static_cast<size_t>(it->second)], node)) return {this, it->second};
  const int id = size();
  nodes_.push_back(std::move(node));
  by_hash_.emplace(h, id);
  return {this, id};
}

Expr ExprPool::constant(DType dtype, double value) {
  if (is_float(dtype))
    return intern({.kind = ExprKind::kConst, .dtype = dtype, .scalar = cast_scalar({value, 0}, DType::kF64, dtype)});
  return constant_int(dtype, cast_scalar({value, 0}, DType::kF64, dtype).i);
}

Expr ExprPool::constant_int(DType dtype, int64_t value) {
  return intern({.kind = ExprKind::kConst, .dtype = dtype, .scalar = cast_scalar({0, value}, DType::kI64, dtype)});
}

Expr ExprPool::dim(Dim d) {
  if (d.is_const()) return constant_int(DType::kI64, d.value());
  return intern({.kind = ExprKind::kDim, .dtype = DType::kI64, .dim = d});
}

Expr ExprPool::index(int axis) { return intern({.kind = ExprKind::kIndex, .dtype = DType::kI64, .axis = axis}); }

Expr ExprPool::load(int operand, DType dtype, std::span<const Expr> indices) {
  ExprNode n{.kind = ExprKind::kLoad, .dtype = dtype, .operand = operand};
  for (Expr e : indices) n.args.push_back(e.id);
  return intern(std::move(n));
}

Expr ExprPool::load_guarded(int operand, DType dtype, std::span<const Expr> indices, Expr guard, Expr other) {
  if (is_const_int(guard.node(), 1)) return load(operand, dtype, indices);
  if (is_const_int(guard.node(), 0)) return other;
  ExprNode n{.kind = ExprKind::kLoad, .dtype = dtype, .operand = operand, .guarded = true};
  for (Expr e : indices) n.args.push_back(e.id);
  n.args.push_back(guard.id);
  n.args.push_back(other.id);
  return intern(std::move(n));
}

Expr ExprPool::op(ScalarOp op, std::span<const Expr> args) {
  const ScalarOpInfo& row = info(op);
  TENON_CHECK(static_cast<int>(args.size()) == row.arity);
  const size_t first = op == ScalarOp::kSelect ? 1 : 0;
  for (size_t i = first; i < args.size(); ++i) {
    TENON_CHECK(args[i].pool == this);
    TENON_CHECK(args[i].dtype() == args[first].dtype());
  }
  if (const Expr folded = fold_op(*this, op, args); folded.valid()) return folded;
  ExprNode n{.kind = ExprKind::kOp, .dtype = row.result_is_bool ? DType::kBool : args[first].dtype(), .op = op};
  for (Expr e : args) n.args.push_back(e.id);
  return intern(std::move(n));
}

Expr ExprPool::cast(Expr value, DType to) {
  const ExprNode& n = value.node();
  if (n.dtype == to) return value;
  if (is_const(n)) {
    const Scalar s = cast_scalar(n.scalar, n.dtype, to);
    return is_float(to) ? constant(to, s.f) : constant_int(to, s.i);
  }
  return intern({.kind = ExprKind::kCast, .dtype = to, .args = {value.id}});
}

Expr ExprPool::acc(int reducer, DType dtype) { return intern({.kind = ExprKind::kAcc, .dtype = dtype, .axis = reducer}); }

Expr ExprPool::checked_index(Expr index, Expr extent) {
  const std::optional<Dim> i = as_dim(index.node()), n = as_dim(extent.node());
  if (i && n && known_le(0, *i) && known_lt(*i, *n)) return index;
  return intern({.kind = ExprKind::kCheckedIndex, .dtype = DType::kI64, .args = {index.id, extent.id}});
}

Expr ExprPool::copy(Expr expr, const std::function<Expr(const ExprNode& node, std::span<const Expr> args)>& leaf) {
  const ExprPool& from = *expr.pool;
  std::vector<char> needed(static_cast<size_t>(expr.id) + 1, 0);
  needed.back() = 1;
  for (int id = expr.id; id >= 0; --id)
    if (needed[static_cast<size_t>(id)])
      for (int a : from.node(id).args) needed[static_cast<size_t>(a)] = 1;

  std::vector<Expr> copies(needed.size());
  for (int id = 0; id <= expr.id; ++id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    const ExprNode node = from.node(id);  // by value: `from` may be this pool, which grows
    std::vector<Expr> args;
    for (int a : node.args) args.push_back(copies[static_cast<size_t>(a)]);
    Expr& made = copies[static_cast<size_t>(id)];
    const bool is_leaf = node.kind == ExprKind::kIndex || node.kind == ExprKind::kLoad ||
                         node.kind == ExprKind::kAcc || node.kind == ExprKind::kDim;
    if (is_leaf && leaf) made = leaf(node, args);
    if (made.valid()) continue;
    switch (node.kind) {
      case ExprKind::kOp: made = op(node.op, args); break;
      case ExprKind::kCast: made = cast(args[0], node.dtype); break;
      case ExprKind::kCheckedIndex: made = checked_index(args[0], args[1]); break;
      case ExprKind::kLoad:
        if (node.guarded) {
          const std::span<const Expr> all = args;
          made = load_guarded(node.operand, node.dtype, all.first(all.size() - 2), all[all.size() - 2], all.back());
          break;
        }
        [[fallthrough]];
      default: {
        ExprNode renumbered = node;
        for (size_t i = 0; i < args.size(); ++i) renumbered.args[i] = args[i].id;
        made = intern(std::move(renumbered));
      }
    }
  }
  return copies.back();
}

Expr operator+(Expr a, Expr b) { return binary(ScalarOp::kAdd, a, b); }
Expr operator-(Expr a, Expr b) { return binary(ScalarOp::kSub, a, b); }
Expr operator*(Expr a, Expr b) { return binary(ScalarOp::kMul, a, b); }
Expr operator/(Expr a, Expr b) { return binary(ScalarOp::kDiv, a, b); }
Expr operator-(Expr a) { return unary(ScalarOp::kNeg, a); }
Expr operator+(Expr a, double b) { return with_constant(ScalarOp::kAdd, a, b); }
Expr operator-(Expr a, double b) { return with_constant(ScalarOp::kSub, a, b); }
Expr operator*(Expr a, double b) { return with_constant(ScalarOp::kMul, a, b); }
Expr operator/(Expr a, double b) { return with_constant(ScalarOp::kDiv, a, b); }
Expr operator+(double a, Expr b) { return constant_with(ScalarOp::kAdd, a, b); }
Expr operator-(double a, Expr b) { return constant_with(ScalarOp::kSub, a, b); }
Expr operator*(double a, Expr b) { return constant_with(ScalarOp::kMul, a, b); }
Expr operator/(double a, Expr b) { return constant_with(ScalarOp::kDiv, a, b); }
Expr operator<(Expr a, Expr b) { return binary(ScalarOp::kLt, a, b); }
Expr operator<=(Expr a, Expr b) { return binary(ScalarOp::kLe, a, b); }
Expr operator>(Expr a, Expr b) { return binary(ScalarOp::kGt, a, b); }
Expr operator>=(Expr a, Expr b) { return binary(ScalarOp::kGe, a, b); }
Expr operator==(Expr a, Expr b) { return binary(ScalarOp::kEq, a, b); }
Expr operator!=(Expr a, Expr b) { return binary(ScalarOp::kNe, a, b); }
Expr operator<(Expr a, double b) { return with_constant(ScalarOp::kLt, a, b); }
Expr operator<=(Expr a, double b) { return with_constant(ScalarOp::kLe, a, b); }
Expr operator>(Expr a, double b) { return with_constant(ScalarOp::kGt, a, b); }
Expr operator>=(Expr a, double b) { return with_constant(ScalarOp::kGe, a, b); }
Expr operator==(Expr a, double b) { return with_constant(ScalarOp::kEq, a, b); }
Expr operator!=(Expr a, double b) { return with_constant(ScalarOp::kNe, a, b); }
Expr operator&&(Expr a, Expr b) { return binary(ScalarOp::kAnd, a, b); }
Expr operator||(Expr a, Expr b) { return binary(ScalarOp::kOr, a, b); }
Expr operator!(Expr a) { return unary(ScalarOp::kNot, a); }

Expr select(Expr condition, Expr a, Expr b) {
  const Expr args[] = {condition, a, b};
  return condition.pool->op(ScalarOp::kSelect, args);
}
Expr unary(ScalarOp op, Expr a) { return a.pool->op(op, std::span<const Expr>(&a, 1)); }
Expr min(Expr a, Expr b) { return binary(ScalarOp::kMin, a, b); }
Expr max(Expr a, Expr b) { return binary(ScalarOp::kMax, a, b); }
Expr floor_div(Expr a, Expr b) { return binary(ScalarOp::kFloorDiv, a, b); }
Expr mod(Expr a, Expr b) { return binary(ScalarOp::kMod, a, b); }
Expr pow(Expr a, Expr b) { return binary(ScalarOp::kPow, a, b); }
Expr exp(Expr a) { return unary(ScalarOp::kExp, a); }
Expr log(Expr a) { return unary(ScalarOp::kLog, a); }
Expr log1p(Expr a) { return unary(ScalarOp::kLog1p, a); }
Expr expm1(Expr a) { return unary(ScalarOp::kExpm1, a); }
Expr sqrt(Expr a) { return unary(ScalarOp::kSqrt, a); }
Expr tanh(Expr a) { return unary(ScalarOp::kTanh, a); }
Expr erf(Expr a) { return unary(ScalarOp::kErf, a); }
Expr sigmoid(Expr a) { return unary(ScalarOp::kSigmoid, a); }
Expr abs(Expr a) { return unary(ScalarOp::kAbs, a); }
Expr floor(Expr a) { return unary(ScalarOp::kFloor, a); }

Scalar identity(Combiner combiner, DType dtype) {
  const bool lowest = combiner == Combiner::kMax || combiner == Combiner::kArgMax || combiner == Combiner::kArgMaxLast;
  const bool highest = combiner == Combiner::kMin || combiner == Combiner::kArgMin || combiner == Combiner::kArgMinLast;
  if (combiner == Combiner::kMul) return {1, 1};
  if (combiner == Combiner::kAnd) return {0, dtype == DType::kBool ? 1 : cast_scalar({0, -1}, DType::kI64, dtype).i};
  if (!lowest && !highest) return {0, 0};
  if (is_float(dtype)) {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    return {lowest ? -kInf : kInf, 0};
  }
  if (dtype == DType::kBool) return {0, highest};
  const int width = bits(dtype);
  if (is_unsigned_int(dtype)) return {0, lowest ? 0 : static_cast<int64_t>(~uint64_t{0} >> (64 - width))};
  const int64_t top = static_cast<int64_t>(~uint64_t{0} >> (65 - width));
  return {0, lowest ? -top - 1 : top};
}

namespace {

std::string leaf_text(const ExprNode& n) {
  switch (n.kind) {
    case ExprKind::kConst: return is_float(n.dtype) ? fmt::format("{}", n.scalar.f) : fmt::format("{}", n.scalar.i);
    case ExprKind::kDim: return "dim(" + to_string(n.dim) + ")";
    case ExprKind::kIndex: return fmt::format("i{}", n.axis);
    case ExprKind::kAcc: return fmt::format("acc{}", n.axis);
    default: return {};
  }
}

// A node as text, its non-leaf args as %id.
std::string node_text(const ExprPool& pool, const ExprNode& n) {
  std::string args;
  for (size_t i = 0; i < n.args.size(); ++i) {
    const std::string leaf = leaf_text(pool.node(n.args[i]));
    args += (i == 0 ? "" : ", ") + (leaf.empty() ? fmt::format("%{}", n.args[i]) : leaf);
  }
  switch (n.kind) {
    case ExprKind::kLoad: return fmt::format("{} in{}[{}]", n.guarded ? "load_if" : "load", n.operand, args);
    case ExprKind::kOp: return fmt::format("{}({})", info(n.op).name, args);
    case ExprKind::kCast: return fmt::format("cast<{}>({})", name(n.dtype), args);
    case ExprKind::kCheckedIndex: return fmt::format("checked_index({})", args);
    default: return leaf_text(n);
  }
}

std::string expr_lines(Expr root) {
  std::vector<char> needed(static_cast<size_t>(root.id) + 1, 0);
  needed.back() = 1;
  for (int id = root.id; id >= 0; --id)
    if (needed[static_cast<size_t>(id)])
      for (int a : root.pool->node(id).args) needed[static_cast<size_t>(a)] = 1;
  std::string text;
  for (int id = 0; id <= root.id; ++id) {
    const ExprNode& n = root.pool->node(id);
    if (needed[static_cast<size_t>(id)] && (leaf_text(n).empty() || id == root.id))
      text += fmt::format("  %{}: {} = {}\n", id, name(n.dtype), node_text(*root.pool, n));
  }
  return text;
}

std::string dims_text(const std::vector<Dim>& dims) {
  std::string text;
  for (const Dim& d : dims) text += (text.empty() ? "" : ", ") + to_string(d);
  return "[" + text + "]";
}

constexpr std::string_view kKindNames[] = {"elementwise", "movement", "reduce", "contraction", "scan", "scatter"};
constexpr std::string_view kCombinerNames[] = {"add", "mul",     "min",     "max",          "and",
                                               "or",  "arg_min", "arg_max", "arg_min_last", "arg_max_last"};

}  // namespace

std::string to_string(const Body& body) {
  std::string text = fmt::format("{} {}{}", kKindNames[static_cast<size_t>(body.kind)], name(body.dtype), dims_text(body.axes));
  if (!body.reduce_axes.empty())
    text += fmt::format(" {} {} over {}", kCombinerNames[static_cast<size_t>(body.combiner)], name(body.acc_dtype),
                        dims_text(body.reduce_axes));
  if (body.scan)
    text += fmt::format(" {} {} along {}{}{}", kCombinerNames[static_cast<size_t>(body.combiner)], name(body.acc_dtype),
                        body.scan->axis, body.scan->exclusive ? " exclusive" : "", body.scan->reverse ? " reverse" : "");
  text += "\n" + expr_lines(body.value);
  if (body.post.valid()) text += " post\n" + expr_lines(body.post);
  if (!body.scatter) return text;
  text += " init\n" + expr_lines(body.scatter->init);
  for (const Expr& e : body.scatter->target) text += " target\n" + expr_lines(e);
  return text;
}

}  // namespace tenon::ir
