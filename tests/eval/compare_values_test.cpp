#include "eval/debug/compare_values.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "eval/debug/cut.h"
#include "eval/debug/reproduce.h"
#include "eval/inputs.h"
#include "eval/model.h"
#include "eval/verify.h"
#include "ir/evaluate.h"
#include "ir/parser.h"
#include "tests/eval/debug_models.h"

namespace tenon::eval {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::unique_ptr<ir::Graph> graph_of(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return std::move(graph).value();
}

Comparison compared(const ir::Graph& graph, std::vector<Variant> variants, const std::vector<HostValue>& inputs, TappedVariants* tapped = nullptr,
                    CompareOptions options = {}) {
  auto result = compare_values(graph, variants, inputs, options, tapped);
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return result.ok() ? std::move(*result) : Comparison{};
}

// ---- The values on disk

TEST(Spill, GivesBackWhatItTookAndLeavesNothing) {
  Folder folder;
  ASSERT_EQ(::setenv("TMPDIR", folder.path().c_str(), 1), 0);
  {
    auto spill = Spill::create(1000);
    ASSERT_TRUE(spill.ok()) << spill.status().to_string();
    ASSERT_TRUE(spill->put("a", wave({3, 4}, 1)).ok());
    ASSERT_TRUE(spill->put("b", Tensor::from<int64_t>({0}, {})).ok());
    ASSERT_TRUE(spill->put("a", wave({2}, 2)).ok()) << "the newer one counts";
    EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "its file has no name, so nothing stays behind";
    const auto a = spill->get("a");
    ASSERT_TRUE(a.ok());
    EXPECT_EQ(a->shape(), Shape({2}));
    EXPECT_EQ(a->at_double(1), wave({2}, 2).at_double(1));
    EXPECT_EQ(spill->get("b")->size(), 0);
    EXPECT_EQ(spill->get("c").status().code(), Code::kNotFound);
    EXPECT_EQ(spill->put("s", *Tensor::strings({1}, {"x"})).code(), Code::kUnsupported);
    EXPECT_EQ(spill->put("big", wave({250}, 1)).code(), Code::kResourceExhausted);
    EXPECT_TRUE(spill->has("a"));
  }
  ASSERT_EQ(::setenv("TMPDIR", (folder.path() / "none").c_str(), 1), 0);
  EXPECT_EQ(Spill::create(1000).status().code(), Code::kIo);
  ::unsetenv("TMPDIR");
}

// ---- Pieces of graphs

TEST(Cut, TakesWhatComputesAValueFromTheKnownOnes) {
  const auto graph = tower(3);
  const ir::Value* target = nullptr;
  for (const auto& node : graph->nodes())
    if (node->name() == "tanh1") target = node->output();
  ASSERT_NE(target, nullptr);
  const Region region = region_of(*target, {"scale0:0"});
  std::vector<std::string> names, inputs;
  for (const ir::Node* node : region.nodes) names.push_back(node->name());
  for (const ir::Value* input : region.inputs) inputs.push_back(input->name());
  EXPECT_THAT(names, ::testing::ElementsAre("mm1", "bias1", "relu1", "skip1", "tanh1"));
  EXPECT_THAT(inputs, ::testing::ElementsAre("scale0:0"));

  const Tensor given = wave({6, 16}, 0.5);
  auto piece = cut(*graph, tower_inputs(), {"tanh1:0"}, {{"scale0:0", given}});
  ASSERT_TRUE(piece.ok()) << piece.status().to_string();
  EXPECT_EQ(count_operations(*piece->graph), 5U);
  ASSERT_EQ(piece->inputs.size(), 1U);
  const auto out = ir::evaluate_graph(*piece->graph, piece->inputs);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  // Column 2 of row 0, by hand.
  double sum = wave({16}, 0.3).at_double(2);
  for (int64_t k = 0; k < 16; ++k) sum += given.at_double(k) * wave({16, 16}, 1.7).at_double(k * 16 + 2);
  EXPECT_NEAR(std::get<Tensor>((*out)[0]).at_double(2), std::tanh(std::max(sum, 0.0) + given.at_double(2)), 1e-5);
  EXPECT_EQ(cut(*graph, tower_inputs(), {"nothing"}, {}).status().code(), Code::kNotFound);
}

// Symbolic dims become the numbers that they are, and integers that tell shapes constants.
TEST(Cut, HasTheShapesOfItsContents) {
  const auto graph = graph_of(R"(graph {
    input %x: f32[N, 4]
    %s: ? = Shape(%x)
    %a: ? = Abs(%x)
    %y: ? = Reshape(%a, %s)
    output %y
  })");
  const Tensor x = wave({3, 4}, 1);
  auto piece = cut(*graph, {x}, {"y"}, {{"s", Tensor::from<int64_t>({2}, {3, 4})}, {"a", x}});
  ASSERT_TRUE(piece.ok()) << piece.status().to_string();
  EXPECT_EQ(count_operations(*piece->graph), 1U);
  ASSERT_EQ(piece->graph->inputs().size(), 1U);
  EXPECT_EQ(to_string(piece->graph->outputs()[0]->type()), "f32[3, 4]");
}

// ---- Comparisons

TEST(CompareValues, AgreesOnACorrectModel) {
  const auto graph = tower(4);
  const Comparison c = compared(*graph, {variant_of("reference"), variant_of("cpu", {}, 0), variant_of("cpu")}, tower_inputs());
  ASSERT_EQ(c.uncompared.size(), 3U);
  EXPECT_TRUE(c.ok);
  EXPECT_FALSE(c.first);
  EXPECT_EQ(c.uncompared[0], 0U);
  EXPECT_EQ(c.uncompared[1], 0U) << "nothing is fused at -O0";
  EXPECT_GT(c.uncompared[2], 8U) << "fused nodes hide what is inside them";
  EXPECT_LT(c.uncompared[2], 32U);
  for (const ValueDifference& row : c.values) EXPECT_LT(row.own.share, 0.1) << row.value;
  EXPECT_EQ(c.outputs.size(), 2U);
}

// The value of a faulty node is 1.25 x + 0.25: its own error is |0.25 x + 0.25|, and nobody else's is more than round-off.
TEST(CompareValues, NamesTheOneFaultyNodeOfManyWhateverComesAfter) {
  const auto graph = tower(45);
  ASSERT_GT(count_operations(*graph), 300U);
  std::map<std::string, HostValue> right;
  ir::EvalOptions observe;
  observe.observe = [&](const ir::Node& node, std::span<const HostValue> outputs) { right[node.name()] = outputs[0]; };
  ASSERT_TRUE(ir::evaluate_graph(*graph, tower_inputs(), observe).ok());
  for (const std::string faulty : {"mm7", "scale21", "tanh30", "mean44"}) {
    const Comparison c = compared(*graph, {variant_of("reference"), variant_of("cpu", {.node = faulty})}, tower_inputs());
    ASSERT_TRUE(c.first) << faulty;
    EXPECT_FALSE(c.ok);
    EXPECT_EQ(c.first, c.worst);
    const ValueDifference& row = c.values[*c.first];
    EXPECT_THAT(row.covers, Contains(HasSubstr("'" + faulty + "'")));
    EXPECT_LE(row.covers.size(), 8U);
    EXPECT_EQ(std::ranges::count_if(c.values, [](const ValueDifference& v) { return !v.ok; }), 1) << faulty;
    EXPECT_GE(std::ranges::count_if(c.values, [](const ValueDifference& v) { return v.has_total && !v.total.ok; }), 1);
    if (row.node != faulty) continue;  // inside a fused node
    double largest = 0;
    const Tensor& x = std::get<Tensor>(right.at(faulty));
    for (int64_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(0.25 * x.at_double(i) + 0.25));
    EXPECT_NEAR(row.own.max_abs, largest, 1e-4) << faulty;
  }
}

// Two correct levels differ by round-off; the first variant may itself be the wrong one.
TEST(CompareValues, JudgesEveryVariantByTheInterpreter) {
  const auto graph = tower(5);
  const Comparison c = compared(*graph, {variant_of("cpu", {.node = "relu2"}, 0), variant_of("cpu")}, tower_inputs());
  ASSERT_TRUE(c.first);
  EXPECT_EQ(c.values[*c.first].variant, 0U);
  EXPECT_EQ(c.values[*c.first].node, "relu2");
  EXPECT_EQ(std::ranges::count_if(c.values, [](const ValueDifference& v) { return !v.ok; }), 1);
}

// (x + 2^20) - 2^20 in one fused node: what it gives hangs on how the sum rounds, and that is no fault.
TEST(CompareValues, RoundOffIsNoFault) {
  const auto graph = graph_of(R"(graph {
    input %x: f32[8]
    %s: ? = Sum(%x, %x, %x, %x)
    %c: ? = Constant {value = dense<f32[], 3000000.0>}
    %e: ? = Exp(%s)
    %t: ? = Add(%e, %c)
    %d: ? = Sub(%t, %c)
    %y: ? = Mul(%d, %e)
    output %y
  })");
  const Comparison c = compared(*graph, {variant_of("reference"), variant_of("cpu")}, {wave({8}, 0.4)});
  EXPECT_TRUE(c.ok);
}

TEST(CompareValues, MakesValuesOutputsWhenAsked) {
  const auto graph = tower(6);
  CompareOptions options;
  options.taps.tap_outputs = true;
  const Comparison c = compared(*graph, {variant_of("reference"), variant_of("cpu")}, tower_inputs(), nullptr, options);
  EXPECT_TRUE(c.ok);
  EXPECT_EQ(c.uncompared[1], 0U);
}

TEST(CompareValues, RefusesWhatItCannotDo) {
  const auto graph = tower(2);
  const std::vector<HostValue> inputs = tower_inputs();
  const std::vector<Variant> one = {variant_of("cpu")}, two = {variant_of("reference"), variant_of("cpu")};
  EXPECT_EQ(compare_values(*graph, one, inputs, {}).status().code(), Code::kInvalidArgument);
  EXPECT_FALSE(compare_values(*graph, two, {}, {}).ok());
  CompareOptions small;
  small.taps.max_spill_bytes = 600;
  EXPECT_EQ(compare_values(*graph, two, inputs, small).status().code(), Code::kResourceExhausted);
  CompareOptions late;
  late.taps.interrupt = Interrupt::after(std::chrono::seconds(-1));
  EXPECT_EQ(compare_values(*graph, two, inputs, late).status().code(), Code::kDeadlineExceeded);
}

// Values of control flow and of data-dependent shape, empty ones, and types that are not compared.
TEST(CompareValues, TakesDynamicShapesBranchesAndEmptyTensors) {
  const auto graph = graph_of(R"(graph {
    input %x: f32[N, 4]
    input %c: bool[]
    %n: ? = NonZero(%x)
    %a: ? = If(%c) region {
      %p: ? = Neg(%x)
      output %p
    } region {
      %q: ? = Abs(%x)
      output %q
    }
    %f: ? = Cast(%n) {to = 1}
    %r: ? = Relu(%a)
    %k: ? = SequenceConstruct(%r, %f)
    %i: ? = Constant {value = dense<i64[], 1>}
    %g: ? = SequenceAt(%k, %i)
    %y: ? = Neg(%g)
    output %y
    output %r
  })");
  for (const int64_t n : {0, 3}) {
    const Comparison c = compared(*graph, {variant_of("reference"), variant_of("cpu")}, {wave({n, 4}, 0.3), Tensor::scalar<bool>(true)});
    EXPECT_TRUE(c.ok);
    EXPECT_GE(c.values.size(), 3U);
  }
}

// ---- Reproducers

TEST(Reproduce, ReducesAFaultyKernelToAFewNodesThatVerifyRefuses) {
  const auto graph = tower(45);
  for (const std::string faulty : {"mm7", "relu20", "mean33"}) {
    const std::vector<Variant> variants = {variant_of("reference"), variant_of("cpu", {.node = faulty})};
    TappedVariants tapped;
    const Comparison c = compared(*graph, variants, tower_inputs(), &tapped);
    ASSERT_TRUE(c.first) << faulty;
    auto found = reproduce(*graph, variants[1], tower_inputs(), tapped[1].values, c.values[*c.first].value, {});
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_LE(count_operations(*found->piece.graph), 5U) << faulty;
    Folder folder;
    const auto shows = write_reproducer(*found, variants[1], folder.path() / "out", {});
    ASSERT_TRUE(shows.ok()) << shows.status().to_string();
    EXPECT_TRUE(*shows);
    EXPECT_EQ(write_reproducer(*found, variants[1], folder.path() / "out", {}).status().code(), Code::kInvalidArgument);
    EXPECT_TRUE(std::filesystem::exists(folder.path() / "out/model.tir"));
    VerifyOptions options;
    options.isolate = false;
    EXPECT_EQ(verify_case({"out", folder.path() / "out"}, *backends::find_backend("cpu"), options).status, CaseStatus::kPassed) << "without the fault";
    options.compile.fault.node = faulty;
    EXPECT_EQ(verify_case({"out", folder.path() / "out"}, *backends::find_backend("cpu"), options).status, CaseStatus::kFailed) << "with it";
  }
}

TEST(Reproduce, SaysSoWhenNothingDiffers) {
  const auto graph = tower(3);
  const std::vector<Variant> variants = {variant_of("reference"), variant_of("cpu")};
  TappedVariants tapped;
  compared(*graph, variants, tower_inputs(), &tapped);
  EXPECT_EQ(reproduce(*graph, variants[1], tower_inputs(), tapped[1].values, "tanh1:0", {}).status().code(), Code::kNotFound);
  EXPECT_EQ(reproduce(*graph, variants[1], tower_inputs(), tapped[1].values, "nothing", {}).status().code(), Code::kNotFound);
}

// ---- Real models

class RealModels : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(RealModels, NameTheFaultyNodeAndAreReduced) {
  const auto [name, faulty] = GetParam();
  const std::filesystem::path file = shared_model(name);
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "../shared/models is not there";
  const auto graph = load_model(file);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  ASSERT_GT(count_operations(**graph), 200U);
  const auto inputs = read_inputs(**graph, file.parent_path() / "test_data_set_0");
  ASSERT_TRUE(inputs.ok()) << inputs.status().to_string();
  const std::vector<Variant> variants = {variant_of("reference"), variant_of("cpu", {.node = faulty})};
  TappedVariants tapped;
  const Comparison c = compared(**graph, variants, *inputs, &tapped);
  ASSERT_TRUE(c.first);
  EXPECT_THAT(c.values[*c.first].covers, Contains(HasSubstr(fmt::format("'{}'", faulty))));
  EXPECT_EQ(std::ranges::count_if(c.values, [](const ValueDifference& v) { return !v.ok; }), 1);
  const auto found = reproduce(**graph, variants[1], *inputs, tapped[1].values, c.values[*c.first].value, {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_LE(count_operations(*found->piece.graph), 5U);
  Folder folder;
  const auto shows = write_reproducer(*found, variants[1], folder.path() / "out", {});
  ASSERT_TRUE(shows.ok()) << shows.status().to_string();
  EXPECT_TRUE(*shows);
}

INSTANTIATE_TEST_SUITE_P(, RealModels,
                         ::testing::Values(std::pair("regress/fsanet-1x1", "Conv_37"), std::pair("regress/fsanet-1x1", "Relu_70"),
                                           std::pair("ocr/ppocr-v1.1-det-ch", "BatchNormalization@39"),
                                           std::pair("detect/deimv2-atto", "/model/decoder/decoder/query_pos_head/layers.1/MatMul"),
                                           std::pair("detect/deimv2-atto", "/model/decoder/decoder/layers.1/self_attn/Softmax")));

}  // namespace
}  // namespace tenon::eval
