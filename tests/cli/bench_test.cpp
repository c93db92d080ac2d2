// tenon bench: formats, sweeps, baselines, profiles and reports.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/cli/command.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class CliBench : public ProductTest {
 protected:
  /// Short rounds.
  int bench(const std::string& arguments) { return run("bench --rounds 6 --launches 2 --round-ms 1 --warmup-ms 1 " + arguments); }

  static std::string digits() { return (fs::path(TENON_SOURCE_DIR) / "models/digits").string(); }
};

TEST_F(CliBench, SweepsThreadsAndBatch) {
  ASSERT_EQ(bench(digits() + " --threads 1-2 --batch 1-4*2 --json -"), 0) << err_;
  const json document = json::parse(out_);
  EXPECT_EQ(document["kind"], "bench");
  EXPECT_TRUE(document["context"].contains("cpu"));
  std::set<std::pair<int, int>> cases;
  for (const json& row : document["results"]) cases.emplace(row["threads"].get<int>(), row["dims"]["batch"].get<int>());
  EXPECT_EQ(cases, (std::set<std::pair<int, int>>{{1, 1}, {1, 2}, {1, 4}, {2, 1}, {2, 2}, {2, 4}}));
  for (const json& row : document["results"]) {
    const json& l = row["latency_ms"];
    EXPECT_LE(l["min"], l["p10"]);
    EXPECT_LE(l["p10"], l["p50"]);
    EXPECT_LE(l["p50"], l["p90"]);
    EXPECT_LE(l["p90"], l["p99"]);
    EXPECT_EQ(row["launches_ms"].size(), 2u);
    EXPECT_EQ(row["round_p50_ms"].size(), 6u);
    EXPECT_EQ(row["quantiles_ms"].size(), 101u);
    EXPECT_DOUBLE_EQ(row["ready_ms"].get<double>(), row["load_ms"].get<double>() + row["compile_ms"].get<double>() + row["first_run_ms"].get<double>());
  }
}

TEST_F(CliBench, PrintsMarkdownAndCsv) {
  ASSERT_EQ(bench("m.tir --backend reference,cpu --format markdown"), 0) << err_;
  EXPECT_THAT(out_, StartsWith("| model | backend | threads |"));
  EXPECT_THAT(out_, HasSubstr("| m.tir | cpu | 1 |"));
  ASSERT_EQ(bench("m.tir --backend reference,cpu --format csv --streams 2"), 0) << err_;
  std::istringstream lines(out_);
  std::string header, first, second;
  std::getline(lines, header);
  std::getline(lines, first);
  std::getline(lines, second);
  const auto cells = [](const std::string& line) { return std::count(line.begin(), line.end(), ','); };
  EXPECT_EQ(cells(header), cells(first));
  EXPECT_EQ(cells(header), cells(second));
  EXPECT_THAT(second, StartsWith("m.tir,N=1,cpu,1,"));
  EXPECT_EQ(bench("m.tir --format yaml"), 2);
}

TEST_F(CliBench, ABaselineTellsWhatBecameSlower) {
  ASSERT_EQ(bench("m.tir --profile --json now.json"), 0) << err_;
  json before = json::parse(slurp(folder_ / "now.json"));
  // A machine that was a thousand times as fast: further off than any load on this one brings two runs apart.
  json& row = before["results"][0];
  const auto scale = [&row](double factor) {
    row["latency_ms"]["p50"] = row["latency_ms"]["p50"].get<double>() * factor;
    for (json& launch : row["launches_ms"])
      for (json& round : launch) round = row["latency_ms"]["p50"];
  };
  scale(1e-3);
  std::ofstream(folder_ / "fast.json") << before;
  EXPECT_EQ(bench("m.tir --profile --baseline fast.json"), 1) << err_;
  EXPECT_THAT(out_, HasSubstr("slower"));
  EXPECT_THAT(out_, HasSubstr("of the change"));
  // And one that was a thousand times as slow.
  scale(1e6);
  std::ofstream(folder_ / "slow.json") << before;
  EXPECT_EQ(bench("m.tir --baseline slow.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("faster"));
  EXPECT_EQ(bench("m.tir --baseline m.tir"), 2);
  EXPECT_THAT(err_, HasSubstr("malformed JSON at byte 1 (m.tir)"));
  std::ofstream(folder_ / "other.json") << R"({"results": [[1]]})";
  EXPECT_EQ(bench("m.tir --baseline other.json"), 2);
  EXPECT_THAT(err_, HasSubstr("is not what bench --json writes"));
  EXPECT_EQ(bench("m.tir --baseline /dev/zero"), 2);
  ASSERT_EQ(bench("m.tir -O 1 --baseline slow.json --json -"), 0) << err_;
  const json compared = json::parse(out_)["baseline"];
  EXPECT_EQ(compared["changes"][0]["verdict"], "faster");
  EXPECT_THAT(compared["warnings"].dump(), HasSubstr("another optimisation level"));
  EXPECT_EQ(bench("m.tir --threads 2 --baseline slow.json"), 2);
  EXPECT_THAT(err_, HasSubstr("has none of these"));
}

TEST_F(CliBench, ProfilesAndReports) {
  ASSERT_EQ(bench("m.tir --backend reference,cpu --profile --report r.html --json b.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("where "));
  EXPECT_THAT(out_, HasSubstr("MatMul"));
  const json document = json::parse(slurp(folder_ / "b.json"));
  EXPECT_EQ(document["results"][1]["profile"]["kind"], "profile");
  const std::string html = slurp(folder_ / "r.html");
  EXPECT_THAT(html, HasSubstr("m.tir"));
  EXPECT_THAT(html, HasSubstr("Roofline"));
  EXPECT_EQ(bench("m.tir --report /nonexistent/r.html"), 2);
  EXPECT_THAT(err_, HasSubstr("cannot write there"));
  EXPECT_EQ(bench("m.tir --report x --json x"), 2);
}

TEST_F(CliBench, AnInterruptionShowsWhatThereIs) {
  // How long it takes to the first round is the machine's business: interrupt later if there is nothing yet.
  json document;
  for (const double seconds : {1.5, 5.0, 15.0, 45.0}) {
    const std::string command = fmt::format("cd '{}' && timeout -s INT {} '{}/bin/tenon' bench m.tir --duration 60 --launches 1 --json i.json >out 2>err", folder_.string(),
                                            seconds, TENON_BINARY_DIR);
    static_cast<void>(std::system(command.c_str()));
    document = json::parse(slurp(folder_ / "i.json"), nullptr, false);
    if (document.is_object() && !document["results"].empty()) break;
  }
  ASSERT_TRUE(document.is_object()) << slurp(folder_ / "err");
  ASSERT_FALSE(document["results"].empty()) << slurp(folder_ / "err");
  EXPECT_GT(document["results"][0]["runs"].get<int>(), 0);
  EXPECT_THAT(slurp(folder_ / "out"), HasSubstr("interrupted: 1 of 1 cases"));
}

TEST_F(CliBench, FailuresNameTheirBackendOrAreSaidOnce) {
  std::ofstream(folder_ / "odd.tir") << R"(graph "g" {
  input %x: f32[2, 64]
  input %w: f32[K, 32]
  %p: f32[2, 32] = MatMul(%x, %w) "product"
  output %p
})";
  ASSERT_EQ(run("optimize odd.tir -O0 -o odd.onnx"), 0) << err_;
  EXPECT_EQ(bench("odd.onnx --dim K=4 --backend reference,cpu"), 2);
  EXPECT_EQ(err_, "error: inner dimensions 64 and 4 of a matrix product differ (odd.onnx: MatMul node product)\n");
  EXPECT_EQ(bench("m.tir --backend cpu,exec:false"), 2);
  EXPECT_THAT(err_, HasSubstr("(m.tir: exec:false)"));
  EXPECT_THAT(err_, Not(HasSubstr("on cpu")));
  EXPECT_THAT(out_, Not(HasSubstr("row")));
}

TEST_F(CliBench, RefusesWhatIsNoSweep) {
  for (const char* wrong : {"--threads 4-1", "--threads 1-", "--batch 0", "--batch 1-8*1", "--dim N", "--dim N=a", "--round-ms 0", "--duration -1"}) {
    EXPECT_EQ(bench(fmt::format("m.tir {}", wrong)), 2) << wrong;
    EXPECT_THAT(err_, StartsWith("error: ")) << wrong;
  }
}

}  // namespace
}  // namespace tenon
