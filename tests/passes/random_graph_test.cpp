#include "ir/op.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"
#include "tests/passes/named_values.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Graph;
using ir::Value;

/// Nodes of many kinds over float and integer values with two symbolic dims. Ops that cannot take the drawn operands
/// are drawn again.
class RandomGraph {
 public:
  explicit RandomGraph(unsigned seed) : rng_(seed) {
    Dim n = graph_.dims().symbol("N"), m = graph_.dims().symbol("M");
    values_.push_back(graph_.add_input("x", ir::TensorType(DType::kF32, {n, 4, m})));
    values_.push_back(graph_.add_input("y", ir::TensorType(DType::kF32, {4, 1})));
    values_.push_back(graph_.add_input("k", ir::TensorType(DType::kI64, {m})));
    values_.push_back(graph_.add_input("c", ir::TensorType(DType::kBool, {})));
  }

  Graph& build(int nodes) {
    fill(graph_, values_, nodes, 0);
    return graph_;
  }

 private:
  size_t pick(size_t n) { return rng_() % n; }
  Value* any(const std::vector<Value*>& values) { return values[pick(values.size())]; }
  Value* of(const std::vector<Value*>& values, DType dtype) {
    for (int i = 0; i < 30; ++i)
      if (Value* v = any(values); v->dtype() == dtype) return v;
    return nullptr;
  }

  Value* constant(Builder& b, DType dtype) {
    static constexpr double kValues[] = {0, 1, -1, 2, 0.5};
    return b.scalar(dtype, kValues[pick(dtype == DType::kF32 ? 5 : 4)]);
  }

  Value* shape_step(Graph& graph, Builder& b, Value* x) {
    int64_t rank = x->tensor().rank();
    switch (pick(6)) {
      case 5: return rank > 0 ? b.make("NonZero", {x}) : nullptr;
      case 0: return b.make("Shape", {x});
      case 1: return b.make("tenon.reshape", {x}, {{"dims", std::vector<Dim>{x->tensor().count(), 1}}});
      case 2: {
        std::vector<Dim> dims = *x->tensor().dims;
        dims.insert(dims.begin(), pick(2) ? Dim(2) : graph.dims().symbol("N"));
        return rank < 4 ? b.make("tenon.expand", {x}, {{"dims", dims}}) : nullptr;
      }
      case 3: {
        std::vector<int64_t> perm;
        for (int64_t i = 0; i < rank; ++i) perm.push_back(i);
        std::shuffle(perm.begin(), perm.end(), rng_);
        return b.make("Transpose", {x}, {{"perm", perm}});
      }
      default: return b.make("Reshape", {x, b.ints({-1})});
    }
  }

  /// Ops over one axis.
  Value* axis_step(Builder& b, Value* x) {
    int64_t rank = x->tensor().rank();
    if (rank == 0) return nullptr;
    auto axis = static_cast<int64_t>(pick(static_cast<size_t>(rank)));
    // Dims that only run time knows may be 0, where some of these fail.
    std::string extent = to_string(x->tensor().dim(axis));
    if (extent == "0" || extent.find(".d") != std::string::npos) return nullptr;
    switch (pick(7)) {
      case 0: return b.make("Concat", {x, x}, {{"axis", axis}});
      case 1: return b.make("Slice", {x, b.ints({0}), b.ints({pick(2) ? INT64_MAX : 1}), b.ints({axis})});
      case 2: return b.make("ReduceSum", {x, b.ints({axis})}, {{"keepdims", static_cast<int64_t>(pick(2))}});
      case 3: return x->dtype() == DType::kF32 ? b.make("Softmax", {x}, {{"axis", axis}}) : nullptr;
      case 4: return x->dtype() == DType::kF32 ? b.make("ReduceMean", {x, b.ints({axis})}) : nullptr;
      case 5: return b.make("Unsqueeze", {x, b.ints({axis})});
      default: return b.make("Gather", {x, b.scalar(DType::kI64, 0)}, {{"axis", axis}});
    }
  }

  /// x · W, an affine map of it, and what may follow a contraction.
  Value* matmul_step(Builder& b, Value* x) {
    int64_t rank = x->tensor().rank();
    if (x->dtype() != DType::kF32 || rank < 2 || !x->tensor().dim(rank - 1).is_const()) return nullptr;
    int64_t k = x->tensor().dim(rank - 1).value();
    if (k > 16) return nullptr;
    Value* w = b.constant(random_tensor(ir::TensorType(DType::kF32, {k, 3}), 3, rng_));
    Value* scale = b.constant(random_tensor(ir::TensorType(DType::kF32, {3}), 3, rng_));
    return b.make("Mul", {b.make("MatMul", {x, w}), scale});
  }

  /// x ∗ W along the last axis, channels being the one before, and now and then what may follow it.
  Value* conv_step(Builder& b, Value* x) {
    if (x->dtype() != DType::kF32 || x->tensor().rank() != 3 || !x->tensor().dim(1).is_const()) return nullptr;
    const int64_t channels = x->tensor().dim(1).value(), filters = pick(2) ? 8 : 3, taps = pick(2) ? 1 : 3;
    if (channels > 16 || to_string(x->tensor().dim(2)).find(".d") != std::string::npos) return nullptr;
    Value* w = b.constant(random_tensor(ir::TensorType(DType::kF32, {filters, channels, taps}), 3, rng_));
    Value* y = b.make("Conv", {x, w}, {{"pads", std::vector<int64_t>{taps / 2, taps / 2}}});
    switch (pick(4)) {
      case 0: return b.make("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
      case 1: return b.make("GlobalAveragePool", {y});
      case 2: return b.make("Relu", {b.make("Conv", {y, b.constant(random_tensor(ir::TensorType(DType::kF32, {8, filters, 1}), 3, rng_))})});
      default: return y;
    }
  }

  Value* branch(Graph& graph, const std::vector<Value*>& values, int depth) {
    Builder b(graph);
    Value* condition = pick(2) ? graph_.inputs()[3] : b.constant(Tensor::scalar<bool>(pick(2) != 0));
    ir::Node* node = graph.create(*ir::find_op("If"), std::span(&condition, 1), 1);
    Value* result = any(values);
    for (int r = 0; r < 2; ++r) {
      std::vector<Value*> inner = values;
      Graph& region = node->add_region();
      fill(region, inner, 4, depth + 1);
      Value* output = result;
      for (Value* v : inner)
        if (v->graph() == &region && v->type() == result->type()) output = v;
      region.add_output(output);
    }
    EXPECT_TRUE(ir::infer_node(*node).ok());
    return node->output();
  }

  Value* step(Graph& graph, Builder& b, const std::vector<Value*>& values, int depth) {
    static constexpr std::string_view kUnary[] = {"Neg", "Abs", "Tanh", "Relu", "Identity", "Sigmoid"};
    static constexpr std::string_view kBinary[] = {"Add", "Sub", "Mul", "Add", "Mul", "Max"};
    DType dtype = pick(3) ? DType::kF32 : DType::kI64;
    Value* x = of(values, dtype);
    if (!x) return nullptr;
    switch (pick(depth < 2 ? 10 : 9)) {
      case 0:
        if (dtype != DType::kF32) return nullptr;
        return x->tensor().rank() == 0 ? nullptr : b.make(kUnary[pick(std::size(kUnary))], {x});
      case 1: return b.make(kBinary[pick(std::size(kBinary))], {x, constant(b, dtype)});
      case 2: {
        Value* y = of(values, dtype);
        return y && (y->type() == x->type() || y->tensor().rank() == 0) ? b.make(kBinary[pick(6)], {x, y}) : nullptr;
      }
      case 3: return b.make("Cast", {x}, {{"to", int64_t{info(pick(2) ? DType::kF32 : DType::kI64).onnx}}});
      case 4: return constant(b, dtype);
      case 5: return shape_step(graph, b, x);
      case 6: return x->tensor().rank() < 6 ? axis_step(b, x) : nullptr;
      case 7: return matmul_step(b, x);
      case 8: return conv_step(b, x);
      default: return branch(graph, values, depth);
    }
  }

  void fill(Graph& graph, std::vector<Value*>& values, int nodes, int depth) {
    for (int i = 0; i < nodes; ++i) {
      Builder b(graph);
      Value* made = step(graph, b, values, depth);
      ASSERT_TRUE(b.status().ok()) << b.status().to_string();
      if (made) values.push_back(made);
    }
    if (depth == 0)
      for (int i = 0; i < 4; ++i) graph.add_output(any(values), fmt::format("result{}", i));
  }

  std::mt19937 rng_;
  Graph graph_;
  std::vector<Value*> values_;
};

/// Applies `change` to many random graphs and compares results, and every value that keeps its name, on two sizes.
void check(const std::string& what, const std::function<Status(Graph&)>& change, unsigned first_seed) {
  size_t shared = 0;
  for (unsigned seed = first_seed; seed < first_seed + 60; ++seed) {
    RandomGraph random(seed);
    Graph& graph = random.build(26);
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_TRUE(ir::verify(graph).ok()) << ir::verify(graph).to_string();
    std::string text = ir::to_text(graph);
    std::string where = fmt::format("{}, seed {}\n{}", what, seed, text);
    auto changed = graph.clone();
    Status status = change(*changed);
    ASSERT_TRUE(status.ok()) << status.to_string() << "\n" << where;
    status = ir::verify(*changed);
    ASSERT_TRUE(status.ok()) << status.to_string() << "\n" << where;
    where += "\nbecame\n" + ir::to_text(*changed);
    for (int64_t size : {3, 1}) {
      auto inputs = random_inputs(graph, seed, size);
      auto before = ir::evaluate_graph(graph, inputs), after = ir::evaluate_graph(*changed, inputs);
      ASSERT_TRUE(before.ok()) << before.status().to_string() << "\n" << where;
      ASSERT_TRUE(after.ok()) << after.status().to_string() << "\n" << where;
      expect_same(*before, *after, where);
      if (!testing::Test::HasFatalFailure()) shared += expect_names_keep_meaning(graph, *changed, inputs, where);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(shared, 300U) << what;
}

TEST(RandomGraphs, EachPassKeepsTheResult) {
  unsigned seed = 0;
  for (const PassInfo& pass : pipeline()) {
    check(std::string(pass.name), [&](Graph& graph) {
      PassContext context;
      context.target = {.vector_bytes = 16, .byte_products = true};
      return Status(pass.run(graph, context).status());
    }, seed += 1000);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(RandomGraphs, PipelinesKeepTheResult) {
  for (int level = 0; level <= 3; ++level)
    check(fmt::format("O{}", level), [&](Graph& graph) {
      return run_pipeline(graph, {.level = level, .verify_each = true, .target = {.vector_bytes = 16, .byte_products = true}});
    }, 100000u + 1000u * static_cast<unsigned>(level));
}

TEST(RandomGraphs, AnyNumberOfRewritesKeepsTheResult) {
  for (int64_t rewrites : {0, 1, 2, 3, 5, 8, 13, 21})
    check(fmt::format("{} rewrites", rewrites), [&](Graph& graph) {
      return run_pipeline(graph, {.verify_each = true, .max_rewrites = rewrites, .target = {.vector_bytes = 16, .byte_products = true}});
    }, 200000u + 1000u * static_cast<unsigned>(rewrites));
}

TEST(Pipeline, RefusesUnknownNamesAndSkipsDisabledPasses) {
  RandomGraph random(7);
  Graph& graph = random.build(10);
  EXPECT_EQ(run_pipeline(graph, {.disabled = {"no-such-pass"}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(run_pipeline(graph, {.print_after = {"no-such-pass"}}).code(), Code::kInvalidArgument);
  std::vector<PassTime> times;
  std::string printed;
  ASSERT_TRUE(run_pipeline(graph, {.disabled = {"simplify"}, .print_after = {"infer"},
                                   .print = [&](std::string_view text) { printed += text; }}, &times).ok());
  for (const PassTime& time : times) EXPECT_NE(time.name, "simplify");
  EXPECT_NE(printed.find("// after infer\ngraph"), std::string::npos);
}

}  // namespace
}  // namespace tenon::passes
