#include "passes/pattern.h"

#include <numbers>

#include "ir/op.h"
#include "ir/printer.h"
#include "passes/passes.h"
#include "tests/passes/pass_test_util.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Graph;
using ir::Value;

Value* input(Graph& graph, DType dtype = DType::kF32) {
  return graph.add_input("x", ir::TensorType(dtype, {graph.dims().symbol("N"), 4}));
}

/// The product of the values as a random tree of nodes; numbers are multiplied with, or divided by their inverse, and
/// an even number of signs is changed.
class RandomProduct {
 public:
  RandomProduct(Graph& graph, unsigned seed) : b_(graph), rng_(seed) {}

  Value* of(std::vector<Value*> values, double number) {
    for (; numbers_ < 2 && rng_() % 2 == 0; ++numbers_) {
      double part = rng_() % 2 ? 4 : 0.5;
      number /= part;
      values = with(std::move(values), part);
    }
    values = with(std::move(values), number);
    for (int signs = static_cast<int>(rng_() % 2) * 2; signs > 0; --signs) {
      Value*& v = values[rng_() % values.size()];
      v = b_.make("Neg", {v});
    }
    while (values.size() > 1) {
      size_t i = rng_() % values.size(), j = rng_() % (values.size() - 1);
      if (j >= i) ++j;
      values[i] = b_.make("Mul", {values[i], values[j]});
      values.erase(values.begin() + static_cast<std::ptrdiff_t>(j));
    }
    return values[0];
  }
  Builder& builder() { return b_; }

 private:
  /// One of the values times the number.
  std::vector<Value*> with(std::vector<Value*> values, double number) {
    Value*& v = values[rng_() % values.size()];
    bool divide = rng_() % 2;
    Value* c = b_.scalar(v->dtype(), divide ? 1 / number : number);
    v = divide ? b_.make("Div", {v, c}) : rng_() % 2 ? b_.make("Mul", {v, c}) : b_.make("Mul", {c, v});
    return values;
  }

  Builder b_;
  std::mt19937 rng_;
  int numbers_ = 0;
};

TEST(Pattern, EveryOrderOfAProductIsTheSame) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Graph graph;
    Value* x = input(graph);
    RandomProduct random(graph, seed);
    Builder& b = random.builder();
    Value* erf = b.make("Erf", {random.of({x}, std::numbers::sqrt2 / 2)});
    Value* y = random.of({x, b.make("Add", {b.scalar(DType::kF32, 1), erf})}, 0.5);
    graph.add_output(y, "y");
    ASSERT_TRUE(b.status().ok()) << b.status().to_string();
    std::string before = ir::to_text(graph);
    auto inputs = random_inputs(graph, seed);
    auto expected = ir::evaluate_graph(graph, inputs);
    PassContext context;
    ASSERT_TRUE(raise(graph, context).ok());
    ASSERT_TRUE(eliminate_dead(graph, context).ok());
    ASSERT_EQ(graph.num_nodes(), 1u) << before << "\nbecame\n" << ir::to_text(graph);
    EXPECT_TRUE(graph.first()->is("Gelu"));
    auto actual = ir::evaluate_graph(graph, inputs);
    ASSERT_TRUE(expected.ok() && actual.ok());
    expect_same(*expected, *actual, before);
  }
}

TEST(Pattern, CapturesValuesAndNumbers) {
  Graph graph;
  Value* x = input(graph);
  Builder b(graph);
  // -2 (x + 3) / sqrt(x)
  Value* sum = b.make("Add", {b.scalar(DType::kF32, 3), x});
  Value* y = b.make("Div", {b.make("Mul", {sum, b.scalar(DType::kF32, -2)}), b.make("Sqrt", {x})});
  graph.add_output(y, "y");
  const Pattern p = any("x"), factor = number("factor"), term = number("term");
  auto m = match(factor * (p + term) / sqrt(p), *y->def());
  ASSERT_TRUE(m);
  EXPECT_EQ((*m)["x"], x);
  EXPECT_EQ(m->number("factor"), -2);
  EXPECT_EQ(m->number("term"), 3);
  EXPECT_EQ(m->nodes().size(), 4u);
  EXPECT_FALSE(m->has("z"));
  EXPECT_FALSE(match(factor * (p + term) * sqrt(p), *y->def()));
  EXPECT_FALSE(match(factor * (p + term) / sqrt(any("z") + 1), *y->def()));
  EXPECT_TRUE(match(-2 * (p + 3) / sqrt(p), *y->def()));
  EXPECT_FALSE(match(-2 * (p + 3.5) / sqrt(p), *y->def()));
}

TEST(Pattern, NothingInsideIsUsedOutside) {
  Graph graph;
  Value* x = input(graph);
  Builder b(graph);
  Value *e = b.make("Exp", {x}), *y = b.make("Log", {e});
  graph.add_output(y, "y");
  const Pattern p = op("Log", {op("Exp", {any("x")})});
  EXPECT_TRUE(match(p, *y->def()));
  graph.add_output(e, "e");
  EXPECT_FALSE(match(p, *y->def()));
  graph.remove_output(1);
  b.make("Neg", {e});
  EXPECT_FALSE(match(p, *y->def()));
}

TEST(Pattern, AHalfPowerIsNotDistributed) {
  // sqrt(x * x) is |x|, not x.
  Graph graph;
  Value* x = input(graph);
  Builder b(graph);
  Value* y = b.make("Sqrt", {b.make("Mul", {x, x})});
  graph.add_output(y, "y");
  EXPECT_FALSE(match(any("x") * any("y"), *y->def()));
  EXPECT_TRUE(match(sqrt(pow(any("x"), 2)), *y->def()));
}

TEST(Pattern, NumbersAreWhatTheirTypeSays) {
  EXPECT_TRUE(says(static_cast<float>(std::numbers::sqrt2), std::numbers::sqrt2, DType::kF32));
  EXPECT_TRUE(says(1 / static_cast<float>(std::numbers::sqrt2), std::numbers::sqrt2 / 2, DType::kF32));
  EXPECT_FALSE(says(1.4142, std::numbers::sqrt2, DType::kF32));
  EXPECT_TRUE(says(1.4140625, std::numbers::sqrt2, DType::kF16));  // its f16
  EXPECT_TRUE(says(1.4140625, std::numbers::sqrt2, DType::kBF16));
  EXPECT_FALSE(says(static_cast<float>(std::numbers::sqrt2), std::numbers::sqrt2, DType::kF64));
  EXPECT_FALSE(says(0.5004, 0.5, DType::kF16));  // f16 has 0.5 itself
  EXPECT_FALSE(says(1e-30, 0, DType::kF32));
}

TEST(Pattern, TheSearchEnds) {
  // Sums and products of one value in every node: each operand could be each term.
  Graph graph;
  Value* x = input(graph);
  Builder b(graph);
  Value* y = x;
  for (int i = 0; i < 3000; ++i) y = b.make(i % 3 == 0 ? "Mul" : i % 3 == 1 ? "Add" : "Max", {y, i % 2 ? x : y});
  graph.add_output(y, "y");
  PassContext context;
  auto changed = raise(graph, context);
  ASSERT_TRUE(changed.ok());
  const Pattern p = any("x");
  const Pattern wide = (p + any("a")) * (p + any("b")) * (p + any("c")) * (p + any("d"));
  for (ir::Node* node = graph.first(); node; node = node->next()) EXPECT_FALSE(match(wide * wide, *node));
}

}  // namespace
}  // namespace tenon::passes
