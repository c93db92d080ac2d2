#include "recipe.h"

namespace tenon::differential {
namespace {

DType any_number(Random& r) { return r.pick({DType::kF32, DType::kF32, DType::kF64, DType::kI32, DType::kI64}); }

void constant(Maker& m) {
  m.node("Constant", {},
         {{"value", random_tensor(m.random, any_number(m.random), m.random.shape(m.random.between(0, 3)))}}, 1);
}

void shape_of(Maker& m) {
  Random& r = m.random;
  ir::Value* x = m.input(any_number(r), r.shape(r.between(0, 4)));
  if (r.chance(0.5))
    m.node("Size", {x});
  else
    m.node("Shape", {x}, {{"start", r.between(-5, 3)}, {"end", r.between(-3, 5)}});
}

void generate(Maker& m) {
  Random& r = m.random;
  switch (r.between(0, 3)) {
    case 0: {
      const int64_t from = r.between(-9, 9), to = r.between(-30, 30), by = r.pick<int64_t>({1, 2, 3, -1, -4});
      const bool constant = r.chance(0.5);
      const auto value = [&](int64_t v) {
        Tensor t = std::move(Tensor::zeros(DType::kI64, {})).value();
        t.set_int(0, v);
        return constant ? m.constant(t) : m.input(t);
      };
      ir::Value* start = value(from);
      ir::Value* limit = value(to);
      m.node("Range", {start, limit, value(by)});
      break;
    }
    case 1:
      m.node("EyeLike", {m.f32({r.size(), r.size()})}, {{"k", r.between(-4, 4)}});
      break;
    case 2:
      m.node("ConstantOfShape", {m.ints({r.size(), r.between(1, 4)})}, {{"value", Tensor::from<float>({1}, {2.5F})}});
      break;
    default:
      m.node("ConstantOfShape", {m.input(Tensor::from<int64_t>({2}, {r.between(0, 9), r.between(0, 4)}))},
             {{"value", Tensor::from<int64_t>({1}, {-3})}});
      break;
  }
}

void dynamic_sizes(Maker& m) {
  Random& r = m.random;
  const Shape x{r.between(1, 9), r.between(1, 9)};
  switch (r.between(0, 4)) {
    case 0: {
      const bool flat = r.chance(0.5);
      const int64_t n = flat ? x[0] * x[1] : x[1];
      Attrs attrs;
      if (!flat) attrs.emplace_back("axis", int64_t{1});
      m.node("Compress", {m.f32(x), m.input(DType::kBool, {r.between(0, n)})}, attrs, 1);
      break;
    }
    case 1: {
      Attrs attrs{{"sorted", r.between(0, 1)}};
      if (r.chance(0.5)) attrs.emplace_back("axis", r.between(-2, 1));
      m.node("Unique", {m.input(r.pick({DType::kI64, DType::kI8, DType::kF32}), x)}, attrs, 4);
      break;
    }
    case 2:
      m.node("Slice", {m.f32(x), m.input(Tensor::from<int64_t>({1}, {r.between(-12, 12)})),
                       m.input(Tensor::from<int64_t>({1}, {r.between(-12, 12)})), m.ints({r.between(-2, 1)}),
                       m.ints({r.pick<int64_t>({1, 2, -1})})});
      break;
    case 3:
      m.node("Pad",
             {m.f32(x), m.input(Tensor::from<int64_t>({4}, {r.between(0, 3), r.between(-1, 3), r.between(0, 3), 1}))});
      break;
    default:
      m.node(r.pick({"Expand"}),
             {m.f32({1, x[1]}), m.input(Tensor::from<int64_t>({3}, {r.between(1, 3), r.between(1, 5), 1}))});
      break;
  }
}

void center_crop_pad(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3);
  Ints to;
  for (int64_t i = 0; i < rank; ++i) to.push_back(r.between(1, 20));
  m.node("CenterCropPad", {m.f32(r.shape(rank)), m.ints(to)});
}

void reverse_sequence(Maker& m) {
  Random& r = m.random;
  const int64_t steps = r.between(1, 9), batch = r.between(1, 5), time = r.between(0, 1);
  Tensor lengths = std::move(Tensor::zeros(DType::kI64, {batch})).value();
  for (int64_t i = 0; i < batch; ++i) lengths.set_int(i, r.between(1, steps));
  m.node("ReverseSequence", {m.f32(time == 0 ? Shape{steps, batch, 3} : Shape{batch, steps, 3}), m.input(lengths)},
         {{"time_axis", time}, {"batch_axis", 1 - time}});
}

void scan_sums(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3);
  m.node(
      r.pick({"CumProd", "CumSum"}),
      {m.input(r.pick({DType::kF32, DType::kI32, DType::kF64}), r.shape(rank)), m.scalar(r.between(-rank, rank - 1))},
      {{"exclusive", r.between(0, 1)}, {"reverse", r.between(0, 1)}});
}

void scatter(Maker& m) {
  Random& r = m.random;
  const std::string reduction = r.pick({"none", "add", "mul", "min", "max"});
  const DType dtype = any_number(r);
  const int64_t rows = r.between(1, 9), columns = r.between(1, 9), n = r.between(0, rows);
  // Without a reduction no index may be there twice.
  const auto row = [&](int64_t i) {
    return reduction == "none" ? i - (i % 2 == 0 ? 0 : rows) : r.between(-rows, rows - 1);
  };
  Tensor index = std::move(Tensor::zeros(DType::kI64, r.chance(0.5) ? Shape{n, 1} : Shape{n, columns})).value();
  const bool elements = index.dim(1) == columns && r.chance(0.7);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < index.dim(1); ++j) index.set_int(i * index.dim(1) + j, row(i));
  if (elements) {
    m.node("ScatterElements", {m.input(dtype, {rows, columns}), m.input(index), m.input(dtype, index.shape())},
           {{"axis", int64_t{0}}, {"reduction", reduction}});
  } else {
    Tensor at = std::move(Tensor::zeros(DType::kI64, {n, 1})).value();
    for (int64_t i = 0; i < n; ++i) at.set_int(i, row(i));
    m.node("ScatterND", {m.input(dtype, {rows, columns}), m.input(at), m.input(dtype, {n, columns})},
           {{"reduction", reduction}});
  }
}

void tensor_scatter(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 3), heads = r.between(1, 2), room = r.between(4, 9), fresh = r.between(1, 3),
                size = r.between(1, 5);
  Tensor at = std::move(Tensor::zeros(DType::kI64, {batch})).value();
  for (int64_t i = 0; i < batch; ++i) at.set_int(i, r.between(0, room - fresh));
  m.node("TensorScatter",
         {m.f32({batch, heads, room, size}), m.f32({batch, heads, fresh, size}), r.chance(0.7) ? m.input(at) : nullptr},
         {{"mode", std::string(r.pick({"linear", "circular"}))}});
}

void bit_cast(Maker& m) {
  Random& r = m.random;
  const bool wide = r.chance(0.6);
  const DType from = wide ? r.pick({DType::kF32, DType::kI32, DType::kU32}) : r.pick({DType::kI8, DType::kU8, DType::kBool});
  const DType to = wide ? r.pick({DType::kF32, DType::kI32, DType::kU32}) : r.pick({DType::kI8, DType::kU8, DType::kBool});
  const Attrs attrs = {{"to", static_cast<int64_t>(info(to).onnx)}};
  if (r.chance(0.5)) return m.node("BitCast", {m.input(from, r.shape(r.between(0, 3)), Fill::kSpecial)}, attrs, 1);
  ir::Value* between = m.step("BitCast", m.step("Transpose", {m.input(from, r.shape(2))}), attrs)[0];
  m.node("Transpose", {between});
}

void optimisers(Maker& m) {
  Random& r = m.random;
  const Shape shape = r.shape(r.between(0, 2)), other = r.shape(1);
  const std::string_view op = r.pick({"Adagrad", "Adam", "Momentum"});
  const int groups = static_cast<int>(r.between(1, 2)), states = op == "Adam" ? 2 : 1;
  std::vector<ir::Value*> in{m.constant(Tensor::scalar<float>(0.1F)),
                             m.input(Tensor::scalar<int64_t>(r.between(0, 3)))};
  for (int kind = 0; kind < 2 + states; ++kind)
    for (int group = 0; group < groups; ++group)
      in.push_back(m.f32(group == 0 ? shape : other, kind >= 2 ? Fill::kPositive : Fill::kPlain));
  Attrs attrs;
  if (op == "Momentum")
    attrs = {{"alpha", 0.9},
             {"beta", 0.8},
             {"norm_coefficient", 0.01},
             {"mode", std::string(r.pick({"standard", "nesterov"}))}};
  m.node("ai.onnx.preview.training." + std::string(op), in, attrs, groups * (1 + states));
}

void bit_shift(Maker& m) {
  Random& r = m.random;
  const DType dtype = r.pick({DType::kU8, DType::kU16, DType::kU32, DType::kU64});
  const Shape shape = r.shape(r.between(0, 3));
  m.node("BitShift", {m.input(dtype, shape), m.input(dtype, shape)},
         {{"direction", std::string(r.pick({"LEFT", "RIGHT"}))}});
}

void losses(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 5), classes = r.between(1, 7), extent = r.between(1, 4);
  const bool spatial = r.chance(0.5);
  Tensor labels = random_tensor(r, r.pick({DType::kI64, DType::kI32}), spatial ? Shape{batch, extent} : Shape{batch});
  for (int64_t i = 0; i < labels.size(); ++i) labels.set_int(i, r.between(0, classes - 1));
  Attrs attrs{{"reduction", std::string(r.pick({"none", "sum", "mean"}))}};
  if (r.chance(0.3)) attrs.emplace_back("ignore_index", int64_t{0});
  const bool cross = r.chance(0.5);
  m.node(cross ? "SoftmaxCrossEntropyLoss" : "NegativeLogLikelihoodLoss",
         {m.f32(spatial ? Shape{batch, classes, extent} : Shape{batch, classes}), m.input(labels),
          r.chance(0.5) ? m.f32({classes}, Fill::kPositive) : nullptr},
         attrs, cross ? 2 : 1);
}

void more_norms(Maker& m) {
  Random& r = m.random;
  switch (r.between(0, 2)) {
    case 0:
      m.node("MeanVarianceNormalization",
             {m.f32({r.between(1, 3), r.between(1, 4), r.between(2, 6), r.between(2, 6)})});
      break;
    case 1:
      m.node("LpNormalization", {m.f32({r.between(1, 5), r.between(1, 9)})},
             {{"axis", r.between(-2, 1)}, {"p", r.between(1, 2)}});
      break;
    default:
      m.node(
          "LpPool", {m.f32({1, 2, r.between(3, 12), r.between(3, 12)})},
          {{"kernel_shape", Ints{r.between(1, 3), r.between(1, 3)}}, {"p", r.between(1, 3)}, {"strides", Ints{2, 1}}});
      break;
  }
}

}  // namespace

std::vector<Recipe> shape_recipes() {
  return {{"Constant", constant},
          {"Shape", shape_of, 8},
          {"generators", generate, 16},
          {"sizes known at run time", dynamic_sizes, 24},
          {"CenterCropPad", center_crop_pad},
          {"ReverseSequence", reverse_sequence},
          {"cumulative sums", scan_sums, 12},
          {"scatter", scatter, 24},
          {"TensorScatter", tensor_scatter},
          {"BitCast", bit_cast, 16},
          {"BitShift", bit_shift},
          {"optimisers", optimisers, 12},
          {"losses", losses, 12},
          {"more normalisation", more_norms, 12}};
}

}  // namespace tenon::differential
