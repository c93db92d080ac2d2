// What holds for every metric: order and number of files do not matter, a record that occurs twice counts twice, odd input gives NaN or
// an error and no crash. And the intervals.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <random>

#include <gmock/gmock.h>

#include "tests/eval/metric_records.h"

namespace tenon::eval {
namespace {

using ::testing::HasSubstr;
constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

std::mt19937_64 random_with(uint64_t seed) { return std::mt19937_64(seed); }

double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

Outcome random_class(std::mt19937_64& random) {
  ClassOutcome out;
  out.label = static_cast<int64_t>(random() % 3);
  out.rank = static_cast<int64_t>(random() % 3);
  out.predicted = out.rank == 0 ? out.label : (out.label + 1) % 3;
  for (int c = 0; c < 3; ++c) out.probabilities.push_back(static_cast<float>(random() % 8) / 8);
  out.probability = out.probabilities[static_cast<size_t>(out.label)];
  out.confidence = out.probabilities[static_cast<size_t>(out.predicted)];
  return out;
}

Outcome random_tokens(std::mt19937_64& random) {
  TokenOutcome out;
  for (uint64_t i = random() % 9; i-- > 0;) {
    out.labels.push_back(random() % 8 == 0 ? -100 : static_cast<int64_t>(random() % 3));
    out.predicted.push_back(static_cast<int64_t>(random() % 3));
  }
  return out;
}

std::string random_text(std::mt19937_64& random) {
  static constexpr const char* kWords[] = {"one", "two", "three", "four,", "5.5", "a", "zwölf", "running", "runs"};
  std::string out;
  for (uint64_t i = random() % 9; i-- > 0;) out += std::string(kWords[random() % std::size(kWords)]) + " ";
  return out;
}

Outcome random_boxes(std::mt19937_64& random) {
  BoxOutcome out;
  const auto box = [&] {
    const double x = static_cast<double>(random() % 4) * 40 + uniform(random) * 4, y = static_cast<double>(random() % 2) * 40;
    return std::array<double, 4>{x, y, x + 35, y + 35};
  };
  for (uint64_t i = random() % 4; i-- > 0;) out.truths.push_back({box(), static_cast<int64_t>(random() % 2), random() % 6 == 0, 0});
  for (uint64_t i = random() % 5; i-- > 0;)
    out.detections.push_back({box(), static_cast<int64_t>(random() % 2), static_cast<double>(random() % 6) / 6});
  return out;
}

Outcome random_outcome(std::string_view kind, std::mt19937_64& random) {
  if (kind == "class") return random_class(random);
  if (kind == "tokens") return random_tokens(random);
  if (kind == "text") return TextOutcome{random_text(random), {random_text(random), random_text(random)}};
  if (kind == "likelihood") return LikelihoodOutcome{uniform(random) * 10, static_cast<int64_t>(random() % 5)};
  if (kind == "values")
    return ValueOutcome{{uniform(random), static_cast<double>(1 + random() % 3)}, {uniform(random), static_cast<double>(random() % 3)}};
  if (kind == "pixels")
    return PixelOutcome::of(2, {static_cast<int64_t>(random() % 9), static_cast<int64_t>(random() % 9), static_cast<int64_t>(random() % 9), 1});
  if (kind == "image") return ImageOutcome{uniform(random), uniform(random), 1};
  return random_boxes(random);
}

constexpr const char* kKinds[] = {"class", "tokens", "text", "likelihood", "values", "pixels", "image", "boxes"};

std::vector<Record> random_records(std::string_view kind, size_t count, uint64_t seed) {
  std::mt19937_64 random = random_with(seed);
  std::vector<Outcome> out;
  for (size_t i = 0; i < count; ++i) out.push_back(random_outcome(kind, random));
  return records_of(std::move(out));
}

MetricOptions named() {
  MetricOptions out;
  out.names = {"O", "B-X", "I-X"};
  return out;
}

/// Every metric with every kind of outcome that it reads.
template <class Body>
void for_each_reading(Body&& body) {
  for (const MetricInfo& metric : metrics())
    for (const char* kind : kKinds)
      if (reads(metric, kind)) {
        SCOPED_TRACE(std::string(metric.name) + " of " + kind);
        body(metric, kind);
      }
}

void expect_same(double a, double b) {
  if (std::isnan(a))
    EXPECT_TRUE(std::isnan(b)) << b;
  else
    EXPECT_NEAR(a, b, 1e-12 * std::max(1.0, std::abs(a)));
}

TEST(MetricsProperties, TableIsConsistent) {
  std::map<std::string_view, int> names;
  for (const MetricInfo& metric : metrics()) {
    EXPECT_EQ(++names[metric.name], 1) << metric.name;
    EXPECT_EQ(find_metric(metric.name), &metric);
    EXPECT_NE(std::find(std::begin(kKinds), std::end(kKinds), metric.outcome), std::end(kKinds)) << metric.name;
    for (std::string_view text : {metric.title, metric.formula, metric.source}) EXPECT_FALSE(text.empty()) << metric.name;
  }
  EXPECT_EQ(find_metric("no such"), nullptr);
  EXPECT_THAT(metric_names("likelihood"), testing::StrEq("perplexity"));
}

TEST(MetricsProperties, OrderOfRecordsDoesNotMatter) {
  for_each_reading([](const MetricInfo& metric, const char* kind) {
    std::vector<Record> records = random_records(kind, 60, 3);
    const double before = value(metric.name, records, named());
    std::mt19937_64 random = random_with(4);
    std::shuffle(records.begin(), records.end(), random);
    expect_same(before, value(metric.name, records, named()));
  });
}

TEST(MetricsProperties, ShardsReadBackGiveTheWhole) {
  for_each_reading([](const MetricInfo& metric, const char* kind) {
    const std::vector<Record> records = random_records(kind, 50, 5);
    std::vector<Record> merged;
    for (size_t shard : {2, 0, 1})
      for (size_t i = shard; i < records.size(); i += 3) {
        auto read = record_from_line(to_line(records[i]));
        ASSERT_TRUE(read.ok()) << read.status().to_string();
        merged.push_back(std::move(read).value());
      }
    std::sort(merged.begin(), merged.end(), [](const Record& a, const Record& b) { return a.index < b.index; });
    EXPECT_EQ(value(metric.name, records, named()), value(metric.name, merged, named())) << "to the bit";
  });
}

TEST(MetricsProperties, ARecordThatIsDrawnTwiceCountsTwice) {
  for_each_reading([](const MetricInfo& metric, const char* kind) {
    const std::vector<Record> records = random_records(kind, 30, 6);
    std::mt19937_64 random = random_with(7);
    const auto scorer = metric.make(records, named());
    ASSERT_TRUE(scorer.ok()) << scorer.status().to_string();
    for (int i = 0; i < 5; ++i) {
      std::vector<size_t> sample(records.size());
      std::vector<Record> drawn;
      for (size_t& position : sample) drawn.push_back(records[position = random() % records.size()]);
      expect_same(value(metric.name, drawn, named()), (*scorer)->value(sample));
    }
  });
}

TEST(MetricsProperties, NoRecordsGiveNaN) {
  for (const MetricInfo& metric : metrics()) {
    const auto got = score(metric, {}, {named()});
    ASSERT_TRUE(got.ok()) << metric.name << got.status().to_string();
    EXPECT_TRUE(std::isnan(got->value) && std::isnan(got->low) && std::isnan(got->high)) << metric.name << " " << got->value;
  }
}

TEST(MetricsProperties, EmptyOutcomesGiveNaNOrTheWorst) {
  const auto tokens = records_of({TokenOutcome{}, TokenOutcome{{-100}, {1}}});
  for (const char* metric : {"accuracy", "f1", "precision", "recall", "matthews_correlation", "confusion_matrix", "seqeval"})
    EXPECT_TRUE(std::isnan(value(metric, tokens, named()))) << metric;
  for (const char* metric : {"bleu", "chrf", "rouge1", "rouge2", "rougeL", "meteor"})
    EXPECT_EQ(value(metric, text_records({{"", {""}}})), 0) << metric;
  EXPECT_EQ(value("exact_match", text_records({{"", {"the"}}})), 100);
  EXPECT_TRUE(std::isnan(value("wer", text_records({{"", {""}}}))));
  EXPECT_EQ(value("wer", text_records({{"a", {""}}, {"b", {"b"}}})), 1);
  EXPECT_TRUE(std::isnan(value("perplexity", records_of({LikelihoodOutcome{}}))));
  for (const char* metric : {"mse", "rmse", "mae", "r2", "pearsonr", "spearmanr"})
    EXPECT_TRUE(std::isnan(value(metric, records_of({ValueOutcome{}})))) << metric;
  EXPECT_TRUE(std::isnan(value("mean_iou", records_of({PixelOutcome{}, PixelOutcome{2, {}}}))));
  EXPECT_TRUE(std::isnan(value("coco_map", records_of({BoxOutcome{}, BoxOutcome{{{{0, 0, 1, 1}, 0, 1}}, {}}}))));
  EXPECT_EQ(value("coco_map", records_of({BoxOutcome{{}, {{{0, 0, 1, 1}, 0}}}})), 0);
}

TEST(MetricsProperties, OneClassLeavesSomeUndefined) {
  ClassOutcome one{1, 1, 0, 0.75, 0.75, {0.25f, 0.75f}};
  const auto records = records_of({one, one, one});
  EXPECT_TRUE(std::isnan(value("roc_auc", records)));
  EXPECT_EQ(value("matthews_correlation", records), 0) << "as in scikit-learn";
  EXPECT_EQ(value("f1", records), 1);
  const auto constant = value_records({2, 2, 2}, {1, 2, 3});
  EXPECT_TRUE(std::isnan(value("pearsonr", constant)));
  EXPECT_TRUE(std::isnan(value("spearmanr", constant)));
  EXPECT_EQ(value("r2", constant), 0) << "as in scikit-learn";
  EXPECT_EQ(value("r2", value_records({2, 2}, {2, 2})), 1);
  EXPECT_TRUE(std::isnan(value("pearsonr", value_records({0.1, 0.1, 0.1}, {0.3, 0.3, 0.3})))) << "round-off is no variance";
}

TEST(MetricsProperties, NaNScores) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // A NaN is below all scores: of class 1 against the one of class 0, one pair in order and one not.
  const auto records = records_of({ClassOutcome{0, 0, 0, 0.5, 0.5, {0.5f, 0.5f}}, ClassOutcome{1, 1, 0, 0.9, 0.9, {0.1f, 0.9f}},
                                   ClassOutcome{1, 0, 1, kNan, kNan, {nan, nan}}});
  EXPECT_EQ(value("roc_auc", records), 0.5);
  EXPECT_TRUE(std::isnan(value("log_loss", records)));
  EXPECT_TRUE(std::isnan(value("expected_calibration_error", records)));
  EXPECT_NEAR(value("accuracy", records), 2.0 / 3, 1e-15);
  for (const char* metric : {"mse", "mae", "r2", "pearsonr", "spearmanr", "cosine_similarity", "kl_divergence"})
    EXPECT_TRUE(std::isnan(value(metric, value_records({1, 2, 3}, {1, kNan, 3})))) << metric;
  // A detection whose score is no number comes last, one whose box is none overlaps nothing.
  const BoxOutcome::Truth there{{0, 0, 10, 10}, 0};
  EXPECT_NEAR(value("coco_map", records_of({BoxOutcome{{{{50, 50, 60, 60}, 0, kNan}, {{0, 0, 10, 10}, 0, -5}}, {there}}})), 1, 1e-12);
  for (double odd : {kNan, kInfinity, -kInfinity, 1e308}) {
    const double got = value("coco_map", records_of({BoxOutcome{{{{odd, 0, odd, 10}, 0, 1}, {{-odd, -odd, odd, odd}, 0, odd}},
                                                                {there, {{0, 0, odd, odd}, 0, false, odd}}}}));
    EXPECT_TRUE(std::isnan(got) || (got >= 0 && got <= 1)) << odd << ": " << got;
  }
}

TEST(MetricsProperties, OtherOutcomesAreErrorsThatNameTheRecord) {
  for (const MetricInfo& metric : metrics())
    for (const char* kind : kKinds) {
      if (reads(metric, kind)) continue;
      std::vector<Record> records = random_records(metric.outcome, 2, 8);
      records.push_back(random_records(kind, 1, 9)[0]);
      records.back().index = 7;
      records.back().source = "cat/3.jpg";
      const auto got = metric.make(records, named());
      ASSERT_FALSE(got.ok()) << metric.name << " of " << kind;
      EXPECT_EQ(got.status().code(), Code::kInvalidArgument);
      EXPECT_THAT(got.status().to_string(), HasSubstr("record 7 (cat/3.jpg)"));
      EXPECT_THAT(got.status().to_string(), HasSubstr(kind));
    }
}

std::string failure(std::string_view metric, const std::vector<Record>& records, const MetricOptions& options = {}) {
  const auto got = find_metric(metric)->make(records, options);
  return got.ok() ? "no error" : got.status().to_string();
}

TEST(MetricsProperties, BrokenOutcomesAreErrors) {
  EXPECT_THAT(failure("f1", records_of({TokenOutcome{{1, 2}, {1}}})), HasSubstr("2 labels for 1 predictions"));
  EXPECT_THAT(failure("seqeval", records_of({TokenOutcome{{1, 2}, {1}}}), named()), HasSubstr("2 labels for 1 predictions"));
  EXPECT_THAT(failure("seqeval", records_of({TokenOutcome{{3}, {1}}}), named()), HasSubstr("class 3 where 3 have names"));
  EXPECT_THAT(failure("seqeval", records_of({TokenOutcome{{-1}, {1}}}), named()), HasSubstr("class -1"));
  EXPECT_THAT(failure("seqeval", records_of({TokenOutcome{}})), HasSubstr("no names of classes"));
  MetricOptions odd = named();
  odd.names.push_back("Q-X");
  EXPECT_THAT(failure("seqeval", records_of({TokenOutcome{}}), odd), HasSubstr("'Q-X' is no tag"));
  EXPECT_THAT(failure("roc_auc", class_records({1}, {1})), HasSubstr("no probabilities"));
  EXPECT_THAT(failure("roc_auc", records_of({ClassOutcome{5, 0, 0, 0, 0, {0.5f, 0.5f}}})), HasSubstr("label 5 where there are 2 classes"));
  EXPECT_THAT(failure("roc_auc", records_of({ClassOutcome{0, 0, 0, 0, 0, {0.5f, 0.5f}}, ClassOutcome{0, 0, 0, 0, 0, {1, 0, 0}}})),
              HasSubstr("3 classes where others have 2"));
  EXPECT_THAT(failure("bleu", records_of({TextOutcome{"a", {}}})), HasSubstr("no reference"));
  EXPECT_THAT(failure("mse", records_of({ValueOutcome{{1}, {}}})), HasSubstr("1 values where 0 are expected"));
  EXPECT_THAT(failure("dice", records_of({PixelOutcome{3, {{0, 3, 1}}}})), HasSubstr("1 pixels of class 0 predicted as 3, for 3 classes"));
  EXPECT_THAT(failure("dice", records_of({PixelOutcome{int64_t{1} << 32, {}}})), HasSubstr("for 4294967296 classes"));
  EXPECT_THAT(failure("perplexity", records_of({LikelihoodOutcome{1, -1}})), HasSubstr("-1 tokens"));
}

TEST(MetricsProperties, BadOptionsAreErrors) {
  const auto records = class_records({0, 1, 2}, {0, 1, 2});
  MetricOptions options;
  options.average = "samples";
  EXPECT_THAT(failure("f1", records, options), HasSubstr("choose from micro, macro, weighted, binary"));
  options.average = "binary";
  EXPECT_THAT(failure("f1", records, options), HasSubstr("class 2 where there are only 0 and 1"));
  options.classes = 2;
  EXPECT_THAT(failure("confusion_matrix", records, options), HasSubstr("class 2 is outside [0, 2)"));
  options.classes = -1;
  EXPECT_THAT(failure("confusion_matrix", records, options), HasSubstr("-1 classes"));
  options.k = 0;
  EXPECT_THAT(failure("top_k_accuracy", records, options), HasSubstr("k is 0"));
  for (int64_t bins : {int64_t{0}, int64_t{-1}, INT64_MAX}) {
    options.bins = bins;
    EXPECT_THAT(failure("expected_calibration_error", records, options), HasSubstr("bins"));
  }
  EXPECT_FALSE(score(*find_metric("accuracy"), records, {{}, -1}).ok());
  EXPECT_FALSE(score(*find_metric("accuracy"), records, {{}, INT_MAX}).ok());
}

TEST(MetricsProperties, AnyLabelIsAClass) {
  const auto records = class_records({INT64_MIN, INT64_MAX, -1, -100}, {INT64_MIN, 0, -1, 5});
  EXPECT_EQ(value("accuracy", records), 0.5) << "-100 is ignored among tokens alone";
  EXPECT_EQ(scored("confusion_matrix", records).details["classes"], (std::vector<int64_t>{INT64_MIN, -100, -1, 0, 5, INT64_MAX}));
  EXPECT_NEAR(value("f1", records), 2.0 / 6, 1e-15);
  MetricOptions ten;
  ten.classes = 10;
  EXPECT_EQ(scored("confusion_matrix", class_records({0}, {1}), ten).details["matrix"].size(), 10u);
  // Of very many classes, the pairs that are confused most.
  std::vector<int64_t> labels, predicted;
  for (int64_t i = 0; i < 500; ++i) {
    labels.push_back(i);
    predicted.push_back(i < 5 ? 7 : i);
    labels.push_back(3);
    predicted.push_back(4);
  }
  const auto details = scored("confusion_matrix", class_records(labels, predicted)).details;
  EXPECT_EQ(details["most_confused"][0], (nlohmann::json{{"label", 3}, {"predicted", 4}, {"count", 500.0}}));
}

TEST(MetricsProperties, BytesThatAreNoTextDoNoHarm) {
  std::mt19937_64 random = random_with(10);
  for (int i = 0; i < 200; ++i) {
    std::string a, b;
    for (uint64_t n = random() % 40; n-- > 0;) a += static_cast<char>(random());
    for (uint64_t n = random() % 40; n-- > 0;) b += static_cast<char>(random() % 3 == 0 ? 0x80 | random() : random() % 128);
    const auto records = text_records({{a, {b, a}}, {b, {a}}});
    std::vector<Record> read;
    for (const Record& record : records) read.push_back(record_from_line(to_line(record)).value());
    for (const MetricInfo& metric : metrics())
      if (reads(metric, "text")) expect_same(value(metric.name, records), value(metric.name, read));
  }
}

TEST(MetricsProperties, LongTextsEndInTime) {
  const std::string word(50'000, 'y'), line = [] {
    std::string out;
    for (int i = 0; i < 12'000; ++i) out += "a b ";
    return out;
  }();
  MetricOptions stemmer;
  stemmer.stemmer = true;
  for (const MetricInfo& metric : metrics()) {
    if (!reads(metric, "text")) continue;
    EXPECT_GE(value(metric.name, text_records({{word + "ational", {line}}, {line, {line}}}), stemmer), 0) << metric.name;
  }
  EXPECT_THAT(failure("cer", text_records({{std::string(400'000, 'a'), {std::string(400'000, 'b')}}})), HasSubstr("too long to align"));
  EXPECT_THAT(failure("rouge1", text_records({{std::string(100'000, 'a'), std::vector<std::string>(1000, "b")}})),
              HasSubstr("with 1000 references"));
}

// ---- Intervals and comparisons

TEST(MetricsBootstrap, IntervalOfAccuracyIsThatOfTheBinomial) {
  std::vector<int64_t> labels(400, 1), predicted(400, 1);
  std::fill(predicted.begin(), predicted.begin() + 120, 0);
  const auto got = score(*find_metric("accuracy"), class_records(labels, predicted), {{}, 4000});
  ASSERT_TRUE(got.ok());
  EXPECT_DOUBLE_EQ(got->value, 0.7);
  EXPECT_EQ(got->resamples, 4000);
  const double half = 1.96 * std::sqrt(0.7 * 0.3 / 400);  // the normal approximation
  EXPECT_NEAR(got->low, 0.7 - half, 0.15 * half);
  EXPECT_NEAR(got->high, 0.7 + half, 0.15 * half);
}

TEST(MetricsBootstrap, IntervalCoversWhatRecordsAreDrawnFrom) {
  // 200 sets of 100 records that are right with 0.8: intervals of 95 % hold 0.8 in 190 ± 6 of them (two standard deviations), and
  // bootstrap's are known to be a little narrow.
  std::mt19937_64 random = random_with(11);
  int covered = 0;
  for (int set = 0; set < 200; ++set) {
    std::vector<int64_t> labels(100, 1), predicted(100, 1);
    for (int64_t& p : predicted) p = uniform(random) < 0.8 ? 1 : 0;
    const auto got = score(*find_metric("accuracy"), class_records(labels, predicted), {{}, 300, random()});
    covered += got->low <= 0.8 && 0.8 <= got->high ? 1 : 0;
  }
  EXPECT_GE(covered, 178);
  EXPECT_LE(covered, 199);
}

TEST(MetricsBootstrap, IsTheSameEveryTimeAndHoldsTheValue) {
  for_each_reading([](const MetricInfo& metric, const char* kind) {
    const auto records = random_records(kind, 80, 12);
    const auto a = score(metric, records, {named(), 200, 3}), b = score(metric, records, {named(), 200, 3});
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->low, b->low);
    EXPECT_EQ(a->high, b->high);
    EXPECT_LE(a->low, a->high);
    const double slack = 0.5 * (a->high - a->low) + 1e-12;  // what is no mean may lie beside its samples
    EXPECT_LE(a->low - slack, a->value);
    EXPECT_GE(a->high + slack, a->value);
    const auto none = score(metric, records, {named(), 0});
    EXPECT_TRUE(std::isnan(none->low) && std::isnan(none->high));
    EXPECT_EQ(score(metric, records, {named(), 99}).status().code(), Code::kInvalidArgument);
  });
}

TEST(MetricsBootstrap, InfiniteValuesKeepTheirIntervals) {
  const auto got = score(*find_metric("psnr"), records_of({ImageOutcome{0, 1, 1}, ImageOutcome{0, 1, 1}}), {});
  EXPECT_EQ(got->low, kInfinity);
  EXPECT_EQ(got->high, kInfinity);
}

TEST(MetricsBootstrap, DrawsFewerWhereSoManyCostTooMuch) {
  const auto records = random_records("boxes", 100, 13);
  const MetricInfo& coco = *find_metric("coco_map");
  const auto scorer = coco.make(records, {});
  ASSERT_TRUE(scorer.ok());
  ScoreOptions options;
  EXPECT_EQ(score(coco, records, options)->resamples, 1000);
  options.max_cost = (*scorer)->cost() * 100;
  const auto fewer = score(coco, records, options);
  EXPECT_LE(fewer->resamples, 100);
  EXPECT_GT(fewer->resamples, 50);
  EXPECT_LT(fewer->low, fewer->high);
  EXPECT_EQ(paired_bootstrap(coco, records, records, options)->resamples, fewer->resamples);
  options.max_cost = 0;
  EXPECT_EQ(score(coco, records, options)->resamples, 20);
}

TEST(PairedBootstrap, FindsWhatDiffersAndNothingElse) {
  std::vector<int64_t> labels(300, 1), worse(labels), better(labels);
  for (size_t i = 0; i < 60; ++i) worse[i] = 0;
  for (size_t i = 0; i < 20; ++i) better[i] = 0;
  const MetricInfo& accuracy = *find_metric("accuracy");
  const auto first = class_records(labels, worse), second = class_records(labels, better);
  const auto gain = paired_bootstrap(accuracy, first, second);
  ASSERT_TRUE(gain.ok());
  EXPECT_NEAR(gain->difference, 40.0 / 300, 1e-12);
  // The differences of pairs are 1 in 40 and 0 in 260 records.
  const double p = 40.0 / 300, half = 1.96 * std::sqrt(p * (1 - p) / 300);
  EXPECT_NEAR(gain->low, p - half, 0.2 * half);
  EXPECT_NEAR(gain->high, p + half, 0.2 * half);
  EXPECT_NEAR(gain->p, 2.0 / 1001, 1e-12) << "as low as 1000 samples can tell";
  const auto loss = paired_bootstrap(accuracy, second, first);
  EXPECT_DOUBLE_EQ(loss->difference, -gain->difference);
  EXPECT_DOUBLE_EQ(loss->p, gain->p);
  const auto same = paired_bootstrap(accuracy, first, first);
  EXPECT_EQ(same->difference, 0);
  EXPECT_EQ(same->p, 1);
  const auto undefined = paired_bootstrap(accuracy, {}, {});
  EXPECT_TRUE(std::isnan(undefined->difference) && std::isnan(undefined->p));
}

TEST(PairedBootstrap, WantsTheSameRecords) {
  const auto a = class_records({1, 1}, {1, 0});
  auto b = a;
  b[1].index = 5;
  const MetricInfo& accuracy = *find_metric("accuracy");
  EXPECT_THAT(paired_bootstrap(accuracy, a, b).status().to_string(), HasSubstr("record 1 stands against record 5"));
  EXPECT_THAT(mcnemar(a, b).status().to_string(), HasSubstr("record 1 stands against record 5"));
  b.pop_back();
  EXPECT_THAT(paired_bootstrap(accuracy, a, b).status().to_string(), HasSubstr("2 records against 1"));
  const auto other = class_records({1, 2}, {1, 0});
  EXPECT_THAT(mcnemar(a, other).status().to_string(), HasSubstr("labels 1 and 2"));
  EXPECT_FALSE(mcnemar(text_records({{"a", {"b"}}}), text_records({{"a", {"b"}}})).ok());
}

TEST(MetricsPage, IsCurrent) {
  const std::string page = std::string(TENON_SOURCE_DIR) + "/docs/metrics.md";
  std::ifstream in(page, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}}, table = metrics_markdown();
  const size_t begin = text.find("## All metrics\n");
  ASSERT_NE(begin, std::string::npos) << page << " has no section for the table";
  if (std::getenv("TENON_BLESS") != nullptr)
    std::ofstream(page, std::ios::binary) << text.substr(0, begin) << table;
  else
    EXPECT_EQ(text.substr(begin), table) << "TENON_BLESS=1 rewrites the end of " << page;
}

}  // namespace
}  // namespace tenon::eval
