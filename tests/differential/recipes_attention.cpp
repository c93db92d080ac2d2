#include <cmath>

#include "recipe.h"

namespace tenon::differential {
namespace {

Tensor int_tensor(Random& r, DType dtype, const Shape& shape, int64_t lo, int64_t hi) {
  Tensor out = std::move(Tensor::zeros(dtype, shape)).value();
  for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, r.between(lo, hi));
  return out;
}

void attention(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), kv_heads = r.between(1, 2), heads = kv_heads * r.between(1, 3),
                size = r.between(1, 5), v_size = r.between(1, 5);
  const int64_t queries = r.between(1, 7), fresh = r.between(1, 7), past = r.chance(0.4) ? r.between(0, 4) : -1,
                keys = fresh + std::max<int64_t>(past, 0);
  const bool flat = r.chance(0.4);
  const auto qkv = [&](int64_t n, int64_t steps, int64_t width) {
    return m.f32(flat ? Shape{batch, steps, n * width} : Shape{batch, n, steps, width});
  };
  ir::Value* mask = nullptr;
  if (r.chance(0.5))
    mask = m.input(r.chance(0.5) ? DType::kF32 : DType::kBool,
                   r.chance(0.5) ? Shape{queries, keys} : Shape{batch, 1, queries, keys});
  Attrs attrs{{"is_causal", i64(mask == nullptr && r.chance(0.5))}};
  if (flat) attrs.insert(attrs.end(), {{"q_num_heads", heads}, {"kv_num_heads", kv_heads}});
  if (r.chance(0.3)) attrs.emplace_back("softcap", 2.0);
  if (r.chance(0.3)) attrs.emplace_back("scale", 0.5);
  ir::Value* q = qkv(heads, queries, size);
  ir::Value* k = qkv(kv_heads, fresh, size);
  ir::Value* v = qkv(kv_heads, fresh, v_size);
  m.node("Attention",
         {q, k, v, mask, past >= 0 ? m.f32({batch, kv_heads, past, size}) : nullptr,
          past >= 0 ? m.f32({batch, kv_heads, past, v_size}) : nullptr},
         attrs, past >= 0 ? 3 : 1);
}

void rotary(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), heads = r.between(1, 3), steps = r.between(1, 5), size = 2 * r.between(1, 4),
                room = 9;
  ir::Value* at = m.input(int_tensor(r, DType::kI64, {batch, steps}, 0, room - 1));
  ir::Value* cos = m.f32({room, size / 2});
  ir::Value* sin = m.f32({room, size / 2});
  const bool flat = r.chance(0.5);
  ir::Value* x = m.f32(flat ? Shape{batch, steps, heads * size} : Shape{batch, heads, steps, size});
  Attrs attrs{{"interleaved", r.between(0, 1)}};
  if (flat) attrs.emplace_back("num_heads", heads);
  if (r.chance(0.5))
    m.node("RotaryEmbedding", {x, cos, sin, at}, attrs, 1);
  else
    m.node("com.microsoft.RotaryEmbedding", {x, at, cos, sin}, attrs, 1);
}

void norms(Maker& m) {
  Random& r = m.random;
  const int64_t width = r.size() + 1;
  const Shape x{r.between(1, 3), r.between(1, 5), width};
  switch (r.between(0, 4)) {
    case 0:
      m.node("RMSNormalization", {m.f32(x), m.f32({width})});
      break;
    case 1:
      m.node("SimplifiedLayerNormalization", {m.f32(x), m.f32({width})});
      break;
    case 2:
      m.node("com.microsoft.SkipLayerNormalization",
             {m.f32(x), m.f32(x), m.f32({width}), r.chance(0.5) ? m.f32({width}) : nullptr,
              r.chance(0.5) ? m.f32({width}) : nullptr});
      break;
    case 3:
      m.node("com.microsoft.SkipSimplifiedLayerNormalization",
             {m.f32(x), m.f32(x), m.f32({width}), r.chance(0.5) ? m.f32({width}) : nullptr});
      break;
    default: {
      const int64_t words = 11, positions = 8, batch = x[0], steps = x[1];
      m.node("com.microsoft.EmbedLayerNormalization",
             {m.input(int_tensor(r, DType::kI32, {batch, steps}, 0, words - 1)),
              m.input(int_tensor(r, DType::kI32, {batch, steps}, 0, 1)), m.f32({words, width}),
              m.f32({positions, width}), m.f32({2, width}), m.f32({width}), m.f32({width}),
              m.input(int_tensor(r, DType::kI32, {batch, steps}, 0, 1))},
             {}, 2);
    }
  }
}

void packed_attention(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), heads = r.between(1, 3), size = r.between(1, 4), steps = r.between(1, 6),
                width = heads * size;
  if (r.chance(0.5)) {
    m.node("com.microsoft.Attention",
           {m.f32({batch, steps, width}), m.f32({width, 3 * width}), m.f32({3 * width}),
            r.chance(0.5) ? m.input(int_tensor(r, DType::kI32, {batch, steps}, 0, 1)) : nullptr},
           {{"num_heads", heads}, {"unidirectional", r.between(0, 1)}});
  } else {
    const int64_t keys = r.between(1, 6);
    m.node("com.microsoft.MultiHeadAttention",
           {m.f32({batch, steps, width}), m.f32({batch, keys, width}), m.f32({batch, keys, width}),
            r.chance(0.5) ? m.f32({3 * width}) : nullptr,
            r.chance(0.3) ? m.input(int_tensor(r, DType::kI32, {batch, keys}, 0, 1)) : nullptr,
            r.chance(0.5) ? m.f32({batch, heads, steps, keys}) : nullptr},
           {{"num_heads", heads}});
  }
}

void biased_gelus(Maker& m) {
  Random& r = m.random;
  const int64_t width = r.size();
  const Shape x{r.between(1, 3), width};
  if (r.chance(0.5))
    m.node("com.microsoft.BiasGelu", {m.f32(x), m.f32({width})});
  else
    m.node("com.microsoft.FastGelu", {m.f32(x), r.chance(0.7) ? m.f32({width}) : nullptr});
}

void fused_products(Maker& m) {
  Random& r = m.random;
  const int64_t rows = r.size(), k = r.between(1, 40), n = r.between(1, 33);
  const bool ta = r.chance(0.5), tb = r.chance(0.5);
  ir::Value* a = m.f32(ta ? Shape{k, rows} : Shape{rows, k});
  ir::Value* b = m.f32(tb ? Shape{n, k} : Shape{k, n});
  switch (r.between(0, 2)) {
    case 0:
      m.node("com.microsoft.FusedMatMul", {a, b}, {{"transA", i64(ta)}, {"transB", i64(tb)}, {"alpha", 0.5}});
      break;
    case 1:
      m.node(
          "com.microsoft.FusedGemm", {a, b, m.f32({n})},
          {{"transA", i64(ta)}, {"transB", i64(tb)}, {"activation", std::string(r.pick({"Relu", "Tanh", "Sigmoid"}))}});
      break;
    default: {
      const int64_t channels = r.between(1, 4), out = r.between(1, 9), h = r.between(3, 9);
      const bool residual = r.chance(0.4);
      m.node("com.microsoft.FusedConv",
             {m.f32({1, channels, h, h}), m.f32({out, channels, 3, 3}), m.f32({out}),
              residual ? m.f32({1, out, h, h}) : nullptr},
             {{"pads", Ints{1, 1, 1, 1}},
              {"kernel_shape", Ints{3, 3}},
              {"activation", std::string(r.pick({"Relu", "Sigmoid"}))}});
    }
  }
}

}  // namespace

std::vector<Recipe> attention_recipes() {
  return {{"Attention", attention, 24},          {"RotaryEmbedding", rotary, 10},
          {"norms around attention", norms, 20}, {"packed attention", packed_attention, 12},
          {"biased Gelu", biased_gelus},         {"fused products", fused_products, 12}};
}

}  // namespace tenon::differential
