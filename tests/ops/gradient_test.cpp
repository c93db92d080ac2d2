// Derivative rules against central differences, in f64: the error of a difference of step h is about h² f''' + ε / h,
// 1e-9 here.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "ir/differentiate.h"
#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using Attributes = std::vector<std::pair<std::string, Attr>>;
using test::values;

constexpr double kStep = 1e-5, kTolerance = 1e-7;

/// One node to differentiate by all its f64 inputs.
struct Case {
  std::string op;
  std::vector<Tensor> inputs;  // undefined: absent
  Attributes attrs = {};
  int outputs = 1;
};

Tensor random(Shape shape, double low = -1.5, double high = 1.5, unsigned seed = 1) {
  std::mt19937_64 engine(seed);
  std::uniform_real_distribution<double> uniform(low, high);
  Tensor t = *Tensor::zeros(DType::kF64, std::move(shape));
  for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, uniform(engine));
  return t;
}
Tensor ints(std::vector<int64_t> v) { return test::ints(std::move(v)); }
Tensor scalar(double v) { return Tensor::scalar<double>(v); }
std::vector<int64_t> list(std::initializer_list<int64_t> v) { return v; }

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const char* op : {"Identity",
                         "Neg",
                         "Abs",
                         "Exp",
                         "Sin",
                         "Cos",
                         "Tan",
                         "Atan",
                         "Sinh",
                         "Cosh",
                         "Tanh",
                         "Asinh",
                         "Erf",
                         "Sigmoid",
                         "Relu",
                         "LeakyRelu",
                         "ThresholdedRelu",
                         "Elu",
                         "Celu",
                         "Selu",
                         "Softplus",
                         "Softsign",
                         "HardSigmoid",
                         "HardSwish",
                         "Gelu",
                         "Swish",
                         "Mish",
                         "Floor",
                         "Ceil",
                         "Round",
                         "Sign"})
    out.push_back({op, {random({2, 3})}});
  for (const char* op : {"Log", "Sqrt", "Reciprocal"}) out.push_back({op, {random({5}, 0.5, 2)}});
  for (const char* op : {"Asin", "Acos", "Atanh"}) out.push_back({op, {random({5}, -0.9, 0.9)}});
  out.push_back({"Acosh", {random({5}, 1.2, 3)}});
  out.push_back({"Gelu", {random({7})}, {{"approximate", std::string("tanh")}}});
  out.push_back({"Swish", {random({7})}, {{"alpha", 1.75}}});
  out.push_back({"LeakyRelu", {random({7})}, {{"alpha", 0.25}}});
  out.push_back({"Elu", {random({7})}, {{"alpha", 0.5}}});
  out.push_back({"Celu", {random({7})}, {{"alpha", 2.0}}});
  out.push_back({"HardSigmoid", {random({7}, -4, 4)}, {{"alpha", -0.25}, {"beta", 0.25}}});
  out.push_back({"HardSwish", {random({9}, -5, 5)}});
  out.push_back({"Cast", {random({3})}, {{"to", int64_t{info(DType::kF64).onnx}}}});
  out.push_back({"CastLike", {random({3}), scalar(1)}});
  out.push_back({"Dropout", {random({4})}});
  out.push_back(
      {"Dropout", {random({40}), Tensor::scalar<float>(0.25F), Tensor::scalar<bool>(true)}, {{"seed", int64_t{5}}}});

  for (const char* op : {"Add", "Sub", "Mul", "Sum", "Mean", "Max", "Min"}) {
    out.push_back({op, {random({2, 3}), random({2, 3}, -1.5, 1.5, 2)}});
    out.push_back({op, {random({3, 1, 2}), random({4, 1}, -1.5, 1.5, 2)}});
  }
  out.push_back({"Div", {random({2, 3}), random({3}, 0.5, 2, 2)}});
  out.push_back({"Pow", {random({2, 3}, 0.5, 2), random({3}, -2, 2, 2)}});
  out.push_back({"Pow", {random({4}), Tensor::scalar<int64_t>(3)}});
  out.push_back({"PRelu", {random({2, 3}), random({3}, 0.1, 0.9, 2)}});
  out.push_back({"Where", {Tensor::from<bool>({2, 1}, {true, false}), random({2, 3}), random({3}, -1, 1, 2)}});
  out.push_back({"Clip", {random({9}), scalar(-0.5), scalar(0.75)}});
  out.push_back({"Clip", {random({9}), Tensor(), scalar(0.75)}});

  out.push_back({"MatMul", {random({2, 3}), random({3, 4}, -1, 1, 2)}});
  out.push_back({"MatMul", {random({5, 1, 2, 3}), random({4, 3, 2}, -1, 1, 2)}});
  out.push_back({"MatMul", {random({3}), random({3}, -1, 1, 2)}});
  out.push_back({"MatMul", {random({3}), random({2, 3, 4}, -1, 1, 2)}});
  out.push_back({"MatMul", {random({2, 4, 3}), random({3}, -1, 1, 2)}});
  for (int64_t ta : {0, 1})
    for (int64_t tb : {0, 1})
      out.push_back({"Gemm",
                     {random(ta ? Shape{3, 2} : Shape{2, 3}), random(tb ? Shape{4, 3} : Shape{3, 4}, -1, 1, 2),
                      random({4}, -1, 1, 3)},
                     {{"transA", ta}, {"transB", tb}, {"alpha", 0.5}, {"beta", 2.0}}});
  out.push_back({"Gemm", {random({2, 3}), random({3, 1}, -1, 1, 2), random({2, 1}, -1, 1, 3)}});

  for (const char* op : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                         "ReduceLogSum", "ReduceLogSumExp"}) {
    const double low = std::string(op) == "ReduceLogSum" ? 0.5 : -1.5;
    out.push_back({op, {random({2, 3, 4}, low, 2), ints({1, -1})}, {{"keepdims", int64_t{0}}}});
    out.push_back({op, {random({2, 3, 4}, low, 2), ints({0})}});
    out.push_back({op, {random({2, 3}, low, 2)}, {{"keepdims", int64_t{0}}}});
  }
  out.push_back({"ReduceSum", {random({2, 3})}, {{"noop_with_empty_axes", int64_t{1}}, {"keepdims", int64_t{0}}}});
  for (const char* op : {"Softmax", "LogSoftmax"})
    for (int64_t axis : {0, -1}) out.push_back({op, {random({3, 4})}, {{"axis", axis}}});

  out.push_back({"Reshape", {random({2, 6}), ints({3, -1})}});
  out.push_back({"Flatten", {random({2, 3, 2})}});
  out.push_back({"Squeeze", {random({2, 1, 3}), ints({1})}});
  out.push_back({"Unsqueeze", {random({2, 3}), ints({0, -1})}});
  out.push_back({"tenon.reshape", {random({2, 6})}, {{"dims", std::vector<Dim>{4, 3}}}});
  out.push_back({"Expand", {random({3, 1}), ints({2, 1, 4})}});
  out.push_back({"tenon.expand", {random({3, 1})}, {{"dims", std::vector<Dim>{3, 4}}}});
  out.push_back({"Transpose", {random({2, 3, 4})}});
  out.push_back({"Transpose", {random({2, 3, 4})}, {{"perm", list({1, 2, 0})}}});
  out.push_back({"Trilu", {random({3, 3})}, {{"upper", int64_t{0}}}});
  out.push_back({"Trilu", {random({3, 3}), Tensor::scalar<int64_t>(1)}});
  out.push_back({"Concat", {random({2, 1}), random({2, 3}, -1, 1, 2)}, {{"axis", int64_t{-1}}}});
  out.push_back({"Split", {random({2, 5}), ints({2, 3})}, {{"axis", int64_t{1}}}, 2});
  out.push_back({"Slice", {random({5, 4}), ints({4, 1}), ints({-100, 4}), ints({0, 1}), ints({-2, 1})}});
  out.push_back({"Gather", {random({3, 4}), ints({2, 0, 2, -1})}, {{"axis", int64_t{1}}}});
  out.push_back({"GatherElements", {random({3, 2}), Tensor::from<int64_t>({2, 2}, {0, 2, 0, 1})}});
  out.push_back({"GatherND", {random({3, 2}), Tensor::from<int64_t>({2, 1}, {2, 2})}});
  for (const char* mode : {"constant", "edge", "reflect", "wrap"})
    out.push_back({"Pad", {random({3, 4}), ints({1, 2, 0, 1})}, {{"mode", std::string(mode)}}});
  out.push_back({"Pad", {random({3, 4}), ints({-1, 2, 0, -1}), scalar(7)}});
  out.push_back({"Tile", {random({2, 3}), ints({2, 3})}});
  out.push_back({"DepthToSpace", {random({1, 8, 2, 1})}, {{"blocksize", int64_t{2}}}});
  out.push_back({"SpaceToDepth", {random({1, 2, 2, 4})}, {{"blocksize", int64_t{2}}}});
  out.push_back({"ReverseSequence", {random({4, 2}), ints({3, 2})}});
  out.push_back(
      {"Compress", {random({4, 2}), Tensor::from<bool>({4}, {true, false, true, true})}, {{"axis", int64_t{0}}}});
  for (const char* reduction : {"none", "add"})
    out.push_back({"ScatterElements",
                   {random({3, 2}), Tensor::from<int64_t>({1, 2}, {2, 0}), random({1, 2}, -1, 1, 2)},
                   {{"reduction", std::string(reduction)}}});

  // Through decompositions.
  out.push_back({"LayerNormalization", {random({2, 4}), random({4}, 0.5, 1.5, 2), random({4}, -1, 1, 3)}});
  out.push_back({"BatchNormalization",
                 {random({2, 3, 2}), random({3}, 0.5, 1.5, 2), random({3}, -1, 1, 3), random({3}, -1, 1, 4),
                  random({3}, 0.5, 1, 5)}});
  out.push_back({"LpNormalization", {random({2, 4})}});
  out.push_back({"Attention", {random({1, 2, 3, 4}), random({1, 2, 5, 4}, -1, 1, 2), random({1, 2, 5, 4}, -1, 1, 3)}});
  return out;
}

/// The node in a graph whose inputs are the f64 ones; loss = Σ over outputs of weights · output.
struct Net {
  Graph graph;
  std::vector<Value*> xs;
  std::vector<HostValue> at;
  Value* loss = nullptr;
};

Status build(const Case& c, Net& net) {
  std::vector<Value*> operands;
  Builder b(net.graph);
  for (const Tensor& t : c.inputs) {
    if (!t.defined()) {
      operands.push_back(nullptr);
    } else if (t.dtype() == DType::kF64) {
      std::vector<Dim> dims(t.shape().begin(), t.shape().end());
      operands.push_back(net.graph.add_input(net.graph.unique_name("x"), TensorType(DType::kF64, dims)));
      net.xs.push_back(operands.back());
      net.at.emplace_back(t);
    } else {
      operands.push_back(b.constant(t));
    }
  }
  for (Value* y : b.make_n(c.op, operands, c.outputs, c.attrs)) {
    TENON_RETURN_IF_ERROR(b.status());
    Value* flat = b.make("Reshape", {y, b.ints({-1})});
    Value* range =
        b.make("Range", {b.scalar(DType::kI64, 1), b.make("Add", {b.make("Size", {y}), b.scalar(DType::kI64, 1)}),
                         b.scalar(DType::kI64, 1)});
    Value* weights = b.make("Sin", {b.make("Cast", {range}, {{"to", int64_t{info(DType::kF64).onnx}}})});
    Value* term = b.make("ReduceSum", {b.make("Mul", {flat, weights})}, {{"keepdims", int64_t{0}}});
    net.loss = net.loss == nullptr ? term : b.make("Add", {net.loss, term});
  }
  return b.status();
}

double loss_at(const Net& net, const std::vector<HostValue>& at) {
  const auto outputs = evaluate_graph(net.graph, at);
  EXPECT_TRUE(outputs.ok()) << outputs.status().to_string();
  return outputs.ok() ? std::get<Tensor>(outputs->back()).at_double(0) : NAN;
}

std::vector<HostValue> moved(const Net& net, size_t input, int64_t element, double by) {
  std::vector<HostValue> at = net.at;
  const Tensor& from = std::get<Tensor>(at[input]);
  Tensor to = *Tensor::zeros(DType::kF64, from.shape());
  for (int64_t i = 0; i < from.size(); ++i) to.set_double(i, from.at_double(i) + (i == element ? by : 0));
  at[input] = std::move(to);
  return at;
}

void check(const Case& c) {
  SCOPED_TRACE(c.op);
  Net net;
  ASSERT_TRUE(build(c, net).ok()) << build(c, net).to_string();
  Builder b(net.graph);
  const auto gradients = ir::gradients(b, net.loss, net.xs);
  ASSERT_TRUE(gradients.ok()) << gradients.status().to_string();
  for (Value* g : *gradients) net.graph.add_output(g);
  net.graph.add_output(net.loss);
  const auto outputs = evaluate_graph(net.graph, net.at);
  ASSERT_TRUE(outputs.ok()) << outputs.status().to_string();
  for (size_t i = 0; i < net.xs.size(); ++i) {
    const auto& x = std::get<Tensor>(net.at[i]);
    const auto& g = std::get<Tensor>((*outputs)[i]);
    ASSERT_EQ(g.shape(), x.shape());
    ASSERT_EQ(g.dtype(), x.dtype());
    for (int64_t k = 0; k < x.size(); ++k) {
      const double difference =
          (loss_at(net, moved(net, i, k, kStep)) - loss_at(net, moved(net, i, k, -kStep))) / (2 * kStep);
      ASSERT_NEAR(g.at_double(k), difference, kTolerance * std::max(1.0, std::abs(difference)))
          << "input " << i << " element " << k;
    }
  }
}

TEST(Gradient, RulesAgreeWithFiniteDifferences) {
  for (const Case& c : cases()) check(c);
}

TEST(Gradient, EveryRuleIsTested) {
  std::set<std::string> tested = {"RandomNormalLike", "RandomUniformLike", "Bernoulli"};  // their zeros: below
  for (const Case& c : cases()) tested.insert(c.op);
  for (const DerivativeRule& rule : derivative_rules())
    for (std::string_view rest = rule.ops; !rest.empty();) {
      const size_t space = rest.find(' ');
      EXPECT_NE(find_op(rest.substr(0, space)), nullptr) << rest.substr(0, space);
      EXPECT_TRUE(tested.count(std::string(rest.substr(0, space)))) << rest.substr(0, space);
      rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
    }
}

struct Simple {
  Graph graph;
  Builder b{graph};
  Value* x = graph.add_input("x", TensorType(DType::kF64, std::vector<Dim>{3}));
  Tensor run(Value* y, const Tensor& at) {
    graph.add_output(y);
    return std::get<Tensor>((*evaluate_graph(graph, std::vector<HostValue>{at}))[0]);
  }
};

TEST(Gradient, AddsUpWhatComesFromSeveralUses) {
  Simple s;  // x³ as x · x · x
  Value* y = s.b.make("Mul", {s.b.make("Mul", {s.x, s.x}), s.x});
  const Tensor g = s.run((*gradients(s.b, y, std::vector<Value*>{s.x}))[0], Tensor::from<double>({3}, {1, 2, -3}));
  EXPECT_THAT(values(g), testing::ElementsAre(3, 12, 27));
}

TEST(Gradient, DifferentiatesDerivatives) {
  Simple s;  // tanh'' = -2 tanh (1 - tanh²)
  Value* first = (*gradients(s.b, s.b.make("Tanh", {s.x}), std::vector<Value*>{s.x}))[0];
  Value* second = (*gradients(s.b, first, std::vector<Value*>{s.x}))[0];
  const Tensor g = s.run(second, Tensor::from<double>({3}, {0, 0.5, -1}));
  for (int64_t i = 0; i < 3; ++i) {
    const double t = std::tanh(i == 0 ? 0 : i == 1 ? 0.5 : -1);
    EXPECT_NEAR(g.at_double(i), -2 * t * (1 - t * t), 1e-15);
  }
}

TEST(Gradient, SharesTiesOfAMaximum) {
  Simple s;
  Value* y = s.b.make("ReduceMax", {s.x});
  EXPECT_THAT(values(s.run((*gradients(s.b, y, std::vector<Value*>{s.x}))[0], Tensor::from<double>({3}, {2, 1, 2}))),
              testing::ElementsAre(0.5, 0, 0.5));
}

TEST(Gradient, IsFiniteAtZeroForWholePowers) {
  Simple s;
  Value* y = s.b.make(
      "Add", {s.b.make("Pow", {s.x, s.b.scalar(DType::kF64, 2)}), s.b.make("Pow", {s.x, s.b.scalar(DType::kF64, 0)})});
  EXPECT_THAT(values(s.run((*gradients(s.b, y, std::vector<Value*>{s.x}))[0], Tensor::from<double>({3}, {0, 1, -1}))),
              testing::ElementsAre(0, 2, -2));
}

TEST(Gradient, IsZeroWhereNothingDependsOnX) {
  Simple s;
  Value* noise = s.b.make("RandomNormalLike", {s.x});
  Value* draws = s.b.make("Bernoulli", {s.b.make("RandomUniformLike", {s.x})});
  Value* whole = s.b.make("Cast", {s.b.make("Cast", {s.x}, {{"to", int64_t{7}}})}, {{"to", int64_t{11}}});
  Value* y = s.b.make("Sum", {noise, draws, whole});
  EXPECT_THAT(values(s.run((*gradients(s.b, y, std::vector<Value*>{s.x}))[0], Tensor::from<double>({3}, {1, 2, 3}))),
              testing::ElementsAre(0, 0, 0));
}

TEST(Gradient, NamesTheOpWithoutARule) {
  Simple s;
  Value* y = s.b.make("CumSum", {s.x, s.b.scalar(DType::kI64, 0)});
  y->def()->set_name("running");
  const auto got = gradients(s.b, s.b.make("Exp", {y}), std::vector<Value*>{s.x});
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.status().code(), Code::kUnsupported);
  EXPECT_THAT(got.status().to_string(), testing::AllOf(testing::HasSubstr("CumSum"), testing::HasSubstr("running")));
}

TEST(Gradient, RefusesIntegers) {
  Simple s;
  Value* n = s.graph.add_input("n", TensorType(DType::kI64, std::vector<Dim>{3}));
  EXPECT_EQ(gradients(s.b, n, std::vector<Value*>{s.x}).status().code(), Code::kInvalidModel);
  EXPECT_EQ(gradients(s.b, s.x, std::vector<Value*>{n}).status().code(), Code::kInvalidModel);
}

TEST(Gradient, GoesThroughDeepGraphs) {
  Simple s;
  Value* y = s.x;
  for (int i = 0; i < 20'000; ++i) y = s.b.make("Neg", {y});
  EXPECT_THAT(values(s.run((*gradients(s.b, y, std::vector<Value*>{s.x}))[0], Tensor::from<double>({3}, {1, 2, 3}))),
              testing::ElementsAre(1, 1, 1));
}

}  // namespace
}  // namespace tenon::ir
