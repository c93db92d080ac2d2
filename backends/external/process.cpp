#include "backends/external/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "backends/external/message.h"

namespace tenon::backends::external {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kKeptBytes = 16 << 10, kQuotedBytes = 1200;
constexpr std::chrono::milliseconds kSlice{100}, kExitGrace{1000};
constexpr int kRequestsFd = 3, kAnswersFd = 4;

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

/// What runs between fork and exec: only what is safe there.
[[noreturn]] void become(char* const* argv, int requests, int answers, int chatter, int null) {
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::signal(SIGINT, SIG_DFL);
  // Above what is replaced first: the pipes may have the numbers that they shall get.
  requests = ::fcntl(requests, F_DUPFD, 10);
  answers = ::fcntl(answers, F_DUPFD, 10);
  ::dup2(null, STDIN_FILENO);
  ::dup2(chatter, STDOUT_FILENO);
  ::dup2(STDOUT_FILENO, STDERR_FILENO);
  ::dup2(requests, kRequestsFd);
  ::dup2(answers, kAnswersFd);
  ::close_range(kAnswersFd + 1, ~0u, 0);
  ::execvp(argv[0], argv);
  const char* reason = ::strerrordesc_np(errno);  // of static memory, unlike strerror
  if (reason == nullptr) reason = "unknown error";
  [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, "cannot start ", 13);
  n = ::write(STDERR_FILENO, argv[0], std::strlen(argv[0]));
  n = ::write(STDERR_FILENO, ": ", 2);
  n = ::write(STDERR_FILENO, reason, std::strlen(reason));
  ::_exit(127);
}

/// Pipes, each end closed unless it was taken.
struct Pipes {
  int requests[2] = {-1, -1}, answers[2] = {-1, -1}, chatter[2] = {-1, -1}, null = -1;

  bool open() {
    // A socket, as writes to one whose reader has gone need not raise SIGPIPE.
    return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, requests) == 0 && ::pipe2(answers, O_CLOEXEC) == 0 &&
           ::pipe2(chatter, O_CLOEXEC) == 0 && (null = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;
  }
  ~Pipes() {
    for (int* fd : {&requests[0], &requests[1], &answers[0], &answers[1], &chatter[0], &chatter[1], &null}) close_fd(*fd);
  }
};

int take(int& fd) {
  const int taken = std::exchange(fd, -1);
  ::fcntl(taken, F_SETFL, ::fcntl(taken, F_GETFL) | O_NONBLOCK);
  return taken;
}

}  // namespace

Result<std::unique_ptr<Process>> Process::start(std::vector<std::string> command) {
  std::unique_ptr<Process> out(new Process());
  out->command_ = std::move(command);
  std::vector<char*> argv;
  for (std::string& word : out->command_) argv.push_back(word.data());
  argv.push_back(nullptr);
  Pipes pipes;
  if (!pipes.open()) return error(Code::kIo, "cannot make pipes for a runner: {}", std::strerror(errno));
  // The signal at a parent's death is sent when the thread that forked ends: only the main thread's end is the process's.
  const bool from_main = ::gettid() == ::getpid();
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return error(Code::kIo, "cannot start a process: {}", std::strerror(errno));
  if (pid == 0) {
    if (from_main) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(127);
    }
    become(argv.data(), pipes.requests[0], pipes.answers[1], pipes.chatter[1], pipes.null);
  }
  ::setpgid(pid, pid);
  out->pid_ = pid;
  out->requests_ = take(pipes.requests[1]);
  out->answers_ = take(pipes.answers[0]);
  out->chatter_ = take(pipes.chatter[0]);
  return out;
}

Process::~Process() { stop(kExitGrace); }

void Process::stop(std::chrono::milliseconds grace) {
  close_fd(requests_);
  if (pid_ > 0) {
    const auto deadline = Clock::now() + grace;
    pid_t reaped = 0;
    while ((reaped = ::waitpid(pid_, &wait_status_, WNOHANG)) == 0 && Clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    // Also what it started: the group has the process's number until nobody is in it.
    ::kill(-pid_, SIGKILL);
    while (reaped == 0 || (reaped < 0 && errno == EINTR)) reaped = ::waitpid(pid_, &wait_status_, 0);
    pid_ = -1;
    drain();
  }
  close_fd(answers_);
  close_fd(chatter_);
}

size_t Process::resident_bytes() const {
  std::FILE* file = std::fopen(fmt::format("/proc/{}/statm", pid_).c_str(), "re");
  if (file == nullptr) return 0;
  unsigned long long total = 0, resident = 0;
  const int read = std::fscanf(file, "%llu %llu", &total, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<size_t>(resident) * static_cast<size_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

void Process::drain() {
  char buffer[4096];
  while (chatter_ >= 0) {
    const ssize_t n = ::read(chatter_, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    if (n == 0) return close_fd(chatter_);
    tail_.append(buffer, static_cast<size_t>(n));
    if (tail_.size() > 2 * kKeptBytes) tail_.erase(0, tail_.size() - kKeptBytes);
  }
}

Status Process::fail(Status status) {
  stop(std::chrono::milliseconds(0));
  const std::string wrote = printable(tail_, kQuotedBytes, Keep::kEnd);
  return Status(status.code(), wrote.empty() ? status.what() : fmt::format("{}; it wrote: {}", status.what(), wrote), status.where(), status.hint());
}

/// It has closed its end, which means that it is ending.
Status Process::ended() {
  stop(kExitGrace);
  const std::string how = WIFSIGNALED(wait_status_)  ? fmt::format("was ended by a signal: {}", ::strsignal(WTERMSIG(wait_status_)))
                          : WIFEXITED(wait_status_) ? fmt::format("ended with status {}", WEXITSTATUS(wait_status_))
                                                    : std::string("ended");
  return fail(Status(Code::kInternal, "the runner " + how, {}, "the command was: " + fmt::format("{}", fmt::join(command_, " "))));
}

Status Process::wait(int fd, short events, const Interrupt& interrupt) {
  while (true) {
    if (Status status = interrupt.check(); !status.ok()) return fail(std::move(status));
    auto slice = std::chrono::duration_cast<std::chrono::milliseconds>(kSlice);
    if (interrupt.deadline)
      slice = std::clamp(std::chrono::ceil<std::chrono::milliseconds>(*interrupt.deadline - Clock::now()), std::chrono::milliseconds(1), slice);
    pollfd fds[3] = {{fd, events, 0}, {chatter_, POLLIN, 0}, {events == POLLOUT ? answers_ : -1, POLLIN, 0}};
    const int ready = ::poll(fds, 3, static_cast<int>(slice.count()));
    if (ready < 0 && errno != EINTR) return fail(error(Code::kIo, "cannot wait for a runner: {}", std::strerror(errno)));
    if (ready > 0 && fds[1].revents != 0) drain();
    if (ready > 0 && (fds[2].revents & POLLIN) != 0) return fail(error(Code::kInternal, "the runner answers before it has read the request"));
    if (ready > 0 && fds[0].revents != 0) return {};
    if (max_resident_ == 0) continue;
    if (const size_t resident = resident_bytes(); resident > max_resident_)
      return fail(Status(Code::kResourceExhausted, fmt::format("the runner holds {} MiB, more than the {} MiB it may", resident >> 20, max_resident_ >> 20),
                         {}, "raise --memory-limit, or run fewer at a time"));
  }
}

Status Process::write(std::span<const std::byte> bytes, const Interrupt& interrupt) {
  if (!alive()) return error(Code::kInternal, "the runner has ended");
  while (!bytes.empty()) {
    TENON_RETURN_IF_ERROR(wait(requests_, POLLOUT, interrupt));
    const ssize_t n = ::send(requests_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return ended();
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status Process::read(std::span<std::byte> bytes, const Interrupt& interrupt) {
  if (!alive()) return error(Code::kInternal, "the runner has ended");
  while (!bytes.empty()) {
    const ssize_t n = ::read(answers_, bytes.data(), bytes.size());
    if (n > 0) bytes = bytes.subspan(static_cast<size_t>(n));
    else if (n == 0) return ended();
    else if (errno == EAGAIN) TENON_RETURN_IF_ERROR(wait(answers_, POLLIN, interrupt));
    else if (errno != EINTR) return ended();
  }
  return {};
}

int Process::exit_status(const Interrupt& interrupt) {
  close_fd(requests_);
  std::byte ignored[256];
  while (read(ignored, interrupt).ok()) {
  }
  return alive() || !WIFEXITED(wait_status_) ? -1 : WEXITSTATUS(wait_status_);
}

Result<std::vector<std::string>> split_command(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
      in_word = true;
    } else if (quote != 0 && c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      in_word = true;
    } else if (quote == 0 && c == ' ') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) return error(Code::kInvalidArgument, "a quote {} has no end", quote).with_hint("close it");
  if (in_word) words.push_back(std::move(word));
  if (words.empty() || words.front().empty()) return error(Code::kInvalidArgument, "the command is empty").with_hint("write exec:PROGRAM ARGUMENT ...");
  return words;
}

}  // namespace tenon::backends::external
