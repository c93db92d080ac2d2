#include "backends/external/find.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <sstream>

#include "backends/external/process.h"

namespace tenon::backends::external {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kNode = "node", kPython = "python3";
constexpr std::array kKnown = {
    KnownRunner{"onnxruntime", kNode, "onnxruntime-node/runner.mjs", "onnxruntime-node",
                "run `make runners`, or npm ci --ignore-scripts --prefix {}"},
    KnownRunner{"onnxruntime-python", kPython, "python/onnxruntime_runner.py", "onnxruntime", "run pip install onnxruntime numpy"},
    KnownRunner{"openvino", kPython, "python/openvino_runner.py", "openvino", "run pip install openvino numpy"},
};

std::vector<fs::path> split_path(const char* name) {
  std::vector<fs::path> out;
  const char* value = std::getenv(name);
  std::istringstream parts(value != nullptr ? value : "");
  for (std::string part; std::getline(parts, part, ':');)
    if (!part.empty()) out.emplace_back(part);
  return out;
}

bool in_path(std::string_view program) {
  for (const fs::path& folder : split_path("PATH"))
    if (::access((folder / program).c_str(), X_OK) == 0) return true;
  return false;
}

/// As Node looks for it: node_modules of the script's folder and of those above, then the folders in NODE_PATH.
bool has_node_module(const fs::path& script, std::string_view module) {
  std::vector<fs::path> places = split_path("NODE_PATH");
  for (fs::path folder = script.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    places.push_back(folder / "node_modules");
    if (folder == folder.parent_path()) break;
  }
  std::error_code ec;
  for (const fs::path& place : places)
    if (fs::is_regular_file(place / module / "package.json", ec)) return true;
  return false;
}

/// Whether Python can find it, without importing it.
bool has_python_module(std::string_view module) {
  const std::string program = "import importlib.util, sys; sys.exit(0 if importlib.util.find_spec('" + std::string(module) + "') else 3)";
  const Interrupt limit = Interrupt::after(std::chrono::seconds(20));
  auto process = Process::start({std::string(kPython), "-c", program});
  return process.ok() && (*process)->exit_status(limit) == 0;
}

}  // namespace

std::span<const KnownRunner> known_runners() { return kKnown; }

Result<fs::path> runners_folder() {
  std::error_code ec;
  if (const char* given = std::getenv("TENON_RUNNERS"); given != nullptr && *given != '\0') {
    if (fs::is_directory(given, ec)) return fs::path(given);
    return Status(Code::kNotFound, "there is no such folder", fmt::format("TENON_RUNNERS={}", given), "name the folder runners of Tenon's sources");
  }
  const fs::path folder = fs::read_symlink("/proc/self/exe", ec).parent_path();
  // bin of a build folder (build/PRESET/bin), and of where it is installed.
  const std::array places = {folder / "../../../runners", folder / "../share/tenon/runners"};
  for (const fs::path& place : places)
    if (fs::is_directory(place, ec)) return fs::canonical(place, ec);
  return Status(Code::kNotFound, "the folder of the runners is not where this program expects it",
                fmt::format("{}, {}", places[0].lexically_normal().string(), places[1].lexically_normal().string()),
                "name it with the environment variable TENON_RUNNERS");
}

Result<std::vector<std::string>> command_of(const KnownRunner& runner) {
  TENON_ASSIGN_OR_RETURN(const fs::path folder, runners_folder());
  const fs::path script = folder / runner.script;
  std::error_code ec;
  if (!fs::is_regular_file(script, ec)) return Status(Code::kNotFound, "the runner is not there", script.string(), "set TENON_RUNNERS to the folder runners of Tenon's sources");
  const bool node = runner.interpreter == kNode;
  if (!in_path(runner.interpreter))
    return Status(Code::kNotFound, fmt::format("the runner needs {}, which is not in PATH", runner.interpreter), {},
                  node ? "install Node.js 18 or newer (apt-get install nodejs npm)" : "install Python 3 (apt-get install python3)");
  if (!(node ? has_node_module(script, runner.module) : has_python_module(runner.module)))
    return Status(Code::kNotFound, fmt::format("{} is not installed", runner.module), {},
                  fmt::format(fmt::runtime(runner.install), script.parent_path().string()));
  return std::vector<std::string>{std::string(runner.interpreter), script.string()};
}

}  // namespace tenon::backends::external
