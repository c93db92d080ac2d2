#include "tools/common.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "eval/model.h"
#include "frontend/custom/library.h"
#include "support/log.h"

namespace tenon::tools {

int report(const Status& status) {
  std::fflush(stdout);
  fmt::print(stderr, "error: {}\n", printable(status.to_string(), "\n\t"));
  return status.code() == Code::kMismatch ? kDoesNotHold : kFailure;
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  app.add_option("MODEL", options.path, "Model: .onnx, .tir, or a folder with model.onnx")->required()->type_name("");
  add_dim_options(app, options.dims, options.shapes);
  add_custom_ops(app, options.custom_ops);
  add_limit_options(app, options.limits);
}

void add_custom_ops(CLI::App& app, std::vector<std::string>& libraries) {
  add_list(app, "--custom-ops", libraries, "LIBRARY", "Load a shared library with operators: code that you trust. Repeatable");
}

void add_states(CLI::App& app, std::vector<std::string>& states) {
  add_list(app, "--state", states, "INPUT=OUTPUT", "Keep what a run gives as OUTPUT for the next one's INPUT, in place where it grows; auto: as the graph says. Repeatable");
}

Result<std::shared_ptr<const ir::OpRegistry>> load_libraries(const std::vector<std::string>& libraries) {
  if (libraries.empty()) return std::shared_ptr<const ir::OpRegistry>();
  auto registry = std::make_shared<ir::OpRegistry>();
  for (const std::string& library : libraries) TENON_RETURN_IF_ERROR(frontend::load_custom_ops(library, *registry));
  return std::shared_ptr<const ir::OpRegistry>(std::move(registry));
}

void add_dim_options(CLI::App& app, std::vector<std::string>& dims, std::vector<std::string>& shapes) {
  add_list(app, "--dim", dims, "NAME=N", "Give a symbolic dim a size. Repeatable");
  add_list(app, "--shape", shapes, "INPUT=DxD...", "Give an input a shape, as 1x3x224x224; -1 keeps a dim. Repeatable");
}

CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values, const char* type, const char* help) {
  return app.add_option(name, values, help)->type_name(type)->default_str("")->allow_extra_args(false);
}

std::string alternatives(const std::vector<std::string>& values) {
  if (values.size() < 2) return values.empty() ? std::string() : values[0];
  return fmt::format("{} or {}", fmt::join(values.begin(), values.end() - 1, ", "), values.back());
}

CLI::Option* one_of(CLI::Option* option, const char* type, std::vector<std::string> values) {
  const std::string listed = alternatives(values);
  option->description(fmt::format("{}: {}", option->get_description(), listed))->type_name(type);
  return option->check(CLI::Validator(
      [values = std::move(values), listed](std::string& text) {
        return std::ranges::find(values, text) != values.end() ? std::string() : fmt::format("'{}' is not {}", text, listed);
      },
      ""));
}

void TargetOptions::apply(backends::CompileOptions& compile) const {
  compile.target = target;
  compile.device = device;
  compile.require_placement = placement;
  compile.checked = checked;
}

void add_target(CLI::App& app, TargetOptions& options) {
  std::string& target = options.target;
  const bool runs = app.get_name() != "compile" && app.get_name() != "check";
  app.add_option("--target", target,
                 runs ? "What to compile for: host, x86-64-v2, x86-64-v3, x86-64-v4"
                      : "What to compile for: host, x86-64-v2, x86-64-v3, x86-64-v4; aarch64, and behind it any of +dotprod, +i8mm, +bf16; vulkan, for GPUs")
      ->type_name("TARGET");
  app.add_flag_callback("--no-winograd", [&target] { target = (target.empty() ? "host" : target).append(codegen::kNoWinograd); },
                        "Compute convolutions as they are defined, not by fewer products that round more");
}

void add_compiling(CLI::App& app, TargetOptions& options) {
  add_target(app, options);
  add_no_cache(app);
  add_device(app, options);
}

void add_no_cache(CLI::App& app) {
  app.add_flag_callback("--no-cache", [] { ::setenv("TENON_CACHE", "off", 1); }, "Compile everything anew, and keep nothing");
}

void add_precision(CLI::App& app, DType& precision) {
  const auto set = [&precision](const std::string& text) { precision = *dtype_from_name(text); };
  one_of(app.add_option_function<std::string>("--precision", set, "What products of f32 round their factors to; sums stay f32"), "DTYPE", {"f32", "f16", "bf16"})
      ->default_str("f32");
}

void add_device(CLI::App& app, TargetOptions& options) {
  app.add_option("--device", options.device, "Vulkan device: its number, a part of its name or the beginning of its UUID (tenon devices)")->type_name("DEVICE");
  app.add_option("--require-placement", options.placement, "Status 1 when fewer of the model's nodes run on the Vulkan device")
      ->type_name("vulkan=N%")
      ->check(CLI::Validator([](std::string& text) { return text.empty() ? std::string("wants vulkan=N%") : std::string(); }, ""));
  app.add_flag("--checked", options.checked, "Kernels on the Vulkan device compare every index with its buffer's size; slow");
}

Result<codegen::Target> target_of(const std::string& name) {
  if (name != "vulkan") return codegen::cpu_target(name.empty() ? "host" : name, false);
  codegen::Target gpu;
  gpu.kind = codegen::Target::Kind::kGpu;
  return gpu;
}

std::shared_ptr<const DiskCache> user_cache() {
  const auto folder = user_cache_folder();
  if (!folder) return nullptr;
  auto cache = DiskCache::open(*folder);
  if (cache.ok()) return std::move(*cache);
  log(LogLevel::kWarn, "compiled kernels are not kept: {}", cache.status().to_string());
  return nullptr;
}

std::shared_ptr<const DiskCache> user_executables(const std::shared_ptr<const DiskCache>& kernels) {
  const size_t room = user_executables_room();
  const auto folder = user_cache_folder();
  if (room == 0 || !folder || kernels == nullptr) return nullptr;
  auto cache = DiskCache::open(*folder / "executables", room);
  return cache.ok() ? std::move(*cache) : nullptr;
}

CLI::Validator non_negative() {
  return {[](std::string& text) {
            double value = 0;
            const bool ok = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && value >= 0;
            return ok ? std::string() : fmt::format("'{}' is not a number of 0 or more", text);
          },
          ""};
}

CLI::Validator number_within(double low, double high) {
  return {[low, high](std::string& text) {
            double value = 0;
            const bool ok = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
            return ok ? std::string() : fmt::format("'{}' is not a number from {} to {}", text, low, high);
          },
          ""};
}

CLI::Option* add_seed(CLI::App& app, uint64_t& seed) {
  const auto check = [](std::string& text) {
    uint64_t value = 0;
    const bool ok = !text.empty() && text[0] != '-' && CLI::detail::lexical_cast(text, value);
    return ok ? std::string() : fmt::format("'{}' is not a whole number from 0 to 2^64 - 1", text);
  };
  return app.add_option("--seed", seed, "Seed of random inputs")->type_name("N")->check(CLI::Validator(check, ""));
}

namespace {

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

CLI::Validator thread_count() {
  return {[](std::string& text) {
            const auto value = number<int>(text);
            return value && *value >= 0 && *value <= kMaxThreads ? std::string() : fmt::format("'{}' is not one number from 0 to {}", text, kMaxThreads);
          },
          ""};
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  size_t start = 0;
  for (size_t at; (at = text.find(separator, start)) != std::string::npos; start = at + 1) out.push_back(text.substr(start, at - start));
  out.push_back(text.substr(start));
  return out;
}

namespace {

Status bad_option(const char* option, const std::string& text, const char* form) {
  return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form {}", text, form), option);
}

/// A size within what an option was given.
Result<int64_t> size_in(const std::string& part, const char* option, const std::string& text, const char* form) {
  if (const auto value = number<int64_t>(part)) return *value;
  if (part.empty() || part.find_first_not_of("0123456789") != std::string::npos) return bad_option(option, text, form);
  return Status(Code::kInvalidArgument, fmt::format("{} is too large for a size", part), fmt::format("{} {}", option, text), "give one below 2^63");
}

}  // namespace

Result<std::vector<int>> parse_ints(const std::string& text, const char* option, int low, int high) {
  std::vector<int> out;
  for (const std::string& part : split(text, ',')) {
    const auto value = number<int>(part);
    if (!value || *value < low || *value > high)
      return Status(Code::kInvalidArgument, fmt::format("'{}' is not a number from {} to {}", part, low, high), option, "write N or N,N");
    out.push_back(*value);
  }
  return out;
}

Result<frontend::ImportOptions> import_options(const ModelOptions& options) {
  frontend::ImportOptions out;
  TENON_ASSIGN_OR_RETURN(out.ops, load_libraries(options.custom_ops));
  for (const std::string& text : options.dims) {
    const size_t eq = text.rfind('=');
    if (eq == std::string::npos) return bad_option("--dim", text, "NAME=N");
    TENON_ASSIGN_OR_RETURN(const int64_t size, size_in(text.substr(eq + 1), "--dim", text, "NAME=N"));
    out.dims.emplace_back(text.substr(0, eq), size);
  }
  for (const std::string& text : options.shapes) {
    const size_t eq = text.rfind('=');
    if (eq == std::string::npos) return bad_option("--shape", text, "INPUT=DxD…");
    std::vector<int64_t> shape;
    if (eq + 1 < text.size())
      for (const std::string& part : split(text.substr(eq + 1), 'x')) {
        TENON_ASSIGN_OR_RETURN(const int64_t size, size_in(part, "--shape", text, "INPUT=DxD…"));
        shape.push_back(size);
      }
    out.shapes.emplace_back(text.substr(0, eq), std::move(shape));
  }
  return out;
}

Status begin(ModelOptions& options) {
  options.interrupt = start_clock(options.limits);
  TENON_ASSIGN_OR_RETURN(options.max_bytes, apply_memory_limit(options.limits));
  TENON_ASSIGN_OR_RETURN(options.import, import_options(options));
  options.import.interrupt = options.interrupt;
  TENON_ASSIGN_OR_RETURN(const std::filesystem::path file, eval::find_model(options.path));
  options.path = file.string();
  return {};
}

Result<std::unique_ptr<ir::Graph>> load(ModelOptions& options) {
  TENON_RETURN_IF_ERROR(begin(options));
  return eval::load_model(options.path, options.import);
}

Result<eval::CompiledModel> open(ModelOptions& options, const backends::Backend& backend, backends::CompileOptions compile) {
  TENON_RETURN_IF_ERROR(begin(options));
  compile.interrupt = options.interrupt;
  const auto executables = user_executables(compile.cache);
  TENON_ASSIGN_OR_RETURN(eval::StateRequest states, eval::parse_states(options.states));
  return eval::CompiledModel::open({options.path, options.import, &backend, std::move(compile), executables, nullptr, std::move(states)});
}

size_t count_nodes(ir::Graph& graph) {
  size_t count = 0;
  ir::walk(graph, [&](ir::Node& node) {
    const ir::Node* owner = node.graph()->parent();
    if (!node.is("Constant") && (owner == nullptr || !owner->is("tenon.fused"))) ++count;
  });
  return count;
}

std::string backend_names() {
  std::vector<std::string_view> names;
  for (const backends::Backend* b : backends::all_backends()) names.push_back(b->name());
  return fmt::format("{}, exec:COMMAND", fmt::join(names, ", "));
}

Result<std::vector<const backends::Backend*>> backends_of(const std::string& names) {
  std::vector<const backends::Backend*> out;
  for (const std::string& name : split(names, ',')) {
    const backends::Backend* backend = backends::find_backend(name);
    if (backend == nullptr)
      return Status(Code::kInvalidArgument, fmt::format("there is no backend '{}'", name), "--backend", "choose from " + backend_names());
    if (Status status = backend->available(); !status.ok())
      return std::move(status).at(fmt::format("backend {}", name));
    out.push_back(backend);
  }
  return out;
}

Status write_json(const nlohmann::json& json, const std::string& path) {
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (path == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return {};
  }
  return write_file(path, text);
}

Status write_file(const std::filesystem::path& path, std::string_view bytes) {
  errno = 0;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush())
    return Status(Code::kIo, fmt::format("cannot write: {}", std::strerror(errno != 0 ? errno : EIO)), path.string(),
                  "check the folder and the space left");
  return {};
}

namespace {

std::string scaled(double value, double step, std::initializer_list<const char*> units) {
  auto unit = units.begin();
  while (value >= step && unit + 1 != units.end()) {
    value /= step;
    ++unit;
  }
  return unit == units.begin() ? fmt::format("{:.0f}{}", value, *unit) : fmt::format("{:.{}f}{}", value, value < 10 ? 2 : value < 100 ? 1 : 0, *unit);
}

/// Columns that text takes on a terminal: code points, as no name here is wider.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

bool looks_numeric(const std::string& cell) {
  if (cell.find(',') < cell.find('[')) return false;  // a list, unlike "1.2 [1.1, 1.3]"
  return cell.empty() || cell == "failed" || (cell.find_first_of("0123456789") == 0) || (cell.size() > 1 && cell[0] == '-') || cell == "-";
}

}  // namespace

std::string printable(std::string_view text, std::string_view kept) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
    if (kept.find(text[i]) == kept.npos && (c < 0x20 || c == 0x7f)) {
      out += fmt::format("\\x{:02x}", c);
    } else if (c == 0xc2 && next >= 0x80 && next <= 0x9f) {
      out += fmt::format("\\u{:04x}", next);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string human_bytes(double bytes) { return scaled(bytes, 1024, {" B", " KiB", " MiB", " GiB", " TiB"}); }
std::string human_count(double count) { return scaled(count, 1000, {"", " k", " M", " G", " T"}); }

void Table::print(std::FILE* out) const {
  std::vector<std::vector<std::string>> rows = rows_;
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (size_t r = 0; r < rows.size(); ++r) {
    widths.resize(std::max(widths.size(), rows[r].size()), 0);
    right.resize(widths.size(), rows.size() > 1);
    for (size_t c = 0; c < rows[r].size(); ++c) {
      rows[r][c] = printable(rows[r][c]);
      widths[c] = std::max(widths[c], width_of(rows[r][c]));
      if (r > 0 && !looks_numeric(rows[r][c])) right[c] = false;
    }
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - width_of(row[c]), ' ');
      line += right[c] ? pad + row[c] : row[c] + (c + 1 < row.size() ? pad : "");
      if (c + 1 < row.size()) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print(out, "{}\n", line);
  }
}

Progress::Progress(bool enabled) : enabled_(enabled && ::isatty(STDERR_FILENO) == 1) {}

void Progress::show(const std::string& text) {
  if (!enabled_) return;
  winsize size{};
  const size_t columns = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
  fmt::print(stderr, "\r\x1b[K{}", text.substr(0, columns));
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace tenon::tools
