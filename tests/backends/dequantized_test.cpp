#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "backends/backend.h"
#include "eval/compare.h"
#include "ir/graph.h"
#include "ir/op.h"

namespace tenon::backends {
namespace {

using ir::Dim;
using ir::Value;
using ::testing::HasSubstr;

constexpr const char* kTargets[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4", "host"};

/// A graph whose products have factors of bytes.
struct Bytes {
  ir::Graph graph;
  ir::Builder b{graph};

  Tensor filled(DType dtype, Shape shape, int64_t step) {
    Tensor out = *Tensor::zeros(dtype, std::move(shape));
    for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, i * step % 255 - (dtype == DType::kI8 ? 127 : 0));
    return out;
  }
  Tensor scales(int64_t count) {
    Tensor out = *Tensor::zeros(DType::kF32, Shape{count});
    for (int64_t i = 0; i < count; ++i) out.set_double(i, 0.002 + 0.0005 * static_cast<double>(i % 7));
    return out;
  }
  /// Quantised and dequantised, as quantisers write what products read.
  Value* activation(Value* x) {
    Value *scale = b.scalar(DType::kF32, 0.02), *zero = b.constant(Tensor::scalar<uint8_t>(117));
    return b.make("DequantizeLinear", {b.make("QuantizeLinear", {x, scale, zero}), scale, zero});
  }
  Value* weights(DType dtype, Shape shape, int64_t axis) {
    const int64_t channels = shape[static_cast<size_t>(axis)];
    Value* w = b.constant(filled(dtype, std::move(shape), 37));
    return b.make("DequantizeLinear", {w, b.constant(scales(channels)), b.constant(filled(dtype, {channels}, 11))},
                  {{"axis", axis}});
  }

  /// Compares every target that runs here with the interpreter, which multiplies what is dequantised.
  void check(const Shape& shape, std::string_view with_dot) {
    ASSERT_TRUE(b.status().ok()) << b.status().to_string();
    Tensor x = *Tensor::zeros(DType::kF32, shape);
    for (int64_t i = 0; i < x.size(); ++i) x.set_double(i, 2.9 * std::sin(0.37 * static_cast<double>(i)));
    const std::vector<HostValue> inputs = {x};
    auto reference = find_backend("reference")->compile(graph, {});
    ASSERT_TRUE(reference.ok()) << reference.status().to_string();
    const auto expected = (*(*reference)->create_session())->run(inputs);
    ASSERT_TRUE(expected.ok()) << expected.status().to_string();
    for (const char* target : kTargets) {
      SCOPED_TRACE(target);
      const CompileOptions options{.target = target};
      const Backend& cpu = *find_backend("cpu");
      if (cpu.target_facts(options).vector_bytes == 0) continue;
      const auto executable = cpu.compile(graph, options);
      ASSERT_TRUE(executable.ok()) << executable.status().to_string();
      const auto actual = (*(*executable)->create_session())->run(inputs);
      ASSERT_TRUE(actual.ok()) << actual.status().to_string();
      const auto difference =
          eval::compare((*expected)[0], (*actual)[0], {.rtol = 1e-4, .atol = 0, .scaled_atol = 1e-5});
      EXPECT_TRUE(difference.ok) << difference.message;
      std::string how;
      for (const Placement& row : (*executable)->placement()) how += row.implementation + '\n';
      if (!cpu.target_facts(options).byte_products) continue;
      EXPECT_THAT(how, HasSubstr(std::string(with_dot)));
    }
  }
};

TEST(Dequantized, MatricesAreMultipliedAsBytes) {
  for (const DType dtype : {DType::kI8, DType::kU8})
    for (const int64_t rows : {1, 3, 50}) {
      SCOPED_TRACE(fmt::format("{} rows by {}", rows, name(dtype)));
      Bytes g;
      Value* x = g.activation(g.graph.add_input("x", ir::TensorType(DType::kF32, {g.graph.dims().symbol("R"), 70})));
      Value* y = g.b.make(
          "Relu",
          {g.b.make("Add", {g.b.make("MatMul", {x, g.weights(dtype, {70, 53}, 1)}), g.b.constant(g.scales(53))})});
      g.graph.add_output(y);
      g.check({rows, 70}, "of bytes");
    }
}

// Features before rows in memory: the weights are packed nevertheless, and their columns run in lanes.
TEST(Dequantized, ProductsMayBeStoredTransposed) {
  Bytes g;
  Value* x = g.activation(g.graph.add_input("x", ir::TensorType(DType::kF32, {g.graph.dims().symbol("R"), 70})));
  Value* product = g.b.make("MatMul", {x, g.weights(DType::kI8, {70, 53}, 1)});
  g.graph.add_output(g.b.make("Transpose", {g.b.make("Relu", {product})}, {{"perm", std::vector<int64_t>{1, 0}}}));
  g.check({45, 70}, "of bytes packed, stored transposed");
}

TEST(Dequantized, GemmTurnsItsMatrix) {
  Bytes g;
  Value* x = g.activation(g.graph.add_input("x", ir::TensorType(DType::kF32, {9, 33})));
  const std::initializer_list<std::pair<std::string_view, ir::Attr>> attrs = {
      {"transB", int64_t{1}}, {"alpha", 0.5}, {"beta", 2.0}};
  g.graph.add_output(g.b.make("Gemm", {x, g.weights(DType::kI8, {24, 33}, 0), g.b.constant(g.scales(24))}, attrs));
  g.check({9, 33}, "of bytes");
}

TEST(Dequantized, ConvolutionsAreOfBytes) {
  for (const int64_t groups : {1, 2}) {
    SCOPED_TRACE(groups);
    Bytes g;
    Value* x = g.activation(g.graph.add_input("x", ir::TensorType(DType::kF32, {1, 16, 9, 11})));
    Value* y = g.b.make("Conv", {x, g.weights(DType::kI8, {24, 16 / groups, 3, 3}, 0), g.b.constant(g.scales(24))},
                        {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"group", groups}});
    g.graph.add_output(g.b.make("Relu", {y}));
    g.check({1, 16, 9, 11}, "of bytes");
  }
}

}  // namespace
}  // namespace tenon::backends
