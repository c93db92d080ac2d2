#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/order.h"
#include "ir/scalar_op.h"

/// Ops whose result's shape or order depends on the data, and running sums.
namespace tenon::ir {
namespace {

constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);
constexpr DTypeSet kI64Only = dtypes(DType::kI64);

// A shape as seen from one axis: element (o, i, n) is at (o * extent + i) * inner + n.
struct AxisView {
  int64_t outer = 1, extent = 1, inner = 1;
};
AxisView view_axis(const Tensor& t, int64_t axis) {
  AxisView v{.extent = t.dim(axis)};
  for (int64_t i = 0; i < t.rank(); ++i)
    if (i != axis) (i < axis ? v.outer : v.inner) *= t.dim(i);
  return v;
}

// Orders elements of any dtype; NaN is above every number, as NumPy sorts. Complex numbers: real parts first.
class Less {
 public:
  explicit Less(const Tensor& t) : t_(t) {}
  int compare(int64_t a, int64_t b) const {
    if (t_.dtype() == DType::kString) {
      const int order = t_.string_values()[static_cast<size_t>(a)].compare(t_.string_values()[static_cast<size_t>(b)]);
      return (order > 0) - (order < 0);
    }
    if (t_.dtype() == DType::kC64) return complex<float>(a, b);
    if (t_.dtype() == DType::kC128) return complex<double>(a, b);
    const Scalar x = load_scalar(t_.data(), t_.dtype(), a), y = load_scalar(t_.data(), t_.dtype(), b);
    if (is_float(t_.dtype())) return real(x.f, y.f);
    if (t_.dtype() == DType::kU64) {
      const uint64_t u = static_cast<uint64_t>(x.i), v = static_cast<uint64_t>(y.i);
      return (u > v) - (u < v);
    }
    return (x.i > y.i) - (x.i < y.i);
  }

 private:
  static int real(double x, double y) {
    if (std::isnan(x) || std::isnan(y)) return std::isnan(x) - std::isnan(y);
    return (x > y) - (x < y);
  }
  template <class T>
  int complex(int64_t a, int64_t b) const {
    const auto values = t_.span<std::complex<T>>();
    const auto x = values[static_cast<size_t>(a)], y = values[static_cast<size_t>(b)];
    const int order = real(x.real(), y.real());
    return order != 0 ? order : real(x.imag(), y.imag());
  }

  const Tensor& t_;
};

Result<int64_t> one_int(const Tensor& t, std::string_view what) {
  if (t.size() != 1) return error(Code::kInvalidArgument, "{} has {} elements, not 1", what, t.size());
  return t.at_int(0);
}

// ---- Compress

Status infer_compress(InferContext& c) {
  if (c.ranked(1) && c.shape(1).size() != 1) return c.fail("the condition is {}, not of rank 1", to_string(c.in(1)));
  if (!c.node().attrs().has("axis")) {
    c.set(0, TensorType(c.dtype(0), {c.fresh_dim(0, 0)}));
    return {};
  }
  if (!c.ranked(0)) {
    c.set(0, TensorType::unranked(c.dtype(0)));
    return {};
  }
  std::vector<Dim> dims = c.shape(0);
  const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), std::ssize(dims));
  if (!axis.ok()) return c.fail_text(axis.status().what());
  dims[static_cast<size_t>(*axis)] = c.fresh_dim(0, static_cast<int>(*axis));
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
  return {};
}

Status eval_compress(EvalContext& c) {
  const Tensor &data = c.tensor(0), &condition = c.tensor(1);
  const bool flat = !c.node.attrs().has("axis");
  AxisView v{1, data.size(), 1};
  int64_t axis = 0;
  if (!flat) {
    TENON_ASSIGN_OR_RETURN(axis, normalize_axis(c.node.attr_int("axis", 0), data.rank()));
    v = view_axis(data, axis);
  }
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < condition.size(); ++i) {
    if (condition.at_int(i) == 0) continue;
    if (i >= v.extent) return error(Code::kOutOfRange, "the condition selects element {} of {}", i, v.extent);
    kept.push_back(i);
  }
  Shape shape = flat ? Shape{0} : data.shape();
  shape[static_cast<size_t>(axis)] = std::ssize(kept);
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, data.dtype(), shape));
  int64_t to = 0;
  StepCounter steps(c.interrupt);
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t i : kept) {
      TENON_RETURN_IF_ERROR(steps.add(v.inner));
      copy_range(data, (o * v.extent + i) * v.inner, *out, to, v.inner);
      to += v.inner;
    }
  return {};
}

// ---- NonZero

Status infer_non_zero(InferContext& c) {
  const Dim rank = c.ranked(0) ? Dim(std::ssize(c.shape(0))) : c.fresh_dim(0, 0);
  c.set(0, TensorType(DType::kI64, {rank, c.fresh_dim(0, 1)}));
  return {};
}

bool is_zero(const Tensor& x, int64_t i) {
  if (x.dtype() == DType::kString) return x.string_values()[static_cast<size_t>(i)].empty();
  if (x.dtype() == DType::kC64) return x.span<std::complex<float>>()[static_cast<size_t>(i)] == 0.F;
  if (x.dtype() == DType::kC128) return x.span<std::complex<double>>()[static_cast<size_t>(i)] == 0.0;
  return x.at_double(i) == 0;
}

template <class T>
Status find_non_zero(const Tensor& x, StepCounter& steps, std::vector<int64_t>& found) {
  const auto* data = reinterpret_cast<const T*>(x.data());
  TENON_RETURN_IF_ERROR(steps.add(x.size()));
  for (int64_t i = 0; i < x.size(); ++i)
    if (data[i] != T{}) found.push_back(i);
  return {};
}

Status find_non_zero(const Tensor& x, StepCounter& steps, std::vector<int64_t>& found) {
  switch (x.dtype()) {
    case DType::kBool: return find_non_zero<uint8_t>(x, steps, found);
    case DType::kF32: return find_non_zero<float>(x, steps, found);
    case DType::kI32: return find_non_zero<int32_t>(x, steps, found);
    case DType::kI64: return find_non_zero<int64_t>(x, steps, found);
    default: break;
  }
  for (int64_t i = 0; i < x.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(4));
    if (!is_zero(x, i)) found.push_back(i);
  }
  return {};
}

Status eval_non_zero(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  std::vector<int64_t> found;
  StepCounter steps(c.interrupt);
  TENON_RETURN_IF_ERROR(find_non_zero(x, steps, found));
  const size_t count = found.size();
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kI64, {x.rank(), std::ssize(found)}));
  const std::span<int64_t> to = out->mutable_span<int64_t>();
  TENON_RETURN_IF_ERROR(steps.add(std::ssize(found) * 4 * x.rank()));
  for (size_t k = 0; k < count; ++k) {
    int64_t rest = found[k];
    for (auto axis = static_cast<size_t>(x.rank()); axis-- > 0;) {
      const int64_t dim = x.dim(static_cast<int64_t>(axis));
      to[axis * count + k] = rest % dim;
      rest /= dim;
    }
  }
  return {};
}

// ---- Unique

Status infer_unique(InferContext& c) {
  std::vector<Dim> dims = {c.fresh_dim(0, 0)};
  Dim found = dims[0];
  if (c.node().attrs().has("axis")) {
    if (!c.ranked(0)) {
      c.set(0, TensorType::unranked(c.dtype(0)));
      found = Dim::invalid();
    } else {
      dims = c.shape(0);
      const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), std::ssize(dims));
      if (!axis.ok()) return c.fail_text(axis.status().what());
      found = dims[static_cast<size_t>(*axis)] = c.fresh_dim(0, static_cast<int>(*axis));
    }
  }
  if (found.is_valid()) c.set(0, TensorType(c.dtype(0), dims));
  for (int i = 1; i < c.node().num_outputs(); ++i) {
    const bool per_input = i == 2;
    c.set(i, TensorType(DType::kI64, {per_input || !found.is_valid() ? c.fresh_dim(i, 0) : found}));
  }
  return {};
}

Status eval_unique(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  const bool flat = !c.node.attrs().has("axis");
  AxisView v{1, x.size(), 1};
  int64_t axis = 0;
  if (!flat) {
    TENON_ASSIGN_OR_RETURN(axis, normalize_axis(c.node.attr_int("axis", 0), x.rank()));
    v = view_axis(x, axis);
  }
  TENON_RETURN_IF_ERROR(check_scratch(c, Dim(v.extent) * 64));
  TENON_RETURN_IF_ERROR(c.interrupt.check());
  const Less less(x);
  const auto compare = [&](int64_t a, int64_t b) {
    for (int64_t o = 0; o < v.outer; ++o)
      for (int64_t n = 0; n < v.inner; ++n)
        if (const int order = less.compare((o * v.extent + a) * v.inner + n, (o * v.extent + b) * v.inner + n)) return order;
    return 0;
  };
  std::vector<int64_t> order(static_cast<size_t>(v.extent));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return compare(a, b) < 0; });

  struct Group {
    int64_t first, count;
  };
  std::vector<Group> groups;
  std::vector<size_t> group_of(order.size());
  for (size_t k = 0; k < order.size(); ++k) {
    if (k == 0 || compare(order[k - 1], order[k]) != 0) groups.push_back({order[k], 0});
    ++groups.back().count;
    group_of[static_cast<size_t>(order[k])] = groups.size() - 1;
  }
  std::vector<size_t> rank(groups.size());
  std::iota(rank.begin(), rank.end(), size_t{0});
  if (c.node.attr_int("sorted", 1) == 0)
    std::ranges::sort(rank, {}, [&](size_t g) { return groups[g].first; });
  std::vector<int64_t> place(groups.size());
  for (size_t k = 0; k < rank.size(); ++k) place[rank[k]] = static_cast<int64_t>(k);

  const int64_t found = std::ssize(groups);
  Shape shape = flat ? Shape{0} : x.shape();
  shape[static_cast<size_t>(axis)] = found;
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, x.dtype(), shape));
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t k = 0; k < found; ++k)
      copy_range(x, (o * v.extent + groups[rank[static_cast<size_t>(k)]].first) * v.inner, *out, (o * found + k) * v.inner, v.inner);
  for (int output = 1; output < c.node.num_outputs(); ++output) {
    const int64_t size = output == 2 ? v.extent : found;
    TENON_ASSIGN_OR_RETURN(Tensor * extra, c.allocate(output, DType::kI64, {size}));
    for (int64_t k = 0; k < size; ++k) {
      const Group* group = output == 2 ? nullptr : &groups[rank[static_cast<size_t>(k)]];
      extra->set_int(k, output == 1 ? group->first : output == 3 ? group->count : place[group_of[static_cast<size_t>(k)]]);
    }
  }
  return {};
}

// ---- TopK

Status infer_top_k(InferContext& c) {
  if (c.node().num_outputs() != 2) return c.fail("there are {} outputs, not 2", c.node().num_outputs());
  for (int i = 0; i < 2; ++i) c.set(i, TensorType::unranked(i == 0 ? c.dtype(0) : DType::kI64));
  if (!c.ranked(0)) return {};
  std::vector<Dim> dims = c.shape(0);
  const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", -1), std::ssize(dims));
  if (!axis.ok()) return c.fail_text(axis.status().what());
  Dim& extent = dims[static_cast<size_t>(*axis)];
  const std::optional<std::vector<Dim>> k = c.dim_values(1);
  if (k && (k->size() != 1 || known_lt(k->front(), 0) || exceeds(c.node(), k->front(), extent)))
    return c.fail("K does not fit an axis of {}", to_string(extent));
  extent = k ? k->front() : c.fresh_dim(0, static_cast<int>(*axis));
  c.set(0, TensorType(c.dtype(0), dims));
  c.set(1, TensorType(DType::kI64, std::move(dims)));
  return {};
}

Status eval_top_k(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(const int64_t k, one_int(c.tensor(1), "K"));
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(c.node.attr_int("axis", -1), x.rank()));
  const AxisView v = view_axis(x, axis);
  if (k < 0 || k > v.extent) return error(Code::kOutOfRange, "K is {} for an axis of {}", k, v.extent);
  Shape shape = x.shape();
  shape[static_cast<size_t>(axis)] = k;
  TENON_ASSIGN_OR_RETURN(Tensor * values, c.allocate(0, x.dtype(), shape));
  TENON_ASSIGN_OR_RETURN(Tensor * indices, c.allocate(1, DType::kI64, shape));
  const std::span<int64_t> positions = indices->mutable_span<int64_t>();
  const uint64_t turn = c.node.attr_int("largest", 1) != 0 ? UINT64_MAX : 0;
  TENON_RETURN_IF_ERROR(check_scratch(c, Dim(v.extent) * 8 + Dim(k) * 32));
  std::vector<uint64_t> keys(static_cast<size_t>(v.extent));
  Least least(k);
  StepCounter steps(c.interrupt);
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t n = 0; n < v.inner; ++n) {
      TENON_RETURN_IF_ERROR(steps.add(v.extent * 16));
      const int64_t first = o * v.extent * v.inner + n;
      load_order_keys(x, first, v.inner, keys);
      least.clear();
      least.add(keys, turn);
      int64_t to = o * k * v.inner + n;
      for (const Least::Entry& e : least.sorted()) {
        copy_range(x, first + e.position * v.inner, *values, to, 1);
        positions[static_cast<size_t>(to)] = e.position;
        to += v.inner;
      }
    }
  return {};
}

/// Comparing everything with everything is quick up to here; sorting is beyond.
constexpr int64_t kMaxRanked = 256;

Status infer_ranks(InferContext& c) {
  if (c.ranked(0) && c.shape(0).empty()) return c.fail("there is no axis");
  c.set(0, same_shape(c, 0, DType::kI64));
  return {};
}

/// How many elements of its row come before each one: larger ones (NaN above all) or smaller ones, and equal ones to
/// its left.
Result<std::vector<Body>> ranks_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kReduce);
  ExprPool& pool = *body.pool;
  const size_t last = body.axes.size() - 1;
  body.reduce_axes = {body.axes.back()};
  body.acc_dtype = DType::kI64;
  std::vector<Expr> at = axis_indices(pool, body.axes.size());
  const DType dtype = compute_dtype(node.input(0)->dtype());
  const Expr own = pool.cast(load_at(body, node, 0, at), dtype), index = at[last];
  at[last] = pool.index(static_cast<int>(last) + 1);
  const Expr other = pool.cast(load_at(body, node, 0, at), dtype);
  const bool largest = node.attr_int("largest", 1) != 0;
  Expr before = largest ? other > own : other < own, equal = other == own;
  if (is_float(dtype)) {
    const Expr nan = unary(ScalarOp::kIsNan, own), other_nan = unary(ScalarOp::kIsNan, other);
    before = before || (largest ? other_nan && !nan : nan && !other_nan);
    equal = equal || (nan && other_nan);
  }
  body.value = select(before || (equal && at[last] < index), i64(pool, 1), i64(pool, 0));
  return one_body(std::move(body));
}

/// Ranks, then what stands at each: for rows short enough.
Result<std::vector<Value*>> decompose_top_k(Node& node, Builder& b) {
  Value* x = node.input(0);
  const Type& type = node.output(0)->type();
  if (!x->type().is_ranked_tensor() || x->tensor().rank() == 0 || !type.is_ranked_tensor())
    return error(Code::kUnsupported, "the rank is not known");
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  const int64_t rank = x->tensor().rank();
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", -1), rank));
  const Dim extent = x->tensor().dim(axis), k = type.tensor().dim(axis);
  if (!extent.is_const() || extent.value() > kMaxRanked || !k.is_const())
    return error(Code::kUnsupported, "rows that may be long are sorted");
  std::vector<int64_t> swap(static_cast<size_t>(rank));
  std::iota(swap.begin(), swap.end(), 0);
  std::swap(swap[static_cast<size_t>(axis)], swap.back());
  const auto swapped = [&](Value* v) { return axis == rank - 1 ? v : b.make("Transpose", {v}, {{"perm", swap}}); };
  Value* rows = swapped(x);
  if (rows == nullptr) return b.status();
  Value* ranks = b.make("tenon.ranks", {rows}, {{"largest", node.attr_int("largest", 1)}});
  Value* none = b.make("tenon.expand", {b.constant(Tensor::scalar<int64_t>(0))}, {{"dims", *rows->tensor().dims}});
  std::vector<int64_t> positions(static_cast<size_t>(extent.value()));
  std::iota(positions.begin(), positions.end(), 0);
  Value* own = b.make("tenon.expand", {b.ints(positions)}, {{"dims", *rows->tensor().dims}});
  Value* order = b.make("ScatterElements", {none, ranks, own}, {{"axis", rank - 1}});
  Value* first = b.make("Slice", {order, b.ints({0}), b.ints({k.value()}), b.ints({rank - 1})});
  Value* values = b.make("GatherElements", {rows, first}, {{"axis", rank - 1}});
  return std::vector<Value*>{swapped(values), swapped(first)};
}

// ---- CumSum, CumProd

Status infer_cumulative(InferContext& c) {
  if (c.ranked(1) && c.differ(product(c.shape(1)), 1)) return c.fail("the axis is {}, not one number", to_string(c.in(1)));
  return infer_as_input(c);
}

template <Combiner kCombiner>
Result<std::vector<Body>> cumulative_body(const Node& node) {
  InferContext c(const_cast<Node&>(node));  // reads only
  const std::optional<std::vector<int64_t>> given = known_ints(c, 1);
  if (!given || given->size() != 1) return error(Code::kUnsupported, "the axis is known only at run time");
  Body body = start_body(node, ComputeKind::kScan);
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(given->front(), std::ssize(body.axes)));
  body.combiner = kCombiner;
  body.acc_dtype = compute_dtype(body.dtype);
  body.scan = Scan{static_cast<int>(axis), node.attr_int("exclusive", 0) != 0, node.attr_int("reverse", 0) != 0};
  body.value = body.pool->cast(load_at(body, node, 0, axis_indices(*body.pool, body.axes.size())), body.acc_dtype);
  return one_body(std::move(body));
}

template <ScalarOp kOp>
Status eval_cumulative(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(const int64_t given, one_int(c.tensor(1), "the axis"));
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(given, x.rank()));
  const bool exclusive = c.node.attr_int("exclusive", 0) != 0, reverse = c.node.attr_int("reverse", 0) != 0;
  const DType acc = is_float(x.dtype()) ? DType::kF64 : x.dtype();
  const Scalar start = kOp == ScalarOp::kMul ? Scalar{1, 1} : Scalar{};
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, x.dtype(), x.shape()));
  const AxisView v = view_axis(x, axis);
  StepCounter steps(c.interrupt);
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t n = 0; n < v.inner; ++n) {
      Scalar sum = start;
      for (int64_t i = 0; i < v.extent; ++i) {
        TENON_RETURN_IF_ERROR(steps.add(8));
        const int64_t at = (o * v.extent + (reverse ? v.extent - 1 - i : i)) * v.inner + n;
        const Scalar args[] = {sum, load_scalar(x.data(), x.dtype(), at)};
        const Scalar next = eval_scalar(kOp, acc, args);
        store_scalar(out->mutable_data(), x.dtype(), at, exclusive ? sum : next);
        sum = next;
      }
    }
  return {};
}

OpDef cumulative(std::string_view name, BodyFn body, EvalFn eval, std::string_view doc) {
  return {.domain = "",
          .name = name,
          .inputs = {{"x", "T", kNumeric}, {"axis", "T2", kIndex}},
          .outputs = {{"y", "T", kNumeric}},
          .attrs = {{"exclusive", AttrKind::kInt, false, "0"}, {"reverse", AttrKind::kInt, false, "0"}},
          .infer = infer_cumulative,
          .compute = {.body = body, .eval = eval},
          .doc = doc};
}

}  // namespace

std::vector<OpDef> indexing_ops() {
  return {
      {.domain = "",
       .name = "Compress",
       .inputs = {{"input", "T"}, {"condition", "B", dtypes(DType::kBool)}},
       .outputs = {{"output", "T"}},
       .attrs = {{"axis", AttrKind::kInt}},
       .infer = infer_compress,
       .compute = {.eval = eval_compress},
       .doc = "Slices of an axis where the condition holds (Compress)",
       .host = "output size depends on data"},
      {.domain = "",
       .name = "NonZero",
       .inputs = {{"X", "T"}},
       .outputs = {{"Y", "I", kI64Only}},
       .infer = infer_non_zero,
       .compute = {.eval = eval_non_zero},
       .doc = "The indices of elements that are not zero, a row an axis (NonZero)",
       .host = "output size depends on data"},
      {.domain = "",
       .name = "Unique",
       .inputs = {{"X", "T"}},
       .outputs = {{"Y", "T"},
                   {"indices", "I", kI64Only, true},
                   {"inverse_indices", "I", kI64Only, true},
                   {"counts", "I", kI64Only, true}},
       .attrs = {{"axis", AttrKind::kInt}, {"sorted", AttrKind::kInt, false, "1"}},
       .infer = infer_unique,
       .compute = {.eval = eval_unique},
       .doc = "The different elements, or slices of an axis (Unique)",
       .host = "output size depends on data, in the order of first occurrence"},
      {.domain = "",
       .name = "TopK",
       .inputs = {{"X", "T", kNumeric}, {"K", "I", kI64Only}},
       .outputs = {{"Values", "T", kNumeric}, {"Indices", "I", kI64Only}},
       .attrs = {{"axis", AttrKind::kInt, false, "-1"},
                 {"largest", AttrKind::kInt, false, "1"},
                 {"sorted", AttrKind::kInt, false, "1"}},
       .infer = infer_top_k,
       .compute = {.decompose = decompose_top_k, .eval = eval_top_k},
       .doc = "The K largest or smallest elements along an axis; ties go to the lower index (TopK)"},
      {.domain = "tenon",
       .name = "ranks",
       .inputs = {{"x", "T", kNumeric}},
       .outputs = {{"ranks", "I", kI64Only}},
       .attrs = {{"largest", AttrKind::kInt, false, "1"}},
       .infer = infer_ranks,
       .compute = {.body = ranks_body},
       .doc = "The place of each element among those of the last axis: by value, then by position"},
      cumulative("CumSum", cumulative_body<Combiner::kAdd>, eval_cumulative<ScalarOp::kAdd>,
                 "Running sums along an axis (CumSum)"),
      cumulative("CumProd", cumulative_body<Combiner::kMul>, eval_cumulative<ScalarOp::kMul>,
                 "Running products along an axis (CumProd)"),
  };
}

}  // namespace tenon::ir
