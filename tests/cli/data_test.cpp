// `tenon data`.

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/cli/command.h"
#include <nlohmann/json.hpp>

namespace tenon {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Data : public CommandTest {
 protected:
  /// The exit status; what is printed goes to out_, errors with it.
  int data(const std::string& arguments) {
    const int status = run_in(TENON_SOURCE_DIR, "data " + arguments);
    out_ += err_;
    return status;
  }
  std::string write(const std::string& name, std::string_view bytes) {
    std::ofstream(folder_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return (folder_ / name).string();
  }

};

/// The output that a page of the documentation shows below `command`.
std::string shown(const char* page, const std::string& command) {
  const std::string text = read(fs::path(TENON_SOURCE_DIR) / "docs" / page);
  size_t at = text.find("    $ tenon data " + command + "\n");
  EXPECT_NE(at, text.npos) << command;
  if (at == text.npos) return {};
  std::string out;
  for (at = text.find('\n', at) + 1; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (!line.empty() && !line.starts_with("    ")) break;
    out += (line.empty() ? "" : line.substr(4)) + "\n";
    at = end + 1;
  }
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

TEST_F(Data, PrintsWhatTheDocumentationShows) {
  const std::pair<const char*, std::string> examples[] = {
      {"datasets.md", "models/digits/data"},
      {"command-line.md", "models/digits/data --index 7"},
      {"preprocessing.md", R"(models/digits/data --preprocess '[{"step": "resize", "size": 32}, {"step": "scale"}, {"step": "normalize", "mean": 0.5, "std": 0.5}, {"step": "layout"}]')"}};
  for (const auto& [page, command] : examples) {
    EXPECT_EQ(data(command), 0) << out_;
    EXPECT_EQ(out_, shown(page, command)) << page;
  }
}

TEST_F(Data, ChecksEveryExample) {
  const std::string table = write("t.csv", "a,b\n1,2\n3\n");
  EXPECT_EQ(data(table + " --check"), 1);
  EXPECT_THAT(out_, HasSubstr("1 of 2 examples can be read\nexample 1: the row has 1 of 2 fields; 'b' is missing (t.csv:3)"));
  EXPECT_EQ(data(table + " --check --json -"), 1);
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["examples"], 2);
  EXPECT_EQ(json["broken"][0]["index"], 1);
  EXPECT_EQ(data("models/digits/data --check"), 0);
}

TEST_F(Data, ReadsStepsFromAFileAndFilesBesideIt) {
  write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\n");
  const std::string steps = write("steps.json", R"([{"step": "wordpiece", "vocab": "vocab.txt"}])");
  const std::string table = write("t.csv", "text,label\nHello!,1\n");
  EXPECT_EQ(data(fmt::format("{} --preprocess {} --json -", table, steps)), 0);
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["shown"][0]["fields"][1], (nlohmann::json{{"name", "input_ids"}, {"type", "i64[4]"}, {"values", "2, 4, 1, 3"}}));
}

TEST_F(Data, NamesWhatIsWrong) {
  EXPECT_EQ(data(""), 2);
  EXPECT_THAT(out_, HasSubstr("error: no data set is named (command line): see tenon data --help"));
  EXPECT_EQ(data("/nowhere"), 2);
  EXPECT_EQ(data("models/digits/data --index 1000"), 2);
  EXPECT_THAT(out_, HasSubstr("there is no example 1000; the data set has 1000 (--index)"));
  EXPECT_EQ(data("models/digits/data --preprocess '[{\"step\": 1}]'"), 2);
  EXPECT_THAT(out_, HasSubstr("(--preprocess: step 1)"));
  EXPECT_EQ(data("models/digits/data --preprocess '[{'"), 2);
  EXPECT_THAT(out_, HasSubstr("malformed JSON at byte 3 (--preprocess)"));
  EXPECT_EQ(data("--step nothing"), 2);
  for (const char* list : {"--formats", "--steps", "--step log_mel", "--markdown"}) EXPECT_EQ(data(list), 0) << out_;
}

}  // namespace
}  // namespace tenon
