#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "eval/verify.h"

/// Cases in child processes. A process serves several, one after the other: what drivers and compilers take to begin is shared. So that none is
/// charged with what another left behind, a case that ends a process which has served others is run again in one of its own.
namespace tenon::eval {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

/// A case says itself that its time is over; one that cannot is ended this much later.
constexpr double kGraceSeconds = 1;

constexpr int kCasesOfProcess = 16;

/// A process that holds so much more than when it began takes no further case.
constexpr size_t kMostKeptBytes = size_t{256} << 20;

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

/// Of this process, in memory.
size_t resident_bytes() {
  size_t pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%*u %zu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

/// A case that has answered, and the end of its process since then, for which either it or the case after it is to blame.
struct Suspicion {
  size_t index;
  std::string ending;
};

/// A process that takes numbers of cases, a line each, and answers each with a line of JSON.
struct Child {
  pid_t pid = -1;
  int socket = -1;
  std::optional<size_t> running;    // the case that it has been given
  std::optional<size_t> answered;   // the case before, whose process may still show that it did harm
  std::optional<Suspicion> suspicion;  // that running the case by itself clears up
  std::string text;
  Clock::time_point start;
};

class Runner {
 public:
  Runner(std::span<const Case> cases, const backends::Backend& backend, const VerifyOptions& options,
         const std::function<void(const CaseResult&)>& done)
      : cases_(cases), backend_(backend), options_(options), done_(done), results_(cases.size()) {
    for (size_t i = 0; i < cases.size(); ++i) {
      results_[i].name = cases[i].name;
      results_[i].backend = backend.name();
    }
  }

  std::vector<CaseResult> run() {
    while (has_more() || !children_.empty()) {
      while (has_more() && children_.size() < static_cast<size_t>(std::max(1, options_.jobs))) start();
      wait();
    }
    return std::move(results_);
  }

 private:
  bool has_more() const { return next_ < cases_.size() || !again_.empty(); }

  /// A process for the next case; one that has to show whether it ends it by itself comes first.
  void start() {
    Child child;
    if (again_.empty()) {
      child.running = next_++;
    } else {
      std::tie(child.running, child.suspicion) = std::move(again_.front());
      again_.pop_front();
    }
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return cannot_start(child, "cannot make a pipe");
    std::fflush(nullptr);
    child.pid = ::fork();
    if (child.pid == 0) {
      ::close(ends[0]);
      for (const Child& other : children_) ::close(other.socket);
      serve(ends[1], child.suspicion ? 1 : kCasesOfProcess);
    }
    ::close(ends[1]);
    child.socket = ends[0];
    if (child.pid < 0) {
      ::close(child.socket);
      return cannot_start(child, "cannot start a process");
    }
    give(child);
    children_.push_back(std::move(child));
  }

  void cannot_start(const Child& child, const char* why) {
    if (child.suspicion) conclude(child.suspicion->index);
    fail(*child.running, why);
    conclude(*child.running);
  }

  /// In the child. What is thrown through a case ends it here, not in what the parent would do next.
  [[noreturn]] void serve(int socket, int most) noexcept {
    const size_t at_first = resident_bytes();
    std::string text;
    int served = 0;
    do {
      while (const auto line = take_line(text)) {
        json answer = to_json(verify_case(cases_[std::stoul(*line)], backend_, options_));
        answer["more"] = ++served < most && resident_bytes() < at_first + kMostKeptBytes;
        if (!send_all(socket, answer.dump(-1, ' ', false, json::error_handler_t::replace) + "\n")) ::_exit(0);
      }
    } while (receive(socket, text));
    ::_exit(0);
  }

  static void give(Child& child) {
    child.start = Clock::now();
    static_cast<void>(send_all(child.socket, fmt::format("{}\n", *child.running)));  // one that has ended shows when it is read
  }

  void wait() {
    std::vector<pollfd> fds;
    for (const Child& child : children_) fds.push_back({child.socket, POLLIN, 0});
    ::poll(fds.data(), fds.size(), 200);
    for (size_t i = fds.size(); i-- > 0;) {
      Child& child = children_[i];
      const bool ended = fds[i].revents != 0 && !receive(child.socket, child.text);
      const std::optional<std::string> line = take_line(child.text);
      if (line && take_answer(child, *line) && !ended && next_ < cases_.size()) {
        child.running = next_++;
        give(child);
        continue;
      }
      const std::chrono::duration<double> took = Clock::now() - child.start;
      const bool late = !line && !ended && took.count() > options_.timeout_s + kGraceSeconds;
      if (late) ::kill(child.pid, SIGKILL);
      if (line || ended || late) finish(i, late);
    }
  }

  /// Whether the child takes another case.
  bool take_answer(Child& child, const std::string& line) {
    // Whoever was there before it is cleared, or, where this case by itself does no harm, charged.
    if (child.answered) conclude(*child.answered);
    if (child.suspicion) charge(*child.suspicion, *child.running);
    child.suspicion.reset();
    child.answered = std::exchange(child.running, std::nullopt);
    try {
      const json answer = json::parse(line);
      from_json(answer, results_[*child.answered]);
      return answer.at("more").get<bool>();
    } catch (const json::exception&) {
      fail(*child.answered, "the child process gave no result");
      return false;
    }
  }

  /// Ends the child. A case that it still runs has failed if nobody was there before it, else it shows that by itself.
  void finish(size_t i, bool late) {
    Child child = std::move(children_[i]);
    children_.erase(children_.begin() + static_cast<ptrdiff_t>(i));
    ::close(child.socket);
    int status = 0;
    while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    const std::string ending = late ? fmt::format("took longer than {} s", options_.timeout_s)
                               : WIFSIGNALED(status) ? fmt::format("crashed: {}", ::strsignal(WTERMSIG(status)))
                                                     : "the child process ended without a result";
    if (child.running && child.answered) {
      again_.emplace_back(*child.running, Suspicion{*child.answered, ending});
    } else if (child.running) {
      if (child.suspicion) conclude(child.suspicion->index);
      fail(*child.running, ending);
      conclude(*child.running);
    } else if (child.answered) {
      if (WIFSIGNALED(status)) fail(*child.answered, fmt::format("{} after its answer", ending));
      conclude(*child.answered);
    }
  }

  void charge(const Suspicion& suspicion, size_t after) {
    const CaseResult& own = results_[suspicion.index];
    const std::string before = own.status == CaseStatus::kFailed ? own.message + "; " : std::string();
    fail(suspicion.index, fmt::format("{}{} after its answer, while its process ran {}, which by itself does not", before, suspicion.ending, cases_[after].name));
    conclude(suspicion.index);
  }

  void fail(size_t index, std::string message) {
    results_[index].status = CaseStatus::kFailed;
    results_[index].message = std::move(message);
  }

  void conclude(size_t index) { done_(results_[index]); }

  std::span<const Case> cases_;
  const backends::Backend& backend_;
  const VerifyOptions& options_;
  const std::function<void(const CaseResult&)>& done_;
  std::vector<CaseResult> results_;
  std::vector<Child> children_;
  size_t next_ = 0;                               // the first case that nobody has had
  std::deque<std::pair<size_t, Suspicion>> again_;  // cases that ended a process which had served others
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

}  // namespace tenon::eval
