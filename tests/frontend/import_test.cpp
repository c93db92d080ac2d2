#include <gmock/gmock.h>

#include "ir/op_registry.h"
#include "ir/symbols.h"
#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string message(const Result<std::unique_ptr<ir::Graph>>& result) { return result.ok() ? "ok" : result.status().to_string(); }

Model relu() {
  Model m;
  m.input("x", DType::kF32, {"N", "3"});
  m.node("Relu", {"x"}, {"y"});
  m.output("y");
  return m;
}

TEST(Import, KeepsNamesTypesAndSymbols) {
  auto graph = relu().import();
  ASSERT_TRUE(graph.ok()) << message(graph);
  ASSERT_EQ((*graph)->inputs().size(), 1u);
  EXPECT_EQ((*graph)->inputs()[0]->name(), "x");
  EXPECT_EQ(ir::to_string((*graph)->outputs()[0]->type()), "f32[N, 3]");
  EXPECT_EQ((*graph)->output_name(0), "y");
}

TEST(Import, BindsDimsAndShapes) {
  auto bound = relu().import({.dims = {{"N", 4}}});
  ASSERT_TRUE(bound.ok()) << message(bound);
  EXPECT_EQ(ir::to_string((*bound)->outputs()[0]->type()), "f32[4, 3]");
  auto shaped = relu().import({.shapes = {{"x", {5, -1}}}});
  ASSERT_TRUE(shaped.ok()) << message(shaped);
  EXPECT_EQ(ir::to_string((*shaped)->outputs()[0]->type()), "f32[5, 3]");
  EXPECT_THAT(message(relu().import({.dims = {{"M", 4}}})), HasSubstr("no symbolic dim 'M'"));
  EXPECT_THAT(message(relu().import({.shapes = {{"x", {5, 4}}}})), HasSubstr("cannot be 4"));
  EXPECT_THAT(message(relu().import({.shapes = {{"z", {5, 4}}}})), HasSubstr("no input 'z'"));
}

TEST(Import, ReadsDimExpressionsOverDeclaredNamesOnly) {
  Model m;
  m.input("a", DType::kF32, {"past", "new", "past + new", "batch-size", "?", "?"});
  m.node("Relu", {"a"}, {"y"});
  m.output("y");
  auto graph = m.import();
  ASSERT_TRUE(graph.ok()) << message(graph);
  const auto& dims = *(*graph)->inputs()[0]->tensor().dims;
  EXPECT_EQ(dims[2], dims[0] + dims[1]);
  EXPECT_TRUE(dims[3].is_symbol());
  EXPECT_TRUE(dims[4].is_symbol());
  EXPECT_NE(dims[4], dims[5]);
  auto bound = m.import({.dims = {{"past", 3}, {"new", 2}}});
  ASSERT_TRUE(bound.ok()) << message(bound);
  EXPECT_EQ((*bound)->inputs()[0]->tensor().dim(2), ir::Dim(5));
}

TEST(Import, InitializersThatAreInputsAreConstants) {
  Model m(8, 3);
  m.input("x", DType::kF32, {"2"});
  m.input("w", DType::kF32, {"2"});
  *m.graph().add_initializer() = floats("w", {2}, {3, 4});
  m.node("Mul", {"x", "w"}, {"y"});
  m.output("y");
  auto graph = m.import();
  ASSERT_TRUE(graph.ok()) << message(graph);
  EXPECT_EQ((*graph)->inputs().size(), 1u);
  EXPECT_THAT(numbers(run(m, {Tensor::from<float>({2}, {1, 2})})[0]), ElementsAre(3, 8));
}

TEST(Import, SortsNodes) {
  Model m;
  m.input("x", DType::kF32, {"1"});
  m.node("Relu", {"b"}, {"c"});
  m.node("Neg", {"a"}, {"b"});
  m.node("Neg", {"x"}, {"a"});
  m.output("c");
  EXPECT_THAT(numbers(run(m, {Tensor::from<float>({1}, {5})})[0]), ElementsAre(5));
}

TEST(Import, NamesWhatIsWrongWithTheGraph) {
  Model cycle = relu();
  cycle.node("Add", {"x", "q"}, {"p"}).set_name("first");
  cycle.node("Neg", {"p"}, {"q"});
  EXPECT_THAT(message(cycle.import()), HasSubstr("cycle"));
  Model undefined = relu();
  undefined.node("Neg", {"nowhere"}, {"q"}).set_name("n7");
  EXPECT_THAT(message(undefined.import()), ::testing::AllOf(HasSubstr("'nowhere'"), HasSubstr("n7")));
  Model twice = relu();
  twice.node("Neg", {"x"}, {"y"});
  EXPECT_THAT(message(twice.import()), HasSubstr("defined twice"));
  Model output = relu();
  output.output("missing");
  EXPECT_THAT(message(output.import()), HasSubstr("'missing'"));
  Model attribute = relu();
  attr(attribute.graph().mutable_node()->at(0), "colour", int64_t{3});
  EXPECT_THAT(message(attribute.import()), HasSubstr("attribute colour"));
}

TEST(Import, ReportsAllThatIsMissingAtOnce) {
  Model m = relu();
  m.node("Frobnicate", {"x"}, {"a"}).set_name("one");
  m.node("Gyre", {"x"}, {"b"}, "wabe").set_name("two");
  m.node("Frobnicate", {"x"}, {"c"});
  const std::string text = message(m.import());
  EXPECT_THAT(text, HasSubstr("Frobnicate of opset 21: 2 nodes (one, the one that makes c)"));
  EXPECT_THAT(text, HasSubstr("wabe.Gyre of opset 1: 1 node (two)"));
  EXPECT_EQ(m.import().status().code(), Code::kUnsupported);
}

TEST(Import, RefusesOtherVersions) {
  EXPECT_THAT(message(Model(29).import()), "ok");  // no node needs it
  Model m(29);
  m.input("x", DType::kF32, {"1"});
  m.node("Relu", {"x"}, {"y"});
  EXPECT_THAT(message(m.import()), HasSubstr("opset 29"));
  EXPECT_THAT(message(Model(21, 14).import()), HasSubstr("IR version 14"));
  EXPECT_THAT(message(Model(21, 2).import()), HasSubstr("IR version 2"));
}

TEST(Import, ReadsEveryKindOfConstant) {
  Model m;
  const auto constant = [&](const std::string& out) -> onnx::NodeProto& {
    m.output(out);
    return m.node("Constant", {}, {out});
  };
  attr(constant("i"), "value_int", int64_t{7});
  attr(constant("f"), "value_float", 0.5F);
  attr(constant("is"), "value_ints", {1, 2});
  attr(constant("s"), "value_string", "text");
  auto& sparse = *add_attr(constant("sp"), "sparse_value", onnx::AttributeProto::SPARSE_TENSOR).mutable_sparse_tensor();
  *sparse.mutable_values() = floats("v", {2}, {5, 6});
  *sparse.mutable_indices() = ints("i", {2, 2}, {0, 1, 1, 0});
  sparse.add_dims(2);
  sparse.add_dims(2);
  const auto out = run(m, {});
  ASSERT_EQ(out.size(), 5u);
  EXPECT_THAT(numbers(out[0]), ElementsAre(7));
  EXPECT_THAT(numbers(out[1]), ElementsAre(0.5));
  EXPECT_THAT(numbers(out[2]), ElementsAre(1, 2));
  EXPECT_THAT(std::get<Tensor>(out[3]).string_values(), ElementsAre("text"));
  EXPECT_THAT(numbers(out[4]), ElementsAre(0, 5, 6, 0));
}

TEST(Import, BranchesSeeOuterValues) {
  Model m;
  m.input("c", DType::kBool, {});
  m.input("x", DType::kF32, {"2"});
  auto& node = m.node("If", {"c"}, {"y"});
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& g = *add_attr(node, name, onnx::AttributeProto::GRAPH).mutable_g();
    g.set_name(name);
    add_node(g, name[0] == 't' ? "Neg" : "Abs", {"x"}, {"r"});
    g.add_output()->set_name("r");
  }
  m.output("y");
  const auto x = Tensor::from<float>({2}, {1, -2});
  EXPECT_THAT(numbers(run(m, {Tensor::scalar<bool>(true), x})[0]), ElementsAre(-1, 2));
  EXPECT_THAT(numbers(run(m, {Tensor::scalar<bool>(false), x})[0]), ElementsAre(1, 2));
}

onnx::FunctionProto& add_function(Model& m, const std::string& name, const std::vector<std::string>& inputs,
                                  const std::vector<std::string>& outputs) {
  auto& f = *m.proto.add_functions();
  f.set_name(name);
  f.set_domain("local");
  Model::import_opset(f, "", 21);
  Model::import_opset(f, "local", 1);
  for (const auto& i : inputs) f.add_input(i);
  for (const auto& o : outputs) f.add_output(o);
  return f;
}

TEST(Functions, AreInlinedWithTheirAttributes) {
  Model m;
  Model::import_opset(m.proto, "local", 1);
  m.input("x", DType::kF32, {"2"});
  auto& leaky = add_function(m, "Leaky", {"a"}, {"b"});
  auto& inner = add_attr(add_node(leaky, "LeakyRelu", {"a"}, {"b"}), "alpha", onnx::AttributeProto::FLOAT);
  inner.set_ref_attr_name("slope");
  leaky.add_attribute("slope");
  auto& twice = add_function(m, "Twice", {"a", "unused"}, {"b"});
  for (int i = 0; i < 2; ++i) attr(add_node(twice, "Leaky", {i == 0 ? "a" : "t"}, {i == 0 ? "t" : "b"}, "local"), "slope", 0.5F);
  m.node("Twice", {"x"}, {"y"}, "local");
  m.output("y");
  EXPECT_THAT(numbers(run(m, {Tensor::from<float>({2}, {-4, 3})})[0]), ElementsAre(-1, 3));
}

Status infer_halved(ir::InferContext& c) {
  c.set(0, c.in(0));
  return {};
}

Status eval_halved(ir::EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kF32, c.tensor(0).shape()));
  for (int64_t i = 0; i < out->size(); ++i) out->set_double(i, c.tensor(0).at_double(i) / 2);
  return {};
}

/// local.F of opset 3: half of its input.
std::shared_ptr<const ir::OpRegistry> registry_of_halving() {
  auto registry = std::make_shared<ir::OpRegistry>();
  EXPECT_TRUE(registry
                  ->add({.domain = "local",
                         .name = "F",
                         .inputs = {{"X", "T"}},
                         .outputs = {{"Y", "T"}},
                         .attrs = {{"steps", ir::AttrKind::kInt}},
                         .infer = infer_halved,
                         .compute = {.eval = eval_halved},
                         .since_version = 3},
                        "lib.so")
                  .ok());
  return registry;
}

TEST(RegisteredOps, AreImportedByTheirVersion) {
  const auto model = [](int64_t version) {
    Model m;
    Model::import_opset(m.proto, "local", version);
    m.input("x", DType::kF32, {"N"});
    attr(m.node("F", {"x"}, {"y"}, "local"), "steps", int64_t{1});
    m.output("y");
    return m;
  };
  const auto graph = model(4).import({.ops = registry_of_halving()});
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const HostValue x = Tensor::from<float>({2}, {-4, 3});
  EXPECT_THAT(numbers((*ir::evaluate_graph(**graph, std::span(&x, 1)))[0]), ElementsAre(-2, 1.5));
  EXPECT_THAT(message(model(2).import({.ops = registry_of_halving()})), HasSubstr("local.F of opset 2, which is older than every form that is registered"));
  EXPECT_THAT(message(model(4).import()), HasSubstr("--custom-ops"));
  Model bad = model(4);
  attr(bad.node("F", {"x"}, {"z"}, "local"), "strides", int64_t{1});
  EXPECT_THAT(message(bad.import({.ops = registry_of_halving()})), HasSubstr("attribute strides"));
}

TEST(RegisteredOps, StandForFunctionsOfTheirName) {
  Model m;
  Model::import_opset(m.proto, "local", 3);
  m.input("x", DType::kF32, {"2"});
  add_node(add_function(m, "F", {"a"}, {"b"}), "Neg", {"a"}, {"b"});
  m.node("F", {"x"}, {"y"}, "local");
  m.output("y");
  const HostValue x = Tensor::from<float>({2}, {-4, 3});
  EXPECT_THAT(numbers(run(m, {x})[0]), ElementsAre(4, -3));
  const auto graph = m.import({.ops = registry_of_halving()});
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  EXPECT_THAT(numbers((*ir::evaluate_graph(**graph, std::span(&x, 1)))[0]), ElementsAre(-2, 1.5));
}

TEST(Functions, RefuseRecursionAndBoundExpansion) {
  Model m;
  Model::import_opset(m.proto, "local", 1);
  m.input("x", DType::kF32, {"2"});
  add_node(add_function(m, "A", {"a"}, {"b"}), "B", {"a"}, {"b"}, "local");
  add_node(add_function(m, "B", {"a"}, {"b"}), "A", {"a"}, {"b"}, "local");
  m.node("A", {"x"}, {"y"}, "local");
  EXPECT_THAT(message(m.import()), HasSubstr("calls itself"));

  Model chain;
  Model::import_opset(chain.proto, "local", 1);
  chain.input("x", DType::kF32, {"2"});
  for (int i = 0; i < 40; ++i) {
    auto& f = add_function(chain, "F" + std::to_string(i), {"a"}, {"b"});
    const std::string next = "F" + std::to_string(i + 1);
    add_node(f, i == 39 ? "Neg" : next, {"a"}, {"t"}, i == 39 ? "" : "local");
    add_node(f, i == 39 ? "Neg" : next, {"t"}, {"b"}, i == 39 ? "" : "local");
  }
  chain.node("F0", {"x"}, {"y"}, "local");
  EXPECT_THAT(message(chain.import({.max_nodes = 10000})), HasSubstr("more than 10000 nodes"));
}

TEST(Functions, AreChosenByOverload) {
  Model m;
  Model::import_opset(m.proto, "local", 1);
  m.input("x", DType::kF32, {"1"});
  for (const char* op : {"Neg", "Abs"}) {
    auto& f = add_function(m, "F", {"a"}, {"b"});
    add_node(f, op, {"a"}, {"b"});
    f.GetReflection()->MutableUnknownFields(&f)->AddLengthDelimited(13, op);
    auto& call = m.node("F", {"x"}, {op}, "local");
    call.GetReflection()->MutableUnknownFields(&call)->AddLengthDelimited(8, op);
    m.output(op);
  }
  const auto out = run(m, {Tensor::from<float>({1}, {-3})});
  EXPECT_THAT(numbers(out.at(0)), ElementsAre(3));
  EXPECT_THAT(numbers(out.at(1)), ElementsAre(3));
}

TEST(Import, ValuesBindTheDimsThatRunTimeGivesThem) {
  Model m;
  m.input("x", DType::kF32, {"N"});
  m.node("NonZero", {"x"}, {"places"});
  m.node("Transpose", {"places"}, {"turned"});
  m.output("turned");
  auto graph = m.import();
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const ir::Value& places = *(*graph)->outputs()[0]->def()->input(0);
  EXPECT_EQ(places.name(), "places");
  EXPECT_TRUE(ir::binds_symbol(places, 1)) << to_string(places.type());
  EXPECT_EQ((*graph)->outputs()[0]->tensor().dim(0), places.tensor().dim(1));
}

}  // namespace
}  // namespace tenon::frontend
