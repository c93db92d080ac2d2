// An op that no code of this backend knows: its body alone makes it run on the device.

#include <algorithm>
#include <cmath>

#include "ir/op_registry.h"
#include "ir/ops/elementwise.h"
#include "ir/parser.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using ir::Expr;
using ir::Node;

std::shared_ptr<const ir::OpRegistry> registry() {
  auto out = std::make_shared<ir::OpRegistry>();
  // Mish's formula, another of two operands, and one with an attribute; none of them is in the table under these names.
  ir::OpDef mish = ir::unary("Bloom", ir::kFloat16To64, [](Expr x) { return x * tanh(log(exp(x) + 1.0)); });
  ir::OpDef gate = ir::binary("Gate", ir::kFloat16To64, [](Expr a, Expr b) { return a * sigmoid(b) + min(a, b); });
  ir::OpDef leak = ir::unary("Leak", ir::kFloat16To64,
                             [](const Node& n, Expr x) { return select(x < 0.0, x * n.attr_float("rate", 0.5), x); },
                             {{"rate", ir::AttrKind::kFloat, false, "0.5"}});
  for (ir::OpDef* op : {&mish, &gate, &leak}) {
    op->domain = "acme";
    EXPECT_TRUE(out->add(std::move(*op), "this test").ok());
  }
  return out;
}

/// What the device makes of it; every node is a kernel of its own or part of one.
void expect_on_device(const std::string& text, const std::vector<HostValue>& in,
                      const std::vector<double>& closed_form = {}) {
  const auto graph = ir::parse_text(text, registry());
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  backends::CompileOptions options;
  options.require_placement = "vulkan=100%";
  const auto executable = backends::find_backend("vulkan")->compile(**graph, options);
  ASSERT_TRUE(executable.ok()) << executable.status().to_string();
  const auto out = (*(*executable)->create_session())->run(in);
  vulkan_test::expect_equal(vulkan_test::expected(**graph, in), out);
  for (size_t i = 0; out.ok() && i < closed_form.size(); ++i)
    EXPECT_NEAR(std::get<Tensor>((*out)[0]).at_double(static_cast<int64_t>(i)), closed_form[i], 1e-5) << i;
}

class NewOps : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(NewOps, AFormulaAloneRunsOnTheDevice) {
  const Tensor x = vulkan_test::numbers({5, 37}, 3);
  std::vector<double> want;
  for (int64_t i = 0; i < x.size(); ++i)
    want.push_back(x.at_double(i) * std::tanh(std::log1p(std::exp(x.at_double(i)))));
  expect_on_device("graph \"g\" { input %x: f32[B, 37]\n %y: f32[B, 37] = acme.Bloom(%x)\n output %y }", {x}, want);
}

TEST_F(NewOps, OperandsBroadcastAndAttributesAreRead) {
  expect_on_device(
      "graph \"g\" { input %a: f32[B, 1, 9]\n input %b: f32[7, 1]\n %y: f32[B, 7, 9] = acme.Gate(%a, %b)\n output %y }",
      {vulkan_test::numbers({3, 1, 9}, 1), vulkan_test::numbers({7, 1}, 2)});
  expect_on_device("graph \"g\" { input %x: f32[N]\n %y: f32[N] = acme.Leak(%x) {rate = 0.25}\n output %y }",
                   {vulkan_test::numbers({100}, 4)});
}

// As a prologue of a row's reduction, and as an epilogue of a product.
TEST_F(NewOps, FuseLikeAnyOther) {
  expect_on_device(R"(graph "g" {
    input %x: f32[B, 33]
    input %w: f32[33, 17]
    %m: f32[B, 17] = MatMul(%x, %w)
    %b: f32[B, 17] = acme.Bloom(%m)
    %g: f32[B, 17] = acme.Gate(%b, %m)
    %s: f32[B, 17] = Softmax(%g) {axis = -1}
    output %s
  })",
                   {vulkan_test::numbers({6, 33}, 1), vulkan_test::numbers({33, 17}, 2)});
}

}  // namespace
}  // namespace tenon
