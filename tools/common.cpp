#include "tools/common.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "ir/parser.h"

namespace tenon::tools {

int report(const Status& status) {
  std::fflush(stdout);
  fmt::print(stderr, "error: {}\n", status.to_string());
  return status.code() == Code::kMismatch ? kDoesNotHold : kFailure;
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  app.add_option("model", options.path, "Model file (.onnx or .tir)")->required();
  app.add_option("--dim", options.dims, "Bind a symbolic dim: NAME=N. Repeatable")->type_name("NAME=N")->allow_extra_args(false);
  app.add_option("--shape", options.shapes, "Bind an input's shape: INPUT=1x3x224x224; -1 keeps a dim. Repeatable")
      ->type_name("INPUT=DxD…")
      ->allow_extra_args(false);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  size_t start = 0;
  for (size_t at; (at = text.find(separator, start)) != std::string::npos; start = at + 1) out.push_back(text.substr(start, at - start));
  out.push_back(text.substr(start));
  return out;
}

namespace {

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Status bad_option(const char* option, const std::string& text, const char* form) {
  return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form {}", text, form), option);
}

}  // namespace

Result<std::vector<int>> parse_ints(const std::string& text, const char* option) {
  std::vector<int> out;
  for (const std::string& part : split(text, ',')) {
    const auto value = number<int>(part);
    if (!value || *value < 0) return bad_option(option, text, "N[,N…]");
    out.push_back(*value);
  }
  return out;
}

Result<frontend::ImportOptions> import_options(const ModelOptions& options) {
  frontend::ImportOptions out;
  for (const std::string& text : options.dims) {
    const size_t eq = text.rfind('=');
    const auto value = eq == std::string::npos ? std::nullopt : number<int64_t>(std::string_view(text).substr(eq + 1));
    if (!value) return bad_option("--dim", text, "NAME=N");
    out.dims.emplace_back(text.substr(0, eq), *value);
  }
  for (const std::string& text : options.shapes) {
    const size_t eq = text.rfind('=');
    if (eq == std::string::npos) return bad_option("--shape", text, "INPUT=DxD…");
    std::vector<int64_t> shape;
    if (eq + 1 < text.size())
      for (const std::string& part : split(text.substr(eq + 1), 'x')) {
        const auto value = number<int64_t>(part);
        if (!value) return bad_option("--shape", text, "INPUT=DxD…");
        shape.push_back(*value);
      }
    out.shapes.emplace_back(text.substr(0, eq), std::move(shape));
  }
  return out;
}

namespace {

Result<std::unique_ptr<ir::Graph>> load_tir(const ModelOptions& options) {
  if (!options.dims.empty() || !options.shapes.empty())
    return Status(Code::kUnsupported, "--dim and --shape bind names of ONNX models only", options.path, "edit the types in the text");
  constexpr std::streamsize kMaxBytes = std::streamsize{1} << 30;
  std::error_code ec;
  if (!std::filesystem::is_regular_file(options.path, ec)) return Status(Code::kNotFound, "no such file", options.path);
  if (std::filesystem::file_size(options.path, ec) > static_cast<uintmax_t>(kMaxBytes))
    return Status(Code::kResourceExhausted, "larger than 1 GiB", options.path);
  std::ifstream in(options.path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  Result<std::unique_ptr<ir::Graph>> graph = ir::parse_text(text);
  if (!graph.ok()) return std::move(graph).status().at(options.path);
  return graph;
}

}  // namespace

Result<std::unique_ptr<ir::Graph>> load(const ModelOptions& options) {
  TENON_ASSIGN_OR_RETURN(const frontend::ImportOptions import, import_options(options));
  if (std::filesystem::path(options.path).extension() == ".tir") return load_tir(options);
  return frontend::import_onnx(options.path, import);
}

std::string backend_names() {
  std::vector<std::string_view> names;
  for (const backends::Backend* b : backends::all_backends()) names.push_back(b->name());
  return fmt::format("{}", fmt::join(names, ", "));
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
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out.write(text.data(), static_cast<std::streamsize>(text.size())).flush())
    return Status(Code::kIo, "cannot write", path, "check the folder and the space left");
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
  return cell.empty() || (cell.find_first_of("0123456789") == 0) || (cell.size() > 1 && cell[0] == '-') || cell == "-";
}

}  // namespace

std::string human_bytes(double bytes) { return scaled(bytes, 1024, {" B", " KiB", " MiB", " GiB", " TiB"}); }
std::string human_count(double count) { return scaled(count, 1000, {"", " k", " M", " G", " T"}); }

void Table::print(std::FILE* out) const {
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (size_t r = 0; r < rows_.size(); ++r) {
    widths.resize(std::max(widths.size(), rows_[r].size()), 0);
    right.resize(widths.size(), rows_.size() > 1);
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      widths[c] = std::max(widths[c], width_of(rows_[r][c]));
      if (r > 0 && !looks_numeric(rows_[r][c])) right[c] = false;
    }
  }
  for (const auto& row : rows_) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - width_of(row[c]), ' ');
      line += right[c] ? pad + row[c] : row[c] + (c + 1 < row.size() ? pad : "");
      if (c + 1 < row.size()) line += "  ";
    }
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
