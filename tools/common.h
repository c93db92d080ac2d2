#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "backends/backend.h"
#include "codegen/target.h"
#include "eval/compiled_model.h"
#include "frontend/onnx/import.h"
#include "ir/graph.h"
#include "ir/op_registry.h"
#include "tools/limits.h"

namespace tenon::tools {

/// Exit statuses: the thing checked holds, does not hold, or could not be checked (usage, input).
inline constexpr int kSuccess = 0, kDoesNotHold = 1, kFailure = 2;

/// Prints `error: WHAT (WHERE): WHAT TO DO` to stderr; the status to exit with.
int report(const Status& status);

/// The model to load and what is bound in it.
struct ModelOptions {
  std::string path;
  std::vector<std::string> dims;    // NAME=N
  std::vector<std::string> shapes;  // INPUT=1x3x224x224
  std::vector<std::string> custom_ops;  // libraries
  std::vector<std::string> states;  // auto, INPUT=OUTPUT
  LimitOptions limits;
  Interrupt interrupt;              // load() starts the clock
  size_t max_bytes = 0;             // and applies the limit
  frontend::ImportOptions import;   // and keeps what it imported with
};
void add_model_options(CLI::App& app, ModelOptions& options);
void add_dim_options(CLI::App& app, std::vector<std::string>& dims, std::vector<std::string>& shapes);
void add_custom_ops(CLI::App& app, std::vector<std::string>& libraries);
/// --state: what sessions keep from one run to the next (eval/states.h).
void add_states(CLI::App& app, std::vector<std::string>& states);
/// The ops of these libraries; null when there are none.
Result<std::shared_ptr<const ir::OpRegistry>> load_libraries(const std::vector<std::string>& libraries);
/// An option that is given once for every value.
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values, const char* type, const char* help);
/// Only these values, which the help lists behind the option's description; `type` stands for them in its synopsis.
CLI::Option* one_of(CLI::Option* option, const char* type, std::vector<std::string> values);
/// "a, b or c".
std::string alternatives(const std::vector<std::string>& values);
/// What code is for and where it runs.
struct TargetOptions {
  std::string target;               // --target and --no-winograd
  std::string device;               // --device
  std::string placement;            // --require-placement
  bool checked = false;             // --checked

  void apply(backends::CompileOptions& compile) const;
};
/// --target and --no-winograd.
void add_target(CLI::App& app, TargetOptions& options);
void add_no_cache(CLI::App& app);
/// The same, --no-cache, and what add_device adds: of commands that compile for a backend.
void add_compiling(CLI::App& app, TargetOptions& options);
/// The Vulkan device, how much must run on it, and whether its kernels check what they access.
void add_device(CLI::App& app, TargetOptions& options);
/// A CPU or vulkan; empty: the host. Code for it need not run here.
Result<codegen::Target> target_of(const std::string& name);
/// --precision: what products of f32 round their factors to.
void add_precision(CLI::App& app, DType& precision);
/// Of compiled kernels, unless it is switched off (DiskCache, user_cache_folder) or cannot be used, which is a warning.
std::shared_ptr<const DiskCache> user_cache();
/// Of whole executables, beside those kernels; null without them, or where the user gave it no room.
std::shared_ptr<const DiskCache> user_executables(const std::shared_ptr<const DiskCache>& kernels);
/// Checks of numbers: finite and not negative; a number of threads, where 0 is all cores.
inline constexpr int kMaxThreads = 1024;
CLI::Validator non_negative();
/// A number from `low` to `high`; nan and inf are none.
CLI::Validator number_within(double low, double high);
/// Of random inputs: --seed.
CLI::Option* add_seed(CLI::App& app, uint64_t& seed);
CLI::Validator thread_count();
Result<frontend::ImportOptions> import_options(const ModelOptions& options);
/// Starts the limits, and leaves the file that eval::find_model finds in `options`: what load() and open() begin with.
Status begin(ModelOptions& options);
/// Starts the limits, loads what eval::find_model finds, and leaves its path and the limits in `options`.
Result<std::unique_ptr<ir::Graph>> load(ModelOptions& options);
/// The same for one backend: what the user's cache has of it is taken from there.
Result<eval::CompiledModel> open(ModelOptions& options, const backends::Backend& backend, backends::CompileOptions compile);
/// Nodes with those of regions, without constants and without the parts of fused nodes.
size_t count_nodes(ir::Graph& graph);

/// "a,b" to backends; an unknown or unavailable one is an error that lists the choices.
Result<std::vector<const backends::Backend*>> backends_of(const std::string& names);
std::string backend_names();

/// Writes JSON to a file, or to stdout for "-".
Status write_file(const std::filesystem::path& path, std::string_view bytes);
Status write_json(const nlohmann::json& json, const std::string& path);
std::vector<std::string> split(const std::string& text, char separator);
Result<std::vector<int>> parse_ints(const std::string& text, const char* option, int low, int high);
/// Text of files for a terminal: control characters, which may be commands to it, are written as \x1b and \u009b, except those `kept`.
std::string printable(std::string_view text, std::string_view kept = {});
std::string human_bytes(double bytes);
std::string human_count(double count);

/// Text in columns, two spaces apart. Columns whose cells all look like numbers are right-aligned.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void print(std::FILE* out = stdout) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// One line on a terminal that is rewritten; nothing when stderr is no terminal.
class Progress {
 public:
  explicit Progress(bool enabled = true);
  ~Progress() { clear(); }
  void show(const std::string& text);
  void clear();

 private:
  bool enabled_;
  bool shown_ = false;
};

/// Every subcommand registers itself and leaves its exit status in `status`.
void add_inspect(CLI::App& app, int& status);
void add_check(CLI::App& app, int& status);
void add_optimize(CLI::App& app, int& status);
void add_compile(CLI::App& app, int& status);
void add_run(CLI::App& app, int& status);
void add_verify(CLI::App& app, int& status);
void add_bench(CLI::App& app, int& status);
void add_eval(CLI::App& app, int& status);
void add_compare(CLI::App& app, int& status);
void add_debug(CLI::App& app, int& status);
void add_profile(CLI::App& app, int& status);
void add_report(CLI::App& app, int& status);
void add_ops(CLI::App& app, int& status);
void add_metrics(CLI::App& app, int& status);
void add_data(CLI::App& app, int& status);
void add_devices(CLI::App& app, int& status);

}  // namespace tenon::tools
