#include <cmath>
#include <complex>
#include <numbers>

#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);
using Complex = std::complex<double>;

// ---- Windows, MelWeightMatrix

Result<DType> output_dtype(InferContext& c) {
  int64_t code = c.node().attr_int("output_datatype", 1);
  std::optional<DType> dtype = code > 0 && code < 100 ? dtype_from_onnx(static_cast<int>(code)) : std::nullopt;
  if (!dtype || (kNumeric & dtype_bit(*dtype)) == 0) return c.fail("attribute output_datatype is {}", code);
  return *dtype;
}

Status infer_window(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(DType dtype, output_dtype(c));
  std::optional<Dims> size = c.dim_values(0);
  Dim n = size && size->size() == 1 ? (*size)[0] : c.fresh_dim(0, 0);
  if (bounds(n).hi < 0) return c.fail("the size is {}", to_string(n));
  c.set(0, tensor_of(dtype, {n}));
  return {};
}

/// a0 - a1 cos(2 pi k / N) + a2 cos(4 pi k / N), N the size, or one less when not periodic (ONNX HannWindow …).
Status eval_window(EvalContext& c) {
  if (c.tensor(0).size() != 1) return eval_error(c, Code::kInvalidArgument, "the size must be one number");
  int64_t n = c.tensor(0).at_int(0);
  std::string_view op = c.node.op().name;
  double a0 = 0.5, a1 = 0.5, a2 = 0;
  if (op == "HammingWindow") a0 = 25.0 / 46, a1 = 21.0 / 46;
  if (op == "BlackmanWindow") a0 = 0.42, a2 = 0.08;
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, c.node.output(0)->dtype(), {n}));
  double period = static_cast<double>(c.node.attr_int("periodic", 1) != 0 ? n : n - 1);
  for (int64_t k = 0; k < n; ++k) {
    double angle = period == 0 ? 0 : 2 * std::numbers::pi * static_cast<double>(k) / period;
    out->set_double(k, period == 0 ? 1 : a0 - a1 * std::cos(angle) + a2 * std::cos(2 * angle));
  }
  return {};
}

Status infer_mel(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(DType dtype, output_dtype(c));
  std::optional<Dims> bins = c.dim_values(0), length = c.dim_values(1);
  Dim rows = length && length->size() == 1 ? floor_div((*length)[0], 2) + 1 : c.fresh_dim(0, 0);
  Dim columns = bins && bins->size() == 1 ? (*bins)[0] : c.fresh_dim(0, 1);
  if (bounds(rows).hi < 0 || bounds(columns).hi < 0) return c.fail("num_mel_bins or dft_length is negative");
  c.set(0, tensor_of(dtype, {rows, columns}));
  return {};
}

/// Triangles between mel frequencies (ONNX MelWeightMatrix).
Status eval_mel(EvalContext& c) {
  double number[5];
  for (int i = 0; i < 5; ++i) {
    if (c.tensor(i).size() != 1) return eval_error(c, Code::kInvalidArgument, "input {} must be one number", i);
    number[i] = c.tensor(i).at_double(0);
    if (!std::isfinite(number[i]) || number[i] < 0 || number[i] > 1e9) return eval_error(c, Code::kInvalidArgument, "input {} is {}", i, number[i]);
  }
  int64_t mels = static_cast<int64_t>(number[0]), length = static_cast<int64_t>(number[1]), rows = length / 2 + 1;
  if (number[2] <= 0) return eval_error(c, Code::kInvalidArgument, "the sample rate must be positive");
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, c.node.output(0)->dtype(), {rows, mels}));
  auto to_mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  double low = to_mel(number[3]), step = (to_mel(number[4]) - low) / static_cast<double>(mels + 2);
  auto bin = [&](int64_t i) {
    double hertz = 700 * (std::pow(10, (static_cast<double>(i) * step + low) / 2595) - 1);
    return static_cast<int64_t>(std::floor(static_cast<double>(length + 1) * hertz / number[2]));
  };
  auto put = [&](int64_t row, int64_t column, double v) {
    if (row >= 0 && row < rows) out->set_double(row * mels + column, v);
  };
  for (int64_t i = 0; i < mels; ++i) {
    int64_t lower = bin(i), centre = bin(i + 1), upper = bin(i + 2);
    if (centre == lower) put(centre, i, 1);
    for (int64_t j = lower; j <= centre && j < rows && centre != lower; ++j) put(j, i, static_cast<double>(j - lower) / static_cast<double>(centre - lower));
    for (int64_t j = centre; j < upper && j < rows; ++j) put(j, i, static_cast<double>(upper - j) / static_cast<double>(upper - centre));
  }
  return {};
}

// ---- DFT, STFT

/// Cooley and Tukey's halving while the length is even, then the sum itself. `sign`: -1 forward, 1 backward; not scaled.
void transform(std::vector<Complex>& x, double sign) {
  size_t n = x.size();
  if (n <= 1) return;
  if (n % 2 == 0 && n > 2) {
    std::vector<Complex> even(n / 2), odd(n / 2);
    for (size_t i = 0; i < n / 2; ++i) even[i] = x[2 * i], odd[i] = x[2 * i + 1];
    transform(even, sign);
    transform(odd, sign);
    for (size_t k = 0; k < n / 2; ++k) {
      Complex t = std::polar(1.0, sign * 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n)) * odd[k];
      x[k] = even[k] + t;
      x[k + n / 2] = even[k] - t;
    }
    return;
  }
  std::vector<Complex> twiddle(n), out(n);
  for (size_t k = 0; k < n; ++k) twiddle[k] = std::polar(1.0, sign * 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n));
  for (size_t k = 0; k < n; ++k)
    for (size_t j = 0; j < n; ++j) out[k] += x[j] * twiddle[j * k % n];
  x = std::move(out);
}

constexpr int64_t kMaxOddLength = 1 << 16;  // the quadratic part

Status check_length(const EvalContext& c, int64_t n) {
  int64_t odd = n;
  while (odd > 0 && odd % 2 == 0) odd /= 2;
  if (n < 0 || n > (int64_t{1} << 32) || odd > kMaxOddLength) return eval_error(c, Code::kResourceExhausted, "a transform of {} points", n);
  return {};
}

struct DftOptions {
  bool inverse, onesided;
};

/// Inverse and one-sided: a half spectrum in, real numbers out (from opset 27 on also written so).
Result<int64_t> dft_axis(const Node& node, const Tensor* axis, int64_t rank) {
  int64_t value = axis != nullptr && axis->size() == 1 ? axis->at_int(0) : node.attr_int("axis", -2);
  TENON_ASSIGN_OR_RETURN(value, normalize_axis(value, rank));
  if (value == rank - 1) return error(Code::kInvalidModel, "the last axis holds real and imaginary parts; it cannot be transformed");
  return value;
}

Status infer_dft(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  if (!c.ranked(0) || (c.has(2) && c.constant(2) == nullptr)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Dims dims = c.shape(0);
  if (known_ne(dims.back(), 1) && known_ne(dims.back(), 2)) return c.fail("the last axis has {} elements; it must be 1 or 2", to_string(dims.back()));
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

std::vector<Complex> dft_line(const Line& line, int64_t n, DftOptions o) {
  std::vector<Complex> x(static_cast<size_t>(n));
  for (int64_t i = 0; i < std::min(n, line.points); ++i) x[static_cast<size_t>(i)] = line.at(i);
  if (o.inverse && o.onesided)
    for (int64_t i = n / 2 + 1; i < n; ++i) x[static_cast<size_t>(i)] = std::conj(x[static_cast<size_t>(n - i)]);
  transform(x, o.inverse ? 1 : -1);
  if (o.inverse)
    for (Complex& v : x) v /= static_cast<double>(n);
  return x;
}

Status eval_dft(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  if (x.rank() < 2 || x.shape().back() < 1 || x.shape().back() > 2) return eval_error(c, Code::kInvalidArgument, "the last axis must hold 1 or 2 numbers");
  Result<int64_t> axis = dft_axis(c.node, c.has(2) ? &c.tensor(2) : nullptr, x.rank());
  if (!axis.ok()) return std::move(axis).status().at(c.node.name());
  DftOptions o{c.node.attr_int("inverse", 0) != 0, c.node.attr_int("onesided", 0) != 0};
  int64_t points = x.dim(*axis), parts = x.shape().back(), n = points;
  if (c.has(1) && c.tensor(1).size() == 1) n = c.tensor(1).at_int(0);
  else if (o.inverse && o.onesided) n = 2 * (points - 1);
  TENON_RETURN_IF_ERROR(check_length(c, n));
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
  for (int64_t a = 0; a < outer; ++a)
    for (int64_t b = 0; b < inner; ++b) {
      TENON_RETURN_IF_ERROR(c.interrupt.check());
      Line line{data, (a * points * inner + b) * parts, inner * parts, parts, points};
      std::vector<Complex> y = dft_line(line, n, o);
      for (int64_t k = 0; k < kept; ++k) {
        int64_t at = ((a * kept + k) * inner + b) * out_parts;
        out->set_double(at, y[static_cast<size_t>(k)].real());
        if (out_parts == 2) out->set_double(at + 1, y[static_cast<size_t>(k)].imag());
      }
    }
  return {};
}

Status infer_stft(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
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

Status eval_stft(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  int64_t parts = x.rank() == 3 ? x.dim(2) : 1;
  if (x.rank() < 2 || x.rank() > 3 || parts < 1 || parts > 2) return eval_error(c, Code::kInvalidArgument, "the signal must be [batch, length, 1 or 2]");
  if (c.tensor(1).size() != 1) return eval_error(c, Code::kInvalidArgument, "frame_step must be one number");
  int64_t step = c.tensor(1).at_int(0), length = x.dim(1), n = length;
  if (c.has(3) && c.tensor(3).size() == 1) n = c.tensor(3).at_int(0);
  else if (c.has(2)) n = c.tensor(2).size();
  if (step <= 0 || n <= 0 || n > length) return eval_error(c, Code::kInvalidArgument, "frames of {} by steps of {} do not fit the signal of {}", n, step, length);
  std::vector<double> window(static_cast<size_t>(n), 1.0);
  if (c.has(2)) {
    if (c.tensor(2).size() != n) return eval_error(c, Code::kInvalidArgument, "the window has {} elements where frames have {}", c.tensor(2).size(), n);
    window = doubles_of(c.tensor(2));
  }
  TENON_RETURN_IF_ERROR(check_length(c, n));
  bool onesided = c.node.attr_int("onesided", 1) != 0;
  if (onesided && parts == 2) return eval_error(c, Code::kInvalidArgument, "a complex signal has no one-sided transform");
  int64_t frames = (length - n) / step + 1, bins = onesided ? n / 2 + 1 : n, at = 0;
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), {x.dim(0), frames, bins, 2}));
  std::vector<double> data = doubles_of(x);
  std::vector<Complex> frame(static_cast<size_t>(n));
  for (int64_t b = 0; b < x.dim(0); ++b)
    for (int64_t f = 0; f < frames; ++f) {
      TENON_RETURN_IF_ERROR(c.interrupt.check());
      for (int64_t i = 0; i < n; ++i) {
        size_t p = static_cast<size_t>((b * length + f * step + i) * parts);
        frame[static_cast<size_t>(i)] = Complex(data[p], parts == 2 ? data[p + 1] : 0) * window[static_cast<size_t>(i)];
      }
      std::vector<Complex> y = frame;
      transform(y, -1);
      for (int64_t k = 0; k < bins; ++k) {
        out->set_double(at++, y[static_cast<size_t>(k)].real());
        out->set_double(at++, y[static_cast<size_t>(k)].imag());
      }
    }
  return {};
}

// ---- Det, Inverse

Status check_square(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  if (!c.ranked(0)) return {};
  const Dims& d = c.shape(0);
  return require_equal(c, d[d.size() - 1], d[d.size() - 2], "rows and columns");
}

Status infer_det(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_square(c));
  c.set(0, c.ranked(0) ? tensor_of(c.dtype(0), Dims(c.shape(0).begin(), c.shape(0).end() - 2)) : unranked(c.dtype(0)));
  return {};
}

Status infer_inverse(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_square(c));
  return infer_same(c);
}

/// Gauss and Jordan with partial pivoting on [a | extra]; returns the determinant of a. `extra` may be null.
Result<double> eliminate(std::vector<double>& a, std::vector<double>* extra, size_t n, const Interrupt& interrupt) {
  double det = 1;
  for (size_t k = 0; k < n; ++k) {
    TENON_RETURN_IF_ERROR(interrupt.check());
    size_t pivot = k;
    for (size_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    if (a[pivot * n + k] == 0) return 0.0;
    if (pivot != k) {
      det = -det;
      for (size_t j = 0; j < n; ++j) {
        std::swap(a[k * n + j], a[pivot * n + j]);
        if (extra != nullptr) std::swap((*extra)[k * n + j], (*extra)[pivot * n + j]);
      }
    }
    double p = a[k * n + k];
    det *= p;
    if (extra != nullptr)
      for (size_t j = 0; j < n; ++j) a[k * n + j] /= p, (*extra)[k * n + j] /= p;
    for (size_t i = extra != nullptr ? 0 : k + 1; i < n; ++i) {
      if (i == k) continue;
      double f = extra != nullptr ? a[i * n + k] : a[i * n + k] / p;
      if (f == 0) continue;
      for (size_t j = 0; j < n; ++j) {
        a[i * n + j] -= f * a[k * n + j];
        if (extra != nullptr) (*extra)[i * n + j] -= f * (*extra)[k * n + j];
      }
    }
  }
  return det;
}

Status eval_matrices(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  if (x.rank() < 2 || x.dim(x.rank() - 1) != x.dim(x.rank() - 2)) return eval_error(c, Code::kInvalidArgument, "the matrices are not square");
  bool inverse = c.node.op().name == "Inverse";
  size_t n = static_cast<size_t>(x.shape().back());
  Shape shape = x.shape();
  if (!inverse) shape.resize(shape.size() - 2);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), shape));
  std::vector<double> data = doubles_of(x);
  size_t count = n == 0 ? static_cast<size_t>(out->size()) : data.size() / (n * n);
  for (size_t m = 0; m < count; ++m) {
    TENON_RETURN_IF_ERROR(c.interrupt.check());
    std::vector<double> a(data.begin() + static_cast<ptrdiff_t>(m * n * n), data.begin() + static_cast<ptrdiff_t>((m + 1) * n * n)), unit;
    if (!inverse) {
      TENON_ASSIGN_OR_RETURN(const double determinant, eliminate(a, nullptr, n, c.interrupt));
      out->set_double(static_cast<int64_t>(m), determinant);
      continue;
    }
    unit.assign(n * n, 0);
    for (size_t i = 0; i < n; ++i) unit[i * n + i] = 1;
    TENON_ASSIGN_OR_RETURN(const double determinant, eliminate(a, &unit, n, c.interrupt));
    if (determinant == 0 && n > 0) return eval_error(c, Code::kInvalidArgument, "matrix {} is singular", m);
    for (size_t i = 0; i < n * n; ++i) out->set_double(static_cast<int64_t>(m * n * n + i), unit[i]);
  }
  return {};
}

OpDef window(std::string_view name, std::string_view doc) {
  return {.domain = "", .name = name, .inputs = {{"size", "T1", kIndex}}, .outputs = {{"output", "T2", kNumeric}},
          .attrs = {{"output_datatype", AttrKind::kInt, false, "1"}, {"periodic", AttrKind::kInt, false, "1"}},
          .infer = infer_window, .compute = {.eval = eval_window}, .doc = doc};
}

}  // namespace

std::vector<OpDef> signal_ops() {
  return {
      window("HannWindow", "Hann window (ONNX HannWindow)."),
      window("HammingWindow", "Hamming window (ONNX HammingWindow)."),
      window("BlackmanWindow", "Blackman window (ONNX BlackmanWindow)."),
      {.domain = "", .name = "MelWeightMatrix",
       .inputs = {{"num_mel_bins", "T1", kIndex}, {"dft_length", "T1", kIndex}, {"sample_rate", "T1", kIndex},
                  {"lower_edge_hertz", "T2", kReal}, {"upper_edge_hertz", "T2", kReal}},
       .outputs = {{"output", "T3", kNumeric}},
       .attrs = {{"output_datatype", AttrKind::kInt, false, "1"}},
       .infer = infer_mel, .compute = {.eval = eval_mel}, .doc = "Spectrum to mel bins (ONNX MelWeightMatrix)."},
      {.domain = "", .name = "DFT",
       .inputs = {{"input", "T1", kReal}, {"dft_length", "T2", kIndex, true}, {"axis", "T3", dtypes(DType::kI64), true}},
       .outputs = {{"output", "T1", kReal}},
       .attrs = {{"axis", AttrKind::kInt, false, "-2"}, {"inverse", AttrKind::kInt, false, "0"}, {"onesided", AttrKind::kInt, false, "0"}},
       .infer = infer_dft, .compute = {.eval = eval_dft}, .doc = "Discrete Fourier transform along an axis (ONNX DFT)."},
      {.domain = "", .name = "STFT",
       .inputs = {{"signal", "T1", kReal}, {"frame_step", "T2", kIndex}, {"window", "T1", kReal, true}, {"frame_length", "T2", kIndex, true}},
       .outputs = {{"output", "T1", kReal}},
       .attrs = {{"onesided", AttrKind::kInt, false, "1"}},
       .infer = infer_stft, .compute = {.eval = eval_stft}, .doc = "Fourier transforms of overlapping frames (ONNX STFT)."},
      {.domain = "", .name = "Det", .inputs = {{"X", "T", kReal}}, .outputs = {{"Y", "T", kReal}},
       .infer = infer_det, .compute = {.eval = eval_matrices}, .doc = "Determinants of square matrices (ONNX Det)."},
      {.domain = "com.microsoft", .name = "Inverse", .inputs = {{"X", "T", kReal}}, .outputs = {{"Y", "T", kReal}},
       .infer = infer_inverse, .compute = {.eval = eval_matrices}, .doc = "Inverses of square matrices (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
