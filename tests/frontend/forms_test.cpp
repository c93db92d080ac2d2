// Ops that the importer itself turns into others: Scan of opset 8, FlexAttention, Gradient.

#include <cmath>

#include <gmock/gmock.h>

#include "tests/frontend/model_builder.h"

namespace tenon::frontend::testing {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;

Tensor tensor(Shape shape, std::vector<float> v) {
  return Tensor::from<float>(std::move(shape), std::span<const float>(v));
}
Tensor longs(Shape shape, std::vector<int64_t> v) {
  return Tensor::from<int64_t>(std::move(shape), std::span<const int64_t>(v));
}

onnx::GraphProto& graph_attr(onnx::NodeProto& node, const std::string& name) {
  auto& a = add_attr(node, name, onnx::AttributeProto::GRAPH);
  a.mutable_g()->set_name(name);
  return *a.mutable_g();
}
void strings(onnx::NodeProto& node, const std::string& name, const std::vector<std::string>& values) {
  auto& a = add_attr(node, name, onnx::AttributeProto::STRINGS);
  for (const auto& v : values) a.add_strings(v);
}
Status failure(const Model& model, const std::vector<HostValue>& inputs) {
  auto graph = model.import();
  if (!graph.ok()) return graph.status();
  return ir::evaluate_graph(**graph, inputs).status();
}

// ---- Scan-8: sums = cumulative sums of x, state = the whole sum

Model batched_sum(bool lengths, std::vector<int64_t> directions = {}, std::vector<std::string> dims = {"B", "T", "2"}) {
  Model m(8);
  if (lengths) m.input("lengths", DType::kI64, {"B"});
  m.input("initial", DType::kF32, {"B", "2"});
  m.input("x", DType::kF32, dims);
  onnx::NodeProto& scan = m.node("Scan", {lengths ? "lengths" : "", "initial", "x"}, {"last", "sums"});
  attr(scan, "num_scan_inputs", int64_t{1});
  if (!directions.empty()) attr(scan, "directions", directions);
  onnx::GraphProto& body = graph_attr(scan, "body");
  for (const char* name : {"sum", "next"}) {
    body.add_input()->set_name(name);
    set_shape(*body.mutable_input(body.input_size() - 1)->mutable_type(), DType::kF32, {"2"});
  }
  add_node(body, "Add", {"sum", "next"}, {"sum_out"});
  add_node(body, "Identity", {"sum_out"}, {"each"});
  body.add_output()->set_name("sum_out");
  body.add_output()->set_name("each");
  m.output("last");
  m.output("sums");
  return m;
}

const Tensor kInitial = tensor({2, 2}, {0, 0, 100, 200});
const Tensor kX = tensor({2, 3, 2}, {1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60});

TEST(BatchedScan, RunsEveryEntryOfTheBatch) {
  const auto out = run(batched_sum(false), {kInitial, kX});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_THAT(numbers(out[0]), ElementsAre(9, 12, 190, 320));
  EXPECT_THAT(numbers(out[1]), ElementsAre(1, 2, 4, 6, 9, 12, 110, 220, 140, 260, 190, 320));
}

TEST(BatchedScan, PadsShorterSequencesWithZeros) {
  const auto out = run(batched_sum(true), {longs({2}, {2, 0}), kInitial, kX});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_THAT(numbers(out[0]), ElementsAre(4, 6, 100, 200));
  EXPECT_EQ(std::get<Tensor>(out[1]).shape(), (Shape{2, 3, 2}));
  EXPECT_THAT(numbers(out[1]), ElementsAre(1, 2, 4, 6, 0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(BatchedScan, ReversesWithinASequence) {
  EXPECT_THAT(numbers(run(batched_sum(false, {1}), {kInitial, kX})[1]),
              ElementsAre(5, 6, 8, 10, 9, 12, 150, 260, 180, 300, 190, 320));
  EXPECT_THAT(numbers(run(batched_sum(true, {1}), {longs({2}, {2, 1}), kInitial, kX})[1]),
              ElementsAre(3, 4, 4, 6, 0, 0, 110, 220, 0, 0, 0, 0));
}

TEST(BatchedScan, TakesEmptyBatchesAndSequences) {
  EXPECT_EQ(std::get<Tensor>(run(batched_sum(false), {tensor({0, 2}, {}), tensor({0, 3, 2}, {})})[1]).size(), 0);
  EXPECT_THAT(numbers(run(batched_sum(false), {kInitial, tensor({2, 0, 2}, {})})[0]), ElementsAre(0, 0, 100, 200));
}

TEST(BatchedScan, RefusesLengthsOutsideOfTheSequence) {
  for (int64_t bad : {int64_t{4}, int64_t{-1}, INT64_MAX, INT64_MIN})
    EXPECT_FALSE(failure(batched_sum(true), {longs({2}, {1, bad}), kInitial, kX}).ok()) << bad;
  EXPECT_FALSE(failure(batched_sum(true), {longs({3}, {1, 1, 1}), kInitial, kX}).ok());
}

TEST(BatchedScan, RefusesWrongForms) {
  EXPECT_THAT(failure(batched_sum(false, {}, {"B"}), {}).to_string(), HasSubstr("rank 1"));
  EXPECT_EQ(failure(batched_sum(false, {0, 1}), {kInitial, kX}).code(), Code::kInvalidModel);
  Model none = batched_sum(false);
  none.graph().mutable_node(0)->mutable_attribute(0)->set_i(0);
  EXPECT_THAT(failure(none, {}).to_string(), HasSubstr("num_scan_inputs"));
  Model many = batched_sum(false);
  many.graph().mutable_node(0)->mutable_attribute(0)->set_i(INT64_MAX);
  EXPECT_THAT(failure(many, {}).to_string(), HasSubstr("num_scan_inputs"));
  Model floats = batched_sum(true);
  floats.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(1);
  EXPECT_THAT(failure(floats, {}).to_string(), HasSubstr("sequence_lens"));
}

// ---- FlexAttention

constexpr const char* kPreview = "ai.onnx.preview";

struct Flex {
  Model model{21};
  onnx::NodeProto* node;
  Flex(std::vector<std::string> q, std::vector<std::string> kv, DType dtype = DType::kF32) {
    Model::import_opset(model.proto, kPreview, 1);
    model.input("q", dtype, q);
    model.input("k", dtype, kv);
    model.input("v", dtype, kv);
    node = &model.node("FlexAttention", {"q", "k", "v"}, {"y"}, kPreview);
    model.output("y");
  }
  /// A modifier of one node: op(x, the outer or own value `operand`).
  onnx::GraphProto& modifier(const std::string& name, const std::string& op, const std::string& operand) {
    onnx::GraphProto& g = graph_attr(*node, name);
    g.add_input()->set_name("x");
    add_node(g, op, {"x", operand}, {"out"});
    g.add_output()->set_name("out");
    return g;
  }
};

// One head, one query, two keys of size 1: weights are the softmax of (q k0 s, q k1 s).
const std::vector<std::string> kOne = {"1", "1", "1", "1"}, kTwo = {"1", "1", "2", "1"};
const std::vector<HostValue> kQkv = {tensor({1, 1, 1, 1}, {2}), tensor({1, 1, 2, 1}, {0.5, 1.5}),
                                     tensor({1, 1, 2, 1}, {3, 7})};

double softmax_sum(double a, double b) { return (3 * std::exp(a) + 7 * std::exp(b)) / (std::exp(a) + std::exp(b)); }

TEST(FlexAttention, WithoutModifiersIsAttention) {
  EXPECT_NEAR(numbers(run(Flex(kOne, kTwo).model, kQkv)[0])[0], softmax_sum(1, 3), 1e-6);
  Flex scaled(kOne, kTwo);
  attr(*scaled.node, "scale", 0.25F);
  EXPECT_NEAR(numbers(run(scaled.model, kQkv)[0])[0], softmax_sum(0.25, 0.75), 1e-6);
  Flex flat(kOne, kTwo);
  attr(*flat.node, "scale", 0.0F);
  EXPECT_NEAR(numbers(run(flat.model, kQkv)[0])[0], 5, 1e-6);
}

TEST(FlexAttention, AppliesBothModifiers) {
  Flex flex(kOne, kTwo);
  *flex.model.graph().add_initializer() = floats("bias", {2}, {0, -4});
  flex.modifier("score_mod", "Add", "bias");  // of the graph around it
  auto& prob = flex.modifier("prob_mod", "Mul", "factor");
  *prob.add_initializer() = floats("factor", {2}, {1, 3});
  const double a = std::exp(1), b = std::exp(-1);
  EXPECT_NEAR(numbers(run(flex.model, kQkv)[0])[0], (3 * a + 3 * 7 * b) / (a + b), 1e-6);
}

// Query heads 0, 1 read key head 0; 2, 3 read head 1. With one key the weights are 1.
TEST(FlexAttention, SharesKeyHeadsInRuns) {
  const auto out =
      run(Flex({"1", "4", "1", "1"}, {"1", "2", "1", "1"}).model,
          {tensor({1, 4, 1, 1}, {1, 2, 3, 4}), tensor({1, 2, 1, 1}, {1, 1}), tensor({1, 2, 1, 1}, {5, 6})});
  EXPECT_THAT(numbers(out[0]), ElementsAre(5, 5, 6, 6));
}

TEST(FlexAttention, SoftmaxPrecisionIsTheModifiersDtype) {
  Flex flex(kOne, kTwo, DType::kF16);
  attr(*flex.node, "softmax_precision", int64_t{info(DType::kF64).onnx});
  auto& g = flex.modifier("score_mod", "Add", "bias");
  onnx::TensorProto& bias = *g.add_initializer();
  bias.set_name("bias");
  bias.set_data_type(onnx::TensorProto::DOUBLE);
  bias.add_double_data(0);
  EXPECT_TRUE(flex.model.import().ok()) << flex.model.import().status().to_string();
  bias.set_data_type(onnx::TensorProto::FLOAT);
  bias.clear_double_data();
  bias.add_float_data(0);
  EXPECT_FALSE(flex.model.import().ok()) << "an f32 bias on f64 scores";
}

TEST(FlexAttention, RefusesWhatDoesNotFit) {
  const auto message = [](const Flex& f) {
    const auto graph = f.model.import();
    return graph.ok() ? std::string("imported") : graph.status().to_string();
  };
  EXPECT_THAT(message(Flex({"1", "1", "1"}, kTwo)), HasSubstr("rank 3"));
  EXPECT_THAT(message(Flex({"1", "3", "1", "1"}, {"1", "2", "1", "1"})), HasSubstr("3 query heads"));
  EXPECT_THAT(message(Flex({"1", "3", "1", "1"}, {"1", "0", "1", "1"})), HasSubstr("0 key heads"));
  EXPECT_THAT(message(Flex({"1", "1", "1", "2"}, kTwo)), HasSubstr("head sizes"));
  EXPECT_THAT(message(Flex({"2", "1", "1", "1"}, kTwo)), HasSubstr("batches"));
  Flex integers(kOne, kTwo, DType::kI32);
  EXPECT_THAT(message(integers), HasSubstr("float"));
  Flex precision(kOne, kTwo);
  attr(*precision.node, "softmax_precision", int64_t{7});
  EXPECT_THAT(message(precision), HasSubstr("softmax_precision"));
  Flex shape(kOne, kTwo);
  auto& g = graph_attr(*shape.node, "score_mod");
  g.add_input()->set_name("x");
  add_node(g, "Shape", {"x"}, {"out"});
  g.add_output()->set_name("out");
  EXPECT_THAT(message(shape), HasSubstr("score_mod"));
  Flex unfinished(kOne, kTwo);
  unfinished.modifier("prob_mod", "Add", "nothing");
  EXPECT_THAT(message(unfinished), HasSubstr("nothing"));
  Flex two(kOne, kTwo);
  two.modifier("score_mod", "Add", "x").add_input()->set_name("other");
  EXPECT_THAT(message(two), HasSubstr("2 inputs"));
}

// ---- Gradient

constexpr const char* kTraining = "ai.onnx.preview.training";

/// y = a · b + exp(a), and the gradient of y for what `inputs` hold.
Model product(std::vector<std::string> inputs, std::vector<std::string> xs, std::vector<std::string> zs,
              bool first = false) {
  Model m(21);
  Model::import_opset(m.proto, kTraining, 1);
  for (const char* name : {"a", "b", "c"}) m.input(name, DType::kF32, {"2"});
  const auto add_gradient = [&] {
    std::vector<std::string> outputs;
    for (const auto& x : xs) outputs.push_back("d" + x);
    onnx::NodeProto& node = m.node("Gradient", inputs, outputs, kTraining);
    strings(node, "xs", xs);
    if (!zs.empty()) strings(node, "zs", zs);
    attr(node, "y", "y");
  };
  if (first) add_gradient();
  m.node("Mul", {"a", "b"}, {"ab"});
  m.node("Exp", {"a"}, {"ea"});
  m.node("Add", {"ab", "ea"}, {"y"});
  if (!first) add_gradient();
  for (const auto& x : xs) m.output("d" + x);
  return m;
}

const std::vector<HostValue> kAbc = {tensor({2}, {0, 1}), tensor({2}, {3, -2}), tensor({2}, {5, 7})};
const double kE = std::exp(1.0);

TEST(GradientOp, DifferentiatesTheGraphAroundIt) {
  for (bool first : {false, true}) {  // y is read by name: the order of nodes follows it
    const auto out = run(product({"a", "b"}, {"a", "b"}, {}, first), kAbc);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_THAT(numbers(out[0]), Pointwise(DoubleNear(1e-6), {3 + 1.0, -2 + kE}));
    EXPECT_THAT(numbers(out[1]), ElementsAre(0, 1));
  }
}

TEST(GradientOp, IsTakenAtTheValuesOfItsInputs) {
  const auto out = run(product({"a", "c"}, {"a"}, {"b"}), kAbc);  // b stands for c
  EXPECT_THAT(numbers(out[0]), Pointwise(DoubleNear(1e-6), {5 + 1.0, 7 + kE}));
  EXPECT_THAT(numbers(run(product({"c", "b"}, {"a"}, {"b"}), kAbc)[0]),
              Pointwise(DoubleNear(1e-3), {3 + std::exp(5.0), -2 + std::exp(7.0)}));
}

TEST(GradientOp, StopsAtIntermediateTensors) {
  const auto out = run(product({"ab", "b"}, {"ab", "b"}, {}), kAbc);  // y = ab + ea: b itself is not read
  EXPECT_THAT(numbers(out[0]), ElementsAre(1, 1));
  EXPECT_THAT(numbers(out[1]), ElementsAre(0, 0));
}

TEST(GradientOp, TakesSecondDerivatives) {
  Model m = product({"a", "b"}, {"a"}, {"b"});
  onnx::NodeProto& second = m.node("Gradient", {"a"}, {"dda"}, kTraining);
  strings(second, "xs", {"a"});
  attr(second, "y", "da");
  m.output("dda");
  EXPECT_THAT(numbers(run(m, kAbc)[1]), Pointwise(DoubleNear(1e-6), {1.0, kE}));
}

TEST(GradientOp, RefusesWhatItCannotDo) {
  const auto message = [](const Model& m) {
    const auto graph = m.import();
    return graph.ok() ? std::string("imported") : graph.status().to_string();
  };
  EXPECT_THAT(message(product({"a", "b"}, {"a"}, {})), HasSubstr("2 inputs"));
  EXPECT_THAT(message(product({"a"}, {"missing"}, {})), HasSubstr("missing"));
  Model other = product({"a"}, {"a"}, {});
  other.graph().mutable_node(3)->mutable_attribute(1)->set_s("nowhere");
  EXPECT_THAT(message(other), HasSubstr("nowhere"));
  Model itself = product({"a"}, {"a"}, {});
  itself.graph().mutable_node(3)->mutable_attribute(1)->set_s("da");
  EXPECT_THAT(message(itself), HasSubstr("cycle"));
  Model untyped = product({"a"}, {"a"}, {});
  untyped.graph().mutable_node(3)->mutable_attribute(0)->set_type(onnx::AttributeProto::INTS);
  EXPECT_THAT(message(untyped), HasSubstr("xs"));
  Model branch(21);
  Model::import_opset(branch.proto, kTraining, 1);
  branch.input("a", DType::kF32, {"2"});
  branch.input("n", DType::kI64, {});
  branch.node("CumSum", {"a", "n"}, {"y"});
  onnx::NodeProto& node = branch.node("Gradient", {"a"}, {"da"}, kTraining);
  strings(node, "xs", {"a"});
  attr(node, "y", "y");
  branch.output("da");
  EXPECT_THAT(message(branch), HasSubstr("CumSum has no derivative rule"));
}

}  // namespace
}  // namespace tenon::frontend::testing
