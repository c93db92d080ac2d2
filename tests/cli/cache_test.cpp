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
