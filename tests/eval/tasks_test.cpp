// What a task makes of the outputs for an example, against values worked out by hand.

#include "eval/tasks/task.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>

#include "eval/metrics/metric.h"
#include "eval/tasks/judge.h"
#include "ir/op.h"

namespace tenon::eval {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

/// A task made for outputs that are given by role, in the order of their names.
class Judging {
 public:
  explicit Judging(const std::string& task, const json& options = nullptr) {
    const TaskInfo& info = **find_task(task);
    const Result<json> all = task_options(info, options, "options");
    EXPECT_TRUE(all.ok()) << all.status().to_string();
    context.options = *all;
    context.labels.field = std::string(info.label);
    make_ = info.make;
  }
  Judging& output(const std::string& role, HostValue value) {
    context.roles[role] = outputs_.size();
    outputs_.push_back(std::move(value));
    return *this;
  }
  Judging& pair_output(HostValue value) {
    pair_.push_back(std::move(value));
    return *this;
  }
  Judging& field(const std::string& name, HostValue value) {
    example_.fields[name] = std::move(value);
    return *this;
  }
  Judging& text(const std::string& name, std::vector<std::string> values) {
    const Shape shape = values.size() == 1 ? Shape{} : Shape{static_cast<int64_t>(values.size())};
    return field(name, *Tensor::strings(shape, std::move(values)));
  }
  Result<Outcome> judge() const {
    TENON_ASSIGN_OR_RETURN(const std::unique_ptr<Judge> judge, make_(context));
    return judge->judge({example_, {}, outputs_, pair_});
  }
  template <class T>
  T get() const {
    const Result<Outcome> made = judge();
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    return made.ok() ? std::get<T>(*made) : T();
  }
  std::string error() const { return judge().status().to_string(); }

  TaskContext context;

 private:
  Result<std::unique_ptr<Judge>> (*make_)(const TaskContext&) = nullptr;
  Example example_;
  std::vector<HostValue> outputs_, pair_;
};

Tensor label(int64_t value) { return Tensor::scalar<int64_t>(value); }
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(ClassTask, RanksAndProbabilities) {
  Judging j("image-classification");
  j.output("scores", Tensor::from<float>({4}, {1, 3, 2, 3})).field("label", label(3));
  const auto out = j.get<ClassOutcome>();
  EXPECT_EQ(out.predicted, 1) << "the first of the best";
  EXPECT_EQ(out.rank, 1) << "a tie counts against the label";
  const double sum = std::exp(-2) + 1 + std::exp(-1) + 1;
  EXPECT_NEAR(out.probability, 1 / sum, 1e-12);
  EXPECT_NEAR(out.confidence, 1 / sum, 1e-12);
  EXPECT_TRUE(out.probabilities.empty());
  j.context.probabilities = true;
  EXPECT_NEAR(j.get<ClassOutcome>().probabilities[0], std::exp(-2) / sum, 1e-7);
}

TEST(ClassTask, ProbabilitiesStayAsTheyAre) {
  const auto out = Judging("text-classification").output("scores", Tensor::from<float>({2}, {0.25f, 0.75f})).field("label", label(0)).get<ClassOutcome>();
  EXPECT_EQ(out.probability, 0.25);
  EXPECT_EQ(out.confidence, 0.75);
  const auto soft = Judging("text-classification", {{"activation", "softmax"}}).output("scores", Tensor::from<float>({2}, {0.25f, 0.75f})).field("label", label(0)).get<ClassOutcome>();
  EXPECT_NEAR(soft.confidence, 1 / (1 + std::exp(-0.5)), 1e-12);
}

TEST(ClassTask, NotANumberIsTheLowestScore) {
  const auto out = Judging("image-classification").output("scores", Tensor::from<float>({3}, {kNan, -5, kNan})).field("label", label(0)).get<ClassOutcome>();
  EXPECT_EQ(out.predicted, 1);
  EXPECT_EQ(out.rank, 2);
  EXPECT_EQ(out.probability, 0);
  const auto all = Judging("image-classification").output("scores", Tensor::from<float>({2}, {kNan, kNan})).field("label", label(1)).get<ClassOutcome>();
  EXPECT_EQ(all.rank, 1);
}

TEST(ClassTask, OneScoreNeedsAWord) {
  const Tensor logit = Tensor::from<float>({1}, {1.0f});
  EXPECT_THAT(Judging("audio-classification").output("scores", logit).field("label", label(1)).error(), HasSubstr("sigmoid for a logit, none for a probability"));
  const auto out = Judging("audio-classification", {{"activation", "sigmoid"}}).output("scores", logit).field("label", label(1)).get<ClassOutcome>();
  EXPECT_EQ(out.predicted, 1);
  EXPECT_NEAR(out.probability, 1 / (1 + std::exp(-1.0)), 1e-12);
  const auto high = Judging("audio-classification", {{"activation", "none"}, {"threshold", 0.9}})
                        .output("scores", Tensor::from<float>({1}, {0.75f})).field("label", label(0)).get<ClassOutcome>();
  EXPECT_EQ(high.predicted, 0);
  EXPECT_NEAR(high.probability, 0.25, 1e-7);
}

TEST(ClassTask, ScoresMayBeAMapAndLabelsNames) {
  auto map = std::make_shared<MapValue>();
  map->entries = std::map<std::string, Tensor>{{"cat", Tensor::scalar<float>(0.1f)}, {"dog", Tensor::scalar<float>(0.7f)}, {"fox", Tensor::scalar<float>(0.2f)}};
  Judging j("tabular-classification");
  j.output("scores", map).text("label", {"fox"});
  const auto out = j.get<ClassOutcome>();
  EXPECT_EQ(out.label, 2);
  EXPECT_EQ(out.predicted, 1);
  EXPECT_EQ(out.rank, 1);
  EXPECT_THAT(j.text("label", {"wolf"}).error(), HasSubstr("label 'wolf' is neither a number nor the name of a class"));
}

TEST(ClassTask, LabelsByMapNameAndOffset) {
  const Tensor scores = Tensor::from<float>({3}, {0, 1, 2});
  const auto with = [&](auto change, HostValue value) {
    Judging j("image-classification");
    change(j.context.labels);
    return j.output("scores", scores).field("label", std::move(value)).judge();
  };
  const auto text = [](const char* t) { return HostValue(*Tensor::strings({}, {t})); };
  const auto number = [](const Result<Outcome>& r) { return r.ok() ? std::get<ClassOutcome>(*r).label : -1; };
  const auto none = [](LabelOptions&) {};
  EXPECT_EQ(number(with(none, text("2"))), 2);
  EXPECT_EQ(number(with(none, HostValue(Tensor::scalar<double>(1.0)))), 1);
  EXPECT_FALSE(with(none, HostValue(Tensor::scalar<double>(1.5))).ok());
  EXPECT_FALSE(with(none, text("")).ok());
  EXPECT_FALSE(with(none, HostValue(label(-1))).ok());
  EXPECT_FALSE(with(none, HostValue(label(3))).ok());
  EXPECT_FALSE(with(none, HostValue(Tensor::from<int64_t>({2}, {0, 1}))).ok());
  EXPECT_FALSE(with(none, HostValue(Tensor::from<int64_t>({0}, std::initializer_list<int64_t>{}))).ok());
  EXPECT_EQ(number(with([](LabelOptions& l) { l.offset = -1; }, HostValue(label(3)))), 2);
  EXPECT_FALSE(with([](LabelOptions& l) { l.offset = std::numeric_limits<int64_t>::max(); }, HostValue(label(1))).ok());
  EXPECT_EQ(number(with([](LabelOptions& l) { l.names = {"a", "b"}; }, text("b"))), 1);
  EXPECT_EQ(number(with([](LabelOptions& l) { l.map = {{"7", 2}}; }, HostValue(label(7)))), 2);
  EXPECT_FALSE(with([](LabelOptions& l) { l.map = {{"7", 2}}; }, HostValue(label(2))).ok());
}

TEST(ClassTask, AModelMayGiveTheClassAlone) {
  const auto out = Judging("tabular-classification").output("predicted", label(2)).field("label", label(2)).get<ClassOutcome>();
  EXPECT_EQ(out.predicted, 2);
  EXPECT_EQ(out.probability, 1);
}

TEST(TokenTask, LabelsStandForTokensOrWords) {
  const Tensor scores = Tensor::from<float>({4, 2}, {1, 0, 0, 1, 0, 1, 1, 0});
  const auto by_token = Judging("token-classification", {{"first", 1}}).output("scores", scores)
                            .field("labels", Tensor::from<int64_t>({2}, {1, -100})).get<TokenOutcome>();
  EXPECT_EQ(by_token.labels, (std::vector<int64_t>{-100, 1, -100, -100}));
  EXPECT_EQ(by_token.predicted, (std::vector<int64_t>{0, 1, 1, 0}));
  // Words 0 and 1, the second of two tokens, between tokens of no word.
  const auto by_word = Judging("token-classification", {{"words", "word_ids"}}).output("scores", scores).field("labels", Tensor::from<int64_t>({2}, {0, 1}))
                           .field("word_ids", Tensor::from<int64_t>({4}, {-1, 0, 1, 1})).get<TokenOutcome>();
  EXPECT_EQ(by_word.labels, (std::vector<int64_t>{-100, 0, 1, -100}));
  const auto masked = Judging("token-classification").output("scores", scores).field("labels", Tensor::from<int64_t>({4}, {0, 0, 0, 0}))
                          .field("attention_mask", Tensor::from<int64_t>({4}, {1, 1, 1, 0})).get<TokenOutcome>();
  EXPECT_EQ(masked.labels, (std::vector<int64_t>{0, 0, 0, -100}));
  EXPECT_THAT(Judging("token-classification").output("scores", scores).field("labels", Tensor::from<int64_t>({5}, {0, 0, 0, 0, 0})).error(), HasSubstr("5 labels for 4 tokens"));
  EXPECT_THAT(Judging("token-classification").output("scores", scores).field("labels", label(2)).error(), HasSubstr("beyond the model's 2 classes"));
}

TEST(CtcTask, RepeatsAreOneAndBlanksNone) {
  // Graves et al. 2006, section 3.1: B(a - a b -) = B(- a a - - a b b) = a a b, with 0 for the blank.
  const auto path = [](std::vector<int> classes) {
    std::vector<float> scores;
    for (int c : classes)
      for (int k = 0; k < 3; ++k) scores.push_back(k == c ? 1.0f : 0.0f);
    return Tensor::from<float>({static_cast<int64_t>(classes.size()), 3}, std::span<const float>(scores));
  };
  EXPECT_EQ(ctc_greedy(path({1, 0, 1, 2, 0}), 0), (std::vector<int64_t>{1, 1, 2}));
  EXPECT_EQ(ctc_greedy(path({0, 1, 1, 0, 0, 1, 2, 2}), 0), (std::vector<int64_t>{1, 1, 2}));
  EXPECT_TRUE(ctc_greedy(path({0, 0}), 0).empty());
  EXPECT_TRUE(ctc_greedy(*Tensor::zeros(DType::kF32, {0, 3}), 0).empty());
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "tenon-tasks-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const char* name, const std::string& text) { std::ofstream(folder_ / name, std::ios::binary) << text; }
  fs::path folder_;
};

TEST_F(Files, SpeechIsTranscribed) {
  write("vocab.json", R"({"<pad>": 0, "|": 1, "H": 2, "I": 3})");
  std::vector<float> scores;
  for (int c : {2, 2, 0, 3, 1, 1, 0, 2, 3, 3, 1})
    for (int k = 0; k < 4; ++k) scores.push_back(k == c ? 1.0f : 0.0f);
  Judging j("automatic-speech-recognition", {{"vocabulary", "vocab.json"}});
  j.context.folder = folder_;
  j.output("scores", Tensor::from<float>({1, 11, 4}, std::span<const float>(scores))).text("text", {"HI HI"});
  const auto out = j.get<TextOutcome>();
  EXPECT_EQ(out.predicted, "hi hi");
  EXPECT_EQ(out.references, (std::vector<std::string>{"hi hi"}));
  j.text("text", {"ÉTÉ À Ἀθήνα"});
  EXPECT_EQ(j.get<TextOutcome>().references, (std::vector<std::string>{"été à ἀθήνα"})) << "letters beyond ASCII";
  Judging none("automatic-speech-recognition");
  EXPECT_THAT(none.error(), HasSubstr("the task needs a vocabulary (options.vocabulary)"));
}

TEST_F(Files, TokensJoinAsTheirVocabularySays) {
  write("v.txt", "play\n##ing\nchess\n[PAD]\n");
  const auto wordpiece = TokenTable::read(folder_ / "v.txt");
  ASSERT_TRUE(wordpiece.ok());
  const int64_t ids[] = {0, 1, 2, 3, 3}, skip[] = {3};
  EXPECT_EQ(wordpiece->decode(ids, "wordpiece", skip), "playing chess");
  const int64_t beyond[] = {4};
  EXPECT_EQ(wordpiece->decode(beyond, "characters", {}), "\uFFFD") << "one that the model made up is wrong, not left out";
  // GPT-2 writes a space as U+0120 and the two bytes of é, C3 A9, as U+00C3 and U+00A9.
  EXPECT_EQ(TokenTable({"caf", "\u00c3\u00a9", "\u0120au", "\u0120lait"}).decode(std::vector<int64_t>{0, 1, 2, 3}, "bpe", {}), "café au lait");
  EXPECT_EQ(TokenTable({"▁he", "llo", "▁you"}).decode(std::vector<int64_t>{0, 1, 2}, "sentencepiece", {}), "hello you");
  EXPECT_EQ(TokenTable({"a", "b"}).decode(std::vector<int64_t>{0, 1}, "words", {}), "a b");
  EXPECT_EQ(TokenTable({"a", "b"}).decode(std::vector<int64_t>{0, 1}, "characters", {}), "ab");
}

TEST_F(Files, VocabulariesAreChecked) {
  EXPECT_EQ(TokenTable::read(folder_ / "none.txt").status().code(), Code::kNotFound);
  for (const char* text : {"", "{}", "[]", "[1]", "{\"a\": -1}", "{\"a\": 1e9}", "{\"a\": 99999999999}", "{\"a\": \"b\"}", "{", "3", "\xff\xfe"}) {
    write("v.json", text);
    EXPECT_FALSE(TokenTable::read(folder_ / "v.json").ok()) << text;
  }
  write("v.json", R"(["a", "b"])");
  EXPECT_EQ(TokenTable::read(folder_ / "v.json")->size(), 2);
}

TEST_F(Files, GeneratedTextIsTokensScoresOrStrings) {
  write("v.txt", "the\ncat\nsat\n[SEP]\n");
  Judging tokens("translation", {{"vocabulary", "v.txt"}, {"end", 3}});
  tokens.context.folder = folder_;
  tokens.output("sequences", Tensor::from<int64_t>({5}, {0, 1, 2, 3, 1})).text("reference", {"the cat sat", "a cat sat"});
  const auto out = tokens.get<TextOutcome>();
  EXPECT_EQ(out.predicted, "the cat sat");
  EXPECT_EQ(out.references.size(), 2u);
  Judging scores("summarization", {{"vocabulary", "v.txt"}});
  scores.context.folder = folder_;
  scores.output("sequences", Tensor::from<float>({2, 4}, {0, 1, 0, 0, 0, 0, 2, 1})).text("reference", {"cat sat"});
  EXPECT_EQ(scores.get<TextOutcome>().predicted, "cat sat");
  EXPECT_EQ(Judging("translation").output("sequences", *Tensor::strings({1}, {"done"})).text("reference", {"done"}).get<TextOutcome>().predicted, "done");
  EXPECT_THAT(Judging("translation").output("sequences", label(1)).text("reference", {"x"}).error(), HasSubstr("set options.vocabulary"));
}

TEST_F(Files, TheBestSpanAnswers) {
  write("v.txt", "[CLS]\nwho\n[SEP]\nada\nlove\n##lace\n");
  // Tokens: [CLS] who [SEP] ada love ##lace [SEP]; the best start is in the question, the best end before the second best start.
  Judging j("question-answering", {{"vocabulary", "v.txt"}});
  j.context.folder = folder_;
  j.output("start", Tensor::from<float>({7}, {0, 9, 0, 2, 5, 0, 0})).output("end", Tensor::from<float>({7}, {0, 0, 0, 6, 1, 4, 0}));
  j.field("input_ids", Tensor::from<int64_t>({7}, {0, 1, 2, 3, 4, 5, 2})).field("token_type_ids", Tensor::from<int64_t>({7}, {0, 0, 0, 1, 1, 1, 1}));
  j.text("answers", {"Lovelace"});
  EXPECT_EQ(j.get<TextOutcome>().predicted, "lovelace") << "5 + 4, against 2 + 6 and 2 + 4";
  j.field("offsets", Tensor::from<int64_t>({7, 2}, {0, 0, 0, 0, 0, 0, 0, 3, 4, 8, 8, 12, 0, 0})).text("context", {"Ada Lovelace"});
  EXPECT_EQ(j.get<TextOutcome>().predicted, "Lovelace");
  EXPECT_THAT(j.text("context", {"Ada"}).error(), HasSubstr("outside the text"));
}

TEST(LikelihoodTask, SumsOverNextTokens) {
  // Scores are logarithms of probabilities: p(1) = 3/4 after the first token, p(0) = 1/3 after the second.
  const float l = std::log(3.0f), m = std::log(2.0f);
  Judging j("text-generation");
  j.output("scores", Tensor::from<float>({3, 2}, {0, l, 0, m, 5, 5})).field("input_ids", Tensor::from<int64_t>({3}, {0, 1, 0}));
  const auto out = j.get<LikelihoodOutcome>();
  EXPECT_EQ(out.tokens, 2);
  EXPECT_NEAR(out.nll, -std::log(0.75) - std::log(1.0 / 3), 1e-6);
  j.field("attention_mask", Tensor::from<int64_t>({3}, {1, 1, 0}));
  EXPECT_EQ(j.get<LikelihoodOutcome>().tokens, 1);
  const auto masked = Judging("fill-mask").output("scores", Tensor::from<float>({2, 2}, {0, l, 0, m})).field("labels", Tensor::from<int64_t>({2}, {-100, 1})).get<LikelihoodOutcome>();
  EXPECT_NEAR(masked.nll, -std::log(2.0 / 3), 1e-6);
  EXPECT_THAT(Judging("text-generation").output("scores", Tensor::from<float>({2, 2}, {0, 0, 0, 0})).field("input_ids", Tensor::from<int64_t>({2}, {0, 2})).error(),
              HasSubstr("outside the model's 2 tokens"));
  EXPECT_THAT(Judging("text-generation").output("scores", Tensor::from<float>({1, 2}, {0, 0})).field("input_ids", label(0)).error(), HasSubstr("no token to predict"));
}

TEST(ClassTasks, ScoresThatAreNoNumbersGiveNoProbabilities) {
  const float nan = NAN, inf = INFINITY;
  const auto judged = [](std::vector<float> scores) {
    const auto count = static_cast<int64_t>(scores.size());
    return Judging("tabular-classification").output("scores", Tensor::from<float>({count}, scores)).field("label", label(1)).get<ClassOutcome>();
  };
  EXPECT_TRUE(std::isnan(judged({nan, nan, nan}).probability));
  EXPECT_TRUE(std::isnan(judged({-inf, -inf, -inf}).probability));
  EXPECT_DOUBLE_EQ(judged({inf, inf, 0}).probability, 0.5);
  EXPECT_DOUBLE_EQ(judged({inf, 5, 0}).probability, 0);
  const auto one = Judging("tabular-classification", {{"activation", "sigmoid"}}).output("scores", Tensor::from<float>({1}, {nan})).field("label", label(0)).get<ClassOutcome>();
  EXPECT_TRUE(std::isnan(one.probability));
  const auto alike = Judging("sentence-similarity").output("embedding", Tensor::from<float>({2}, {nan, 1})).pair_output(Tensor::from<float>({2}, {1, 1}))
                         .field("score", Tensor::scalar<double>(1)).get<ValueOutcome>();
  EXPECT_TRUE(std::isnan(alike.predicted[0]));
}

TEST(ValueTasks, CompareNumbers) {
  const auto one = Judging("tabular-regression", {{"scale", 2.0}, {"offset", 1.0}}).output("values", Tensor::from<float>({1}, {3})).text("target", {"6.5"}).get<ValueOutcome>();
  EXPECT_EQ(one.predicted, (std::vector<double>{7}));
  EXPECT_EQ(one.target, (std::vector<double>{6.5}));
  const auto two = Judging("tabular-regression", {{"targets", {"a", "b"}}}).output("values", Tensor::from<float>({2}, {3, 4})).field("a", label(1)).field("b", label(2)).get<ValueOutcome>();
  EXPECT_EQ(two.target, (std::vector<double>{1, 2}));
  EXPECT_THAT(Judging("tabular-regression").output("values", Tensor::from<float>({2}, {3, 4})).field("target", label(1)).error(), HasSubstr("2 values predicted, 1 expected"));
  EXPECT_THAT(Judging("tabular-regression").output("values", Tensor::from<float>({1}, {3})).text("target", {"many"}).error(), HasSubstr("'many', not a number"));
  const auto outputs = Judging("outputs").output("any", Tensor::from<float>({2}, {1, 2})).field("output_0", Tensor::from<double>({2}, {1, 3})).get<ValueOutcome>();
  EXPECT_EQ(outputs.predicted, (std::vector<double>{1, 2}));
  EXPECT_EQ(outputs.target, (std::vector<double>{1, 3}));
  EXPECT_THAT(Judging("outputs").output("any", label(1)).error(), HasSubstr("no numbers of output_N"));
}

TEST(ValueTasks, OutputsAreComparedWholeAndByShape) {
  const int64_t count = 100'000;
  const Tensor expected = *Tensor::zeros(DType::kF32, {count});
  Tensor made = *Tensor::zeros(DType::kF32, {count});
  for (int64_t i = 1; i < count; i += 2) made.set_double(i, 1);
  const auto all = Judging("outputs").output("any", made).field("output_0", expected).get<ValueOutcome>();
  EXPECT_EQ(std::count(all.predicted.begin(), all.predicted.end(), 1.0), count / 2);
  const Tensor tall = *Tensor::zeros(DType::kF32, {3, 2}), wide = *Tensor::zeros(DType::kF32, {2, 3});
  EXPECT_THAT(Judging("outputs").output("any", tall).field("output_0", wide).error(), HasSubstr("is expected"));
}

TEST(ValueTasks, PoolTokensAndCompareHalves) {
  const Tensor tokens = Tensor::from<float>({3, 2}, {1, 0, 3, 4, 100, 100});
  const auto mean = Judging("feature-extraction").output("embedding", tokens).field("attention_mask", Tensor::from<int64_t>({3}, {1, 1, 0}))
                        .field("embedding", Tensor::from<float>({2}, {2, 2})).get<ValueOutcome>();
  EXPECT_EQ(mean.predicted, (std::vector<double>{2, 2}));
  const auto first = Judging("feature-extraction", {{"pooling", "first"}}).output("embedding", tokens).field("embedding", Tensor::from<float>({2}, {2, 2})).get<ValueOutcome>();
  EXPECT_EQ(first.predicted, (std::vector<double>{1, 0}));
  // The angle between (3, 4) and (4, 3) has the cosine 24 / 25.
  const auto pair = Judging("sentence-similarity").output("embedding", Tensor::from<float>({2}, {3, 4})).pair_output(Tensor::from<float>({2}, {4, 3}))
                        .field("score", Tensor::scalar<double>(0.5)).get<ValueOutcome>();
  EXPECT_NEAR(pair.predicted[0], 0.96, 1e-12);
  EXPECT_EQ(pair.target[0], 0.5);
}

TEST(PixelTask, CountsPixelsByLabelAndPrediction) {
  // Two classes on 1 x 2 pixels, the mask twice as wide: interpolated at -0.25, 0.25, 0.75, 1.25, class 1 wins from 0.5 on.
  const Tensor scores = Tensor::from<float>({2, 1, 2}, {1, 0, 0, 1});
  const auto out = Judging("image-segmentation").output("scores", scores).field("mask", Tensor::from<uint8_t>({1, 4}, {0, 1, 255, 1})).get<PixelOutcome>();
  EXPECT_EQ(out.classes, 2);
  EXPECT_EQ(out.counts, PixelOutcome::of(2, {1, 0, 1, 1}).counts);
  EXPECT_THAT(Judging("image-segmentation").output("scores", scores).field("mask", Tensor::from<uint8_t>({1, 2}, {0, 2})).error(), HasSubstr("beyond the model's 2"));
  const auto binary = Judging("image-segmentation").output("scores", Tensor::from<float>({1, 1, 2}, {0.2f, 0.7f})).field("mask", Tensor::from<uint8_t>({1, 2}, {1, 1})).get<PixelOutcome>();
  EXPECT_EQ(binary.counts, PixelOutcome::of(2, {0, 0, 1, 1}).counts);
  const auto classes = Judging("image-segmentation", {{"classes", 3}}).output("scores", Tensor::from<int64_t>({1, 2}, {2, 0})).field("mask", Tensor::from<uint8_t>({1, 2}, {2, 1})).get<PixelOutcome>();
  EXPECT_EQ(classes.counts, PixelOutcome::of(3, {0, 0, 0, 1, 0, 0, 0, 0, 1}).counts);
  const auto last = Judging("image-segmentation", {{"layout", "hwc"}}).output("scores", Tensor::from<float>({1, 2, 2}, {1, 0, 0, 1})).field("mask", Tensor::from<uint8_t>({1, 2}, {0, 1})).get<PixelOutcome>();
  EXPECT_EQ(last.counts, PixelOutcome::of(2, {1, 0, 0, 1}).counts);
}

TEST(ImageTask, ComparesWithTheTarget) {
  // Grey 0.5 against 0.4 everywhere: the mean squared error is 0.01.
  const Tensor made = Tensor::from<float>({1, 12, 12}, std::span<const float>(std::vector<float>(144, 0.5f)));
  const Tensor target = Tensor::from<uint8_t>({12, 12, 1}, std::span<const uint8_t>(std::vector<uint8_t>(144, 102)));
  const auto out = Judging("image-to-image").output("image", made).field("target", target).get<ImageOutcome>();
  EXPECT_NEAR(out.mse, 0.01, 1e-6);
  // Without variance, SSIM is (2 a b + C1) / (a² + b² + C1) with C1 = 0.01².
  EXPECT_NEAR(out.ssim, (2 * 0.5 * 0.4 + 1e-4) / (0.25 + 0.16 + 1e-4), 1e-6);
  EXPECT_THAT(Judging("image-to-image").output("image", made).field("target", Tensor::from<uint8_t>({1, 1, 1}, {1})).error(), HasSubstr("the target of"));
}

TEST(BoxTask, BringsBoxesBackToTheImage) {
  // The image was halved and moved by (10, 20): a point p is at p / 2 + offset.
  Judging j("object-detection", {{"boxes", "cxcywh"}, {"least_score", 0.1}});
  j.output("boxes", Tensor::from<float>({2, 4}, {60, 70, 20, 40, 0, 0, 1, 1})).output("scores", Tensor::from<float>({2, 2}, {0.2f, 0.9f, 0.05f, 0.01f}));
  j.field("boxes", Tensor::from<float>({1, 4}, {80, 60, 120, 140})).field("box_labels", Tensor::from<int64_t>({1}, {1}));
  j.field("image_scale", Tensor::from<float>({2}, {0.5f, 0.5f})).field("image_offset", Tensor::from<float>({2}, {20, 10}));
  const auto out = j.get<BoxOutcome>();
  ASSERT_EQ(out.detections.size(), 2u) << "both classes of the first box, none of the second";
  EXPECT_EQ(out.detections[0].label, 1);
  EXPECT_NEAR(out.detections[0].score, 0.9, 1e-6);
  EXPECT_EQ(out.detections[0].box, (std::array<double, 4>{80, 60, 120, 140}));
  EXPECT_EQ(out.truths[0].box, out.detections[0].box);
}

TEST(BoxTask, DropsLesserBoxesOfAClass) {
  // Boxes 0 and 1 overlap by 9 x 10 of 110: an intersection over union of 0.818. Box 2 is the same as 0, of another class.
  Judging j("object-detection", {{"nms", 0.5}, {"coordinates", "image"}});
  j.output("detections", Tensor::from<float>({3, 6}, {0, 0, 10, 10, 0.6f, 1, 1, 0, 11, 10, 0.8f, 1, 0, 0, 10, 10, 0.5f, 2}));
  j.field("boxes", *Tensor::zeros(DType::kF32, {0, 4})).field("box_labels", *Tensor::zeros(DType::kI64, {0}));
  const auto out = j.get<BoxOutcome>();
  ASSERT_EQ(out.detections.size(), 2u);
  EXPECT_EQ(out.detections[0].box[0], 1);
  EXPECT_EQ(out.detections[1].label, 2);
}

TEST(BoxTask, ReadsYoloColumns) {
  // Columns before boxes: cx, cy, w, h, objectness, two classes; fractions of an image of 100 x 200.
  Judging j("object-detection", {{"columns", {"cx", "cy", "w", "h", "objectness", "scores"}}, {"transposed", true}, {"coordinates", "unit"}});
  j.output("detections", Tensor::from<float>({7, 1}, {0.5f, 0.5f, 0.2f, 0.1f, 0.5f, 0.4f, 0.8f}));
  j.field("boxes", *Tensor::zeros(DType::kF32, {0, 4})).field("box_labels", *Tensor::zeros(DType::kI64, {0})).field("image", *Tensor::zeros(DType::kF32, {3, 200, 100}));
  const auto out = j.get<BoxOutcome>();
  ASSERT_EQ(out.detections.size(), 2u);
  EXPECT_NEAR(out.detections[0].score, 0.4, 1e-6);
  EXPECT_NEAR(out.detections[0].box[0], 40, 1e-4);
  EXPECT_NEAR(out.detections[0].box[3], 110, 1e-4);
  EXPECT_THAT(Judging("object-detection", {{"columns", {"scores", "x0"}}}).output("detections", label(1)).error(), HasSubstr("put them last"));
}

TEST(Tasks, RolesAreFoundByNameThenByForm) {
  auto graph = std::make_unique<ir::Graph>();
  const ir::Dim n = graph->dims().symbol("N");
  ir::Value* x = graph->add_input("x", ir::TensorType(DType::kF32, {n, 4}));
  for (const auto& [name, type] : {std::pair("other", ir::TensorType(DType::kF32, {n, 4})), std::pair("logits", ir::TensorType(DType::kF32, {n, 2})),
                                   std::pair("ids", ir::TensorType(DType::kI64, {n}))}) {
    ir::Node* node = graph->create(*ir::find_op("Identity"), std::vector<ir::Value*>{x}, 1);
    node->output()->set_type(type);
    graph->add_output(node->output(), name);
  }
  EXPECT_EQ(assign_roles(**find_task("image-classification"), *graph, {})->at("scores"), 1u) << "by its name";
  EXPECT_EQ(assign_roles(**find_task("tabular-regression"), *graph, {})->at("values"), 0u) << "the first that has numbers";
  EXPECT_EQ(assign_roles(**find_task("image-classification"), *graph, {{"scores", "other"}})->at("scores"), 0u) << "as the recipe says";
  EXPECT_THAT(assign_roles(**find_task("question-answering"), *graph, {})->at("start"), 0u);
  EXPECT_THAT(assign_roles(**find_task("image-to-image"), *graph, {}).status().to_string(), HasSubstr("the model has other, logits, ids"));
}

TEST(Tasks, TheTableIsWhole) {
  for (const TaskInfo& task : tasks()) {
    EXPECT_TRUE(task_options(task, nullptr, "").ok()) << task.name;
    EXPECT_FALSE(task.metrics.empty()) << task.name;
    for (const std::string_view metric : task.metrics) {
      const MetricInfo* info = find_metric(metric);
      ASSERT_NE(info, nullptr) << metric;
      EXPECT_TRUE(reads(*info, task.outcome)) << task.name << " " << metric;
    }
  }
  EXPECT_THAT(find_task("image-clasification").status().to_string(), HasSubstr("did you mean 'image-classification'?"));
}

TEST(Tasks, TheirDocumentationIsThatOfTheTable) {
  const fs::path file = fs::path(TENON_SOURCE_DIR) / "docs/evaluating.md";
  std::ifstream in(file);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  constexpr std::string_view kBegin = "<!-- tasks -->\n", kEnd = "<!-- end of tasks -->";
  const size_t begin = text.find(kBegin), end = text.find(kEnd);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos);
  const std::string table = tasks_markdown(), documented = text.substr(begin + kBegin.size(), end - begin - kBegin.size());
  if (documented != table && std::getenv("TENON_BLESS") != nullptr) {
    text.replace(begin + kBegin.size(), documented.size(), table);
    std::ofstream(file) << text;
    return;
  }
  EXPECT_EQ(documented, table) << "TENON_BLESS=1 rewrites it";
}

}  // namespace
}  // namespace tenon::eval
