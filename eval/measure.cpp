#include "eval/measure.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <optional>

#include <nlohmann/json.hpp>

#include "eval/inputs.h"
#include "eval/model.h"

namespace tenon::eval {
using Clock = std::chrono::steady_clock;
using nlohmann::json;

std::vector<double> Measurement::all() const {
  std::vector<double> out;
  for (const auto& round : rounds) out.insert(out.end(), round.begin(), round.end());
  return out;
}

namespace {

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

bool write_line(int fd, const std::string& line) {
  const std::string text = line + "\n";
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

/// The next line, nullopt at the end of the stream, or when none has come by `deadline`.
std::optional<std::string> read_line(int fd, std::optional<Clock::time_point> deadline = {}) {
  std::string line;
  for (char c;;) {
    if (deadline) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      pollfd wait{fd, POLLIN, 0};
      const int ready = left < 0 ? 0 : ::poll(&wait, 1, static_cast<int>(std::min<int64_t>(left, 1000)));
      if (left < 0) return std::nullopt;
      if (ready <= 0) continue;
    }
    const ssize_t n = ::read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    if (c == '\n') return line;
    line += c;
  }
}

Interrupt time_limit(const MeasureOptions& options) {
  return Interrupt::after(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.timeout_s)));
}

/// What runs in the child: prepares the subject, reports, then runs a round for every line that comes in.
class Worker {
 public:
  Worker(const Subject& subject, const MeasureOptions& options) : subject_(subject), options_(options) {}

  void serve(int in, int out) {
    json report;
    const Status status = prepare(report);
    report["error"] = status.ok() ? "" : status.to_string();
    if (!write_line(out, report.dump(-1, ' ', false, json::error_handler_t::replace)) || !status.ok()) return;
    while (read_line(in)) {
      json samples = json::array();
      const Interrupt interrupt = time_limit(options_);
      const auto start = Clock::now();
      do {
        const auto run_start = Clock::now();
        const Result<std::vector<HostValue>> outputs = session_->run(inputs_, interrupt);
        samples.push_back(ms_since(run_start));
        if (!outputs.ok()) {
          write_line(out, json(outputs.status().to_string()).dump(-1, ' ', false, json::error_handler_t::replace));
          return;
        }
      } while (ms_since(start) < options_.round_ms);
      if (!write_line(out, samples.dump())) return;
    }
  }

 private:
  Status prepare(json& report) {
    auto start = Clock::now();
    const Interrupt interrupt = time_limit(options_);
    backends::CompileOptions compile = options_.compile;
    compile.interrupt = interrupt;
    name_source(subject_.model, subject_.import, compile);
    frontend::ImportOptions import = subject_.import;
    import.interrupt = interrupt;
    std::vector<std::string> absent;
    if (subject_.skip_absent) import.absent = &absent;
    TENON_ASSIGN_OR_RETURN(graph_, load_model(subject_.model, import));
    report["load_ms"] = ms_since(start);
    report["absent"] = absent;
    start = Clock::now();
    TENON_ASSIGN_OR_RETURN(executable_, subject_.backend->compile(*graph_, compile));
    TENON_ASSIGN_OR_RETURN(session_, executable_->create_session({.num_threads = subject_.threads, .max_bytes = options_.max_bytes, .interrupt = interrupt}));
    report["compile_ms"] = ms_since(start);
    if (options_.use_test_data) {
      TENON_ASSIGN_OR_RETURN(inputs_, read_inputs(*graph_, subject_.model.parent_path() / "test_data_set_0"));
    } else {
      TENON_ASSIGN_OR_RETURN(inputs_, random_inputs(*graph_, options_.seed));
    }
    for (int i = 0; i <= options_.warmup; ++i) {
      start = Clock::now();
      const Result<std::vector<HostValue>> outputs = session_->run(inputs_, interrupt);
      if (!outputs.ok()) return outputs.status();
      if (i == 0) report["first_run_ms"] = ms_since(start);
    }
    return {};
  }

  const Subject& subject_;
  const MeasureOptions& options_;
  std::unique_ptr<ir::Graph> graph_;
  std::shared_ptr<const backends::Executable> executable_;
  std::unique_ptr<backends::Session> session_;
  std::vector<HostValue> inputs_;
};

struct Child {
  pid_t pid = -1;
  int to = -1, from = -1;
};

Status start(const Subject& subject, const MeasureOptions& options, std::span<const Child> others, Child& child) {
  int down[2], up[2];
  if (::pipe(down) != 0) return error(Code::kIo, "cannot make a pipe");
  if (::pipe(up) != 0) return error(Code::kIo, "cannot make a pipe");
  std::fflush(nullptr);
  child.pid = ::fork();
  if (child.pid < 0) return error(Code::kIo, "cannot start a process: {}", std::strerror(errno));
  if (child.pid == 0) {
    ::close(down[1]);
    ::close(up[0]);
    for (const Child& other : others) {
      ::close(other.to);
      ::close(other.from);
    }
    Worker(subject, options).serve(down[0], up[1]);
    ::_exit(0);
  }
  ::close(down[0]);
  ::close(up[1]);
  child.to = down[1];
  child.from = up[0];
  return {};
}

/// A child says itself that its time is over; one that cannot is ended this much later.
constexpr std::chrono::seconds kGrace{1};

/// Its next line; one that has none in time is ended.
Result<std::string> answer(const Child& child, const MeasureOptions& options) {
  const auto deadline = *time_limit(options).deadline + kGrace;
  if (std::optional<std::string> line = read_line(child.from, deadline)) return std::move(*line);
  if (Clock::now() < deadline) return error(Code::kInternal, "the process that runs the model ended early");
  ::kill(child.pid, SIGKILL);
  return error(Code::kDeadlineExceeded, "took longer than {} s", options.timeout_s).with_hint("raise --timeout, or take a smaller model");
}

Status read_report(const Child& child, const MeasureOptions& options, Measurement& out) {
  TENON_ASSIGN_OR_RETURN(const std::string line, answer(child, options));
  try {
    const json report = json::parse(line);
    out.absent = report.value("absent", std::vector<std::string>());
    out.load_ms = report.value("load_ms", 0.0);
    out.compile_ms = report.value("compile_ms", 0.0);
    out.first_run_ms = report.value("first_run_ms", 0.0);
    if (const std::string text = report.value("error", ""); !text.empty()) return Status(Code::kInvalidArgument, text);
  } catch (const json::exception& e) {
    return error(Code::kInternal, "cannot read the report of a run: {}", e.what());
  }
  return {};
}

Status run_round(const Child& child, const MeasureOptions& options, Measurement& out) {
  if (!write_line(child.to, "run")) return error(Code::kInternal, "the process that runs the model ended early");
  TENON_ASSIGN_OR_RETURN(const std::string line, answer(child, options));
  try {
    const json samples = json::parse(line);
    if (samples.is_string()) return Status(Code::kInternal, samples.get<std::string>());
    out.rounds.push_back(samples.get<std::vector<double>>());
  } catch (const json::exception& e) {
    return error(Code::kInternal, "cannot read the samples of a run: {}", e.what());
  }
  return {};
}

void finish(const Child& child, Measurement& out) {
  if (child.pid < 0) return;
  ::close(child.to);
  ::close(child.from);
  rusage usage{};
  int status = 0;
  while (::wait4(child.pid, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  out.peak_rss_mb = static_cast<double>(usage.ru_maxrss) / 1024;
  if (WIFSIGNALED(status) && out.status.code() != Code::kDeadlineExceeded) out.status = error(Code::kInternal, "crashed: {}", ::strsignal(WTERMSIG(status)));
}

}  // namespace

std::vector<Measurement> measure(std::span<const Subject> subjects, const MeasureOptions& options,
                                 const std::function<void(int round)>& progress) {
  ::signal(SIGPIPE, SIG_IGN);
  std::vector<Measurement> out(subjects.size());
  std::vector<Child> children(subjects.size());
  // One at a time: preparing is measured too.
  for (size_t i = 0; i < subjects.size(); ++i) {
    progress(0);
    out[i].status = start(subjects[i], options, {children.data(), i}, children[i]);
    if (out[i].status.ok()) out[i].status = read_report(children[i], options, out[i]);
  }
  for (int round = 0; round < options.rounds; ++round) {
    progress(round + 1);
    for (size_t k = 0; k < subjects.size(); ++k) {
      const size_t i = round % 2 == 0 ? k : subjects.size() - 1 - k;
      if (out[i].status.ok()) out[i].status = run_round(children[i], options, out[i]);
    }
  }
  for (size_t i = 0; i < subjects.size(); ++i) finish(children[i], out[i]);
  return out;
}

}  // namespace tenon::eval
