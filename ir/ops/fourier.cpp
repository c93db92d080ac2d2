#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numbers>

#include "ir/ops/budget.h"
#include "ir/ops/decompose.h"
#include "ir/ops/families.h"

/// DFT and STFT.
namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);
using Complex = std::complex<double>;

/// Cooley and Tukey's halving while the length is even, then the sum itself. `sign`: -1 forward, 1 backward; not scaled.
Status transform(std::vector<Complex>& x, double sign, StepCounter& steps) {
  size_t n = x.size();
  if (n <= 1) return {};
  TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(n)));
  if (n % 2 == 0 && n > 2) {
    std::vector<Complex> even(n / 2), odd(n / 2);
    for (size_t i = 0; i < n / 2; ++i) even[i] = x[2 * i], odd[i] = x[2 * i + 1];
    TENON_RETURN_IF_ERROR(transform(even, sign, steps));
    TENON_RETURN_IF_ERROR(transform(odd, sign, steps));
    for (size_t k = 0; k < n / 2; ++k) {
      Complex t = std::polar(1.0, sign * 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n)) * odd[k];
      x[k] = even[k] + t;
      x[k + n / 2] = even[k] - t;
    }
    return {};
  }
  std::vector<Complex> twiddle(n), out(n);
  for (size_t k = 0; k < n; ++k) twiddle[k] = std::polar(1.0, sign * 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n));
  for (size_t k = 0; k < n; ++k) {
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(n)));
    for (size_t j = 0; j < n; ++j) out[k] += x[j] * twiddle[j * k % n];
  }
  x = std::move(out);
  return {};
}

/// The input as doubles; a line, its result and its halves, whose own add up to as much again.
Dim transform_scratch(const Tensor& x, int64_t n) { return Dim(x.size()) * 8 + Dim(n) * 5 * int64_t{sizeof(Complex)}; }

constexpr int64_t kMaxOddLength = 1 << 16;  // the quadratic part

Status check_length(const EvalContext& c, int64_t n) {
  int64_t odd = n;
  while (odd > 0 && odd % 2 == 0) odd /= 2;
  if (n < 1 || n > (int64_t{1} << 32) || odd > kMaxOddLength) return eval_error(c, Code::kResourceExhausted, "a transform of {} points", n);
  return {};
}

struct DftOptions {
  bool inverse, onesided;
};

/// Input `i` is absent or one number.
Status require_single_input(InferContext& c, int i, std::string_view what) {
  if (c.has(i) && c.ranked(i) && c.differ(product(c.shape(i)), 1)) return c.fail("{} must be one number; it is {}", what, to_string(c.in(i)));
  return {};
}

Status require_single_input(const EvalContext& c, int i, std::string_view what) {
  if (!c.has(i) || c.tensor(i).size() == 1) return {};
  return eval_error(c, Code::kInvalidArgument, "{} must be one number; it has {} elements", what, c.tensor(i).size());
}

/// Inverse and one-sided: a half spectrum in, real numbers out (from opset 27 on also written so).
Result<int64_t> dft_axis(const Node& node, const Tensor* axis, int64_t rank) {
  if (axis != nullptr && axis->size() != 1) return error(Code::kInvalidModel, "axis must be one number; it has {} elements", axis->size());
  int64_t value = axis != nullptr ? axis->at_int(0) : node.attr_int("axis", -2);
  TENON_ASSIGN_OR_RETURN(value, normalize_axis(value, rank));
  if (value == rank - 1) return error(Code::kInvalidModel, "the last axis holds real and imaginary parts; it cannot be transformed");
  return value;
}

Status infer_dft(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  TENON_RETURN_IF_ERROR(require_single_input(c, 1, "dft_length"));
  TENON_RETURN_IF_ERROR(require_single_input(c, 2, "axis"));
  if (!c.ranked(0) || (c.has(2) && c.constant(2) == nullptr)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Dims dims = c.shape(0);
  if (!dims.back().is_const(1) && !dims.back().is_const(2) && c.differ((dims.back() - 1) * (dims.back() - 2), 0)) return c.fail("the last axis has {} elements; it must be 1 or 2", to_string(dims.back()));
  Result<int64_t> axis = dft_axis(c.node(), c.constant(2), static_cast<int64_t>(dims.size()));
  if (!axis.ok()) return std::move(axis).status().at(c.node().name());
  size_t at = static_cast<size_t>(*axis);
  bool inverse = c.node().attr_int("inverse", 0) != 0, onesided = c.node().attr_int("onesided", 0) != 0;
  if (c.has(1)) {
    std::optional<Dims> length = c.dim_values(1);
    dims[at] = length && length->size() == 1 ? (*length)[0] : c.fresh_dim(0, static_cast<int>(at));
  } else if (inverse && onesided) {
    dims[at] = (dims[at] - 1) * 2;
  }
  if (exceeds(c.node(), 1, dims[at])) return c.fail("a transform of {} points", to_string(dims[at]));
  if (onesided && !inverse) dims[at] = floor_div(dims[at], 2) + 1;
  dims.back() = inverse && onesided ? 1 : 2;
  c.set(0, tensor_of(c.dtype(0), std::move(dims)));
  return {};
}

/// Transforms one line of `from` points (spaced by `stride` elements of `parts` numbers).
struct Line {
  const std::vector<double>& data;
  int64_t base, stride, parts, points;
  Complex at(int64_t i) const {
    size_t p = static_cast<size_t>(base + i * stride);
    return {data[p], parts == 2 ? data[p + 1] : 0};
  }
};

Result<std::vector<Complex>> dft_line(const Line& line, int64_t n, DftOptions o, StepCounter& steps) {
  std::vector<Complex> x(static_cast<size_t>(n));
  for (int64_t i = 0; i < std::min(n, line.points); ++i) x[static_cast<size_t>(i)] = line.at(i);
  if (o.inverse && o.onesided)
    for (int64_t i = n / 2 + 1; i < n; ++i) x[static_cast<size_t>(i)] = std::conj(x[static_cast<size_t>(n - i)]);
  TENON_RETURN_IF_ERROR(transform(x, o.inverse ? 1 : -1, steps));
  if (o.inverse)
    for (Complex& v : x) v /= static_cast<double>(n);
  return x;
}

Status eval_dft(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  if (x.rank() < 2 || x.shape().back() < 1 || x.shape().back() > 2) return eval_error(c, Code::kInvalidArgument, "the last axis must hold 1 or 2 numbers");
  TENON_RETURN_IF_ERROR(require_single_input(c, 1, "dft_length"));
  TENON_RETURN_IF_ERROR(require_single_input(c, 2, "axis"));
  Result<int64_t> axis = dft_axis(c.node, c.has(2) ? &c.tensor(2) : nullptr, x.rank());
  if (!axis.ok()) return std::move(axis).status().at(c.node.name());
  DftOptions o{c.node.attr_int("inverse", 0) != 0, c.node.attr_int("onesided", 0) != 0};
  int64_t points = x.dim(*axis), parts = x.shape().back(), n = points;
  if (c.has(1)) n = c.tensor(1).at_int(0);
  else if (o.inverse && o.onesided) n = 2 * (points - 1);
  TENON_RETURN_IF_ERROR(check_length(c, n));
  TENON_RETURN_IF_ERROR(check_scratch(c, transform_scratch(x, n)));
  int64_t kept = o.onesided && !o.inverse ? n / 2 + 1 : n, out_parts = o.inverse && o.onesided ? 1 : 2;
  Shape shape = x.shape();
  shape[static_cast<size_t>(*axis)] = kept;
  shape.back() = out_parts;
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), shape));
  if (out->size() == 0) return {};
  std::vector<double> data = doubles_of(x);
  int64_t inner = 1, outer = 1;
  for (int64_t i = 0; i < *axis; ++i) outer *= x.dim(i);
  for (int64_t i = *axis + 1; i + 1 < x.rank(); ++i) inner *= x.dim(i);
  StepCounter steps(c.interrupt);
  for (int64_t a = 0; a < outer; ++a)
    for (int64_t b = 0; b < inner; ++b) {
      TENON_RETURN_IF_ERROR(steps.add(n));
      Line line{data, (a * points * inner + b) * parts, inner * parts, parts, points};
      TENON_ASSIGN_OR_RETURN(const std::vector<Complex> y, dft_line(line, n, o, steps));
      for (int64_t k = 0; k < kept; ++k) {
        int64_t at = ((a * kept + k) * inner + b) * out_parts;
        out->set_double(at, y[static_cast<size_t>(k)].real());
        if (out_parts == 2) out->set_double(at + 1, y[static_cast<size_t>(k)].imag());
      }
    }
  return {};
}

/// exp(2 pi i m / n) for m = 0 … n - 1, exact at quarters of the circle.
std::vector<Complex> roots_of_unity(int64_t n) {
  constexpr Complex kQuarters[] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
  std::vector<Complex> roots;
  for (int64_t m = 0; m < n; ++m)
    roots.push_back(4 * m % n == 0 ? kQuarters[4 * m / n]
                                   : std::polar(1.0, 2 * std::numbers::pi * static_cast<double>(m) / static_cast<double>(n)));
  return roots;
}

/// Transforms of up to this many points are one product with a matrix, longer ones two transforms of their factors.
constexpr int64_t kMaxDense = 1024;
/// Elements of the matrix that transforms and windows a frame, which each node has for itself: 4 MB of f32.
constexpr int64_t kMaxFilters = int64_t{1026} * 1024;

/// A transform of constant length: `used` points of `parts` numbers to `kept` of `out_parts`.
struct Transform {
  int64_t n, used, kept, parts, out_parts;
  DftOptions options;
  double sign() const { return options.inverse ? 1 : -1; }
};

/// What x[j] adds to y[k] for each 1 in its real and in its imaginary part.
std::array<Complex, 2> twiddles(const Transform& t, const std::vector<Complex>& roots, int64_t j, int64_t k) {
  Complex w = roots[static_cast<size_t>(j * k % t.n)];
  if (t.sign() < 0) w = std::conj(w);
  if (t.options.inverse) w /= static_cast<double>(t.n);
  // The mirrored half of a spectrum of real numbers adds the same real part once more.
  if (t.options.inverse && t.options.onesided && j > 0 && 2 * j < t.n) w *= 2;
  return {w, Complex(-w.imag(), w.real())};
}

/// [used * parts, kept * out_parts].
Result<Tensor> transform_matrix(const Transform& t, DType dtype) {
  TENON_ASSIGN_OR_RETURN(Tensor matrix, Tensor::zeros(dtype, {t.used * t.parts, t.kept * t.out_parts}));
  const std::vector<Complex> roots = roots_of_unity(t.n);
  int64_t at = 0;
  for (int64_t j = 0; j < t.used; ++j)
    for (int64_t q = 0; q < t.parts; ++q)
      for (int64_t k = 0; k < t.kept; ++k) {
        const Complex w = twiddles(t, roots, j, k)[static_cast<size_t>(q)];
        matrix.set_double(at++, w.real());
        if (t.out_parts == 2) matrix.set_double(at++, w.imag());
      }
  return matrix;
}

Result<Transform> constant_transform(const Node& node, int64_t axis) {
  const Dims& x = dims_of(node, 0);
  const Dim points = x[static_cast<size_t>(axis)], parts = x.back();
  Transform t{.options = {node.attr_int("inverse", 0) != 0, node.attr_int("onesided", 0) != 0}};
  const bool mirrors = t.options.inverse && t.options.onesided;
  const auto length = node.has_input(1) ? constant_ints(node.input(1)) : std::nullopt;
  if (!points.is_const() || !parts.is_const() || (node.has_input(1) && (!length || length->size() != 1)))
    return error(Code::kUnsupported, "the length is known only at run time");
  t.n = length ? (*length)[0] : mirrors ? 2 * (points.value() - 1) : points.value();
  t.used = std::min(points.value(), mirrors ? t.n / 2 + 1 : t.n);
  t.kept = t.options.onesided && !t.options.inverse ? t.n / 2 + 1 : t.n;
  t.parts = parts.value();
  t.out_parts = mirrors ? 1 : 2;
  if (t.n < 1 || t.used < 1 || t.parts < 1 || t.parts > 2) return error(Code::kUnsupported, "there are no points");
  return t;
}

/// The largest divisor of n that is at most its root.
int64_t small_factor(int64_t n) {
  int64_t found = 1;
  for (int64_t d = 2; d * d <= n; ++d)
    if (n % d == 0) found = d;
  return found;
}

/// x [rows, n, parts] to [rows, n, 2], for n = a * b: transforms of a points, factors, and transforms of b points (Cooley
/// and Tukey 1965). With j = b j1 + j2 and k = k1 + a k2, y[k] = sum over j2 of w_b^(j2 k2) w_n^(j2 k1) (sum over j1 of
/// w_a^(j1 k1) x[j]).
Result<Value*> in_two_steps(Steps& s, const Transform& t, Value* x, int64_t a) {
  Builder& b = s.builder();
  const int64_t n = t.n, rest = n / a, inverse = t.options.inverse;
  const Dim rows = x->tensor().dim(0);
  TENON_ASSIGN_OR_RETURN(Tensor own, Tensor::zeros(x->dtype(), {a, rest, 2}));
  TENON_ASSIGN_OR_RETURN(Tensor other, Tensor::zeros(x->dtype(), {a, rest, 2}));
  const std::vector<Complex> roots = roots_of_unity(n);
  for (int64_t k = 0, at = 0; k < a; ++k)
    for (int64_t j = 0; j < rest; ++j, at += 2) {
      const Complex w = roots[static_cast<size_t>(j * k)];
      own.set_double(at, w.real());
      own.set_double(at + 1, w.real());
      other.set_double(at, -t.sign() * w.imag());
      other.set_double(at + 1, t.sign() * w.imag());
    }
  const auto dft = [&](Value* v, int64_t axis) { return b.make("DFT", {v}, {{"axis", axis}, {"inverse", inverse}}); };
  Value* first = dft(s.reshape(x, {rows, a, rest, t.parts}), 1);
  Value* swapped = b.make("Gather", {first, b.ints({1, 0})}, {{"axis", int64_t{3}}});
  Value* turned = s.add(s.mul(first, b.constant(std::move(own))), s.mul(swapped, b.constant(std::move(other))));
  Value* second = s.transpose(dft(turned, 2), {0, 2, 1, 3});
  return s.reshape(second, {rows, n, 2});
}

/// x [rows, used, parts] to [rows, kept, out_parts].
Result<Value*> transformed(Steps& s, const Transform& t, Value* x) {
  Builder& b = s.builder();
  const Dim rows = x->tensor().dim(0);
  if (t.n <= kMaxDense) {
    TENON_ASSIGN_OR_RETURN(Tensor matrix, transform_matrix(t, x->dtype()));
    Value* y = s.matmul(s.reshape(x, {rows, t.used * t.parts}), b.constant(std::move(matrix)));
    return s.reshape(y, {rows, t.kept, t.out_parts});
  }
  const int64_t a = t.n > kMaxDense * kMaxDense ? 1 : small_factor(t.n);
  if (t.out_parts == 1 || t.n / a > kMaxDense) return error(Code::kUnsupported, "{} points have no factors near their root", t.n);
  if (t.used < t.n) {
    TENON_ASSIGN_OR_RETURN(Tensor nothing, Tensor::zeros(x->dtype(), {1}));
    x = s.concat({x, s.expand(b.constant(std::move(nothing)), {rows, t.n - t.used, t.parts})}, 1);
  }
  TENON_ASSIGN_OR_RETURN(Value * y, in_two_steps(s, t, x, a));
  return t.kept < t.n ? s.slice(y, 1, 0, t.kept) : y;
}

/// Products with matrices of roots of unity, in f32 (of f64: f64).
Result<std::vector<Value*>> decompose_dft(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  const int64_t rank = node.input(0)->tensor().rank();
  if (node.has_input(2) && constant_of(node.input(2)) == nullptr) return error(Code::kUnsupported, "the axis is known only at run time");
  TENON_ASSIGN_OR_RETURN(const int64_t axis, dft_axis(node, node.has_input(2) ? constant_of(node.input(2)) : nullptr, rank));
  TENON_ASSIGN_OR_RETURN(const Transform t, constant_transform(node, axis));
  Steps s(node, b);
  Value* x = s.cast(node.input(0), accumulator_of(node.input(0)->dtype()));
  if (Dim(t.used) != x->tensor().dim(axis)) x = s.slice(x, axis, 0, t.used);
  std::vector<int64_t> perm, back(static_cast<size_t>(rank));  // the axis to the last but one
  for (int64_t i = 0; i < rank - 1; ++i)
    if (i != axis) perm.push_back(i);
  perm.insert(perm.end(), {axis, rank - 1});
  for (int64_t i = 0; i < rank; ++i) back[static_cast<size_t>(perm[static_cast<size_t>(i)])] = i;
  const bool moves = axis != rank - 2;
  if (moves) x = s.transpose(x, perm);
  TENON_RETURN_IF_ERROR(b.status());
  Dims outer(x->tensor().dims->begin(), x->tensor().dims->end() - 2);
  TENON_ASSIGN_OR_RETURN(Value * y, transformed(s, t, s.reshape(x, {product(outer), t.used, t.parts})));
  outer.insert(outer.end(), {t.kept, t.out_parts});
  y = s.reshape(y, outer);
  if (moves) y = s.transpose(y, back);
  return s.done({s.cast(y, node.output(0)->dtype())});
}

Status infer_stft(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  TENON_RETURN_IF_ERROR(require_single_input(c, 1, "frame_step"));
  TENON_RETURN_IF_ERROR(require_single_input(c, 3, "frame_length"));
  std::optional<Dims> step = c.dim_values(1), length = c.has(3) ? c.dim_values(3) : std::nullopt;
  Dim n;
  bool known = true;
  if (length && length->size() == 1) n = (*length)[0];
  else if (c.has(2) && c.ranked(2) && c.shape(2).size() == 1) n = c.shape(2)[0];
  else known = false;
  bool onesided = c.node().attr_int("onesided", 1) != 0;
  Dim bins = !known ? c.fresh_dim(0, 2) : onesided ? floor_div(n, 2) + 1 : n;
  Dim frames = c.fresh_dim(0, 1);
  if (known && step && step->size() == 1) {
    if (bounds((*step)[0]).hi <= 0) return c.fail("frame_step is {}; it must be positive", to_string((*step)[0]));
    Dim room = c.shape(0)[1] - n;
    if (bounds(room).hi < 0 || bounds(n).hi < 0) return c.fail("a frame of {} does not fit the signal of {}", to_string(n), to_string(c.shape(0)[1]));
    frames = floor_div(room, (*step)[0]) + 1;
  }
  c.set(0, tensor_of(c.dtype(0), {c.shape(0)[0], frames, bins, 2}));
  return {};
}

/// Filters [bins * 2, parts, n]: roots of unity, times the window where that is constant.
Result<Tensor> stft_filters(const Transform& t, const Tensor* window, DType dtype) {
  TENON_ASSIGN_OR_RETURN(Tensor filters, Tensor::zeros(dtype, {t.kept * 2, t.parts, t.n}));
  const std::vector<Complex> roots = roots_of_unity(t.n);
  for (int64_t k = 0, at = 0; k < t.kept; ++k)
    for (int part = 0; part < 2; ++part)
      for (int64_t q = 0; q < t.parts; ++q)
        for (int64_t j = 0; j < t.n; ++j) {
          const Complex w = twiddles(t, roots, j, k)[static_cast<size_t>(q)];
          filters.set_double(at++, (part == 0 ? w.real() : w.imag()) * (window == nullptr ? 1 : window->at_double(j)));
        }
  return filters;
}

/// A convolution whose filters are the windowed roots of unity and whose stride is the step.
Result<std::vector<Value*>> decompose_stft(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  const Dims x = dims_of(node, 0);
  const auto step = constant_ints(node.input(1)), length = node.has_input(3) ? constant_ints(node.input(3)) : std::nullopt;
  const bool onesided = node.attr_int("onesided", 1) != 0, windowed = node.has_input(2);
  const Dim given = length && length->size() == 1          ? Dim((*length)[0])
                    : windowed && !node.has_input(3) && dims_of(node, 2).size() == 1 ? dims_of(node, 2)[0]
                                                                                     : Dim::invalid();
  if (!step || step->size() != 1 || !given.is_valid() || !given.is_const())
    return error(Code::kUnsupported, "the length of frames or their step is known only at run time");
  const int64_t n = given.value(), parts = x.size() == 2 ? 1 : x.size() == 3 && x[2].is_const() ? x[2].value() : 0;
  if (n < 1 || parts < 1 || parts > 2 || (onesided && parts == 2) || (*step)[0] < 1 || (*step)[0] > INT32_MAX ||
      (windowed && (dims_of(node, 2).size() != 1 || !dims_of(node, 2)[0].is_const(n))))
    return error(Code::kUnsupported, "the signal, the step or the window may not fit");
  const Transform t{n, n, onesided ? n / 2 + 1 : n, parts, 2, {false, onesided}};
  if (n > kMaxFilters || n * t.kept * 2 * parts > kMaxFilters) return error(Code::kUnsupported, "a matrix for frames of {} would be too large", n);
  Steps s(node, b);
  const DType dtype = accumulator_of(node.input(0)->dtype());
  const Tensor* window = windowed ? constant_of(node.input(2)) : nullptr;
  TENON_ASSIGN_OR_RETURN(Tensor made, stft_filters(t, window, dtype));
  Value* filters = b.constant(std::move(made));
  if (windowed && window == nullptr) filters = s.mul(filters, s.cast(node.input(2), dtype));
  Value* signal = s.cast(node.input(0), dtype);
  if (parts == 2) signal = s.transpose(signal, {0, 2, 1});
  signal = s.reshape(signal, {x[0], parts, max(x[1], n)});  // fails where a frame is longer than the signal
  Value* y = b.make("Conv", {signal, filters}, {{"strides", std::vector<int64_t>{(*step)[0]}}});
  TENON_RETURN_IF_ERROR(b.status());
  y = s.transpose(s.reshape(y, {x[0], t.kept, 2, y->tensor().dim(2)}), {0, 3, 1, 2});
  return s.done({s.cast(y, node.output(0)->dtype())});
}

Status eval_stft(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  int64_t parts = x.rank() == 3 ? x.dim(2) : 1;
  if (x.rank() < 2 || x.rank() > 3 || parts < 1 || parts > 2) return eval_error(c, Code::kInvalidArgument, "the signal must be [batch, length, 1 or 2]");
  TENON_RETURN_IF_ERROR(require_single_input(c, 1, "frame_step"));
  TENON_RETURN_IF_ERROR(require_single_input(c, 3, "frame_length"));
  int64_t step = c.tensor(1).at_int(0), length = x.dim(1), n = length;
  if (c.has(3)) n = c.tensor(3).at_int(0);
  else if (c.has(2)) n = c.tensor(2).size();
  if (step <= 0 || n <= 0 || n > length) return eval_error(c, Code::kInvalidArgument, "frames of {} by steps of {} do not fit the signal of {}", n, step, length);
  TENON_RETURN_IF_ERROR(check_length(c, n));
  TENON_RETURN_IF_ERROR(check_scratch(c, transform_scratch(x, n) + Dim(n) * int64_t{sizeof(Complex)}));
  std::vector<double> window(static_cast<size_t>(n), 1.0);
  if (c.has(2)) {
    if (c.tensor(2).size() != n) return eval_error(c, Code::kInvalidArgument, "the window has {} elements where frames have {}", c.tensor(2).size(), n);
    window = doubles_of(c.tensor(2));
  }
  bool onesided = c.node.attr_int("onesided", 1) != 0;
  if (onesided && parts == 2) return eval_error(c, Code::kInvalidArgument, "a complex signal has no one-sided transform");
  int64_t frames = (length - n) / step + 1, bins = onesided ? n / 2 + 1 : n, at = 0;
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), {x.dim(0), frames, bins, 2}));
  std::vector<double> data = doubles_of(x);
  std::vector<Complex> frame(static_cast<size_t>(n));
  StepCounter steps(c.interrupt);
  for (int64_t b = 0; b < x.dim(0); ++b)
    for (int64_t f = 0; f < frames; ++f) {
      TENON_RETURN_IF_ERROR(steps.add(n));
      for (int64_t i = 0; i < n; ++i) {
        size_t p = static_cast<size_t>((b * length + f * step + i) * parts);
        frame[static_cast<size_t>(i)] = Complex(data[p], parts == 2 ? data[p + 1] : 0) * window[static_cast<size_t>(i)];
      }
      std::vector<Complex> y = frame;
      TENON_RETURN_IF_ERROR(transform(y, -1, steps));
      for (int64_t k = 0; k < bins; ++k) {
        out->set_double(at++, y[static_cast<size_t>(k)].real());
        out->set_double(at++, y[static_cast<size_t>(k)].imag());
      }
    }
  return {};
}

}  // namespace

std::vector<OpDef> fourier_ops() {
  return {
      {.domain = "", .name = "DFT",
       .inputs = {{"input", "T1", kReal}, {"dft_length", "T2", kIndex, true}, {"axis", "T3", dtypes(DType::kI64), true}},
       .outputs = {{"output", "T1", kReal}},
       .attrs = {{"axis", AttrKind::kInt, false, "-2"}, {"inverse", AttrKind::kInt, false, "0"}, {"onesided", AttrKind::kInt, false, "0"}},
       .infer = infer_dft, .compute = {.decompose = decompose_dft, .eval = eval_dft}, .doc = "Discrete Fourier transform along an axis (ONNX DFT)."},
      {.domain = "", .name = "STFT",
       .inputs = {{"signal", "T1", kReal}, {"frame_step", "T2", kIndex}, {"window", "T1", kReal, true}, {"frame_length", "T2", kIndex, true}},
       .outputs = {{"output", "T1", kReal}},
       .attrs = {{"onesided", AttrKind::kInt, false, "1"}},
       .infer = infer_stft, .compute = {.decompose = decompose_stft, .eval = eval_stft}, .doc = "Fourier transforms of overlapping frames (ONNX STFT)."},
  };
}

}  // namespace tenon::ir
