#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backends/backend.h"

namespace tenon::backends {

/// Other runtimes as backends: each session is a process that speaks the protocol of docs/runners.md. The model goes there as its
/// own file where CompileOptions names it, else as the graph, exported. Shapes and dtypes of inputs are checked here, and outputs are
/// checked and converted to the graph's types: what a runner answers is untrusted.
///
/// A session's memory limit is on the growth of the process's resident memory after loading. After any failure of the process the
/// session's next run starts another one.
std::span<const Backend* const> external_backends();

/// A runner by command line, "python3 my_runner.py": see external::split_command. Lives for ever, one for each command.
const Backend& command_backend(std::string_view command);

}  // namespace tenon::backends
