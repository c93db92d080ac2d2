// Values at the edge, which only run time sees: indices, counts, divisors, empty tensors. Every backend gives a named error or the
// same values; the values are ONNX's definitions worked out by hand.

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/parser.h"

namespace tenon::backends {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
const double kNan = std::nan("");

Tensor f32(Shape shape, std::vector<float> values) { return Tensor::from<float>(std::move(shape), values); }
Tensor i64(Shape shape, std::vector<int64_t> values) { return Tensor::from<int64_t>(std::move(shape), values); }
Tensor list(std::vector<int64_t> values) { return i64({static_cast<int64_t>(values.size())}, values); }
Tensor empty(Shape shape) { return *Tensor::zeros(DType::kF32, std::move(shape)); }
template <class T>
Tensor of(std::vector<T> values) {
  return Tensor::from<T>({static_cast<int64_t>(values.size())}, values);
}

struct Case {
  std::string name, body;               // the graph without its braces
  std::vector<HostValue> inputs;
  std::optional<std::vector<double>> y;  // nullopt: an error
  bool beyond_dims = false;              // plans, which hold the integers as dims, may give an error: they leave a dim's range
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

constexpr std::nullopt_t kError = std::nullopt;

std::vector<Case> cases() {
  const Tensor x3 = f32({3}, {1, 2, 3});
  const std::string gather = "input %x: f32[N]\ninput %i: i64[M]\n%y: ? = Gather(%x, %i)";
  const std::string scatter = "input %x: f32[N]\ninput %i: i64[M]\ninput %u: f32[M]\n%y: ? = ScatterElements(%x, %i, %u)";
  const std::string slice = "input %x: f32[N]\ninput %s: i64[1]\ninput %e: i64[1]\ninput %a: i64[1]\ninput %t: i64[1]\n%y: ? = Slice(%x, %s, %e, %a, %t)";
  const auto sliced = [&](int64_t start, int64_t end, int64_t step) { return std::vector<HostValue>{x3, list({start}), list({end}), list({0}), list({step})}; };
  const std::string topk = "input %x: f32[N]\ninput %k: i64[1]\n%y: ?, %i: ? = TopK(%x, %k)";
  const std::string reshape = "input %x: f32[N]\ninput %s: i64[R]\n%y: ? = Reshape(%x, %s)";
  const std::string range = "input %a: i64[]\ninput %b: i64[]\ninput %d: i64[]\n%y: ? = Range(%a, %b, %d)";
  const auto scalars = [](std::initializer_list<int64_t> values) {
    std::vector<HostValue> out;
    for (int64_t v : values) out.push_back(Tensor::scalar<int64_t>(v));
    return out;
  };
  return {
      {"GatherBelow", gather, {x3, list({0, -4})}, kError},
      {"GatherAbove", gather, {x3, list({3})}, kError},
      {"GatherLeast", gather, {x3, list({kMin})}, kError},
      {"GatherMost", gather, {x3, list({kMax})}, kError},
      {"GatherOutsideOfOneConstant", "input %i: i64[M]\n%x: f32[1] = Constant {value = dense<f32[1], 2>}\n%g: ? = Gather(%x, %i)\n%y: ? = Exp(%g)", {list({1})}, kError},
      {"GatherOutsideOfOneNumberSpread",
       "input %i: i64[M]\ninput %n: f32[1]\n%s: i64[1] = Constant {value = dense<i64[1], 3>}\n%e: ? = Expand(%n, %s)\n%g: ? = Gather(%e, %i)\n%y: ? = Exp(%g)",
       {list({3}), f32({1}, {2})}, kError},
      {"GatherFromTheEnd", gather, {x3, list({-3, -1})}, {{1, 3}}},
      {"GatherFromNothing", gather, {empty({0}), list({0})}, kError},
      {"GatherNothingFromNothing", gather, {empty({0}), list({})}, std::vector<double>{}},
      {"GatherElementsAbove", "input %x: f32[N]\ninput %i: i64[M]\n%y: ? = GatherElements(%x, %i)", {x3, list({1, 3})}, kError},
      {"GatherNDLeast", "input %x: f32[N]\ninput %i: i64[M, 1]\n%y: ? = GatherND(%x, %i)", {x3, i64({1, 1}, {kMin})}, kError},
      {"ScatterAbove", scatter, {x3, list({3}), f32({1}, {9})}, kError},
      {"ScatterLeast", scatter, {x3, list({kMin}), f32({1}, {9})}, kError},
      {"ScatterFromTheEnd", scatter, {x3, list({-1}), f32({1}, {9})}, {{1, 2, 9}}},
      {"ScatterNDAbove", "input %x: f32[N]\ninput %i: i64[M, 1]\ninput %u: f32[M]\n%y: ? = ScatterND(%x, %i, %u)",
       {x3, i64({1, 1}, {3}), f32({1}, {9})}, kError},
      {"OneHotOutside", "input %i: i64[M]\ninput %d: i64[]\ninput %v: f32[2]\n%y: ? = OneHot(%i, %d, %v)",
       {list({kMin, 5, 1}), Tensor::scalar<int64_t>(2), f32({2}, {0, 1})}, {{0, 0, 0, 0, 0, 1}}},
      {"OneHotNegativeDepth", "input %i: i64[M]\ninput %d: i64[]\ninput %v: f32[2]\n%y: ? = OneHot(%i, %d, %v)",
       {list({1}), Tensor::scalar<int64_t>(-1), f32({2}, {0, 1})}, kError},

      {"SliceAll", slice, sliced(kMin, kMax, 1), {{1, 2, 3}}},
      {"SliceBackwards", slice, sliced(kMax, kMin, -1), {{3, 2, 1}}},
      {"SliceInHugeSteps", slice, sliced(0, kMax, kMax), {{1}}},
      {"SliceInHugeStepsBackwards", slice, sliced(kMax, kMin, kMin), {{3}}},
      {"SliceNothing", slice, sliced(kMax, kMin, 1), std::vector<double>{}},
      {"SliceInNoSteps", slice, sliced(0, 3, 0), kError},
      {"SliceAxisOutside", slice, {x3, list({0}), list({1}), list({kMin}), list({1})}, kError},

      {"TopKAll", topk, {x3, list({3})}, {{3, 2, 1}}},
      {"TopKTooMany", topk, {x3, list({4})}, kError},
      {"TopKNone", topk, {x3, list({0})}, std::vector<double>{}},
      {"TopKNegative", topk, {x3, list({-1})}, kError},
      {"TopKOfNothing", topk, {empty({0}), list({1})}, kError},

      {"ReshapeWrongCount", reshape, {x3, list({2, 2})}, kError},
      {"ReshapeTwoUnknown", reshape, {x3, list({-1, -1})}, kError},
      {"ReshapeNegative", reshape, {x3, list({-3})}, kError},
      {"ReshapeOverflow", reshape, {x3, list({int64_t{1} << 62, 4, 3})}, kError},
      {"ReshapeUnknownOfNothing", reshape, {empty({0}), list({0, -1})}, kError},
      {"SplitSumsDiffer", "input %x: f32[N]\ninput %s: i64[2]\n%y: ?, %z: ? = Split(%x, %s)", {x3, list({1, 3})}, kError},
      {"SplitNegative", "input %x: f32[N]\ninput %s: i64[2]\n%y: ?, %z: ? = Split(%x, %s)", {x3, list({-1, 4})}, kError},
      {"SplitEmptyPart", "input %x: f32[N]\ninput %s: i64[2]\n%y: ?, %z: ? = Split(%x, %s)", {x3, list({0, 3})}, std::vector<double>{}},
      {"ExpandDoesNotFit", "input %x: f32[N]\ninput %s: i64[1]\n%y: ? = Expand(%x, %s)", {x3, list({2})}, kError},
      {"TileNegative", "input %x: f32[N]\ninput %s: i64[1]\n%y: ? = Tile(%x, %s)", {x3, list({-1})}, kError},
      {"TileNever", "input %x: f32[N]\ninput %s: i64[1]\n%y: ? = Tile(%x, %s)", {x3, list({0})}, std::vector<double>{}},
      {"PadLess", "input %x: f32[N]\ninput %s: i64[2]\n%y: ? = Pad(%x, %s)", {x3, list({-1, -1})}, {{2}}},
      {"PadFarLess", "input %x: f32[N]\ninput %s: i64[2]\n%y: ? = Pad(%x, %s)", {x3, list({kMin, kMin})}, kError},
      {"PadOverflow", "input %x: f32[N]\ninput %s: i64[2]\n%y: ? = Pad(%x, %s)", {x3, list({kMax, kMax})}, kError},
      {"ConstantOfNegativeShape", "input %s: i64[1]\n%y: ? = ConstantOfShape(%s)", {list({-2})}, kError},
      {"RangeWithoutStep", range, scalars({0, 3, 0}), kError},
      {"RangeBackwards", range, scalars({3, 0, -1}), {{3, 2, 1}}},
      {"RangeOfEverything", range, scalars({kMin, kMax, 1}), kError},
      {"RangeInHugeSteps", range, scalars({kMin, kMax, kMax}), {{static_cast<double>(kMin), -1, static_cast<double>(kMax - 1)}}, true},
      {"CumSumAxisOutside", "input %x: f32[N]\ninput %a: i64[]\n%y: ? = CumSum(%x, %a)", {x3, Tensor::scalar<int64_t>(1)}, kError},
      {"ReverseSequenceTooLong", "input %x: f32[A, B]\ninput %l: i64[B]\n%y: ? = ReverseSequence(%x, %l)",
       {f32({2, 1}, {1, 2}), list({3})}, kError},
      {"LoopOfNegativeTrips",
       "input %n: i64[]\ninput %x: f32[N]\n%y: ? = Loop(%n, _, %x) region {\ninput %i: i64[]\ninput %c: bool[]\ninput %v: f32[N]\n"
       "%m: bool[] = Identity(%c)\n%w: f32[N] = Neg(%v)\noutput %m\noutput %w\n}",
       {Tensor::scalar<int64_t>(kMin), x3}, {{1, 2, 3}}},

      {"Int32LeastByMinusOne", "input %a: i32[N]\ninput %b: i32[N]\n%y: ? = Div(%a, %b)",
       {of<int32_t>({INT32_MIN, 7}), of<int32_t>({-1, -2})}, {{INT32_MIN, -3}}},
      {"Int64LeastByMinusOne", "input %a: i64[N]\ninput %b: i64[N]\n%y: ? = Div(%a, %b)",
       {list({kMin, 7}), list({-1, 2})}, {{static_cast<double>(kMin), 3}}},
      {"Int64LeastModuloMinusOne", "input %a: i64[N]\ninput %b: i64[N]\n%y: ? = Mod(%a, %b)", {list({kMin, -7}), list({-1, 3})}, {{0, 2}}},
      {"Int8LeastByMinusOne", "input %a: i8[N]\ninput %b: i8[N]\n%y: ? = Div(%a, %b)", {of<int8_t>({-128}), of<int8_t>({-1})}, {{-128}}},
      {"LeastHasNoAbsolute", "input %a: i32[N]\n%y: ? = Abs(%a)", {of<int32_t>({INT32_MIN, -2})}, {{INT32_MIN, 2}}},
      {"ShiftByTooMuch", "input %a: u8[N]\ninput %b: u8[N]\n%y: ? = BitShift(%a, %b) {direction = \"LEFT\"}",
       {of<uint8_t>({1, 1}), of<uint8_t>({7, 255})}, {{128, 0}}},
      {"NanIsGreatest", "input %x: f32[N]\n%y: ? = ReduceMax(%x) {keepdims = 0}", {f32({3}, {1, NAN, 3})}, {{kNan}}},
      {"NanComparesFalse", "input %x: f32[N]\n%l: ? = Less(%x, %x)\n%g: ? = GreaterOrEqual(%x, %x)\n%o: ? = Or(%l, %g)\n%y: ? = Cast(%o) {to = 7}",
       {f32({2}, {NAN, 1})}, {{0, 1}}},

      {"MatMulOverNothing", "input %a: f32[M, K]\ninput %b: f32[K, N]\n%y: ? = MatMul(%a, %b)", {empty({2, 0}), empty({0, 2})}, {{0, 0, 0, 0}}},
      {"ConvOfNothing", "input %x: f32[B, 1, 3]\n%w: f32[1, 1, 2] = Constant {value = dense<f32[1, 1, 2], 1, 1>}\n%y: ? = Conv(%x, %w)",
       {empty({0, 1, 3})}, std::vector<double>{}},
      {"ConvWiderThanItsInput", "input %x: f32[1, 1, L]\n%w: f32[1, 1, 3] = Constant {value = dense<f32[1, 1, 3], 1, 1, 1>}\n%y: ? = Conv(%x, %w)",
       {empty({1, 1, 1})}, kError},
      {"SumOfNothing", "input %x: f32[N]\n%y: ? = ReduceSum(%x) {keepdims = 0}", {empty({0})}, {{0}}},
      {"SoftmaxOfNothing", "input %x: f32[A, B]\n%y: ? = Softmax(%x)", {empty({2, 0})}, std::vector<double>{}},
      {"ArgMaxOfNothing", "input %x: f32[N]\n%y: ? = ArgMax(%x)", {empty({0})}, kError},
      {"ConcatWithNothing", "input %x: f32[N]\ninput %z: f32[M]\n%y: ? = Concat(%x, %z, %x) {axis = 0}", {f32({1}, {5}), empty({0})}, {{5, 5}}},
      {"TransposeOfNothing", "input %x: f32[A, B]\n%y: ? = Transpose(%x)", {empty({3, 0})}, std::vector<double>{}},
      {"LstmOfNoBatch",
       "input %x: f32[S, B, 2]\n%w: f32[1, 4, 2] = Constant {value = dense<f32[1, 4, 2], 1, 1, 1, 1, 1, 1, 1, 1>}\n"
       "%r: f32[1, 4, 1] = Constant {value = dense<f32[1, 4, 1], 1, 1, 1, 1>}\n%y: ? = LSTM(%x, %w, %r) {hidden_size = 1}",
       {empty({3, 0, 2})}, std::vector<double>{}},
      {"NonZeroOfNothing", "input %x: f32[A, B]\n%y: ? = NonZero(%x)", {empty({0, 2})}, std::vector<double>{}},
  };
}

class Extremes : public testing::TestWithParam<std::tuple<std::string_view, Case>> {};

TEST_P(Extremes, GiveAnErrorOrTheValues) {
  const auto& [backend, c] = GetParam();
  const std::string text = fmt::format("graph \"g\" {{\n{}\noutput %y\n}}", c.body);
  auto graph = ir::parse_text(text);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  auto executable = find_backend(backend)->compile(**graph, {});
  ASSERT_TRUE(executable.ok()) << executable.status().to_string();
  const auto session = *(*executable)->create_session({});
  const auto out = session->run(c.inputs);
  if (!c.y || (c.beyond_dims && !out.ok())) {
    ASSERT_FALSE(out.ok());
    EXPECT_NE(out.status().code(), Code::kInternal) << out.status().to_string();
    EXPECT_FALSE(out.status().what().empty());
    return;
  }
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  const Tensor& y = std::get<Tensor>((*out)[0]);
  ASSERT_EQ(y.size(), static_cast<int64_t>(c.y->size()));
  for (int64_t i = 0; i < y.size(); ++i) {
    const double got = is_float(y.dtype()) ? y.at_double(i) : static_cast<double>(y.at_int(i)), want = (*c.y)[static_cast<size_t>(i)];
    EXPECT_TRUE(got == want || (std::isnan(got) && std::isnan(want))) << "at " << i << ": " << got << ", not " << want;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Extremes, testing::Combine(testing::Values("reference", "cpu"), testing::ValuesIn(cases())),
                         [](const auto& info) { return fmt::format("{}_{}", std::get<0>(info.param), std::get<1>(info.param).name); });

}  // namespace
}  // namespace tenon::backends
