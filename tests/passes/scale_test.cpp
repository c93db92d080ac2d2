// Passes stay linear: what they look at grows as the graph does, whatever its form. Counts, not times.

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "ir/op.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Graph;
using ir::TensorType;
using ir::Value;

constexpr int64_t kWidth = 8;

struct Shaper {
  Graph& graph;
  Builder b;
  Value* x;
  explicit Shaper(Graph& g) : graph(g), b(g), x(g.add_input("x", TensorType(DType::kF32, {g.dims().symbol("N"), Dim(kWidth)}))) {}

  Value* unary(std::string_view op, Value* v) { return b.make(op, {v}); }
  Value* scaled(Value* v, int i) { return b.make("Mul", {v, b.scalar(DType::kF32, 2 + i)}); }
  Value* row(double value) {
    Tensor t = *Tensor::zeros(DType::kF32, {kWidth});
    for (int64_t i = 0; i < kWidth; ++i) t.set_double(i, value);
    return b.constant(std::move(t));
  }
  Value* weights(int i) {
    Tensor t = *Tensor::zeros(DType::kF32, {kWidth, kWidth});
    for (int64_t k = 0; k < kWidth; ++k) t.set_double(k * kWidth + k, 1 + 1e-3 * i);
    return b.constant(std::move(t));
  }
};

/// Adds about `n` nodes and the outputs.
using Shape = std::function<void(Shaper& s, int n)>;

const std::map<std::string, Shape>& shapes() {
  static const std::map<std::string, Shape> all = {
      {"Chain", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; ++i) v = s.unary(i % 2 == 0 ? "Exp" : "Neg", v);
         s.graph.add_output(v);
       }},
      {"Layers", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; i += 2) v = s.b.make("Add", {s.b.make("MatMul", {v, s.weights(i)}), s.row(i)});
         s.graph.add_output(v);
       }},
      {"FanOutOfInput", [](Shaper& s, int n) {
         for (int i = 0; i < n; ++i) s.graph.add_output(s.scaled(s.x, i));
       }},
      {"FanOutOfNode", [](Shaper& s, int n) {
         Value* v = s.unary("Relu", s.x);
         for (int i = 0; i < n; i += 2) s.graph.add_output(s.unary("Exp", s.scaled(v, i)));
       }},
      {"FanOutOfProduct", [](Shaper& s, int n) {
         Value* v = s.b.make("MatMul", {s.x, s.weights(0)});
         for (int i = 0; i < n; ++i) s.graph.add_output(s.scaled(v, i));
       }},
      {"FanIn", [](Shaper& s, int n) {
         std::vector<Value*> parts;
         Value* v = s.x;
         for (int i = 0; i < n; ++i) parts.push_back(v = s.unary("Exp", v));
         s.graph.add_output(s.b.make_n("Concat", parts, 1, {{"axis", int64_t{1}}})[0]);
         s.graph.add_output(s.b.make_n("Sum", parts, 1)[0]);
       }},
      {"FoldableConstants", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; i += 2) v = s.b.make("Add", {v, s.unary("Sqrt", s.row(i))});
         s.graph.add_output(v);
       }},
      {"EqualNodes", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; i += 2) v = s.b.make("Add", {v, s.unary("Exp", s.x)});
         s.graph.add_output(v);
       }},
      {"EqualNodesWithRunTimeDims", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; i += 4) {
           Value* sum = s.b.make("Add", {s.unary("NonZero", v), s.unary("NonZero", v)});
           v = s.b.make("Cast", {sum}, {{"to", int64_t{1}}});
         }
         s.graph.add_output(v);
       }},
      {"DeadNodes", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; ++i) v = i % 2 == 0 ? s.unary("Exp", v) : s.scaled(s.x, i);
         s.graph.add_output(s.unary("Relu", s.x));
       }},
      {"NeutralNodesAsOutputs", [](Shaper& s, int n) {
         Value* one = s.b.scalar(DType::kF32, 1);
         for (int i = 0; i < n; ++i) s.graph.add_output(s.b.make("Mul", {s.x, one}));
       }},
      {"Transposes", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; ++i) v = s.b.make("Transpose", {v}, {{"perm", std::vector<int64_t>{1, 0}}});
         s.graph.add_output(v);
       }},
      {"ShapeArithmetic", [](Shaper& s, int n) {
         Value* v = s.x;
         for (int i = 0; i < n; i += 6) {
           Value* rows = s.b.make("Gather", {s.unary("Shape", v), s.b.ints({0})});
           Value* shape = s.b.make("Concat", {rows, s.b.ints({-1})}, {{"axis", int64_t{0}}});
           v = s.unary("Relu", s.b.make("Reshape", {v, shape}));
         }
         s.graph.add_output(v);
       }},
      {"Decomposed", [](Shaper& s, int n) {
         Value* v = s.x;
         Value *scale = s.row(1), *bias = s.row(0);
         for (int i = 0; i < n; i += 20) v = s.b.make("LayerNormalization", {s.unary("Softmax", v), scale, bias});
         s.graph.add_output(v);
       }},
      {"Branches", [](Shaper& s, int n) {
         Value* condition = s.graph.add_input("c", TensorType(DType::kBool, {}));
         Value* v = s.x;
         for (int i = 0; i < n; i += 4) {
           auto node = s.graph.create(*ir::find_op("If"), std::vector<Value*>{condition}, 1);
           for (std::string_view op : {"Relu", "Neg"}) {
             Graph& branch = node->add_region();
             branch.add_output(Builder(branch).make(op, {v}));
           }
           ASSERT_TRUE(ir::infer_node(*node).ok());
           v = s.unary("Abs", node->output());
         }
         s.graph.add_output(v);
       }},
  };
  return all;
}

std::unique_ptr<Graph> build(const Shape& shape, int n) {
  auto graph = std::make_unique<Graph>();
  Shaper shaper(*graph);
  shape(shaper, n);
  EXPECT_TRUE(shaper.b.status().ok()) << shaper.b.status().to_string();
  return graph;
}

/// What every pass of -O3 looked at, in the order of the pipeline.
std::vector<PassTime> steps_of(const Shape& shape, int n) {
  auto graph = build(shape, n);
  std::vector<PassTime> times;
  const Status status = run_pipeline(*graph, {}, &times);
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_TRUE(ir::verify(*graph).ok());
  return times;
}

class PassesAtScale : public testing::TestWithParam<std::string> {};

TEST_P(PassesAtScale, LookAtTwiceAsMuchInTwiceTheGraph) {
  constexpr int kNodes = 3000;
  const Shape& shape = shapes().at(GetParam());
  const std::vector<PassTime> once = steps_of(shape, kNodes), twice = steps_of(shape, 2 * kNodes);
  ASSERT_EQ(once.size(), twice.size());
  int64_t total = 0;
  for (size_t i = 0; i < once.size(); ++i) {
    total += once[i].steps;
    // A little above twice: groups and rounds at the ends. Quadratic passes give four times as much.
    EXPECT_LE(twice[i].steps, once[i].steps * 5 / 2 + 200) << once[i].name << ": " << once[i].steps << ", then " << twice[i].steps;
  }
  EXPECT_GE(total, kNodes) << "nothing was counted";
}

TEST_P(PassesAtScale, LeaveWhatPrintsAndParses) {
  auto graph = build(shapes().at(GetParam()), 20000);
  const Status status = run_pipeline(*graph, {});
  ASSERT_TRUE(status.ok()) << status.to_string();
  const std::string text = ir::to_text(*graph, {.full = true});
  auto parsed = ir::parse_text(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  EXPECT_EQ(ir::to_text(**parsed, {.full = true}), text);
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& [name, shape] : shapes()) out.push_back(name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Shapes, PassesAtScale, testing::ValuesIn(names()), [](const auto& info) { return info.param; });

TEST(PassInterrupt, StopsThePipeline) {
  auto graph = build(shapes().at("Chain"), 100);
  PipelineOptions late;
  late.interrupt.deadline = std::chrono::steady_clock::now();
  EXPECT_EQ(run_pipeline(*graph, late).code(), Code::kDeadlineExceeded);
  std::atomic<bool> cancel = true;
  PipelineOptions cancelled;
  cancelled.interrupt.cancel = &cancel;
  EXPECT_EQ(run_pipeline(*graph, cancelled).code(), Code::kCancelled);
  cancel = false;
  EXPECT_TRUE(run_pipeline(*graph, cancelled).ok());
}

}  // namespace
}  // namespace tenon::passes
