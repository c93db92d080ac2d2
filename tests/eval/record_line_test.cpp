#include <sys/stat.h>

#include <climits>
#include <cmath>
#include <cstring>
#include <random>

#include <gmock/gmock.h>

#include "eval/metrics/record_file.h"
#include "tests/eval/data_files.h"
#include "tests/eval/metric_records.h"

namespace tenon::eval {
namespace {

using ::testing::HasSubstr;
constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

Record round_trip(const Outcome& outcome) {
  const Record record{INT64_MAX, "dev.tsv:17 \"quoted\"\n\t\\ ü", outcome};
  const std::string line = to_line(record);
  EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  const auto read = record_from_line(line);
  EXPECT_TRUE(read.ok()) << read.status().to_string() << "\n" << line;
  if (!read.ok()) return {};
  EXPECT_EQ(read->index, record.index);
  EXPECT_EQ(read->source, record.source);
  EXPECT_EQ(to_line(*read), line);
  return *read;
}
template <class T>
T again(const T& outcome) {
  return std::get<T>(round_trip(outcome).outcome);
}

/// The same number, NaNs too.
void expect_same(double a, double b) {
  if (std::isnan(a))
    EXPECT_TRUE(std::isnan(b));
  else
    EXPECT_EQ(a, b);
  EXPECT_EQ(std::signbit(a), std::signbit(b) && !std::isnan(a)) << a;
}

const double kOdd[] = {0.0,       -0.0,       0.1, 1.0 / 3, 1e-320, 5e-324, 1.7976931348623157e308, -1e22, 123456789012345678.0,
                       kInfinity, -kInfinity, kNan};

TEST(RecordLine, EveryOutcomeComesBack) {
  const ClassOutcome c = again(ClassOutcome{INT64_MIN, INT64_MAX, 3, 0.1, 1.0 / 3, {0.1f, 1e-45f, 3.4028235e38f, 0.3f}});
  EXPECT_EQ(c.label, INT64_MIN);
  EXPECT_EQ(c.predicted, INT64_MAX);
  EXPECT_EQ(c.rank, 3);
  EXPECT_EQ(c.probability, 0.1);
  EXPECT_EQ(c.probabilities, (std::vector<float>{0.1f, 1e-45f, 3.4028235e38f, 0.3f}));
  const TokenOutcome t = again(TokenOutcome{{-100, 1}, {0, 2}});
  EXPECT_EQ(t.labels, (std::vector<int64_t>{-100, 1}));
  EXPECT_EQ(t.predicted, (std::vector<int64_t>{0, 2}));
  const TextOutcome text = again(TextOutcome{std::string("nul\0\x01\x7f", 6), {"", "漢字"}});
  EXPECT_EQ(text.predicted, std::string("nul\0\x01\x7f", 6));
  EXPECT_EQ(text.references, (std::vector<std::string>{"", "漢字"}));
  for (double odd : kOdd) {
    expect_same(again(LikelihoodOutcome{odd, 3}).nll, odd);
    expect_same(again(ValueOutcome{{odd}, {1}}).predicted[0], odd);
    expect_same(again(ImageOutcome{odd, 0.5, 255}).mse, odd);
    const BoxOutcome boxes = again(BoxOutcome{{{{odd, 1, 2, 3}, 4, odd}}, {{{0, 1, 2, odd}, 5, true, odd}}});
    expect_same(boxes.detections[0].box[0], odd);
    expect_same(boxes.detections[0].score, odd);
    expect_same(boxes.truths[0].box[3], odd);
    expect_same(boxes.truths[0].area, odd == 0 ? 0 : odd);
    EXPECT_TRUE(boxes.truths[0].crowd);
  }
  EXPECT_EQ(again(PixelOutcome::of(2, {1, 2, 0, INT64_MAX})).counts, (std::vector<PixelOutcome::Count>{{0, 0, 1}, {0, 1, 2}, {1, 1, INT64_MAX}}));
  EXPECT_TRUE(again(BoxOutcome{}).truths.empty());
}

TEST(RecordLine, EveryFloatComesBack) {  // the shortest text of a float, read as a double, may round to another
  std::mt19937 random(1);
  ClassOutcome c;
  for (int i = 0; i < 20000; ++i) {
    const uint32_t bits = random();
    float f;
    std::memcpy(&f, &bits, sizeof f);
    if (std::isfinite(f)) c.probabilities.push_back(f);
  }
  EXPECT_EQ(again(c).probabilities, c.probabilities);
}

TEST(RecordLine, BytesThatAreNoUtf8AreReplaced) {
  EXPECT_EQ(std::get<TextOutcome>(record_from_line(to_line({0, "", TextOutcome{"a\xff\xe2\x82z", {"\xc0"}}}))->outcome).predicted,
            "a\ufffd\ufffdz");
}

std::string failure(const std::string& line) {
  const auto read = record_from_line(line);
  return read.ok() ? "no error" : read.status().to_string();
}

TEST(RecordLine, HostileLinesAreErrors) {
  const std::string start = R"({"index":0,"source":"",)";
  EXPECT_THAT(failure(""), HasSubstr("no JSON"));
  EXPECT_THAT(failure("[]"), HasSubstr("'record' is no object"));
  EXPECT_THAT(failure("{}"), HasSubstr("'record' has no 'index'"));
  EXPECT_THAT(failure(R"({"index":0,"source":""})"), HasSubstr("no outcome"));
  EXPECT_THAT(failure(R"({"index":0.5,"source":"","text":{}})"), HasSubstr("'index' that is no integer"));
  EXPECT_THAT(failure(R"({"index":9223372036854775808,"source":"","text":{}})"), HasSubstr("'index' that is no integer"));
  EXPECT_THAT(failure(R"({"index":1e400,"source":"","text":{}})"), HasSubstr("no JSON"));
  EXPECT_THAT(failure(R"({"index":0,"source":7,"text":{}})"), HasSubstr("'source' that is no text"));
  EXPECT_THAT(failure(start + R"("text":{"predicted":"","references":[]},"class":{}})"), HasSubstr("members that are not known"));
  EXPECT_THAT(failure(start + R"("text":{"predicted":"","references":[]},"more":1})"), HasSubstr("members that are not known"));
  EXPECT_THAT(failure(start + R"("text":{"predicted":"","references":[1]}})"), HasSubstr("'references' that is no text"));
  EXPECT_THAT(failure(start + R"("text":{"predicted":"","references":{}}})"), HasSubstr("'references' that is no list"));
  EXPECT_THAT(failure(start + R"("class":{"label":1}})"), HasSubstr("'class' has no 'predicted'"));
  EXPECT_THAT(failure(start + R"("class":{"label":1,"predicted":1,"rank":-1,"probability":0,"confidence":0}})"), HasSubstr("rank below 0"));
  EXPECT_THAT(failure(start + R"("class":{"label":1,"predicted":1,"rank":0,"probability":"big","confidence":0}})"),
              HasSubstr("'probability' that is no number"));
  EXPECT_THAT(failure(start + R"("tokens":{"labels":[1],"predicted":[]}})"), HasSubstr("not as many labels"));
  EXPECT_THAT(failure(start + R"("values":{"target":[1],"predicted":[]}})"), HasSubstr("not as many predictions"));
  EXPECT_THAT(failure(start + R"("likelihood":{"nll":1,"tokens":-2}})"), HasSubstr("fewer than 0 tokens"));
  EXPECT_THAT(failure(start + R"("pixels":{"classes":4294967296,"confusion":[]}})"), HasSubstr("not classes x classes"));
  EXPECT_THAT(failure(start + R"("pixels":{"classes":-1,"confusion":[1]}})"), HasSubstr("not classes x classes"));
  EXPECT_THAT(failure(start + R"("pixels":{"classes":2,"confusion":[1]}})"), HasSubstr("not classes x classes"));
  EXPECT_THAT(failure(start + R"("pixels":{"classes":2,"counts":[[1,1]]}})"), HasSubstr("no lists of label, predicted class, pixels"));
  EXPECT_THAT(failure(start + R"("boxes":{"detections":[{"box":[0,0,1],"label":0,"score":1}],"truths":[]}})"),
              HasSubstr("'box' that is no list of 4 numbers"));
  EXPECT_THAT(failure(start + R"("boxes":{"detections":{},"truths":[]}})"), HasSubstr("no list"));
  EXPECT_THAT(failure(start + R"("boxes":{"detections":[7],"truths":[]}})"), HasSubstr("'detection' is no object"));
  EXPECT_THAT(failure(start + R"("boxes":7})"), HasSubstr("'boxes' is no object"));
  EXPECT_THAT(failure(start + R"("text":null})"), HasSubstr("'text' is no object"));
  EXPECT_THAT(failure(std::string(1'000'000, '[')), HasSubstr("nested too deeply"));
  EXPECT_THAT(failure(R"({"index":"\)" + std::string(100, '[')), HasSubstr("no JSON"));
  EXPECT_THAT(failure(std::string((size_t{64} << 20) + 1, ' ')), HasSubstr("a line of"));
}

TEST(RecordFile, OfEvaluationsTakesFinishedBatches) {
  TempFolder folder;
  const std::string compiled = R"({"#":"compiled","compile_ms":1})" "\n", batch = R"({"#":"batch","batch":0})" "\n";
  const auto line = [](int64_t index) { return to_line({index, "", TextOutcome{"a", {"b"}}}) + "\n"; };
  const auto count = [&](const std::string& bytes) -> int64_t {
    const auto records = read_records({folder.write("r.jsonl", bytes)});
    return records.ok() ? static_cast<int64_t>(records->size()) : -1;
  };
  EXPECT_EQ(count(line(0) + line(1)), 2) << "of no evaluation";
  EXPECT_EQ(count(compiled + line(0) + line(1) + batch + line(2)), 2);
  EXPECT_EQ(count(compiled + line(0) + batch + line(1).substr(0, 9)), 1) << "a torn line";
  EXPECT_EQ(count(compiled + line(0)), 0);
  EXPECT_EQ(count(compiled + line(0).substr(0, 9) + "\n" + batch), -1) << "a wrong line of a finished batch";
  EXPECT_EQ(count(line(0) + line(1).substr(0, 9)), -1);
}

TEST(RecordFile, ReadsNoPipes) {
  TempFolder folder;
  const std::filesystem::path pipe = folder.path / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(read_records({pipe}).status().to_string(), HasSubstr("cannot read: no regular file"));
  EXPECT_THAT(read_records({folder.path}).status().to_string(), HasSubstr("Is a directory"));
  EXPECT_THAT(read_records({folder.path / "none"}).status().to_string(), HasSubstr("cannot read"));
}

TEST(RecordLine, DamagedLinesAreErrorsOrRecords) {
  const std::vector<std::string> lines = {to_line({5, "a", ClassOutcome{1, 2, 1, 0.5, 0.25, {0.5f, 0.25f}}}),
                                          to_line({5, "a", TokenOutcome{{1, -100}, {2, 3}}}),
                                          to_line({5, "a", TextOutcome{"x y", {"x", "y"}}}),
                                          to_line({5, "a", ValueOutcome{{1, kNan}, {2, 3}}}),
                                          to_line({5, "a", PixelOutcome{1, {{0, 0, 4}}}}),
                                          to_line({5, "a", BoxOutcome{{{{0, 1, 2, 3}, 1, 0.5}}, {{{0, 1, 2, 3}, 1, true, 7}}}})};
  std::mt19937 random(2);
  for (const std::string& line : lines) {
    for (size_t length = 0; length < line.size(); ++length)
      EXPECT_FALSE(record_from_line(line.substr(0, length)).ok()) << line.substr(0, length);
    for (int i = 0; i < 3000; ++i) {
      std::string damaged = line;
      for (uint32_t n = 1 + random() % 3; n-- > 0;) damaged[random() % damaged.size()] = "\"{}[]:,0-9.eNantrue\\\xff\x01"[random() % 23];
      const auto read = record_from_line(damaged);
      EXPECT_TRUE(!read.ok() || record_from_line(to_line(*read)).ok()) << damaged;
    }
  }
}

}  // namespace
}  // namespace tenon::eval
