#include <algorithm>
#include <array>
#include <random>

#include <gtest/gtest.h>

#include "ir/verifier.h"
#include "passes/passes.h"
#include "tests/ops/op_runner.h"
#include "tests/ops/recurrent_layer.h"

namespace tenon::ir {
namespace {

bool has(Graph& graph, std::string_view op) {
  bool found = false;
  walk(graph, [&](Node& n) { found = found || n.is(op); });
  return found;
}

/// The decomposed graph gives what the op's own evaluation gives. Returns the decomposed one.
std::unique_ptr<Graph> expect_same(const LayerSpec& setup, uint64_t seed = 1) {
  Layer layer;
  LayerBuilder(setup, layer, seed).build();
  std::unique_ptr<Graph> decomposed = layer.graph.clone();
  passes::PassContext context;
  const Result<bool> changed = passes::decompose(*decomposed, context);
  EXPECT_TRUE(changed.ok() && *changed) << changed.status().to_string();
  EXPECT_FALSE(has(*decomposed, setup.op));
  EXPECT_TRUE(verify(*decomposed).ok()) << verify(*decomposed).to_string();
  const auto expected = evaluate_graph(layer.graph, layer.inputs), actual = evaluate_graph(*decomposed, layer.inputs);
  EXPECT_TRUE(expected.ok()) << expected.status().to_string();
  EXPECT_TRUE(actual.ok()) << actual.status().to_string();
  if (!expected.ok() || !actual.ok()) return decomposed;
  const double tolerance = setup.dtype == DType::kF64 ? 1e-12 : setup.dtype == DType::kF32 ? 1e-5 : 2e-3;
  for (size_t o = 0; o < expected->size(); ++o) {
    const Tensor &e = std::get<Tensor>((*expected)[o]), &a = std::get<Tensor>((*actual)[o]);
    EXPECT_EQ(a.shape(), e.shape()) << "output " << o;
    EXPECT_EQ(a.dtype(), e.dtype());
    for (int64_t i = 0; i < e.size() && a.shape() == e.shape(); ++i)
      EXPECT_NEAR(a.at_double(i), e.at_double(i), tolerance) << "output " << o << " element " << i;
  }
  return decomposed;
}

std::vector<std::string> activations(std::vector<std::string> names, int64_t directions) {
  std::vector<std::string> all;
  for (int64_t d = 0; d < directions; ++d) all.insert(all.end(), names.begin(), names.end());
  return all;
}

TEST(Recurrent, DecompositionAgreesInEveryDirection) {
  for (const char* op : {"RNN", "GRU", "LSTM"})
    for (const char* direction : {"forward", "reverse", "bidirectional"})
      for (const bool symbolic : {false, true})
        for (const bool full : {false, true}) {
          SCOPED_TRACE(fmt::format("{} {} symbolic {} full {}", op, direction, symbolic, full));
          EXPECT_TRUE(has(*expect_same({.op = op, .direction = direction, .symbolic = symbolic, .bias = full, .initial = full,
                                        .peepholes = full && std::string_view(op) == "LSTM"}),
                          "Scan"));
        }
}

TEST(Recurrent, DecompositionAgreesWithOptions) {
  for (const char* direction : {"reverse", "bidirectional"}) {
    SCOPED_TRACE(direction);
    for (const char* op : {"RNN", "GRU", "LSTM"}) {
      SCOPED_TRACE(op);
      expect_same({.op = op, .direction = direction, .symbolic = true, .attrs = {{"layout", int64_t{1}}}});
      expect_same({.op = op, .direction = direction, .attrs = {{"clip", 0.3}}});
      expect_same({.op = op, .direction = direction, .lengths = {5, 2, 0}});
      expect_same({.op = op, .direction = direction, .lengths = {1, 4, 3}, .attrs = {{"layout", int64_t{1}}}});
    }
    expect_same({.op = "GRU", .direction = direction, .attrs = {{"linear_before_reset", int64_t{1}}}});
    expect_same({.op = "GRU", .direction = direction, .bias = false, .attrs = {{"linear_before_reset", int64_t{1}}}});
    expect_same({.direction = direction, .peepholes = true, .attrs = {{"input_forget", int64_t{1}}}});
  }
}

TEST(Recurrent, DecompositionAgreesForEveryActivation) {
  for (const char* name : {"Sigmoid", "Tanh", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign",
                           "Softplus"}) {
    SCOPED_TRACE(name);
    expect_same({.op = "RNN", .direction = "bidirectional", .attrs = {{"activations", activations({name}, 2)}}});
    expect_same({.attrs = {{"activations", std::vector<std::string>{"HardSigmoid", name, "Softsign"}},
                           {"activation_alpha", std::vector<double>{0.3, 0.6}},
                           {"activation_beta", std::vector<double>{0.4, 0.7}}}});
  }
}

TEST(Recurrent, OneStepNeedsNoScan) {
  for (const char* op : {"RNN", "GRU", "LSTM"}) {
    EXPECT_FALSE(has(*expect_same({.op = op, .steps = 1}), "Scan"));
    EXPECT_FALSE(has(*expect_same({.op = op, .direction = "bidirectional", .steps = 1}), "Scan"));
  }
}

TEST(Recurrent, DecompositionAgreesOnRandomShapes) {
  std::mt19937 random(7);
  for (uint64_t round = 0; round < 40; ++round) {
    LayerSpec s{.op = std::array{"RNN", "GRU", "LSTM"}[random() % 3], .direction = std::array{"forward", "reverse", "bidirectional"}[random() % 3]};
    s.steps = static_cast<int64_t>(random() % 8);
    s.batch = static_cast<int64_t>(random() % 4);
    s.input = 1 + static_cast<int64_t>(random() % 9);
    s.hidden = 1 + static_cast<int64_t>(random() % 17);
    s.dtype = std::array{DType::kF64, DType::kF32, DType::kF16}[random() % 3];
    s.symbolic = random() % 2 == 0;
    s.bias = random() % 2 == 0;
    s.initial = random() % 2 == 0;
    SCOPED_TRACE(fmt::format("round {}: {} {} steps {} batch {} input {} hidden {} {}", round, s.op, s.direction, s.steps, s.batch, s.input,
                             s.hidden, name(s.dtype)));
    expect_same(s, round);
  }
}

TEST(Recurrent, DecompositionAgreesWhereLengthsAreData) {
  for (const char* op : {"RNN", "GRU", "LSTM"})
    for (const char* direction : {"forward", "reverse", "bidirectional"})
      for (const bool symbolic : {false, true}) {
        SCOPED_TRACE(fmt::format("{} {} symbolic {}", op, direction, symbolic));
        expect_same({.op = op, .direction = direction, .symbolic = symbolic, .lengths = {5, 0, 3}, .lengths_are_data = true});
      }
}

TEST(Recurrent, LengthsBeyondTheStepsAreErrorsWhereTheyAreData) {
  for (const int32_t length : {6, -1, INT32_MIN, INT32_MAX}) {
    Layer layer;
    const LayerSpec spec{.lengths = {5, length, 3}, .lengths_are_data = true};
    LayerBuilder(spec, layer, 1).build();
    passes::PassContext context;
    ASSERT_TRUE(passes::decompose(layer.graph, context).ok());
    EXPECT_FALSE(evaluate_graph(layer.graph, layer.inputs).ok()) << length;
  }
}

}  // namespace
}  // namespace tenon::ir
