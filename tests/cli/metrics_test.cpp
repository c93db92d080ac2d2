// `tenon metrics`: the list, and values from records.

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>

#include "tests/cli/command.h"
#include <nlohmann/json.hpp>

#include "eval/metrics/metric.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class MetricsCommand : public CommandTest {
 protected:
  /// Runs `tenon metrics`; its status is in status_, stdout and stderr in the result.
  std::string run(const std::string& arguments) {
    status_ = CommandTest::run("metrics " + arguments);
    return out_ + err_;
  }
  void write(const std::string& name, const std::vector<eval::Record>& records) {
    std::ofstream out(folder_ / name, std::ios::binary);
    for (const eval::Record& record : records) out << eval::to_line(record) << "\n";
  }

  int status_ = -1;
};

/// Of `count` records from `first` on, every `wrong`-th is wrong.
std::vector<eval::Record> classes(int64_t first, int64_t count, int64_t wrong) {
  std::vector<eval::Record> out;
  for (int64_t i = first; i < first + count; ++i)
    out.push_back({i, "", eval::ClassOutcome{i % 2, i % wrong == 0 ? 1 - i % 2 : i % 2, i % wrong == 0 ? 1 : 0, 0.5, 0.5, {}}});
  return out;
}

TEST_F(MetricsCommand, ListsAll) {
  const std::string text = run("");
  EXPECT_EQ(status_, 0) << text;
  for (const eval::MetricInfo& metric : eval::metrics()) EXPECT_THAT(text, HasSubstr(std::string(metric.name)));
  const auto json = nlohmann::json::parse(run("--json -"));
  ASSERT_EQ(json["metrics"].size(), eval::metrics().size());
  EXPECT_EQ(json["metrics"][0]["reads"], (std::vector<std::string>{"class", "tokens"}));
  EXPECT_EQ(run("--markdown"), eval::metrics_markdown());
}

TEST_F(MetricsCommand, DescribesOne) {
  const std::string text = run("wer");
  EXPECT_THAT(text, HasSubstr("wer: Word error rate"));
  EXPECT_THAT(text, HasSubstr("better      lower"));
  EXPECT_THAT(run("WER"), HasSubstr("error: there is no metric 'WER' (metrics): choose from accuracy, "));
  EXPECT_EQ(status_, 2);
}

TEST_F(MetricsCommand, ComputesFromPartsInAnyOrder) {
  write("a", classes(0, 60, 10));
  write("b", classes(60, 40, 10));
  const auto one = nlohmann::json::parse(run("accuracy f1 --records b --records a --json -"));
  EXPECT_EQ(status_, 0);
  EXPECT_EQ(one, nlohmann::json::parse(run("accuracy f1 --records a --records b --json -")));
  EXPECT_EQ(one["records"], 100);
  EXPECT_DOUBLE_EQ(one["results"][0]["value"].get<double>(), 0.9);
  EXPECT_LT(one["results"][0]["ci95"][0].get<double>(), 0.9);
  EXPECT_GT(one["results"][0]["ci95"][1].get<double>(), 0.9);
  EXPECT_EQ(one["results"][0]["resamples"], 1000);
  EXPECT_EQ(one["results"][1]["details"]["classes"].size(), 2u);
  EXPECT_THAT(run("accuracy --records a --records a"), HasSubstr("error: record 0 occurs twice (2 files)"));
  EXPECT_EQ(status_, 2);
}

TEST_F(MetricsCommand, ComparesTwoResults) {
  write("a", classes(1, 300, 3));
  write("b", classes(1, 300, 30));
  const auto got = nlohmann::json::parse(run("accuracy --records a --against b --json -"));
  EXPECT_NEAR(got["results"][0]["against"]["difference"].get<double>(), 0.3, 1e-12);
  EXPECT_LT(got["results"][0]["against"]["p"].get<double>(), 0.01);
  EXPECT_EQ(got["mcnemar"]["only_second"], 90);
  EXPECT_EQ(got["mcnemar"]["only_first"], 0);
  EXPECT_THAT(run("accuracy --records a --against b"), HasSubstr("right alone: 0 against 90"));
  write("c", classes(0, 300, 3));
  EXPECT_THAT(run("accuracy --records a --against c"), HasSubstr("error: record 1 stands against record 0"));
  EXPECT_EQ(status_, 2);
}

TEST_F(MetricsCommand, FaultsOfFilesAreErrorsWithFileAndLine) {
  write("a", classes(0, 2, 10));
  std::ofstream(folder_ / "a", std::ios::app) << "\n{\"index\": 7}\n";
  EXPECT_THAT(run("accuracy --records a"), HasSubstr("error: 'record' has no 'source' (a:4"));
  EXPECT_EQ(status_, 2);
  EXPECT_THAT(run("accuracy --records none"), HasSubstr("(none): name a file of records"));
  EXPECT_THAT(run("accuracy --records ."), HasSubstr("error: cannot read: Is a directory"));
  for (const char* wrong : {"--seed -1", "--k 0", "--bins 0", "--classes -1", "--resamples -1"}) {
    EXPECT_THAT(run(fmt::format("accuracy --records a {}", wrong)), HasSubstr("not in range")) << wrong;
    EXPECT_EQ(status_, 2) << wrong;
  }
  EXPECT_THAT(run("\"$(printf 'x\\033[31m\\302\\233')\""), HasSubstr("no metric 'x\\x1b[31m\\u009b'")) << "no commands to a terminal";
  EXPECT_THAT(run("--against a"), HasSubstr("no effect without --records (--against)"));
  EXPECT_THAT(run("--records a"), HasSubstr("error: no metric"));
  EXPECT_EQ(status_, 2);
}

}  // namespace
}  // namespace tenon
