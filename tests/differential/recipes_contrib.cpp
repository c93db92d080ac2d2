#include "recipe.h"

/// com.microsoft: attention with caches, weights of few bits, what generation needs.
namespace tenon::differential {
namespace {

Tensor int_tensor(Random& r, DType dtype, const Shape& shape, int64_t lo, int64_t hi) {
  Tensor t = random_tensor(r, dtype, shape);
  for (int64_t i = 0; i < t.size(); ++i) t.set_int(i, r.between(lo, hi));
  return t;
}

Tensor filled(Random& r, const Shape& shape, int64_t value) { return int_tensor(r, DType::kI32, shape, value, value); }

void grouped_attention(Maker& m) {
  Random& r = m.random;
  const int64_t kv = r.between(1, 2), heads = kv * r.between(1, 3), size = r.pick<int64_t>({4, 8}), batch = r.between(1, 2);
  const int64_t past = r.between(0, 4), steps = past > 0 && batch > 1 ? 1 : r.between(1, 5), total = past + steps;
  ir::Value* lengths = m.input(filled(r, {batch}, total - 1));
  ir::Value* extent = r.chance(0.5) ? m.constant(filled(r, {1}, total)) : m.input(filled(r, {1}, total));
  Attrs attrs{{"num_heads", heads}, {"kv_num_heads", kv}};
  if (r.chance(0.3)) attrs.emplace_back("local_window_size", r.between(1, 4));
  if (r.chance(0.3)) attrs.emplace_back("softcap", 2.0);
  if (r.chance(0.3)) attrs.emplace_back("smooth_softmax", int64_t{1});
  std::vector<ir::Value*> in = {m.f32({batch, steps, heads * size}), m.f32({batch, steps, kv * size}), m.f32({batch, steps, kv * size}),
                                m.f32({batch, kv, past, size}), m.f32({batch, kv, past, size}), lengths, extent};
  if (r.chance(0.5)) {
    attrs.emplace_back("do_rotary", int64_t{1});
    attrs.emplace_back("rotary_interleaved", r.between(0, 1));
    in.insert(in.end(), {m.f32({12, size / 2}), m.f32({12, size / 2})});
  }
  m.node("com.microsoft.GroupQueryAttention", in, attrs, 3);
}

void decoders(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), heads = r.between(1, 2), size = 4, width = heads * size, rows = r.between(3, 6), past = r.between(1, rows - 1);
  ir::Value* length = r.chance(0.5) ? m.constant(filled(r, {1}, past)) : m.input(filled(r, {1}, past));
  const Attrs attrs{{"num_heads", heads}, {"past_present_share_buffer", int64_t{1}}};
  if (r.chance(0.5)) {
    m.node("com.microsoft.DecoderMaskedSelfAttention",
           {m.f32({batch, 1, 5}), m.f32({5, 3 * width}), m.f32({3 * width}), nullptr, m.f32({2, batch, heads, rows, size}), nullptr, length}, attrs, 2);
  } else {
    const bool beams = r.chance(0.5);
    m.node("com.microsoft.DecoderMaskedMultiHeadAttention",
           {m.f32({batch, 1, width}), m.f32({batch, 1, width}), m.f32({batch, 1, width}), nullptr, nullptr,
            m.f32({batch, heads, rows, size}), m.f32({batch, heads, rows, size}), length, nullptr,
            beams ? m.input(int_tensor(r, DType::kI32, {1, batch, rows}, 0, batch - 1)) : nullptr, r.chance(0.5) ? m.f32({3 * width}) : nullptr},
           attrs, 3);
  }
}

void quantized_attention(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), steps = r.between(1, 5), heads = r.between(1, 2), width = heads * r.between(1, 4), inner = r.between(1, 9);
  const bool columns = r.chance(0.5);
  m.node("com.microsoft.QAttention",
         {m.input(int_tensor(r, DType::kU8, {batch, steps, inner}, 0, 255)), m.input(int_tensor(r, DType::kI8, {inner, 3 * width}, -127, 127)),
          m.f32({3 * width}), m.constant(Tensor::scalar(0.01F)), columns ? m.f32({3 * width}, Fill::kPositive) : m.constant(Tensor::scalar(0.02F)),
          nullptr, m.constant(Tensor::scalar<uint8_t>(128))},
         {{"num_heads", heads}, {"unidirectional", r.between(0, 1)}}, 1);
}

void small_weights(Maker& m) {
  Random& r = m.random;
  const int64_t rows = r.between(1, 5);
  if (r.chance(0.5)) {
    const int64_t n = r.between(1, 6), k = 16 * r.between(1, 3);
    m.node("com.microsoft.MatMulBnb4",
           {m.f32({rows, k}), m.constant(int_tensor(r, DType::kU8, {n * k / 2}, 0, 255)), m.constant(random_tensor(r, DType::kF32, {n * k / 16}))},
           {{"N", n}, {"K", k}, {"block_size", int64_t{16}}, {"quant_type", r.between(0, 1)}});
    return;
  }
  const int64_t bits = r.pick<int64_t>({2, 4, 8}), blocks = r.between(1, 3), words = r.between(1, 9), width = 16 * blocks, per_byte = 8 / bits;
  m.node("com.microsoft.GatherBlockQuantized",
         {m.input(int_tensor(r, DType::kU8, {words, width / per_byte}, 0, 255)), m.input(int_tensor(r, DType::kI64, {rows, 2}, -words, words - 1)),
          m.f32({words, blocks}), r.chance(0.5) ? m.input(int_tensor(r, DType::kU8, {words, (blocks + per_byte - 1) / per_byte}, 0, 255)) : nullptr},
         {{"bits", bits}, {"block_size", int64_t{16}}});
}

void quantized_choice(Maker& m) {
  Random& r = m.random;
  const Shape shape{r.between(1, 3), r.between(1, 9)};
  const auto scale = [&] { return m.constant(Tensor::scalar(static_cast<float>(r.real(0.01, 0.1)))); };
  const auto zero = [&] { return m.constant(Tensor::scalar(static_cast<uint8_t>(r.between(0, 255)))); };
  const auto bytes = [&](const Shape& s) { return m.input(int_tensor(r, DType::kU8, s, 0, 255)); };
  if (r.chance(0.5))
    m.node("com.microsoft.QLinearWhere",
           {m.input(random_tensor(r, DType::kBool, shape)), bytes(shape), scale(), zero(), bytes({shape[1]}), scale(), zero(), scale(), zero()});
  else
    m.node("com.microsoft.QLinearReduceMean", {bytes(shape), scale(), zero(), scale(), zero()}, {{"axes", Ints{r.between(-2, 1)}}, {"keepdims", r.between(0, 1)}});
}

void time_warping(Maker& m) { m.node("com.microsoft.DynamicTimeWarping", {m.f32({m.random.between(1, 5), m.random.between(1, 6)})}); }

void repeated_ngrams(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), words = r.between(3, 5);  // now and then a token without a score
  Tensor scores = random_tensor(r, DType::kF32, {batch, words}, Fill::kSpecial);
  m.node("com.microsoft.NGramRepeatBlock", {m.input(int_tensor(r, DType::kI64, {batch, r.between(0, 12)}, 0, 3)), m.input(scores)},
         {{"ngram_size", r.between(1, 4)}});
}

void murmur_hash(Maker& m) {
  Random& r = m.random;
  const DType dtype = r.pick({DType::kI32, DType::kU32, DType::kI64, DType::kU64, DType::kF32, DType::kF64});
  m.node("com.microsoft.MurmurHash3", {m.input(random_tensor(r, dtype, r.shape(r.between(0, 2)), Fill::kSpecial))},
         {{"seed", r.pick<int64_t>({0, 7, -1})}, {"positive", r.between(0, 1)}});
}

void crop_and_resize(Maker& m) {
  Random& r = m.random;
  const int64_t boxes = r.between(0, 3);
  const DType dtype = r.pick({DType::kF32, DType::kF32, DType::kF16, DType::kF64});
  Tensor corners = random_tensor(r, dtype, {boxes, 4}, r.chance(0.2) ? Fill::kSpecial : Fill::kPlain);
  for (int64_t i = 0; i < corners.size(); ++i)
    if (r.chance(0.8)) corners.set_double(i, r.pick({0.0, 1.0, r.real(0, 1), r.real(-0.2, 1.2)}));
  const Tensor size = int_tensor(r, DType::kI32, {2}, 1, 4);
  m.node("com.microsoft.CropAndResize",
         {m.input(dtype, {2, r.between(1, 2), r.pick<int64_t>({1, 5, 8}), r.between(1, 6)}),
          m.input(corners), m.input(int_tensor(r, DType::kI32, {boxes}, 0, 1)), r.chance(0.5) ? m.constant(size) : m.input(size)},
         {{"mode", std::string(r.pick({"bilinear", "nearest"}))}, {"extrapolation_value", 2.5}});
}

}  // namespace

std::vector<Recipe> contrib_recipes() {
  return {{"contrib grouped attention", grouped_attention, 12}, {"contrib decoders", decoders, 8}, {"contrib quantized attention", quantized_attention},
          {"contrib small weights", small_weights, 12},         {"contrib quantized choice", quantized_choice}, {"DynamicTimeWarping", time_warping, 3},
          {"NGramRepeatBlock", repeated_ngrams, 16},            {"MurmurHash3", murmur_hash, 14},                 {"CropAndResize", crop_and_resize, 24}};
}

}  // namespace tenon::differential
