// What --precision may move results by, and which products it counts.

#include "eval/rounded_products.h"

#include <cmath>

#include <gtest/gtest.h>

#include "eval/debug/compare_values.h"
#include "eval/verify.h"
#include "ir/parser.h"

namespace tenon::eval {
namespace {

std::unique_ptr<ir::Graph> parse(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return graph.ok() ? std::move(*graph) : nullptr;
}

/// Two products one behind the other, a softmax, and one beside them.
constexpr const char* kChain = R"(graph "g" {
  input %x: f32[N, 8]
  input %v: f32[8, 8]
  input %w: f32[8, 8]
  %a: f32[N, 8] = MatMul(%x, %v) "a"
  %b: f32[N, 8] = Relu(%a) "b"
  %c: f32[N, 8] = MatMul(%b, %w) "c"
  %d: f32[N, 8] = Softmax(%c) {axis = -1} "d"
  %e: f32[N, 8] = MatMul(%x, %w) "e"
  %y: f32[N, 8] = Add(%d, %e) "y"
  output %y
})";

TEST(RoundedProducts, AreCountedAlongTheLongestWay) {
  const auto graph = parse(kChain);
  const auto counts = products_before(*graph, {});
  ASSERT_TRUE(counts.ok()) << counts.status().to_string();
  for (const auto& [name, count] : std::initializer_list<std::pair<const char*, int>>{{"a", 1}, {"b", 1}, {"c", 2}, {"d", 2}, {"e", 1}, {"y", 2}})
    EXPECT_EQ(counts->at(name), count) << name;
  const auto since = products_before(*graph, {}, [](std::string_view name) { return name == "b"; });
  ASSERT_TRUE(since.ok());
  EXPECT_EQ(since->at("b"), 1) << "its own are counted";
  EXPECT_EQ(since->at("y"), 1) << "those before it are not";
}

TEST(RoundedProducts, AreThoseOfWhatOpsDecomposeTo) {
  const auto graph = parse(R"(graph "g" {
  input %q: f32[1, 2, 4, 8]
  input %k: f32[1, 2, 4, 8]
  input %v: f32[1, 2, 4, 8]
  input %z: f64[3, 3]
  %y: ? = Attention(%q, %k, %v)
  %p: ? = MatMul(%z, %z)
  output %y
  output %p
})");
  const auto counts = products_before(*graph, {});
  ASSERT_TRUE(counts.ok()) << counts.status().to_string();
  EXPECT_EQ(counts->at("y"), 2) << "scores, and weighted values";
  EXPECT_EQ(counts->at("p"), 0) << "doubles are not rounded";
}

/// A region goes on from what it reads outside; a loop of known length has its body's products as often.
TEST(RoundedProducts, AreCountedThroughRegions) {
  const auto graph = parse(R"(graph "g" {
  input %x: f32[4, 4]
  input %c: bool[]
  %h: f32[4, 4] = MatMul(%x, %x) "h"
  %y: f32[4, 4] = If(%c) "y" region {
    %t: f32[4, 4] = MatMul(%h, %x)
    output %t
  } region {
    output %x
  }
  %n: i64[] = Constant {value = dense<i64[], 10>}
  %z: f32[4, 4] = Loop(%n, _, %h) "z" region {
    input %i: i64[]
    input %go: bool[]
    input %s: f32[4, 4]
    %u: f32[4, 4] = MatMul(%s, %x)
    %on: bool[] = Identity(%go)
    output %on
    output %u
  }
  output %y
  output %z
})");
  ASSERT_NE(graph, nullptr);
  const auto counts = products_before(*graph, {});
  ASSERT_TRUE(counts.ok()) << counts.status().to_string();
  EXPECT_EQ(counts->at("y"), 2);
  EXPECT_EQ(counts->at("z"), 11);
}

TEST(RoundedProducts, WidenTolerancesByTheRootOfTheirNumber) {
  const Tolerance exact{.rtol = 1e-3, .atol = 0.5, .scaled_atol = 1e-4};
  for (const auto& [precision, epsilon] : {std::pair{DType::kF16, std::ldexp(1.0, -10)}, {DType::kBF16, std::ldexp(1.0, -7)}})
    for (const int products : {1, 4, 100}) {
      const Tolerance wide = with_rounded_factors(exact, precision, products);
      EXPECT_DOUBLE_EQ(wide.rtol, 2 * epsilon * std::sqrt(products));
      EXPECT_DOUBLE_EQ(wide.scaled_atol, epsilon * std::sqrt(products));
      EXPECT_EQ(wide.atol, 0.5);
    }
  const Tolerance none = with_rounded_factors(exact, DType::kF16, 0);
  EXPECT_EQ(none.rtol, 1e-3);
  EXPECT_EQ(none.scaled_atol, 1e-4);
  EXPECT_EQ(with_rounded_factors({.rtol = 1, .atol = 0, .scaled_atol = 1}, DType::kBF16, 9).rtol, 1) << "a wider one stays";
  EXPECT_EQ(describe({0, exact}, DType::kF16), "");
  EXPECT_EQ(describe({4, with_rounded_factors(exact, DType::kF16, 4)}, DType::kF16), "f16 factors of 4 products one behind the other: rtol 0.0039, scaled-atol 0.002");
}

class RoundedDigits : public ::testing::TestWithParam<DType> {
 protected:
  CaseResult verify(VerifyOptions options, const char* backend = "cpu") {
    options.compile.precision = GetParam();
    options.isolate = false;
    options.round_off_samples = 0;
    return verify_case({"digits", std::filesystem::path(TENON_SOURCE_DIR) / "models/digits"}, *backends::find_backend(backend), options);
  }
};

TEST_P(RoundedDigits, AgreeWithinTheirTolerancesAndNotWithinThoseOfExactFactors) {
  const CaseResult wide = verify({});
  EXPECT_EQ(wide.status, CaseStatus::kPassed) << wide.message;
  EXPECT_NE(wide.rounding, "");
  VerifyOptions strict;
  strict.widen = false;
  strict.tolerance = {.rtol = 1e-6, .atol = 0, .scaled_atol = 1e-6};
  const CaseResult narrow = verify(strict);
  EXPECT_EQ(narrow.rounding, "");
  EXPECT_EQ(narrow.status, CaseStatus::kFailed) << "factors are rounded";
  EXPECT_EQ(verify({}, "reference").rounding, "") << "the interpreter rounds nothing";
}

/// A wrong node is as wrong as before.
TEST_P(RoundedDigits, FaultsAreFound) {
  const auto graph = parse(kChain);
  std::vector<HostValue> inputs;
  for (const Shape& shape : {Shape{5, 8}, Shape{8, 8}, Shape{8, 8}}) {
    Tensor t = *Tensor::zeros(DType::kF32, shape);
    for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, std::sin(0.7 * static_cast<double>(i) + static_cast<double>(inputs.size())));
    inputs.emplace_back(std::move(t));
  }
  for (const bool wrong : {false, true}) {
    std::vector<Variant> variants = {{"reference", backends::find_backend("reference"), {}}, {"cpu", backends::find_backend("cpu"), {}}};
    variants[1].compile.precision = GetParam();
    if (wrong) variants[1].compile.fault = *passes::parse_fault("kernel:b");
    CompareOptions options;
    options.round_off_samples = 0;
    const auto compared = compare_values(*graph, variants, inputs, options);
    ASSERT_TRUE(compared.ok()) << compared.status().to_string();
    EXPECT_EQ(compared->ok, !wrong);
    EXPECT_EQ(compared->first.has_value(), wrong);
    EXPECT_EQ(compared->roundings[0].products, 0);
    EXPECT_EQ(compared->roundings[1].products, 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, RoundedDigits, ::testing::Values(DType::kF16, DType::kBF16), [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace tenon::eval
