// `tenon ops`, and docs/operators.md, which is its output. TENON_BLESS=1 rewrites the page.

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "ir/op.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What `tenon ops` prints; fails the test when it fails.
std::string ops(const std::string& arguments) {
  std::string pattern = (fs::temp_directory_path() / "tenon-ops-XXXXXX").string();
  const fs::path folder = ::mkdtemp(pattern.data()), out = folder / "out";
  const int status = std::system(fmt::format("'{}/bin/tenon' ops {} >'{}' 2>&1", TENON_BINARY_DIR, arguments, out.string()).c_str());
  const std::string text = read(out);
  fs::remove_all(folder);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << text;
  return text;
}

TEST(Ops, PageOfOperatorsIsCurrent) {
  const fs::path page = fs::path(TENON_SOURCE_DIR) / "docs" / "operators.md";
  const std::string made = ops("--markdown");
  if (std::getenv("TENON_BLESS") != nullptr) std::ofstream(page, std::ios::binary) << made;
  EXPECT_EQ(read(page), made) << "TENON_BLESS=1 rewrites " << page;
}

TEST(Ops, TellOfEveryOpHowItRuns) {
  const auto json = nlohmann::json::parse(ops("--json -"));
  std::map<std::string, nlohmann::json> rows;
  for (const auto& row : json["ops"]) {
    const auto domain = row["domain"].get<std::string>();
    rows[(domain == "ai.onnx" ? "" : domain + ".") + row["op"].get<std::string>()] = row;
  }
  for (const ir::OpDef* op : ir::all_ops()) {
    if (op->domain == "tenon") continue;
    const std::string name = ir::qualified_name(*op);
    ASSERT_TRUE(rows.contains(name)) << name;
    const auto& row = rows[name];
    const ir::Compute& c = op->compute;
    const bool host = c.body == nullptr && c.decompose == nullptr && !c.structural;
    EXPECT_EQ(row["runs"] == "host", host) << row;
    EXPECT_TRUE(host || op->host.empty()) << name << " has kernels and a reason to have none";
    if (host) {
      EXPECT_FALSE(op->host.empty()) << name << " has neither kernels nor a reason to have none";
      EXPECT_EQ(row["why"], op->host) << name;
    }
    EXPECT_EQ(row["attributes"].size(), op->attrs.size() + static_cast<size_t>(op->num_regions)) << name;
  }
  EXPECT_EQ(rows["Upsample"]["runs"], "rewritten");
  EXPECT_EQ(rows["ai.onnx.preview.FlexAttention"]["runs"], "rewritten");
  EXPECT_EQ(rows["ai.onnx.preview.training.Gradient"]["runs"], "rewritten");
  EXPECT_EQ(rows["Add"]["versions"], (std::vector<int>{1, 6, 7, 13, 14}));
}

TEST(Ops, DescribeOne) {
  const std::string text = ops("Gelu");
  EXPECT_THAT(text, HasSubstr("(X: T) → (Y: T)"));
  EXPECT_THAT(text, HasSubstr("versions: 20"));
  EXPECT_THAT(text, HasSubstr("approximate: string, default none"));
}

TEST(Ops, ListsGraphsAndWhatTheImporterRewrites) {
  EXPECT_NE(ops("Loop").find("body: graph, required"), std::string::npos);
  for (const char* op : {"ai.onnx.preview.FlexAttention", "ai.onnx.preview.training.Gradient", "Upsample"})
    EXPECT_EQ(nlohmann::json::parse(ops(fmt::format("{} --json -", op)))["ops"][0]["runs"], "rewritten") << op;
}

}  // namespace
}  // namespace tenon
