#include "eval/bench/child.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

namespace tenon::eval {
namespace {

using Clock = std::chrono::steady_clock;

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

int wait_for(pid_t pid, rusage& usage) {
  int status = 0;
  while (::wait4(pid, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

std::optional<std::string> Lines::read(double seconds) {
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  for (size_t searched = 0;;) {
    if (const size_t end = buffer_.find('\n', searched); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    searched = buffer_.size();
    if (seconds > 0) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left < 0) return std::nullopt;
      pollfd wait{in_, POLLIN, 0};
      if (::poll(&wait, 1, static_cast<int>(std::min<int64_t>(left, 1000))) <= 0) continue;
    }
    std::array<char, 1 << 16> bytes;
    const ssize_t n = ::read(in_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    buffer_.append(bytes.data(), static_cast<size_t>(n));
  }
}

bool Lines::write(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(out_, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(to_, other.to_);
  std::swap(from_, other.from_);
  std::swap(lines_, other.lines_);
  return *this;
}

Child::~Child() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
  finish();
}

Result<Child> Child::start(std::span<const Child> others, const std::function<void(Lines&)>& serve) {
  ::signal(SIGPIPE, SIG_IGN);
  std::array<int, 2> down{-1, -1}, up{-1, -1};
  if (::pipe(down.data()) != 0) return error(Code::kIo, "cannot make a pipe: {}", std::strerror(errno));
  if (::pipe(up.data()) != 0) {
    close_fd(down[0]);
    close_fd(down[1]);
    return error(Code::kIo, "cannot make a pipe: {}", std::strerror(errno));
  }
  std::fflush(nullptr);
  Child child;
  const pid_t parent = ::getpid();
  child.pid_ = ::fork();
  if (child.pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nothing measures on when nobody waits for it
    if (::getppid() != parent) ::_exit(1);
    ::signal(SIGINT, SIG_IGN);  // the parent decides what an interruption ends
    ::close(down[1]);
    ::close(up[0]);
    for (const Child& other : others) {
      if (other.to_ >= 0) ::close(other.to_);
      if (other.from_ >= 0) ::close(other.from_);
    }
    Lines lines(down[0], up[1]);
    serve(lines);
    ::_exit(0);
  }
  close_fd(down[0]);
  close_fd(up[1]);
  child.to_ = down[1];
  child.from_ = up[0];
  child.lines_.emplace(child.from_, child.to_);
  if (child.pid_ < 0) return error(Code::kIo, "cannot start a process: {}", std::strerror(errno));
  return child;
}

Result<std::string> Child::receive(double timeout_s) {
  if (!lines_) return error(Code::kInternal, "the process that runs the model has not started");
  const auto start = Clock::now();
  if (std::optional<std::string> line = lines_->read(timeout_s)) return std::move(*line);
  const bool late = timeout_s > 0 && std::chrono::duration<double>(Clock::now() - start).count() >= timeout_s;
  if (late) ::kill(pid_, SIGKILL);
  close_fd(to_);
  close_fd(from_);
  lines_.reset();
  rusage usage{};
  const int status = wait_for(std::exchange(pid_, -1), usage);
  if (late) return error(Code::kDeadlineExceeded, "took longer than {} s", timeout_s).with_hint("raise --timeout, or take a smaller model");
  if (WIFSIGNALED(status)) return error(Code::kInternal, "crashed: {}", ::strsignal(WTERMSIG(status)));
  return error(Code::kInternal, "the process that runs the model ended early");
}

size_t Child::finish() {
  close_fd(to_);
  close_fd(from_);
  lines_.reset();
  if (pid_ <= 0) return 0;
  rusage usage{};
  wait_for(std::exchange(pid_, -1), usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace tenon::eval
