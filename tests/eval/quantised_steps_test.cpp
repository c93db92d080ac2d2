// What quantisers may move results by, and that comparisons allow that and no more.

#include "eval/quantised_steps.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>

#include "eval/bench/measure.h"
#include "eval/debug/compare_values.h"
#include "ir/parser.h"
#include "tests/eval/debug_models.h"
#include "tests/eval/interpreted.h"

namespace tenon::eval {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<ir::Graph> parse(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return graph.ok() ? std::move(*graph) : nullptr;
}

/// Codes of the input, a product of what they stand for, codes of that, and results of both kinds.
constexpr const char* kLayer = R"(graph "g" {
  input %x: f32[2, 4]
  %s: f32[] = Constant {value = dense<f32[], 0.1>}
  %t: f32[] = Constant {value = dense<f32[], 0.05>}
  %z: i8[] = Constant {value = dense<i8[], 3>}
  %w: f32[4, 4] = Constant {value = dense<f32[4, 4], 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8>}
  %q: i8[2, 4] = QuantizeLinear(%x, %s, %z) "q"
  %d: f32[2, 4] = DequantizeLinear(%q, %s, %z) "d"
  %m: f32[2, 4] = MatMul(%d, %w) "m"
  %p: i8[2, 4] = QuantizeLinear(%m, %t, %z) "p"
  %r: f32[2, 4] = DequantizeLinear(%p, %t, %z) "r"
  %a: f32[4, 2] = Transpose(%r) {perm = [1, 0]} "a"
  %h: f32[] = Constant {value = dense<f32[], 0.5>}
  %e: f32[2, 4] = Mul(%r, %h) "e"
  %f: f32[2, 4] = Relu(%x) "f"
  output %p
  output %a
  output %e
  output %f
})";

TEST(QuantisedSteps, AreCountedAndMeasured) {
  const auto graph = parse(kLayer);
  const auto steps = steps_before(*graph, {});
  ASSERT_TRUE(steps.ok()) << steps.status().to_string();
  struct Want {
    const char* value;
    int quantisers;
    double step;
  };
  for (const auto& [value, quantisers, step] : {Want{"q", 1, 1}, {"d", 1, 0.1}, {"m", 1, 0}, {"p", 2, 1}, {"r", 2, 0.05}, {"a", 2, 0.05}, {"e", 2, 0}}) {
    EXPECT_EQ(steps->at(value).quantisers, quantisers) << value;
    EXPECT_NEAR(steps->at(value).step, step, 1e-8) << value;
    EXPECT_EQ(steps->at(value).bits, 8) << value;
  }
  EXPECT_FALSE(steps->contains("f"));
  const auto since = steps_before(*graph, {}, [](std::string_view name) { return name == "q"; });
  ASSERT_TRUE(since.ok());
  EXPECT_EQ(since->at("q").quantisers, 1) << "its own is counted";
  EXPECT_FALSE(since->contains("m")) << "those before it are not";
  EXPECT_EQ(since->at("p").quantisers, 1);
  const auto outputs = steps_of_outputs(*graph, {});
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ(outputs->at(0).step, 1);
  EXPECT_EQ(outputs->at(3).quantisers, 0);
}

TEST(QuantisedSteps, AreThoseOfWhatOpsDecomposeTo) {
  const auto graph = parse(R"(graph "g" {
  input %x: f32[2, 4]
  %q: ?, %s: ?, %z: ? = DynamicQuantizeLinear(%x)
  %i: i64[2, 4] = Cast(%x) {to = 7}
  %h: f32[2, 4] = Round(%x)
  output %q
  output %i
  output %h
})");
  const auto steps = steps_of_outputs(*graph, {});
  ASSERT_TRUE(steps.ok()) << steps.status().to_string();
  EXPECT_EQ(steps->at(0).step, 1);
  EXPECT_EQ(steps->at(0).quantisers, 1);
  EXPECT_EQ(steps->at(1).quantisers, 0);
  EXPECT_EQ(steps->at(2).quantisers, 0) << "no codes";
}

TEST(QuantisedSteps, WidenTolerancesByTheRootOfTheirNumber) {
  const Tolerance exact{.rtol = 1e-3, .atol = 0.5, .scaled_atol = 1e-4};
  EXPECT_EQ(with_steps(exact, {}).atol, 0.5);
  EXPECT_EQ(with_steps(exact, {}).scaled_atol, 1e-4);
  EXPECT_EQ(with_steps(exact, {4, 8, 0.25}).atol, 1);
  EXPECT_EQ(with_steps(exact, {4, 8, 0.25}).scaled_atol, 1e-4);
  EXPECT_EQ(with_steps(exact, {9, 8, 0}).scaled_atol, 3.0 / 128);
  EXPECT_EQ(with_steps(exact, {1, 16, 0}).scaled_atol, 1e-4) << "a wider one stays";
  EXPECT_EQ(describe({}), "");
  EXPECT_EQ(describe({1, 4, 1}), "a quantiser: 1 step of 4 bits");
  EXPECT_EQ(describe({3, 8, 1}), "3 quantisers one behind the other: 1.7 steps of 8 bits");
}

/// The comparison with an interpreter that adds `by` to the third element of a value.
Comparison shifted(const std::string& value, double by, CompareOptions options = {}) {
  const auto graph = parse(kLayer);
  const Interpreted other(false, [&](const std::string& name, Tensor& tensor) {
    if (name == value) tensor.set_double(2, tensor.at_double(2) + by);
  });
  const std::vector<HostValue> inputs = {Tensor::from<float>({2, 4}, {0.1F, 0.2F, -0.3F, 0.4F, 0.5F, -0.6F, 0.7F, 0.8F})};
  options.round_off_samples = 0;
  auto out = compare_values(*graph, std::vector<Variant>{{"reference", backends::find_backend("reference"), {}}, {"other", &other, {}}}, inputs, options);
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? std::move(*out) : Comparison();
}

const ValueDifference& row_of(const Comparison& c, const std::string& value) {
  return *std::ranges::find(c.values, value, &ValueDifference::value);
}

TEST(QuantisedSteps, AreNoDifference) {
  for (const double by : {1.0, -1.0}) {
    const Comparison c = shifted("p", by);
    EXPECT_TRUE(c.ok);
    EXPECT_FALSE(c.first);
    const ValueDifference& row = row_of(c, "p");
    EXPECT_TRUE(row.ok && row.by_steps);
    EXPECT_EQ(row.note, "allowed for a quantiser: 1 step of 8 bits");
    EXPECT_EQ(row.own.max_abs, 1);
    EXPECT_EQ(c.steps.quantisers, 2);
    ASSERT_EQ(c.outputs.size(), 4U);
    EXPECT_THAT(c.outputs[0].note, HasSubstr("2 quantisers")) << "which the total is judged by";
    EXPECT_THAT(c.outputs[1].note, HasSubstr("2 quantisers")) << "what is dequantised from the codes is as far apart";
    for (const char* untouched : {"q", "r", "e"}) EXPECT_FALSE(row_of(c, untouched).by_steps) << untouched;
  }
}

TEST(QuantisedSteps, AreAllThatIsAllowed) {
  const Comparison codes = shifted("p", 2);
  ASSERT_TRUE(codes.first);
  EXPECT_EQ(codes.values[*codes.first].value, "p");
  EXPECT_THAT(codes.values[*codes.first].note, HasSubstr("1 of 8 elements differ"));
  const Comparison values = shifted("r", 0.05);
  ASSERT_TRUE(values.first) << "the codes before it are compared, so it has no step of its own";
  EXPECT_EQ(values.values[*values.first].value, "r");
  const Comparison given = shifted("p", 1, {.widen = false});
  EXPECT_FALSE(given.ok) << "a tolerance that is given holds as it is";
}

TEST(QuantisedSteps, AreNoDifferenceOfBenchmarks) {
  const Folder folder;
  const std::filesystem::path model = folder.path() / "layer.tir";
  std::ofstream(model) << kLayer;
  for (const double by : {1.0, 40.0}) {
    const Interpreted other(false, [&](const std::string& name, Tensor& tensor) {
      if (name == "p") tensor.set_double(2, tensor.at_double(2) - by);
    });
    const Subject subjects[] = {{.model = model, .import = {}, .backend = backends::find_backend("reference")}, {.model = model, .import = {}, .backend = &other}};
    MeasureOptions options;
    options.launches = options.rounds = 1;
    options.round_ms = options.warmup_ms = 1;
    const GroupMeasurement measured = measure(subjects, options, [](const std::string&) {});
    ASSERT_TRUE(measured.subjects[1].status.ok()) << measured.subjects[1].status.to_string();
    EXPECT_EQ(measured.subjects[1].max_abs, by);
    EXPECT_EQ(measured.subjects[1].outputs_agree, by == 1);
  }
}

}  // namespace
}  // namespace tenon::eval
