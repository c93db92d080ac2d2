#include <gtest/gtest.h>

#include <random>

#include "ir/op.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"

namespace tenon::ir {
namespace {

constexpr std::string_view kSample = R"(graph "sample" {
  meta "producer" = "a \"quoted\" name"
  symbol "N" [1, 16]
  input %x: f32[N, 3]
  input %"odd name": seq<f32[*]>
  input %c: bool[]
  %w: f32[3] = Constant {value = dense<f32[3], 1.0, -0.0, inf>}
  %h: f16[1] = Constant {value = hex<f16[1], 017e>}
  %s: i64[2] @[N, floor_div(N + 1, 2)] = tenon.dim_values {dims = dims[N, floor_div(N + 1, 2)]} "shape"
  %r: f32[N*3] = tenon.reshape(%x) {dims = dims[N*3]}
  %/a/b: seq<f32[*]> = Identity(%"odd name") ""
  %y: f32[N, 3] = If(%c) region "then" {
    %t: f32[N, 3] = Identity(%x)
    output %t
  } region {
    output %x
  }
  output %y as "scores"
  output %r
}
)";

std::string round_trip(std::string_view text, const PrintOptions& options = {}) {
  auto graph = parse_text(text);
  if (!graph.ok()) return graph.status().to_string();
  Status verified = verify(**graph);
  if (!verified.ok()) return verified.to_string();
  return to_text(**graph, options);
}

TEST(Text, RoundTrips) { EXPECT_EQ(round_trip(kSample), kSample); }

TEST(Text, CloneIsEqual) {
  auto graph = parse_text(kSample);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  auto copy = (*graph)->clone();
  graph->reset();
  EXPECT_TRUE(verify(*copy).ok());
  EXPECT_EQ(to_text(*copy), kSample);
}

TEST(Text, InferenceAgreesWithTheSample) {
  auto graph = parse_text(kSample);
  ASSERT_TRUE(graph.ok());
  Status status = infer_graph(**graph);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(to_text(**graph), kSample);
}

TEST(Text, LargeConstantsNeedTheFullForm) {
  Graph graph;
  Builder b(graph);
  std::vector<int64_t> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i * i);
  graph.add_output(b.ints(values));
  std::string brief = to_text(graph), full = to_text(graph, {.full = true});
  EXPECT_NE(brief.find("blob<i64[1000], "), std::string::npos);
  EXPECT_FALSE(parse_text(brief).ok());
  EXPECT_EQ(round_trip(full, {.full = true}), full);
}

TEST(Text, HostileTextIsRefused) {
  for (std::string_view text :
       {"", "graph", "graph {", "graph { output %x }", "graph { %x: f32[] = NoSuchOp }", "graph { input %x: f32[N }",
        "graph { input %x: f33[] }", "graph { input %x: f32[] input %x: f32[] }", "graph { } }",
        "graph { %x: f32[4] = Constant {value = dense<f32[4], 1.0>} output %x }",
        "graph { %x: f32[1] = Constant {value = dense<f32[99999999999], 1.0>} output %x }",
        "graph { %x: f32[1] = Constant {value = dense<f32[99999999999, 99999999999], 1.0>} output %x }",
        "graph { %x: f32[1] = Constant {value = hex<f32[1], 0011>} output %x }",
        "graph { %x: f32[1] = Constant {value = 3} output %x }", "graph { %x: f32[1] = Constant output %x }",
        "graph { %x: f32[1] = Constant {value = dense<string[1], 1>} output %x }",
        "graph { input %x: f32[] %y: f32[] = Identity(%x, %x) output %y }",
        "graph { input %c: bool[] %y: f32[] = If(%c) region { %t: f32[] = Constant {value = dense<f32[], 1.0>} output %t } "
        "region { output %t } output %y }"})
    EXPECT_FALSE(parse_text(text).ok()) << text;
  std::string deep = "graph { input %c: bool[] ";
  for (int i = 0; i < 100000; ++i) deep += "If(%c) region { ";
  EXPECT_FALSE(parse_text(deep).ok());
  std::string types = "graph { input %c: ";
  for (int i = 0; i < 100000; ++i) types += "seq<";
  EXPECT_FALSE(parse_text(types).ok());
}

TEST(Text, DamagedTextNeverCrashes) {
  std::mt19937 rng(1);
  for (size_t cut = 0; cut < kSample.size(); ++cut) (void)round_trip(kSample.substr(0, cut));
  for (int i = 0; i < 20000; ++i) {
    std::string text(kSample);
    for (int k = 0; k < 2; ++k) text[rng() % text.size()] = static_cast<char>(rng() % 128);
    (void)round_trip(text);
  }
}

/// Nodes of the ops that need no others, over values of random types, with a nested If now and then.
void random_nodes(Graph& graph, std::vector<Value*> values, std::mt19937& rng, int depth) {
  Builder b(graph);
  auto pick = [&](size_t n) { return rng() % n; };
  for (int i = 0; i < 6; ++i) {
    Value* x = values[pick(values.size())];
    switch (pick(depth < 2 ? 5 : 4)) {
      case 0: values.push_back(b.make("Identity", {x})); break;
      case 1: values.push_back(b.scalar(pick(2) ? DType::kF32 : DType::kI8, static_cast<double>(pick(100)))); break;
      case 2: values.push_back(b.make("tenon.reshape", {x}, {{"dims", std::vector<Dim>{1, x->tensor().count()}}})); break;
      case 3: values.push_back(b.make("tenon.dim_values", {}, {{"dims", std::vector<Dim>{x->tensor().count(), 4}}})); break;
      default: {
        Value* condition = b.make("Constant", {}, {{"value", Attr(Tensor::scalar<bool>(pick(2) != 0))}});
        ASSERT_TRUE(b.status().ok()) << b.status().to_string();
        Node* node = graph.create(*find_op("If"), std::span(&condition, 1), 1);
        node->set_name(graph.unique_name("branch"));
        for (int r = 0; r < 2; ++r) {
          Graph& region = node->add_region();
          random_nodes(region, values, rng, depth + 1);
          while (region.outputs().size() > 1) region.remove_output(1);
          region.set_output(0, x);
        }
        ASSERT_TRUE(infer_node(*node).ok());
        values.push_back(node->output());
      }
    }
    ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  }
  for (int i = 0; i < 2; ++i) graph.add_output(values[pick(values.size())]);
}

TEST(Text, RandomGraphsRoundTrip) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 rng(seed);
    Graph graph;
    Dim n = graph.dims().symbol("batch size"), m = graph.dims().symbol("M");
    std::vector<Value*> inputs = {graph.add_input("a", TensorType(DType::kF32, {n, 3})),
                                  graph.add_input("b", TensorType(DType::kI64, {m * 2 + n}))};
    random_nodes(graph, inputs, rng, 0);
    ASSERT_TRUE(verify(graph).ok()) << verify(graph).to_string();
    std::string text = to_text(graph, {.full = true});
    ASSERT_EQ(round_trip(text, {.full = true}), text) << "seed " << seed;
    ASSERT_EQ(to_text(*graph.clone(), {.full = true}), text) << "seed " << seed;
  }
}

TEST(Verifier, NamesEachBrokenRule) {
  Graph graph;
  Value* x = graph.add_input("x", TensorType(DType::kF32, {2}));
  Builder b(graph);
  Value* y = b.make("Identity", {x});
  Value* z = b.make("Identity", {y});
  graph.add_output(z);
  ASSERT_TRUE(verify(graph).ok());

  graph.move_before(z->def(), y->def());
  EXPECT_NE(verify(graph).what().find("before its definition"), std::string::npos);
  graph.move_before(z->def(), nullptr);

  z->set_name("x");
  EXPECT_NE(verify(graph).what().find("two values are named"), std::string::npos);
  z->set_name("z");

  y->set_type({});
  EXPECT_NE(verify(graph).what().find("has no type"), std::string::npos);
  EXPECT_TRUE(verify(graph, {.types = false}).ok());
  y->set_type(TensorType(DType::kF32, {-1}));
  EXPECT_FALSE(verify(graph).ok());
  y->set_type(TensorType(DType::kF32, {2}));

  y->def()->set_input(1, x);
  EXPECT_NE(verify(graph).what().find("2 inputs are given"), std::string::npos);
  y->def()->remove_input(1);
  EXPECT_TRUE(verify(graph).ok()) << verify(graph).to_string();
}

TEST(Graph, ReplaceAllUsesReachesRegionsAndOutputs) {
  auto graph = parse_text(kSample);
  ASSERT_TRUE(graph.ok());
  Value* x = (*graph)->inputs()[0];
  Value* other = (*graph)->add_input("other", x->type());
  (*graph)->replace_all_uses(x, other);
  EXPECT_TRUE(x->unused());
  EXPECT_TRUE(verify(**graph).ok()) << verify(**graph).to_string();
  EXPECT_NE(to_text(**graph).find("output %other"), std::string::npos);
}

TEST(Graph, ErasingAnOwnerGivesBackTheUsesOfItsRegions) {
  auto graph = parse_text(kSample);
  ASSERT_TRUE(graph.ok());
  Value* x = (*graph)->inputs()[0];
  (*graph)->remove_output(0);
  Node* owner = (*graph)->nodes().back().get();
  ASSERT_EQ(owner->op_name(), "If");
  (*graph)->erase(owner);
  EXPECT_EQ(x->uses().size(), 1u);
  EXPECT_EQ(x->num_output_uses(), 0);
  EXPECT_TRUE(verify(**graph).ok());
}

}  // namespace
}  // namespace tenon::ir
