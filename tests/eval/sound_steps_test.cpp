#include <cmath>
#include <numbers>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/preprocess/mel.h"
#include "eval/preprocess/pipeline.h"
#include "tests/eval/data_files.h"

namespace tenon::eval {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<Fields> run(const char* steps, Fields fields) {
  TENON_ASSIGN_OR_RETURN(const Pipeline pipeline, parse_pipeline(json::parse(steps)));
  return pipeline.run(std::move(fields));
}
Tensor result(const char* steps, Fields fields, const std::string& name = "audio") {
  Result<Fields> out = run(steps, std::move(fields));
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? std::get<Tensor>((*out)[name]) : Tensor();
}

/// The sound of preprocess_expected.py.
Tensor sound(int64_t n) {
  std::vector<float> out;
  for (int64_t t = 0; t < n; ++t) {
    const double at = 2 * std::numbers::pi * static_cast<double>(t) / 16000;
    out.push_back(static_cast<float>(0.5 * std::sin(440 * at) + 0.25 * std::sin(3000 * at) + 0.01 * static_cast<double>((t * 7919) % 101 - 50) / 50));
  }
  return Tensor::from<float>({n}, out);
}

struct Place {
  int64_t row, column;
  double value;
};
void expect_places(const Tensor& t, std::initializer_list<Place> places, double mean) {
  for (const Place& p : places) EXPECT_NEAR(t.at_double(p.row * t.dim(1) + p.column), p.value, 2e-4) << p.row << ", " << p.column;
  double sum = 0;
  for (float v : t.span<float>()) sum += v;
  EXPECT_NEAR(sum / static_cast<double>(t.size()), mean, 2e-4);
}

// Numbers of NumPy in double precision: preprocess_expected.py.
TEST(LogMel, IsWhispers) {
  const Tensor mel = result(R"([{"step": "log_mel", "drop_last": true}])", {{"audio", sound(1600)}, {"rate", Tensor::scalar<int64_t>(16000)}}, "mel");
  ASSERT_EQ(mel.shape(), (Shape{80, 10}));
  expect_places(mel, {{0, 0, 0.996343}, {5, 3, -0.474486}, {10, 1, 1.350412}, {79, 9, -0.232510}, {40, 5, -0.305682}}, 0.010591);
}

TEST(LogMel, FollowsHtkWithoutPadding) {
  const char* steps = R"([{"step": "log_mel", "n_fft": 512, "hop": 256, "mels": 20, "scale": "htk", "norm": "none", "low": 50, "high": 7000,
                           "center": false, "log": "ln", "order": "frames_first"}, {"step": "transpose", "order": [1, 0]}])";
  const Tensor mel = result(steps, {{"audio", sound(1600)}}, "mel");
  ASSERT_EQ(mel.shape(), (Shape{20, 5}));
  expect_places(mel, {{0, 0, -6.764004}, {5, 3, -6.486663}, {10, 1, -5.279861}, {19, 4, -0.370391}, {10, 2, -5.279756}}, -2.026649);
}

TEST(LogMel, DecibelsEndEightyBelow) {
  std::vector<float> half(3200, 0.0f);
  for (size_t i = 0; i < 1600; ++i) half[i] = static_cast<float>(std::sin(static_cast<double>(i)));
  const Tensor mel = result(R"([{"step": "log_mel", "log": "db"}])", {{"audio", Tensor::from<float>({3200}, half)}}, "mel");
  const auto [low, high] = std::minmax_element(mel.span<float>().begin(), mel.span<float>().end());
  EXPECT_NEAR(*high - *low, 80, 1e-3);
}

TEST(LogMel, NamesWhatDoesNotFit) {
  const Fields short_sound{{"audio", sound(100)}};
  EXPECT_THAT(run(R"([{"step": "log_mel"}])", short_sound).status().to_string(), HasSubstr("100 samples are too few to be mirrored"));
  EXPECT_THAT(run(R"([{"step": "log_mel", "center": false}])", short_sound).status().to_string(), HasSubstr("too few for a frame of 400"));
  EXPECT_THAT(run(R"([{"step": "log_mel", "high": 9000}])", short_sound).status().to_string(), HasSubstr("parameter 'high' is 9000 Hz"));
  EXPECT_THAT(run(R"([{"step": "log_mel", "window": 500}])", short_sound).status().to_string(), HasSubstr("parameter 'window' is 500, n_fft 400"));
  EXPECT_THAT(run(R"([{"step": "log_mel"}])", {{"audio", sound(1600)}, {"rate", Tensor::scalar<int64_t>(8000)}}).status().to_string(),
              HasSubstr("the sound has 8000 samples a second, the step 16000 (step 1 (log_mel)): put a step resample before"));
}

TEST(Resample, KeepsATone) {
  // A sine of 440 Hz is the same sine at another rate, away from the ends.
  std::vector<float> tone;
  for (int i = 0; i < 8000; ++i) tone.push_back(static_cast<float>(0.5 * std::sin(2 * std::numbers::pi * 440 * i / 8000)));
  Result<Fields> out = run(R"([{"step": "resample", "rate": 16000}])", {{"audio", Tensor::from<float>({8000}, tone)}, {"rate", Tensor::scalar<int64_t>(8000)}});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  const Tensor& audio = std::get<Tensor>((*out)["audio"]);
  ASSERT_EQ(audio.size(), 16000);
  EXPECT_EQ(std::get<Tensor>((*out)["rate"]).at_int(0), 16000);
  for (int64_t i = 2000; i < 14000; ++i)
    ASSERT_NEAR(audio.at_double(i), 0.5 * std::sin(2 * std::numbers::pi * 440 * static_cast<double>(i) / 16000), 2e-3) << i;
  EXPECT_THAT(run(R"([{"step": "resample"}])", {{"audio", sound(10)}}).status().to_string(), HasSubstr("rate is not known"));
  EXPECT_THAT(run(R"([{"step": "resample", "from": 1}])", {{"audio", sound(10)}}).status().to_string(), HasSubstr("beyond 256"));
}

TEST(SoundSteps, ClosedForms) {
  const Tensor x = Tensor::from<float>({3}, {0.5f, -1, 0.25f});
  EXPECT_THAT(result(R"([{"step": "fit", "samples": 5}])", {{"audio", x}}).span<float>(), ElementsAre(0.5f, -1, 0.25f, 0, 0));
  EXPECT_THAT(result(R"([{"step": "fit", "samples": 5, "align": "end", "value": 9}])", {{"audio", x}}).span<float>(), ElementsAre(9, 9, 0.5f, -1, 0.25f));
  EXPECT_THAT(result(R"([{"step": "fit", "samples": 1, "align": "center"}])", {{"audio", x}}).span<float>(), ElementsAre(-1));
  EXPECT_THAT(result(R"([{"step": "fit", "seconds": 0.5}])", {{"audio", x}, {"rate", Tensor::scalar<int64_t>(4)}}).span<float>(), ElementsAre(0.5f, -1));
  EXPECT_THAT(result(R"([{"step": "int16"}])", {{"audio", Tensor::from<float>({3}, {1, -1, 0.5f})}}).span<int16_t>(), ElementsAre(32767, -32768, 16384));
  EXPECT_THAT(result(R"([{"step": "frames", "length": 2}])", {{"audio", x}}).span<float>(), ElementsAre(0.5f, -1, 0.25f, 0));
  EXPECT_EQ(result(R"([{"step": "frames", "length": 2, "hop": 1, "pad": false}])", {{"audio", x}}).shape(), (Shape{2, 2}));
  EXPECT_THAT(result(R"([{"step": "level", "method": "peak"}])", {{"audio", x}}).span<float>(), ElementsAre(0.5f, -1, 0.25f));
  EXPECT_THAT(result(R"([{"step": "level", "epsilon": 0}])", {{"audio", Tensor::from<float>({2}, {1, 3})}}).span<float>(), ElementsAre(-1, 1));
  EXPECT_THAT(result(R"([{"step": "preemphasis", "factor": 0.5}])", {{"audio", x}}).span<float>(), ElementsAre(0.5f, -1.25f, 0.75f));
  EXPECT_THAT(result(R"([{"step": "mono"}])", {{"audio", Tensor::from<float>({2, 2}, {1, 3, 5, 5})}}).span<float>(), ElementsAre(2, 5));
}

}  // namespace
}  // namespace tenon::eval
