#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "support/status.h"

namespace tenon::eval {

/// The other ends of a child's pipes: lines come in and go out.
class Lines {
 public:
  Lines(int in, int out) : in_(in), out_(out) {}
  /// Nullopt at the end, or when no whole line has come after `seconds` (0: no limit).
  std::optional<std::string> read(double seconds = 0);
  bool write(const std::string& line);

 private:
  int in_, out_;
  std::string buffer_;
};

/// A copy of this process that serves one subject and then ends: what it allocates, spins or breaks is its own.
class Child {
 public:
  Child() = default;
  ~Child();
  Child(Child&& other) noexcept { *this = std::move(other); }
  Child& operator=(Child&& other) noexcept;

  /// Forks. `serve` runs in the child, whose descriptors of `others` are closed.
  static Result<Child> start(std::span<const Child> others, const std::function<void(Lines&)>& serve);

  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  bool send(const std::string& line) { return lines_ && lines_->write(line); }
  /// Its next line. One that has none in time is killed: kDeadlineExceeded. kInternal, with the signal that ended it, when it is gone.
  Result<std::string> receive(double timeout_s);
  /// Closes its input and waits until it has ended; the largest memory that it held, in bytes.
  size_t finish();

 private:
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  std::optional<Lines> lines_;
};

}  // namespace tenon::eval
