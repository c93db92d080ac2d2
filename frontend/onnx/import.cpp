#include "frontend/onnx/import.h"

#include <cstring>

#include "frontend/onnx/importer.h"
#include "frontend/onnx/wire.h"

namespace tenon::frontend {
namespace {

Result<std::unique_ptr<ir::Graph>> import_mapped(const Bytes& bytes, const ImportOptions& options, std::optional<ModelFolder> folder,
                                                 const std::filesystem::path& base_folder) {
  if (bytes.span.empty()) return Status(Code::kInvalidModel, "the file is empty");
  // A region or a function nests at most graph, node, attribute.
  TENON_ASSIGN_OR_RETURN(const std::string skeleton, wire_skeleton(bytes.span, Message::kModel, 3 * options.max_nesting + 16));
  onnx::ModelProto model;
  if (!parse_message(skeleton, model))
    return Status(Code::kInvalidModel, "not a valid ONNX model", {}, "the file is damaged or of another format");
  TensorReader tensors(bytes, std::move(folder));
  Result<std::unique_ptr<ir::Graph>> graph = Importer(model, tensors, options).run();
  if (options.files != nullptr)
    for (const std::string& location : tensors.locations()) options.files->push_back(base_folder / location);
  return graph;
}

}  // namespace

Result<std::unique_ptr<ir::Graph>> import_onnx(const std::filesystem::path& file, const ImportOptions& options) {
  TENON_ASSIGN_OR_RETURN(const Bytes bytes, map_file(file, options.map_from));
  TENON_ASSIGN_OR_RETURN(ModelFolder folder, ModelFolder::of_model(file));
  folder.map_from = options.map_from;
  if (options.files != nullptr) options.files->push_back(file);
  Result<std::unique_ptr<ir::Graph>> graph = import_mapped(bytes, options, std::move(folder), file.parent_path());
  if (!graph.ok()) return std::move(graph).status().at(file.string());
  return graph;
}

Result<std::unique_ptr<ir::Graph>> import_onnx_bytes(std::span<const std::byte> bytes, const ImportOptions& options,
                                                     const std::filesystem::path& base_folder) {
  std::optional<ModelFolder> folder;
  if (!base_folder.empty()) {
    TENON_ASSIGN_OR_RETURN(folder, ModelFolder::open(base_folder));
    folder->map_from = options.map_from;
  }
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> copy, Buffer::allocate(bytes.size()));
  if (!bytes.empty()) std::memcpy(copy->data(), bytes.data(), bytes.size());
  const Bytes owned{copy, {copy->data(), bytes.size()}};
  return import_mapped(owned, options, std::move(folder), base_folder);
}

}  // namespace tenon::frontend
