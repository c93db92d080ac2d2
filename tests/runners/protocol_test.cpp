// What a runner may say, and what becomes of one that says something else. The other side is fake_runner.py, written from
// docs/runners.md with Python's struct and json.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "backends/external/message.h"
#include "backends/external/process.h"
#include "tests/runners/support.h"

namespace tenon::backends {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using Clock = std::chrono::steady_clock;

const Tensor kTwo = Tensor::from<float>({2}, {1, 2});

class FakeRunner : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_python()) GTEST_SKIP() << "python3 is not installed";
  }
};

Status outcome(const std::string& mode, const Interrupt& interrupt = {}, const SessionOptions& options = {}) {
  auto session = fake(mode, *identity(), options);
  if (!session.ok()) return session.status();
  return (*session)->run(std::vector<HostValue>{kTwo}, interrupt).status();
}

TEST_F(FakeRunner, BringsBackEveryDtypeBitForBit) {
  std::string inputs, nodes, outputs;
  std::vector<HostValue> given;
  for (int i = 1; i < static_cast<int>(DType::kCount); ++i) {
    const DType dtype = static_cast<DType>(i);
    const std::string_view type = name(dtype);
    inputs += fmt::format("  input %x_{}: {}[3, 5]\n", type, type);
    nodes += fmt::format("  %y_{}: {}[3, 5] = Identity(%x_{})\n", type, type, type);
    outputs += fmt::format("  output %y_{}\n", type);
    if (dtype == DType::kString) {
      std::vector<std::string> texts(15);
      texts[1] = "grüße";
      texts[2] = std::string("zero\0inside", 11);
      texts[14] = std::string(100000, 'x');
      given.emplace_back(*Tensor::strings({3, 5}, texts));
      continue;
    }
    Tensor tensor = *Tensor::zeros(dtype, {3, 5});
    for (size_t b = 0; b < tensor.bytes(); ++b) tensor.mutable_data()[b] = static_cast<std::byte>(b * 37 + static_cast<size_t>(i));
    if (dtype == DType::kBool)
      for (size_t b = 0; b < tensor.bytes(); ++b) tensor.mutable_data()[b] &= std::byte{1};
    given.emplace_back(std::move(tensor));
  }
  const auto graph = parse("graph \"g\" {\n" + inputs + nodes + outputs + "}");
  auto session = fake("echo", *graph);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  auto out = (*session)->run(given);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  ASSERT_EQ(out->size(), given.size());
  for (size_t i = 0; i < given.size(); ++i) {
    const Tensor &a = std::get<Tensor>(given[i]), &b = std::get<Tensor>((*out)[i]);
    ASSERT_EQ(a.dtype(), b.dtype());
    ASSERT_EQ(a.shape(), b.shape());
    if (a.dtype() == DType::kString) EXPECT_EQ(a.string_values(), b.string_values());
    else EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << name(a.dtype());
  }
}

TEST_F(FakeRunner, BringsBackEmptyScalarLargeAndNestedValues) {
  const auto graph = parse(R"(graph "g" {
  input %xa: f32[0, 3]
  input %xb: i64[]
  input %xc: f32[N]
  input %xd: seq<f32[*]>
  input %xe: string[0]
  %ya: f32[0, 3] = Identity(%xa)
  %yb: i64[] = Identity(%xb)
  %yc: f32[N] = Identity(%xc)
  %yd: seq<f32[*]> = Identity(%xd)
  %ye: string[0] = Identity(%xe)
  output %ya
  output %yb
  output %yc
  output %yd
  output %ye
})");
  Tensor large = *Tensor::zeros(DType::kF32, {8'000'000});  // far above what a pipe holds
  for (int64_t i = 0; i < large.size(); ++i) large.mutable_span<float>()[static_cast<size_t>(i)] = static_cast<float>(i);
  auto sequence = std::make_shared<Sequence>();
  sequence->elem = DType::kF32;
  sequence->items = {kTwo, Tensor::scalar<float>(7)};
  const std::vector<HostValue> given = {*Tensor::zeros(DType::kF32, {0, 3}), Tensor::scalar<int64_t>(-5), large, sequence, *Tensor::strings({0}, {})};
  auto session = fake("echo", *graph);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  for (int again = 0; again < 2; ++again) {
    auto out = (*session)->run(given);
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_EQ(std::get<Tensor>((*out)[0]).shape(), (Shape{0, 3}));
    EXPECT_EQ(std::get<Tensor>((*out)[1]).at_int(0), -5);
    EXPECT_EQ(std::memcmp(std::get<Tensor>((*out)[2]).data(), large.data(), large.bytes()), 0);
    const auto& items = std::get<std::shared_ptr<Sequence>>((*out)[3])->items;
    ASSERT_EQ(items.size(), 2u);
    EXPECT_EQ(std::get<Tensor>(items[1]).at_double(0), 7);
    EXPECT_EQ(std::get<Tensor>((*out)[4]).shape(), (Shape{0}));
  }
}

TEST_F(FakeRunner, MapsGoAndComeBack) {
  for (const bool numbers : {true, false}) {
    auto map = std::make_shared<MapValue>();
    if (numbers) map->entries = std::map<int64_t, Tensor>{{-3, Tensor::scalar<float>(1)}, {8, Tensor::scalar<float>(2)}};
    else map->entries = std::map<std::string, Tensor>{{"a", Tensor::scalar<float>(1)}, {"ß", Tensor::scalar<float>(2)}};
    external::Message message;
    auto encoded = external::encode_value(HostValue(map), message);
    ASSERT_TRUE(encoded.ok());
    auto back = external::decode_value(*encoded, message);
    ASSERT_TRUE(back.ok()) << back.status().to_string();
    const auto& entries = std::get<std::shared_ptr<MapValue>>(*back)->entries;
    ASSERT_EQ(entries.index(), map->entries.index());
    std::visit([](const auto& e) { EXPECT_EQ(std::next(e.begin())->second.at_double(0), 2); }, entries);
  }
}

TEST_F(FakeRunner, TimesAndFiguresAreTheRunners) {
  auto session = fake("echo", *identity());
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  auto samples = (*session)->time(std::vector<HostValue>{kTwo}, {.runs = 4, .ms = 0});
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  EXPECT_EQ(*samples, (std::vector<double>{1, 2, 3, 4}));
  auto figures = (*session)->process();
  ASSERT_TRUE(figures.ok() && figures->has_value());
  EXPECT_EQ((*figures)->runtime, "Fake 7");
  EXPECT_EQ((*figures)->load_ms, 2.5);
  EXPECT_EQ((*figures)->peak_rss_bytes, 123456789u);
  EXPECT_EQ((*figures)->last_run_ms, 0);
  ASSERT_TRUE((*session)->run(std::vector<HostValue>{kTwo}).ok());
  figures = (*session)->process();
  ASSERT_TRUE(figures.ok() && figures->has_value());
  EXPECT_EQ((*figures)->last_run_ms, 1);
}

TEST_F(FakeRunner, ChatterOnStdoutAndStderrDoesNotDisturb) { EXPECT_TRUE(outcome("chatter").ok()); }

TEST_F(FakeRunner, NumbersOfAnotherTypeBecomeTheGraphs) {
  auto session = fake("doubles", *identity());
  auto out = (*session)->run(std::vector<HostValue>{kTwo});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ(std::get<Tensor>(out->front()).dtype(), DType::kF32);
  EXPECT_EQ(std::get<Tensor>(out->front()).at_double(1), 2);
}

TEST_F(FakeRunner, OutputsComeInTheGraphsOrderAndMayRepeat) {
  const auto graph = parse(R"(graph "g" {
  input %xa: f32[2]
  input %xb: f32[2]
  %ya: f32[2] = Identity(%xa)
  %yb: f32[2] = Identity(%xb)
  output %yb
  output %ya
  output %yb
})");
  auto session = fake("echo", *graph);
  auto out = (*session)->run(std::vector<HostValue>{kTwo, Tensor::from<float>({2}, {5, 6})});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  std::vector<double> first;
  for (const HostValue& value : *out) first.push_back(std::get<Tensor>(value).at_double(0));
  EXPECT_EQ(first, (std::vector<double>{5, 1, 5}));
}

TEST_F(FakeRunner, InputsAreCheckedByName) {
  auto session = fake("echo", *parse("graph \"g\" {\n  input %xa: f32[N, 2]\n  input %xb: i64[N]\n  %ya: f32[N, 2] = Identity(%xa)\n  output %ya\n}"));
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  const Tensor a = *Tensor::zeros(DType::kF32, {3, 2});
  const auto refused = [&](std::vector<HostValue> inputs, const char* what) {
    const Status status = (*session)->run(inputs).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << what;
    EXPECT_THAT(status.to_string(), HasSubstr(what));
  };
  refused({a}, "1 inputs are given where the model has 2");
  refused({a, *Tensor::zeros(DType::kI32, {3})}, "input xb");
  refused({a, *Tensor::zeros(DType::kI64, {4})}, "input xb");
  refused({*Tensor::zeros(DType::kF32, {3, 5}), *Tensor::zeros(DType::kI64, {3})}, "input xa");
  refused({*Tensor::zeros(DType::kF32, {6}), *Tensor::zeros(DType::kI64, {3})}, "input xa");
  refused({a, HostValue()}, "input xb");
  EXPECT_TRUE((*session)->run(std::vector<HostValue>{a, *Tensor::zeros(DType::kI64, {3})}).ok());
}

TEST_F(FakeRunner, LoadIsToldThreadsDimsAndLevel) {
  CompileOptions compile;
  compile.model = "/dev/null";
  compile.model_dims = {{"batch", 3}};
  compile.opt_level = 1;
  const auto graph = parse("graph \"g\" {\n  input %x: f32[N, 3]\n  %y: f32[N, 3] = Identity(%x)\n  output %y\n}");
  auto session = open(*find_backend("exec:python3 '" TENON_SOURCE_DIR "/tests/runners/fake_runner.py' echo show_load"), *graph, {.num_threads = 7}, compile);
  const std::string text = session.status().to_string();
  for (const char* part : {R"("model": "/dev/null")", R"("threads": 7)", R"("optimization": 1)", R"("dims": {"batch": 3})", R"("shapes": {"x": [null, 3]})"})
    EXPECT_THAT(text, HasSubstr(part));
}

/// What is no answer is an error that names the runner and ends it; the error of an answer leaves it alive.
struct Misdeed {
  const char* mode;
  Code code;
  const char* message;
};
class Misdeeds : public FakeRunner, public ::testing::WithParamInterface<Misdeed> {};

TEST_P(Misdeeds, AreErrors) {
  const auto [mode, code, message] = GetParam();
  const auto start = Clock::now();
  const Status status = outcome(mode, {}, {.max_bytes = size_t{1} << 30});
  EXPECT_EQ(status.code(), code) << status.to_string();
  EXPECT_THAT(status.to_string(), HasSubstr(message));
  EXPECT_THAT(status.to_string(), HasSubstr("exec:python3"));
  EXPECT_LT(status.to_string().size(), 6000u);
  EXPECT_LT(Clock::now() - start, std::chrono::minutes(1));
}

constexpr Code kInternal = Code::kInternal;
INSTANTIATE_TEST_SUITE_P(
    All, Misdeeds,
    ::testing::Values(
        Misdeed{"die_at_start", kInternal, "ended with status 3; it wrote: fatal: the abacus is broken"},
        Misdeed{"nobody", kInternal, "names no runtime"}, Misdeed{"odd_load", kInternal, "no load_ms"}, Misdeed{"early", kInternal, "runner"},
        Misdeed{"die", kInternal, "ended with status 3; it wrote: fatal: the abacus is broken"}, Misdeed{"kill", kInternal, "signal: Killed"},
        Misdeed{"garbage", kInternal, "no frame"}, Misdeed{"version", Code::kUnsupported, "version 9"},
        Misdeed{"huge_json", Code::kResourceExhausted, "JSON"}, Misdeed{"many_payloads", Code::kResourceExhausted, "payloads"},
        Misdeed{"huge_payload", Code::kResourceExhausted, "1024 MiB"}, Misdeed{"sum_overflows", Code::kResourceExhausted, "MiB"},
        Misdeed{"truncated", kInternal, "ended with status 0"}, Misdeed{"no_json", kInternal, "no JSON object"},
        Misdeed{"no_object", kInternal, "no JSON object"}, Misdeed{"deep_json", kInternal, "no JSON object"},
        Misdeed{"no_outputs", kInternal, "no list of outputs"}, Misdeed{"outputs_no_list", kInternal, "no list of outputs"},
        Misdeed{"no_name", kInternal, "without name"}, Misdeed{"missing", kInternal, "no output 'y'"}, Misdeed{"short", kInternal, "gives 4 bytes for f32[2]"},
        Misdeed{"bad_dtype", kInternal, "dtype"}, Misdeed{"no_dtype", kInternal, "dtype"}, Misdeed{"negative", Code::kInvalidArgument, "output y"},
        Misdeed{"overflow", Code::kInvalidArgument, "output y"}, Misdeed{"big_dim", kInternal, "no integer"}, Misdeed{"float_dim", kInternal, "no integer"},
        Misdeed{"rank", kInternal, "no shape"}, Misdeed{"payload_number", kInternal, "payload"}, Misdeed{"payload_negative", kInternal, "payload"},
        Misdeed{"payload_text", kInternal, "payload"}, Misdeed{"other_shape", kInternal, "another shape"}, Misdeed{"other_size", kInternal, "another shape"},
        Misdeed{"strings", kInternal, "end early"}, Misdeed{"strings_end", kInternal, "end early"}, Misdeed{"strings_more", kInternal, "4 bytes after"},
        Misdeed{"strings_twice", kInternal, "one payload"}, Misdeed{"many_strings", kInternal, "end early"}, Misdeed{"a_string", kInternal, "gives string where f32 is due"},
        Misdeed{"bool7", kInternal, "neither 0 nor 1"}, Misdeed{"odd_ms", kInternal, "no time"}, Misdeed{"sequence", kInternal, "no tensor"}, Misdeed{"nested", kInternal, "in one another"}, Misdeed{"null", kInternal, "no tensor"},
        Misdeed{"refuses", Code::kUnsupported, "no such op: Abacus ("}, Misdeed{"odd_error", kInternal, "without a reason"},
        Misdeed{"long_error", kInternal, "eeee …"}),
    [](const auto& info) { return info.param.mode; });

TEST_F(FakeRunner, SamplesAreChecked) {
  for (const char* mode : {"few_samples", "nan_samples", "odd_samples", "no_samples"}) {
    auto session = fake(mode, *identity());
    ASSERT_TRUE(session.ok());
    EXPECT_EQ((*session)->time(std::vector<HostValue>{kTwo}, {.runs = 3, .ms = 0}).status().code(), Code::kInternal) << mode;
  }
  for (const char* mode : {"odd_figures", "huge_figures"}) {
    auto session = fake(mode, *identity());
    ASSERT_TRUE(session.ok());
    EXPECT_EQ((*session)->process().status().code(), Code::kInternal) << mode;
  }
}

TEST_F(FakeRunner, WhatSequencesAndMapsHoldIsChecked) {
  const auto outcome_of = [](const std::string& type, const char* mode) -> Result<HostValue> {
    auto session = fake(mode, *parse("graph \"g\" {\n  input %x: " + type + "\n  %y: " + type + " = Identity(%x)\n  output %y\n}"));
    if (!session.ok()) return session.status();
    HostValue x = std::make_shared<Sequence>();
    if (type.starts_with("map")) x = std::make_shared<MapValue>();
    if (type.starts_with("opt")) x = HostValue();
    auto out = (*session)->run(std::vector<HostValue>{x});
    if (!out.ok()) return out.status();
    return out->at(0);
  };
  struct Case {
    const char *type, *mode, *message;
  };
  for (const auto& [type, mode, message] : std::vector<Case>{
           {"seq<f32[2]>", "seq_strings", "a sequence of string where seq<f32[2]> is due"},
           {"seq<f32[2]>", "seq_lie", "f32 in a sequence of i64"},
           {"seq<f32[2]>", "seq_mixed", "gives"},
           {"seq<f32[2]>", "seq_null", "no tensor where f32[2] is due"},
           {"seq<f32[2]>", "seq_nest", "no tensor where f32[2] is due"},
           {"seq<f32[2]>", "seq_map", "no tensor where f32[2] is due"},
           {"seq<f32[2]>", "seq_shape", "another shape"},
           {"seq<f32[2]>", "map_text", "another kind of value"},
           {"opt<seq<f32[2]>>", "seq_null", "no tensor where f32[2] is due"},
           {"opt<f32[2]>", "map_text", "no tensor"},
           {"map<i64, f32[2]>", "map_text", "a map with other keys"},
           {"map<string, f32[2]>", "map_number", "a map with other keys"},
           {"map<i64, f32[2]>", "map_strings", "gives string where f32 is due"},
           {"map<i64, f32[2]>", "seq_empty", "another kind of value"},
       }) {
    const auto out = outcome_of(type, mode);
    EXPECT_EQ(out.status().code(), Code::kInternal) << type << " " << mode;
    EXPECT_THAT(out.status().to_string(), HasSubstr(message)) << type << " " << mode;
  }
  for (const char* type : {"seq<f32[2]>", "opt<seq<f32[2]>>"}) {
    const auto numbers = outcome_of(type, "seq_f64");
    ASSERT_TRUE(numbers.ok()) << numbers.status().to_string();
    const auto& sequence = *std::get<std::shared_ptr<Sequence>>(*numbers);
    EXPECT_EQ(sequence.elem, DType::kF32);
    EXPECT_EQ(std::get<Tensor>(sequence.items.at(0)).at_double(1), 2);
    EXPECT_EQ(std::get<Tensor>(sequence.items.at(0)).dtype(), DType::kF32);
  }
  EXPECT_TRUE(outcome_of("opt<f32[2]>", "null").ok());
  EXPECT_TRUE(outcome_of("map<i64, f32[2]>", "map_number").ok());
  const auto empty = outcome_of("seq<f32[2]>", "seq_empty");
  ASSERT_TRUE(empty.ok()) << empty.status().to_string();
  EXPECT_EQ(std::get<std::shared_ptr<Sequence>>(*empty)->elem, DType::kF32);
  const auto map = outcome_of("map<string, f32[2]>", "map_empty");
  ASSERT_TRUE(map.ok()) << map.status().to_string();
  EXPECT_EQ(std::get<std::shared_ptr<MapValue>>(*map)->entries.index(), 1u);
}

TEST_F(FakeRunner, ThatHangsIsEndedAtTheDeadline) {
  const auto in = [](int ms) { return Interrupt::after(std::chrono::milliseconds(ms)); };
  EXPECT_EQ(outcome("hang", in(300)).code(), Code::kDeadlineExceeded);
  SessionOptions options;
  options.interrupt = in(300);
  EXPECT_EQ(outcome("hang_at_start", {}, options).code(), Code::kDeadlineExceeded);
  // One that does not read, while more is written than a pipe holds.
  const auto graph = parse("graph \"g\" {\n  input %x: f32[N]\n  %y: f32[N] = Identity(%x)\n  output %y\n}");
  auto session = fake("deaf", *graph);
  ASSERT_TRUE(session.ok());
  EXPECT_EQ((*session)->run(std::vector<HostValue>{*Tensor::zeros(DType::kF32, {4'000'000})}, in(300)).status().code(), Code::kDeadlineExceeded);
}

TEST_F(FakeRunner, IsEndedWhenAnotherThreadCancels) {
  std::atomic<bool> cancel = false;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    cancel = true;
  });
  EXPECT_EQ(outcome("hang", {.cancel = &cancel}).code(), Code::kCancelled);
  other.join();
}

TEST_F(FakeRunner, ThatGrowsBeyondItsMemoryIsEnded) {
  const Status status = outcome("grow", Interrupt::after(std::chrono::seconds(60)), {.max_bytes = size_t{100} << 20});
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.to_string();
  EXPECT_THAT(status.to_string(), HasSubstr("--memory-limit"));
}

TEST_F(FakeRunner, ThatDiedIsStartedAgain) {
  const Folder folder;
  auto session = fake("die_once '" + (folder.path() / "marker").string() + "'", *identity());
  ASSERT_TRUE(session.ok());
  EXPECT_THAT((*session)->run(std::vector<HostValue>{kTwo}).status().to_string(), HasSubstr("the first time is the last"));
  EXPECT_TRUE((*session)->run(std::vector<HostValue>{kTwo}).ok());
}

/// Gone, or ended and not yet collected by whoever is its parent now.
bool gone(pid_t pid) {
  const std::string stat = slurp(fmt::format("/proc/{}/stat", pid));
  const size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || stat.compare(name_end, 3, ") Z") == 0;
}

bool becomes_gone(pid_t pid) {
  for (int i = 0; i < 200 && !gone(pid); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return gone(pid);
}

TEST_F(FakeRunner, EndsWithItsSessionAndItsChildrenToo) {
  const Folder folder;
  const fs::path file = folder.path() / "pids";
  auto session = fake("family '" + file.string() + "'", *identity());
  ASSERT_TRUE((*session)->run(std::vector<HostValue>{kTwo}).ok());
  pid_t own = 0, child = 0;
  std::ifstream(file) >> own >> child;
  ASSERT_GT(child, 0);
  EXPECT_FALSE(gone(own));
  EXPECT_FALSE(gone(child));
  session->reset();
  EXPECT_TRUE(becomes_gone(own));
  EXPECT_TRUE(becomes_gone(child));
}

TEST_F(FakeRunner, EndsWhenTheProcessThatStartedItIsKilled) {
  const Folder folder;
  const fs::path file = folder.path() / "pids";
  const pid_t user = ::fork();
  if (user == 0) {
    auto session = fake("family '" + file.string() + "'", *identity());
    const bool ran = session.ok() && (*session)->run(std::vector<HostValue>{kTwo}).ok();
    if (ran) ::kill(::getpid(), SIGKILL);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(user, &status, 0), user);
  ASSERT_TRUE(WIFSIGNALED(status));
  pid_t own = 0;
  std::ifstream(file) >> own;
  ASSERT_GT(own, 0);
  EXPECT_TRUE(becomes_gone(own));
  pid_t child = 0;
  std::ifstream(file) >> own >> child;
  if (child > 0) ::kill(child, SIGKILL);
}

TEST(Runners, ProgramsThatDoNotExistSaySo) {
  auto session = open(*find_backend("exec:/nowhere/program"), *identity());
  EXPECT_THAT(session.status().to_string(), HasSubstr("cannot start /nowhere/program: No such file or directory"));
  EXPECT_EQ(find_backend("exec:")->available().code(), Code::kInvalidArgument);
  EXPECT_EQ(find_backend("exec:a 'b")->available().code(), Code::kInvalidArgument);
  EXPECT_EQ(find_backend("execute"), nullptr);
}

TEST(Runners, CommandsAreSplitAtSpaces) {
  const auto words = [](std::string_view text) { return external::split_command(text).value(); };
  EXPECT_EQ(words("python3  a.py"), (std::vector<std::string>{"python3", "a.py"}));
  EXPECT_EQ(words(R"( 'a b' "c d"e f\ g "\"" '\' "" )"), (std::vector<std::string>{"a b", "c de", "f g", "\"", "\\", ""}));
  EXPECT_EQ(words("$HOME *.py"), (std::vector<std::string>{"$HOME", "*.py"}));
  EXPECT_FALSE(external::split_command("  ").ok());
  EXPECT_FALSE(external::split_command("''").ok());
}

TEST_F(FakeRunner, GetsTheGraphAsAFileThatGoesOnceItIsLoaded) {
  const Folder folder;
  const char* before = std::getenv("TMPDIR");
  const std::string old = before != nullptr ? before : "";
  ::setenv("TMPDIR", folder.path().c_str(), 1);
  const auto files = [&] { return std::distance(fs::recursive_directory_iterator(folder.path()), {}); };
  const Backend* backend = find_backend("exec:python3 '" TENON_SOURCE_DIR "/tests/runners/fake_runner.py' die show_size");
  auto executable = backend->compile(*identity(), {});
  ASSERT_TRUE(executable.ok()) << executable.status().to_string();
  auto session = (*executable)->create_session({});
  const auto left = files();
  double sizes[2] = {};
  for (double& size : sizes) {
    ASSERT_TRUE(session.ok()) << session.status().to_string();
    const auto figures = (*session)->process();  // after a run, which ends it, of another process
    ASSERT_TRUE(figures.ok() && figures->has_value());
    size = (*figures)->load_ms;
    EXPECT_FALSE((*session)->run(std::vector<HostValue>{kTwo}).ok());
  }
  EXPECT_EQ(left, 0);
  EXPECT_EQ(files(), 0);
  before != nullptr ? ::setenv("TMPDIR", old.c_str(), 1) : ::unsetenv("TMPDIR");
  EXPECT_GT(sizes[0], 0);
  EXPECT_EQ(sizes[0], sizes[1]);
}

}  // namespace
}  // namespace tenon::backends
