#include "recipe.h"

namespace tenon::differential {
namespace {

DType byte_type(Random& r) { return r.pick({DType::kU8, DType::kI8}); }

struct Quantized {
  ir::Value *x, *scale, *zero;
};

Quantized quantized(Maker& m, DType dtype, const Shape& shape) {
  Random& r = m.random;
  return {m.input(dtype, shape), m.constant(Tensor::scalar<float>(static_cast<float>(r.real(0.02, 0.3)))),
          m.constant(random_tensor(r, dtype, {}))};
}

void elementwise(Maker& m) {
  Random& r = m.random;
  const DType dtype = byte_type(r);
  const Shape shape = r.shape(r.between(1, 3));
  const Quantized a = quantized(m, dtype, shape), y = quantized(m, dtype, {});
  m.graph->remove_input(static_cast<int>(m.graph->inputs().size()) - 1);
  m.inputs.pop_back();
  switch (r.between(0, 4)) {
    case 0:
    case 1: {
      const Quantized b = quantized(m, dtype, shape);
      m.node(r.pick({"com.microsoft.QLinearAdd", "com.microsoft.QLinearMul"}),
             {a.x, a.scale, a.zero, b.x, b.scale, b.zero, y.scale, y.zero});
      break;
    }
    case 2:
      m.node("com.microsoft.QLinearSigmoid", {a.x, a.scale, a.zero, y.scale, y.zero});
      break;
    case 3:
      m.node("com.microsoft.QLinearLeakyRelu", {a.x, a.scale, a.zero, y.scale, y.zero});
      break;
    default:
      m.node("com.microsoft.QLinearSoftmax",
             {a.x, a.scale, a.zero, m.constant(Tensor::scalar<float>(1 / 256.0F)),
              m.constant(std::move(Tensor::zeros(dtype, {})).value())},
             {{"opset", int64_t{13}}, {"axis", int64_t{-1}}});
      break;
  }
}

void pools(Maker& m) {
  Random& r = m.random;
  const DType dtype = byte_type(r);
  const Quantized a = quantized(m, dtype, {r.between(1, 2), r.between(1, 5), r.between(3, 9), r.between(3, 9)});
  ir::Value* scale = m.constant(Tensor::scalar<float>(0.11F));
  ir::Value* zero = m.constant(random_tensor(r, dtype, {}));
  if (r.chance(0.5))
    m.node("com.microsoft.QLinearGlobalAveragePool", {a.x, a.scale, a.zero, scale, zero});
  else
    m.node("com.microsoft.QLinearAveragePool", {a.x, a.scale, a.zero, scale, zero},
           {{"kernel_shape", Ints{2, 3}}, {"pads", Ints{0, 1, 1, 0}}, {"count_include_pad", r.between(0, 1)}});
}

void recurrent(Maker& m) {
  Random& r = m.random;
  const DType dtype = byte_type(r);
  const int64_t hidden = r.between(1, 9), input = r.between(1, 9), ways = r.between(1, 2), steps = r.between(1, 4), batch = r.between(1, 3);
  const Shape levels = r.chance(0.5) ? Shape{ways} : Shape{ways, 4 * hidden};
  const auto scale = [&] {
    Tensor t = std::move(Tensor::zeros(DType::kF32, levels)).value();
    for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, r.real(0.002, 0.02));
    return m.constant(std::move(t));
  };
  ir::Value *x = m.f32({steps, batch, input}), *w_scale = scale(), *r_scale = scale();
  m.node("com.microsoft.DynamicQuantizeLSTM",
         {x, m.constant(random_tensor(r, dtype, {ways, input, 4 * hidden})), m.constant(random_tensor(r, dtype, {ways, hidden, 4 * hidden})),
          r.chance(0.5) ? m.f32({ways, 8 * hidden}) : nullptr, nullptr, nullptr, nullptr, nullptr, w_scale,
          m.constant(random_tensor(r, dtype, levels)), r_scale, m.constant(random_tensor(r, dtype, levels))},
         {{"hidden_size", hidden}, {"direction", std::string(ways == 2 ? "bidirectional" : r.pick({"forward", "reverse"}))}}, 3);
}

void concat(Maker& m) {
  Random& r = m.random;
  const DType dtype = byte_type(r);
  const int64_t rows = r.between(1, 4);
  std::vector<ir::Value*> in{m.constant(Tensor::scalar<float>(0.1F)), m.constant(random_tensor(r, dtype, {}))};
  for (int64_t i = r.between(1, 3); i > 0; --i) {
    const Quantized q = quantized(m, dtype, {rows, r.size()});
    in.insert(in.end(), {q.x, q.scale, q.zero});
  }
  m.node("com.microsoft.QLinearConcat", in, {{"axis", int64_t{1}}}, 1);
}

void products(Maker& m) {
  Random& r = m.random;
  const int64_t rows = r.size(), k = r.between(1, 70), n = r.between(1, 33);
  const DType ta = byte_type(r), tb = byte_type(r);
  switch (r.between(0, 4)) {
    case 0: {
      const Quantized a = quantized(m, ta, {rows, k}), b = quantized(m, tb, {k, n});
      m.node("QLinearMatMul", {a.x, a.scale, a.zero, b.x, b.scale, b.zero, m.constant(Tensor::scalar<float>(0.7F)),
                               m.constant(random_tensor(r, ta, {}))});
      break;
    }
    case 1: {
      const Quantized a = quantized(m, ta, {rows, k}), b = quantized(m, tb, {k, n});
      m.node("com.microsoft.MatMulIntegerToFloat",
             {a.x, b.x, a.scale, b.scale, a.zero, b.zero, r.chance(0.5) ? m.f32({n}) : nullptr});
      break;
    }
    case 2: {
      const Quantized b = quantized(m, tb, {k, n});
      m.node("com.microsoft.DynamicQuantizeMatMul",
             {m.f32({rows, k}), b.x, b.scale, b.zero, r.chance(0.5) ? m.f32({n}) : nullptr});
      break;
    }
    case 3: {
      const Quantized a = quantized(m, DType::kU8, {rows, k}), b = quantized(m, tb, {k, n});
      ir::Value* c = r.chance(0.5) ? m.input(DType::kI32, {n}) : nullptr;
      if (r.chance(0.5))
        m.node("com.microsoft.QGemm", {a.x, a.scale, a.zero, b.x, b.scale, b.zero, c});
      else
        m.node("com.microsoft.QGemm",
               {a.x, a.scale, a.zero, b.x, b.scale, b.zero, c, m.constant(Tensor::scalar<float>(0.5F)),
                m.constant(random_tensor(r, DType::kU8, {}))});
      break;
    }
    default: {
      const int64_t block = 16, blocks = r.between(1, 3), inner = block * blocks - r.between(0, 3),
                    columns = r.between(1, 9);
      Tensor weights = random_tensor(r, DType::kU8, {columns, blocks, block / 2});
      for (int64_t i = 0; i < weights.size(); ++i) weights.set_int(i, r.between(0, 255));
      Tensor zeros = random_tensor(r, DType::kU8, {columns * ((blocks + 1) / 2)});
      for (int64_t i = 0; i < zeros.size(); ++i) zeros.set_int(i, r.between(0, 255));
      m.node(
          "com.microsoft.MatMulNBits",
          {m.f32({r.between(1, 5), inner}), m.constant(weights),
           m.constant(random_tensor(r, DType::kF32, {columns * blocks})), r.chance(0.5) ? m.constant(zeros) : nullptr},
          {{"K", inner}, {"N", columns}, {"bits", int64_t{4}}, {"block_size", block}});
    }
  }
}

void convolutions(Maker& m) {
  Random& r = m.random;
  const int64_t channels = r.between(1, 5), out = r.between(1, 9), h = r.between(3, 9);
  const DType tx = byte_type(r), tw = byte_type(r);
  const Quantized x = quantized(m, tx, {r.between(1, 2), channels, h, h}),
                  w = quantized(m, tw, {out, channels, r.between(1, 3), r.between(1, 3)});
  const Attrs attrs{{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{r.between(1, 2), 1}}};
  if (r.chance(0.5))
    m.node("ConvInteger", {x.x, w.x, r.chance(0.6) ? x.zero : nullptr, nullptr}, attrs, 1);
  else
    m.node("QLinearConv",
           {x.x, x.scale, x.zero, w.x, w.scale, w.zero, m.constant(Tensor::scalar<float>(0.9F)),
            m.constant(random_tensor(r, tx, {})), r.chance(0.5) ? m.input(DType::kI32, {out}) : nullptr},
           attrs, 1);
}

}  // namespace

std::vector<Recipe> quantized_recipes() {
  return {{"quantised elementwise", elementwise, 24},
          {"quantised pooling", pools, 8},
          {"QLinearConcat", concat},
          {"quantised recurrent", recurrent, 8},
          {"quantised products", products, 24},
          {"quantised convolutions", convolutions, 10}};
}

}  // namespace tenon::differential
