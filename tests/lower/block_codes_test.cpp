#include <gtest/gtest.h>

#include "harness.h"
#include "ir/op.h"
#include "passes/pass.h"

// Products with constant weights that are quantised in blocks: codes stay packed, whatever the op that says so.
namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;

struct Weights {
  int64_t rows, n, k, block, bits;
  DType zeros = DType::kInvalid;  // kInvalid: none
  bool symbolic = false;
};

void check(const Weights& w) {
  SCOPED_TRACE(fmt::format("{}x{}x{}, {} bits in blocks of {}, zero points {}", w.rows, w.n, w.k, w.bits, w.block,
                           name(w.zeros)));
  Graph graph;
  Instance instance;
  instance.symbols["M"] = w.rows;
  ir::Builder b(graph);
  const auto constant = [&](DType dtype, std::vector<Dim> dims, uint64_t seed) {
    return b.constant(
        random_tensor(*graph.add_input(graph.unique_name("w"), TensorType(dtype, std::move(dims))), instance, seed));
  };
  const int64_t blocks = (w.k + w.block - 1) / w.block;
  Value* codes = constant(DType::kU8, {w.n, blocks, w.block * w.bits / 8}, 5);
  auto bytes = const_cast<Tensor*>(ir::constant_of(codes))->mutable_span<uint8_t>();
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 41 + i / 7);  // every code
  const Dim rows = w.symbolic ? graph.dims().symbol("M") : Dim(w.rows);
  Value* x = graph.add_input("x", TensorType(DType::kF32, {rows, w.k}));
  instance.tensors[x] = random_tensor(*x, instance, 7);
  std::vector<Value*> inputs = {x, codes, constant(DType::kF32, {w.n * blocks}, 6), nullptr};
  if (w.zeros == DType::kU8) inputs[3] = constant(DType::kU8, {w.n * ((blocks * w.bits + 7) / 8)}, 8);
  if (w.zeros == DType::kF32) inputs[3] = constant(DType::kF32, {w.n * blocks}, 9);
  Value* y = b.make_n("com.microsoft.MatMulNBits", inputs, 1,
                      {{"N", w.n}, {"K", w.k}, {"bits", w.bits}, {"block_size", w.block}})[0];
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  graph.add_output(y);
  EXPECT_NE(check_everywhere(*y->def(), instance, 1e-5).find(fmt::format("packed in {} bits", w.bits)),
            std::string::npos);
}

TEST(BlockCodes, StayPackedForAnyNumberOfRows) {
  for (const int64_t rows : {1, 2, 7, 40}) check({rows, 70, 96, 32, 4});
  for (const int64_t rows : {1, 3, 29})
    check({.rows = rows, .n = 33, .k = 64, .block = 16, .bits = 4, .symbolic = true});
}

TEST(BlockCodes, OfTwoAndEightBits) {
  for (const int64_t bits : {2, 8}) check({5, 40, 128, 32, bits});
}

TEST(BlockCodes, WithZeroPoints) {
  for (const DType zeros : {DType::kU8, DType::kF32}) check({1, 24, 192, 64, 4, zeros});
  check({9, 24, 192, 64, 4, DType::kU8});
}

TEST(BlockCodes, OfManyBlocksOfK) {
  check({1, 16, 2304, 32, 4});
  check({8, 16, 2304, 256, 4, DType::kU8});
}

// Panels of numbers, each unpacked once for the tiles of many rows.
TEST(BlockCodes, AreUnpackedOnceForManyRows) {
  check({31, 9, 1152, 32, 4});
  check({.rows = 33, .n = 20, .k = 64, .block = 32, .bits = 8, .zeros = DType::kU8});
  for (const int64_t rows : {2, 31})
    check({.rows = rows, .n = 9, .k = 96, .block = 32, .bits = 4, .zeros = DType::kF32, .symbolic = true});
}

// A product of its own for each reader of dequantised bytes, which reads the bytes.
TEST(BlockCodes, BytesAreReadByAllProductsOfThem) {
  Graph graph;
  Instance instance;
  ir::Builder b(graph);
  const auto input = [&](DType type, std::vector<Dim> dims) { return graph.add_input(graph.unique_name("x"), TensorType(type, std::move(dims))); };
  Value* scale = input(DType::kF32, {40, 3});
  Value* x = b.make("DequantizeLinear", {input(DType::kI8, {40, 96}), scale}, {{"axis", int64_t{-1}}, {"block_size", int64_t{32}}});
  for (const int64_t n : {48, 33, 16}) {
    const auto constant = [&](DType type, std::vector<Dim> dims) { return b.constant(random_tensor(*input(type, std::move(dims)), instance, static_cast<uint64_t>(n))); };
    const std::vector<Value*> inputs = {x, constant(DType::kU8, {n, 3, 16}), constant(DType::kF32, {n * 3})};
    graph.add_output(b.make_n("com.microsoft.MatMulNBits", inputs, 1,
                              {{"N", n}, {"K", int64_t{96}}, {"bits", int64_t{4}}, {"block_size", int64_t{32}}})[0]);
  }
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  ASSERT_TRUE(passes::run_pipeline(graph, {}).ok());
  uint64_t seed = 1;
  for (const Value* y : graph.outputs()) {
    const Node* product = y->def();
    for (const Value* v : product->inputs())
      if (ir::constant_of(v) == nullptr) instance.tensors[v] = random_tensor(*v, instance, ++seed);
    EXPECT_NE(check_everywhere(*product, instance).find("of bytes packed in 4 bits"), std::string::npos);
  }
}

TEST(BlockCodes, ProductsOfFloatsShareWhatIsDequantised) {
  Graph graph;
  ir::Builder b(graph);
  const auto input = [&](DType type, std::vector<Dim> dims) { return graph.add_input(graph.unique_name("x"), TensorType(type, std::move(dims))); };
  Value* x = b.make("DequantizeLinear", {input(DType::kI8, {40, 96}), input(DType::kF32, {40})}, {{"axis", int64_t{0}}});
  for (const int64_t n : {48, 33}) graph.add_output(b.make("MatMul", {x, input(DType::kF32, {96, n})}));
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  ASSERT_TRUE(passes::run_pipeline(graph, {}).ok());
  int kernels = 0;
  for (const auto& node : graph.nodes()) kernels += !node->is("Constant");
  EXPECT_EQ(kernels, 3) << "one dequantises for both";
}

TEST(BlockCodes, OfDequantisedWeights) {
  for (const DType dtype : {DType::kI4, DType::kU4, DType::kI8}) {
    Graph graph;
    Instance instance;
    ir::Builder b(graph);
    constexpr int64_t kK = 1024, kN = 1040, kBlock = 64;
    Result<Tensor> codes = Tensor::zeros(dtype, {kK, kN});
    ASSERT_TRUE(codes.ok());
    const int64_t least = dtype == DType::kI4   ? -8
                          : dtype == DType::kI8 ? -128
                                                : 0,
                  count = dtype == DType::kI8 ? 256 : 16;
    for (int64_t i = 0; i < kK * kN; ++i) codes->set_int(i, least + (i * 7 + i / 11) % count);
    const auto constant = [&](DType type, std::vector<Dim> dims) {
      return b.constant(
          random_tensor(*graph.add_input(graph.unique_name("w"), TensorType(type, std::move(dims))), instance, 3));
    };
    Value* x = graph.add_input("x", TensorType(DType::kF32, {3, kK}));
    Value* scale = constant(DType::kF32, {kK / kBlock, kN});
    Value* w = b.make("DequantizeLinear", {b.constant(std::move(*codes)), scale},
                      {{"axis", int64_t{0}}, {"block_size", kBlock}});
    graph.add_output(b.make("MatMul", {x, w}));
    ASSERT_TRUE(b.status().ok()) << b.status().to_string();
    passes::PipelineOptions options;
    options.disabled = {"fold-constants"};
    ASSERT_TRUE(passes::run_pipeline(graph, options).ok());
    Node* product = graph.outputs()[0]->def();
    ASSERT_TRUE(product->is("tenon.fused"));
    for (const Value* v : product->inputs())
      if (ir::constant_of(v) == nullptr) instance.tensors[v] = random_tensor(*v, instance, 4);
    const std::string how = check_lowering(*product, cpu(256, true), instance);
    EXPECT_NE(how.find(dtype == DType::kI8 ? "packed in 8 bits" : "packed in 4 bits"), std::string::npos) << how;
  }
}

/// Bytes with a scale for each block by codes with one: sums of a block are exact on every target.
void check_bytes(int64_t rows, int64_t n, int64_t k, int64_t a_block, int64_t block, int64_t bits, bool zeros) {
  SCOPED_TRACE(fmt::format("{}x{}x{}, blocks of {} by {} bits in blocks of {}", rows, n, k, a_block, bits, block));
  Graph graph;
  Instance instance;
  ir::Builder b(graph);
  const auto input = [&](DType type, std::vector<Dim> dims) {
    return graph.add_input(graph.unique_name("x"), TensorType(type, std::move(dims)));
  };
  const auto constant = [&](DType type, std::vector<Dim> dims, uint64_t seed) {
    return b.constant(random_tensor(*input(type, std::move(dims)), instance, seed));
  };
  Value* x = input(DType::kI8, {rows, k});
  Value* codes = constant(DType::kU8, {n, k / block, block * bits / 8}, 5);
  auto packed = const_cast<Tensor*>(ir::constant_of(codes))->mutable_span<uint8_t>();
  for (size_t i = 0; i < packed.size(); ++i) packed[i] = static_cast<uint8_t>(i * 41 + i / 7);
  Value* scale = input(DType::kF32, {rows, k / a_block});
  std::vector<Value*> inputs = {
      b.make("DequantizeLinear", {x, scale}, {{"axis", int64_t{-1}}, {"block_size", a_block}}), codes,
      constant(DType::kF32, {n * (k / block)}, 6)};
  if (zeros) inputs.push_back(constant(DType::kU8, {n * ((k / block * bits + 7) / 8)}, 8));
  graph.add_output(
      b.make_n("com.microsoft.MatMulNBits", inputs, 1, {{"N", n}, {"K", k}, {"bits", bits}, {"block_size", block}})[0]);
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  ASSERT_TRUE(passes::run_pipeline(graph, {}).ok());
  Node* product = graph.outputs()[0]->def();
  ASSERT_TRUE(product->is("tenon.fused"));
  Tensor bytes = *Tensor::zeros(DType::kI8, {rows, k});
  for (int64_t i = 0; i < bytes.size(); ++i) bytes.set_int(i, (i * 37 + i / 5) % 255 - 127);
  instance.tensors[x] = bytes;
  instance.tensors[scale] = random_tensor(*scale, instance, 9);
  EXPECT_NE(check_everywhere(*product, instance, 1e-5).find(fmt::format("of bytes packed in {} bits", bits)),
            std::string::npos);
}

TEST(BlockCodes, MeetBytesInIntegers) {
  check_bytes(1, 70, 96, 32, 32, 4, false);
  check_bytes(7, 24, 128, 32, 64, 4, true);
  check_bytes(3, 24, 128, 64, 32, 8, false);
  check_bytes(2, 16, 4608, 32, 32, 4, false);
}

}  // namespace
}  // namespace tenon::lower_test
