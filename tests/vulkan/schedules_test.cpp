// Schedules that only GPUs have, on the device, against the reference.

#include "ir/op.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using ir::TensorType;
using ir::Value;
using Ints = std::vector<int64_t>;

Tensor bytes(DType d, const Shape& shape, uint64_t seed) {
  Tensor t = *Tensor::empty(d, shape);
  for (int64_t i = 0; i < t.size(); ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const auto byte = static_cast<int64_t>(seed >> 56);
    t.set_int(i, d == DType::kI8 ? byte - 128 : byte);
  }
  return t;
}

struct Model {
  std::unique_ptr<ir::Graph> graph = std::make_unique<ir::Graph>();
  std::vector<HostValue> given;

  Value* input(Tensor t) {
    Value* v = graph->add_input(graph->unique_name("x"), TensorType(t.dtype(), std::vector<ir::Dim>(t.shape().begin(), t.shape().end())));
    given.push_back(std::move(t));
    return v;
  }
  Value* constant(Tensor t) { return ir::Builder(*graph).constant(std::move(t)); }
  std::vector<Value*> make(std::string_view op, std::vector<Value*> inputs, int outputs, std::vector<std::pair<std::string, ir::Attr>> attrs) {
    ir::Builder b(*graph);
    std::vector<Value*> made = b.make_n(op, inputs, outputs, std::move(attrs));
    EXPECT_TRUE(b.status().ok()) << b.status().to_string();
    for (Value* v : made) graph->add_output(v);
    return made;
  }
  /// All of it on the device, and equal.
  void check() {
    backends::CompileOptions options;
    options.require_placement = "vulkan=100%";
    const auto executable = backends::find_backend("vulkan")->compile(*graph, options);
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    vulkan_test::expect_equal(vulkan_test::expected(*graph, given), (*(*executable)->create_session())->run(given));
  }
};

class Schedules : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(Schedules, ProductsOfBytes) {
  for (const auto& [x, rows] : {std::pair(DType::kI8, int64_t{3}), std::pair(DType::kU8, int64_t{70})}) {
    SCOPED_TRACE(fmt::format("{} rows of {}", rows, name(x)));
    Model m;
    m.make("MatMulInteger",
           {m.input(bytes(x, {rows, 135}, 1)), m.constant(bytes(DType::kU8, {135, 67}, 2)), m.input(bytes(x, {}, 3)), m.constant(bytes(DType::kU8, {67}, 4))}, 1, {});
    m.check();
  }
}

TEST_F(Schedules, ConvolutionsOfBytes) {
  for (const auto& [w, groups] : {std::pair(DType::kU8, int64_t{1}), std::pair(DType::kI8, int64_t{2})}) {
    SCOPED_TRACE(fmt::format("weights {}, {} groups", name(w), groups));
    Model m;
    m.make("ConvInteger",
           {m.input(bytes(DType::kI8, {2, 12, 17, 13}, 1)), m.constant(bytes(w, {20, 12 / groups, 3, 3}, 2)), m.input(bytes(DType::kI8, {}, 3)), m.constant(bytes(w, {}, 4))}, 1,
           {{"pads", Ints{1, 1, 1, 1}}, {"group", groups}, {"strides", Ints{2, 1}}});
    m.check();
  }
}

TEST_F(Schedules, DepthwiseConvolutionsAndPools) {
  for (int64_t stride : {1, 2}) {
    Model m;
    Value* x = m.input(vulkan_test::numbers({2, 32, 97, 95}, 1));
    m.make("Conv", {x, m.constant(vulkan_test::numbers({32, 1, 3, 5}, 2))}, 1, {{"group", int64_t{32}}, {"pads", Ints{1, 2, 1, 2}}, {"strides", Ints{stride, 1}}});
    m.make("MaxPool", {x}, 1, {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{stride, 1}}});
    m.check();
  }
}

TEST_F(Schedules, TopK) {
  const auto count = [](Model& m, int64_t k) { return m.constant(Tensor::scalar<int64_t>(k).reshaped({1}).value()); };
  Model m;
  m.make("TopK", {m.input(vulkan_test::numbers({3, 700, 2}, 1)), count(m, 300)}, 2, {{"axis", int64_t{1}}, {"largest", int64_t{0}}});
  m.make("TopK", {m.input(bytes(DType::kU8, {50021}, 2)), count(m, 40)}, 2, {{"axis", int64_t{0}}});
  m.check();
}

}  // namespace
}  // namespace tenon
