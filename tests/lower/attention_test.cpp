#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "harness.h"
#include "ir/evaluate.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"

// Graphs with attention, through the passes, lowered and interpreted, against the reference interpreter on the graph as it was
// written. What is not one kernel of attention fails, but where a test says so.
namespace tenon::lower_test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Edit = std::function<void(const std::string& input, Tensor& tensor)>;
using Symbols = std::map<std::string, int64_t>;

struct Prepared {
  std::unique_ptr<ir::Graph> original, graph;
  std::vector<HostValue> inputs, expected;
};

void prepare(Prepared& p, std::string_view text, const Symbols& symbols, const Edit& edit) {
  auto parsed = ir::parse_text(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  p.original = std::move(*parsed);
  const Status inferred = ir::infer_graph(*p.original);
  ASSERT_TRUE(inferred.ok()) << inferred.to_string();
  const Instance instance{symbols, {}};
  uint64_t seed = 7;
  for (const ir::Value* v : p.original->inputs()) {
    Tensor t = *random_tensor(*v, instance, seed++).clone();
    if (edit) edit(v->name(), t);
    p.inputs.emplace_back(std::move(t));
  }
  auto expected = ir::evaluate_graph(*p.original, p.inputs);
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  p.expected = std::move(*expected);
  p.graph = p.original->clone();
  const Status optimised = passes::run_pipeline(*p.graph, {.level = 3, .verify_each = true});
  ASSERT_TRUE(optimised.ok()) << optimised.to_string();
}

Status run_node(const ir::Node& node, const codegen::Target& target, Instance& instance, int& kernels) {
  Result<codegen::LoweredOp> lowered = codegen::lower(node, target);
  if (lowered.ok()) {
    kernels += lowered->implementation.starts_with("attention");
    TENON_ASSIGN_OR_RETURN(const auto outputs, run_lowered(*lowered, node, instance, target));
    for (int i = 0; i < node.num_outputs(); ++i) instance.tensors[node.output(i)] = outputs[static_cast<size_t>(i)];
    return {};
  }
  std::vector<HostValue> inputs, outputs(node.outputs().size());
  for (const ir::Value* v : node.inputs()) {
    const Tensor* t = ir::constant_of(v);
    inputs.push_back(v == nullptr ? HostValue{} : HostValue{t != nullptr ? *t : instance.tensors.at(v)});
  }
  TENON_RETURN_IF_ERROR(ir::evaluate_node(node, inputs, outputs));
  for (int i = 0; i < node.num_outputs(); ++i) instance.tensors[node.output(i)] = std::get<Tensor>(outputs[static_cast<size_t>(i)]);
  return {};
}

/// Compares all outputs on every target; `kernels` attention kernels must come out.
void check(std::string_view text, const Symbols& symbols, int kernels = 1, const Edit& edit = {}, double tolerance = 1e-5,
           const std::vector<codegen::Target>& targets = every_target()) {
  Prepared p;
  ASSERT_NO_FATAL_FAILURE(prepare(p, text, symbols, edit));
  for (const codegen::Target& target : targets) {
    Instance instance{symbols, {}};
    for (size_t i = 0; i < p.inputs.size(); ++i) instance.tensors[p.graph->inputs()[i]] = std::get<Tensor>(p.inputs[i]);
    int found = 0;
    for (const auto& node : p.graph->nodes()) {
      if (ir::constant_of(node->outputs().empty() ? nullptr : node->output()) != nullptr) continue;
      const Status ran = run_node(*node, target, instance, found);
      ASSERT_TRUE(ran.ok()) << ran.to_string();
    }
    EXPECT_EQ(found, kernels) << ir::to_text(*p.graph);
    for (size_t i = 0; i < p.expected.size(); ++i)
      expect_close(instance.tensors.at(p.graph->outputs()[i]), std::get<Tensor>(p.expected[i]), tolerance,
                   p.graph->outputs()[i]->name() + "\n" + ir::to_text(*p.graph));
  }
}

/// Attention of q [B, Hq, Q, D] with k and v [B, Hk, K, D]; `mask`: an input line for %m, or empty.
std::string attention(std::string_view q, std::string_view k, std::string_view v, std::string_view mask = "", std::string_view attrs = "") {
  return fmt::format(R"(graph "g" {{
  input %q: f32[{}]
  input %k: f32[{}]
  input %v: f32[{}]
{}  %y: ? = Attention(%q, %k, %v{}) {{{}}}
  output %y
}})", q, k, v, mask.empty() ? "" : fmt::format("  input %m: {}\n", mask), mask.empty() ? "" : ", %m", attrs);
}

TEST(LowerAttention, Plain) {
  check(attention("2, 3, 19, 8", "2, 3, 37, 8", "2, 3, 37, 8"), {});
  check(attention("2, 3, 6, 16", "2, 3, 64, 16", "2, 3, 64, 32"), {});
}

TEST(LowerAttention, OddSizes) {
  check(attention("1, 1, 23, 5", "1, 1, 17, 5", "1, 1, 17, 7"), {});
  check(attention("1, 2, 7, 33", "1, 2, 3, 33", "1, 2, 3, 19"), {});
}

// Of all counts of vectors that a tile may be wide.
TEST(LowerAttention, HeadsOfSeveralVectors) {
  for (const int components : {16, 24, 32, 40, 48, 64, 72, 80, 96, 112})
    check(attention("1, 2, 13, 8", "1, 2, 21, 8", fmt::format("1, 2, 21, {}", components)), {});
  check(attention("1, 2, 13, 48", "1, 2, 600, 48", "1, 2, 600, 48"), {});
}

TEST(LowerAttention, FewRowsInPlace) {
  check(attention("2, 2, 1, 16", "2, 2, 29, 16", "2, 2, 29, 16"), {});
  check(attention("1, 2, 3, 20", "1, 2, 29, 20", "1, 2, 29, 12"), {});
  check(attention("1, 1, 1, 8", "1, 1, 1100, 8", "1, 1, 1100, 8"), {});
}

TEST(LowerAttention, BlocksOfKeys) {
  check(attention("1, 1, 9, 8", "1, 1, 900, 8", "1, 1, 900, 8"), {});
  check(attention("1, 1, 140, 4", "1, 1, 20, 4", "1, 1, 20, 4"), {});
}

TEST(LowerAttention, SymbolicSizes) {
  const std::string text = attention("N, 2, Q, 8", "N, 2, K, 8", "N, 2, K, 8", "f32[N, 1, Q, K]");
  check(text, {{"N", 2}, {"Q", 5}, {"K", 11}});
  check(text, {{"N", 1}, {"Q", 1}, {"K", 40}});
  check(text, {{"N", 1}, {"Q", 3}, {"K", 700}});
  check(text, {{"N", 1}, {"Q", 130}, {"K", 2}});
}

TEST(LowerAttention, GroupedHeads) {
  check(attention("2, 6, 5, 8", "2, 2, 13, 8", "2, 2, 13, 8"), {});
  check(attention("1, 4, 1, 8", "1, 1, 13, 8", "1, 1, 13, 8"), {});
  check(attention("N, 8, Q, 8", "N, 2, K, 8", "N, 2, K, 8", "f32[N, 1, Q, K]"), {{"N", 2}, {"Q", 3}, {"K", 5}});
  check(attention("N, 8, Q, 8", "N, 2, K, 8", "N, 2, K, 8", "f32[N, 8, Q, K]"), {{"N", 2}, {"Q", 1}, {"K", 21}});
}

TEST(LowerAttention, MasksThatAreAdded) {
  for (const char* mask : {"f32[2, 3, 7, 18]", "f32[2, 1, 1, 18]", "f32[1, 3, 7, 18]", "f32[7, 18]", "f32[2, 1, 7, 18]"})
    check(attention("2, 3, 7, 8", "2, 3, 18, 8", "2, 3, 18, 8", mask), {});
}

TEST(LowerAttention, MasksThatChoose) {
  check(attention("2, 3, 7, 8", "2, 3, 18, 8", "2, 3, 18, 8", "bool[2, 1, 7, 18]"), {});
  check(attention("2, 3, 7, 8", "2, 3, 18, 8", "2, 3, 18, 8", "bool[7, 18]"), {});
}

TEST(LowerAttention, Causal) {
  check(attention("2, 3, 18, 8", "2, 3, 18, 8", "2, 3, 18, 8", "", "is_causal = 1"), {});
  check(attention("1, 1, 140, 4", "1, 1, 140, 4", "1, 1, 140, 4", "", "is_causal = 1"), {});
  check(attention("N, 2, S, 8", "N, 2, S, 8", "N, 2, S, 8", "", "is_causal = 1"), {{"N", 1}, {"S", 33}});
}

TEST(LowerAttention, SoftcapAndScale) {
  check(attention("2, 3, 7, 8", "2, 3, 18, 8", "2, 3, 18, 8", "f32[7, 18]", "softcap = 2.0, scale = 0.3"), {});
}

TEST(LowerAttention, RowsWithoutKeysAreZeros) {
  const Edit none = [](const std::string& name, Tensor& t) {
    if (name != "m") return;
    for (int64_t i = 0; i < t.size(); ++i)
      if (i / 18 % 7 == 2 || i % 18 > 11) t.set_double(i, t.dtype() == DType::kBool ? 0 : -kInfinity);
  };
  check(attention("2, 3, 7, 8", "2, 3, 18, 8", "2, 3, 18, 8", "f32[2, 1, 7, 18]"), {}, 1, none);
  check(attention("2, 3, 7, 8", "2, 3, 18, 8", "2, 3, 18, 8", "bool[2, 1, 7, 18]"), {}, 1, none);
}

/// As exporters write it: a row of -inf makes NaN.
constexpr std::string_view kSpelledOut = R"(graph "g" {
  input %q: f32[2, 3, 7, 8]
  input %k: f32[2, 3, 18, 8]
  input %v: f32[2, 3, 18, 8]
  input %m: f32[2, 1, 7, 18]
  %kt: ? = Transpose(%k) {perm = [0, 1, 3, 2]}
  %s: ? = MatMul(%q, %kt)
  %x: ? = Add(%s, %m)
  %w: ? = Softmax(%x) {axis = -1}
  %y: ? = MatMul(%w, %v)
  output %y
})";

TEST(LowerAttention, RowsOfMinusInfinityAreNan) {
  check(kSpelledOut, {}, 1, [](const std::string& name, Tensor& t) {
    if (name != "m") return;
    for (int64_t i = 0; i < t.size(); ++i)
      if (i / 18 % 7 == 2 || i % 18 > 11) t.set_double(i, -kInfinity);
  });
}

TEST(LowerAttention, NumbersThatAreNoneOrInfinite) {
  for (const char* where : {"q", "k", "v", "m"}) {
    for (double value : {std::nan(""), static_cast<double>(kInfinity), -static_cast<double>(kInfinity)}) {
      check(kSpelledOut, {}, 1, [&](const std::string& name, Tensor& t) {
        if (name == where) t.set_double(21, value);
      });
    }
  }
}

TEST(LowerAttention, RowsOfTheLowestNumberAreMeans) {
  check(kSpelledOut, {}, 1, [](const std::string& name, Tensor& t) {
    if (name != "m") return;
    for (int64_t i = 0; i < 18; ++i) t.set_double(36 + i, std::numeric_limits<float>::lowest());
  });
}

TEST(LowerAttention, LargeScoresDoNotOverflow) {
  check(attention("1, 1, 7, 8", "1, 1, 600, 8", "1, 1, 600, 8"), {}, 1, [](const std::string& name, Tensor& t) {
    if (name != "q") return;
    for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, t.at_double(i) * 300);
  }, 1e-4);
}

/// Heads in the last axis, as projections leave them, merged with those of the keys and values.
TEST(LowerAttention, ReadsPartsOfOneTensorInPlace) {
  check(R"(graph "g" {
  input %x: f32[N, S, 72]
  %i0: ? = Constant {value = dense<i64[1], 0>}
  %i1: ? = Constant {value = dense<i64[1], 24>}
  %i2: ? = Constant {value = dense<i64[1], 48>}
  %i3: ? = Constant {value = dense<i64[1], 72>}
  %two: ? = Constant {value = dense<i64[1], 2>}
  %shape: ? = Constant {value = dense<i64[4], 0, 0, 3, 8>}
  %merged: ? = Constant {value = dense<i64[3], 0, 0, 24>}
  %qs: ? = Slice(%x, %i0, %i1, %two)
  %ks: ? = Slice(%x, %i1, %i2, %two)
  %vs: ? = Slice(%x, %i2, %i3, %two)
  %qr: ? = Reshape(%qs, %shape)
  %kr: ? = Reshape(%ks, %shape)
  %vr: ? = Reshape(%vs, %shape)
  %q: ? = Transpose(%qr) {perm = [0, 2, 1, 3]}
  %kt: ? = Transpose(%kr) {perm = [0, 2, 3, 1]}
  %v: ? = Transpose(%vr) {perm = [0, 2, 1, 3]}
  %s: ? = MatMul(%q, %kt)
  %w: ? = Softmax(%s) {axis = -1}
  %o: ? = MatMul(%w, %v)
  %t: ? = Transpose(%o) {perm = [0, 2, 1, 3]}
  %y: ? = Reshape(%t, %merged)
  output %y
})", {{"N", 2}, {"S", 11}});
}

TEST(LowerAttention, OtherTypes) {
  check(R"(graph "g" {
  input %q: f64[2, 3, 7, 8]
  input %k: f64[2, 3, 18, 8]
  input %v: f64[2, 3, 18, 8]
  %y: ? = Attention(%q, %k, %v)
  output %y
})", {});
  check(R"(graph "g" {
  input %q: f16[2, 3, 7, 8]
  input %k: f16[2, 3, 18, 8]
  input %v: f16[2, 3, 18, 8]
  %y: ? = Attention(%q, %k, %v)
  output %y
})", {}, 1, {}, 2e-3);
}

/// What is asked for beside the result is computed in kernels of its own.
TEST(LowerAttention, WeightsThatAreAnOutput) {
  check(R"(graph "g" {
  input %q: f32[2, 3, 7, 8]
  input %k: f32[2, 3, 18, 8]
  input %v: f32[2, 3, 18, 8]
  %kt: ? = Transpose(%k) {perm = [0, 1, 3, 2]}
  %s: ? = MatMul(%q, %kt)
  %w: ? = Softmax(%s) {axis = -1}
  %y: ? = MatMul(%w, %v)
  output %y
  output %w
})", {}, 0);
}

/// Tiles follow what a GPU has: many sums a lane, little shared memory, workgroups as small as Vulkan allows.
TEST(LowerAttention, TilesOfOtherGpus) {
  codegen::Target wide = gpu(), tight = gpu(), small = gpu();
  wide.lane_sums = 64;
  tight.lane_sums = 16;
  tight.shared_bytes = 16 << 10;
  small.max_workgroup = 128;
  small.busy_workgroups = 1;
  for (const codegen::Target& target : {wide, tight, small}) {
    check(attention("1, 1, 70, 40", "1, 1, 90, 40", "1, 1, 90, 72", "", "is_causal = 1"), {}, 1, {}, 1e-5, {target});
    check(attention("1, 2, 1, 128", "1, 2, 300, 128", "1, 2, 300, 128"), {}, 1, {}, 1e-5, {target});
    check(attention("1, 2, Q, 33", "1, 1, K, 33", "1, 1, K, 300"), {{"Q", 3}, {"K", 41}}, 1, {}, 1e-5, {target});
  }
}

TEST(LowerAttention, HeadsOfUnknownSizeRunInStages) {
  check(attention("1, 2, 7, D", "1, 2, 9, D", "1, 2, 9, D", "", "scale = 0.5"), {{"D", 8}}, 0);
}

}  // namespace
}  // namespace tenon::lower_test
