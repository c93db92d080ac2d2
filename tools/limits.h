#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "support/interrupt.h"
#include "support/status.h"

namespace tenon::tools {

/// Every command has a limit of time and one of memory.
struct LimitOptions {
  double timeout_s = 3600;
  std::string memory;  // "4G", "512MiB", "50%"; empty: default_memory_limit()
};
/// --timeout and --memory-limit. `what` the time is for: "the command", "a case".
void add_limit_options(CLI::App& app, LimitOptions& options, const char* what = "the command");

/// Bytes of "4G", "512MiB", "50%" (of the machine's memory). The error names the option.
Result<size_t> parse_size(const std::string& text, const char* option);
/// The time limit, from now on.
Interrupt start_clock(const LimitOptions& options);
/// What a run may hold. Also limits what this process and its children can have beside it, so that memory that nobody accounts
/// for ends in an error too.
Result<size_t> apply_memory_limit(const LimitOptions& options);

}  // namespace tenon::tools
