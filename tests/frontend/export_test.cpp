// What a written model says, and that it means the same: read back and run on the interpreter, or looked at as a
// message.

#include <map>

#include <gmock/gmock.h>

#include "frontend/onnx/export.h"
#include "frontend/onnx/proto.h"
#include "ir/op.h"
#include "ir/parser.h"
#include "support/log.h"
#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<ir::Graph> parse(const std::string& text) {
  auto graph = ir::parse_text(text);
  if (!graph.ok() || !ir::infer_graph(**graph).ok()) {
    ADD_FAILURE() << (graph.ok() ? ir::infer_graph(**graph) : graph.status()).to_string();
    return nullptr;
  }
  return std::move(*graph);
}

onnx::ModelProto written(const ir::Graph& graph, int64_t opset = 0) {
  onnx::ModelProto model;
  ExportOptions options;
  options.opset = opset;
  Result<std::string> bytes = export_onnx_bytes(graph, options);
  if (!bytes.ok())
    ADD_FAILURE() << bytes.status().to_string();
  else
    EXPECT_TRUE(model.ParseFromString(*bytes));
  return model;
}

onnx::ModelProto written(const Model& model, int64_t opset = 0) {
  auto graph = model.import();
  if (!graph.ok()) ADD_FAILURE() << graph.status().to_string();
  return graph.ok() ? written(**graph, opset) : onnx::ModelProto();
}

std::vector<std::string> ops(const onnx::GraphProto& graph) {
  std::vector<std::string> out;
  for (const auto& node : graph.node()) out.push_back(node.op_type());
  return out;
}

std::vector<HostValue> evaluate(const ir::Graph& graph, const std::vector<HostValue>& inputs) {
  auto outputs = ir::evaluate_graph(graph, inputs);
  if (!outputs.ok()) ADD_FAILURE() << outputs.status().to_string();
  return outputs.ok() ? *outputs : std::vector<HostValue>();
}

/// The outputs of the graph after it went through a file of this opset.
std::vector<HostValue> through(const ir::Graph& graph, const std::vector<HostValue>& inputs, int64_t opset = 0) {
  ExportOptions options;
  options.opset = opset;
  Result<std::string> bytes = export_onnx_bytes(graph, options);
  if (!bytes.ok()) {
    ADD_FAILURE() << bytes.status().to_string();
    return {};
  }
  auto again = import_onnx_bytes(std::as_bytes(std::span(*bytes)));
  if (!again.ok()) {
    ADD_FAILURE() << again.status().to_string();
    return {};
  }
  return evaluate(**again, inputs);
}

std::string failure(const ir::Graph& graph, int64_t opset) {
  ExportOptions options;
  options.opset = opset;
  const Result<std::string> bytes = export_onnx_bytes(graph, options);
  return bytes.ok() ? "ok" : bytes.status().to_string();
}

Tensor iota(Shape shape, float first = 0) {
  Tensor t = *Tensor::zeros(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, first + static_cast<float>(i));
  return t;
}

const Shape& shape_of(const HostValue& value) { return std::get<Tensor>(value).shape(); }

// ---- Names and fields

TEST(Export, KeepsNamesDimsAndFields) {
  Model m(17);
  m.proto.set_domain("ai.example");
  m.proto.set_model_version(7);
  m.proto.set_doc_string("a model");
  m.proto.set_producer_name("pytorch");
  auto* prop = m.proto.add_metadata_props();
  prop->set_key("labels");
  prop->set_value("cat,dog");
  m.graph().set_doc_string("a graph");
  m.input("x in", DType::kF32, {"batch size", "past", "past + 2"});
  m.node("Relu", {"x in"}, {"mid"}).set_name("first/Relu");
  m.node("Neg", {"mid"}, {"y out"}).set_name("second");
  m.output("y out");
  const onnx::ModelProto out = written(m);
  EXPECT_EQ(out.producer_name(), "tenon");
  EXPECT_FALSE(out.producer_version().empty());
  EXPECT_EQ(out.domain(), "ai.example");
  EXPECT_EQ(out.model_version(), 7);
  EXPECT_EQ(out.doc_string(), "a model");
  EXPECT_EQ(out.graph().doc_string(), "a graph");
  EXPECT_EQ(out.graph().name(), "g");
  ASSERT_EQ(out.metadata_props_size(), 1);
  EXPECT_EQ(out.metadata_props(0).key(), "labels");
  EXPECT_EQ(out.metadata_props(0).value(), "cat,dog");
  ASSERT_EQ(out.opset_import_size(), 1);
  EXPECT_EQ(out.opset_import(0).version(), 17);
  EXPECT_EQ(out.ir_version(), 8);
  EXPECT_EQ(out.graph().input(0).name(), "x in");
  EXPECT_EQ(out.graph().output(0).name(), "y out");
  EXPECT_EQ(out.graph().node(0).name(), "first/Relu");
  for (const auto& info : {out.graph().input(0), out.graph().output(0), out.graph().value_info(0)}) {
    const auto& shape = info.type().tensor_type().shape();
    ASSERT_EQ(shape.dim_size(), 3);
    EXPECT_EQ(shape.dim(0).dim_param(), "batch size");
    EXPECT_EQ(shape.dim(1).dim_param(), "past");
    EXPECT_EQ(shape.dim(2).dim_param(), "past + 2");
  }
  EXPECT_EQ(out.graph().value_info(0).name(), "mid");
}

TEST(Export, MetadataKeepsKeysThatFieldsHave) {
  Model m(17);
  for (const char* key : {"domain", "opset_import", "dim_param:N", "metadata_props:x"}) {
    auto* prop = m.proto.add_metadata_props();
    prop->set_key(key);
    prop->set_value("99");
  }
  m.input("x", DType::kF32, {"N"});
  m.node("Relu", {"x"}, {"y"});
  m.output("y");
  const onnx::ModelProto out = written(m);
  EXPECT_EQ(out.domain(), "");
  EXPECT_EQ(out.opset_import(0).version(), 17);
  EXPECT_EQ(out.graph().input(0).type().tensor_type().shape().dim(0).dim_param(), "N");
  std::map<std::string, std::string> props;
  for (const auto& prop : out.metadata_props()) props[prop.key()] = prop.value();
  EXPECT_EQ(props, (std::map<std::string, std::string>{{"domain", "99"}, {"opset_import", "99"}, {"dim_param:N", "99"}, {"metadata_props:x", "99"}}));
}

TEST(Export, PartsThatOptimisedModelsDoNotNeed) {
  Model m(17);
  Model::import_opset(m.proto, "mine", 3);
  m.input("x", DType::kF32, {"3"});
  auto& sparse = *m.graph().add_sparse_initializer();
  *sparse.mutable_values() = floats("s", {1}, {5});
  *sparse.mutable_indices() = ints("", {1}, {1});
  sparse.add_dims(3);
  onnx::TensorProto& words = *m.graph().add_initializer();
  words.set_name("words");
  words.set_data_type(onnx::TensorProto::STRING);
  words.add_dims(2);
  for (const char* word : {"\xc3\xa4", ""}) words.add_string_data(word);
  onnx::FunctionProto& twice = *m.proto.add_functions();
  twice.set_domain("mine");
  twice.set_name("Twice");
  twice.add_input("a");
  twice.add_output("b");
  Model::import_opset(twice, "", 17);
  add_node(twice, "Add", {"a", "a"}, {"b"});
  m.node("Twice", {"x"}, {"t"}, "mine");
  m.node("Add", {"t", "s"}, {"y"});
  m.node("Identity", {"words"}, {"z"});
  m.output("y");
  m.output("z");
  m.proto.add_training_info()->mutable_algorithm()->set_name("step");

  std::vector<std::string> messages;
  const auto sink = Logger::get().set_sink([&](LogLevel, std::string_view text) { messages.emplace_back(text); });
  auto graph = m.import();
  Logger::get().set_sink(sink);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  EXPECT_THAT(messages, ElementsAre(HasSubstr("training_info")));

  const onnx::ModelProto out = written(**graph);
  EXPECT_EQ(out.training_info_size(), 0);
  EXPECT_EQ(out.functions_size(), 0);
  EXPECT_EQ(out.graph().sparse_initializer_size(), 0);
  ASSERT_EQ(out.opset_import_size(), 1);
  EXPECT_EQ(out.opset_import(0).domain(), "");
  const auto outputs = through(**graph, {Tensor::from<float>({3}, {1, 2, 3})});
  ASSERT_EQ(outputs.size(), 2u);
  EXPECT_EQ(numbers(outputs[0]), (std::vector<double>{2, 9, 6}));
  const auto strings = std::get<Tensor>(outputs[1]).string_values();
  EXPECT_EQ(std::vector<std::string>(strings.begin(), strings.end()), (std::vector<std::string>{"\xc3\xa4", ""}));
}

TEST(Export, IrVersionFollowsTheOpset) {
  // https://github.com/onnx/onnx/blob/main/docs/Versioning.md#released-versions
  const std::pair<int64_t, int64_t> kTable[] = {{13, 7},  {14, 7},  {15, 8},  {18, 8},  {19, 9}, {20, 9},
                                                {21, 10}, {22, 10}, {23, 11}, {24, 12}, {25, 13}};
  Model m(13);
  m.input("x", DType::kF32, {"N"});
  m.node("Relu", {"x"}, {"y"});
  m.output("y");
  for (const auto& [opset, ir] : kTable) {
    const onnx::ModelProto out = written(m, opset);
    EXPECT_EQ(out.opset_import(0).version(), opset);
    EXPECT_EQ(out.ir_version(), ir) << opset;
  }
  auto graph = m.import();
  EXPECT_THAT(failure(**graph, 12), HasSubstr("13 to 28"));
  EXPECT_THAT(failure(**graph, 29), HasSubstr("13 to 28"));
}

TEST(Export, OutputsTakeTheirNamesFromWhateverHasThem) {
  // "y" is an inner value; the output of that name is another value. "x" passes through, twice.
  auto graph = parse(R"(graph {
    input %x: f32[2]
    %y: ? = Neg(%x)
    %z: ? = Relu(%y)
    output %z as "y"
    output %x as "x"
    output %x as "again"
    output %z as "third"
  })");
  const onnx::ModelProto out = written(*graph);
  std::vector<std::string> names;
  for (const auto& o : out.graph().output()) names.push_back(o.name());
  EXPECT_THAT(names, ElementsAre("y", "x", "again", "third"));
  const auto got = through(*graph, {Tensor::from<float>({2}, {1, -2})});
  ASSERT_EQ(got.size(), 4u);
  EXPECT_THAT(numbers(got[0]), ElementsAre(0, 2));
  EXPECT_THAT(numbers(got[1]), ElementsAre(1, -2));
  EXPECT_THAT(numbers(got[2]), ElementsAre(1, -2));
  EXPECT_THAT(numbers(got[3]), ElementsAre(0, 2));
}

TEST(Export, RefusesTwoThingsOfOneName) {
  auto graph = parse(R"(graph {
    input %x: f32[2]
    input %w: f32[2]
    %z: ? = Relu(%x)
    output %z as "w"
  })");
  EXPECT_THAT(failure(*graph, 0), HasSubstr("'w' is the name of two"));
}

TEST(Export, OddNamesSurvive) {
  const std::string odd = "a\xff\x01 \"b\n";
  Model m;
  m.input(odd, DType::kF32, {odd});
  m.node("Relu", {odd}, {odd + "y"}).set_name(odd);
  m.output(odd + "y");
  const onnx::ModelProto out = written(m);
  EXPECT_EQ(out.graph().input(0).name(), odd);
  EXPECT_EQ(out.graph().input(0).type().tensor_type().shape().dim(0).dim_param(), odd);
  EXPECT_EQ(out.graph().node(0).name(), odd);
  EXPECT_EQ(out.graph().output(0).name(), odd + "y");
}

TEST(Export, NodeNamesAreUnique) {
  Model m;
  m.input("x", DType::kF32, {"2"});
  m.node("Relu", {"x"}, {"a"}).set_name("same");
  m.node("Neg", {"a"}, {"b"}).set_name("same");
  m.node("Abs", {"b"}, {"y"}).set_name("same_1");
  m.output("y");
  std::set<std::string> names;
  const onnx::ModelProto out = written(m);
  for (const auto& node : out.graph().node()) names.insert(node.name());
  EXPECT_EQ(names.size(), 3u);
}

// ---- Shapes

TEST(Export, ReshapeCopiesAndInfersDims) {
  auto graph = parse(R"(graph {
    input %x: f32[N, S, 768]
    %h: ? = tenon.reshape(%x) {dims = dims[N, S, 12, 64]}
    %m: ? = tenon.reshape(%h) {dims = dims[N*12, S, 64]}
    %f: ? = tenon.reshape(%m) {dims = dims[N*S*768]}
    output %h
    output %m
    output %f
  })");
  const onnx::ModelProto out = written(*graph);
  EXPECT_EQ(std::ranges::count(ops(out.graph()), "Reshape"), 3);
  const auto got = through(*graph, {iota({2, 3, 768})});
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(shape_of(got[0]), (Shape{2, 3, 12, 64}));
  EXPECT_EQ(shape_of(got[1]), (Shape{24, 3, 64}));
  EXPECT_EQ(shape_of(got[2]), (Shape{2 * 3 * 768}));
  EXPECT_EQ(numbers(got[2]).back(), 2 * 3 * 768 - 1);
}

TEST(Export, ReshapeOfStaticDimsIsAConstant) {
  auto graph = parse(R"(graph {
    input %x: f32[N, 6]
    %y: ? = tenon.reshape(%x) {dims = dims[N, 2, 3]}
    %c: f32[6] = Constant {value = dense<f32[6], 1, 2, 3, 4, 5, 6>}
    %z: ? = tenon.reshape(%c) {dims = dims[3, 2]}
    output %y
    output %z
  })");
  EXPECT_THAT(ops(written(*graph).graph()), ElementsAre("Reshape", "Reshape"));
  EXPECT_EQ(shape_of(through(*graph, {iota({5, 6})})[0]), (Shape{5, 2, 3}));
}

TEST(Export, EmptyDimsStayEmpty) {
  auto graph = parse(R"(graph {
    input %x: f32[N, 0]
    %y: ? = tenon.reshape(%x) {dims = dims[0, 3]}
    output %y
  })");
  EXPECT_EQ(shape_of(through(*graph, {iota({5, 0})})[0]), (Shape{0, 3}));
  // The number of rows that NonZero finds may be 0, so that -1 beside it would have no meaning.
  auto found = parse(R"(graph {
    input %x: f32[8]
    %i: ? = NonZero(%x)
    %t: ? = Transpose(%i) {perm = [1, 0]}
    %y: ? = tenon.reshape(%t) {dims = dims[1, i.d1]}
    output %y
  })");
  EXPECT_EQ(shape_of(through(*found, {iota({8})})[0]), (Shape{1, 7}));
  EXPECT_EQ(shape_of(through(*found, {*Tensor::zeros(DType::kF32, {8})})[0]), (Shape{1, 0}));
}

TEST(Export, DimsAreComputedFromWhatHasThem) {
  auto graph = parse(R"(graph {
    input %x: f32[N, M]
    %v: ? = tenon.dim_values() {dims = dims[2*N + M - 3, floor_div(N - 5, 2), mod(N - 9, 4), min(N, M), max(N*M, 7), N*N*M, 4, -N]}
    %s: ? = tenon.dim_values() {dims = dims[floor_div(N*M + 1, M)], scalar = 1}
    %c: ? = tenon.dim_values() {dims = dims[6], scalar = 1}
    %e: ? = Relu(%x)
    %b: ? = Constant {value = dense<f32[1], 2.5>}
    %w: ? = tenon.expand(%b) {dims = dims[M, N + 1]}
    output %v
    output %s
    output %c
    output %w
    output %e
  })");
  for (const auto& [n, m] : {std::pair<int64_t, int64_t>{4, 3}, {2, 9}}) {
    const auto got = through(*graph, {iota({n, m})});
    ASSERT_EQ(got.size(), 5u);
    const double floored = std::floor(static_cast<double>(n - 5) / 2);
    const double modulo = static_cast<double>(((n - 9) % 4 + 4) % 4);
    EXPECT_THAT(numbers(got[0]), ElementsAre(2 * n + m - 3, floored, modulo, std::min(n, m),
                                             std::max<int64_t>(n * m, 7), n * n * m, 4, -n));
    EXPECT_THAT(numbers(got[1]), ElementsAre((n * m + 1) / m));
    EXPECT_THAT(shape_of(got[1]), IsEmpty());
    EXPECT_THAT(numbers(got[2]), ElementsAre(6));
    EXPECT_EQ(shape_of(got[3]), (Shape{m, n + 1}));
  }
}

TEST(Export, DimsThatNothingCarriesAreAnError) {
  auto graph = parse(R"(graph {
    input %x: f32[N + M]
    %v: ? = tenon.dim_values() {dims = dims[N]}
    output %v
  })");
  EXPECT_THAT(failure(*graph, 0), HasSubstr("no value has the size N"));
}

// ---- Regions and functions

TEST(Export, RegionsCaptureOuterNames) {
  auto graph = parse(R"(graph {
    input %c: bool[]
    input %x: f32[N]
    %k: ? = Constant {value = dense<f32[1], 3.0>}
    %y: ? = If(%c) region {
      %a: ? = Mul(%x, %k)
      output %a
    } region {
      output %x
    }
    output %y
  })");
  const Tensor x = Tensor::from<float>({2}, {1, 2});
  EXPECT_THAT(numbers(through(*graph, {Tensor::scalar<bool>(true), x})[0]), ElementsAre(3, 6));
  EXPECT_THAT(numbers(through(*graph, {Tensor::scalar<bool>(false), x})[0]), ElementsAre(1, 2));
}

constexpr const char* kFused = R"(graph {
  input %x: f32[N]
  input %w: f32[N]
  %a: ? = tenon.fused(%x) region {
    input %p: f32[N]
    %one: ? = Constant {value = dense<f32[], 1.0>}
    %s: ? = Add(%p, %one)
    %t: ? = Abs(%s)
    output %t
  }
  %b: ? = tenon.fused(%w) region {
    input %p2: f32[N]
    %one2: ? = Constant {value = dense<f32[], 1.0>}
    %s2: ? = Add(%p2, %one2)
    %t2: ? = Abs(%s2)
    output %t2
  }
  %c: ? = tenon.fused(%a) region {
    input %p3: f32[N]
    %t3: ? = Neg(%p3)
    output %t3
  }
  %d: ? = tenon.fused(%c, %b) region {
    input %p4: f32[N]
    input %q4: f32[N]
    %s4: ? = Add(%p4, %q4)
    %t4: ? = Abs(%s4)
    output %t4
    output %p4
  }
  output %d
})";

TEST(Export, EqualGroupsAreOneFunctionAndSingleNodesNone) {
  std::string text = kFused;
  text.replace(text.find("%d: ?"), 5, "%d: ?, %e: ?");
  auto graph = parse(text);
  const onnx::ModelProto out = written(*graph);
  EXPECT_THAT(ops(out.graph()), ElementsAre("Add_Abs", "Add_Abs", "Neg", "Add_Abs_Identity"));
  ASSERT_EQ(out.functions_size(), 2);
  EXPECT_EQ(out.functions(0).name(), "Add_Abs");
  EXPECT_EQ(out.functions(0).domain(), out.graph().node(0).domain());
  EXPECT_GE(out.ir_version(), 8);
  EXPECT_THAT(numbers(through(*graph, {Tensor::from<float>({2}, {1, -5}), Tensor::from<float>({2}, {2, 3})})[0]),
              ElementsAre(1, 0));
}

TEST(Export, GroupsWhoseDimsTheirInputsLackAreWrittenInline) {
  auto graph = parse(R"(graph {
    input %x: f32[N]
    input %b: f32[1]
    %y: ? = tenon.fused(%b) region {
      input %p: f32[1]
      %s: ? = Neg(%p)
      %t: ? = tenon.expand(%s) {dims = dims[N]}
      output %t
    }
    output %y
  })");
  const onnx::ModelProto out = written(*graph);
  EXPECT_EQ(out.functions_size(), 0);
  EXPECT_THAT(numbers(through(*graph, {iota({3}), Tensor::from<float>({1}, {2})})[0]), ElementsAre(-2, -2, -2));
}

// ---- Types

TEST(Export, EveryTypeOfTensorSurvives) {
  for (int code = 1; code <= 26; ++code) {
    const std::optional<DType> dtype = dtype_from_onnx(code);
    if (!dtype) continue;
    for (int64_t count : {0, 3, 300}) {
      Tensor t = *Tensor::zeros(*dtype, {count});
      for (int64_t i = 0; i < count; ++i)
        if (*dtype == DType::kString)
          t.mutable_strings()[static_cast<size_t>(i)] = fmt::format("s{}\xff", i);
        else if (*dtype != DType::kC64 && *dtype != DType::kC128)
          t.set_int(i, i % 2);
      ir::Graph graph;
      ir::Builder builder(graph);
      graph.add_output(builder.constant(t), "y");
      ASSERT_TRUE(builder.status().ok());
      const auto got = through(graph, {});
      ASSERT_EQ(got.size(), 1u) << name(*dtype);
      const Tensor& back = std::get<Tensor>(got[0]);
      EXPECT_EQ(back.dtype(), *dtype);
      EXPECT_EQ(back.shape(), t.shape());
      if (*dtype == DType::kString)
        EXPECT_EQ(back.string_values(), t.string_values());
      else
        EXPECT_EQ(0, count == 0 ? 0 : std::memcmp(back.data(), t.data(), t.bytes())) << name(*dtype);
    }
  }
}

TEST(Export, SequencesAndOptionalsHaveTypes) {
  Model m;
  m.input("x", DType::kF32, {"N"});
  m.node("SequenceConstruct", {"x", "x"}, {"s"});
  m.node("Optional", {"s"}, {"o"});
  m.output("s");
  m.output("o");
  const onnx::ModelProto out = written(m);
  EXPECT_EQ(out.graph().output(0).type().sequence_type().elem_type().tensor_type().elem_type(), 1);
  EXPECT_TRUE(out.graph().output(1).type().optional_type().elem_type().has_sequence_type());
  auto graph = m.import();
  const auto got = through(**graph, {iota({3})});
  EXPECT_EQ(std::get<std::shared_ptr<Sequence>>(got[0])->items.size(), 2u);
}

}  // namespace
}  // namespace tenon::frontend
