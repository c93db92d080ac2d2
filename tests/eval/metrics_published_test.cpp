// Metrics against values that are published: in the documentation of Hugging Face evaluate, scikit-learn, sacreBLEU, rouge_score and jiwer,
// or in a paper. And against closed forms, worked out by hand.

#include <cmath>

#include "eval/metrics/sequences.h"
#include "tests/eval/metric_records.h"

namespace tenon::eval {
namespace {

MetricOptions averaged(const char* average) {
  MetricOptions out;
  out.average = average;
  return out;
}

Outcome scores(int64_t label, std::vector<float> p) {
  const auto best = static_cast<int64_t>(std::max_element(p.begin(), p.end()) - p.begin());
  ClassOutcome out{label, best, best == label ? 0 : 1, p[static_cast<size_t>(label)], p[static_cast<size_t>(best)], {}};
  out.probabilities = std::move(p);
  return out;
}

TEST(MetricsPublished, ClassesAsInTheDocumentationOfEvaluate) {
  const auto three = class_records({0, 1, 2, 0, 1, 2}, {0, 1, 1, 2, 1, 0});
  EXPECT_DOUBLE_EQ(value("accuracy", three), 0.5);
  EXPECT_EQ(scored("confusion_matrix", three).details["matrix"], (std::vector<std::vector<int>>{{1, 0, 1}, {0, 2, 0}, {1, 1, 0}}));

  const auto binary = class_records({0, 1, 0, 1, 0}, {0, 0, 1, 1, 0});
  EXPECT_DOUBLE_EQ(value("f1", binary, averaged("binary")), 0.5);
  EXPECT_DOUBLE_EQ(value("precision", binary, averaged("binary")), 0.5);
  EXPECT_DOUBLE_EQ(value("recall", class_records({0, 0, 1, 1, 1}, {0, 1, 0, 1, 1}), averaged("binary")), 2.0 / 3);

  const auto multi = class_records({0, 1, 2, 0, 1, 2}, {0, 2, 1, 0, 0, 1});
  EXPECT_NEAR(value("f1", multi, averaged("macro")), 0.27, 0.005);
  EXPECT_NEAR(value("f1", multi, averaged("micro")), 0.33, 0.005);
  EXPECT_NEAR(value("f1", multi, averaged("weighted")), 0.27, 0.005);
  EXPECT_NEAR(scored("f1", multi).details["classes"][0]["f1"].get<double>(), 0.8, 1e-12);
  EXPECT_DOUBLE_EQ(value("precision", multi, averaged("macro")), 2.0 / 9);
  EXPECT_DOUBLE_EQ(value("precision", multi, averaged("weighted")), 2.0 / 9);
  EXPECT_DOUBLE_EQ(value("recall", multi, averaged("macro")), 1.0 / 3);

  EXPECT_NEAR(value("matthews_correlation", class_records({1, 3, 2, 0, 3, 2}, {1, 2, 2, 0, 3, 3})), 0.54, 0.005);
}

TEST(MetricsPublished, RocAucAsInTheDocumentationOfEvaluate) {
  std::vector<Outcome> binary, three;
  const int64_t labels2[] = {1, 0, 1, 1, 0, 0};
  const float scores2[] = {0.5f, 0.2f, 0.99f, 0.3f, 0.1f, 0.7f};
  for (size_t i = 0; i < 6; ++i) binary.push_back(scores(labels2[i], {1 - scores2[i], scores2[i]}));
  EXPECT_NEAR(value("roc_auc", records_of(binary)), 0.78, 0.005);
  const int64_t labels3[] = {1, 0, 1, 2, 2, 0};
  const std::vector<float> scores3[] = {{0.3f, 0.5f, 0.2f}, {0.7f, 0.2f, 0.1f}, {0.005f, 0.99f, 0.005f},
                                        {0.2f, 0.3f, 0.5f}, {0.1f, 0.1f, 0.8f}, {0.1f, 0.7f, 0.2f}};
  for (size_t i = 0; i < 6; ++i) three.push_back(scores(labels3[i], scores3[i]));
  EXPECT_NEAR(value("roc_auc", records_of(three)), 0.85, 0.005);
  // scikit-learn's user guide: labels 0, 0, 1, 1 with scores 0.1, 0.4, 0.35, 0.8.
  EXPECT_NEAR(
      value("roc_auc", records_of({scores(0, {0.9f, 0.1f}), scores(0, {0.6f, 0.4f}), scores(1, {0.65f, 0.35f}), scores(1, {0.2f, 0.8f})})),
      0.75, 1e-12);
}

TEST(MetricsPublished, ScikitLearnsLogLossAndTopK) {
  // log_loss(["spam", "ham", "ham", "spam"], [[.1, .9], [.9, .1], [.8, .2], [.35, .65]]) is 0.21616…
  const double p[] = {0.9, 0.9, 0.8, 0.65};
  std::vector<Outcome> spam;
  for (double q : p) spam.push_back(ClassOutcome{0, 0, 0, q, q, {}});
  EXPECT_NEAR(value("log_loss", records_of(spam)), 0.21616187468057912, 1e-14);
  // top_k_accuracy_score([0, 1, 2, 2], [[.5, .2, .2], [.3, .4, .2], [.2, .4, .3], [.7, .2, .1]], k=2) is 0.75: ranks 0, 0, 1, 2.
  std::vector<Outcome> ranks;
  for (int64_t rank : {0, 0, 1, 2}) ranks.push_back(ClassOutcome{0, 0, rank, 0, 0, {}});
  MetricOptions two;
  two.k = 2;
  EXPECT_EQ(value("top_k_accuracy", records_of(ranks), two), 0.75);
  EXPECT_EQ(value("top_k_accuracy", records_of(ranks)), 1) << "the label is among 5";
}

TEST(MetricsPublished, ValuesAsInTheDocumentationOfEvaluate) {
  const auto values = value_records({3, -0.5, 2, 7}, {2.5, 0.0, 2, 8});
  EXPECT_DOUBLE_EQ(value("mse", values), 0.375);
  EXPECT_DOUBLE_EQ(value("rmse", values), 0.6123724356957945);
  EXPECT_DOUBLE_EQ(value("mae", values), 0.5);
  EXPECT_NEAR(value("r2", values), 0.9486081370449679, 1e-14) << "scikit-learn's example of r2_score";
  const auto vectors = records_of({ValueOutcome{{0.5, 1}, {0, 2}}, ValueOutcome{{-1, 1}, {-1, 2}}, ValueOutcome{{7, -6}, {8, -5}}});
  EXPECT_DOUBLE_EQ(value("mse", vectors), 0.7083333333333334);
  EXPECT_DOUBLE_EQ(value("mae", vectors), 0.75);
  EXPECT_NEAR(value("r2", value_records({0.9, 2.1, 3.2, 3.8}, {1, 2, 3, 4})), 0.98, 0.005);
  const auto falling = value_records({1, 2, 3, 4, 5}, {10, 9, 2.5, 6, 4});
  EXPECT_NEAR(value("pearsonr", falling), -0.74, 0.005);
  EXPECT_NEAR(value("spearmanr", falling), -0.7, 1e-12);
}

TEST(MetricsPublished, TextsAsInTheDocumentationOfEvaluate) {
  EXPECT_NEAR(value("bleu", text_records({{"hello there general kenobi", {"hello there general kenobi", "hello there !"}},
                                          {"foo bar foobar", {"foo bar foobar", "foo bar foobar"}}})),
              100, 1e-9);
  EXPECT_NEAR(value("bleu", text_records({{"hello there general kenobi", {"hello there general kenobi", "hello there !"}},
                                          {"on our way to ankh morpork", {"goodbye ankh morpork", "ankh morpork"}}})),
              39.8, 0.05);
  EXPECT_NEAR(value("chrf", text_records({{"The relationship between cats and dogs is not exactly friendly.",
                                           {"The relationship between dogs and cats is not exactly friendly."}},
                                          {"a good bookshop is just a genteel black hole that knows how to read.",
                                           {"A good bookshop is just a genteel Black Hole that knows how to read."}}})),
              84.64214891738334, 1e-10);
  EXPECT_NEAR(
      value("meteor", text_records({{"It is a guide to action which ensures that the military always obeys the commands of the party",
                                     {"It is a guide to action that ensures that the military will forever heed Party commands"}}})),
      0.6944, 5e-5);
  const auto samples =
      text_records({{"this is the prediction", {"this is the reference"}}, {"there is an other sample", {"there is another one"}}});
  EXPECT_DOUBLE_EQ(value("wer", samples), 0.5);
  EXPECT_NEAR(value("cer", samples), 0.34146341463414637, 1e-15);
  EXPECT_EQ(value("exact_match", text_records({{"1976", {"1976"}}})), 100);
  EXPECT_EQ(value("squad_f1", text_records({{"1976", {"1976"}}})), 100);
}

TEST(MetricsPublished, RougeAsInTheTestsOfRougeScore) {
  const auto rouge = [](const char* metric, const char* predicted) {
    return value(metric, text_records({{predicted, {"testing one two"}}}));
  };
  EXPECT_DOUBLE_EQ(rouge("rouge1", "testing"), 1.0 / 2);
  EXPECT_DOUBLE_EQ(rouge("rouge2", "testing one"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(rouge("rougeL", "testing one"), 4.0 / 5);
  EXPECT_DOUBLE_EQ(rouge("rougeL", "testing two"), 4.0 / 5);
  for (const char* metric : {"rouge1", "rouge2", "rougeL"}) EXPECT_EQ(rouge(metric, ""), 0);
  MetricOptions stemmer;
  stemmer.stemmer = true;
  EXPECT_EQ(value("rouge1", text_records({{"tests", {"testing"}}})), 0);
  EXPECT_EQ(value("rouge1", text_records({{"tests", {"testing"}}}), stemmer), 1);
}

TEST(MetricsPublished, EntitiesAsInTheDocumentationOfEvaluate) {
  // O O B-MISC I-MISC I-MISC I-MISC O for O O O B-MISC I-MISC I-MISC O; B-PER I-PER O for itself.
  MetricOptions options;
  options.names = {"O", "B-MISC", "I-MISC", "B-PER", "I-PER"};
  const Score got = scored(
      "seqeval", records_of({TokenOutcome{{0, 0, 0, 1, 2, 2, 0}, {0, 0, 1, 2, 2, 2, 0}}, TokenOutcome{{3, 4, 0}, {3, 4, 0}}}), options);
  EXPECT_DOUBLE_EQ(got.value, 0.5);
  EXPECT_EQ(got.details["types"][1]["type"], "PER");
  EXPECT_EQ(got.details["types"][1]["f1"], 1.0);
  EXPECT_EQ(got.details["types"][0]["f1"], 0.0);
}

TEST(MetricsPublished, MeanIouAsInTheDocumentationOfEvaluate) {
  const std::vector<std::pair<std::vector<int>, std::vector<int>>> maps = {
      {{0, 3, 5, 4, 6}, {1, 2, 3, 4, 5}},
      {{1, 7, 9, 2, 3, 6}, {2, 7, 9, 2, 3, 6}},
      {{1, 2, 2, 8, 2, 1, 3, 1}, {2, 2, 3, 8, 2, 4, 3, 2}}};  // those of 255 left out
  std::vector<Outcome> outcomes;
  for (const auto& [actual, predicted] : maps) {
    std::vector<int64_t> confusion(100);
    for (size_t i = 0; i < actual.size(); ++i) ++confusion[static_cast<size_t>(actual[i] * 10 + predicted[i])];
    outcomes.push_back(PixelOutcome::of(10, confusion));
  }
  const Score got = scored("mean_iou", records_of(outcomes));
  EXPECT_NEAR(got.value, 0.4775, 1e-12);
  EXPECT_NEAR(got.details["pixel_accuracy"].get<double>(), 0.5263157894736842, 1e-12);
  EXPECT_NEAR(got.details["classes"][2]["iou"].get<double>(), 0.375, 1e-12);
}

TEST(MetricsPublished, BleuAsInTheTestsOfSacrebleu) {
  // A hypothesis without a match is 0; one that is too short for 4-grams is 0 as well.
  EXPECT_EQ(value("bleu", text_records({{"x y z w", {"a b c d"}}})), 0);
  EXPECT_EQ(value("bleu", text_records({{"a b c", {"a b c"}}})), 0);
  // By hand: 5 of 6 words, 3 of 5 pairs, 1 of 4 triples, none of 3: 1/2 by smoothing.
  EXPECT_NEAR(value("bleu", text_records({{"a b c x d e", {"a b c d e f"}}})),
              100 * std::pow(5.0 / 6 * 3 / 5 * 1 / 4 * (1.0 / 2) / 3, 0.25), 1e-10);
  // By hand: every precision is 1, and a length of 5 against 8.
  EXPECT_NEAR(value("bleu", text_records({{"a b c d e", {"a b c d e f g h"}}})), 100 * std::exp(1 - 8.0 / 5), 1e-10);
}

TEST(MetricsClosedForm, ExpectedCalibrationErrorByHand) {
  // Two bins: two records of 0.3 with one right; two of 0.9 with both: (2 · |0.5 - 0.3| + 2 · |1 - 0.9|) / 4.
  MetricOptions two;
  two.bins = 2;
  const auto records = records_of({ClassOutcome{0, 0, 0, 0, 0.3, {}}, ClassOutcome{0, 1, 1, 0, 0.3, {}}, ClassOutcome{0, 0, 0, 0, 0.9, {}},
                                   ClassOutcome{0, 0, 0, 0, 0.9, {}}});
  EXPECT_NEAR(value("expected_calibration_error", records, two), 0.15, 1e-15);
  // Edges belong to the bin below: 0.5 is in (0, 0.5], with 0.3.
  EXPECT_EQ(scored("expected_calibration_error", records_of({ClassOutcome{0, 0, 0, 0, 0.5, {}}, ClassOutcome{0, 0, 0, 0, 0.3, {}}}), two)
                .details["bins"]
                .size(),
            1u);
}

TEST(MetricsClosedForm, PerplexityOfUniformTokens) {
  EXPECT_NEAR(value("perplexity", records_of({LikelihoodOutcome{3 * std::log(50.0), 3}, LikelihoodOutcome{5 * std::log(50.0), 5}})), 50,
              1e-10);
}

TEST(MetricsClosedForm, DivergenceOfTwoCoins) {
  EXPECT_NEAR(value("kl_divergence", records_of({ValueOutcome{{0.25, 0.75}, {0.5, 0.5}}})), 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3),
              1e-15);
  EXPECT_NEAR(value("kl_divergence", records_of({ValueOutcome{{1, 3}, {5, 5}}})), 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3), 1e-15)
      << "sums need not be 1";
  EXPECT_EQ(value("kl_divergence", records_of({ValueOutcome{{1, 0}, {0.5, 0.5}}})), std::numeric_limits<double>::infinity());
}

TEST(MetricsClosedForm, Cosines) {
  EXPECT_NEAR(value("cosine_similarity", records_of({ValueOutcome{{1, 0}, {1, 1}}, ValueOutcome{{2, 0}, {-1, 0}}})),
              (std::sqrt(0.5) - 1) / 2, 1e-15);
  EXPECT_EQ(value("cosine_similarity", records_of({ValueOutcome{{0, 0}, {1, 1}}})), 0);
}

TEST(MetricsClosedForm, PsnrByHand) {
  // 10 log10(255² / 65.025) is 30 dB, 10 log10(1 / 0.01) is 20 dB.
  EXPECT_NEAR(value("psnr", records_of({ImageOutcome{65.025, 0.5, 255}, ImageOutcome{0.01, 0.7, 1}})), 25, 1e-12);
  EXPECT_NEAR(value("ssim", records_of({ImageOutcome{65.025, 0.5, 255}, ImageOutcome{0.01, 0.7, 1}})), 0.6, 1e-15);
  EXPECT_EQ(value("psnr", records_of({ImageOutcome{0, 1, 1}})), std::numeric_limits<double>::infinity());
}

TEST(MetricsClosedForm, DiceByHand) {
  // Class 0: 6 of 6 + 8 pixels; class 1: 2 of 2 + 4; class 2 nowhere.
  EXPECT_NEAR(value("dice", records_of({PixelOutcome::of(3, {6, 0, 0, 2, 2, 0, 0, 0, 0})})), (12.0 / 14 + 4.0 / 6) / 2, 1e-15);
  EXPECT_NEAR(value("mean_iou", records_of({PixelOutcome::of(3, {6, 0, 0, 2, 2, 0, 0, 0, 0})})), (6.0 / 8 + 2.0 / 4) / 2, 1e-15);
}

BoxOutcome::Detection detection(double x, double size, double score, int64_t label = 0) { return {{x, 0, x + size, size}, label, score}; }
BoxOutcome::Truth truth(double x, double size, bool crowd = false) { return {{x, 0, x + size, size}, 0, crowd, 0}; }

TEST(MetricsClosedForm, AveragePrecisionByHand) {
  // Exact boxes: right, wrong, right of two objects. Precision is 1 up to recall 1/2 and 2/3 beyond: 51 points of 1 and 50 of 2/3.
  const BoxOutcome mixed{{detection(0, 50, 0.9), detection(500, 50, 0.8), detection(200, 50, 0.7)}, {truth(0, 50), truth(200, 50)}};
  EXPECT_NEAR(value("coco_map", records_of({mixed})), (51 + 50 * 2.0 / 3) / 101, 1e-12);
  // A box of 45 x 50 in one of 50 x 50 overlaps by 0.9: right at 0.5 to 0.9, wrong at 0.95.
  const BoxOutcome narrow{{{{0, 0, 45, 50}, 0, 0.9}}, {truth(0, 50)}};
  const Score got = scored("coco_map", records_of({narrow}));
  EXPECT_NEAR(got.value, 0.9, 1e-12);
  EXPECT_NEAR(got.details["ap50"].get<double>(), 1, 1e-12);
  EXPECT_NEAR(got.details["ap_medium"].get<double>(), 0.9, 1e-12);
  EXPECT_TRUE(std::isnan(got.details["ap_small"].get<double>()));
  // What lies in a crowd is neither right nor wrong.
  const BoxOutcome crowded{{detection(0, 50, 0.9), detection(110, 20, 0.95), detection(130, 20, 0.95)},
                           {truth(0, 50), truth(100, 200, true)}};
  EXPECT_NEAR(value("coco_map", records_of({crowded})), 1, 1e-12);
  // The hundred best of a class count.
  BoxOutcome many{{detection(0, 50, 0.1)}, {truth(0, 50)}};
  for (int i = 0; i < 100; ++i) many.detections.push_back(detection(500, 50, 0.5));
  EXPECT_EQ(value("coco_map", records_of({many})), 0);
  many.detections.pop_back();
  EXPECT_NEAR(value("coco_map", records_of({many})), 0.01, 1e-12);
}

TEST(MetricsClosedForm, ErrorRatesByHand) {
  // One substitution and one insertion of three words; then nothing of two.
  const auto records = text_records({{"a x c d", {"a b c"}}, {"", {"a b"}}});
  EXPECT_DOUBLE_EQ(value("wer", records), 4.0 / 5);
  EXPECT_DOUBLE_EQ(value("cer", text_records({{"ñandú", {"nandu"}}})), 2.0 / 5) << "code points, not bytes";
  EXPECT_DOUBLE_EQ(value("wer", text_records({{"a b", {"x y", "a c"}}})), 0.5) << "the nearest reference";
}

/// By the table, cell by cell.
int64_t slow_edit_distance(const Symbols& a, const Symbols& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t next = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = row[j];
      row[j] = next;
    }
  }
  return row[b.size()];
}

int64_t slow_common(const Symbols& a, const Symbols& b) {
  std::vector<std::vector<int64_t>> table(a.size() + 1, std::vector<int64_t>(b.size() + 1));
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < b.size(); ++j) table[i + 1][j + 1] = a[i] == b[j] ? table[i][j] + 1 : std::max(table[i][j + 1], table[i + 1][j]);
  return table[a.size()][b.size()];
}

TEST(Sequences, DistancesAreThoseOfTheTable) {
  uint64_t state = 7;
  const auto random = [&state](uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
  };
  for (size_t length : {0, 1, 2, 7, 63, 64, 65, 100, 127, 128, 129, 200, 321})
    for (uint64_t letters : {1, 2, 4, 30, 1000})
      for (int repeat = 0; repeat < 4; ++repeat) {
        Symbols a(length), b(random(length + 20));
        for (uint32_t& s : a) s = static_cast<uint32_t>(random(letters));
        for (size_t i = 0; i < b.size(); ++i) b[i] = i < a.size() && random(3) > 0 ? a[i] : static_cast<uint32_t>(random(letters));
        EXPECT_EQ(edit_distance(a, b), slow_edit_distance(a, b)) << length << " " << b.size() << " " << letters;
        EXPECT_EQ(longest_common_subsequence(a, b), slow_common(a, b)) << length << " " << b.size() << " " << letters;
      }
}

}  // namespace
}  // namespace tenon::eval
