// What the command says of options and models that are not enough to go by.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "command.h"

namespace tenon {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Usage : public ProductTest {
 protected:
  /// A window that does not fit into dims of 1, as ONNX.
  void write_window() {
    std::ofstream(folder_ / "window.tir") << R"(graph "g" {
  input %x: f32[1, 1, height, width]
  %y: f32[1, 1, floor_div(height, 2), floor_div(width, 2)] = MaxPool(%x) {kernel_shape = [2, 2], strides = [2, 2]} "pool"
  output %y
})";
    ASSERT_EQ(run("optimize window.tir -O0 -o window.onnx"), 0) << err_;
  }
};

TEST_F(Usage, NumbersThatAreNone) {
  for (const char* arguments : {"run m.tir --seed -1", "run m.tir --seed 1.5", "bench m.tir --seed -1", "profile m.tir --seed -2", "run m.tir --timeout nan",
                                "run m.tir --timeout inf", "verify . --timeout nan", "compile m.tir --tune nan", "inspect m.tir --timeout -nan"}) {
    EXPECT_EQ(run(arguments), 2) << arguments;
    EXPECT_THAT(err_, StartsWith("error: ")) << arguments;
  }
  EXPECT_EQ(run("run m.tir --seed 18446744073709551615 --timeout 60"), 0) << err_;
}

TEST_F(Usage, SizesThatAreTooLarge) {
  EXPECT_EQ(run("run m.tir --dim N=99999999999999999999"), 2);
  EXPECT_EQ(err_, "error: 99999999999999999999 is too large for a size (--dim N=99999999999999999999): give one below 2^63\n");
  EXPECT_EQ(run("run m.tir --shape x=99999999999999999999x64"), 2);
  EXPECT_THAT(err_, HasSubstr("99999999999999999999 is too large for a size"));
  for (const char* form : {"N", "N=", "N=1e3", "N=two"}) {
    EXPECT_EQ(run(fmt::format("run m.tir --dim {}", form)), 2);
    EXPECT_EQ(err_, fmt::format("error: '{}' is not of the form NAME=N (--dim)\n", form));
  }
}

TEST_F(Usage, TargetsAreLookedUpBeforeAnyWork) {
  for (const char* command : {"run m.tir", "bench m.tir", "compile m.tir", "verify .", "compare m.tir"}) {
    EXPECT_EQ(run(fmt::format("{} --target sparc", command)), 2) << command;
    EXPECT_THAT(err_, StartsWith("error: no CPU target 'sparc' (--target): use host, ")) << command;
  }
}

TEST_F(Usage, PathsThatLeadNowhere) {
  EXPECT_EQ(run("run m.tir --input x=nowhere.npy"), 2);
  EXPECT_EQ(err_, "error: no such file 'nowhere.npy' (--input x): check the path; it wants a .npy, .npz or .pb file of f32[N, 64]\n");
  EXPECT_EQ(run("verify nowhere"), 2);
  EXPECT_EQ(err_, "error: no such folder (nowhere): check the path\n");
}

TEST_F(Usage, GivenInputsSizeTheOthers) {
  std::ofstream(folder_ / "step.tir") << R"(graph "g" {
  input %x: f32[S, 4]
  input %bias: f32[S, 4]
  input %past: f32[P, 4]
  input %weights: f32[1, T]
  %sum: f32[S, 4] = Add(%x, %bias)
  %all: f32[P + S, 4] = Concat(%past, %sum) {axis = 0}
  %y: f32[1, 4] = MatMul(%weights, %all)
  output %y
  output %all
})";
  ASSERT_EQ(run("optimize step.tir -O0 -o step.onnx"), 0) << err_;
  ASSERT_EQ(run("run step.onnx --dim S=2 --dim P=3 --dim T=5 --output-dir out"), 0) << err_;
  // `all` is f32[5, 4].
  EXPECT_EQ(run("run step.onnx --input x=out/1_all.npy --dim P=3 --dim T=8"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("bias     f32[5, 4]"));
  EXPECT_THAT(out_, Not(HasSubstr("at 1")));
  EXPECT_EQ(run("run step.onnx --input x=out/1_all.npy --dim T=8"), 2);
  EXPECT_THAT(err_, HasSubstr("P has no size and was 1 here: give it one with --dim NAME=N"));
}

TEST_F(Usage, OptionsOfOtherCommands) {
  EXPECT_EQ(run("compare m.tir --state auto"), 2);
  EXPECT_THAT(err_, HasSubstr("compare has no option '--state', unlike inspect, compile, run, verify, bench, "));
}

TEST_F(Usage, NamesWhatWasMeant) {
  const std::string digits = std::string(TENON_SOURCE_DIR) + "/models/digits";
  EXPECT_EQ(run("insepct " + digits), 2);
  EXPECT_THAT(err_, HasSubstr("there is no command 'insepct'; did you mean 'inspect'? (command line)"));
  EXPECT_EQ(run("frobnicate"), 2);
  EXPECT_THAT(err_, HasSubstr("there is no command 'frobnicate' (command line)"));
  for (const char* option : {"--thread 2", "--thread=2"}) {
    EXPECT_EQ(run(fmt::format("run {} {}", digits, option)), 2);
    EXPECT_THAT(err_, HasSubstr("there is no option '--thread'; did you mean '--threads'? (command line)")) << option;
  }
  EXPECT_EQ(run(fmt::format("run {} twice", digits)), 2);
  EXPECT_THAT(err_, HasSubstr("'twice' is one argument too many"));
  EXPECT_EQ(run(fmt::format("run {} --threads 4-2", digits)), 2);
  EXPECT_THAT(err_, HasSubstr("'4-2' is not one number from 0 to"));
  for (const char* output : {"x.onnx", "x.tir"}) {
    EXPECT_EQ(run(fmt::format("compile {} -o {}", digits, output)), 2) << output;
    EXPECT_THAT(err_, HasSubstr("this writes code, not models")) << output;
  }
}

TEST_F(Usage, VerifyTellsWrongOptionsFromWrongOutputs) {
  const std::string digits = std::string(TENON_SOURCE_DIR) + "/models/digits";
  for (const char* options : {"--target abacus", "--target x86-64-v9 --no-isolate", "--backend reference,cpu --target aarch64"}) {
    EXPECT_EQ(run(fmt::format("verify {} {}", digits, options)), 2) << options;
    EXPECT_THAT(err_, StartsWith("error: ")) << options;
    EXPECT_THAT(out_, Not(HasSubstr("FAIL"))) << options;
  }
}

TEST_F(Usage, DimsWithoutSizesAreNamed) {
  write_window();
  for (const char* command : {"run window.onnx", "bench window.onnx --rounds 1 --launches 1 --round-ms 1", "profile window.onnx", "run window.onnx --backend reference"}) {
    EXPECT_EQ(run(command), 2) << command << out_;
    EXPECT_THAT(err_, HasSubstr("height, width have no size and were 1 here: give them sizes with --dim NAME=N")) << command;
  }
  EXPECT_EQ(run("run window.onnx --dim height=4 --dim width=6"), 0) << err_;
  EXPECT_EQ(run("run window.onnx --dim height=1 --dim width=1"), 2);
  EXPECT_THAT(err_, Not(HasSubstr("no size")));
}

TEST_F(Usage, ExplainSaysWhichSizesAreMissing) {
  write_window();
  EXPECT_EQ(run("inspect window.onnx --explain --no-roofline"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("with height, width at 1 (bind with --dim NAME=N)"));
  EXPECT_THAT(out_, HasSubstr("- where sizes are missing"));
  EXPECT_EQ(run("inspect window.onnx --explain --no-roofline --dim height=8 --dim width=8"), 0) << err_;
  EXPECT_THAT(out_, Not(HasSubstr("at 1 (bind")));
}

TEST_F(Usage, ModulesOfAnEarlierTimeGo) {
  ASSERT_EQ(run("compile m.tir --emit spirv -o modules"), 0) << err_;
  std::ofstream(folder_ / "modules" / "17_old.spv") << "old";
  std::ofstream(folder_ / "modules" / "mine.spv") << "mine";
  std::ofstream(folder_ / "modules" / "0_notes.txt") << "notes";
  ASSERT_EQ(run("compile m.tir --emit spirv -o modules"), 0) << err_;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "modules" / "17_old.spv"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "modules" / "mine.spv"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "modules" / "0_notes.txt"));
}

TEST_F(Usage, CompareWithoutTheCache) {
  cache_ = (folder_ / "cache").string();
  EXPECT_EQ(run("compare m.tir --no-cache"), 0) << err_;
  EXPECT_FALSE(std::filesystem::exists(cache_));
}

}  // namespace
}  // namespace tenon
