// Products of f32 whose factors are rounded to a smaller dtype (CompileOptions::precision), on the CPU and on the device.

#include <cmath>

#include "support/float_types.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using vulkan_test::Environment;
using vulkan_test::numbers;
using vulkan_test::parse;

std::string text_of(const std::string& weights) {
  return R"(graph "g" {
  input %x: f32[M, 70]
  input %b: f32[45]
)" + weights +
         R"(  %p: ? = MatMul(%x, %w) "product"
  %y: ? = Add(%p, %b)
  output %y
})";
}

std::string constant_weights(const Tensor& w) {
  std::string text = "  %w: ? = Constant {value = dense<f32[70, 45]";
  for (int64_t i = 0; i < w.size(); ++i) text += fmt::format(", {}", w.at_double(i));
  return text + ">}\n";
}

float round_to(DType d, double value) {
  const auto x = static_cast<float>(value);
  return d == DType::kF16 ? half_to_float(float_to_half(x)) : d == DType::kBF16 ? bf16_to_float(float_to_bf16(x)) : x;
}

Tensor fractions(Shape shape, int seed) {
  Tensor out = numbers(std::move(shape), seed);
  for (int64_t i = 0; i < out.size(); ++i)
    out.set_double(i, static_cast<float>(out.at_double(i) / 7 + 0.001 * static_cast<double>(i % 13)));
  return out;
}

Result<Tensor> run(const std::string& backend, const ir::Graph& graph, const std::vector<HostValue>& inputs, DType precision,
                   std::vector<backends::Placement>* rows = nullptr) {
  backends::CompileOptions options;
  options.precision = precision;
  TENON_ASSIGN_OR_RETURN(const auto executable, backends::find_backend(backend)->compile(graph, options));
  if (rows != nullptr) *rows = executable->placement();
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session());
  TENON_ASSIGN_OR_RETURN(const auto outputs, session->run(inputs));
  return std::get<Tensor>(outputs.at(0));
}

class Precision : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "vulkan" && !vulkan_test::no_device().empty()) GTEST_SKIP() << vulkan_test::no_device();
  }
};

/// Products of rounded factors are exact in f32, so sums differ from those in double by K units at most; from those of the factors
/// themselves by two roundings to u a product: |x w| (2 u + u²).
TEST_P(Precision, ResultsAreThoseOfRoundedFactors) {
  constexpr int64_t kM = 33, kK = 70, kN = 45;
  const Tensor x = fractions({kM, kK}, 1), w = fractions({kK, kN}, 2), b = fractions({kN}, 3);
  for (const bool constant : {false, true}) {
    const auto graph = parse(text_of(constant ? constant_weights(w) : "  input %w: f32[70, 45]\n"));
    ASSERT_NE(graph, nullptr);
    std::vector<HostValue> inputs{x, b};
    if (!constant) inputs.push_back(w);
    for (const DType d : {DType::kF32, DType::kF16, DType::kBF16}) {
      SCOPED_TRACE(fmt::format("{}, constant: {}", name(d), constant));
      const auto y = run(GetParam(), *graph, inputs, d);
      ASSERT_TRUE(y.ok()) << y.status().to_string();
      const double u = d == DType::kF16 ? 0x1p-11 : d == DType::kBF16 ? 0x1p-8 : 0;
      bool differs = false;
      for (int64_t e = 0; e < y->size(); ++e) {
        double exact = b.at_double(e % kN), rounded = exact, magnitude = std::abs(exact);
        for (int64_t k = 0; k < kK; ++k) {
          const double p = x.at_double(e / kN * kK + k), q = w.at_double(k * kN + e % kN);
          exact += p * q;
          rounded += static_cast<double>(round_to(d, p)) * round_to(d, q);
          magnitude += std::abs(p * q);
        }
        const double sums = static_cast<double>(kK + 2) * 0x1p-24 * magnitude * (1 + u) * (1 + u);
        ASSERT_NEAR(y->at_double(e), rounded, sums) << "element " << e;
        ASSERT_NEAR(y->at_double(e), exact, sums + magnitude * (2 * u + u * u)) << "element " << e;
        differs |= std::abs(y->at_double(e) - exact) > sums;
      }
      EXPECT_EQ(differs, d != DType::kF32);
    }
  }
}

TEST_P(Precision, ThePlacementSaysSo) {
  const auto graph = parse(text_of(constant_weights(fractions({70, 45}, 2))));
  const std::vector<HostValue> inputs{fractions({4, 70}, 1), fractions({45}, 3)};
  std::vector<backends::Placement> rows;
  ASSERT_TRUE(run(GetParam(), *graph, inputs, DType::kF16, &rows).ok());
  bool found = false;
  for (const backends::Placement& row : rows) found |= row.implementation.find("of f16") != std::string::npos;
  EXPECT_TRUE(found) << "nothing says at which precision the product runs";
}

TEST_P(Precision, ConvolutionsAndAttentionStayClose) {
  const auto graph = parse(R"(graph "g" {
  input %x: f32[1, 6, 12, 10]
  input %w: f32[16, 6, 3, 3]
  %c: ? = Conv(%x, %w) {pads = [1, 1, 1, 1]}
  %r: ? = Relu(%c)
  %s: ? = Softmax(%r) {axis = -1}
  %t: ? = Transpose(%r) {perm = [0, 1, 3, 2]}
  %y: ? = MatMul(%s, %t)
  output %y
})");
  const std::vector<HostValue> inputs{fractions({1, 6, 12, 10}, 1), fractions({16, 6, 3, 3}, 2)};
  const auto want = run("reference", *graph, inputs, DType::kF32), got = run(GetParam(), *graph, inputs, DType::kF16);
  ASSERT_TRUE(want.ok() && got.ok()) << got.status().to_string();
  double most = 0;
  for (int64_t i = 0; i < want->size(); ++i) most = std::max(most, std::abs(want->at_double(i)));
  for (int64_t i = 0; i < want->size(); ++i) ASSERT_NEAR(want->at_double(i), got->at_double(i), 0x1p-8 * most) << "element " << i;
}

TEST_P(Precision, OtherDtypesAreRefused) {
  const auto graph = parse(text_of("  input %w: f32[70, 45]\n"));
  const auto refused = run(GetParam(), *graph, {}, DType::kI8);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().to_string().find("--precision"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Backends, Precision, ::testing::Values("cpu", "vulkan"), [](const auto& info) { return info.param; });

/// A driver that gets matrix units wrong still has its products on the device.
TEST(DeniedMatrices, AreComputedInRegisters) {
  if (!vulkan_test::no_device().empty()) GTEST_SKIP() << vulkan_test::no_device();
  const std::string file = ::testing::TempDir() + "/deny_matrices.txt";
  FILE* out = std::fopen(file.c_str(), "w");
  std::fputs("* * matrix for this test\n", out);
  std::fclose(out);
  const Environment deny("TENON_VULKAN_DENY", file);
  const auto graph = parse(text_of("  input %w: f32[70, 45]\n"));
  std::vector<backends::Placement> rows;
  const auto y = run("vulkan", *graph, {fractions({4, 70}, 1), fractions({45}, 3), fractions({70, 45}, 2)}, DType::kF16, &rows);
  ASSERT_TRUE(y.ok()) << y.status().to_string();
  for (const backends::Placement& row : rows) {
    EXPECT_EQ(row.kind, backends::Placement::Kind::kGenerated);
    EXPECT_EQ(row.implementation.find("matrices"), std::string::npos);
  }
  std::remove(file.c_str());
}

}  // namespace
}  // namespace tenon
