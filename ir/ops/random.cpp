#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>
#include <random>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/decompose.h"
#include "ir/ops/families.h"
#include "support/philox.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;

uint64_t index(int64_t i) { return static_cast<uint64_t>(i); }

std::optional<uint64_t> seed_of(const Node& node) {
  if (const Attr* seed = node.attrs().find("seed")) {
    if (const double* value = std::get_if<double>(seed)) return std::bit_cast<uint64_t>(*value);
    if (const int64_t* value = std::get_if<int64_t>(seed)) return static_cast<uint64_t>(*value);
  }
  return std::nullopt;
}

/// From the attribute seed; without one, every run differs.
RandomStream stream_of(const Node& node) {
  if (const std::optional<uint64_t> seed = seed_of(node)) return RandomStream(*seed);
  std::random_device device;
  return RandomStream((static_cast<uint64_t>(device()) << 32) ^ device());
}

/// RandomStream as expressions: number i of the stream is a function of i alone.
class StreamExpr {
 public:
  /// kUnsupported for a node without a seed.
  static Result<StreamExpr> of(const Node& node, Expr i) {
    const std::optional<uint64_t> seed = seed_of(node);
    if (!seed) return error(Code::kUnsupported, "without a seed, every run draws other numbers, which no kernel can know");
    StreamExpr stream(i, *seed);
    return stream;
  }
  Expr uniform() const { return unit(words_[1], words_[0]); }
  Expr normal() const {
    return sqrt(log(1.0 - uniform()) * -2.0) * unary(ScalarOp::kCos, unit(words_[3], words_[2]) * (2 * std::numbers::pi));
  }

 private:
  /// philox4x32 of support/philox.h.
  StreamExpr(Expr i, uint64_t seed) {
    ExprPool& p = *i.pool;
    const auto u32 = [&](uint32_t v) { return p.constant_int(DType::kU32, v); };
    const auto both = [&](ScalarOp op, Expr a, Expr b) { return p.op(op, std::array{a, b}); };
    const auto low = [&](Expr wide) { return p.cast(wide, DType::kU32); };
    const auto high = [&](Expr wide) { return low(both(ScalarOp::kShr, wide, p.constant_int(DType::kU64, 32))); };
    const auto product = [&](uint32_t a, Expr b) { return p.constant_int(DType::kU64, a) * p.cast(b, DType::kU64); };
    const Expr counter = p.cast(i, DType::kU64);
    words_ = {low(counter), high(counter), u32(0), u32(0)};
    uint32_t key[] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    for (int round = 0; round < 10; ++round) {
      const Expr a = product(0xD2511F53, words_[0]), b = product(0xCD9E8D57, words_[2]);
      words_ = {both(ScalarOp::kXor, both(ScalarOp::kXor, high(b), words_[1]), u32(key[0])), low(b),
                both(ScalarOp::kXor, both(ScalarOp::kXor, high(a), words_[3]), u32(key[1])), low(a)};
      key[0] += 0x9E3779B9;
      key[1] += 0xBB67AE85;
    }
  }
  /// The upper 53 of 64 bits as a fraction; both terms and their sum are exact.
  static Expr unit(Expr upper, Expr lower) {
    ExprPool& p = *upper.pool;
    const Expr rest = p.op(ScalarOp::kShr, std::array{lower, p.constant_int(DType::kU32, 11)});
    return p.cast(upper, DType::kF64) * 0x1p-32 + p.cast(rest, DType::kF64) * 0x1p-53;
  }
  std::array<Expr, 4> words_;
};

/// The position of an output's element in row-major order.
Expr flat_index(const Body& body) {
  ExprPool& p = *body.pool;
  Expr flat = i64(p, 0);
  for (size_t a = 0; a < body.axes.size(); ++a) flat = flat * p.dim(body.axes[a]) + p.index(static_cast<int>(a));
  return flat;
}

Result<DType> dtype_attr(InferContext& c, DType fallback, DTypeSet allowed) {
  if (!c.node().attrs().has("dtype")) return fallback;
  int64_t code = c.node().attr_int("dtype", 1);
  std::optional<DType> dtype = code > 0 && code < 100 ? dtype_from_onnx(static_cast<int>(code)) : std::nullopt;
  if (!dtype || (allowed & dtype_bit(*dtype)) == 0)
    return c.fail("attribute dtype is {}, which is not possible here", code);
  return *dtype;
}

Status infer_random(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(DType dtype, dtype_attr(c, DType::kF32, kReal));
  std::vector<int64_t> shape = c.node().attr_ints("shape");
  for (int64_t d : shape)
    if (d < 0) return c.fail("attribute shape holds {}", d);
  c.set(0, tensor_of(dtype, Dims(shape.begin(), shape.end())));
  return {};
}

Status infer_random_like(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(DType dtype, dtype_attr(c, c.dtype(0), kReal));
  c.set(0, c.ranked(0) ? tensor_of(dtype, c.shape(0)) : unranked(dtype));
  return {};
}

Status fill(EvalContext& c, const Shape& shape) {
  DType dtype = c.node.output(0)->dtype();
  bool normal = c.node.op().name == "RandomNormal" || c.node.op().name == "RandomNormalLike";
  double mean = c.node.attr_float("mean", 0), scale = c.node.attr_float("scale", 1);
  double low = c.node.attr_float("low", 0), high = c.node.attr_float("high", 1);
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, dtype, shape));
  const RandomStream random = stream_of(c.node);
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < out->size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(64));
    out->set_double(i, normal ? mean + scale * random.normal(index(i)) : low + (high - low) * random.uniform(index(i)));
  }
  return {};
}

Status eval_random(EvalContext& c) { return fill(c, c.node.attr_ints("shape")); }
Status eval_random_like(EvalContext& c) { return fill(c, c.tensor(0).shape()); }

Result<std::vector<Body>> random_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kElementwise);
  TENON_ASSIGN_OR_RETURN(const StreamExpr random, StreamExpr::of(node, flat_index(body)));
  const double low = node.attr_float("low", 0), high = node.attr_float("high", 1);
  const bool normal = node.is("RandomNormal") || node.is("RandomNormalLike");
  const Expr value = normal ? random.normal() * node.attr_float("scale", 1) + node.attr_float("mean", 0)
                            : random.uniform() * (high - low) + low;
  body.value = body.pool->cast(value, body.dtype);
  return one_body(std::move(body));
}

// ---- Bernoulli, Multinomial, Dropout

Status infer_bernoulli(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(DType dtype, dtype_attr(c, c.dtype(0), kNumeric | dtypes(DType::kBool)));
  c.set(0, c.ranked(0) ? tensor_of(dtype, c.shape(0)) : unranked(dtype));
  return {};
}

Status eval_bernoulli(EvalContext& c) {
  const Tensor& p = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, c.node.output(0)->dtype(), p.shape()));
  const RandomStream random = stream_of(c.node);
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < p.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(32));
    out->set_double(i, random.uniform(index(i)) < p.at_double(i) ? 1 : 0);
  }
  return {};
}

Result<std::vector<Body>> bernoulli_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& p = *body.pool;
  TENON_ASSIGN_OR_RETURN(const StreamExpr random, StreamExpr::of(node, flat_index(body)));
  const Expr probability = load_as(p, node, 0, axis_indices(p, body.axes.size()), DType::kF64);
  body.value = p.cast(random.uniform() < probability, body.dtype);
  return one_body(std::move(body));
}

Status infer_multinomial(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 2));
  int64_t samples = c.node().attr_int("sample_size", 1);
  if (samples < 0 || samples > INT32_MAX) return c.fail("attribute sample_size is {}", samples);
  TENON_ASSIGN_OR_RETURN(DType dtype, dtype_attr(c, DType::kI32, dtypes(DType::kI32, DType::kI64)));
  c.set(0, c.ranked(0) ? tensor_of(dtype, {c.shape(0)[0], samples}) : unranked(dtype));
  return {};
}

/// Inverse of the cumulated probabilities exp(x - max).
Status eval_multinomial(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  if (x.rank() != 2 || x.dim(1) == 0)
    return eval_error(c, Code::kInvalidArgument, "the input must be [batch, classes]");
  int64_t samples = c.node.attr_int("sample_size", 1), classes = x.dim(1);
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, c.node.output(0)->dtype(), {x.dim(0), samples}));
  const RandomStream random = stream_of(c.node);
  TENON_RETURN_IF_ERROR(check_scratch(c, Dim(classes) * 8));
  std::vector<double> cumulated(static_cast<size_t>(classes));
  StepCounter steps(c.interrupt);
  for (int64_t r = 0; r < x.dim(0); ++r) {
    TENON_RETURN_IF_ERROR(steps.add(classes * 8));
    double top = -INFINITY, total = 0;
    for (int64_t j = 0; j < classes; ++j) top = std::max(top, x.at_double(r * classes + j));
    for (int64_t j = 0; j < classes; ++j)
      cumulated[static_cast<size_t>(j)] = total += std::exp(x.at_double(r * classes + j) - top);
    if (!(total > 0)) return eval_error(c, Code::kInvalidArgument, "no class of batch entry {} has a probability", r);
    for (int64_t i = 0; i < samples; ++i) {
      TENON_RETURN_IF_ERROR(steps.add(64));
      auto at = std::upper_bound(cumulated.begin(), cumulated.end(), random.uniform(index(r * samples + i)) * total);
      out->set_int(r * samples + i, std::min<int64_t>(at - cumulated.begin(), classes - 1));
    }
  }
  return {};
}

/// The same with running sums; a uniform number's class is how many of them are not above it.
Result<std::vector<Value*>> decompose_multinomial(Node& node, Builder& b) {
  Steps s(node, b);
  if (!seed_of(node)) return error(Code::kUnsupported, "without a seed, every run draws other numbers, which no kernel can know");
  if (!s.in(0)->type().is_ranked_tensor() || !s.in(0)->tensor().dim(1).is_const() || s.in(0)->tensor().dim(1).is_const(0))
    return error(Code::kUnsupported, "the number of classes is not known");
  const Dim batch = s.in(0)->tensor().dim(0);
  const int64_t classes = s.in(0)->tensor().dim(1).value(), samples = node.attr_int("sample_size", 1);
  Value* x = s.cast(s.in(0), DType::kF64);
  Value* numbers = b.make("Where", {s.unary("IsNaN", x), s.like(x, -INFINITY), x});
  Value* weights = s.unary("Exp", s.sub(x, s.reduce("ReduceMax", numbers, std::vector<int64_t>{1})));
  Value* sums = b.make("CumSum", {weights, b.scalar(DType::kI64, 1)});
  Value* total = s.slice(sums, 1, classes - 1, classes);
  Value* random = b.make("RandomUniformLike", {s.expand(s.like(x, 0), {batch, samples})}, {{"seed", *node.attrs().find("seed")}});
  Value* place = s.reshape(s.mul(random, total), {batch, samples, 1});
  Value* passed = s.cast(b.make("LessOrEqual", {s.reshape(sums, {batch, 1, classes}), place}), DType::kI64);
  Value* which = b.make("Min", {s.reduce("ReduceSum", passed, std::vector<int64_t>{2}, false), b.scalar(DType::kI64, static_cast<double>(classes - 1))});
  // Where no class has a probability, an index that is none.
  Value* possible = b.make("Greater", {total, s.like(x, 0)});
  which = b.make("Where", {possible, which, b.scalar(DType::kI64, static_cast<double>(classes))});
  Value* labels = b.make("Range", {b.scalar(DType::kI64, 0), b.scalar(DType::kI64, static_cast<double>(classes)), b.scalar(DType::kI64, 1)});
  return s.done({s.cast(b.make("Gather", {labels, which}, {{"axis", int64_t{0}}}), node.output(0)->dtype())});
}

Status infer_dropout(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_same(c));
  if (c.node().num_outputs() > 1) c.set(1, c.ranked(0) ? tensor_of(DType::kBool, c.shape(0)) : unranked(DType::kBool));
  return {};
}

Status eval_dropout(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  double ratio = c.has(1) && c.tensor(1).size() > 0 ? c.tensor(1).at_double(0) : 0.5;
  bool training = c.has(2) && c.tensor(2).size() > 0 && c.tensor(2).at_int(0) != 0;
  if (training && !(ratio >= 0 && ratio < 1))
    return eval_error(c, Code::kInvalidArgument, "ratio {} is outside [0, 1)", ratio);
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, x.dtype(), x.shape()));
  Tensor* mask = nullptr;
  if (c.node.num_outputs() > 1) {
    TENON_ASSIGN_OR_RETURN(mask, c.allocate(1, DType::kBool, x.shape()));
  }
  const RandomStream random = training ? stream_of(c.node) : RandomStream(0);
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < x.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(32));
    bool keep = !training || random.uniform(index(i)) >= ratio;
    out->set_double(i, keep ? x.at_double(i) / (training ? 1 - ratio : 1) : 0);
    if (mask != nullptr) mask->set_int(i, keep);
  }
  return {};
}

Result<std::vector<Body>> dropout_body(const Node& node) {
  const Tensor* mode = node.has_input(2) ? constant_of(node.input(2)) : nullptr;
  const bool trains = node.has_input(2) && !(mode != nullptr && (mode->size() == 0 || mode->at_int(0) == 0));
  for (int i : {1, 2})
    if (trains && node.has_input(i) && !is_single(input_dims(node, i)))
      return error(Code::kUnsupported, "ratio and training_mode may not be one number each");
  std::vector<Body> bodies;
  for (int output = 0; output < node.num_outputs(); ++output) {
    Body body = start_body(node, ComputeKind::kElementwise, output);
    ExprPool& p = *body.pool;
    Expr keep = p.constant_int(DType::kBool, 1), divisor = p.constant(DType::kF64, 1);
    std::vector<Expr> at = axis_indices(p, body.axes.size());
    if (trains) {
      const Expr training = load_only(body, node, 2);
      const Expr ratio = node.has_input(1) ? p.cast(load_only(body, node, 1), DType::kF64) : p.constant(DType::kF64, 0.5);
      const Expr valid = required(!training || (ratio >= 0.0 && ratio < 1.0));
      TENON_ASSIGN_OR_RETURN(const StreamExpr random, StreamExpr::of(node, flat_index(body) + valid));
      keep = !training || random.uniform() >= ratio;
      divisor = select(training, 1.0 - ratio, divisor);
    }
    const Expr x = load_as(p, node, 0, at, trains ? DType::kF64 : node.input(0)->dtype());
    const Expr kept = trains ? x / divisor : x;
    body.value = output == 1 ? keep : trains ? p.cast(select(keep, kept, p.constant(DType::kF64, 0)), body.dtype) : kept;
    bodies.push_back(std::move(body));
  }
  return bodies;
}

OpDef random(std::string_view name, std::vector<AttrDef> attrs, std::string_view doc) {
  bool like = name.ends_with("Like");
  attrs.push_back({"dtype", AttrKind::kInt, false, like ? "" : "1"});
  attrs.push_back({"seed", AttrKind::kFloat});
  if (!like) attrs.push_back({"shape", AttrKind::kInts, true});
  OpDef def{.domain = "",
            .name = name,
            .outputs = {{"output", "T", kReal}},
            .attrs = std::move(attrs),
            .infer = like ? infer_random_like : infer_random,
            .compute = {.body = random_body, .eval = like ? eval_random_like : eval_random},
            .side_effects = true,
            .doc = doc};
  if (like) def.inputs = {{"input", "T1", kAnyTensor}};
  return def;
}

}  // namespace

std::vector<OpDef> random_ops() {
  const std::vector<AttrDef> normal = {{"mean", AttrKind::kFloat, false, "0"}, {"scale", AttrKind::kFloat, false, "1"}};
  const std::vector<AttrDef> uniform = {{"low", AttrKind::kFloat, false, "0"}, {"high", AttrKind::kFloat, false, "1"}};
  constexpr DTypeSet kBool = dtypes(DType::kBool);
  return {
      random("RandomNormal", normal, "Normal random numbers (ONNX RandomNormal)."),
      random("RandomNormalLike", normal, "Normal random numbers of the input's shape (ONNX RandomNormalLike)."),
      random("RandomUniform", uniform, "Uniform random numbers (ONNX RandomUniform)."),
      random("RandomUniformLike", uniform, "Uniform random numbers of the input's shape (ONNX RandomUniformLike)."),
      {.domain = "",
       .name = "Bernoulli",
       .inputs = {{"input", "T1", kReal}},
       .outputs = {{"output", "T2", kNumeric | kBool}},
       .attrs = {{"dtype", AttrKind::kInt}, {"seed", AttrKind::kFloat}},
       .infer = infer_bernoulli,
       .compute = {.body = bernoulli_body, .eval = eval_bernoulli},
       .side_effects = true,
       .doc = "1 with the input's probability (ONNX Bernoulli)."},
      {.domain = "",
       .name = "Multinomial",
       .inputs = {{"input", "T1", kReal}},
       .outputs = {{"output", "T2", dtypes(DType::kI32, DType::kI64)}},
       .attrs = {{"dtype", AttrKind::kInt, false, "6"},
                 {"sample_size", AttrKind::kInt, false, "1"},
                 {"seed", AttrKind::kFloat}},
       .infer = infer_multinomial,
       .compute = {.decompose = decompose_multinomial, .eval = eval_multinomial},
       .side_effects = true,
       .doc = "Class numbers drawn by log probabilities (ONNX Multinomial)."},
      {.domain = "",
       .name = "Dropout",
       .inputs = {{"data", "T", kReal | kFloat8},
                  {"ratio", "T1", kReal | kFloat8, true},
                  {"training_mode", "T2", kBool, true}},
       .outputs = {{"output", "T", kReal | kFloat8}, {"mask", "T2", kBool, true}},
       .attrs = {{"seed", AttrKind::kInt}},
       .infer = infer_dropout,
       .compute = {.body = dropout_body, .eval = eval_dropout},
       .side_effects = true,
       .doc = "Zeroes elements at random in training mode (ONNX Dropout)."},
  };
}

}  // namespace tenon::ir
