#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/bench/baseline.h"
#include "eval/bench/child.h"
#include "eval/bench/document.h"
#include "eval/bench/machine.h"
#include "eval/bench/measure.h"
#include "eval/bench/outputs.h"
#include "eval/bench/sweep.h"
#include "eval/bench/trust.h"

namespace tenon::eval {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<int64_t> sweep(std::string_view text) {
  const auto out = parse_sweep(text, "--threads", 0, 1024);
  return out.ok() ? *out : std::vector<int64_t>{-1};
}

TEST(Sweep, TakesListsAndRanges) {
  EXPECT_THAT(sweep("1,2,4"), ElementsAre(1, 2, 4));
  EXPECT_THAT(sweep("1-4"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(sweep("2-9+3"), ElementsAre(2, 5, 8));
  EXPECT_THAT(sweep("1-8*2"), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(sweep("3-100*4"), ElementsAre(3, 12, 48));
  EXPECT_THAT(sweep("4,1-4,0"), ElementsAre(4, 1, 2, 3, 0));
  EXPECT_THAT(sweep("7"), ElementsAre(7));
}

TEST(Sweep, RefusesWhatHasNoEndOrNoSense) {
  for (const char* text : {"", "a", "1,", ",1", "1-", "-1", "4-1", "1-4+0", "1-4*1", "0-4*2", "1-4-8", "1-4+", "1..4", "1-2000", "99999999999999999999"})
    EXPECT_FALSE(parse_sweep(text, "--threads", 0, 1024).ok()) << text;
  EXPECT_THAT(parse_sweep("1,4-2", "--threads", 0, 1024).status().to_string(), HasSubstr("'4-2' ends before it begins (--threads)"));
  EXPECT_THAT(parse_sweep("1-2000", "--threads", 0, 1024).status().to_string(), HasSubstr("not within 0 to 1024"));
  EXPECT_FALSE(parse_sweep("0-9223372036854775807", "--dim", 0, INT64_MAX).ok());
  EXPECT_TRUE(parse_sweep("9223372036854775806-9223372036854775807", "--dim", 0, INT64_MAX).ok());
  EXPECT_TRUE(parse_sweep("1-9223372036854775807*2", "--dim", 0, INT64_MAX).ok());
}

TEST(Sweep, CombinesDims) {
  const auto bindings = parse_dim_sweeps({"batch=1,2", "length=8-16*2"});
  ASSERT_TRUE(bindings.ok());
  ASSERT_EQ(bindings->size(), 4u);
  EXPECT_THAT((*bindings)[1], ElementsAre(std::pair("batch", 1), std::pair("length", 16)));
  EXPECT_THAT((*bindings)[2], ElementsAre(std::pair("batch", 2), std::pair("length", 8)));
  EXPECT_EQ(parse_dim_sweeps({})->size(), 1u);
  EXPECT_FALSE(parse_dim_sweeps({"batch"}).ok());
  EXPECT_FALSE(parse_dim_sweeps({"=1"}).ok());
  EXPECT_FALSE(parse_dim_sweeps({"a=1-100", "b=1-100"}).ok());
}

TEST(Child, AnswersLines) {
  Result<Child> child = Child::start({}, [](Lines& lines) {
    while (const auto line = lines.read()) lines.write(*line + *line);
  });
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE(child->send("ab"));
  EXPECT_EQ(*child->receive(10), "abab");
  ASSERT_TRUE(child->send(std::string(300'000, 'x')));
  EXPECT_EQ(child->receive(10)->size(), 600'000u);
  EXPECT_GT(child->finish(), 0u);
}

TEST(Child, SaysHowItEnded) {
  Result<Child> crashed = Child::start({}, [](Lines&) {
    ::signal(SIGSEGV, SIG_DFL);
    ::raise(SIGSEGV);
  });
  EXPECT_THAT(crashed->receive(10).status().to_string(), HasSubstr("crashed: Segmentation fault"));
  Result<Child> silent = Child::start({}, [](Lines&) {});
  EXPECT_THAT(silent->receive(10).status().to_string(), HasSubstr("ended early"));
  Result<Child> hangs = Child::start({}, [](Lines&) { std::this_thread::sleep_for(std::chrono::hours(1)); });
  EXPECT_EQ(hangs->receive(0.2).status().code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(hangs->running());
}

TEST(Outputs, PassThroughAFile) {
  const fs::path file = fs::temp_directory_path() / fmt::format("tenon-outputs-{}", ::getpid());
  std::FILE* f = std::fopen(file.c_str(), "w+b");
  ASSERT_NE(f, nullptr);
  Tensor a = *Tensor::zeros(DType::kF32, {2, 3});
  a.set_double(4, 2.5);
  const std::vector<HostValue> values = {a, HostValue(), *Tensor::zeros(DType::kI64, {}), *Tensor::zeros(DType::kF16, {0, 4})};
  ASSERT_TRUE(save_outputs(::fileno(f), values).ok());
  const auto back = load_outputs(::fileno(f));
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  ASSERT_EQ(back->size(), 4u);
  EXPECT_EQ(std::get<Tensor>((*back)[0]).at_double(4), 2.5);
  EXPECT_TRUE(std::holds_alternative<std::monostate>((*back)[1]));
  EXPECT_EQ(std::get<Tensor>((*back)[2]).rank(), 0);
  EXPECT_THAT(std::get<Tensor>((*back)[3]).shape(), ElementsAre(0, 4));
  ASSERT_EQ(::ftruncate(::fileno(f), 20), 0);
  EXPECT_FALSE(load_outputs(::fileno(f)).ok());
  std::fclose(f);
  fs::remove(file);
}

TEST(Machine, CountsTheTimeOfAProcessAndItsChildren) {
  Result<Child> busy = Child::start({}, [](Lines& lines) {
    Result<Child> inner = Child::start({}, [](Lines&) {
      for (;;) (void)std::chrono::steady_clock::now();
    });
    lines.write("started");
    lines.read();
  });
  ASSERT_TRUE(busy->receive(10).ok());
  double seconds = 0;
  for (int i = 0; i < 600 && seconds < 0.1; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    seconds = tree_cpu_seconds(busy->pid());
  }
  EXPECT_GE(seconds, 0.1);
  busy->finish();
  EXPECT_GT(cpu_times().busy, 0);
  EXPECT_EQ(tree_cpu_seconds(-1), 0);
  const json context = machine_context();
  EXPECT_FALSE(context.at("cpu").get<std::string>().empty());
  EXPECT_GE(context.at("usable_cores").get<int>(), 1);
}

Measurement steady(double ms, int launches = 5, int rounds = 4) {
  Measurement m;
  for (int l = 0; l < launches; ++l) {
    m.samples.emplace_back();
    for (int r = 0; r < rounds; ++r) m.samples.back().push_back({ms * (1 + 0.001 * ((l * 7 + r * 3) % 5))});
  }
  return m;
}

class TrustTest : public testing::Test {
 protected:
  std::vector<Subject> subjects{{.model = "m", .backend = backends::find_backend("reference")}, {.model = "m", .backend = backends::find_backend("cpu")}};
  GroupMeasurement quiet{{steady(2), steady(1)}, {.seconds = 10}};

  std::string said(const GroupMeasurement& measured) {
    std::string out;
    for (const Doubt& doubt : doubts(subjects, measured, 2)) out += doubt.text + "\n";
    return out;
  }
};

TEST_F(TrustTest, QuietMachineRaisesNoDoubt) { EXPECT_EQ(said(quiet), ""); }

TEST_F(TrustTest, NamesTheCause) {
  quiet.conditions.other_cores = 0.5;
  EXPECT_THAT(said(quiet), HasSubstr("other processes kept 0.50 of 2 cores busy"));
  quiet.conditions = {.seconds = 10, .stolen_cores = 0.3};
  EXPECT_THAT(said(quiet), HasSubstr("hypervisor"));
  quiet.conditions = {.seconds = 10, .idle_cores = 0.9};
  EXPECT_THAT(said(quiet), HasSubstr("spin"));
  quiet.conditions = {.seconds = 10, .throttles = 3};
  EXPECT_THAT(said(quiet), HasSubstr("heat slowed the processors down 3 times"));
  quiet.conditions = {.seconds = 10, .mhz_before = 3000, .mhz_after = 2000};
  EXPECT_THAT(said(quiet), HasSubstr("3000 to 2000 MHz"));
}

TEST_F(TrustTest, LooksAtTheSamples) {
  GroupMeasurement slower = quiet;
  int round = 0;
  for (auto& launch : slower.subjects[1].samples)
    for (auto& samples : launch) samples[0] *= 1 + 0.05 * round++;
  EXPECT_THAT(said(slower), HasSubstr("cpu became"));
  GroupMeasurement spread = quiet;
  for (auto& samples : spread.subjects[1].samples[2]) samples[0] *= 1.5;
  EXPECT_THAT(said(spread), HasSubstr("launches of cpu differ by 50 %"));
  GroupMeasurement few{{steady(2, 1, 3), steady(1)}, {.seconds = 1}};
  EXPECT_THAT(said(few), HasSubstr("reference has 3 rounds"));
  GroupMeasurement cold = quiet;
  cold.subjects[0].settled = false;
  EXPECT_THAT(said(cold), HasSubstr("reference still got faster"));
  GroupMeasurement other = quiet;
  other.subjects[1].outputs_agree = false;
  other.subjects[1].max_abs = 0.25;
  EXPECT_THAT(said(other), HasSubstr("outputs of cpu differ from those of reference by up to 0.25"));
  subjects[1].threads = 3;
  EXPECT_THAT(said(quiet), HasSubstr("3 threads share 2 cores"));
}

json document_of(double ms, const Measurement& measured) {
  const Subject cpu{.model = "a/model.onnx", .backend = backends::find_backend("cpu")};
  json row = bench_row(cpu, measured, cpu, measured, {});
  EXPECT_NEAR(row.at("latency_ms").at("p50").get<double>(), ms, 0.01 * ms);
  return {{"context", {{"cpu", "one"}}}, {"results", json::array({row})}};
}

TEST(Baseline, TellsSlowerFromNoise) {
  const json before = document_of(2, steady(2));
  const auto same = compare_with_baseline(before, document_of(2.01, steady(2.01)), 0.03);
  ASSERT_TRUE(same.ok());
  EXPECT_FALSE(same->changes.at(0).slower);
  const auto slower = compare_with_baseline(before, document_of(3, steady(3)), 0.03);
  EXPECT_TRUE(slower->changes.at(0).slower);
  EXPECT_NEAR(slower->changes.at(0).ratio, 1.5, 0.01);
  EXPECT_LT(slower->changes.at(0).low, 1.5);
  EXPECT_GT(slower->changes.at(0).high, 1.49);
  EXPECT_TRUE(compare_with_baseline(before, document_of(1, steady(1)), 0.03)->changes.at(0).faster);
  EXPECT_FALSE(compare_with_baseline(before, document_of(3, steady(3)), 0.6)->changes.at(0).slower);
  // A median that rounds disagree about by a factor of two says nothing.
  Measurement noisy = steady(2.4);
  for (size_t l = 0; l < noisy.samples.size(); ++l)
    for (size_t r = 0; r < noisy.samples[l].size(); ++r) noisy.samples[l][r][0] *= (l + r) % 2 == 0 ? 0.7 : 1.3;
  const Subject cpu{.model = "a/model.onnx", .backend = backends::find_backend("cpu")};
  const json wild = {{"results", json::array({bench_row(cpu, noisy, cpu, noisy, {})})}};
  EXPECT_FALSE(compare_with_baseline(before, wild, 0.03)->changes.at(0).slower);
}

TEST(Baseline, MatchesTheSameCaseOnly) {
  const json before = document_of(2, steady(2));
  json now = document_of(2, steady(2));
  now["results"][0]["model"] = "elsewhere/a/model.onnx";
  EXPECT_EQ(compare_with_baseline(before, now, 0.03)->changes.size(), 1u);
  now["context"]["cpu"] = "two";
  EXPECT_THAT(compare_with_baseline(before, now, 0.03)->warnings.at(0), HasSubstr("another processor"));
  now["results"][0]["threads"] = 2;
  EXPECT_THAT(compare_with_baseline(before, now, 0.03)->unmatched, ElementsAre(HasSubstr("2 threads")));
  now["results"][0]["threads"] = 1;
  now["results"][0]["dims"] = {{"batch", 4}};
  EXPECT_THAT(compare_with_baseline(before, now, 0.03)->changes, IsEmpty());
}

TEST(Baseline, TellsModelsOfOneNameApart) {
  json before = document_of(2, steady(2));
  before["results"].push_back(document_of(1, steady(1))["results"][0]);
  before["results"][0]["model"] = "a/net/model.onnx";
  before["results"][1]["model"] = "b/net/model.onnx";
  json now = document_of(1, steady(1));
  now["results"][0]["model"] = "b/net/model.onnx";
  EXPECT_DOUBLE_EQ(compare_with_baseline(before, now, 0.03)->changes.at(0).ratio, 1);
  now["results"][0]["model"] = "moved/b/net/model.onnx";
  EXPECT_DOUBLE_EQ(compare_with_baseline(before, now, 0.03)->changes.at(0).ratio, 1);
  now["results"][0]["model"] = "c/net/model.onnx";  // either
  EXPECT_THAT(compare_with_baseline(before, now, 0.03)->unmatched, ElementsAre(HasSubstr("c/net/model.onnx")));
}

TEST(Baseline, WithoutAnIntervalNothingIsSlower) {
  const json before = document_of(2, steady(2, 1, 1)), now = document_of(4, steady(4, 1, 1));
  EXPECT_TRUE(before["results"][0]["p50_ci95"].is_null());
  const auto compared = compare_with_baseline(before, now, 0);
  EXPECT_FALSE(compared->changes.at(0).slower);
  EXPECT_TRUE(to_json(*compared)["changes"][0]["ci95"].is_null());
}

TEST(Baseline, RefusesDamagedDocuments) {
  const fs::path file = fs::temp_directory_path() / fmt::format("tenon-baseline-{}.json", ::getpid());
  const json good = document_of(2, steady(2));
  const std::string text = good.dump();
  for (size_t cut = 0; cut < text.size(); cut += 37) {
    std::ofstream(file) << text.substr(0, cut);
    EXPECT_FALSE(read_bench_document(file).ok()) << cut;
  }
  std::ofstream(file) << "{\"results\": [" << std::string(100'000, '[') << "]";
  EXPECT_FALSE(read_bench_document(file).ok());
  for (const char* key : {"latency_ms", "launches_ms", "model", "threads"}) {
    json damaged = good;
    damaged["results"][0][key] = "no";
    if (std::string_view(key) == "model") damaged["results"][0][key] = 3;
    const auto compared = compare_with_baseline(damaged, good, 0.03);
    EXPECT_TRUE(!compared.ok() || compared->changes.empty()) << key;
  }
  fs::remove(file);
  EXPECT_FALSE(read_bench_document(file).ok());
}

class MeasureTest : public testing::Test {
 protected:
  const fs::path digits = fs::path(TENON_SOURCE_DIR) / "models/digits/model.onnx";
  Subject cpu{.model = digits, .backend = backends::find_backend("cpu")};
  Subject reference{.model = digits, .backend = backends::find_backend("reference")};
  MeasureOptions options{.launches = 2, .rounds = 4, .round_ms = 1, .warmup = 1, .warmup_ms = 10};
};

TEST_F(MeasureTest, SharesRoundsBetweenLaunchesAndComparesOutputs) {
  options.streams = 2;
  const Subject subjects[] = {reference, cpu};
  const GroupMeasurement measured = measure(subjects, options, [](const std::string&) {});
  for (const Measurement& m : measured.subjects) {
    ASSERT_TRUE(m.status.ok()) << m.status.to_string();
    ASSERT_EQ(m.samples.size(), 2u);
    EXPECT_EQ(m.samples[0].size() + m.samples[1].size(), 4u);
    for (const auto& round : m.samples[0]) EXPECT_FALSE(round.empty());
    EXPECT_GT(m.load_ms, 0);
    EXPECT_GT(m.first_run_ms, 0);
    EXPECT_GT(m.peak_rss_mb, 1);
    EXPECT_GT(m.throughput, 0);
    EXPECT_THAT(m.dims, ElementsAre(std::pair("batch", 1)));
  }
  EXPECT_TRUE(measured.subjects[1].outputs_agree);
  ASSERT_TRUE(measured.subjects[1].max_abs.has_value());
  EXPECT_LT(*measured.subjects[1].max_abs, 1e-4);
  EXPECT_GT(measured.subjects[1].arena_mb, 0);
  EXPECT_GT(measured.conditions.seconds, 0);
}

TEST_F(MeasureTest, BindsTheBatch) {
  cpu.batch = 3;
  const GroupMeasurement measured = measure({&cpu, 1}, options, [](const std::string&) {});
  ASSERT_TRUE(measured.subjects[0].status.ok()) << measured.subjects[0].status.to_string();
  EXPECT_THAT(measured.subjects[0].dims, ElementsAre(std::pair("batch", 3)));
}

TEST_F(MeasureTest, OneThatFailsDoesNotStopTheOthers) {
  Subject missing = cpu;
  missing.model = "/nonexistent/model.onnx";
  const Subject subjects[] = {missing, cpu};
  const GroupMeasurement measured = measure(subjects, options, [](const std::string&) {});
  EXPECT_FALSE(measured.subjects[0].status.ok());
  EXPECT_TRUE(measured.subjects[1].status.ok());
  EXPECT_THAT(bench_row(missing, measured.subjects[0], missing, measured.subjects[0], options), testing::Contains(testing::_));
  EXPECT_TRUE(bench_row(missing, measured.subjects[0], missing, measured.subjects[0], options).contains("error"));
}

TEST_F(MeasureTest, TimeIsAnOtherLimit) {
  options.duration_s = 0.05;
  options.rounds = 1;
  const GroupMeasurement measured = measure({&cpu, 1}, options, [](const std::string&) {});
  EXPECT_EQ(measured.subjects[0].samples.size(), 2u);
  EXPECT_GT(measured.subjects[0].samples[0].size() + measured.subjects[0].samples[1].size(), 2u);
}

}  // namespace
}  // namespace tenon::eval
