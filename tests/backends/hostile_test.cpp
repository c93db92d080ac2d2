// Models and inputs that would read past a tensor, run for ever or overflow the stack: a named error or a result on every backend.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/parser.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;

Result<std::vector<HostValue>> run(std::string_view backend, const std::string& text, const std::vector<HostValue>& inputs) {
  TENON_ASSIGN_OR_RETURN(const auto graph, ir::parse_text(text));
  TENON_ASSIGN_OR_RETURN(const auto executable, find_backend(backend)->compile(*graph, {}));
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session({}));
  return session->run(inputs);
}

Tensor zeros(Shape shape) { return *Tensor::zeros(DType::kF32, std::move(shape)); }

TEST(HostileModels, ConcatenatedDimsThatDisagreeAreErrors) {
  const std::string text = R"(graph "g" {
  input %a: f32[A, B]
  input %b: f32[C, D]
  %y: f32[A + C, B] = Concat(%a, %b) {axis = 0}
  output %y
})";
  for (std::string_view backend : {"reference", "cpu"}) {
    EXPECT_TRUE(run(backend, text, {zeros({2, 3}), zeros({1, 3})}).ok()) << backend;
    EXPECT_FALSE(run(backend, text, {zeros({2, 3}), zeros({3, 2})}).ok()) << backend;
  }
}

TEST(HostileModels, DeclaredDimsThatResultsDoNotHaveAreErrors) {
  const std::string text = R"(graph "g" {
  input %x: f32[N, 4]
  %a: i64[1] = Constant {value = dense<i64[1], 0>}
  %b: i64[1] = Constant {value = dense<i64[1], 100000000>}
  %z: f32[7, 4] = Slice(%x, %a, %b)
  %y: ? = Neg(%z)
  output %y
})";
  EXPECT_TRUE(run("cpu", text, {zeros({7, 4})}).ok());
  for (int64_t rows : {2, 8, 100'000}) EXPECT_FALSE(run("cpu", text, {zeros({rows, 4})}).ok()) << rows;
}

TEST(HostileModels, ExpressionsOfDimsThatAreOneBroadcast) {
  const std::string text = R"(graph "g" {
  input %x: f32[N]
  input %y: f32[M]
  %a: i64[1] = Constant {value = dense<i64[1], 0>}
  %b: i64[1] = Constant {value = dense<i64[1], 100000000>}
  %t: i64[1] = Constant {value = dense<i64[1], 2>}
  %s: ? = Slice(%x, %a, %b, %a, %t)
  %z: ? = Add(%s, %y)
  output %z
})";
  for (std::string_view backend : {"reference", "cpu"}) {
    const auto out = run(backend, text, {Tensor::from<float>({2}, {1, 9}), Tensor::from<float>({3}, {10, 20, 30})});
    ASSERT_TRUE(out.ok()) << backend << out.status().to_string();
    const Tensor& z = std::get<Tensor>((*out)[0]);
    ASSERT_EQ(z.shape(), Shape{3});
    for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(z.at_double(i), static_cast<double>(i * 10 + 11)) << backend;
    EXPECT_FALSE(run(backend, text, {zeros({4}), zeros({3})}).ok()) << backend;
  }
}

// What held while the first type of a carried value was tried must not be asked of the one that holds.
TEST(HostileModels, LoopsWhoseCarriedShapesGrowRun) {
  const std::string symbolic = R"(graph "g" {
  input %x: f32[2, K]
  input %w: f32[4, 4]
  input %c: f32[2, 1]
  %n: i64[] = Constant {value = dense<i64[], 2>}
  %zero: i64[] = Constant {value = dense<i64[], 0>}
  %y: ? = Loop(%n, _, %x) region {
    input %i: i64[]
    input %go: bool[]
    input %v: ?
    %again: bool[] = Identity(%go)
    %first: bool[] = Equal(%i, %zero)
    %r: ? = If(%first) region {
      %g: ? = Concat(%v, %c) {axis = 1}
      output %g
    } region {
      %p: ? = MatMul(%v, %w)
      output %p
    }
    output %again
    output %r
  }
  output %y
})";

  std::string constant = symbolic;
  constant.replace(constant.find("K]"), 1, "3");
  for (const std::string& text : {symbolic, constant})
    for (std::string_view backend : {"reference", "cpu"}) {
      const auto out = run(backend, text, {zeros({2, 3}), zeros({4, 4}), zeros({2, 1})});
      ASSERT_TRUE(out.ok()) << backend << out.status().to_string();
      EXPECT_EQ(std::get<Tensor>((*out)[0]).shape(), (Shape{2, 4})) << backend;
    }
}

TEST(HostileModels, ChannelsThatWeightsReadBeyondAreErrors) {
  const std::string text = R"(graph "g" {
  input %x: f32[1, C, 8, 8]
  input %w: f32[4, 3, 3, 3]
  %y: f32[1, 4, 6, 6] = Conv(%x, %w) {group = 2}
  output %y
})";
  for (std::string_view backend : {"reference", "cpu"}) {
    EXPECT_TRUE(run(backend, text, {zeros({1, 6, 8, 8}), zeros({4, 3, 3, 3})}).ok()) << backend;
    EXPECT_FALSE(run(backend, text, {zeros({1, 3, 8, 8}), zeros({4, 3, 3, 3})}).ok()) << backend;
  }
}

TEST(HostileModels, ChainsThatDoubleTheirPathsCompile) {
  std::string text = "graph \"g\" {\n  input %v0: f32[N]\n";
  constexpr int kLength = 300;
  for (int i = 0; i < kLength; ++i) text += fmt::format("  %v{}: f32[N] = Add(%v{}, %v{})\n", i + 1, i, i);
  text += fmt::format("  output %v{}\n}}", kLength);
  for (std::string_view backend : {"reference", "cpu"}) EXPECT_TRUE(run(backend, text, {zeros({4})}).ok()) << backend;
}

TEST(HostileModels, SumsOfThousandsOfOperandsDoNotOverflowTheStack) {
  std::string text = "graph \"g\" {\n  input %x: f32[N]\n  %y: f32[N] = Sum(%x";
  for (int i = 0; i < 40'000; ++i) text += ", %x";
  text += ")\n  output %y\n}";
  for (std::string_view backend : {"reference", "cpu"}) {
    const auto out = run(backend, text, {Tensor::from<float>({1}, {1})});
    ASSERT_TRUE(out.ok()) << backend << out.status().to_string();
    EXPECT_EQ(std::get<Tensor>((*out)[0]).at_double(0), 40'001) << backend;
  }
}

TEST(HostileModels, EmptyAxesCannotBeEnlarged) {
  const std::string text = R"(graph "g" {
  input %x: f32[1, 1, N]
  %sizes: i64[3] = Constant {value = dense<i64[3], 1, 1, 4>}
  %y: f32[1, 1, 4] = Resize(%x, _, _, %sizes) {mode = "linear"}
  output %y
})";
  for (std::string_view backend : {"reference", "cpu"}) {
    EXPECT_FALSE(run(backend, text, {zeros({1, 1, 0})}).ok()) << backend;
    EXPECT_TRUE(run(backend, text, {zeros({1, 1, 2})}).ok()) << backend;
  }
}

// A coordinate that is NaN or infinite lies outside of the input: the result is extrapolation_value (ONNX Resize,
// tf_crop_and_resize).
TEST(HostileModels, RegionsThatAreNoNumbersExtrapolate) {
  const std::string text = R"(graph "g" {
  input %x: f32[1, 1, 1, 4]
  input %roi: f32[8]
  %sizes: i64[4] = Constant {value = dense<i64[4], 1, 1, 1, 3>}
  %y: f32[1, 1, 1, 3] = Resize(%x, %roi, _, %sizes) {mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 9.0}
  output %y
})";
  const Tensor x = Tensor::from<float>({1, 1, 1, 4}, {1, 2, 3, 4});
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  for (std::string_view backend : {"reference", "cpu"})
    for (const auto& [first, last] : {std::pair(kNan, 1.0f), std::pair(0.0f, kNan), std::pair(kInf, kInf), std::pair(-kInf, -kInf)}) {
      const auto out = run(backend, text, {x, Tensor::from<float>({8}, {0, 0, 0, first, 1, 1, 1, last})});
      ASSERT_TRUE(out.ok()) << backend << out.status().to_string();
      for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(std::get<Tensor>((*out)[0]).at_double(i), 9) << backend << " " << first << " " << last;
    }
}

TEST(HostileModels, FramesLongerThanTheSignalAreErrors) {
  const std::string text = R"(graph "g" {
  input %x: f32[1, L]
  %step: i64[] = Constant {value = dense<i64[], 4>}
  %length: i64[] = Constant {value = dense<i64[], 8>}
  %y: f32[1, F, 5, 2] = STFT(%x, %step, _, %length)
  output %y
})";
  for (std::string_view backend : {"reference", "cpu"}) {
    for (int64_t length : {0, 3, 7}) EXPECT_FALSE(run(backend, text, {zeros({1, length})}).ok()) << backend << length;
    EXPECT_TRUE(run(backend, text, {zeros({1, 8})}).ok()) << backend;
  }
}

TEST(HostileModels, RatiosThatDropEverythingAreErrors) {
  const std::string text = R"(graph "g" {
  input %x: f32[N]
  input %ratio: f32[]
  input %training: bool[]
  %y: f32[N] = Dropout(%x, %ratio, %training) {seed = 3}
  output %y
})";
  for (std::string_view backend : {"reference", "cpu"})
    for (float ratio : {1.0F, -0.5F, std::numeric_limits<float>::quiet_NaN()}) {
      EXPECT_FALSE(run(backend, text, {zeros({4}), Tensor::scalar(ratio), Tensor::scalar(true)}).ok()) << backend << ratio;
      EXPECT_TRUE(run(backend, text, {zeros({4}), Tensor::scalar(ratio), Tensor::scalar(false)}).ok()) << backend << ratio;
    }
}

struct Checked {
  std::string name, text;
  std::vector<HostValue> good, bad;
};

/// Graphs of ops that have kernels but must look at their data first.
std::vector<Checked> checked() {
  const auto floats = [](Shape shape, std::vector<float> v) { return Tensor::from<float>(std::move(shape), std::span<const float>(v)); };
  const auto ints = [](Shape shape, std::vector<int64_t> v) { return Tensor::from<int64_t>(std::move(shape), std::span<const int64_t>(v)); };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::string roi = R"(graph "g" {
  input %x: f32[B, 1, H, 4]
  input %rois: f32[1, 4]
  input %of: i64[R]
  %y: f32[1, 1, 2, 2] = RoiAlign(%x, %rois, %of) {output_height = 2, output_width = 2, sampling_ratio = 2}
  output %y
})";
  const std::vector<HostValue> region = {zeros({2, 1, 4, 4}), zeros({1, 4}), ints({1}, {1})};
  const std::string crop = R"(graph "g" {
  input %x: f32[B, 1, 4, 4]
  input %boxes: f32[1, 4]
  input %of: i32[1]
  %size: i32[2] = Constant {value = dense<i32[2], 2, 2>}
  %y: f32[1, 1, 2, 2] = com.microsoft.CropAndResize(%x, %boxes, %of, %size)
  output %y
})";
  const std::string columns = R"(graph "g" {
  input %x: f32[1, C, L]
  %image: i64[2] = Constant {value = dense<i64[2], 3, 3>}
  %block: i64[2] = Constant {value = dense<i64[2], 2, 2>}
  %y: f32[1, D, 3, 3] = Col2Im(%x, %image, %block)
  output %y
})";
  const std::string inverse = "graph \"g\" {\n  input %x: f32[N, 2, 2]\n  %y: f32[N, 2, 2] = com.microsoft.Inverse(%x)\n  output %y\n}";
  const std::string draw = "graph \"g\" {\n  input %x: f32[N, 2]\n  %y: i32[N, 3] = Multinomial(%x) {sample_size = 3, seed = 1.0}\n  output %y\n}";
  const std::string ngrams = R"(graph "g" {
  input %ids: i64[1, S]
  input %scores: f32[1, 4]
  %y: f32[1, 4] = com.microsoft.NGramRepeatBlock(%ids, %scores) {ngram_size = 2}
  output %y
})";
  const Tensor batch_of = Tensor::from<int32_t>({1}, {0}), batch_beyond = Tensor::from<int32_t>({1}, {2});
  const float infinity = std::numeric_limits<float>::infinity();
  return {
      {"batch index", roi, region, {zeros({2, 1, 4, 4}), zeros({1, 4}), ints({1}, {2})}},
      {"negative batch index", roi, region, {zeros({2, 1, 4, 4}), zeros({1, 4}), ints({1}, {-1})}},
      {"region of NaN", roi, region, {zeros({2, 1, 4, 4}), floats({1, 4}, {0, 0, nan, 1}), ints({1}, {1})}},
      {"huge region", roi, region, {zeros({2, 1, 4, 4}), floats({1, 4}, {-1e9F, 0, 1e9F, 1}), ints({1}, {1})}},
      {"empty image", roi, region, {zeros({2, 1, 0, 4}), zeros({1, 4}), ints({1}, {1})}},
      {"too few batch indices", roi, region, {zeros({2, 1, 4, 4}), zeros({1, 4}), ints({0}, {})}},
      {"image of a box", crop, {zeros({2, 1, 4, 4}), zeros({1, 4}), batch_of}, {zeros({2, 1, 4, 4}), zeros({1, 4}), batch_beyond}},
      {"number of blocks", columns, {zeros({1, 4, 4})}, {zeros({1, 4, 5})}},
      {"rows of blocks", columns, {zeros({1, 8, 4})}, {zeros({1, 7, 4})}},
      {"singular matrix", inverse, {floats({1, 2, 2}, {1, 2, 3, 4})}, {floats({1, 2, 2}, {1, 2, 2, 4})}},
      {"no probability", draw, {zeros({1, 2})}, {floats({1, 2}, {-infinity, -infinity})}},
      {"probability of NaN", draw, {zeros({1, 2})}, {floats({1, 2}, {nan, 0})}},
      {"token beyond the scores", ngrams, {ints({1, 3}, {1, 2, 1}), zeros({1, 4})}, {ints({1, 3}, {1, 4, 1}), zeros({1, 4})}},
      {"negative token", ngrams, {ints({1, 3}, {1, 2, 1}), zeros({1, 4})}, {ints({1, 3}, {1, -1, 1}), zeros({1, 4})}},
  };
}

TEST(HostileModels, KernelsCheckWhatTheReferenceChecks) {
  for (const Checked& c : checked())
    for (std::string_view backend : {"reference", "cpu"}) {
      const auto good = run(backend, c.text, c.good);
      EXPECT_TRUE(good.ok()) << backend << ", " << c.name << ": " << good.status().to_string();
      EXPECT_FALSE(run(backend, c.text, c.bad).ok()) << backend << ", " << c.name;
    }
}

TEST(HostileModels, ManyConcatenatedOperandsRun) {
  constexpr int kOperands = 3000;
  std::string text = R"(graph "g" {
  input %x: f32[N, 2]
  %y: f32[N, 6000] = Concat(%x)";
  for (int i = 1; i < kOperands; ++i) text += ", %x";
  text += R"() {axis = 1}
  output %y
})";
  for (std::string_view backend : {"reference", "cpu"}) {
    const auto out = run(backend, text, {Tensor::from<float>({2, 2}, {1, 2, 3, 4})});
    ASSERT_TRUE(out.ok()) << backend << out.status().to_string();
    const Tensor& y = std::get<Tensor>((*out)[0]);
    ASSERT_EQ(y.shape(), (Shape{2, 2 * kOperands}));
    for (int64_t i = 0; i < y.size(); ++i) ASSERT_EQ(y.at_double(i), i / (2 * kOperands) * 2 + i % 2 + 1) << backend << " at " << i;
  }
}

TEST(HostileModels, WindowsOfManyTermsAreRefused) {
  const std::string text = R"(graph "g" {
  input %x: f32[1, 1, 8, 8]
  %y: f32[1, 1, 1, 1] = AveragePool(%x) {kernel_shape = [1073741824, 1073741824], pads = [536870912, 536870912, 536870912, 536870912], strides = [1073741824, 1073741824]}
  output %y
})";
  for (std::string_view backend : {"reference", "cpu"})
    EXPECT_THAT(run(backend, text, {zeros({1, 1, 8, 8})}).status().to_string(), HasSubstr("the limit is")) << backend;
}

}  // namespace
}  // namespace tenon::backends
