// Older opsets: the form of every op there, what stands for ops that are missing, and what cannot be said.

#include <cmath>

#include <gmock/gmock.h>

#include "frontend/onnx/export.h"
#include "frontend/onnx/proto.h"
#include "ir/op.h"
#include "ir/op_registry.h"
#include "ir/parser.h"
#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<ir::Graph> parse(const std::string& text) {
  auto graph = ir::parse_text(text);
  const Status status = graph.ok() ? ir::infer_graph(**graph) : graph.status();
  if (!status.ok()) {
    ADD_FAILURE() << status.to_string();
    return nullptr;
  }
  return std::move(*graph);
}

/// A graph of one line: `%y: ? = OP(%x…) {…}` over inputs as given.
std::unique_ptr<ir::Graph> one(const std::string& inputs, const std::string& line) {
  return parse("graph {\n" + inputs + "\n" + line + "\noutput %y\n}");
}

Result<onnx::ModelProto> write(const ir::Graph& graph, int64_t opset) {
  ExportOptions options;
  options.opset = opset;
  TENON_ASSIGN_OR_RETURN(const std::string bytes, export_onnx_bytes(graph, options));
  onnx::ModelProto model;
  if (!model.ParseFromString(bytes)) return error(Code::kInternal, "protobuf cannot read it");
  return model;
}

onnx::ModelProto written(const ir::Graph& graph, int64_t opset) {
  auto model = write(graph, opset);
  if (!model.ok()) ADD_FAILURE() << model.status().to_string();
  return model.ok() ? *model : onnx::ModelProto();
}

std::string failure(const ir::Graph& graph, int64_t opset) {
  const auto model = write(graph, opset);
  return model.ok() ? "ok" : model.status().to_string();
}

int64_t own_opset(const ir::Graph& graph) { return written(graph, 0).opset_import(0).version(); }

std::vector<double> through(const ir::Graph& graph, const std::vector<HostValue>& inputs, int64_t opset) {
  ExportOptions options;
  options.opset = opset;
  const Result<std::string> bytes = export_onnx_bytes(graph, options);
  if (!bytes.ok()) {
    ADD_FAILURE() << bytes.status().to_string();
    return {};
  }
  const auto again = import_onnx_bytes(std::as_bytes(std::span(*bytes)));
  if (!again.ok()) {
    ADD_FAILURE() << again.status().to_string();
    return {};
  }
  const auto outputs = ir::evaluate_graph(**again, inputs);
  if (!outputs.ok()) {
    ADD_FAILURE() << outputs.status().to_string();
    return {};
  }
  return numbers(outputs->front());
}

const onnx::AttributeProto* attribute(const onnx::NodeProto& node, const std::string& name) {
  for (const auto& a : node.attribute())
    if (a.name() == name) return &a;
  return nullptr;
}

// ---- Forms

TEST(ExportOpset, ReduceAxesAreAnAttributeBefore18) {
  auto graph = one("input %x: f32[2, N]\n%a: ? = Constant {value = dense<i64[1], 1>}",
                   "%y: ? = ReduceMax(%x, %a) {keepdims = 0}");
  const onnx::ModelProto old = written(*graph, 17), now = written(*graph, 18);
  EXPECT_EQ(old.graph().node(0).input_size(), 1);
  ASSERT_NE(attribute(old.graph().node(0), "axes"), nullptr);
  EXPECT_THAT(attribute(old.graph().node(0), "axes")->ints(), ElementsAre(1));
  EXPECT_EQ(old.graph().initializer_size(), 0);  // the axes that nothing reads any more
  EXPECT_EQ(now.graph().node(0).input_size(), 2);
  EXPECT_EQ(own_opset(*graph), 13);
  EXPECT_THAT(through(*graph, {Tensor::from<float>({2, 2}, {1, 4, 3, 2})}, 13), ElementsAre(4, 3));
}

TEST(ExportOpset, AxesThatAreNotConstantNeed18) {
  auto graph = one("input %x: f32[2, N]\ninput %a: i64[1]", "%y: ? = ReduceMax(%x, %a) {keepdims = 0} \"pool\"");
  EXPECT_THAT(failure(*graph, 17), HasSubstr("opset 17 of ai.onnx has no ReduceMax with axes that are not constant "
                                             "(node pool): choose opset 18 or later"));
  EXPECT_EQ(own_opset(*graph), 18);
}

TEST(ExportOpset, SplitWithoutSizesIsIntoEqualPartsBefore18) {
  auto even = parse("graph {\ninput %x: f32[6]\n%y: ?, %z: ? = Split(%x) {num_outputs = 2}\noutput %y\noutput %z\n}");
  const onnx::ModelProto before = written(*even, 17), since = written(*even, 18);
  EXPECT_EQ(attribute(before.graph().node(0), "num_outputs"), nullptr);
  EXPECT_NE(attribute(since.graph().node(0), "num_outputs"), nullptr);
  auto odd = parse("graph {\ninput %x: f32[5]\n%y: ?, %z: ? = Split(%x) {num_outputs = 2}\noutput %y\noutput %z\n}");
  EXPECT_THAT(failure(*odd, 17), HasSubstr("choose opset 18"));
  EXPECT_EQ(own_opset(*odd), 18);
}

TEST(ExportOpset, NewAttributesAreLeftOutWhereTheySayTheDefault) {
  auto plain = one("input %x: f32[2, 3]", "%y: ? = Cast(%x) {saturate = 1, to = 7}");
  const onnx::ModelProto before = written(*plain, 13), since = written(*plain, 19);
  EXPECT_EQ(attribute(before.graph().node(0), "saturate"), nullptr);
  EXPECT_NE(attribute(since.graph().node(0), "saturate"), nullptr);
  auto wrap =
      one("input %x: f32[4]\n%p: ? = Constant {value = dense<i64[2], 1, 1>}", "%y: ? = Pad(%x, %p) {mode = \"wrap\"}");
  EXPECT_THAT(failure(*wrap, 18), HasSubstr("mode wrap"));
  EXPECT_EQ(own_opset(*wrap), 19);
}

TEST(ExportOpset, NewTypesRaiseTheOpset) {
  EXPECT_EQ(own_opset(*one("input %x: f32[2]", "%y: ? = Cast(%x) {to = 17}")), 19);  // float8e4m3fn
  EXPECT_EQ(own_opset(*one("input %x: f32[2]", "%y: ? = Cast(%x) {to = 22}")), 21);  // int4
  EXPECT_EQ(own_opset(*one("input %x: bf16[2]", "%y: ? = Sin(%x)")), 22);
  EXPECT_EQ(own_opset(*one("input %x: i8[2]", "%y: ? = Add(%x, %x)")), 14);
  EXPECT_THAT(failure(*one("input %x: bf16[2]", "%y: ? = Sin(%x)"), 21), HasSubstr("type bf16[2]"));
}

TEST(ExportOpset, DftAxisAndGridSampleModes) {
  auto dft =
      one("input %x: f32[1, 4, 3, 1]\n%l: ? = Constant {value = dense<i64[], 4>}\n%a: ? = Constant {value = "
          "dense<i64[], 1>}",
          "%y: ? = DFT(%x, %l, %a)");
  EXPECT_EQ(attribute(written(*dft, 17).graph().node(0), "axis")->i(), 1);
  EXPECT_EQ(written(*dft, 17).graph().node(0).input_size(), 2);
  auto grid =
      one("input %x: f32[1, 1, 4, 4]\ninput %g: f32[1, 2, 2, 2]", "%y: ? = GridSample(%x, %g) {mode = \"cubic\"}");
  EXPECT_EQ(attribute(written(*grid, 16).graph().node(0), "mode")->s(), "bicubic");
  EXPECT_EQ(attribute(written(*grid, 20).graph().node(0), "mode")->s(), "cubic");
}

// ---- Ops that are missing

struct Formula {
  const char* line;
  double (*value)(double);
};

TEST(ExportOpset, ActivationsByOlderOps) {
  // ONNX docs/Operators.md.
  const Formula kTable[] = {
      {"%y: ? = Gelu(%x)", [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }},
      {"%y: ? = Gelu(%x) {approximate = \"tanh\"}",
       [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {"%y: ? = Mish(%x)", [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
      {"%y: ? = Swish(%x) {alpha = 1.5}", [](double x) { return x / (1 + std::exp(-1.5 * x)); }},
      {"%y: ? = HardSwish(%x)", [](double x) { return x * std::max(0.0, std::min(1.0, x / 6 + 0.5)); }},
  };
  const std::vector<float> xs = {-4, -1.25, -0.5, 0, 0.75, 2, 3.5};
  for (const Formula& f : kTable) {
    auto graph = one("input %x: f32[7]", f.line);
    EXPECT_GT(own_opset(*graph), 13) << f.line;
    const auto got = through(*graph, {Tensor::from<float>({7}, std::span<const float>(xs))}, 13);
    ASSERT_EQ(got.size(), xs.size());
    for (size_t i = 0; i < xs.size(); ++i)
      EXPECT_NEAR(got[i], f.value(static_cast<double>(xs[i])), 2e-6) << f.line << " of " << xs[i];
  }
}

TEST(ExportOpset, NormalizationByItsDefinition) {
  auto graph = one("input %x: f32[N, 4]\ninput %s: f32[4]\ninput %b: f32[4]", "%y: ? = LayerNormalization(%x, %s, %b)");
  EXPECT_EQ(own_opset(*graph), 17);
  const onnx::ModelProto old = written(*graph, 13);
  for (const auto& node : old.graph().node()) EXPECT_THAT(node.op_type(), Not(HasSubstr("Normalization")));
  // (x - 2.5) / sqrt(1.25) for 1, 2, 3, 4
  const auto got = through(*graph,
                           {Tensor::from<float>({1, 4}, {1, 2, 3, 4}), Tensor::from<float>({4}, {1, 1, 1, 2}),
                            Tensor::from<float>({4}, {0, 0, 1, 0})},
                           13);
  ASSERT_EQ(got.size(), 4u);
  const double expected[] = {-1.3416355, -0.4472118, 1.4472118, 2.683271};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got[i], expected[i], 1e-5);
}

TEST(ExportOpset, TrianglesAndGatedUnits) {
  auto upper = one("input %x: f32[2, N]\n%k: ? = Constant {value = dense<i64[], 1>}", "%y: ? = Trilu(%x, %k)");
  EXPECT_EQ(own_opset(*upper), 14);
  const Tensor x = Tensor::from<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(through(*upper, {x}, 13), ElementsAre(0, 2, 3, 0, 0, 6));
  auto lower = one("input %x: f32[2, N]", "%y: ? = Trilu(%x) {upper = 0}");
  EXPECT_THAT(through(*lower, {x}, 13), ElementsAre(1, 0, 0, 4, 5, 0));
  auto gated = one("input %g: f32[1]\ninput %x: f32[1]", "%y: ? = SwiGLU(%g, %x)");
  const auto got = through(*gated, {Tensor::from<float>({1}, {2}), Tensor::from<float>({1}, {3})}, 13);
  EXPECT_NEAR(got.at(0), 6 / (1 + std::exp(-2.0)), 1e-5);
}

TEST(ExportOpset, SumsTakeAxesThatAreData) {
  const Tensor x = Tensor::from<float>({2, 2}, {3, -4, 0, 2}), axis = Tensor::from<int64_t>({1}, {1});
  const std::pair<const char*, std::vector<double>> kTable[] = {
      {"ReduceL1", {7, 2}}, {"ReduceL2", {5, 2}}, {"ReduceSumSquare", {25, 4}}};
  for (const auto& [op, sums] : kTable) {
    auto graph = one("input %x: f32[2, 2]\ninput %a: i64[1]", fmt::format("%y: ? = {}(%x, %a) {{keepdims = 0}}", op));
    EXPECT_EQ(own_opset(*graph), 18);
    EXPECT_EQ(through(*graph, {x, axis}, 13), sums) << op;
  }
  auto half = one("input %x: f16[2, 2]\ninput %a: i64[1]", "%y: ? = ReduceL2(%x, %a)");  // squares may overflow
  EXPECT_THAT(failure(*half, 17), HasSubstr("axes that are not constant"));
}

TEST(ExportOpset, QuantizingTo16BitsByArithmetic) {
  auto graph = one("input %x: f32[2, 4]\ninput %s: f32[2]\ninput %z: u16[2]", "%y: ? = QuantizeLinear(%x, %s, %z) {axis = 0}");
  EXPECT_EQ(own_opset(*graph), 21);
  // Ties to even, then the zero point, then the range.
  EXPECT_THAT(through(*graph,
                      {Tensor::from<float>({2, 4}, {0.25, 0.75, -50000, 50000, 1, 3, -4, 131072}), Tensor::from<float>({2}, {0.5, 2}),
                       Tensor::from<uint16_t>({2}, {32767, 1})},
                      13),
              ElementsAre(32767, 32769, 0, 65535, 1, 3, 0, 65535));
}

TEST(ExportOpset, AxesOfPadAndResizeBecomeAll) {
  auto pad =
      one("input %x: f32[1, N, 2]\n%p: ? = Constant {value = dense<i64[2], 1, 2>}\n%a: ? = Constant {value = "
          "dense<i64[1], -1>}",
          "%y: ? = Pad(%x, %p, _, %a)");
  EXPECT_THAT(through(*pad, {Tensor::from<float>({1, 1, 2}, {3, 4})}, 13), ElementsAre(0, 3, 4, 0, 0));
  auto resize = one("input %x: f32[1, 1, N]\n%s: ? = Constant {value = dense<f32[1], 2.0>}",
                    "%y: ? = Resize(%x, _, %s) {axes = [2], coordinate_transformation_mode = \"asymmetric\", "
                    "nearest_mode = \"floor\"}");
  EXPECT_EQ(own_opset(*resize), 18);
  EXPECT_THAT(through(*resize, {Tensor::from<float>({1, 1, 2}, {3, 4})}, 13), ElementsAre(3, 3, 4, 4));
}

TEST(ExportOpset, ShapeOfSomeAxes) {
  auto graph = one("input %x: f32[N, M, 5, K]", "%y: ? = Shape(%x) {end = -1, start = 1}");
  EXPECT_THAT(through(*graph, {*Tensor::zeros(DType::kF32, {2, 3, 5, 7})}, 13), ElementsAre(3, 5));
}

TEST(ExportOpset, CastLikeIsCast) {
  auto graph = one("input %x: f32[2]\ninput %t: i32[1]", "%y: ? = CastLike(%x, %t)");
  EXPECT_EQ(written(*graph, 13).graph().node(0).op_type(), "Cast");
  EXPECT_THAT(through(*graph, {Tensor::from<float>({2}, {1.75F, -2.5F}), Tensor::from<int32_t>({1}, {0})}, 13),
              ElementsAre(1, -2));
}

TEST(ExportOpset, MissingOpsAreNamed) {
  auto graph = one("input %x: i32[2]", "%y: ? = BitwiseNot(%x) \"flip\"");
  EXPECT_THAT(failure(*graph, 17),
              HasSubstr("opset 17 of ai.onnx has no BitwiseNot (node flip): choose opset 18 or later"));
  EXPECT_EQ(own_opset(*graph), 18);
}

TEST(ExportOpset, RegisteredOpsKeepTheirForm) {
  const auto infer = [](ir::InferContext& c) {
    c.set(0, c.in(0));
    return Status();
  };
  auto registry = std::make_shared<ir::OpRegistry>();
  for (const int64_t version : {1, 3})
    ASSERT_TRUE(registry
                    ->add({.domain = "acme",
                           .name = "Foo",
                           .inputs = {{"X", "T"}},
                           .outputs = {{"Y", "T"}},
                           .infer = infer,
                           .since_version = version,
                           .closure = std::make_shared<int>(0)},
                          "lib.so")
                    .ok());
  const auto opset_or_error = [&](const char* first, const char* second) {
    const std::string text =
        fmt::format("graph {{ input %x: f32[2] %t: ? = acme.{}(%x) %y: ? = acme.{}(%t) output %y }}", first, second);
    auto graph = ir::parse_text(text, registry);
    EXPECT_TRUE(graph.ok() && ir::infer_graph(**graph).ok());
    auto model = write(**graph, 0);
    if (!model.ok()) return model.status().to_string();
    for (const auto& import : model->opset_import())
      if (import.domain() == "acme") return std::to_string(import.version());
    return std::string("none");
  };
  EXPECT_EQ(opset_or_error("Foo/1", "Foo/1"), "1");
  EXPECT_EQ(opset_or_error("Foo", "Foo"), "3");
  EXPECT_THAT(opset_or_error("Foo/1", "Foo"), HasSubstr("opset 3 of acme, which another node needs, has another form of Foo"));
}

}  // namespace
}  // namespace tenon::frontend
