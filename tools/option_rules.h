#pragma once

#include <CLI/CLI.hpp>

#include "support/status.h"

namespace tenon::tools {

/// Whether every option that was given has an effect beside the others. kInvalidArgument names the first one that has none, and what it
/// would need. For a subcommand whose options are parsed. The rules are one table, in option_rules.cpp.
Status check_options(const CLI::App& command);

}  // namespace tenon::tools
