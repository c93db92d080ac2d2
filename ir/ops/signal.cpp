#include <cmath>
#include <numbers>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/decompose.h"
#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);

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
struct Cosines {
  double a0 = 0.5, a1 = 0.5, a2 = 0;
};

Cosines cosines_of(const Node& node) {
  if (node.is("HammingWindow")) return {25.0 / 46, 21.0 / 46, 0};
  if (node.is("BlackmanWindow")) return {0.42, 0.5, 0.08};
  return {};
}

Status eval_window(EvalContext& c) {
  if (c.tensor(0).size() != 1) return eval_error(c, Code::kInvalidArgument, "the size must be one number");
  int64_t n = c.tensor(0).at_int(0);
  const auto [a0, a1, a2] = cosines_of(c.node);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, c.node.output(0)->dtype(), {n}));
  double period = static_cast<double>(c.node.attr_int("periodic", 1) != 0 ? n : n - 1);
  StepCounter steps(c.interrupt);
  for (int64_t k = 0; k < n; ++k) {
    TENON_RETURN_IF_ERROR(steps.add(16));
    double angle = period == 0 ? 0 : 2 * std::numbers::pi * static_cast<double>(k) / period;
    out->set_double(k, period == 0 ? 1 : a0 - a1 * std::cos(angle) + a2 * std::cos(2 * angle));
  }
  return {};
}

Result<std::vector<Body>> window_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kElementwise);
  if (!is_float(body.dtype)) return error(Code::kUnsupported, "cut to an integer, a window shows the last bit of its cosines");
  ExprPool& p = *body.pool;
  const Dim period = body.axes[0] - Dim(node.attr_int("periodic", 1) != 0 ? 0 : 1);
  const auto [a0, a1, a2] = cosines_of(node);
  const Expr n = p.cast(p.dim(period), DType::kF64);
  const Expr angle = p.cast(p.index(0), DType::kF64) * (2 * std::numbers::pi) / n;
  Expr value = a0 - unary(ScalarOp::kCos, angle) * a1;
  if (a2 != 0) value = value + unary(ScalarOp::kCos, angle * 2.0) * a2;
  body.value = p.cast(select(n == 0.0, p.constant(DType::kF64, 1), value), body.dtype);
  return one_body(std::move(body));
}

Status infer_mel(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(DType dtype, output_dtype(c));
  std::optional<Dims> bins = c.dim_values(0), length = c.dim_values(1);
  Dim rows = length && length->size() == 1 ? floor_div((*length)[0], 2) + 1 : c.fresh_dim(0, 0);
  Dim columns = bins && bins->size() == 1 ? (*bins)[0] : c.fresh_dim(0, 1);
  for (const auto& given : {bins, length})
    if (given && given->size() == 1 && exceeds(c.node(), 0, given->front())) return c.fail("num_mel_bins or dft_length is negative");
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
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < mels; ++i) {
    TENON_RETURN_IF_ERROR(steps.add(rows));
    int64_t lower = bin(i), centre = bin(i + 1), upper = bin(i + 2);
    if (centre == lower) put(centre, i, 1);
    for (int64_t j = lower; j <= centre && j < rows && centre != lower; ++j) put(j, i, static_cast<double>(j - lower) / static_cast<double>(centre - lower));
    for (int64_t j = centre; j < upper && j < rows; ++j) put(j, i, static_cast<double>(upper - j) / static_cast<double>(upper - centre));
  }
  return {};
}

/// The same, from the edges of all triangles.
Result<std::vector<Value*>> decompose_mel(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  const DType dtype = node.output(0)->dtype();
  if (!is_float(dtype)) return error(Code::kUnsupported, "cut to an integer, a weight shows the last bit of its quotient");
  const std::optional<Dims> length = InferContext(node).dim_values(1);
  const Dim rows = out_dims(node)[0], mels = out_dims(node)[1];
  if (!length) return error(Code::kUnsupported, "the length is not known");
  Steps s(node, b);
  Value* valid = nullptr;
  const auto both = [&](Value* a, Value* c) { return a == nullptr ? c : b.make("And", {a, c}); };
  const auto f64 = [&](double v) { return b.scalar(DType::kF64, v); };
  const auto at_least = [&](Value* a, Value* c) { return b.make("GreaterOrEqual", {a, c}); };
  Value* number[5] = {};
  for (int i = 2; i < 5; ++i) {
    number[i] = s.reshape(s.cast(s.in(i), DType::kF64), {1});
    valid = both(valid, both(at_least(number[i], f64(0)), at_least(f64(1e9), number[i])));
  }
  valid = both(valid, b.make("Greater", {number[2], f64(0)}));
  Value* checked = b.make("Where", {valid, b.scalar(DType::kI64, 0), b.scalar(DType::kI64, 1)});  // an index that is none
  Value* rate = b.make("Gather", {number[2], checked}, {{"axis", int64_t{0}}});
  const auto count = [&](Dim n) {
    return s.cast(b.make("Range", {b.scalar(DType::kI64, 0), s.dim_scalar(n), b.scalar(DType::kI64, 1)}), DType::kF64);
  };
  const auto to_mel = [&](Value* hertz) { return s.mul(s.unary("Log", s.add(s.div(hertz, 700), 1)), 2595 / std::numbers::ln10); };
  Value* low = to_mel(number[3]);
  Value* step = s.div(s.sub(to_mel(number[4]), low), s.cast(s.dim_scalar(mels + 2), DType::kF64));
  Value* power = b.make("Pow", {f64(10), s.div(s.add(s.mul(count(mels + 2), step), low), 2595)});
  Value* hertz = s.mul(s.add(power, -1), 700);
  Value* edges = s.unary("Floor", s.div(s.mul(s.cast(s.dim_scalar((*length)[0] + 1), DType::kF64), hertz), rate));
  Value *lower = s.slice(edges, 0, 0, mels), *centre = s.slice(edges, 0, 1, mels + 1), *upper = s.slice(edges, 0, 2, mels + 2);
  Value* row = s.reshape(count(rows), {rows, 1});
  Value* falls = both(at_least(row, centre), b.make("Less", {row, upper}));
  Value* rises = both(at_least(row, lower), at_least(centre, row));
  Value* rising = b.make("Where", {b.make("Equal", {centre, lower}), f64(1), s.div(s.sub(row, lower), s.sub(centre, lower))});
  Value* falling = s.div(s.sub(upper, row), s.sub(upper, centre));
  Value* weights = b.make("Where", {falls, falling, b.make("Where", {rises, rising, f64(0)})});
  return s.done({s.cast(weights, dtype)});
}

OpDef window(std::string_view name, std::string_view doc) {
  return {.domain = "", .name = name, .inputs = {{"size", "T1", kIndex}}, .outputs = {{"output", "T2", kNumeric}},
          .attrs = {{"output_datatype", AttrKind::kInt, false, "1"}, {"periodic", AttrKind::kInt, false, "1"}},
          .infer = infer_window, .compute = {.body = window_body, .eval = eval_window}, .doc = doc};
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
       .infer = infer_mel, .compute = {.decompose = decompose_mel, .eval = eval_mel}, .doc = "Spectrum to mel bins (ONNX MelWeightMatrix)."},
  };
}

}  // namespace tenon::ir
