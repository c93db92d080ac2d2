#include <algorithm>
#include <array>
#include <random>

#include <gtest/gtest.h>

#include "ir/verifier.h"
#include "passes/passes.h"
#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

struct LayerSpec {
  std::string op = "LSTM", direction = "forward";
  int64_t steps = 5, batch = 3, input = 4, hidden = 6;
  DType dtype = DType::kF64;
  bool symbolic = false, bias = true, initial = true, peepholes = false;
  std::vector<int32_t> lengths;
  std::vector<std::pair<std::string, Attr>> attrs;
};

/// One recurrent node whose weights are constants and whose data are inputs, with random values for them.
struct Layer {
  Graph graph;
  std::vector<HostValue> inputs;
};

class LayerBuilder {
 public:
  LayerBuilder(const LayerSpec& setup, Layer& layer, uint64_t seed) : s_(setup), layer_(layer), builder_(layer.graph), random_(seed) {}

  void build() {
    const int64_t directions = s_.direction == "bidirectional" ? 2 : 1;
    const int64_t width = s_.hidden * (s_.op == "LSTM" ? 4 : s_.op == "GRU" ? 3 : 1);
    const bool batch_first = std::any_of(s_.attrs.begin(), s_.attrs.end(), [](const auto& a) { return a.first == "layout"; });
    const Shape x = batch_first ? Shape{s_.batch, s_.steps, s_.input} : Shape{s_.steps, s_.batch, s_.input};
    const Shape state = batch_first ? Shape{s_.batch, directions, s_.hidden} : Shape{directions, s_.batch, s_.hidden};
    std::vector<Value*> operands = {data("x", x, batch_first ? std::vector<std::string>{"B", "T", ""} : std::vector<std::string>{"T", "B", ""}),
                                    weight({directions, width, s_.input}), weight({directions, width, s_.hidden}),
                                    s_.bias ? weight({directions, 2 * width}) : nullptr, lengths()};
    const std::vector<std::string> names = batch_first ? std::vector<std::string>{"B", "", ""} : std::vector<std::string>{"", "B", ""};
    for (int i = 0; i < (s_.op == "LSTM" ? 2 : 1); ++i) operands.push_back(s_.initial ? data("state", state, names) : nullptr);
    if (s_.op == "LSTM") operands.push_back(s_.peepholes ? weight({directions, 3 * s_.hidden}) : nullptr);
    std::vector<std::pair<std::string, Attr>> attrs = s_.attrs;
    attrs.emplace_back("direction", s_.direction);
    attrs.emplace_back("hidden_size", s_.hidden);
    for (Value* v : builder_.make_n(s_.op, operands, s_.op == "LSTM" ? 3 : 2, attrs)) {
      ASSERT_TRUE(builder_.status().ok()) << builder_.status().to_string();
      layer_.graph.add_output(v);
    }
  }

 private:
  Tensor random(Shape shape) {
    std::uniform_real_distribution<double> uniform(-1, 1);
    Tensor t = *Tensor::zeros(s_.dtype, std::move(shape));
    for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, uniform(random_));
    return t;
  }
  Value* weight(Shape shape) { return builder_.constant(random(std::move(shape))); }
  Value* lengths() {
    if (s_.lengths.empty()) return nullptr;
    return builder_.constant(Tensor::from<int32_t>({static_cast<int64_t>(s_.lengths.size())}, std::span<const int32_t>(s_.lengths)));
  }
  Value* data(const char* name, const Shape& shape, const std::vector<std::string>& symbols) {
    std::vector<Dim> dims(shape.begin(), shape.end());
    for (size_t i = 0; i < dims.size() && s_.symbolic; ++i)
      if (!symbols[i].empty()) dims[i] = layer_.graph.dims().symbol(symbols[i]);
    layer_.inputs.push_back(random(shape));
    return layer_.graph.add_input(layer_.graph.unique_name(name), TensorType(s_.dtype, std::move(dims)));
  }

  const LayerSpec& s_;
  Layer& layer_;
  Builder builder_;
  std::mt19937_64 random_;
};

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

TEST(Recurrent, KeepsItsEvaluationWhereLengthsAreNotConstant) {
  Graph graph;
  Builder b(graph);
  const TensorType f32x3(DType::kF32, {4, 2, 3});
  Value* x = graph.add_input("x", f32x3);
  Value* lengths = graph.add_input("lengths", TensorType(DType::kI32, {2}));
  Value* w = graph.add_input("w", TensorType(DType::kF32, {1, 5, 3}));
  Value* r = graph.add_input("r", TensorType(DType::kF32, {1, 5, 5}));
  graph.add_output(b.make("RNN", {x, w, r, nullptr, lengths}, {{"hidden_size", int64_t{5}}}));
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  passes::PassContext context;
  const Result<bool> changed = passes::decompose(graph, context);
  ASSERT_TRUE(changed.ok()) << changed.status().to_string();
  EXPECT_FALSE(*changed);
  EXPECT_EQ(graph.num_nodes(), 1u);
}

}  // namespace
}  // namespace tenon::ir
