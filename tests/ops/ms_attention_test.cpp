#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/ops/op_runner.h"

/// com.microsoft attention ops against each other, ai.onnx's Attention and closed forms.
namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op;
using test::run_op_n;
using test::try_op;
using test::try_op_n;
using test::values;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::Pointwise;

Tensor random_floats(Shape shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> v(static_cast<size_t>(*element_count(shape)));
  for (float& x : v) x = uniform(engine);
  return floats(std::move(shape), std::move(v));
}

Tensor int32s(Shape shape, std::vector<int32_t> v) { return Tensor::from<int32_t>(std::move(shape), std::span<const int32_t>(v)); }
Tensor one_int32(int32_t v) { return int32s({1}, {v}); }

Tensor part(const Tensor& x, int64_t axis, int64_t from, int64_t to) {
  return run_op("Slice", {x, test::ints({from}), test::ints({to}), test::ints({axis})});
}

void expect_near(const Tensor& a, const Tensor& b, double tolerance = 1e-5) {
  EXPECT_EQ(a.shape(), b.shape());
  EXPECT_THAT(values(a), Pointwise(DoubleNear(tolerance), values(b)));
}

constexpr int64_t kBatch = 2, kSeq = 3, kHeads = 2, kSize = 4, kWidth = kHeads * kSize;
const Attributes kTwoHeads = {{"num_heads", kHeads}};
const Attributes kOnnxHeads = {{"q_num_heads", kHeads}, {"kv_num_heads", kHeads}};

struct Qkv {
  Tensor q = random_floats({kBatch, kSeq, kWidth}, 1), k = random_floats({kBatch, kSeq, kWidth}, 2), v = random_floats({kBatch, kSeq, kWidth}, 3);
};

TEST(MultiHeadAttention, IsOnnxAttention) {
  Qkv x;
  expect_near(run_op("com.microsoft.MultiHeadAttention", {x.q, x.k, x.v}, kTwoHeads), run_op("Attention", {x.q, x.k, x.v}, kOnnxHeads));
}

TEST(MultiHeadAttention, ReadsPackedKeysAndValuesAndPackedQueries) {
  Qkv x;
  const Tensor plain = run_op("com.microsoft.MultiHeadAttention", {x.q, x.k, x.v}, kTwoHeads);
  auto column = [](const Tensor& t) { return t.reshaped({kBatch, kSeq, kHeads, 1, kSize}).value(); };
  const Tensor kv = run_op("Concat", {column(x.k), column(x.v)}, {{"axis", int64_t{3}}});
  expect_near(run_op("com.microsoft.MultiHeadAttention", {x.q, kv}, kTwoHeads), plain);
  const Tensor qkv = run_op("Concat", {column(x.q), column(x.k), column(x.v)}, {{"axis", int64_t{3}}});
  expect_near(run_op("com.microsoft.MultiHeadAttention", {qkv}, kTwoHeads), plain);
}

TEST(MultiHeadAttention, MaskForms) {
  Qkv x;
  auto masked = [&](Tensor mask) { return run_op("com.microsoft.MultiHeadAttention", {x.q, x.k, x.v, {}, mask}, kTwoHeads); };
  const Tensor by_rows = masked(int32s({2, 3}, {1, 1, 0, 1, 0, 0}));
  expect_near(masked(int32s({2}, {2, 1})), by_rows);
  expect_near(masked(int32s({8}, {2, 1, 0, 3, 6, 0, 2, 3})), by_rows);
  expect_near(masked(int32s({4}, {2, 1, 0, 0})), by_rows);
  expect_near(masked(int32s({2, 3, 3}, {1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0})), by_rows);
  // One key left: its value.
  EXPECT_THAT(values(part(part(by_rows, 0, 1, 2), 1, 2, 3)), Pointwise(DoubleNear(1e-5), values(part(part(x.v, 0, 1, 2), 1, 0, 1))));
}

TEST(MultiHeadAttention, TheLastQueryOfACausalOneSeesAllKeys) {
  Qkv x;
  const Tensor two = part(x.q, 1, 0, 2);
  const Attributes causal = {{"num_heads", kHeads}, {"unidirectional", int64_t{1}}};
  const Tensor y = run_op("com.microsoft.MultiHeadAttention", {two, x.k, x.v}, causal);
  const Tensor open = run_op("com.microsoft.MultiHeadAttention", {two, x.k, x.v}, kTwoHeads);
  expect_near(part(y, 1, 1, 2), part(open, 1, 1, 2));
  expect_near(part(y, 1, 0, 1), part(x.v, 1, 0, 1));  // the first sees one key: its value
}

TEST(MultiHeadAttention, PastMayHaveNoRows) {
  Qkv x;
  const Tensor none = random_floats({kBatch, kHeads, 0, kSize}, 4);
  std::vector<Tensor> y = run_op_n("com.microsoft.MultiHeadAttention", {x.q, x.k, x.v, {}, {}, {}, none, none}, 3, kTwoHeads);
  expect_near(y[0], run_op("com.microsoft.MultiHeadAttention", {x.q, x.k, x.v}, kTwoHeads));
  EXPECT_EQ(y[1].shape(), (Shape{kBatch, kHeads, kSeq, kSize}));
}

TEST(MultiHeadAttention, RefusesWhatDoesNotFit) {
  Qkv x;
  for (int64_t heads : {0, -1, 3}) EXPECT_FALSE(try_op("com.microsoft.MultiHeadAttention", {x.q, x.k, x.v}, {{"num_heads", heads}}).ok());
  EXPECT_FALSE(try_op("com.microsoft.MultiHeadAttention", {x.q}, kTwoHeads).ok());
  EXPECT_FALSE(try_op("com.microsoft.MultiHeadAttention", {x.q, x.k}, kTwoHeads).ok());
  EXPECT_FALSE(try_op("com.microsoft.MultiHeadAttention", {x.q, x.k, x.v, {}, int32s({3}, {1, 1, 1})}, kTwoHeads).ok());
}

TEST(Attention, ProjectsAndAttends) {
  const Tensor x = random_floats({kBatch, kSeq, 5}, 5), w = random_floats({5, 3 * kWidth}, 6), bias = random_floats({3 * kWidth}, 7);
  const Tensor qkv = run_op("Add", {run_op("MatMul", {x, w}), bias});
  auto third = [&](int64_t i) { return part(qkv, 2, i * kWidth, (i + 1) * kWidth); };
  expect_near(run_op("com.microsoft.Attention", {x, w, bias}, kTwoHeads),
              run_op("com.microsoft.MultiHeadAttention", {third(0), third(1), third(2)}, kTwoHeads));
}

TEST(Attention, ASharedCacheIsAPastOfItsFilledRows) {
  const Tensor x = random_floats({kBatch, 1, 5}, 5), w = random_floats({5, 3 * kWidth}, 6), bias = random_floats({3 * kWidth}, 7);
  const Tensor cache = random_floats({2, kBatch, kHeads, 6, kSize}, 8), past = part(cache, 3, 0, 4);
  std::vector<Tensor> want = run_op_n("com.microsoft.Attention", {x, w, bias, {}, past}, 2, kTwoHeads);
  const Attributes shared = {{"num_heads", kHeads}, {"past_present_share_buffer", int64_t{1}}};
  std::vector<Tensor> got = run_op_n("com.microsoft.Attention", {x, w, bias, {}, cache, {}, one_int32(4)}, 2, shared);
  expect_near(got[0], want[0]);
  expect_near(part(got[1], 3, 0, 5), want[1]);
  expect_near(part(got[1], 3, 5, 6), part(cache, 3, 5, 6));
  // The decoder's form stores keys in groups of four.
  const Tensor keys = part(cache, 0, 0, 1).reshaped({kBatch, kHeads, 6, 1, 4}).value();
  std::vector<Tensor> decoder = run_op_n("com.microsoft.DecoderMaskedSelfAttention", {x, w, bias, {}, cache, {}, one_int32(4)}, 2, shared);
  expect_near(decoder[0], want[0]);
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const Tensor x = random_floats({1, 2, 4}, 1);
  auto fails = [&](const std::vector<Tensor>& in, Attributes attrs) { return !try_op("com.microsoft.Attention", in, attrs).ok(); };
  EXPECT_TRUE(fails({x, random_floats({4, 12}, 2)}, {{"num_heads", int64_t{3}}}));
  EXPECT_TRUE(fails({x, random_floats({5, 12}, 2)}, kTwoHeads));
  EXPECT_TRUE(fails({x, random_floats({4, 12}, 2)}, {{"num_heads", kHeads}, {"qkv_hidden_sizes", std::vector<int64_t>{4, 4}}}));
  EXPECT_TRUE(fails({x, random_floats({4, 12}, 2)}, {{"num_heads", kHeads}, {"qkv_hidden_sizes", std::vector<int64_t>{8, 4, 0}}}));
  EXPECT_TRUE(fails({x, random_floats({4, 12}, 2)}, {{"num_heads", kHeads}, {"past_present_share_buffer", int64_t{1}}}));
  EXPECT_TRUE(fails({x, random_floats({4, 12}, 2), {}, {}, random_floats({2, 1, 2, 3, 5}, 3)}, kTwoHeads));
}

TEST(QAttention, IsAttentionOfDequantisedOperands) {
  const Tensor x = Tensor::from<uint8_t>({1, 2, 2}, {130, 120, 128, 140}), w = Tensor::from<int8_t>({2, 6}, {1, -2, 3, 4, 5, -6, 7, 8, -9, 1, 2, 3});
  const Tensor bias = random_floats({6}, 1), x_scale = floats({}, {0.1F}), w_scale = floats({6}, {.1F, .2F, .3F, .1F, .2F, .3F});
  const Tensor zero = Tensor::scalar<uint8_t>(128);
  const Tensor real_x = run_op("DequantizeLinear", {x, x_scale, zero}), real_w = run_op("DequantizeLinear", {w, w_scale});
  expect_near(run_op("com.microsoft.QAttention", {x, w, bias, x_scale, w_scale, {}, zero}, kTwoHeads),
              run_op("com.microsoft.Attention", {real_x, real_w, bias}, kTwoHeads));
}

TEST(DecoderMaskedMultiHeadAttention, FollowsBeamsThroughTheCache) {
  // Two beams, one head of one component, three rows filled: entry b sees row r of beam from[b][r].
  const Tensor q = floats({2, 1, 1}, {0, 0}), k = floats({2, 1, 1}, {0, 0}), v = floats({2, 1, 1}, {100, 200});
  const Tensor keys = floats({2, 1, 5, 1}, std::vector<float>(10)), cache = floats({2, 1, 5, 1}, {1, 2, 3, 7, 7, 10, 20, 30, 7, 7});
  const Tensor from = int32s({1, 2, 5}, {0, 1, 0, 0, 0, 1, 1, 0, 0, 0});
  const Attributes attrs = {{"num_heads", int64_t{1}}, {"past_present_share_buffer", int64_t{1}}};
  std::vector<Tensor> y = run_op_n("com.microsoft.DecoderMaskedMultiHeadAttention",
                                   {q, k, v, {}, {}, keys, cache, one_int32(3), one_int32(2), from}, 3, attrs);
  EXPECT_THAT(values(y[0]), ElementsAre(DoubleNear((1 + 20 + 3 + 100) / 4.0, 1e-5), DoubleNear((10 + 20 + 3 + 200) / 4.0, 1e-5)));
  EXPECT_THAT(values(y[2]), ElementsAre(1, 2, 3, 100, 7, 10, 20, 30, 200, 7));
}

// ---- GroupQueryAttention

const Attributes kGrouped = {{"num_heads", int64_t{4}}, {"kv_num_heads", kHeads}};

struct Grouped {
  Tensor q = random_floats({kBatch, 1, 16}, 1), k = random_floats({kBatch, 1, kWidth}, 2), v = random_floats({kBatch, 1, kWidth}, 3);
  Tensor past_k = random_floats({kBatch, kHeads, 3, kSize}, 4), past_v = random_floats({kBatch, kHeads, 3, kSize}, 5);
  Tensor lengths = int32s({2}, {3, 3}), total = one_int32(4);
  std::vector<Tensor> inputs() const { return {q, k, v, past_k, past_v, lengths, total}; }
};

TEST(GroupQueryAttention, IsOnnxAttentionOverTheWholeCache) {
  Grouped g;
  std::vector<Tensor> got = run_op_n("com.microsoft.GroupQueryAttention", g.inputs(), 3, kGrouped);
  std::vector<Tensor> want = run_op_n("Attention", {g.q, g.k, g.v, {}, g.past_k, g.past_v}, 3,
                                      {{"q_num_heads", int64_t{4}}, {"kv_num_heads", kHeads}, {"is_causal", int64_t{1}}});
  for (size_t i = 0; i < 3; ++i) expect_near(got[i], want[i]);
}

TEST(GroupQueryAttention, ReadsPackedOperands) {
  Grouped g;
  const Tensor packed = run_op("Concat", {g.q, g.k, g.v}, {{"axis", int64_t{2}}});
  expect_near(run_op_n("com.microsoft.GroupQueryAttention", {packed, {}, {}, g.past_k, g.past_v, g.lengths, g.total}, 3, kGrouped)[0],
              run_op_n("com.microsoft.GroupQueryAttention", g.inputs(), 3, kGrouped)[0]);
}

TEST(GroupQueryAttention, EachEntryHasItsOwnLength) {
  Grouped g;
  g.lengths = int32s({2}, {3, 1});
  std::vector<Tensor> y = run_op_n("com.microsoft.GroupQueryAttention", g.inputs(), 3, kGrouped);
  // The second entry has one row in the cache: the new one is its row 1, and what follows is empty.
  const Tensor second = part(y[2], 0, 1, 2);
  EXPECT_THAT(values(part(second, 2, 1, 2)), ElementsAreArray(values(part(g.v, 0, 1, 2))));
  EXPECT_THAT(values(part(second, 2, 2, 4)), testing::Each(0));
  Grouped one;
  one.past_k = part(g.past_k, 2, 0, 1), one.past_v = part(g.past_v, 2, 0, 1);
  one.lengths = int32s({2}, {1, 1}), one.total = one_int32(2);
  expect_near(part(y[0], 0, 1, 2), part(run_op_n("com.microsoft.GroupQueryAttention", one.inputs(), 3, kGrouped)[0], 0, 1, 2));
}

TEST(GroupQueryAttention, TheWindowCountsTheQueryItself) {
  Grouped g;
  Attributes window = kGrouped;
  window.emplace_back("local_window_size", int64_t{1});
  const Tensor y = run_op_n("com.microsoft.GroupQueryAttention", g.inputs(), 3, window)[0];
  const Tensor heads = g.v.reshaped({kBatch, kHeads, 1, kSize}).value();
  const Tensor twice = run_op("Concat", {heads, heads}, {{"axis", int64_t{2}}});
  expect_near(y, twice.reshaped({kBatch, 1, 16}).value());
}

TEST(GroupQueryAttention, SmoothSoftmaxHasAnEmptyKey) {
  // Scores 0 over two keys: with the sink's e^0 each weighs a third.
  const Tensor zero = floats({1, 2, 2}, {0, 0, 0, 0}), v = floats({1, 2, 2}, {3, 6, 9, 12});
  const std::vector<Tensor> in = {zero, zero, v, {}, {}, one_int32(1), one_int32(2)};
  const Attributes attrs = {{"num_heads", int64_t{1}}, {"kv_num_heads", int64_t{1}}, {"smooth_softmax", int64_t{1}}};
  EXPECT_THAT(values(run_op_n("com.microsoft.GroupQueryAttention", in, 3, attrs)[0]), Pointwise(DoubleNear(1e-5), std::vector<double>{1.5, 3, 4, 6}));
}

TEST(GroupQueryAttention, RotatesByThePositionInTheCache) {
  Grouped g;
  const Tensor cos = random_floats({8, 2}, 6), sin = random_floats({8, 2}, 7), at = Tensor::from<int64_t>({2, 1}, {3, 3});
  Attributes rotary = kGrouped;
  rotary.emplace_back("do_rotary", int64_t{1});
  std::vector<Tensor> in = g.inputs();
  in.insert(in.end(), {cos, sin});
  const Tensor y = run_op_n("com.microsoft.GroupQueryAttention", in, 3, rotary)[0];
  g.q = run_op("com.microsoft.RotaryEmbedding", {g.q, at, cos, sin});
  g.k = run_op("com.microsoft.RotaryEmbedding", {g.k, at, cos, sin});
  expect_near(y, run_op_n("com.microsoft.GroupQueryAttention", g.inputs(), 3, kGrouped)[0]);
}

TEST(GroupQueryAttention, NormalisesHeads) {
  // One component a head: x / |x| keeps the sign, and the weights scale it.
  const Tensor q = floats({1, 1, 1}, {-5}), k = floats({1, 1, 1}, {0.25F}), v = floats({1, 1, 1}, {1});
  std::vector<Tensor> in = {q, k, v, {}, {}, one_int32(0), one_int32(1), {}, {}, {}, {}, {}, {}, {}, floats({1}, {2}), floats({1}, {3})};
  const Attributes attrs = {{"num_heads", int64_t{1}}, {"kv_num_heads", int64_t{1}}, {"qk_output", int64_t{1}}};
  std::vector<Tensor> y = run_op_n("com.microsoft.GroupQueryAttention", in, 4, attrs);
  EXPECT_NEAR(y[3].at_double(0), -6, 1e-4);
  EXPECT_NEAR(y[1].at_double(0), 3, 1e-4);
}

TEST(GroupQueryAttention, SurvivesLengthsThatDoNotFit) {
  for (int32_t length : {-100, 1000000}) {
    Grouped g;
    g.lengths = int32s({2}, {length, 3});
    Result<std::vector<Tensor>> y = try_op_n("com.microsoft.GroupQueryAttention", g.inputs(), 3, kGrouped);
    if (y.ok()) {
      EXPECT_EQ((*y)[1].shape(), (Shape{kBatch, kHeads, 4, kSize}));
    }
  }
}

TEST(GroupQueryAttention, RefusesWhatDoesNotFit) {
  Grouped g;
  auto fails = [&](std::vector<Tensor> in, Attributes attrs) { return !try_op_n("com.microsoft.GroupQueryAttention", in, 3, attrs).ok(); };
  EXPECT_TRUE(fails(g.inputs(), {{"num_heads", int64_t{3}}, {"kv_num_heads", int64_t{2}}}));
  EXPECT_TRUE(fails(g.inputs(), {{"num_heads", int64_t{4}}, {"kv_num_heads", int64_t{0}}}));
  Attributes rotary = kGrouped;
  rotary.emplace_back("do_rotary", int64_t{1});
  EXPECT_TRUE(fails(g.inputs(), rotary));
  Attributes quantised = kGrouped;
  quantised.emplace_back("k_quant_type", std::string("PER_TENSOR"));
  EXPECT_TRUE(fails(g.inputs(), quantised));
  g.total = one_int32(-1);
  EXPECT_TRUE(fails({g.q, g.k, g.v, {}, {}, g.lengths, g.total}, kGrouped));
  g.total = int32s({2}, {4, 4});
  EXPECT_TRUE(fails(g.inputs(), kGrouped));
}

}  // namespace
}  // namespace tenon::ir
