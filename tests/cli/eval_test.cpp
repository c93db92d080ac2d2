// tenon eval: what it prints, what it leaves out, and that ending it at any time loses nothing but time.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

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

class CliEval : public CommandTest {
 protected:
  int tenon(const std::string& arguments) { return run_in(fs::current_path(), "eval " + arguments); }

  /// Starts the command, ends it by a signal once `file` has so many lines, and gives its wait status.
  static int end_by(int signal, std::vector<std::string> arguments, const fs::path& file, int lines) {
    arguments.insert(arguments.begin(), {fmt::format("{}/bin/tenon", TENON_BINARY_DIR), "eval"});
    const pid_t child = ::fork();
    if (child == 0) {
      std::vector<char*> argv;
      for (std::string& a : arguments) argv.push_back(a.data());
      argv.push_back(nullptr);
      std::freopen("/dev/null", "w", stdout);
      std::freopen("/dev/null", "w", stderr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    int status = 0;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(5);
    while (::waitpid(child, &status, WNOHANG) == 0) {
      const std::string text = slurp(file);
      if (std::count(text.begin(), text.end(), '\n') >= lines || std::chrono::steady_clock::now() > give_up) {
        ::kill(child, signal);
        ::waitpid(child, &status, 0);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return status;
  }

  /// What must be the same however it was reached.
  static json essence(const json& report) {
    json out = {report["examples"], report["problems"]};
    for (const json& r : report["results"]) out.push_back({r["backend"], r["metrics"], r["max_abs"], r["other_predictions"], r["scored"]});
    return out;
  }

  const fs::path digits_ = fs::path(TENON_SOURCE_DIR) / "models/digits";
  const std::string model_ = (digits_ / "model.onnx").string(), recipe_ = (digits_ / "recipe.json").string();
  const std::string images_ = (digits_ / "data/test-images.idx3-ubyte").string(), labels_ = (digits_ / "data/test-labels.idx1-ubyte").string();
};

TEST_F(CliEval, ReportsAccuracyOfEachBackend) {
  const std::string common = fmt::format("{} --backend reference,cpu --limit 40 --batch 16 --singles 2", model_);
  ASSERT_EQ(tenon(fmt::format("{} --dataset {},{} --json -", common, images_, labels_)), 0) << err_;
  const json report = json::parse(out_);
  EXPECT_EQ(report["kind"], "eval");
  EXPECT_EQ(report["examples"], 40);
  ASSERT_EQ(report["results"].size(), 2u);
  EXPECT_GE(report["results"][0]["metrics"][0]["value"].get<double>(), 34.0 / 40);
  EXPECT_EQ(report["results"][1]["metrics"][0]["value"], report["results"][0]["metrics"][0]["value"]);
  EXPECT_EQ(report["results"][1]["other_predictions"], 0);
  EXPECT_LT(report["results"][1]["max_abs"].get<double>(), 1e-3);
  EXPECT_GT(report["results"][1]["single_ms"].get<double>(), 0);
  ASSERT_EQ(tenon(fmt::format("{} --dataset {},{} --show 2 --report {}", common, images_, labels_, (folder_ / "r.html").string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("█"));
  EXPECT_THAT(out_, HasSubstr("scores: output logits"));
  EXPECT_THAT(slurp(folder_ / "r.html"), HasSubstr("<html"));
  EXPECT_EQ(err_, "") << "no progress where there is no terminal";
}

TEST_F(CliEval, AllTestImagesGiveTheAccuracyOfTheModelsReadme) {
  ASSERT_EQ(tenon(fmt::format("{} --recipe {} --backend cpu --singles 0 --json -", model_, recipe_)), 0) << err_;
  EXPECT_DOUBLE_EQ(json::parse(out_)["results"][0]["metrics"][0]["value"].get<double>(), 0.965) << "965 of 1,000, as PyTorch and ONNX Runtime say";
}

TEST_F(CliEval, SaysWhatIsWrong) {
  const std::string data = fmt::format("--dataset {},{}", images_, labels_);
  EXPECT_EQ(tenon(""), 2);
  EXPECT_THAT(err_, StartsWith("error: there is no model (MODEL)"));
  EXPECT_EQ(tenon(model_), 2);
  EXPECT_THAT(err_, StartsWith("error: there is no data set (--dataset)"));
  EXPECT_EQ(tenon(fmt::format("{} --dataset {},{}", model_, labels_, labels_)), 2);
  EXPECT_EQ(tenon(fmt::format("{} --dataset {},{}", model_, model_, labels_)), 2);
  EXPECT_EQ(tenon(fmt::format("{} {} --task image-classificaton", model_, data)), 2);
  EXPECT_THAT(err_, HasSubstr("did you mean 'image-classification'?"));
  EXPECT_EQ(tenon(fmt::format("{} {} --metric acuracy", model_, data)), 2);
  EXPECT_EQ(tenon(fmt::format("{} {} --option activaton=none", model_, data)), 2);
  EXPECT_EQ(tenon(fmt::format("{} {} --shard 3/2 --state {}", model_, data, folder_.string())), 2);
  EXPECT_EQ(tenon(fmt::format("{} {} --shard 1/2", model_, data)), 2);
  EXPECT_THAT(err_, HasSubstr("add --state DIR"));
  EXPECT_EQ(tenon(fmt::format("--merge {}", folder_.string())), 2);
  EXPECT_EQ(tenon(fmt::format("{} {} --scale huge", model_, data)), 2);
}

TEST_F(CliEval, PrintsTheRecipeInEffectWhichGivesTheSame) {
  const std::string data = fmt::format("{} --dataset {},{} --limit 20 --scale 0.003 --offset 0.1", model_, images_, labels_);
  ASSERT_EQ(tenon(data + " --print-recipe"), 0) << err_;
  { std::ofstream(folder_ / "printed.json") << out_; }
  EXPECT_EQ(json::parse(out_)["preprocess"][2]["factor"], 0.003);
  ASSERT_EQ(tenon(data + " --backend reference --singles 0 --json -"), 0) << err_;
  const json direct = essence(json::parse(out_));
  ASSERT_EQ(tenon(fmt::format("{} --recipe {} --backend reference --singles 0 --json -", model_, (folder_ / "printed.json").string())), 0) << err_;
  EXPECT_EQ(essence(json::parse(out_)), direct);
}

TEST_F(CliEval, ExamplesThatCannotBeEvaluatedAreListedAndLeftOut) {
  // A table of numbers for an input of 1 x 28 x 28 is long; a fixed picture does, whose labels are the rows'.
  std::ofstream table(folder_ / "rows.csv");
  table << "number,kind\n1,3\n2,\n3,11\n4,4\n";
  table.close();
  std::ofstream recipe(folder_ / "recipe.yaml");
  recipe << "dataset: rows.csv\npreprocess: []\ninputs: {image: 0.5}\nlabels: {field: kind}\n";
  recipe.close();
  const std::string command = fmt::format("{} --recipe {} --backend cpu --singles 0", model_, (folder_ / "recipe.yaml").string());
  ASSERT_EQ(tenon(command + " --json -"), 0) << err_;
  EXPECT_THAT(err_, HasSubstr("warning: 2 of 4 examples are left out"));
  const json report = json::parse(out_);
  ASSERT_EQ(report["problems"].size(), 2u) << report["problems"];
  EXPECT_THAT(report["problems"][0]["source"].get<std::string>(), HasSubstr("rows.csv:3"));
  EXPECT_EQ(report["problems"][1]["message"], "label 11 is beyond the model's 10 classes");
  EXPECT_EQ(report["results"][0]["scored"], 2);
  EXPECT_EQ(tenon(command + " --strict"), 1);
  EXPECT_THAT(out_, HasSubstr("2 of 4 examples could not be evaluated and are left out:"));
}

TEST_F(CliEval, EndedAtAnyTimeItGoesOnWithTheSameResult) {
  const std::vector<std::string> arguments = {model_,   "--recipe", recipe_, "--backend", "reference,cpu", "--limit", "120",
                                              "--batch", "4",        "--singles", "0"};
  const std::string command = fmt::format("{}", fmt::join(arguments, " "));
  ASSERT_EQ(tenon(command + " --json -"), 0) << err_;
  const json whole = essence(json::parse(out_));
  const fs::path state = folder_ / "state";
  std::vector<std::string> kept = arguments;
  kept.insert(kept.end(), {"--state", state.string()});
  const std::string resume = fmt::format("{} --json -", fmt::join(kept, " "));
  int status = end_by(SIGKILL, kept, state / "reference.jsonl", 17);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  status = end_by(SIGINT, kept, state / "reference.jsonl", 40);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2) << "a batch is finished, then the command ends by itself";
  status = end_by(SIGKILL, kept, state / "reference.jsonl", 71);
  EXPECT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(tenon(resume), 0) << err_;
  EXPECT_EQ(essence(json::parse(out_)), whole);
  ASSERT_EQ(tenon(resume), 0) << err_;
  EXPECT_EQ(essence(json::parse(out_)), whole) << "once more, with nothing left to do";
  EXPECT_EQ(tenon(fmt::format("{} --limit 60 --state {}", command, state.string())), 2);
  EXPECT_THAT(err_, HasSubstr("--limit")) << "an option given twice";
}

TEST_F(CliEval, ShardsMergeToTheWhole) {
  const std::string common = fmt::format("{} --recipe {} --backend reference,cpu --limit 50 --batch 8 --singles 0", model_, recipe_);
  ASSERT_EQ(tenon(common + " --json -"), 0) << err_;
  const json whole = essence(json::parse(out_));
  for (int i = 1; i <= 3; ++i) ASSERT_EQ(tenon(fmt::format("{} --shard {}/3 --state {}/{}", common, i, folder_.string(), i)), 0) << err_;
  ASSERT_EQ(tenon(fmt::format("--merge {0}/3 {0}/1 {0}/2 --json -", folder_.string())), 0) << err_;
  EXPECT_EQ(essence(json::parse(out_)), whole);
  EXPECT_EQ(tenon(fmt::format("--merge {0}/3 {0}/1", folder_.string())), 2);
  EXPECT_THAT(err_, HasSubstr("name the folder of shard 2/3, too"));
}

}  // namespace
}  // namespace tenon
