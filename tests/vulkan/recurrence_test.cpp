// Recurrent layers on the device, whole sequences in a kernel, against the ops' own evaluation.

#include <array>
#include <random>

#include "ir/evaluate.h"
#include "tests/ops/recurrent_layer.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

class Recurrence : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

void expect_near(const std::vector<HostValue>& want, const Result<std::vector<HostValue>>& got, double tolerance) {
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  ASSERT_EQ(got->size(), want.size());
  for (size_t o = 0; o < want.size(); ++o) {
    const Tensor &g = std::get<Tensor>((*got)[o]), &w = std::get<Tensor>(want[o]);
    ASSERT_EQ(g.shape(), w.shape()) << "output " << o;
    for (int64_t i = 0; i < w.size(); ++i) ASSERT_NEAR(g.at_double(i), w.at_double(i), tolerance) << "output " << o << " element " << i;
  }
}

/// All nodes on the device, in the plain mode and checked.
void expect_same(const ir::LayerSpec& spec, bool on_device = true) {
  SCOPED_TRACE(fmt::format("{} {} steps {} batch {} hidden {} symbolic {}", spec.op, spec.direction, spec.steps, spec.batch, spec.hidden, spec.symbolic));
  ir::Layer layer;
  ir::LayerBuilder(spec, layer, 1).build();
  const auto want = ir::evaluate_graph(layer.graph, layer.inputs);
  ASSERT_TRUE(want.ok()) << want.status().to_string();
  for (const bool checked : {false, true}) {
    backends::CompileOptions options;
    options.checked = checked;
    const auto executable = backends::find_backend("vulkan")->compile(layer.graph, options);
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    bool scanned = false;
    for (const backends::Placement& row : (*executable)->placement()) {
      EXPECT_FALSE(on_device && row.kind == backends::Placement::Kind::kHost) << row.node << ": " << row.implementation << ", " << row.reason;
      scanned |= row.implementation.starts_with("recurrence of ");
    }
    EXPECT_EQ(scanned, on_device);
    const auto session = (*executable)->create_session();
    ASSERT_TRUE(session.ok()) << session.status().to_string();
    for (int run = 0; run < 2; ++run) expect_near(*want, (*session)->run(layer.inputs), 2e-5);
  }
}

TEST_F(Recurrence, EveryOpAndDirection) {
  for (const char* op : {"RNN", "GRU", "LSTM"})
    for (const char* direction : {"reverse", "bidirectional"}) expect_same({.op = op, .direction = direction, .hidden = 21, .dtype = DType::kF32, .symbolic = direction[0] == 'r'});
}

TEST_F(Recurrence, OddSizes) {
  for (const auto& [steps, batch, hidden] : {std::array<int64_t, 3>{2, 1, 3}, {9, 7, 129}, {3, 2, 700}, {4, 5, 40}})
    expect_same({.op = hidden % 2 == 0 ? "GRU" : "LSTM", .steps = steps, .batch = batch, .input = 5, .hidden = hidden, .dtype = DType::kF32, .scale = 0.1});
}

// More rows than units of any device that a workgroup has alone.
TEST_F(Recurrence, SeveralRowsInAWorkgroup) {
  for (const bool symbolic : {false, true}) expect_same({.steps = 2, .batch = 301, .input = 3, .hidden = 20, .dtype = DType::kF32, .symbolic = symbolic});
}

TEST_F(Recurrence, Options) {
  expect_same({.op = "GRU", .dtype = DType::kF32, .attrs = {{"linear_before_reset", int64_t{1}}}});
  expect_same({.dtype = DType::kF32, .peepholes = true, .attrs = {{"input_forget", int64_t{1}}}});
  ir::LayerSpec lengths{.direction = "bidirectional", .dtype = DType::kF32};
  lengths.lengths = {5, 0, 2};
  expect_same(lengths);
}

TEST_F(Recurrence, StatesThatDoNotFitRunStepByStep) {
  expect_same({.op = "LSTM", .steps = 2, .batch = 1, .hidden = 3001, .dtype = DType::kF32, .scale = 0.01}, false);
}

}  // namespace
}  // namespace tenon
