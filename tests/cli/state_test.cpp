// `--state`: what sessions keep between runs, and what is said of it.

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "frontend/onnx/import.h"
#include "tests/cli/command.h"

namespace tenon {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class StateCommand : public CommandTest {
 protected:
  StateCommand() {
    std::ofstream(folder_ / "m.tir") << R"(graph "g" {
  input %x: f32[S, 4]
  input %past: f32[P, 4]
  input %h: f32[S, 4]
  %present: f32[P + S, 4] = Concat(%past, %x) {axis = 0}
  %axes: i64[1] = Constant {value = dense<i64[1], 0>}
  %y: f32[1, 4] = ReduceSum(%present, %axes) {keepdims = 1}
  %next: f32[S, 4] = Tanh(%h)
  output %y
  output %present
  output %next
})";
  }
};

TEST_F(StateCommand, InspectShowsThem) {
  ASSERT_EQ(run("inspect m.tir --state auto --json s.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("past   present  axis 0       yes"));
  const json states = json::parse(slurp(folder_ / "s.json"))["states"]["cpu"];
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0], json({{"input", "past"}, {"output", "present"}, {"axis", 0}, {"in_place", true}, {"reason", ""}}));
  ASSERT_EQ(run("inspect m.tir --state auto --state h=next --backend cpu,reference"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("its output is no concatenation of its input and something"));
  EXPECT_THAT(out_, HasSubstr("the backend gives each run's results memory of their own"));
}

TEST_F(StateCommand, RunShowsWhatTheyAre) {
  ASSERT_EQ(run("run m.tir --state auto --output-dir out --json r.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("state  past"));
  EXPECT_THAT(out_, HasSubstr("f32[2, 4]")) << "all is random, the past among it";
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out" / "1_present.npy"));
  const json report = json::parse(slurp(folder_ / "r.json"));
  EXPECT_EQ(report["inputs"].size(), 2u);
  EXPECT_EQ(report["outputs"].size(), 2u);
  ASSERT_EQ(run("run m.tir --state auto --input past=out/1_present.npy"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("f32[3, 4]"));
  ASSERT_EQ(run("run m.tir --state auto --input x=out/0_y.npy"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("state  past"));
  EXPECT_THAT(out_, Not(HasSubstr("f32[2, 4]"))) << "one that is not given begins empty";
}

TEST_F(StateCommand, BenchMeasuresSteps) {
  ASSERT_EQ(run("bench m.tir --state auto --state h=next --rounds 2 --round-ms 1 --warmup-ms 1 --launches 1 --json b.json"), 0) << err_;
  const json document = json::parse(slurp(folder_ / "b.json"));
  EXPECT_EQ(document["context"]["states"], json({"auto", "h=next"}));
  EXPECT_EQ(document["results"][0]["dims"], json({{"P", 1}, {"S", 1}}));
  ASSERT_EQ(run("optimize m.tir -O0 -o m.onnx"), 0) << err_;
  EXPECT_EQ(run("run m.onnx --state auto --dim P=0"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("f32[1, 4]"));
}

TEST_F(StateCommand, RunSaysInJsonWhatTheyAre) {
  ASSERT_EQ(run("run m.tir --state auto --state h=next --json r.json"), 0) << err_;
  const json states = json::parse(slurp(folder_ / "r.json"))["states"];
  ASSERT_EQ(states.size(), 2u);
  EXPECT_EQ(states[1]["input"], "past");
  EXPECT_EQ(states[1]["shape"], json({2, 4}));
  EXPECT_EQ(states[1]["dtype"], "f32");
  EXPECT_EQ(states[1]["in_place"], true);
  EXPECT_EQ(states[0]["in_place"], false);
  ASSERT_EQ(run("run m.tir --json r.json"), 0) << err_;
  EXPECT_EQ(json::parse(slurp(folder_ / "r.json"))["states"], json::array());
}

TEST_F(StateCommand, ASecondRunHasThemFromTheCache) {
  ASSERT_EQ(run("optimize m.tir -O0 -o m.onnx"), 0) << err_;
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // a younger file is not kept
  cache_ = (folder_ / "cache").string();
  for (const bool cached : {false, true}) {
    ASSERT_EQ(run("run m.onnx --state auto --dim P=5 --json r.json"), 0) << err_;
    const json report = json::parse(slurp(folder_ / "r.json"));
    EXPECT_EQ(report["from_cache"], cached);
    EXPECT_EQ(report["states"][0]["shape"], json({6, 4}));
  }
}

/// --dim says how a state begins, not how long it is in what is compiled.
TEST_F(StateCommand, InspectLeavesLengthsOpen) {
  ASSERT_EQ(run("optimize m.tir -O0 -o m.onnx"), 0) << err_;
  for (const char* dims : {"", "--dim P=0", "--dim P=7"}) {
    ASSERT_EQ(run(fmt::format("inspect m.onnx --state auto {} --json s.json", dims)), 0) << err_;
    EXPECT_EQ(json::parse(slurp(folder_ / "s.json"))["states"]["cpu"][0]["in_place"], true) << dims;
  }
}

TEST_F(StateCommand, ProfileRunsTheSameStepEachTime) {
  ASSERT_EQ(run("profile m.tir --state auto --runs 5 --json p.json"), 0) << err_;
  const json profile = json::parse(slurp(folder_ / "p.json"));
  bool scatters = false;
  for (const json& kernel : profile["kernels"]) scatters |= kernel["implementation"].get<std::string>().find("in place") != std::string::npos;
  EXPECT_TRUE(scatters) << profile["kernels"].dump(1);
  ASSERT_EQ(run("bench m.tir --state auto --profile --rounds 1 --round-ms 1 --warmup-ms 1 --launches 1 --json b.json"), 0) << err_;
  EXPECT_TRUE(json::parse(slurp(folder_ / "b.json"))["results"][0].contains("profile"));
}

TEST_F(StateCommand, VerifyTakesModelsWithoutAny) {
  const auto add = [&](const std::string& name, const std::string& text, std::vector<Tensor> inputs, const std::vector<Tensor>& outputs) {
    const auto set = folder_ / "cases" / name / "test_data_set_0";
    std::filesystem::create_directories(set);
    std::ofstream(folder_ / "c.tir") << text;
    ASSERT_EQ(run(fmt::format("optimize c.tir -O0 -o cases/{}/model.onnx", name)), 0) << err_;
    for (size_t i = 0; i < inputs.size(); ++i) ASSERT_TRUE(frontend::write_tensor(inputs[i], "t", set / fmt::format("input_{}.pb", i)).ok());
    for (size_t i = 0; i < outputs.size(); ++i) ASSERT_TRUE(frontend::write_tensor(outputs[i], "t", set / fmt::format("output_{}.pb", i)).ok());
  };
  add("plain", "graph \"g\" {\n  input %x: f32[2]\n  %y: f32[2] = Relu(%x)\n  output %y\n}", {Tensor::from<float>({2}, {1, -1})}, {Tensor::from<float>({2}, {1, 0})});
  add("stateful", "graph \"g\" {\n  input %x: f32[S]\n  input %past: f32[P]\n  %z: f32[P + S] = Concat(%past, %x) {axis = 0}\n  output %z\n}",
      {Tensor::from<float>({1}, {3}), Tensor::from<float>({2}, {1, 2})}, {Tensor::from<float>({3}, {1, 2, 3})});
  ASSERT_EQ(run("verify cases --state auto --json v.json"), 0) << err_ << out_;
  const json cases = json::parse(slurp(folder_ / "v.json"))["cases"];
  ASSERT_EQ(cases.size(), 2u);
  EXPECT_EQ(cases[0]["message"], "it has no states");
  EXPECT_EQ(cases[1]["message"], "");
  EXPECT_THAT(out_, HasSubstr("ok    plain  it has no states"));
  EXPECT_EQ(run("verify cases --state nothing=y"), 1) << "one that is named must be there";
}

TEST_F(StateCommand, WrongOnesAreErrors) {
  EXPECT_EQ(run("run m.tir --state past"), 2);
  EXPECT_THAT(err_, HasSubstr("error: 'past' is not of the form INPUT=OUTPUT (--state): write that, or auto"));
  EXPECT_EQ(run("run m.tir --state nothing=next"), 2);
  EXPECT_THAT(err_, HasSubstr("the model has no input 'nothing' (state nothing=next): choose from x, past, h"));
  std::ofstream(folder_ / "plain.tir") << "graph \"g\" {\n  input %x: f32[2]\n  %y: f32[2] = Relu(%x)\n  output %y\n}";
  EXPECT_EQ(run("run plain.tir --state auto"), 2);
  EXPECT_THAT(err_, HasSubstr("no output is an input with something behind it or in it (--state auto)"));
}

}  // namespace
}  // namespace tenon
