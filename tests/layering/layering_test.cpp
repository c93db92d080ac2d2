#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

// Which folder may include which, and where each third-party header is at home (ARCHITECTURE.md, "Folders"). To let a
// folder depend on another is to add it here, with the reason in the change.

namespace tenon {
namespace {

namespace fs = std::filesystem;

// A folder may always include itself. "*" is every folder.
const std::map<std::string, std::set<std::string>, std::less<>> kMayInclude = {
    {"include", {}},
    {"support", {}},
    {"image", {"support"}},
    {"ir", {"image", "support"}},
    {"frontend", {"ir", "support", "include"}},
    {"examples", {"include"}},
    {"passes", {"ir", "support"}},
    {"runtime", {"support", "include"}},
    {"codegen", {"passes", "ir", "runtime", "support"}},
    {"backends", {"frontend", "codegen", "passes", "ir", "runtime", "support", "include"}},  // external runners are given ONNX
    {"eval", {"backends", "image", "frontend", "codegen", "passes", "ir", "runtime", "support", "include"}},
    {"bench", {"eval", "backends", "frontend", "codegen", "passes", "ir", "runtime", "support", "include"}},
    {"tools", {"eval", "bench", "backends", "frontend", "codegen", "passes", "ir", "runtime", "support", "include"}},
    {"tests", {"*"}},
};

// Path prefixes that may include headers beginning so; tests may use any library.
struct Home {
  std::string_view header;
  std::vector<std::string_view> paths;
};
const std::vector<Home> kHomes = {
    {"llvm/", {"codegen/llvm/", "backends/cpu/"}},
    {"llvm-c/", {"codegen/llvm/", "backends/cpu/"}},
    {"lld/", {"codegen/llvm/", "backends/cpu/"}},
    {"vulkan/", {"backends/vulkan/", "runtime/vulkan"}},
    {"onnx/", {"frontend/onnx/"}},
    {"google/protobuf/", {"frontend/onnx/"}},
    {"zlib.h", {"frontend/onnx/", "eval/datasets/"}},
    {"cblas", {"backends/cpu/"}},
    {"openblas", {"backends/cpu/"}},
    {"spirv", {"codegen/spirv/"}},
    {"jpeglib", {"image/"}},
    {"jerror", {"image/"}},
    {"png", {"image/"}},
    {"tiff", {"image/"}},
    {"webp/", {"image/"}},
    {"openjpeg", {"image/"}},
    {"sndfile", {"eval/datasets/"}},
    {"samplerate", {"eval/preprocess/"}},
    {"fftw3", {"eval/preprocess/"}},
    {"utf8proc", {"eval/preprocess/"}},
    {"yaml-cpp/", {"eval/tasks/"}},
    {"CLI/", {"tools/"}},
    {"xxhash", {"support/"}},
    {"gtest/", {"tests/"}},
    {"gmock/", {"tests/"}},
};

struct Include {
  int line;
  std::string header;
};

std::vector<Include> includes_of(std::string_view text) {
  static const std::regex pattern(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::vector<Include> found;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::smatch match;
    if (std::regex_search(line, match, pattern)) found.push_back({number, match[1]});
  }
  return found;
}

std::string top_folder(std::string_view path) { return std::string(path.substr(0, path.find('/'))); }

/// The folder of this project that `header` is in, if it is in one: headers are named from the root, or as
/// "tenon/..." for the public ones.
std::optional<std::string> folder_of(std::string_view header) {
  if (header.starts_with("tenon/")) return "include";
  if (header.find('/') == header.npos) return std::nullopt;
  const std::string folder = top_folder(header);
  return kMayInclude.contains(folder) ? std::optional(folder) : std::nullopt;
}

/// What is wrong with the includes of one file; `path` is relative to the root.
std::vector<std::string> violations_in(std::string_view path, std::string_view text) {
  std::vector<std::string> wrong;
  const std::string from = top_folder(path);
  const auto rule = kMayInclude.find(from);
  if (rule == kMayInclude.end()) return {fmt::format("{}: the folder {}/ has no rule in this test", path, from)};
  for (const Include& include : includes_of(text)) {
    const auto report = [&](const std::string& why) {
      wrong.push_back(fmt::format("{}:{}: includes {}: {}", path, include.line, include.header, why));
    };
    if (include.header.starts_with(".")) report("name headers from the root of the tree");
    if (const auto to = folder_of(include.header); to && *to != from)
      if (!rule->second.contains(*to) && !rule->second.contains("*"))
        report(fmt::format("{}/ may not depend on {}/", from, *to));
    if (from == "tests") continue;
    for (const Home& home : kHomes) {
      const auto at_home = [&](std::string_view place) { return path.starts_with(place); };
      if (include.header.starts_with(home.header) && std::none_of(home.paths.begin(), home.paths.end(), at_home))
        report(fmt::format("its home is {}", fmt::join(home.paths, ", ")));
    }
  }
  return wrong;
}

bool is_cpp(const fs::path& path) {
  static const std::set<std::string> extensions = {".h", ".hpp", ".c", ".cc", ".cpp", ".inc"};
  return extensions.contains(path.extension().string());
}

/// Every C++ file of the project, relative to `root`; hidden and build folders left out.
std::vector<fs::path> sources_below(const fs::path& root) {
  std::vector<fs::path> sources;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator(); ++it) {
    const std::string name = it->path().filename().string();
    if (it->is_directory() &&
        (name.starts_with(".") || name == "node_modules" || (it.depth() == 0 && name.starts_with("build"))))
      it.disable_recursion_pending();
    else if (it->is_regular_file() && is_cpp(it->path()))
      sources.push_back(it->path().lexically_relative(root));
  }
  std::sort(sources.begin(), sources.end());
  return sources;
}

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Layering, TheTreeFollowsTheRules) {
  const fs::path root = TENON_SOURCE_DIR;
  const auto sources = sources_below(root);
  ASSERT_FALSE(sources.empty()) << "no sources below " << root;
  std::string report;
  for (const fs::path& source : sources)
    for (const std::string& line : violations_in(source.generic_string(), read(root / source))) report += line + "\n";
  EXPECT_EQ(report, "");
}

TEST(Layering, FindsUpwardIncludes) {
  EXPECT_EQ(violations_in("support/a.cpp", "#include <vector>\n#include \"ir/graph.h\"\n"),
            std::vector<std::string>{"support/a.cpp:2: includes ir/graph.h: support/ may not depend on ir/"});
  EXPECT_EQ(violations_in("runtime/a.cpp", "  #  include <ir/graph.h>").size(), 1u);
  EXPECT_EQ(violations_in("ir/a.h", "#include \"codegen/kernel_ir.h\"").size(), 1u);
  EXPECT_EQ(violations_in("passes/a.h", "#include \"frontend/onnx/import.h\"").size(), 1u);
  EXPECT_EQ(violations_in("eval/a.h", "#include \"tools/main.h\"").size(), 1u);
  EXPECT_EQ(violations_in("include/tenon/tenon.h", "#include \"support/status.h\"").size(), 1u);
  EXPECT_EQ(violations_in("support/a.h", "#include <tenon/tenon.h>").size(), 1u);
}

TEST(Layering, AllowsDownwardAndOwnIncludes) {
  EXPECT_TRUE(violations_in("ir/ops/a.cpp", "#include \"ir/op.h\"\n#include \"support/status.h\"").empty());
  EXPECT_TRUE(violations_in("codegen/plan/a.cpp", "#include \"runtime/plan.h\"\n#include \"passes/pass.h\"").empty());
  EXPECT_TRUE(violations_in("runtime/a.cpp", "#include \"tenon/tenon.h\"\n#include \"support/log.h\"").empty());
  EXPECT_TRUE(violations_in("tests/cli/a.cpp", "#include \"eval/metric.h\"\n#include <llvm/IR/Module.h>").empty());
  EXPECT_TRUE(violations_in("ir/a.cpp", "// #include \"codegen/kernel_ir.h\"").empty());
  EXPECT_TRUE(violations_in("ir/a.cpp", "#include <ir.h>\n#include <sys/mman.h>").empty());
}

TEST(Layering, KeepsThirdPartyHeadersAtHome) {
  for (const Home& home : kHomes) {
    const std::string text = fmt::format("#include <{}x.h>", home.header);
    EXPECT_EQ(violations_in("eval/a.cpp", text).size(), 1u) << text;
    EXPECT_TRUE(violations_in(fmt::format("{}a.cpp", home.paths.front()), text).empty()) << text;
  }
}

TEST(Layering, RejectsRelativeIncludesAndUnknownFolders) {
  EXPECT_EQ(violations_in("ir/ops/a.cpp", "#include \"../op.h\"").size(), 1u);
  EXPECT_EQ(violations_in("utils/a.cpp", "").size(), 1u);
}

TEST(Layering, NoRuleLetsTwoFoldersIncludeEachOther) {
  for (const auto& [from, allowed] : kMayInclude)
    for (const std::string& to : allowed) {
      if (to == "*") continue;
      ASSERT_TRUE(kMayInclude.contains(to)) << to;
      EXPECT_FALSE(kMayInclude.at(to).contains(from)) << from << " and " << to;
    }
}

}  // namespace
}  // namespace tenon
