#include <gtest/gtest.h>

#include <map>

#include "harness.h"
#include "ir/evaluate.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"

// Whole graphs: optimised at -O3 with fusion, lowered node by node, interpreted, compared with the reference interpreter.
namespace tenon::lower_test {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

/// Runs one node through its kernels; what does not lower runs on the reference interpreter.
Status run_node(const Node& node, const codegen::Target& target, Instance& instance, std::vector<std::string>& how) {
  const auto look = [&](const Value* v) {
    const Tensor* t = ir::constant_of(v);
    return t != nullptr ? *t : instance.tensors.at(v);
  };
  Result<codegen::LoweredOp> lowered = codegen::lower(node, target);
  if (lowered.ok()) {
    how.push_back(lowered->implementation);
    TENON_ASSIGN_OR_RETURN(auto outputs, run_lowered(*lowered, node, instance, target));
    for (int i = 0; i < node.num_outputs(); ++i) instance.tensors[node.output(i)] = outputs[static_cast<size_t>(i)];
    return {};
  }
  if (lowered.status().code() != Code::kUnsupported) return lowered.status();
  how.push_back("host");
  std::vector<HostValue> inputs, outputs(node.outputs().size());
  for (const Value* v : node.inputs()) inputs.push_back(v == nullptr ? HostValue{} : HostValue{look(v)});
  TENON_RETURN_IF_ERROR(ir::evaluate_node(node, inputs, outputs));
  for (int i = 0; i < node.num_outputs(); ++i) instance.tensors[node.output(i)] = std::get<Tensor>(outputs[static_cast<size_t>(i)]);
  return {};
}

/// Implementations of the nodes, in order, after comparing all outputs for CPU and GPU schedules.
std::vector<std::string> check_graph(std::string_view text, std::map<std::string, int64_t> symbols, double tolerance = 1e-5) {
  auto parsed = ir::parse_text(text);
  EXPECT_TRUE(parsed.ok()) << parsed.status().to_string();
  if (!parsed.ok()) return {};
  EXPECT_TRUE(ir::infer_graph(**parsed).ok());
  Instance original{symbols, {}};
  std::vector<HostValue> inputs;
  uint64_t seed = 1;
  for (const Value* v : (*parsed)->inputs()) inputs.emplace_back(random_tensor(*v, original, seed++));
  auto expected = ir::evaluate_graph(**parsed, inputs);
  EXPECT_TRUE(expected.ok()) << expected.status().to_string();
  if (!expected.ok()) return {};

  auto graph = (*parsed)->clone();
  const Status optimised = passes::run_pipeline(*graph, {.level = 3, .verify_each = true});
  EXPECT_TRUE(optimised.ok()) << optimised.to_string();
  if (!optimised.ok()) return {};
  std::vector<std::string> first;
  for (const codegen::Target& target : every_target()) {
    Instance instance{symbols, {}};
    for (size_t i = 0; i < inputs.size(); ++i) instance.tensors[graph->inputs()[i]] = std::get<Tensor>(inputs[i]);
    std::vector<std::string> how;
    for (const auto& node : graph->nodes()) {
      if (ir::constant_of(node->outputs().empty() ? nullptr : node->output()) != nullptr) continue;
      const Status ran = run_node(*node, target, instance, how);
      EXPECT_TRUE(ran.ok()) << ran.to_string();
      if (!ran.ok()) return how;
    }
    for (size_t i = 0; i < expected->size(); ++i) {
      expect_close(instance.tensors.at(graph->outputs()[i]), std::get<Tensor>((*expected)[i]), tolerance,
                   graph->outputs()[i]->name() + "\n" + ir::to_text(*graph));
    }
    if (first.empty()) first = how;
  }
  return first;
}

using Names = std::vector<std::string>;

TEST(LowerGraph, SoftmaxIsOneKernel) {
  EXPECT_EQ(check_graph(R"(graph "g" {
  input %x: f32[N, 4, S, S]
  input %m: f32[N, 1, 1, S]
  %a: f32[N, 4, S, S] = Add(%x, %m)
  %y: f32[N, 4, S, S] = Softmax(%a) {axis = -1}
  output %y
})", {{"N", 2}, {"S", 19}}), Names{"row reduction"});
}

TEST(LowerGraph, ResidualAndLayerNorm) {
  EXPECT_EQ(check_graph(R"(graph "g" {
  input %x: f32[N, S, 32]
  input %r: f32[N, S, 32]
  input %g: f32[32]
  input %b: f32[32]
  %a: f32[N, S, 32] = Add(%x, %r)
  %y: f32[N, S, 32] = LayerNormalization(%a, %g, %b) {axis = -1}
  %z: f32[N, S, 32] = Mul(%y, %a)
  output %y
  output %a
  output %z
})", {{"N", 2}, {"S", 5}}), Names{"row reduction"});
}

TEST(LowerGraph, ConvBiasSiluResidual) {
  const Names how = check_graph(R"(graph "g" {
  input %x: f32[N, 4, 9, 9]
  input %w: f32[4, 4, 3, 3]
  input %b: f32[4]
  %c: f32[N, 4, 9, 9] = Conv(%x, %w, %b) {pads = [1, 1, 1, 1]}
  %s: f32[N, 4, 9, 9] = Sigmoid(%c)
  %t: f32[N, 4, 9, 9] = Mul(%c, %s)
  %y: f32[N, 4, 9, 9] = Add(%t, %x)
  output %y
})", {{"N", 2}});
  ASSERT_EQ(how.size(), 1u);
  EXPECT_EQ(how[0].substr(0, 11), "contraction");
}

TEST(LowerGraph, Gelu) {
  check_graph(R"(graph "g" {
  input %x: f32[M, 24]
  input %w: f32[24, 40]
  input %b: f32[40]
  %m: f32[M, 40] = MatMul(%x, %w)
  %a: f32[M, 40] = Add(%m, %b)
  %y: f32[M, 40] = Gelu(%a)
  output %y
})", {{"M", 7}});
}

TEST(LowerGraph, AttentionHeads) {
  check_graph(R"(graph "g" {
  input %x: f32[N, S, 24]
  input %w: f32[24, 24]
  %q: f32[N, S, 24] = MatMul(%x, %w)
  %s: i64[4] = Constant {value = dense<i64[4], 0, 0, 3, 8>}
  %r: f32[N, S, 3, 8] = Reshape(%q, %s)
  %t: f32[N, 3, S, 8] = Transpose(%r) {perm = [0, 2, 1, 3]}
  %k: f32[N, 3, 8, S] = Transpose(%r) {perm = [0, 2, 3, 1]}
  %p: f32[N, 3, S, S] = MatMul(%t, %k)
  %d: f32[N, 3, S, S] = Softmax(%p) {axis = -1}
  %o: f32[N, 3, S, 8] = MatMul(%d, %t)
  %u: f32[N, S, 3, 8] = Transpose(%o) {perm = [0, 2, 1, 3]}
  output %u
})", {{"N", 2}, {"S", 11}});
}

TEST(LowerGraph, MovementBetweenElementwise) {
  check_graph(R"(graph "g" {
  input %x: f32[N, 6, 10]
  input %y: f32[N, 6, 10]
  %a: f32[N, 6, 10] = Tanh(%x)
  %t: f32[N, 10, 6] = Transpose(%a) {perm = [0, 2, 1]}
  %u: f32[N, 10, 6] = Transpose(%y) {perm = [0, 2, 1]}
  %s: f32[N, 10, 6] = Add(%t, %u)
  %c: f32[N, 20, 6] = Concat(%s, %t) {axis = 1}
  %n: f32[N, 20, 6] = Neg(%c)
  output %n
})", {{"N", 3}});
}

TEST(LowerGraph, ADiamondThroughAnOpaqueNodeMakesNoCycle) {
  check_graph(R"(graph "g" {
  input %x: f32[6, 10]
  input %w: f32[10, 10]
  %a: f32[6, 10] = Tanh(%x)
  %m: f32[6, 10] = MatMul(%a, %w)
  %r: f32[6, 10] = Relu(%m)
  %s: f32[6, 10] = Add(%a, %r)
  %e: f32[6, 10] = Exp(%a)
  %o: f32[6, 10] = Mul(%s, %e)
  output %o
})", {});
}

TEST(LowerGraph, GlobalPoolAndClassifier) {
  check_graph(R"(graph "g" {
  input %x: f32[N, 8, H, H]
  input %w: f32[5, 8]
  input %b: f32[5]
  %r: f32[N, 8, H, H] = Relu(%x)
  %p: f32[N, 8, 1, 1] = GlobalAveragePool(%r)
  %f: f32[N, 8] = Flatten(%p)
  %l: f32[N, 5] = Gemm(%f, %w, %b) {transB = 1}
  %y: f32[N, 5] = Softmax(%l)
  %i: i64[N] = ArgMax(%y) {axis = 1, keepdims = 0}
  output %y
  output %i
})", {{"N", 3}, {"H", 6}});
}

/// A GPU has several workgroups for each of few long rows.
TEST(LowerGraph, FewLongRows) {
  check_graph(R"(graph "g" {
  input %x: f32[2, 17000]
  %y: ? = Softmax(%x) {axis = -1}
  output %y
})", {});
  check_graph(R"(graph "g" {
  input %x: f32[1, 16411]
  input %s: f32[16411]
  %y: ? = LayerNormalization(%x, %s) {axis = -1}
  output %y
})", {});
}

TEST(LowerGraph, TransposedOperands) {
  check_graph(R"(graph "g" {
  input %x: f32[40, N]
  input %z: f32[N, 40]
  %t: ? = Transpose(%x) {perm = [1, 0]}
  %y: ? = Add(%t, %z)
  output %y
})", {{"N", 33}});
}

}  // namespace
}  // namespace tenon::lower_test
