#include <nlohmann/json.hpp>

#include "command.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class CacheTest : public ProductTest {
 protected:
  CacheTest() { cache_ = (folder_ / "cache").string(); }
  size_t entries() const {
    if (!fs::exists(cache_)) return 0;
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(cache_)) count += entry.path().filename() != "key";
    return count;
  }
};

TEST_F(CacheTest, KernelsAreKeptAndUsedAgain) {
  ASSERT_EQ(run("run m.tir --json -"), 0) << err_;
  const json first = json::parse(out_);
  const size_t kept = entries();
  EXPECT_GT(kept, 0u);
  EXPECT_EQ(fs::status(cache_).permissions(), fs::perms::owner_all);
  ASSERT_EQ(run("run m.tir --json -"), 0) << err_;
  EXPECT_EQ(json::parse(out_)["outputs"], first["outputs"]);
  EXPECT_EQ(entries(), kept);
}

TEST_F(CacheTest, CanBeLeftOut) {
  ASSERT_EQ(run("run m.tir --no-cache"), 0) << err_;
  EXPECT_EQ(entries(), 0u);
}

TEST_F(CacheTest, AFolderThatOthersMayWriteToIsNotUsed) {
  fs::create_directory(cache_);
  fs::permissions(cache_, fs::perms::all);
  ASSERT_EQ(run("run m.tir"), 0) << err_;
  EXPECT_NE(err_.find("others can write"), std::string::npos) << err_;
  EXPECT_EQ(entries(), 0u);
}

TEST_F(CacheTest, AModelThatWasCompiledBeforeIsNotCompiledAgain) {
  const std::string model = (fs::path(TENON_SOURCE_DIR) / "models/digits/model.onnx").string(), command = fmt::format("run {} --test-data --json -", model);
  ASSERT_EQ(run(command + " --no-cache"), 0) << err_;
  const json without = json::parse(out_);
  EXPECT_EQ(without["from_cache"], false);
  for (const bool cached : {false, true}) {
    ASSERT_EQ(run(command), 0) << err_;
    const json report = json::parse(out_);
    EXPECT_EQ(report["from_cache"], cached);
    EXPECT_EQ(report["inputs"], without["inputs"]);
    EXPECT_EQ(report["outputs"], without["outputs"]);
  }
  ASSERT_EQ(run(command + " -O1"), 0) << err_;
  EXPECT_EQ(json::parse(out_)["from_cache"], false);
  const std::string bench = fmt::format("bench {} --launches 2 --rounds 2 --round-ms 1 --warmup-ms 1 --threads 1", model);
  ASSERT_EQ(run(bench + " --json -"), 0) << err_;
  EXPECT_EQ(json::parse(out_)["results"][0]["from_cache"], 2);
  ASSERT_EQ(run(bench), 0) << err_;
  EXPECT_NE(out_.find("\nload, compile and first run are of executables from the cache"), std::string::npos) << out_;
  ASSERT_EQ(run(bench + " --backend reference,cpu"), 0) << err_;
  EXPECT_NE(out_.find("\nload, compile and first run of row 2 are of executables from the cache"), std::string::npos) << out_;
  ASSERT_EQ(run(bench + " --no-cache"), 0) << err_;
  EXPECT_EQ(out_.find("from the cache"), std::string::npos) << out_;
  ASSERT_EQ(run(bench + " --no-cache --json -"), 0) << err_;
  EXPECT_EQ(json::parse(out_)["results"][0]["from_cache"], 0);
}

TEST_F(CacheTest, ACommandThatShowsTheCompilersWorkCompiles) {
  const std::string model = (fs::path(TENON_SOURCE_DIR) / "models/digits/model.onnx").string(), placement = fmt::format("inspect {} --placement", model);
  ASSERT_EQ(run(placement), 0) << err_;
  const std::string before = out_;
  ASSERT_EQ(run("run " + model), 0) << err_;
  ASSERT_EQ(run(placement), 0) << err_;
  EXPECT_EQ(out_, before);
}

TEST_F(CacheTest, ExecutablesMayHaveNoRoom) {
  const std::string model = (fs::path(TENON_SOURCE_DIR) / "models/digits/model.onnx").string();
  ::setenv("TENON_CACHE_GIB", "0", 1);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(run(fmt::format("run {} --json -", model)), 0) << err_;
    EXPECT_EQ(json::parse(out_)["from_cache"], false);
  }
  ::unsetenv("TENON_CACHE_GIB");
  EXPECT_FALSE(fs::exists(fs::path(cache_) / "executables"));
  EXPECT_GT(entries(), 0u);
}

TEST_F(CacheTest, EvaluationsTakeTheExecutableToo) {
  const fs::path digits = fs::path(TENON_SOURCE_DIR) / "models/digits";
  const auto evaluate = [&](const std::string& more) {
    EXPECT_EQ(run(fmt::format("eval {} --recipe {} --resamples 0 --limit 40 --threads 1 --json - {}", digits.string(), (digits / "recipe.json").string(), more)), 0) << err_;
    return json::parse(out_)["results"][0]["metrics"];
  };
  const json wanted = evaluate("--no-cache");
  EXPECT_EQ(evaluate(""), wanted);
  EXPECT_EQ(evaluate(""), wanted);
}

using ExplainTest = ProductTest;

TEST_F(ExplainTest, NamesWhatEachKernelIsAndWhatBoundsIt) {
  ASSERT_EQ(run("inspect m.tir --explain --no-roofline --json -"), 0) << err_;
  const json report = json::parse(out_).at("explain").at("cpu");
  ASSERT_FALSE(report.at("kernels").empty());
  double operations = 0;
  for (const json& kernel : report.at("kernels")) {
    EXPECT_FALSE(kernel.at("implementation").get<std::string>().empty());
    EXPECT_FALSE(kernel.at("nodes").empty());
    EXPECT_GE(kernel.at("calls").get<int>(), 1);
    EXPECT_GT(kernel.at("grid").get<int64_t>(), 0);
    EXPECT_GT(kernel.at("bytes").get<double>(), 0);
    EXPECT_TRUE(kernel.at("predicted_ms").is_null());
    if (kernel.at("operations").is_number()) operations += kernel.at("operations").get<double>();
  }
  EXPECT_EQ(operations, 64 * 32 * 2 + 32);  // N is 1
  EXPECT_GE(report.at("arena_bytes").get<int64_t>(), report.at("arena_bound_bytes").get<int64_t>());

  ASSERT_EQ(run("inspect m.tir --explain"), 0) << err_;
  EXPECT_NE(out_.find("at least"), std::string::npos);
  EXPECT_NE(out_.find("arena"), std::string::npos);
  EXPECT_EQ(run("inspect m.tir --explain --backend reference"), 2);
}

}  // namespace
}  // namespace tenon
