#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

namespace tenon::ir {
namespace {

/// Nearest elements are copied, of whatever type; interpolation needs numbers.
constexpr DTypeSet kResizeTypes = kNumeric | dtypes(DType::kBool, DType::kString, DType::kC64, DType::kC128);

enum class Mode { kNearest, kLinear, kCubic };
enum class Coordinates { kHalfPixel, kHalfPixelSymmetric, kPytorchHalfPixel, kAlignCorners, kAsymmetric, kTfCrop, kTfHalfPixelNn };

struct Options {
  Mode mode = Mode::kNearest;
  Coordinates coordinates = Coordinates::kHalfPixel;
  std::string nearest, policy;
  double cubic_a = -0.75, extrapolation = 0;
  bool exclude_outside = false, antialias = false;
  std::vector<size_t> axes;
};

template <class T>
struct Named {
  std::string_view name;
  T value;
};
constexpr Named<Mode> kModes[] = {{"nearest", Mode::kNearest}, {"linear", Mode::kLinear}, {"cubic", Mode::kCubic}};
constexpr Named<Coordinates> kCoordinates[] = {
    {"half_pixel", Coordinates::kHalfPixel}, {"half_pixel_symmetric", Coordinates::kHalfPixelSymmetric},
    {"pytorch_half_pixel", Coordinates::kPytorchHalfPixel}, {"align_corners", Coordinates::kAlignCorners},
    {"asymmetric", Coordinates::kAsymmetric}, {"tf_crop_and_resize", Coordinates::kTfCrop},
    {"tf_half_pixel_for_nn", Coordinates::kTfHalfPixelNn}};

template <class T, size_t N>
Result<T> named_attr(const Node& node, std::string_view attr, std::string_view fallback, const Named<T> (&rows)[N]) {
  std::string text = node.attr_string(attr, fallback);
  for (const Named<T>& row : rows)
    if (row.name == text) return row.value;
  return error(Code::kInvalidModel, "attribute {} is \"{}\", which is not known", attr, text);
}

Result<Options> read_options(const Node& node, int64_t rank) {
  Options o;
  TENON_ASSIGN_OR_RETURN(o.mode, named_attr(node, "mode", "nearest", kModes));
  TENON_ASSIGN_OR_RETURN(o.coordinates, named_attr(node, "coordinate_transformation_mode", "half_pixel", kCoordinates));
  o.nearest = node.attr_string("nearest_mode", "round_prefer_floor");
  if (o.nearest != "round_prefer_floor" && o.nearest != "round_prefer_ceil" && o.nearest != "floor" && o.nearest != "ceil")
    return error(Code::kInvalidModel, "attribute nearest_mode is \"{}\"", o.nearest);
  o.policy = node.attr_string("keep_aspect_ratio_policy", "stretch");
  if (o.policy != "stretch" && o.policy != "not_larger" && o.policy != "not_smaller")
    return error(Code::kInvalidModel, "attribute keep_aspect_ratio_policy is \"{}\"", o.policy);
  o.cubic_a = node.attr_float("cubic_coeff_a", -0.75);
  o.extrapolation = node.attr_float("extrapolation_value", 0);
  o.exclude_outside = node.attr_int("exclude_outside", 0) != 0;
  o.antialias = node.attr_int("antialias", 0) != 0;
  std::vector<int64_t> axes = node.attr_ints("axes");
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  for (int64_t axis : axes) {
    TENON_ASSIGN_OR_RETURN(axis, normalize_axis(axis, rank, "axes"));
    if (std::find(o.axes.begin(), o.axes.end(), static_cast<size_t>(axis)) != o.axes.end())
      return error(Code::kInvalidModel, "attribute axes names axis {} twice", axis);
    o.axes.push_back(static_cast<size_t>(axis));
  }
  if (o.coordinates == Coordinates::kTfCrop && !node.has_input(1))
    return error(Code::kInvalidModel, "tf_crop_and_resize needs the input roi");
  return o;
}

/// An input counts when it is there and not an empty tensor (how exporters write "absent").
bool given(const Node& node, int input) {
  if (!node.has_input(input)) return false;
  const Type& type = node.input(input)->type();
  return !(type.is_ranked_tensor() && type.tensor().rank() == 1 && type.tensor().dim(0).is_const(0));
}

/// floor(dim * scale) as a Dim when the scale is a ratio of small integers; nullopt otherwise.
std::optional<Dim> scaled_dim(Dim dim, float scale) {
  if (dim.is_const()) {
    float size = scale * static_cast<float>(dim.value());
    if (!(size >= 0) || size > 1e15F) return std::nullopt;
    return Dim(static_cast<int64_t>(size));
  }
  for (int64_t q = 1; q <= 1024; ++q) {
    double p = static_cast<double>(scale) * static_cast<double>(q);
    if (p == std::floor(p) && p < 1e9) return floor_div(dim * static_cast<int64_t>(p), q);
  }
  return std::nullopt;
}

double common_scale(const Options& o, std::span<const int64_t> in, std::span<const int64_t> sizes) {
  double best = o.policy == "not_larger" ? std::numeric_limits<double>::infinity() : 0;
  for (size_t i = 0; i < o.axes.size(); ++i) {
    double s = static_cast<double>(sizes[i]) / static_cast<double>(std::max<int64_t>(in[o.axes[i]], 1));
    best = o.policy == "not_larger" ? std::min(best, s) : std::max(best, s);
  }
  return best;
}

int64_t round_size(double scale, int64_t in) { return static_cast<int64_t>(std::floor(scale * static_cast<double>(in) + 0.5)); }

Status infer_from_scales(InferContext& c, const Options& o, Dims& out) {
  const Tensor* scales = c.constant(2);
  if (c.ranked(2) && c.shape(2).size() == 1 && known_ne(c.shape(2)[0], static_cast<int64_t>(o.axes.size())))
    return c.fail("scales has {} entries where {} are needed", to_string(c.shape(2)[0]), o.axes.size());
  for (size_t i = 0; i < o.axes.size(); ++i) {
    Dim& dim = out[o.axes[i]];
    std::optional<Dim> size;
    if (scales != nullptr) {
      if (scales->size() != static_cast<int64_t>(o.axes.size())) return c.fail("scales has {} entries where {} are needed", scales->size(), o.axes.size());
      float scale = static_cast<float>(scales->at_double(static_cast<int64_t>(i)));
      if (!(scale > 0) || std::isinf(scale)) return c.fail("scale {} is not a positive number", scale);
      size = scaled_dim(dim, scale);
    }
    dim = size ? *size : c.fresh_dim(0, static_cast<int>(o.axes[i]));
  }
  return {};
}

Status infer_from_sizes(InferContext& c, const Options& o, Dims& out) {
  std::optional<Dims> sizes = c.dim_values(3);
  if (sizes && sizes->size() != o.axes.size()) return c.fail("sizes has {} entries where {} are needed", sizes->size(), o.axes.size());
  bool exact = sizes && o.policy == "stretch";
  if (sizes && !exact) {
    std::vector<int64_t> in, want;
    for (const Dim& d : out) in.push_back(d.is_const() ? d.value() : -1);
    for (const Dim& d : *sizes) want.push_back(d.is_const() ? d.value() : -1);
    bool known = std::all_of(want.begin(), want.end(), [](int64_t v) { return v >= 0; });
    for (size_t axis : o.axes) known &= in[axis] > 0;
    if (known) {
      double scale = common_scale(o, in, want);
      for (size_t i = 0; i < o.axes.size(); ++i) (*sizes)[i] = round_size(scale, in[o.axes[i]]);
      exact = true;
    }
  }
  for (size_t i = 0; i < o.axes.size(); ++i) {
    if (exact && bounds((*sizes)[i]).hi < 0) return c.fail("size {} is negative", to_string((*sizes)[i]));
    out[o.axes[i]] = exact ? (*sizes)[i] : c.fresh_dim(0, static_cast<int>(o.axes[i]));
  }
  return {};
}

Status infer_resize(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Result<Options> o = read_options(c.node(), static_cast<int64_t>(c.shape(0).size()));
  if (!o.ok()) return std::move(o).status().at(c.node().name());
  if (o->mode != Mode::kNearest && (dtype_bit(c.dtype(0)) & kNumeric) == 0) return c.fail("{} can only be resized in mode nearest", name(c.dtype(0)));
  bool scales = given(c.node(), 2), sizes = given(c.node(), 3);
  if (scales == sizes) return c.fail("exactly one of scales and sizes must be given");
  Dims out = c.shape(0);
  TENON_RETURN_IF_ERROR(scales ? infer_from_scales(c, *o, out) : infer_from_sizes(c, *o, out));
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

// ---- Body: explicit taps

/// What one axis reads: index and weight of each tap, and whether the coordinate lies inside (tf_crop_and_resize).
struct AxisTaps {
  std::vector<Expr> at, weight;  // weight invalid: 1
  Expr inside;
};

Expr real(ExprPool& p, double v) { return p.constant(DType::kF32, v); }
Expr real(Expr i64) { return i64.pool->cast(i64, DType::kF32); }

/// Output coordinate to input coordinate (ONNX Resize, coordinate_transformation_mode).
Expr source_coordinate(ExprPool& p, const Node& node, const Options& o, size_t slot, Dim in, Dim out, Expr scale) {
  Expr x = real(p.index(static_cast<int>(o.axes[slot])));
  // The resized length is input times scale, not rounded, when the model gives scales (as ONNX's reference computes it).
  Expr length_in = real(p.dim(in)), single = real(p.dim(out)) <= 1.0;
  Expr length_out = given(node, 2) ? length_in * scale : real(p.dim(out));
  auto roi = [&](size_t i) { return load_as(p, node, 1, std::vector<Expr>{p.constant_int(DType::kI64, static_cast<int64_t>(i))}, DType::kF32); };
  switch (o.coordinates) {
    case Coordinates::kAsymmetric: return x / scale;
    case Coordinates::kHalfPixel: return (x + 0.5) / scale - 0.5;
    case Coordinates::kTfHalfPixelNn: return (x + 0.5) / scale;
    case Coordinates::kHalfPixelSymmetric: {
      Expr adjustment = real(p.dim(out)) / (scale * length_in);
      return length_in * 0.5 * (1.0 - adjustment) + (x + 0.5) / scale - 0.5;
    }
    case Coordinates::kPytorchHalfPixel: return select(single, real(p, 0), (x + 0.5) / scale - 0.5);
    case Coordinates::kAlignCorners: return select(single, real(p, 0), x * (length_in - 1.0) / (length_out - 1.0));
    case Coordinates::kTfCrop: {
      Expr start = roi(slot), end = roi(slot + o.axes.size());
      Expr step = (end - start) * (length_in - 1.0) / (length_out - 1.0);
      return select(single, (start + end) * 0.5 * (length_in - 1.0), start * (length_in - 1.0) + x * step);
    }
  }
  return x;
}

Expr clamp_index(ExprPool& p, Expr at, Dim size) {
  return min(max(at, p.constant_int(DType::kI64, 0)), p.dim(size) - 1.0);
}

Expr nearest_of(const Options& o, Expr x) {
  Expr rounded = o.nearest == "floor"               ? floor(x)
                 : o.nearest == "ceil"              ? unary(ScalarOp::kCeil, x)
                 : o.nearest == "round_prefer_ceil" ? floor(x + 0.5)
                                                    : unary(ScalarOp::kCeil, x - 0.5);
  return x.pool->cast(rounded, DType::kI64);
}

/// Cubic convolution weights at distances 1+s, s, 1-s, 2-s (Keys 1981).
std::vector<Expr> cubic_weights(Expr s, double a) {
  auto far = [&](Expr d) { return ((d * a - 5 * a) * d + 8 * a) * d - 4 * a; };
  auto near = [&](Expr d) { return (d * (a + 2) - (a + 3)) * d * d + 1.0; };
  return {far(s + 1.0), near(s), near(1.0 - s), far(2.0 - s)};
}

/// `dtype`: of the weights.
AxisTaps axis_taps(ExprPool& p, const Options& o, Expr x, Dim in, DType dtype) {
  AxisTaps taps;
  if (o.coordinates == Coordinates::kTfCrop) taps.inside = x >= 0.0 && x <= real(p.dim(in)) - 1.0;
  if (o.mode == Mode::kNearest) {
    taps.at = {clamp_index(p, nearest_of(o, x), in)};
    taps.weight = {Expr{}};
    return taps;
  }
  Expr base = floor(x), s = p.cast(x, dtype) - p.cast(base, dtype), first = p.cast(base, DType::kI64);
  int64_t before = o.mode == Mode::kCubic ? 1 : 0;
  taps.weight = o.mode == Mode::kCubic ? cubic_weights(s, o.cubic_a) : std::vector<Expr>{1.0 - s, s};
  Expr total;
  for (size_t t = 0; t < taps.weight.size(); ++t) {
    Expr at = first + static_cast<double>(static_cast<int64_t>(t) - before);
    if (o.exclude_outside) {
      taps.weight[t] = select(at >= 0.0 && at < p.dim(in), taps.weight[t], p.constant(dtype, 0));
      total = total.valid() ? total + taps.weight[t] : taps.weight[t];
    }
    taps.at.push_back(clamp_index(p, at, in));
  }
  if (o.exclude_outside)
    for (Expr& w : taps.weight) w = w / total;
  return taps;
}

Expr sum_over_taps(ExprPool& p, const Node& node, const std::vector<AxisTaps>& taps, const std::vector<size_t>& axes, size_t depth,
                   std::vector<Expr>& at, DType dtype) {
  if (depth == axes.size()) return load_as(p, node, 0, at, dtype);
  Expr sum;
  for (size_t t = 0; t < taps[depth].at.size(); ++t) {
    at[axes[depth]] = taps[depth].at[t];
    Expr inner = sum_over_taps(p, node, taps, axes, depth + 1, at, dtype);
    if (taps[depth].weight[t].valid()) inner = p.cast(taps[depth].weight[t], dtype) * inner;
    sum = sum.valid() ? sum + inner : inner;
  }
  return sum;
}

/// The scale of one axis: what the model says, or output over input size.
Result<Expr> scale_of(ExprPool& p, const Node& node, const Options& o, size_t slot, Dim in, Dim out) {
  if (given(node, 2)) {
    if (const Tensor* scales = constant_of(node.input(2))) return real(p, scales->at_double(static_cast<int64_t>(slot)));
    return load_as(p, node, 2, std::vector<Expr>{p.constant_int(DType::kI64, static_cast<int64_t>(slot))}, DType::kF32);
  }
  if (o.policy == "stretch") return real(p.dim(out)) / real(p.dim(in));
  std::optional<std::vector<int64_t>> sizes = constant_ints(node.input(3));
  std::vector<int64_t> dims;
  for (const Dim& d : dims_of(node, 0)) dims.push_back(d.is_const() ? d.value() : -1);
  for (size_t axis : o.axes)
    if (dims[axis] < 0) sizes.reset();
  if (!sizes) return error(Code::kUnsupported, "keep_aspect_ratio_policy with sizes known only at run time");
  return real(p, common_scale(o, dims, *sizes));
}

Result<std::vector<Body>> resize_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Options o, read_options(node, static_cast<int64_t>(dims_of(node, 0).size())));
  if (o.antialias && o.mode != Mode::kNearest) return error(Code::kUnsupported, "antialiased Resize has no body");
  Body body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kMovement;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  const Dims& in = dims_of(node, 0);
  std::vector<Expr> at = index_range(p, 0, in.size());
  std::vector<AxisTaps> taps;
  std::vector<size_t> axes;
  Expr inside;
  const bool wide = (dtype_bit(body.dtype) & dtypes(DType::kF64, DType::kI32, DType::kU32, DType::kI64, DType::kU64)) != 0;
  DType dtype = o.mode == Mode::kNearest ? body.dtype : wide ? DType::kF64 : DType::kF32;
  for (size_t slot = 0; slot < o.axes.size(); ++slot) {
    size_t axis = o.axes[slot];
    TENON_ASSIGN_OR_RETURN(Expr scale, scale_of(p, node, o, slot, in[axis], body.axes[axis]));
    bool same_scale = given(node, 3) || (scale.node().kind == ExprKind::kConst && scale.node().scalar.f == 1);
    if (o.coordinates != Coordinates::kTfCrop && same_scale && known_eq(in[axis], body.axes[axis])) continue;
    axes.push_back(axis);
    taps.push_back(axis_taps(p, o, source_coordinate(p, node, o, slot, in[axis], body.axes[axis], scale), in[axis], dtype));
    Expr here = taps.back().inside;
    if (here.valid()) inside = inside.valid() ? inside && here : here;
  }
  if (axes.size() > 3 && o.mode != Mode::kNearest) return error(Code::kUnsupported, "Resize of more than 3 axes has no body");
  body.value = p.cast(sum_over_taps(p, node, taps, axes, 0, at, dtype), body.dtype);
  if (inside.valid() && (dtype_bit(body.dtype) & kNumeric) == 0) return error(Code::kUnsupported, "{} outside the input", name(body.dtype));
  if (inside.valid()) body.value = select(inside, body.value, p.cast(real(p, o.extrapolation), body.dtype));
  return std::vector<Body>{std::move(body)};
}

// ---- Evaluation: one axis after another with a table of weights

struct AxisTable {
  std::vector<std::vector<std::pair<int64_t, double>>> taps;  // for each output position: input index, weight
  std::vector<bool> outside;
};

struct AxisSpec {
  int64_t in, out;
  double scale, length_out, roi_start = 0, roi_end = 1;  // length_out: not rounded
};

double source_of(const Options& o, const AxisSpec& a, double x) {
  double in = static_cast<double>(a.in), out = a.length_out;
  auto f32 = [](double v) { return static_cast<double>(static_cast<float>(v)); };
  switch (o.coordinates) {
    case Coordinates::kAsymmetric: return f32(x / a.scale);
    case Coordinates::kHalfPixel: return f32(f32((x + 0.5) / a.scale) - 0.5);
    case Coordinates::kTfHalfPixelNn: return f32((x + 0.5) / a.scale);
    case Coordinates::kHalfPixelSymmetric: return in / 2 * (1 - static_cast<double>(a.out) / (a.scale * in)) + (x + 0.5) / a.scale - 0.5;
    case Coordinates::kPytorchHalfPixel: return a.out > 1 ? f32(f32((x + 0.5) / a.scale) - 0.5) : 0;
    case Coordinates::kAlignCorners: return a.out > 1 ? f32(x * (in - 1) / (out - 1)) : 0;
    case Coordinates::kTfCrop:
      return a.out > 1 ? a.roi_start * (in - 1) + x * (a.roi_end - a.roi_start) * (in - 1) / (out - 1)
                       : 0.5 * (a.roi_start + a.roi_end) * (in - 1);
  }
  return x;
}

double nearest_index(const Options& o, double x) {
  if (o.nearest == "floor") return std::floor(x);
  if (o.nearest == "ceil") return std::ceil(x);
  return o.nearest == "round_prefer_ceil" ? std::floor(x + 0.5) : std::ceil(x - 0.5);
}

double cubic_kernel(double d, double a) {
  d = std::abs(d);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/// How far from its coordinate an output position reads.
double reach_of(const Options& o, const AxisSpec& a) {
  const double stretch = o.antialias ? std::min(a.scale, 1.0) : 1.0;
  return std::min((o.mode == Mode::kCubic ? 2.0 : 1.0) / stretch, 4.0 * static_cast<double>(a.in) + 4.0);
}

/// Bytes of the table of one axis, about.
double table_bytes(const Options& o, const AxisSpec& a) {
  const double taps = o.mode == Mode::kNearest ? 1 : 2 * reach_of(o, a) + 3;
  return static_cast<double>(a.out) * (32 + 32 * taps);  // vectors grow by doubling
}

/// Weights around coordinate x. With antialias, a kernel is widened by 1 / scale when shrinking (ONNX Resize, antialias).
std::vector<std::pair<int64_t, double>> weights_at(const Options& o, const AxisSpec& a, double x) {
  auto clamped = [&](double i) { return static_cast<int64_t>(std::clamp(i, 0.0, static_cast<double>(a.in - 1))); };
  if (o.mode == Mode::kNearest) return {{clamped(nearest_index(o, x)), 1.0}};
  double stretch = o.antialias ? std::min(a.scale, 1.0) : 1.0;
  const double reach = reach_of(o, a);
  // As many taps as the kernel has, whatever their weights: infinity times zero is NaN.
  const double before = o.mode == Mode::kCubic ? 1 : 0;
  const double first = o.antialias ? std::floor(x - reach) : std::floor(x) - before;
  const double last = o.antialias ? std::ceil(x + reach) : std::floor(x) + before + 1;
  std::vector<std::pair<int64_t, double>> taps;
  double total = 0;
  for (double i = first; i <= last; ++i) {
    double d = (i - x) * stretch;
    double w = o.mode == Mode::kCubic ? cubic_kernel(d, o.cubic_a) : std::max(0.0, 1 - std::abs(d));
    if (o.exclude_outside && (i < 0 || i > static_cast<double>(a.in - 1))) w = 0;
    if (w == 0 && o.antialias) continue;
    taps.emplace_back(clamped(i), w);
    total += w;
  }
  if ((o.antialias || o.exclude_outside) && total != 0)
    for (auto& tap : taps) tap.second /= total;
  return taps;
}

Result<AxisTable> make_table(const Options& o, const AxisSpec& a, const Interrupt& interrupt) {
  AxisTable table;
  for (int64_t i = 0; i < a.out; ++i) {
    if ((i & 0xfff) == 0) TENON_RETURN_IF_ERROR(interrupt.check());
    double x = source_of(o, a, static_cast<double>(i));
    // A coordinate that is no number is not inside.
    table.outside.push_back(o.coordinates == Coordinates::kTfCrop && !(x >= 0 && x <= static_cast<double>(a.in - 1)));
    if (!std::isfinite(x)) x = 0;
    table.taps.push_back(weights_at(o, a, std::clamp(x, -8.0, static_cast<double>(a.in) + 8)));
  }
  return table;
}

/// Interpolates `data` of `shape` along `axis`.
Result<std::vector<double>> apply_table(const std::vector<double>& data, Shape& shape, size_t axis, const AxisTable& table,
                                        const Interrupt& interrupt) {
  int64_t outer = 1, inner = 1, in = shape[axis], out = static_cast<int64_t>(table.taps.size());
  for (size_t i = 0; i < axis; ++i) outer *= shape[i];
  for (size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  std::vector<double> result(static_cast<size_t>(outer * out * inner), 0.0);
  for (int64_t a = 0; a < outer; ++a)
    for (int64_t i = 0; i < out; ++i) {
      if ((i & 0xff) == 0) TENON_RETURN_IF_ERROR(interrupt.check());
      for (const auto& [source, weight] : table.taps[static_cast<size_t>(i)]) {
        const double* from = data.data() + (a * in + source) * inner;
        double* to = result.data() + (a * out + i) * inner;
        for (int64_t j = 0; j < inner; ++j) to[j] += weight * from[j];
      }
    }
  shape[axis] = out;
  return result;
}

Result<std::vector<AxisSpec>> axis_specs(EvalContext& c, const Options& o) {
  const Shape& in = c.tensor(0).shape();
  int64_t n = static_cast<int64_t>(o.axes.size());
  bool by_scales = c.has(2) && c.tensor(2).size() > 0;
  int source = by_scales ? 2 : 3;
  if (!c.has(source) || c.tensor(source).size() != n)
    return eval_error(c, Code::kInvalidArgument, "scales or sizes must have {} entries", n);
  if (o.coordinates == Coordinates::kTfCrop && (!c.has(1) || c.tensor(1).size() != 2 * n))
    return eval_error(c, Code::kInvalidArgument, "roi must have {} entries", 2 * n);
  std::vector<int64_t> sizes;
  if (!by_scales) sizes = ints_of(c.tensor(3));
  double common = by_scales || o.policy == "stretch" ? 0 : common_scale(o, in, sizes);
  std::vector<AxisSpec> specs;
  for (int64_t i = 0; i < n; ++i) {
    AxisSpec a{in[o.axes[static_cast<size_t>(i)]], 0, 1, 0};
    double size = 0;
    if (by_scales) {
      a.scale = c.tensor(2).at_double(i);
      size = std::floor(static_cast<float>(a.scale) * static_cast<float>(a.in));
    } else {
      a.scale = common != 0 ? common : static_cast<double>(static_cast<float>(sizes[static_cast<size_t>(i)]) / static_cast<float>(a.in));
      size = common != 0 ? std::floor(common * static_cast<double>(a.in) + 0.5) : static_cast<double>(sizes[static_cast<size_t>(i)]);
    }
    if (!(a.scale > 0) && a.in > 0 && size != 0) return eval_error(c, Code::kInvalidArgument, "scale {} is not positive", a.scale);
    if (!(size >= 0 && size <= 1e9)) return eval_error(c, Code::kInvalidArgument, "output size {} is not possible", size);
    a.out = static_cast<int64_t>(size);
    a.length_out = by_scales ? a.scale * static_cast<double>(a.in) : size;
    if (a.in == 0 && a.out != 0) return eval_error(c, Code::kInvalidArgument, "an empty axis cannot be enlarged");
    if (o.coordinates == Coordinates::kTfCrop) {
      a.roi_start = c.tensor(1).at_double(i);
      a.roi_end = c.tensor(1).at_double(i + n);
    }
    specs.push_back(a);
  }
  return specs;
}

void copy_element(Tensor& out, int64_t to, const Tensor& in, int64_t from) {
  if (in.dtype() == DType::kString) {
    out.mutable_strings()[static_cast<size_t>(to)] = in.string_values()[static_cast<size_t>(from)];
    return;
  }
  const size_t size = static_cast<size_t>(bits(in.dtype())) / 8;
  std::memcpy(out.mutable_data() + static_cast<size_t>(to) * size, in.data() + static_cast<size_t>(from) * size, size);
}

/// Mode nearest: every output element is an input element, or the extrapolation value (zero, "" of other types than numbers).
Status take_nearest(const Options& o, const std::vector<AxisSpec>& specs, const Tensor& x, Tensor& out, const Interrupt& interrupt) {
  const size_t rank = x.shape().size();
  std::vector<std::vector<int64_t>> source(rank);  // for each output position: input index, -1 outside
  for (size_t axis = 0; axis < rank; ++axis)
    for (int64_t i = 0; i < out.dim(static_cast<int64_t>(axis)); ++i) source[axis].push_back(i);
  for (size_t s = 0; s < specs.size(); ++s) {
    if (specs[s].in == specs[s].out && specs[s].scale == 1 && o.coordinates != Coordinates::kTfCrop) continue;
    TENON_ASSIGN_OR_RETURN(const AxisTable table, make_table(o, specs[s], interrupt));
    for (size_t i = 0; i < table.taps.size(); ++i) source[o.axes[s]][i] = table.outside[i] ? -1 : table.taps[i][0].first;
  }
  std::vector<int64_t> at(rank, 0);
  const bool number = (dtype_bit(x.dtype()) & kNumeric) != 0;
  for (int64_t element = 0; element < out.size(); ++element) {
    int64_t from = 0;
    for (size_t axis = 0; axis < rank && from >= 0; ++axis) {
      const int64_t i = source[axis][static_cast<size_t>(at[axis])];
      from = i < 0 ? -1 : from * x.dim(static_cast<int64_t>(axis)) + i;
    }
    if (from >= 0) copy_element(out, element, x, from);
    else if (number) out.set_double(element, o.extrapolation);
    for (size_t axis = rank; axis-- > 0 && ++at[axis] == out.dim(static_cast<int64_t>(axis));) at[axis] = 0;
  }
  return {};
}

Status eval_resize(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  Result<Options> options = read_options(c.node, x.rank());
  if (!options.ok()) return std::move(options).status().at(c.node.name());
  const Options& o = *options;
  TENON_ASSIGN_OR_RETURN(std::vector<AxisSpec> specs, axis_specs(c, o));
  Shape shape = x.shape(), final_shape = shape;
  Dim largest = 8;  // intermediate results: every axis at the larger of its sizes
  for (size_t i = 0; i < specs.size(); ++i) final_shape[o.axes[i]] = specs[i].out;
  for (size_t i = 0; i < shape.size(); ++i) largest = largest * std::max(shape[i], final_shape[i]);
  double tables_bytes = 0;
  for (const AxisSpec& a : specs) tables_bytes += table_bytes(o, a);
  if (!largest.is_valid() || largest.value() > c.max_bytes || tables_bytes > static_cast<double>(c.max_bytes)) return eval_error(c, Code::kResourceExhausted, "the result is too large");
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), final_shape));
  if (o.mode == Mode::kNearest) {
    return take_nearest(o, specs, x, *out, c.interrupt);
  }
  std::vector<double> data = doubles_of(x);
  std::vector<AxisTable> tables;
  for (size_t i = 0; i < specs.size(); ++i) {
    TENON_ASSIGN_OR_RETURN(AxisTable table, make_table(o, specs[i], c.interrupt));
    tables.push_back(std::move(table));
    if (specs[i].in == specs[i].out && specs[i].scale == 1 && o.coordinates != Coordinates::kTfCrop) continue;
    TENON_ASSIGN_OR_RETURN(data, apply_table(data, shape, o.axes[i], tables.back(), c.interrupt));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    int64_t stride = 1;
    for (size_t j = o.axes[i] + 1; j < shape.size(); ++j) stride *= shape[j];
    if (std::none_of(tables[i].outside.begin(), tables[i].outside.end(), [](bool b) { return b; })) continue;
    for (size_t e = 0; e < data.size(); ++e) {
      int64_t position = static_cast<int64_t>(e) / stride % specs[i].out;
      if (tables[i].outside[static_cast<size_t>(position)]) data[e] = o.extrapolation;
    }
  }
  if (is_int(x.dtype()))
    for (double& v : data) v = std::trunc(v);
  store_doubles(*out, data);
  return {};
}

}  // namespace

std::vector<OpDef> resize_ops() {
  return {
      {.domain = "", .name = "Resize",
       .inputs = {{"X", "T1", kResizeTypes}, {"roi", "T2", kFloat16To64, true}, {"scales", "T3", dtypes(DType::kF32), true},
                  {"sizes", "T4", dtypes(DType::kI64), true}},
       .outputs = {{"Y", "T1", kResizeTypes}},
       .attrs = {{"antialias", AttrKind::kInt, false, "0"}, {"axes", AttrKind::kInts},
                 {"coordinate_transformation_mode", AttrKind::kString, false, "half_pixel"},
                 {"cubic_coeff_a", AttrKind::kFloat, false, "-0.75"}, {"exclude_outside", AttrKind::kInt, false, "0"},
                 {"extrapolation_value", AttrKind::kFloat, false, "0"},
                 {"keep_aspect_ratio_policy", AttrKind::kString, false, "stretch"}, {"mode", AttrKind::kString, false, "nearest"},
                 {"nearest_mode", AttrKind::kString, false, "round_prefer_floor"}},
       .infer = infer_resize, .compute = {.body = resize_body, .eval = eval_resize},
       .doc = "Interpolation to another size (ONNX Resize)."},
  };
}

}  // namespace tenon::ir
