// Metrics against other implementations: metrics_reference.json has records, and what scikit-learn, SciPy, scikit-image, NLTK, sacreBLEU,
// seqeval and pycocotools make of them; metrics_reference.py wrote it.

#include <fstream>
#include <map>
#include <set>

#include "eval/metrics/image_quality.h"
#include "eval/metrics/text.h"
#include "tests/eval/metric_records.h"

namespace tenon::eval {
namespace {

const nlohmann::json& reference() {
  static const nlohmann::json json =
      nlohmann::json::parse(std::ifstream(std::string(TENON_SOURCE_DIR) + "/tests/eval/metrics_reference.json"));
  return json;
}

std::vector<Record> records_named(const std::string& name) {
  std::vector<Record> out;
  for (const auto& one : reference()["records"][name]) {
    Result<Record> record = record_from_line(one.dump());
    EXPECT_TRUE(record.ok()) << record.status().to_string() << "\n" << one;
    if (record.ok()) out.push_back(std::move(record).value());
  }
  return out;
}

MetricOptions options_of(const nlohmann::json& given) {
  MetricOptions out;
  out.average = given.value("average", out.average);
  out.k = given.value("k", out.k);
  out.bins = given.value("bins", out.bins);
  out.stemmer = given.value("stemmer", out.stemmer);
  out.names = given.value("names", out.names);
  return out;
}

/// Relative, as sums are taken in another order.
void expect_close(const nlohmann::json& actual, const nlohmann::json& expected, const std::string& what) {
  if (expected.is_array()) {
    ASSERT_EQ(actual.size(), expected.size()) << what;
    for (size_t i = 0; i < expected.size(); ++i) expect_close(actual[i], expected[i], what);
    return;
  }
  ASSERT_TRUE(actual.is_number()) << what << ": " << actual;
  const double value = expected.get<double>();
  EXPECT_NEAR(actual.get<double>(), value, 1e-12 * std::max(1.0, std::abs(value))) << what;
}

TEST(MetricsReference, ValuesAreThoseOfOtherImplementations) {
  std::set<std::string> seen;
  for (const auto& one : reference()["cases"]) {
    const auto metric = one["metric"].get<std::string>(), name = one["records"].get<std::string>();
    const std::string what = metric + " of " + name + " by " + one["by"].get<std::string>() + ", " + one["options"].dump();
    const Score got = scored(metric, records_named(name), options_of(one["options"]));
    // scikit-learn and SciPy lose digits where values are far from 0; round-off of a correlation is of its inputs.
    if (name == "numbers far from 0")
      EXPECT_NEAR(got.value, one["value"].get<double>(), 1e-8) << what;
    else
      expect_close(got.value, one["value"], what);
    for (const auto& [key, expected] : one["details"].items()) {
      ASSERT_TRUE(got.details.contains(key)) << what << ": " << key;
      expect_close(got.details[key], expected, what + ": " + key);
    }
    seen.insert(metric);
  }
  for (const MetricInfo& metric : metrics())
    EXPECT_TRUE(seen.contains(std::string(metric.name))) << metric.name << " has no value to compare with";
}

TEST(MetricsReference, StemsAreThoseOfNltk) {
  for (const auto& [word, stem] : reference()["stems"].items())
    EXPECT_EQ(porter_stem(decode_utf8(word)), decode_utf8(stem.get<std::string>())) << word;
}

TEST(MetricsReference, Tokens13aAreThoseOfSacrebleu) {
  for (const auto& one : reference()["tokens_13a"]) {
    std::vector<std::u32string> expected;
    for (const auto& token : one["tokens"]) expected.push_back(decode_utf8(token.get<std::string>()));
    EXPECT_EQ(tokenize_13a(decode_utf8(one["text"].get<std::string>())), expected) << one["text"];
  }
}

TEST(MetricsReference, McNemarIsThatOfScipysDistributions) {
  for (const auto& one : reference()["mcnemar"]) {
    const auto only_first = one["first"].get<size_t>(), only_second = one["second"].get<size_t>();
    std::vector<int64_t> labels(only_first + only_second + 7, 1), a(labels), b(labels);
    for (size_t i = 0; i < only_first; ++i) b[i] = 0;
    for (size_t i = 0; i < only_second; ++i) a[only_first + i] = 0;
    const auto result = mcnemar(class_records(labels, a), class_records(labels, b));
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->only_first, static_cast<int64_t>(only_first));
    EXPECT_EQ(result->only_second, static_cast<int64_t>(only_second));
    EXPECT_NEAR(result->statistic, one["statistic"].get<double>(), 1e-12);
    EXPECT_NEAR(result->p, one["p"].get<double>(), 1e-12);
  }
}

/// The two pictures of metrics_reference.py.
std::pair<Tensor, Tensor> pictures(int64_t height, int64_t width, int64_t channels, double peak) {
  std::vector<double> a, b;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c) {
        a.push_back(static_cast<double>((37 * x + 91 * y + 13 * x * y + 50 * c) % 256));
        b.push_back(std::clamp(a.back() + static_cast<double>((11 * x + 7 * y + 5 * c) % 41 - 20), 0.0, 255.0));
      }
  if (peak == 1)
    for (auto* image : {&a, &b})
      for (double& v : *image) v /= 256;
  return {Tensor::from<double>({height, width, channels}, a), Tensor::from<double>({height, width, channels}, b)};
}

TEST(MetricsReference, SimilarityOfImagesIsThatOfScikitImage) {
  for (const auto& one : reference()["pictures"]) {
    const double peak = one["peak"];
    const auto [a, b] = pictures(one["height"], one["width"], one["channels"], peak);
    EXPECT_NEAR(ssim(a, b, peak), one["ssim"].get<double>(), 1e-12) << one;
    EXPECT_NEAR(mse(a, b), one["mse"].get<double>(), 1e-9) << one;
    EXPECT_NEAR(ssim(a, a, peak), 1, 1e-12);
    EXPECT_EQ(mse(a, a), 0);
  }
}

TEST(ImageQuality, IsUndefinedForImagesThatCannotBeCompared) {
  const Tensor small = Tensor::zeros(DType::kU8, {10, 30, 3}).value(), other = Tensor::zeros(DType::kU8, {30, 10, 3}).value();
  EXPECT_TRUE(std::isnan(ssim(small, small, 255))) << "smaller than the window";
  EXPECT_TRUE(std::isnan(mse(small, other)));
  EXPECT_TRUE(std::isnan(mse(Tensor(), Tensor())));
  EXPECT_TRUE(std::isnan(mse(Tensor::zeros(DType::kF32, {0}).value(), Tensor::zeros(DType::kF32, {0}).value())));
  EXPECT_TRUE(std::isnan(ssim(Tensor::scalar(1.0), Tensor::scalar(1.0), 1)));
}

TEST(ImageQuality, TakesAnyTypeAndImagesWithoutChannels) {
  // Constant images of 0 and 255: every mean is that, every variance 0; ssim is c1 / (255² + c1), c1 = (0.01 · 255)².
  std::vector<uint8_t> white(20 * 20, 255);
  const Tensor a = Tensor::zeros(DType::kU8, {20, 20}).value(), b = Tensor::from<uint8_t>({20, 20}, white);
  EXPECT_EQ(mse(a, b), 65025);
  EXPECT_NEAR(ssim(a, b, 255), 1e-4 / (1 + 1e-4), 1e-12);
}

}  // namespace
}  // namespace tenon::eval
