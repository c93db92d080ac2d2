#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/status.h"

namespace tenon::backends::external {

/// A runner that comes with Tenon.
struct KnownRunner {
  std::string_view backend;      // its name for --backend
  std::string_view interpreter;  // of the script, looked up in PATH
  std::string_view script;       // below runners/
  std::string_view module;       // what the interpreter must have installed
  std::string_view install;      // how
};
std::span<const KnownRunner> known_runners();

/// The folder `runners`: $TENON_RUNNERS, else what belongs to this executable: beside the build folder in the source tree, or
/// share/tenon/runners of where it is installed. kNotFound names the places.
Result<std::filesystem::path> runners_folder();
/// The command that starts a runner, or what is missing and how to get it.
Result<std::vector<std::string>> command_of(const KnownRunner& runner);

}  // namespace tenon::backends::external
