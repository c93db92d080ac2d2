#include "eval/model.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "ir/parser.h"

namespace tenon::eval {
namespace fs = std::filesystem;
namespace {

/// Names of models in a folder, for the error's hint.
std::string models_in(const fs::path& folder) {
  constexpr size_t kShown = 5;
  std::vector<std::string> names;
  std::error_code ec;
  for (auto it = fs::directory_iterator(folder, ec); !ec && it != fs::directory_iterator(); it.increment(ec))
    if (it->path().extension() == ".onnx" || it->path().extension() == ".tir") names.push_back(it->path().filename().string());
  if (names.empty()) return "name a model file";
  std::sort(names.begin(), names.end());
  const bool more = names.size() > kShown;
  names.resize(std::min(names.size(), kShown));
  return fmt::format("name the file; the folder has {}{}", fmt::join(names, ", "), more ? ", …" : "");
}

Result<std::unique_ptr<ir::Graph>> load_tir(const fs::path& path, const frontend::ImportOptions& options) {
  if (!options.dims.empty() || !options.shapes.empty())
    return Status(Code::kUnsupported, "--dim and --shape bind names of ONNX models only", path.string(), "edit the types in the text");
  constexpr uintmax_t kMaxBytes = uintmax_t{1} << 30;
  std::error_code ec;
  if (fs::file_size(path, ec) > kMaxBytes && !ec) return Status(Code::kResourceExhausted, "larger than 1 GiB", path.string());
  std::ifstream in(path, std::ios::binary);
  if (!in) return Status(Code::kIo, "cannot read the file", path.string());
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  Result<std::unique_ptr<ir::Graph>> graph = ir::parse_text(text, options.ops);
  if (!graph.ok()) return std::move(graph).status().at(path.string());
  return graph;
}

}  // namespace

Result<fs::path> find_model(const fs::path& path) {
  if (path.empty()) return Status(Code::kInvalidArgument, "the path of the model is empty", {}, "name a file or a folder");
  std::error_code ec;
  const fs::file_status status = fs::status(path, ec);
  if (status.type() == fs::file_type::not_found) return Status(Code::kNotFound, "no such file or folder", path.string(), "check the path");
  if (status.type() != fs::file_type::directory) return path;
  for (const fs::path& file : {path / "model.onnx", path / "onnx" / "model.onnx"})
    if (fs::is_regular_file(file, ec)) return file;
  return Status(Code::kNotFound, "the folder has no model.onnx", path.string(), models_in(path));
}

Result<std::unique_ptr<ir::Graph>> load_model(const fs::path& path, const frontend::ImportOptions& options) {
  if (path.extension() == ".tir") return load_tir(path, options);
  return frontend::import_onnx(path, options);
}

void name_source(const fs::path& model, const frontend::ImportOptions& import, backends::CompileOptions& compile) {
  if (model.extension() == ".tir" || !import.shapes.empty()) return;
  compile.model = model;
  compile.model_dims = import.dims;
  const auto stamp = [model] {
    std::error_code ec;
    return std::pair(fs::file_size(model, ec), fs::last_write_time(model, ec));
  };
  compile.reload = [model, again = import, stamp, then = stamp()]() -> Result<std::unique_ptr<ir::Graph>> {
    if (stamp() != then)
      return Status(Code::kInvalidArgument, "the model's file is no longer the one that was compiled", model.string(), "load the model again");
    frontend::ImportOptions options = again;
    options.interrupt = {};
    options.absent = nullptr;
    return load_model(model, options);
  };
}

}  // namespace tenon::eval
