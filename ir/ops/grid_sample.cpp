#include <algorithm>
#include <limits>

#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

namespace tenon::ir {
namespace {

struct GridOptions {
  bool nearest = false, cubic = false, align = false;
  enum Padding { kZeros, kBorder, kReflection } padding = kZeros;
};

Result<GridOptions> read_options(const Node& node) {
  GridOptions o;
  std::string mode = node.attr_string("mode", "linear"), padding = node.attr_string("padding_mode", "zeros");
  o.nearest = mode == "nearest";
  o.cubic = mode == "cubic" || mode == "bicubic";
  if (!o.nearest && !o.cubic && mode != "linear" && mode != "bilinear") return error(Code::kInvalidModel, "attribute mode is \"{}\"", mode);
  o.align = node.attr_int("align_corners", 0) != 0;
  if (padding == "border") o.padding = GridOptions::kBorder;
  else if (padding == "reflection") o.padding = GridOptions::kReflection;
  else if (padding != "zeros") return error(Code::kInvalidModel, "attribute padding_mode is \"{}\"", padding);
  return o;
}

/// Nearest elements are copied, of whatever type; interpolation needs numbers.
constexpr DTypeSet kSampled = kNumeric | dtypes(DType::kBool, DType::kString, DType::kC64, DType::kC128);

Status infer_grid_sample(InferContext& c) {
  Result<GridOptions> o = read_options(c.node());
  if (!o.ok()) return std::move(o).status().at(c.node().name());
  if (!o->nearest && (dtype_bit(c.dtype(0)) & kNumeric) == 0) return c.fail("{} can only be sampled in mode nearest", name(c.dtype(0)));
  if (!c.ranked(0) || !c.ranked(1)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  const Dims &x = c.shape(0), &grid = c.shape(1);
  if (x.size() < 3 || x.size() > 5 || grid.size() != x.size())
    return c.fail("input and grid must have one rank, 3 to 5; they have {} and {}", x.size(), grid.size());
  if (o->cubic && x.size() > 4) return c.fail("cubic mode samples at most 2 spatial axes");
  TENON_RETURN_IF_ERROR(require_equal(c, x[0], grid[0], "batches of input and grid"));
  TENON_RETURN_IF_ERROR(require_equal(c, grid.back(), static_cast<int64_t>(x.size()) - 2, "the grid's last axis and the spatial axes"));
  Dims out = {x[0], x[1]};
  out.insert(out.end(), grid.begin() + 1, grid.end() - 1);
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

/// A body under construction: where it samples and how.
struct Sampler {
  ExprPool& p;
  const Node& node;
  GridOptions o;
  DType real;       // of coordinates and weights
  size_t spatial;
  const Dims& x;

  Expr number(double v) const { return p.constant(real, v); }
  Expr size(size_t axis) const { return p.cast(p.dim(x[2 + axis]), real); }
  Expr low() const { return number(o.align ? 0 : -0.5); }
  Expr high(size_t axis) const { return size(axis) - (o.align ? 1.0 : 0.5); }

  /// Mirrors at both ends of [low, high] as often as it takes.
  Expr reflected(Expr v, size_t axis) const {
    Expr lo = low(), range = max(high(axis) - lo, number(1e-12));
    Expr t = mod(abs(v - lo), range * 2.0);
    return lo + select(t <= range, t, range * 2.0 - t);
  }

  /// Input coordinate on spatial axis `axis`; the grid's components are in reverse order of the axes.
  Expr coordinate(size_t axis) const {
    std::vector<Expr> at = {p.index(0)};
    for (size_t i = 0; i < spatial; ++i) at.push_back(p.index(static_cast<int>(2 + i)));
    at.push_back(p.constant_int(DType::kI64, static_cast<int64_t>(spatial - 1 - axis)));
    Expr g = load_as(p, node, 1, at, real);
    Expr v = o.align ? (g + 1.0) * 0.5 * (size(axis) - 1.0) : ((g + 1.0) * size(axis) - 1.0) * 0.5;
    if (o.nearest) v = unary(ScalarOp::kRound, v);
    if (o.padding == GridOptions::kBorder && !o.cubic) v = min(max(v, number(0)), size(axis) - 1.0);
    if (o.padding == GridOptions::kReflection) v = reflected(v, axis);
    return v;
  }

  /// Index of a tap after padding; `guard` gathers the conditions for zero padding.
  Expr place(Expr at, size_t axis, Expr& guard) const {
    Expr zero = p.constant_int(DType::kI64, 0);
    Expr last = p.dim(x[2 + axis]) - 1.0;
    if (o.padding == GridOptions::kZeros) {
      Expr inside = at >= 0.0 && at <= last;
      guard = guard.valid() ? guard && inside : inside;
      return at;
    }
    if (o.padding == GridOptions::kReflection) {
      Expr mirrored = reflected(p.cast(at, real), axis);
      at = p.cast(o.nearest ? unary(ScalarOp::kRound, mirrored) : floor(mirrored + 0.25), DType::kI64);
    }
    return min(max(at, zero), last);
  }

  struct Taps {
    std::vector<Expr> at, weight;
  };

  Taps taps(size_t axis) const {
    Expr v = coordinate(axis);
    if (o.nearest) return {{p.cast(v, DType::kI64)}, {Expr{}}};
    Expr base = floor(v), s = v - base, first = p.cast(base, DType::kI64);
    if (!o.cubic) return {{first, first + 1.0}, {1.0 - s, s}};
    constexpr double a = -0.75;
    auto far = [&](Expr d) { return ((d * a - 5 * a) * d + 8 * a) * d - 4 * a; };
    auto near = [&](Expr d) { return (d * (a + 2) - (a + 3)) * d * d + 1.0; };
    return {{first - 1.0, first, first + 1.0, first + 2.0}, {far(s + 1.0), near(s), near(1.0 - s), far(2.0 - s)}};
  }

  Expr sum(const std::vector<Taps>& all, size_t axis, std::vector<Expr>& at, Expr guard) const {
    DType type = node.input(0)->dtype(), sum_type = o.nearest ? type : real;
    if (axis == spatial) {
      if (!guard.valid()) return p.cast(p.load(0, type, at), sum_type);
      return p.cast(p.load_guarded(0, type, at, guard, p.constant(type, 0)), sum_type);
    }
    Expr total;
    for (size_t t = 0; t < all[axis].at.size(); ++t) {
      Expr here = guard;
      at[2 + axis] = place(all[axis].at[t], axis, here);
      Expr inner = sum(all, axis + 1, at, here);
      if (all[axis].weight[t].valid()) inner = all[axis].weight[t] * inner;
      total = total.valid() ? total + inner : inner;
    }
    return total;
  }
};

Result<std::vector<Body>> grid_sample_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(GridOptions o, read_options(node));
  Body body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kMovement;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  const Dims& x = dims_of(node, 0);
  DType real = body.dtype == DType::kF64 || node.input(1)->dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  Sampler sampler{p, node, o, real, x.size() - 2, x};
  std::vector<Sampler::Taps> taps;
  for (size_t i = 0; i < sampler.spatial; ++i) taps.push_back(sampler.taps(i));
  std::vector<Expr> at = index_range(p, 0, x.size());
  body.value = p.cast(sampler.sum(taps, 0, at, Expr{}), body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- AffineGrid

Status infer_affine_grid(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 3));
  if (c.ranked(1) && c.shape(1).size() != 1) return c.fail("size is {}, not a list", to_string(c.in(1)));
  std::optional<Dims> size = c.dim_values(1);
  size_t rank = 0;
  if (size) rank = size->size();
  else if (c.ranked(1) && c.shape(1).size() == 1 && c.shape(1)[0].is_const()) rank = static_cast<size_t>(c.shape(1)[0].value());
  if (rank == 0 && !size && !(c.ranked(1) && c.shape(1)[0].is_const())) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  if (rank != 4 && rank != 5) return c.fail("size has {} entries; it takes 4 or 5", rank);
  int64_t spatial = static_cast<int64_t>(rank) - 2;
  if (c.ranked(0)) {
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[1], spatial, "rows of theta and spatial axes"));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[2], spatial + 1, "columns of theta and spatial axes + 1"));
  }
  Dims out;
  for (size_t i = 0; i < rank; ++i) {
    if (i == 1) continue;
    Dim d = size ? (*size)[i] : c.fresh_dim(0, static_cast<int>(out.size()));
    if (bounds(d).hi < 0) return c.fail("size holds the negative entry {}", to_string(d));
    out.push_back(d);
  }
  if (c.ranked(0) && size) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[0], out[0], "the batch of theta and of size"));
  out.push_back(spatial);
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

/// out[n, position…, j] = theta[n, j, :] · (normalised coordinates, x first, 1).
Result<std::vector<Body>> affine_grid_body(const Node& node) {
  Body body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kMovement;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  if (dims_of(node, 0).size() != 3 || body.axes.size() < 4) return error(Code::kUnsupported, "the ranks are not known");
  size_t spatial = body.axes.size() - 2;
  bool align = node.attr_int("align_corners", 0) != 0;
  DType real = accumulator_of(body.dtype);
  Expr row = p.index(static_cast<int>(spatial + 1));
  auto theta = [&](size_t column) {
    std::vector<Expr> at = {p.index(0), row, p.constant_int(DType::kI64, static_cast<int64_t>(column))};
    return load_as(p, node, 0, at, real);
  };
  Expr sum = theta(spatial);
  for (size_t i = 0; i < spatial; ++i) {
    Expr at = p.cast(p.index(static_cast<int>(1 + i)), real), size = p.cast(p.dim(body.axes[1 + i]), real);
    Expr v = align ? select(size <= 1.0, p.constant(real, 0), at * 2.0 / (size - 1.0) - 1.0) : (at * 2.0 + 1.0) / size - 1.0;
    sum = sum + theta(spatial - 1 - i) * v;
  }
  body.value = p.cast(sum, body.dtype);
  return std::vector<Body>{std::move(body)};
}

}  // namespace

std::vector<OpDef> grid_ops() {
  return {
      {.domain = "", .name = "GridSample",
       .inputs = {{"X", "T1", kSampled}, {"grid", "T2", kFloat16To64}},
       .outputs = {{"Y", "T1", kSampled}},
       .attrs = {{"align_corners", AttrKind::kInt, false, "0"}, {"mode", AttrKind::kString, false, "linear"},
                 {"padding_mode", AttrKind::kString, false, "zeros"}},
       .infer = infer_grid_sample, .compute = {.body = grid_sample_body},
       .doc = "Samples the input at the grid's normalised coordinates (ONNX GridSample)."},
      {.domain = "", .name = "AffineGrid",
       .inputs = {{"theta", "T1", kFloat16To64}, {"size", "T2", dtypes(DType::kI64)}},
       .outputs = {{"grid", "T1", kFloat16To64}},
       .attrs = {{"align_corners", AttrKind::kInt, false, "0"}},
       .infer = infer_affine_grid, .compute = {.body = affine_grid_body},
       .doc = "Coordinates for GridSample from affine matrices (ONNX AffineGrid)."},
  };
}

}  // namespace tenon::ir
