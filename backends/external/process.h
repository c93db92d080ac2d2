#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "support/interrupt.h"
#include "support/status.h"

namespace tenon::backends::external {

/// A program that reads requests from its descriptor 3 and writes answers to its descriptor 4. Its stdout and stderr are kept for
/// errors, their last part; stdin is empty. It runs in a process group of its own, which ends with this object.
class Process {
 public:
  /// `command`: the program, looked up in PATH, and its arguments. A program that does not exist shows in the first read.
  static Result<std::unique_ptr<Process>> start(std::vector<std::string> command);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// All bytes or an error, after which the process has been ended. Asks `interrupt` at least every 100 ms.
  Status write(std::span<const std::byte> bytes, const Interrupt& interrupt);
  Status read(std::span<std::byte> bytes, const Interrupt& interrupt);
  /// Ends it when it holds more resident memory than this during a write or a read; 0: no limit.
  void limit_memory(size_t bytes) { max_resident_ = bytes; }
  size_t resident_bytes() const;
  /// Ends it and says so: `status` with what it wrote.
  Status fail(Status status);
  /// Waits for its end: its exit status, -1 where it was ended by a signal or by `interrupt`.
  int exit_status(const Interrupt& interrupt);
  bool alive() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }

 private:
  Process() = default;
  Status wait(int fd, short events, const Interrupt& interrupt);
  Status ended();
  void drain();
  void stop(std::chrono::milliseconds grace);

  std::vector<std::string> command_;
  pid_t pid_ = -1;
  int requests_ = -1, answers_ = -1, chatter_ = -1;
  int wait_status_ = 0;
  size_t max_resident_ = 0;
  std::string tail_;  // of what it wrote
};

/// A command line as words: separated by spaces, where '…' and "…" keep theirs and a backslash keeps the next character outside '…'.
/// kInvalidArgument for none and for a quote without an end. Nothing is expanded.
Result<std::vector<std::string>> split_command(std::string_view text);

}  // namespace tenon::backends::external
