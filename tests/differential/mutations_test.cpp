// Every op, changed in one place after another, on the reference and the cpu: the same values or a named error, and never a crash, a
// hang or an exhausted machine. TENON_MUTATIONS=N runs every Nth change (1: all of them), TENON_MUTATE=NAME the cases of one op.

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "backends/backend.h"
#include "eval/compare.h"
#include "frontend/onnx/export.h"
#include "frontend/onnx/op_versions.h"
#include "mutations.h"
#include "recipe.h"

namespace tenon::differential {
namespace {

using frontend::testing::OpModel;
using Clock = std::chrono::steady_clock;

constexpr auto kTimeLimit = std::chrono::seconds(5);    // of each step of a case, which keeps to it by itself
constexpr auto kHangLimit = std::chrono::seconds(30);   // of a whole case, from outside
constexpr size_t kMaxBytes = size_t{64} << 20;
constexpr int kStride = 16;
constexpr int kShards = 8;

struct Base {
  std::string name;
  std::function<std::optional<OpModel>()> make;
};

/// Changes change the types of what is computed.
void forget_types(onnx::GraphProto& graph) {
  for (auto& output : *graph.mutable_output()) output.clear_type();
  graph.clear_value_info();
  for (auto& node : *graph.mutable_node())
    for (auto& attribute : *node.mutable_attribute())
      if (attribute.has_g()) forget_types(*attribute.mutable_g());
}

std::optional<OpModel> of_recipe(const Recipe& recipe, int round) {
  Random random(std::hash<std::string_view>()(recipe.name) + static_cast<uint64_t>(round));
  Maker maker(random, false);
  recipe.make(maker);
  if (!maker.status.ok() || maker.graph->num_nodes() == 0) return std::nullopt;
  const auto bytes = frontend::export_onnx_bytes(*maker.graph);
  OpModel out{frontend::testing::Model(), maker.inputs};
  if (!bytes.ok() || !out.model.proto.ParseFromString(*bytes) || out.model.graph().node_size() == 0) return std::nullopt;
  forget_types(out.model.graph());
  return out;
}

std::vector<Base> all_bases() {
  std::vector<Base> out;
  for (const frontend::OpVersions& op : frontend::all_op_versions()) {
    const std::string name = op.domain.empty() ? std::string(op.name) : fmt::format("{}.{}", op.domain, op.name);
    const int64_t version = op.versions().back();
    if (const auto* form = frontend::testing::find_form(name, version))
      out.push_back({name, [&op, version, form] { return std::optional(op_model(op.domain, op.name, version, *form)); }});
  }
  for (const Recipe& recipe : all_recipes())
    for (int round = 0; round < 3; ++round)
      out.push_back({fmt::format("{} #{}", recipe.name, round), [recipe, round] { return of_recipe(recipe, round); }});
  return out;
}

Result<std::vector<HostValue>> run_on(std::string_view backend, const ir::Graph& graph, const std::vector<HostValue>& inputs) {
  backends::CompileOptions compile;
  compile.interrupt = Interrupt::after(kTimeLimit);
  compile.compile_threads = 1;
  TENON_ASSIGN_OR_RETURN(const auto executable, backends::find_backend(backend)->compile(graph, compile));
  backends::SessionOptions options;
  options.num_threads = 1;
  options.max_bytes = kMaxBytes;
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session(options));
  return session->run(inputs, Interrupt::after(kTimeLimit));
}

/// Errors that one backend alone may give, and why.
struct Stricter {
  std::string_view backend, what, why;
};
constexpr Stricter kStricter[] = {
    {"cpu", "overflows or divides by zero", "plans hold sizes and positions as dims, whose sums leave 64 bits near the ends of the range"},
    {"cpu", "do not fit (Attention.", "plans take a mask whose length they do not know to be whole; only one that is known to be shorter is padded"},
    {"reference", "total_sequence_length is", "kernels count the keys by seqlens_k; only the interpreter reads the total before it runs"},
};

bool may_be_alone(std::string_view backend, const Status& status) {
  const auto listed = [&](const Stricter& s) { return s.backend == backend && status.to_string().find(s.what) != std::string::npos; };
  return status.code() == Code::kResourceExhausted || status.code() == Code::kDeadlineExceeded || std::ranges::any_of(kStricter, listed);
}

bool draws(const ir::Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const auto& node) { return node->op().side_effects; });
}

bool quantises(const ir::OpDef& op) {
  const auto scales = [](const ir::Param& p) { return p.name.find("_scale") != std::string_view::npos; };
  return op.name.find("Quantize") != std::string_view::npos || op.name.find("QLinear") != std::string_view::npos ||
         std::ranges::any_of(op.inputs, scales) || std::ranges::any_of(op.outputs, scales);
}

bool quantises(const ir::Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const auto& node) { return quantises(node->op()); });
}

/// What is wrong with how the backends take the model; empty when nothing is.
std::string fault(const OpModel& made, bool overflows) {
  frontend::ImportOptions import;
  import.interrupt = Interrupt::after(kTimeLimit);
  const std::string bytes = made.model.bytes();
  const auto graph = frontend::import_onnx_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), import);
  if (!graph.ok()) return graph.status().code() == Code::kInternal || graph.status().what().empty() ? graph.status().to_string() : "";
  const auto expected = run_on("reference", **graph, made.inputs), actual = run_on("cpu", **graph, made.inputs);
  for (const auto* outcome : {&expected, &actual})
    if (!outcome->ok() && (outcome->status().code() == Code::kInternal || outcome->status().what().empty()))
      return "internal error: " + outcome->status().to_string();
  if (expected.ok() != actual.ok()) {
    const std::string_view backend = expected.ok() ? "cpu" : "reference";
    const Status& status = expected.ok() ? actual.status() : expected.status();
    // Coordinates that leave f32's range leave the tensor, too.
    return may_be_alone(backend, status) || (overflows && backend == "cpu") ? "" : fmt::format("only {} fails: {}", backend, status.to_string());
  }
  if (!expected.ok() || overflows || draws(**graph)) return "";
  const bool rounds = quantises(**graph);
  for (size_t i = 0; i < expected->size(); ++i) {
    eval::Tolerance tolerance;
    const Tensor* tensor = std::get_if<Tensor>(&(*expected)[i]);
    // f32 and f64 break ties of rounding differently.
    if (rounds && tensor != nullptr && is_int(tensor->dtype()) && bits(tensor->dtype()) == 8) tolerance.atol = 1;
    const auto difference = eval::compare((*expected)[i], (*actual)[i], tolerance);
    if (!difference.ok) return fmt::format("output {}: {}", i, difference.message);
  }
  return "";
}

/// What parent and child share: where the child is.
struct Progress {
  std::atomic<int> next, cases;
};

/// Cases `progress.next`… of one op in a child process; its findings, a line each. A case that ends the child is a finding, too.
class Runner {
 public:
  Runner(const std::string& name, const OpModel& base, int stride) : name_(name), base_(base), stride_(stride), mutations_(mutations_of(base)) {
    progress_ = static_cast<Progress*>(::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    progress_->next = static_cast<int>(std::hash<std::string>()(name) % static_cast<size_t>(stride));
    progress_->cases = 0;
  }
  ~Runner() { ::munmap(progress_, sizeof(Progress)); }

  std::vector<std::string> run() {
    while (progress_->next < static_cast<int>(mutations_.size())) child();
    return std::move(findings_);
  }
  int cases() const { return progress_->cases; }

 private:
  std::string text(int i) const { return fmt::format("{}: {}", name_, mutations_[static_cast<size_t>(i)].text); }

  void child() {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      ::close(ends[0]);
      const rlimit memory{rlim_t{8} << 30, rlim_t{8} << 30};
      ::setrlimit(RLIMIT_AS, &memory);
      for (; progress_->next < static_cast<int>(mutations_.size()); progress_->next += stride_) {
        OpModel changed = base_;
        const Mutation& one = mutations_[static_cast<size_t>(progress_->next)];
        one.apply(changed);
        ++progress_->cases;
        if (std::string wrong = fault(changed, one.overflows); !wrong.empty()) {
          wrong = text(progress_->next) + ": " + wrong + "\n";
          (void)!::write(ends[1], wrong.data(), wrong.size());
        }
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    listen(pid, ends[0]);
  }

  void listen(pid_t pid, int pipe) {
    std::string out;
    bool hung = false;
    int at = progress_->next;
    auto since = Clock::now();
    for (;;) {
      pollfd fd{pipe, POLLIN, 0};
      ::poll(&fd, 1, 500);
      if (fd.revents != 0) {
        char buffer[4096];
        const ssize_t n = ::read(pipe, buffer, sizeof(buffer));
        if (n <= 0) break;
        out.append(buffer, static_cast<size_t>(n));
      }
      if (progress_->next != at) at = progress_->next, since = Clock::now();
      if (Clock::now() - since > kHangLimit) {
        hung = true;
        ::kill(pid, SIGKILL);
      }
    }
    ::close(pipe);
    int status = 0;
    ::waitpid(pid, &status, 0);
    for (size_t start = 0; start < out.size();) {
      const size_t end = out.find('\n', start);
      findings_.push_back(out.substr(start, end - start));
      start = end + 1;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    findings_.push_back(fmt::format("{}: {}", text(progress_->next),
                                    hung ? "hangs" : WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "ends the process"));
    progress_->next += stride_;
  }

  const std::string& name_;
  const OpModel& base_;
  const int stride_;
  const std::vector<Mutation> mutations_;
  Progress* progress_;
  std::vector<std::string> findings_;
};

class Mutations : public testing::TestWithParam<int> {};

TEST_P(Mutations, GiveTheSameValuesOrANamedError) {
  const char* given = std::getenv("TENON_MUTATIONS");
  const char* only = std::getenv("TENON_MUTATE");
  const int stride = only != nullptr ? 1 : given != nullptr ? std::max(1, std::atoi(given)) : kStride;
  const std::vector<Base> bases = all_bases();
  int ops = 0, cases = 0;
  for (size_t i = static_cast<size_t>(GetParam()); i < bases.size(); i += kShards) {
    if (only != nullptr && bases[i].name != only) continue;
    const auto base = bases[i].make();
    if (!base) continue;
    Runner runner(bases[i].name, *base, stride);
    for (const std::string& finding : runner.run()) ADD_FAILURE() << finding;
    cases += runner.cases();
    ++ops;
  }
  fmt::print("{} cases of {} models\n", cases, ops);
}

INSTANTIATE_TEST_SUITE_P(Shards, Mutations, testing::Range(0, kShards));

}  // namespace
}  // namespace tenon::differential
