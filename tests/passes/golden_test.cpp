// Every tests/passes/NAME.tir holds cases for the pass NAME:
//
//     // case WHAT
//     graph { … }
//     // becomes
//     graph { … }
//
// TENON_BLESS=1 writes what the pass makes. Each case is also run before and after on random inputs.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "ir/op.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"
#include "tests/passes/pass_test_util.h"

namespace tenon::passes {
namespace {

constexpr std::string_view kCase = "// case ", kBecomes = "// becomes\n";

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Case {
  std::string title, before, after;
};

std::vector<Case> split(const std::string& text) {
  std::vector<Case> out;
  for (size_t at = text.find(kCase); at != std::string::npos;) {
    size_t next = text.find(kCase, at + 1);
    std::string part = text.substr(at, next == std::string::npos ? next : next - at);
    size_t line = part.find('\n') + 1, becomes = part.find(kBecomes);
    Case c{part.substr(kCase.size(), line - 1 - kCase.size()), part.substr(line, becomes - line), ""};
    if (becomes != std::string::npos) c.after = part.substr(becomes + kBecomes.size());
    while (c.before.ends_with("\n\n")) c.before.pop_back();
    while (c.after.ends_with("\n\n")) c.after.pop_back();
    out.push_back(std::move(c));
    at = next;
  }
  return out;
}

std::string apply(const PassInfo& pass, const Case& c) {
  auto graph = ir::parse_text(c.before);
  if (!graph.ok()) return graph.status().to_string();
  if (Status status = ir::infer_graph(**graph); !status.ok()) return status.to_string();
  auto inputs = random_inputs(**graph, 1);
  auto before = ir::evaluate_graph(**graph, inputs);
  EXPECT_TRUE(before.ok()) << c.title << ": " << before.status().to_string();
  PassContext context;
  context.target = {.vector_bytes = 16, .byte_products = true};
  context.factors = DType::kF16;
  auto changed = pass.run(**graph, context);
  if (!changed.ok()) return changed.status().to_string();
  if (Status status = ir::verify(**graph); !status.ok()) return status.to_string();
  auto after = ir::evaluate_graph(**graph, inputs);
  EXPECT_TRUE(after.ok()) << c.title << ": " << after.status().to_string();
  if (before.ok() && after.ok()) expect_same(*before, *after, c.title);
  return ir::to_text(**graph);
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, Cases) {
  std::filesystem::path path = std::filesystem::path(TENON_SOURCE_DIR) / "tests/passes" / (GetParam() + ".tir");
  const PassInfo* pass = find_pass(GetParam());
  ASSERT_NE(pass, nullptr) << "no pass has the name of " << path;
  std::vector<Case> cases = split(read(path));
  ASSERT_FALSE(cases.empty());
  std::string blessed;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.title);
    std::string got = apply(*pass, c);
    blessed += fmt::format("{}{}{}\n{}{}{}", blessed.empty() ? "" : "\n", kCase, c.title, c.before, kBecomes, got);
    if (!std::getenv("TENON_BLESS")) {
      EXPECT_EQ(got, c.after);
    }
  }
  if (std::getenv("TENON_BLESS")) std::ofstream(path) << blessed;
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(TENON_SOURCE_DIR) / "tests/passes"))
    if (entry.path().extension() == ".tir") out.push_back(entry.path().stem().string());
  std::ranges::sort(out);
  return out;
}

INSTANTIATE_TEST_SUITE_P(Passes, Golden, testing::ValuesIn(names()), [](const auto& param) {
  std::string name = param.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace tenon::passes
