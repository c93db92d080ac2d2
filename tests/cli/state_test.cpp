// `--state`: what sessions keep between runs, and what is said of it.

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

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

TEST_F(StateCommand, WrongOnesAreErrors) {
  EXPECT_EQ(run("run m.tir --state past"), 2);
  EXPECT_THAT(err_, HasSubstr("error: 'past' is not of the form INPUT=OUTPUT (--state): write that, or auto"));
  EXPECT_EQ(run("run m.tir --state nothing=next"), 2);
  EXPECT_THAT(err_, HasSubstr("the model has no input 'nothing' (state nothing=next): choose from x, past, h"));
  EXPECT_EQ(run("bench m.tir --state auto --profile"), 2);
  EXPECT_THAT(err_, HasSubstr("--profile shows runs of models without states"));
  std::ofstream(folder_ / "plain.tir") << "graph \"g\" {\n  input %x: f32[2]\n  %y: f32[2] = Relu(%x)\n  output %y\n}";
  EXPECT_EQ(run("run plain.tir --state auto"), 2);
  EXPECT_THAT(err_, HasSubstr("no output is an input with something behind it or in it (--state auto)"));
}

}  // namespace
}  // namespace tenon
