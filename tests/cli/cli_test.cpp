// The built command: exit statuses, messages, JSON.

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "frontend/onnx/import.h"
#include "frontend/onnx/proto.h"
#include "tests/cli/command.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// A folder with y = relu(x) + 1 for x of [N, 3], and a data set.
class Cli : public CommandTest {
 protected:
  void SetUp() override {
    onnx::ModelProto m;
    m.set_ir_version(8);
    m.add_opset_import()->set_version(17);
    auto& g = *m.mutable_graph();
    g.set_name("g");
    auto& x = *g.add_input();
    x.set_name("x");
    x.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    auto& shape = *x.mutable_type()->mutable_tensor_type()->mutable_shape();
    shape.add_dim()->set_dim_param("N");
    shape.add_dim()->set_dim_value(3);
    auto& one = *g.add_initializer();
    one.set_name("one");
    one.set_data_type(onnx::TensorProto::FLOAT);
    one.add_float_data(1);
    auto& relu = *g.add_node();
    relu.set_op_type("Relu");
    relu.add_input("x");
    relu.add_output("r");
    auto& add = *g.add_node();
    add.set_op_type("Add");
    add.add_input("r");
    add.add_input("one");
    add.add_output("y");
    g.add_output()->set_name("y");
    std::ofstream out(model(), std::ios::binary);
    m.SerializeToOstream(&out);
    write_data(4);
  }
  void write_data(float last) {
    fs::create_directories(folder_ / "test_data_set_0");
    const auto put = [&](const char* file, std::initializer_list<float> v) {
      ASSERT_TRUE(frontend::write_tensor(Tensor::from<float>({1, 3}, v), "t", folder_ / "test_data_set_0" / file).ok());
    };
    put("input_0.pb", {-1, 2, 3});
    put("output_0.pb", {1, 3, last});
  }

  fs::path model() const { return folder_ / "model.onnx"; }

  int tenon(const std::string& arguments) { return run_in(fs::current_path(), arguments); }
};

TEST_F(Cli, VersionAndHelp) {
  EXPECT_EQ(tenon("--version"), 0);
  EXPECT_THAT(out_, StartsWith("tenon "));
  for (const char* command : {"inspect", "check", "optimize", "compile", "run", "verify", "bench", "eval", "profile", "data", "compare", "debug", "report", "ops", "metrics"}) {
    EXPECT_EQ(tenon(fmt::format("{} --help", command)), 0) << command;
    EXPECT_THAT(out_, HasSubstr("Examples:")) << command;
  }
}

TEST_F(Cli, UsageErrorsExitWith2) {
  EXPECT_EQ(tenon(""), 2);
  EXPECT_EQ(tenon("frobnicate"), 2);
  EXPECT_EQ(tenon("run --nope x"), 2);
  EXPECT_THAT(err_, StartsWith("error: "));
  EXPECT_EQ(tenon(fmt::format("run {} --backend abacus", model().string())), 2);
  EXPECT_THAT(err_, HasSubstr("choose from reference"));
  EXPECT_EQ(tenon("run /nowhere/model.onnx --backend reference"), 2);
  EXPECT_THAT(err_, HasSubstr("/nowhere/model.onnx"));
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference --dim M=2", model().string())), 2);
  EXPECT_THAT(err_, HasSubstr("it has: N"));
  EXPECT_EQ(tenon(fmt::format("optimize {} -o x.pb", model().string())), 2);
}

TEST_F(Cli, FoldersStandForTheirModel) {
  for (const char* command : {"inspect", "check", "optimize", "compile", "run", "bench --rounds 1 --round-ms 1"})
    EXPECT_EQ(tenon(fmt::format("{} {}", command, folder_.string())), 0) << command << err_;
  EXPECT_EQ(tenon(fmt::format("verify {}", model().string())), 0) << err_;
  fs::create_directories(folder_ / "other");
  std::ofstream(folder_ / "other" / "a.onnx");
  EXPECT_EQ(tenon(fmt::format("inspect {}", (folder_ / "other").string())), 2);
  EXPECT_THAT(err_, HasSubstr("the folder has a.onnx"));
}

TEST_F(Cli, NumbersOutOfRangeExitWith2) {
  const std::string m = model().string(), f = folder_.string();
  for (const std::string& arguments :
       {"verify " + f + " --rtol -1", "verify " + f + " --atol nan", "verify " + f + " --threads -2", "verify " + f + " --timeout -1",
        "run " + m + " --threads -1", "bench " + m + " --threads 1,-1", "bench " + m + " --round-ms nan", "optimize " + m + " -O4",
        "compile " + m + " -o m.tenon", "compile " + m + " --emit spirv --target host -o x"}) {
    EXPECT_EQ(tenon(arguments), 2) << arguments;
    EXPECT_THAT(err_, StartsWith("error: ")) << arguments;
  }
}

TEST_F(Cli, ReportJoinsDocuments) {
  const auto write = [&](const char* file, const std::string& text) {
    std::ofstream(folder_ / file) << text;
    return (folder_ / file).string();
  };
  const std::string bench = write("bench.json", R"({"kind": "bench", "results": [{"model": "m.onnx", "backend": "cpu", "threads": 1, "latency_ms": {"p50": 1.25},
                                                    "ratio": {"vs": "reference", "median": 2.5, "ci95": [2.25, 2.75]}}]})");
  const std::string compare = write("compare.json", R"({"kind": "compare", "model": "m.onnx", "values": [{"name": "y", "own_abs": 0, "ok": true}]})");
  const std::string html = (folder_ / "report.html").string(), joined = (folder_ / "joined.json").string();
  EXPECT_EQ(tenon(fmt::format("report {} {} -o {} --title 'Two <documents>' --json {}", bench, compare, html, joined)), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("cpu is 2.50 times as fast as reference."));
  EXPECT_THAT(out_, HasSubstr("All 1 compared values agree."));
  EXPECT_THAT(slurp(html), HasSubstr("Two &lt;documents&gt;"));
  // What was joined is a document, too.
  EXPECT_EQ(tenon(fmt::format("report {} -o -", joined)), 0) << err_;
  EXPECT_EQ(out_, slurp(html));

  for (const std::string& wrong : {write("a.json", "{"), write("b.json", "[]"), write("c.json", R"({"kind": "tune"})"), write("d.json", std::string(100000, '[')),
                                   write("e.json", R"({"bench": []})"), (folder_ / "missing.json").string(), folder_.string()}) {
    EXPECT_EQ(tenon(fmt::format("report {} -o {}", wrong, html)), 2) << wrong;
    EXPECT_THAT(err_, StartsWith("error: "));
  }
  EXPECT_EQ(tenon("report " + bench), 2);
  EXPECT_EQ(tenon(fmt::format("report {} -o {}/no/report.html", bench, folder_.string())), 2);
}

TEST_F(Cli, OutputThatCannotBeWrittenIsAnError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full";
  const std::string command = fmt::format("'{}/bin/tenon' inspect {} >/dev/full 2>/dev/null", TENON_BINARY_DIR, model().string());
  const int status = std::system(command.c_str());
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 2);
}

TEST_F(Cli, BenchHasNoFiguresForWhatFailed) {
  std::ofstream(folder_ / "empty.onnx", std::ios::binary);
  const std::string both = fmt::format("bench {} {} --rounds 1 --round-ms 1", model().string(), (folder_ / "empty.onnx").string());
  EXPECT_EQ(tenon(both), 2);
  EXPECT_THAT(out_, HasSubstr("failed"));
  EXPECT_THAT(err_, HasSubstr("the file is empty"));
  EXPECT_EQ(tenon(both + " --json -"), 2);
  const json results = json::parse(out_)["results"];
  ASSERT_EQ(results.size(), 2u);
  EXPECT_TRUE(results[0].contains("latency_ms"));
  EXPECT_FALSE(results[1].contains("latency_ms"));
  EXPECT_THAT(results[1]["error"].get<std::string>(), HasSubstr("the file is empty"));
}

TEST_F(Cli, BenchBindsDimsWhereModelsHaveThem) {
  std::string bytes = slurp(model());
  bytes.replace(bytes.find("\x12\x01N"), 3, "\x12\x01M");  // dim_param, field 2
  std::ofstream(folder_ / "renamed.onnx", std::ios::binary) << bytes;
  const std::string both = fmt::format("bench {} {} --rounds 1 --round-ms 1", model().string(), (folder_ / "renamed.onnx").string());
  EXPECT_EQ(tenon(both + " --dim N=4"), 0) << err_;
  EXPECT_EQ(tenon(both + " --dim N=4 --dim M=2"), 0) << err_;
  EXPECT_EQ(tenon(both + " --dim K=4"), 2);
  EXPECT_THAT(err_, HasSubstr("no model has a symbolic dim 'K'"));
}

TEST_F(Cli, DamagedModelsExitWith2) {
  const std::string bytes = slurp(model());
  std::ofstream(folder_ / "cut.onnx", std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  std::ofstream(folder_ / "empty.onnx", std::ios::binary);
  for (const char* name : {"cut.onnx", "empty.onnx"})
    for (const char* command : {"inspect", "check", "optimize", "run"}) {
      EXPECT_EQ(tenon(fmt::format("{} {}", command, (folder_ / name).string())), 2) << command << " " << name;
      EXPECT_THAT(err_, StartsWith("error: "));
    }
}

TEST_F(Cli, VerifyReportsInJson) {
  EXPECT_EQ(tenon(fmt::format("verify {} --backend reference,cpu --json -", folder_.string())), 0) << out_ << err_;
  const json good = json::parse(out_);
  EXPECT_EQ(good["passed"], 2);
  EXPECT_EQ(good["failed"], 0);
  EXPECT_EQ(good["skipped"], 0);
  ASSERT_EQ(good["cases"].size(), 2u);
  for (const char* key : {"name", "backend", "status", "message", "max_abs", "max_rel"}) EXPECT_TRUE(good["cases"][0].contains(key)) << key;
  const auto on_host = [](const json& one) {
    int sum = 0;
    for (const auto& count : one["host_nodes"]) sum += count.get<int>();
    return sum;
  };
  EXPECT_GT(good["cases"][1]["nodes"], 0);
  EXPECT_EQ(on_host(good["cases"][0]), good["cases"][0]["nodes"]);  // the reference interprets all
  EXPECT_EQ(on_host(good["cases"][1]), 0);
  write_data(5);
  EXPECT_EQ(tenon(fmt::format("verify {} --backend reference", folder_.string())), 1);
  EXPECT_THAT(out_, HasSubstr("output y: 1 of 3 elements differ, first at [0, 2]: 4, expected 5"));
  EXPECT_EQ(tenon(fmt::format("verify {} --backend reference --atol 1.5", folder_.string())), 0);
  EXPECT_EQ(tenon(fmt::format("verify {} --backend reference --filter 'nothing*'", folder_.string())), 2);
}

// A tolerance that is given holds even where the model's own round-off is larger. Winograd's convolutions have an error of their own beyond
// that of operations that round (schedule/winograd.h), and whether there are some depends on the processor.
TEST_F(Cli, VerifyTakesAGivenToleranceAsIs) {
  const fs::path digits = fs::path(TENON_SOURCE_DIR) / "models/digits";
  const std::string strict = fmt::format("verify {} --backend cpu --no-winograd --rtol 0 --atol 1e-12", digits.string());
  EXPECT_EQ(tenon(strict), 1) << out_ << err_;
  EXPECT_THAT(out_, HasSubstr("FAIL  digits"));
  EXPECT_EQ(tenon(strict + " --round-off 8"), 0) << out_ << err_;
  EXPECT_THAT(out_, HasSubstr("ill-conditioned"));
}

TEST_F(Cli, CheckSaysWhyNodesRunOnTheHost) {
  const fs::path file = folder_ / "host.tir";
  std::ofstream(file) << R"(graph "g" {
  input %a: string[N]
  %b: string[N] = StringConcat(%a, %a)
  output %b
})";
  EXPECT_EQ(tenon(fmt::format("check {}", file.string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("variable-length strings"));
  EXPECT_EQ(tenon(fmt::format("inspect {} --placement --backend cpu", file.string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("variable-length strings"));
}

// Casts that --precision puts before factors are no nodes of the model, and whatever multiplies says of what.
TEST_F(Cli, PlacementCountsTheModelsNodesAtAnyPrecision) {
  const fs::path file = folder_ / "products.tir";
  std::ofstream(file) << R"(graph "g" {
  input %x: f32[1, 6, 12, 10]
  input %w: f32[16, 6, 3, 3]
  input %q: f32[1, 2, 64, 32]
  input %k: f32[1, 2, 64, 32]
  input %v: f32[1, 2, 64, 32]
  input %m: f32[32, 16]
  %c: ? = Conv(%x, %w) {pads = [1, 1, 1, 1]} "convolution"
  %r: ? = Relu(%c) "relu"
  %t: ? = Transpose(%k) {perm = [0, 1, 3, 2]} "transpose"
  %s: ? = MatMul(%q, %t) "scores"
  %p: ? = Softmax(%s) {axis = -1} "softmax"
  %o: ? = MatMul(%p, %v) "values"
  %y: ? = MatMul(%o, %m) "product"
  output %r
  output %y
})";
  json totals[2];
  for (const auto& [at, precision] : {std::pair{0, "f32"}, {1, "f16"}}) {
    ASSERT_EQ(tenon(fmt::format("inspect {} --placement --backend cpu --precision {} --json -", file.string(), precision)), 0) << err_;
    const json placement = json::parse(out_)["placement"]["cpu"];
    totals[at] = placement["totals"];
    for (const json& row : placement["nodes"]) {
      const bool says = row["implementation"].get<std::string>().find(" of f16") != std::string::npos;
      EXPECT_EQ(says, at == 1 && row["kind"] == "generated") << row.dump();
      EXPECT_EQ(row["implementation"].get<std::string>().find(" of f16", row["implementation"].get<std::string>().find(" of f16") + 1), std::string::npos);
    }
  }
  EXPECT_EQ(totals[0], totals[1]);
}

TEST_F(Cli, VerifySaysWhatAPrecisionIsAllowed) {
  const fs::path digits = fs::path(TENON_SOURCE_DIR) / "models/digits";
  EXPECT_EQ(tenon(fmt::format("verify {} --precision bf16 -v", digits.string())), 0) << out_ << err_;
  EXPECT_THAT(out_, HasSubstr("; allowed for bf16 factors of "));
  EXPECT_THAT(out_, HasSubstr("; tolerances are those for bf16 factors"));
  EXPECT_EQ(tenon(fmt::format("verify {} --precision bf16 --rtol 1e-3", digits.string())), 1) << "given tolerances hold as they are";
  EXPECT_THAT(out_, Not(HasSubstr("allowed for")));
  EXPECT_EQ(tenon(fmt::format("compare {} --precision f16 --test-data", digits.string())), 0) << out_ << err_;
  EXPECT_THAT(out_, HasSubstr("outputs are allowed for f16 factors of "));
  EXPECT_EQ(tenon(fmt::format("debug {} --bisect-passes --precision f16 --test-data", digits.string())), 0) << out_ << err_;
}

TEST_F(Cli, CheckSaysWhyANodeIsNotDecomposed) {
  const fs::path file = folder_ / "host.tir";
  std::ofstream(file) << R"(graph "g" {
  input %x: f32[1, 8, 1]
  input %n: i64[]
  %y: ? = DFT(%x, %n)
  output %y
})";
  EXPECT_EQ(tenon(fmt::format("check {}", file.string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("the length is known only at run time"));
}

TEST_F(Cli, OptimizeAndInspectTellVersions) {
  const fs::path digits = fs::path(TENON_SOURCE_DIR) / "models/digits", out = folder_ / "digits.onnx";
  EXPECT_EQ(tenon(fmt::format("optimize {} -O3 -o {}", digits.string(), out.string())), 0) << err_;
  EXPECT_EQ(out_, out.string() + ": opset 24, the model has 14; Swish needs 24\n");
  EXPECT_EQ(tenon(fmt::format("inspect {}", out.string())), 0) << err_;
  EXPECT_THAT(out_, StartsWith("opset 24, tenon.fused 1; IR version 12\n"));
  EXPECT_EQ(tenon(fmt::format("optimize {} -o {}", model().string(), out.string())), 0) << err_;
  EXPECT_EQ(out_, out.string() + ": opset 17\n");
  EXPECT_EQ(tenon(fmt::format("inspect {}", model().string())), 0) << err_;
  EXPECT_THAT(out_, StartsWith("opset 17; IR version 8\n"));
}

TEST_F(Cli, AdviceFitsTheKindOfModel) {
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference", model().string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("N at 1 (bind with --dim NAME=N)"));
  const fs::path tir = folder_ / "m.tir";
  EXPECT_EQ(tenon(fmt::format("optimize {} -o {}", model().string(), tir.string())), 0) << err_;
  for (const char* command : {"run --backend reference", "inspect"}) {
    EXPECT_EQ(tenon(fmt::format("{} {}", command, tir.string())), 0) << err_;
    EXPECT_THAT(out_, HasSubstr("N at 1"));
    EXPECT_THAT(out_, Not(HasSubstr("--dim")));
  }
}

// "?" is ONNX's way to say that a dim has no name.
TEST_F(Cli, UnnamedDimsAreBoundByShapes) {
  std::string bytes = slurp(model());
  bytes.replace(bytes.find("\x12\x01N"), 3, "\x12\x01?");  // dim_param, field 2
  const std::string unnamed = (folder_ / "unnamed.onnx").string();
  std::ofstream(unnamed, std::ios::binary) << bytes;
  for (const char* command : {"run", "inspect", "profile --runs 3"}) {
    EXPECT_EQ(tenon(fmt::format("{} {}", command, unnamed)), 0) << err_;
    EXPECT_THAT(out_, HasSubstr("at 1 (bind with --shape x=Dx3)")) << command;
    EXPECT_THAT(out_, Not(HasSubstr("--dim"))) << command;
  }
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference --shape x=2x3", unnamed)), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("f32[2, 3]"));
  EXPECT_EQ(tenon(fmt::format("bench {} --batch 2 --profile --rounds 1 --round-ms 1 --json -", unnamed)), 0) << err_;
  EXPECT_TRUE(json::parse(out_)["results"][0]["profile"].is_object()) << out_;
  EXPECT_EQ(tenon(fmt::format("optimize {} -o {}", unnamed, (folder_ / "again.onnx").string())), 0) << err_;
  EXPECT_EQ(tenon(fmt::format("inspect {}", (folder_ / "again.onnx").string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("bind with --dim NAME=N")) << "a file that was written names them";
}

// A symbol may have to be called otherwise than the model calls the dim.
TEST_F(Cli, AdviceNamesDimsAsTheModelDoes) {
  std::string bytes = slurp(model());
  bytes.replace(bytes.find("\x12\x01N"), 3, "\x12\x01-");
  std::ofstream(folder_ / "odd.onnx", std::ios::binary) << bytes;
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference", (folder_ / "odd.onnx").string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("; random inputs, - at 1 (bind with --dim NAME=N)"));
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference --dim -=2", (folder_ / "odd.onnx").string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("f32[2, 3]"));
}

TEST_F(Cli, HelpListsTheValuesOfOptions) {
  for (const auto& [command, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"compile", "What to write: kernel-ir, llvm, asm, obj or spirv"},
           {"compile", "--emit FORM=kernel-ir"},
           {"run", "Format of written outputs: npy or pb"},
           {"bench", "What to print: table, markdown or csv"},
           {"eval", "f32, f16 or bf16"},
           {"data", "yes or no"}}) {
    EXPECT_EQ(tenon(fmt::format("{} --help", command)), 0);
    EXPECT_THAT(out_, HasSubstr(text)) << command;
    for (const char* unreadable : {":{", " :", "TEXT:", "NONNEGATIVE", "FLOAT in ["}) EXPECT_THAT(out_, Not(HasSubstr(unreadable))) << command;
  }
  EXPECT_EQ(tenon(fmt::format("compile {} --emit wasm", model().string())), 2);
  EXPECT_THAT(err_, HasSubstr("'wasm' is not kernel-ir, llvm, asm, obj or spirv"));
}

TEST_F(Cli, OptionsWithoutEffectAreErrors) {
  const std::string m = model().string(), f = folder_.string();
  for (const auto& [arguments, option, advice] : std::initializer_list<std::tuple<std::string, const char*, const char*>>{
           {"run " + m + " --device 0", "--device", "without --backend vulkan"},
           {"run " + m + " --checked", "--checked", "without --backend vulkan"},
           {"verify " + f + " --require-placement vulkan=1%", "--require-placement", "without --backend vulkan"},
           {"run " + m + " --backend reference --precision f16", "--precision", "without --backend cpu or --backend vulkan"},
           {"run " + m + " --backend reference -O1", "-O", "without a --backend other than reference"},
           {"run " + m + " --backend reference --threads 2", "--threads", "without a --backend other than reference"},
           {"run " + m + " --test-data --seed 3", "--seed", "beside --test-data"},
           {"run " + m + " --format pb", "--format", "without --output-dir"},
           {"bench " + m + " --tolerance 5", "--tolerance", "without --baseline"},
           {"bench " + m + " --format csv --json -", "--format", "beside --json -"},
           {"inspect " + m + " --threads 2", "--threads", "without --explain"},
           {"inspect " + m + " --backend cpu", "--backend", "without --placement, --explain or --state"},
           {"compile " + m + " --test-data", "--test-data", "without --tune"},
           {"compile " + m + " --tune 1 --target vulkan", "--tune", "beside a --target other than host*"},
           {"compile " + m + " --tune 1 -o out", "--tune", "beside --output"},
           {"optimize " + m + " --opset 17 -o -", "--opset", "without --output *.onnx"},
           {"optimize " + m + " --precision f16 -o x.onnx", "--precision", "beside --output *.onnx"},
           {"eval --merge " + f + " --task x", "--task", "beside --merge"},
           {"devices --group math", "--group", "without --self-test"},
           {"data --steps --index 3", "--index", "beside --steps"},
           {"metrics accuracy --bins 3", "--bins", "without --records"}}) {
    EXPECT_EQ(tenon(arguments), 2) << arguments;
    EXPECT_THAT(err_, StartsWith(fmt::format("error: {} ", option))) << arguments;
    EXPECT_THAT(err_, HasSubstr(fmt::format("({}): ", option))) << arguments;
    EXPECT_THAT(err_, HasSubstr(fmt::format("has no effect {}", advice))) << arguments;
  }
  // One of several backends is enough, and so is a default.
  for (const std::string& arguments : {"run " + m + " --threads 2", "verify " + f + " --backend reference,cpu -O1 --precision f32", "compare " + m + " --threads 1",
                                       "inspect " + m + " --explain --no-roofline --threads 1"})
    EXPECT_EQ(tenon(arguments), 0) << arguments << err_;
  EXPECT_EQ(tenon("check " + m + " --device 0"), 2) << "nothing runs";
}

// A warning for each file that is not used, however many backends, launches and processes find it so.
TEST_F(Cli, TuningFilesThatAreNotUsedAreNamedOnce) {
  fs::create_directories(folder_ / "other");
  for (const char* file : {"model.onnx", "test_data_set_0"}) fs::copy(folder_ / file, folder_ / "other" / file, fs::copy_options::recursive);
  for (const fs::path& folder : {folder_, folder_ / "other"}) std::ofstream(folder / "model.onnx.tuning.json") << "{}";
  const auto warnings = [&](const fs::path& model) {
    size_t count = 0;
    for (size_t at = 0; (at = err_.find(fmt::format("tenon: warning: {}.tuning.json is not used", model.string()), at)) != std::string::npos; ++at) ++count;
    return count;
  };
  const std::string other = (folder_ / "other" / "model.onnx").string();
  for (const std::string& command : {"bench --backend reference,cpu --rounds 4 --launches 2 --round-ms 1 --profile " + model().string() + " " + other,
                                     "verify --backend reference,cpu " + folder_.string()}) {
    EXPECT_EQ(tenon(command), 0) << err_;
    EXPECT_EQ(warnings(model()), 1U) << command << err_;
    EXPECT_EQ(warnings(other), 1U) << command << err_;
  }
  EXPECT_EQ(tenon("run --backend reference " + model().string()), 0);
  EXPECT_EQ(err_, "") << "the interpreter has no tiles";
}

TEST_F(Cli, HelpShowsNoDefaultsThatCannotBeGiven) {
  for (const char* command : {"optimize", "verify"}) {
    EXPECT_EQ(tenon(fmt::format("{} --help", command)), 0);
    for (const char* impossible : {"13..28=", "0..3=-1", "N=-1"}) EXPECT_THAT(out_, Not(HasSubstr(impossible)));
  }
}

TEST_F(Cli, OpsSuggestsNamesThatAreNear) {
  EXPECT_EQ(tenon("ops Scaler"), 2);
  EXPECT_THAT(err_, HasSubstr("did you mean ai.onnx.ml.Scaler?"));
  EXPECT_EQ(tenon("ops gelu"), 2);
  EXPECT_THAT(err_, HasSubstr("did you mean Gelu or"));
  EXPECT_EQ(tenon("ops Nope"), 2);
  EXPECT_THAT(err_, Not(HasSubstr("did you mean")));
}

TEST_F(Cli, RunWritesOutputs) {
  const fs::path out = folder_ / "out";
  EXPECT_EQ(tenon(fmt::format("run {} --test-data --backend reference --output-dir {}", model().string(), out.string())), 0) << err_;
  const auto y = frontend::read_value(out / "0_y.npy", ir::TensorType::unranked(DType::kF32));
  ASSERT_TRUE(y.ok()) << y.status().to_string();
  EXPECT_EQ(std::get<Tensor>(*y).at_double(2), 4);
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference --dim N=7", model().string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("f32[7, 3]"));
}

TEST_F(Cli, RunReadsArchivesOfArrays) {
  const fs::path script = folder_ / "write.py";
  std::ofstream(script) << "import numpy, sys\n"
                           "numpy.savez_compressed(sys.argv[1], x=numpy.full((2, 3), 4, numpy.float32), z=numpy.zeros(1))\n";
  const fs::path archive = folder_ / "in.npz";
  if (std::system(fmt::format("/usr/bin/python3 {} {} 2>/dev/null", script.string(), archive.string()).c_str()) != 0)
    GTEST_SKIP() << "NumPy is not installed (Debian: python3-numpy)";
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference --input x={}", model().string(), archive.string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("f32[2, 3]"));
  EXPECT_THAT(out_, HasSubstr("5, 5, 5"));
}

/// A Loop that never ends, and a shape that no memory holds.
TEST_F(Cli, LimitsOfTimeAndMemoryHold) {
  const fs::path endless = folder_ / "endless.tir", huge = folder_ / "huge.tir";
  std::ofstream(endless) << R"(graph "g" {
  input %x: f32[65536]
  %go: bool[] = Constant {value = dense<bool[], 1>}
  %y: f32[65536] = Loop(_, %go, %x) region {
    input %i: i64[]
    input %c: bool[]
    input %v: f32[65536]
    %more: bool[] = Identity(%c)
    %w: f32[65536] = Sin(%v)
    output %more
    output %w
  }
  output %y
})";
  std::ofstream(huge) << R"(graph "g" {
  input %x: f32[1]
  %shape: i64[2] = Constant {value = dense<i64[2], 50000, 50000>}
  %y: f32[50000, 50000] = Expand(%x, %shape)
  output %y
})";
  for (const char* backend : {"reference", "cpu"}) {
    EXPECT_EQ(tenon(fmt::format("run {} --backend {} --timeout 0.5", endless.string(), backend)), 2) << backend;
    EXPECT_THAT(err_, HasSubstr("the time limit has passed")) << backend;
    EXPECT_EQ(tenon(fmt::format("run {} --backend {} --memory-limit 1G", huge.string(), backend)), 2) << backend;
    EXPECT_THAT(err_, HasSubstr("limit of 1073741824")) << backend;
  }
  EXPECT_EQ(tenon(fmt::format("bench {} --backend cpu --timeout 0.5", endless.string())), 2);
  for (const char* command : {"inspect", "check", "optimize", "compile", "run", "bench --rounds 1 --round-ms 1"})
    EXPECT_EQ(tenon(fmt::format("{} {} --timeout 600 --memory-limit 50%", command, model().string())), 0) << command << err_;
  for (const char* size : {"", "x", "-1G", "0", "5Q", "1GB1", "nan", "1e40", "200%", "100.5%", "-5%"}) {
    EXPECT_EQ(tenon(fmt::format("run {} --memory-limit '{}'", model().string(), size)), *size == 0 ? 0 : 2) << size;
  }
}

TEST_F(Cli, MatchRowsNamesAnOutput) {
  EXPECT_EQ(tenon(fmt::format("verify {} --backend reference --match-rows y", folder_.string())), 0) << err_;
  EXPECT_EQ(tenon(fmt::format("verify {} --backend reference --match-rows scores", folder_.string())), 2);
  EXPECT_THAT(err_, HasSubstr("no model has an output 'scores'"));
}

TEST_F(Cli, InspectOptimizeCheckAndCompile) {
  EXPECT_EQ(tenon(fmt::format("inspect {} --json -", model().string())), 0) << err_;
  const json report = json::parse(out_);
  EXPECT_EQ(report["ops"]["Relu"], 1);
  EXPECT_EQ(report["parameters"], 1);
  EXPECT_EQ(report["operations"], 6);  // two for each of three elements
  EXPECT_EQ(tenon(fmt::format("optimize {} -O0 -o {}", model().string(), (folder_ / "m.tir").string())), 0) << err_;
  EXPECT_EQ(tenon(fmt::format("run {} --backend reference", (folder_ / "m.tir").string())), 0) << err_;
  for (const char* options : {"-O0", "-O3 --opset 17", "-O1 --external-data"}) {
    const fs::path out = folder_ / "written.onnx";
    EXPECT_EQ(tenon(fmt::format("optimize {} {} -o {}", model().string(), options, out.string())), 0) << err_;
    EXPECT_EQ(tenon(fmt::format("run {} --backend reference", out.string())), 0) << options << err_;
  }
  EXPECT_EQ(tenon(fmt::format("optimize {} --opset 12 -o x.onnx", model().string())), 2);
  EXPECT_EQ(tenon(fmt::format("optimize {} --opset 17 -o -", model().string())), 2);
  EXPECT_THAT(err_, HasSubstr("(--opset)"));
  EXPECT_EQ(tenon("optimize --list-passes"), 0);
  EXPECT_THAT(out_, HasSubstr("decompose"));
  EXPECT_EQ(tenon(fmt::format("check {}", model().string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("generated"));
  EXPECT_EQ(tenon(fmt::format("compile {} --emit kernel-ir", model().string())), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("kernel"));
}

TEST_F(Cli, BenchReportsInJson) {
  EXPECT_EQ(tenon(fmt::format("bench {} --backend reference,cpu --rounds 2 --round-ms 5 --json -", model().string())), 0) << err_;
  const json report = json::parse(out_);
  ASSERT_EQ(report["results"].size(), 2u);
  const json& second = report["results"][1];
  for (const char* key : {"p10", "p50", "p90", "mean", "min"}) EXPECT_GT(second["latency_ms"][key].get<double>(), 0) << key;
  for (const char* key : {"model", "backend", "threads", "load_ms", "compile_ms", "first_run_ms", "peak_rss_mb"})
    EXPECT_TRUE(second.contains(key)) << key;
  EXPECT_EQ(second["ratio"]["vs"], "reference");
  EXPECT_EQ(second["ratio"]["ci95"].size(), 2u);
}

TEST_F(Cli, CompareNamesTheWrongNodeAndReproducesIt) {
  const std::string m = model().string(), out = (folder_ / "out").string();
  EXPECT_EQ(tenon("compare " + m + " --test-data --json -"), 0) << err_;
  json report = json::parse(out_);
  EXPECT_EQ(report["kind"], "compare");
  EXPECT_EQ(report["variants"], json({"reference", "cpu -O3"}));
  EXPECT_EQ(report["uncompared"], 1);
  EXPECT_TRUE(report["first"].is_null());
  EXPECT_EQ(report["values"].size(), 1U);
  // y = relu(x) + 1 with relu wrong: 1.25 r + 0.25 in the place of r, of 3 at most.
  EXPECT_EQ(tenon("compare " + m + " --test-data --plant-fault kernel:r --json - --reproduce " + out), 1) << err_;
  report = json::parse(out_);
  EXPECT_EQ(report["first"]["name"], "y");
  EXPECT_NEAR(report["first"]["own_abs"].get<double>(), 1, 1e-5);
  EXPECT_EQ(report["first"]["covers"].size(), 2U);
  EXPECT_TRUE(fs::exists(out + "/test_data_set_0/output_0.pb"));
  EXPECT_EQ(tenon("verify " + out), 0) << "without the fault";
  EXPECT_EQ(tenon("compare " + out + " --test-data --plant-fault kernel:r"), 1) << err_;
  EXPECT_THAT(out_, HasSubstr("first beyond the tolerance: Relu"));
  EXPECT_EQ(tenon("compare " + m + " --reproduce " + out), 2);
  EXPECT_THAT(err_, HasSubstr("has a model.onnx"));
  EXPECT_EQ(tenon("compare " + m + " -O 0,3 --top 0"), 0) << err_;
  for (const char* bad : {"--backend cpu", "-O 4", "-O ''", "--plant-fault x", "--spill-limit none", "--target pdp11,host", "--backend reference,abacus"}) {
    EXPECT_EQ(tenon(fmt::format("compare {} {}", m, bad)), 2) << bad;
    EXPECT_THAT(err_, StartsWith("error: ")) << bad;
  }
}

TEST_F(Cli, DebugNamesTheWrongRewrite) {
  const std::string m = model().string();
  EXPECT_EQ(tenon("debug " + m + " --bisect-passes"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("no output differs"));
  for (const char* backend : {"reference", "cpu"}) {
    EXPECT_EQ(tenon(fmt::format("debug {} --bisect-passes --plant-fault rewrite:1 --json - --backend {}", m, backend)), 1) << err_;
    const json report = json::parse(out_);
    EXPECT_EQ(report["culprit"]["number"], 1);
    EXPECT_EQ(report["culprit"]["pass"], "fuse");
    EXPECT_EQ(report["culprit"]["nodes"].size(), 2U);
  }
  EXPECT_EQ(tenon("debug " + m), 2);
  EXPECT_EQ(tenon("debug " + m + " --bisect-passes --disable nothing"), 2);
  EXPECT_EQ(tenon("debug " + m + " --bisect-passes --backend reference,cpu"), 2);
  for (const char* command : {"debug {} --bisect-passes", "compare {}"}) {
    EXPECT_EQ(tenon(fmt::format(fmt::runtime(command), m) + " --plant-fault rewrite:999999"), 2) << out_;
    EXPECT_THAT(err_, HasSubstr("there is no rewrite 999999"));
  }
  EXPECT_EQ(tenon("debug " + m + " --bisect-passes --backend exec:cat"), 2) << out_;
  EXPECT_THAT(err_, HasSubstr("runs its own passes"));
}

TEST_F(Cli, DigitsModelVerifies) {
  const fs::path digits = fs::path(TENON_SOURCE_DIR) / "models/digits";
  EXPECT_EQ(tenon(fmt::format("run {} --backend cpu", (digits / "model.onnx").string())), 0) << err_;
  EXPECT_EQ(tenon(fmt::format("inspect {} --placement --backend cpu", (digits / "model.onnx").string())), 0) << err_;
}

TEST_F(Cli, EverySpirvModuleOfTheDigitsModelIsValid) {
  if (std::system("spirv-val --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "spirv-val is not installed (Debian: spirv-tools)";
  const fs::path modules = folder_ / "spirv";
  ASSERT_EQ(tenon(fmt::format("compile {}/models/digits/model.onnx --emit spirv -o {}", TENON_SOURCE_DIR, modules.string())), 0) << err_;
  int count = 0;
  for (const auto& entry : fs::directory_iterator(modules)) {
    EXPECT_EQ(std::system(fmt::format("spirv-val --target-env vulkan1.2 {}", entry.path().string()).c_str()), 0) << entry.path();
    ++count;
  }
  EXPECT_GT(count, 10);
}

}  // namespace
}  // namespace tenon
