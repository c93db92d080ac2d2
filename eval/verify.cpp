#include "eval/verify.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include <nlohmann/json.hpp>

#include "backends/stateful/stateful.h"
#include "eval/inputs.h"
#include "eval/model.h"
#include "eval/round_off.h"
#include "eval/rounded_products.h"
#include "eval/tuning_file.h"
#include "frontend/onnx/export.h"
#include "passes/pass.h"

namespace tenon::eval {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

}  // namespace

std::string_view status_name(CaseStatus status) {
  return status == CaseStatus::kPassed ? "passed" : status == CaseStatus::kFailed ? "failed" : "skipped";
}

Result<std::vector<Case>> find_cases(const fs::path& root) {
  std::error_code ec;
  if (!fs::is_directory(root, ec)) return Status(Code::kNotFound, "no such folder", root.string());
  std::vector<Case> out;
  const auto consider = [&](const fs::path& folder) {
    if (!fs::exists(folder / "model.onnx", ec) || data_sets(folder).empty()) return;
    std::string name = folder.lexically_relative(root).generic_string();
    if (name == ".") name = fs::canonical(root, ec).filename().string();
    out.push_back({std::move(name), folder});
  };
  consider(root);
  for (auto it = fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied, ec);
       !ec && it != fs::recursive_directory_iterator(); it.increment(ec))
    if (it->is_directory(ec)) consider(it->path());
  std::sort(out.begin(), out.end(), [](const Case& a, const Case& b) { return a.name < b.name; });
  return out;
}

namespace {

std::vector<std::string> output_names(const ir::Graph& graph) {
  std::vector<std::string> names;
  for (size_t i = 0; i < graph.outputs().size(); ++i) names.push_back(graph.output_name(static_cast<int>(i)));
  return names;
}

/// The outputs that the rule covers as rows, the others element by element.
Status compare_outputs(const ir::Graph& graph, const std::map<size_t, HostValue>& expected, const std::vector<HostValue>& outputs,
                       const Tolerance& tolerance, const std::optional<RowRule>& rows, CaseResult& result) {
  const std::vector<std::string> names = output_names(graph);
  std::vector<size_t> matched;
  if (rows) {
    const Difference d = match_rows(*rows, names, expected, outputs, tolerance, matched);
    if (!d.ok) return Status(Code::kMismatch, d.message);
  }
  for (const auto& [index, value] : expected) {
    if (std::find(matched.begin(), matched.end(), index) != matched.end()) continue;
    if (index >= outputs.size()) return Status(Code::kMismatch, fmt::format("output {} is missing", index));
    const Difference d = compare(value, outputs[index], tolerance);
    result.max_abs = std::max(result.max_abs, d.max_abs);
    result.max_rel = std::max(result.max_rel, d.max_rel);
    if (!d.ok) return Status(Code::kMismatch, fmt::format("output {}: {}", names[index], d.message));
  }
  return {};
}

Result<std::unique_ptr<ir::Graph>> through_onnx(ir::Graph& graph, const RoundTrip& trip, const frontend::ImportOptions& import) {
  passes::PipelineOptions options;
  options.level = trip.level;
  options.for_export = true;
  TENON_RETURN_IF_ERROR(passes::run_pipeline(graph, options));
  frontend::ExportOptions format;
  format.opset = trip.opset;
  Result<std::string> bytes = frontend::export_onnx_bytes(graph, format);
  if (!bytes.ok()) return std::move(bytes).status().at("export");
  auto again = frontend::import_onnx_bytes(std::as_bytes(std::span(*bytes)), import);
  if (!again.ok()) return std::move(again).status().at("import of what was exported");
  return again;
}

void count_nodes(std::span<const backends::Placement> rows, CaseResult& result) {
  using Kind = backends::Placement::Kind;
  for (const backends::Placement& row : rows) {
    if (row.kind == Kind::kFolded) continue;
    const int nodes = std::max(1, static_cast<int>(row.covers.size()));
    result.nodes += nodes;
    if (row.kind != Kind::kHost && row.kind != Kind::kInterpreted) continue;
    result.host_nodes[row.reason.empty() ? row.op : fmt::format("{}: {}", row.op, row.reason)] += nodes;
  }
}

/// Runs the data sets in turn; the first failure ends the case.
Status run_case(const Case& one, const backends::Backend& backend, const VerifyOptions& options, CaseResult& result) {
  const Interrupt interrupt = Interrupt::after(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.timeout_s)));
  frontend::ImportOptions import = options.import;
  import.interrupt = interrupt;
  TENON_ASSIGN_OR_RETURN(auto graph, frontend::import_onnx(one.folder / "model.onnx", import));
  if (options.round_trip) {
    TENON_ASSIGN_OR_RETURN(graph, through_onnx(*graph, *options.round_trip, import));
  }
  Tolerance tolerance = options.tolerance;
  if (options.widen && rounds_factors(backend, options.compile.precision)) {
    TENON_ASSIGN_OR_RETURN(const Rounding rounding, rounding_of_outputs(*graph, tolerance, options.compile.precision, interrupt));
    tolerance = rounding.tolerance;
    result.rounding = describe(rounding, options.compile.precision);
  }
  const std::vector<std::string> names = output_names(*graph);
  result.has_key = options.rows && std::find(names.begin(), names.end(), options.rows->key) != names.end();
  const auto compile_start = Clock::now();
  backends::CompileOptions compile = options.compile;
  compile.interrupt = interrupt;
  if (!options.round_trip) {
    name_source(one.folder / "model.onnx", import, compile);
    use_tuning(one.folder / "model.onnx", backend, compile);
  }
  TENON_ASSIGN_OR_RETURN(const std::vector<backends::StatePair> states, states_of(*graph, options.states, interrupt));
  TENON_ASSIGN_OR_RETURN(const auto executable, backends::compile_stateful(backend, graph->clone(), compile, states));
  result.compile_ms = ms_since(compile_start);
  count_nodes(executable->placement(), result);
  backends::SessionOptions session_options = options.session;
  session_options.interrupt = interrupt;
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session(session_options));
  for (const fs::path& folder : data_sets(one.folder)) {
    const std::string set = folder.filename().string();
    TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, read_inputs(*graph, folder));
    TENON_ASSIGN_OR_RETURN(const auto expected, read_outputs(*graph, folder));
    if (expected.empty() && !graph->outputs().empty())
      return Status(Code::kNotFound, "no output_0.pb to compare with", folder.string());
    if (backends::States* states = session->states()) states->reset();  // a data set is a sequence of its own
    TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> given, set_states(*session, *graph, inputs));
    const auto run_start = Clock::now();
    Result<std::vector<HostValue>> outputs = session->run(given, interrupt);
    result.run_ms += ms_since(run_start);
    if (outputs.ok()) outputs = with_states(*session, *graph, std::move(*outputs));
    if (!outputs.ok()) return std::move(outputs).status().at(set);
    const CaseResult before = result;
    Status agrees = compare_outputs(*graph, expected, *outputs, tolerance, options.rows, result);
    if (agrees.code() == Code::kMismatch && !options.rows) {
      // Rows of a ranking whose scores tie within the tolerance have no one right order.
      if (const auto rule = ranking_rule(output_names(*graph), expected)) {
        CaseResult ranked = before;
        if (compare_outputs(*graph, expected, *outputs, tolerance, rule, ranked).ok()) {
          agrees = Status();
          result = std::move(ranked);
          result.message = fmt::format("rows of {} that tie are in another order", rule->key);
        }
      }
    }
    if (agrees.code() == Code::kMismatch && options.round_off_samples > 0) {
      if (auto within = within_round_off(*graph, inputs, expected, *outputs, options.round_off_samples); within.ok() && *within) {
        agrees = Status();
        result.message = std::move(**within);
      }
    }
    if (!agrees.ok()) return std::move(agrees).at(set);
    if (expected.size() < graph->outputs().size() && result.message.empty())
      result.message = fmt::format("{} of {} outputs are compared: {} has no file for the others", expected.size(), graph->outputs().size(), set);
    ++result.data_sets;
  }
  if (const std::string_view other = backends::taken_over_by(backend, *executable, *session); !other.empty())
    result.message = fmt::format("{} failed and {} took over{}{}", backend.name(), other, result.message.empty() ? "" : "; ", result.message);
  return {};
}

}  // namespace

CaseResult verify_case(const Case& one, const backends::Backend& backend, const VerifyOptions& options) {
  CaseResult result;
  result.name = one.name;
  result.backend = backend.name();
  const Status status = run_case(one, backend, options, result);
  result.status = status.ok() ? CaseStatus::kPassed : CaseStatus::kFailed;
  if (!status.ok()) result.message = status.to_string();
  if (status.code() == Code::kDeadlineExceeded)
    result.message = fmt::format("took longer than {} s{}", options.timeout_s, status.where().empty() ? "" : ": " + status.where());
  return result;
}

namespace {

using nlohmann::json;

json to_json(const CaseResult& r) {
  return {{"status", static_cast<int>(r.status)}, {"message", r.message}, {"max_abs", r.max_abs},   {"max_rel", r.max_rel},
          {"compile_ms", r.compile_ms},           {"run_ms", r.run_ms},   {"data_sets", r.data_sets}, {"has_key", r.has_key},
          {"rounding", r.rounding},               {"nodes", r.nodes},     {"host_nodes", r.host_nodes}};
}

void from_json(const json& j, CaseResult& r) {
  r.status = static_cast<CaseStatus>(j.at("status").get<int>());
  r.message = j.at("message").get<std::string>();
  r.max_abs = j.at("max_abs").is_number() ? j.at("max_abs").get<double>() : 0;
  r.max_rel = j.at("max_rel").is_number() ? j.at("max_rel").get<double>() : 0;
  r.compile_ms = j.at("compile_ms").get<double>();
  r.run_ms = j.at("run_ms").get<double>();
  r.data_sets = j.at("data_sets").get<int>();
  r.has_key = j.at("has_key").get<bool>();
  r.rounding = j.at("rounding").get<std::string>();
  r.nodes = j.at("nodes").get<int>();
  r.host_nodes = j.at("host_nodes").get<std::map<std::string, int>>();
}

/// A case says itself that its time is over; one that cannot is ended this much later.
constexpr double kGraceSeconds = 1;

/// A process serves so many cases: what drivers and compilers take to begin is shared, and what a case leaves behind does not reach far.
constexpr int kCasesOfProcess = 16;

/// A process that takes numbers of cases, a line each, and answers each with a line of JSON.
struct Child {
  pid_t pid = -1;
  int socket = -1;
  int begun = 0;                // cases
  std::optional<size_t> index;  // of the case that it runs
  std::string text;
  Clock::time_point start;
};

/// False where nobody reads it any more.
bool send_all(int socket, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::send(socket, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

/// Appends what there is; false at the end.
bool receive(int socket, std::string& text) {
  char buffer[4096];
  ssize_t n = 0;
  do {
    n = ::read(socket, buffer, sizeof(buffer));
  } while (n < 0 && errno == EINTR);
  if (n > 0) text.append(buffer, static_cast<size_t>(n));
  return n > 0;
}

/// Takes the first line out of `text`, when it is whole.
std::optional<std::string> take_line(std::string& text) {
  const size_t end = text.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = text.substr(0, end);
  text.erase(0, end + 1);
  return line;
}

/// Cases in child processes, `jobs` at a time.
class Runner {
 public:
  Runner(std::span<const Case> cases, const backends::Backend& backend, const VerifyOptions& options,
         const std::function<void(const CaseResult&)>& done)
      : cases_(cases), backend_(backend), options_(options), done_(done), results_(cases.size()) {}

  std::vector<CaseResult> run() {
    while (next_ < cases_.size() || !children_.empty()) {
      while (next_ < cases_.size() && children_.size() < static_cast<size_t>(std::max(1, options_.jobs))) start();
      wait();
    }
    return std::move(results_);
  }

 private:
  void start() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail(next_++, "cannot make a pipe");
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) {
      ::close(ends[0]);
      ::close(ends[1]);
      return fail(next_++, "cannot start a process");
    }
    if (pid == 0) {
      ::close(ends[0]);
      for (const Child& other : children_) ::close(other.socket);
      serve(ends[1]);
    }
    ::close(ends[1]);
    children_.push_back({pid, ends[0], 0, std::nullopt, {}, {}});
    begin(children_.back());
  }

  [[noreturn]] void serve(int socket) {
    std::string text;
    do {
      while (const auto line = take_line(text)) {
        const CaseResult result = verify_case(cases_[std::stoul(*line)], backend_, options_);
        if (!send_all(socket, to_json(result).dump(-1, ' ', false, json::error_handler_t::replace) + "\n")) ::_exit(0);
      }
    } while (receive(socket, text));
    ::_exit(0);
  }

  /// Gives the child the next case.
  void begin(Child& child) {
    child.index = next_++;
    child.start = Clock::now();
    ++child.begun;
    static_cast<void>(send_all(child.socket, fmt::format("{}\n", *child.index)));  // one that has ended shows when it is read
  }

  void wait() {
    std::vector<pollfd> fds;
    for (const Child& child : children_) fds.push_back({child.socket, POLLIN, 0});
    ::poll(fds.data(), fds.size(), 200);
    for (size_t i = fds.size(); i-- > 0;) {
      Child& child = children_[i];
      const bool ended = fds[i].revents != 0 && !receive(child.socket, child.text);
      const std::optional<std::string> line = take_line(child.text);
      if (line) take_result(*child.index, *line);
      if (line && !ended && child.begun < kCasesOfProcess && next_ < cases_.size()) {
        begin(child);
        continue;
      }
      if (line) child.index.reset();
      const bool late = child.index && !ended && ms_since(child.start) > (options_.timeout_s + kGraceSeconds) * 1000;
      if (late) ::kill(child.pid, SIGKILL);
      if (line || ended || late) finish(i, late);
    }
  }

  void take_result(size_t index, const std::string& line) {
    CaseResult& result = results_[index];
    result.name = cases_[index].name;
    result.backend = backend_.name();
    try {
      from_json(json::parse(line), result);
    } catch (const json::exception&) {
      return fail(index, "the child process gave no result");
    }
    done_(result);
  }

  /// Ends the child; a case that it still runs has failed.
  void finish(size_t i, bool late) {
    const Child child = std::move(children_[i]);
    children_.erase(children_.begin() + static_cast<ptrdiff_t>(i));
    ::close(child.socket);
    int status = 0;
    while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!child.index) return;
    if (late) fail(*child.index, fmt::format("took longer than {} s", options_.timeout_s));
    else if (WIFSIGNALED(status)) fail(*child.index, fmt::format("crashed: {}", ::strsignal(WTERMSIG(status))));
    else fail(*child.index, "the child process ended without a result");
  }

  void fail(size_t index, std::string message) {
    CaseResult& result = results_[index];
    result.name = cases_[index].name;
    result.backend = backend_.name();
    result.status = CaseStatus::kFailed;
    result.message = std::move(message);
    done_(result);
  }

  std::span<const Case> cases_;
  const backends::Backend& backend_;
  const VerifyOptions& options_;
  const std::function<void(const CaseResult&)>& done_;
  std::vector<CaseResult> results_;
  std::vector<Child> children_;
  size_t next_ = 0;             // the first case that nobody has
};

}  // namespace

std::vector<CaseResult> verify_cases(std::span<const Case> cases, const backends::Backend& backend, const VerifyOptions& options,
                                     const std::function<void(const CaseResult&)>& done) {
  if (options.isolate) return Runner(cases, backend, options, done).run();
  std::vector<CaseResult> results;
  for (const Case& one : cases) {
    results.push_back(verify_case(one, backend, options));
    done(results.back());
  }
  return results;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace tenon::eval
