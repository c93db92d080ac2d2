#pragma once

#include <filesystem>
#include <memory>

#include "frontend/onnx/import.h"
#include "ir/graph.h"

namespace tenon::eval {

/// The model that a path names: the file itself, or model.onnx of a folder (or of its subfolder onnx, where exporters of
/// Transformers models put it). kNotFound says what is there instead.
Result<std::filesystem::path> find_model(const std::filesystem::path& path);

/// Reads a .tir file by that ending, anything else as ONNX. kUnsupported when dims or shapes are to be bound in .tir.
Result<std::unique_ptr<ir::Graph>> load_model(const std::filesystem::path& path, const frontend::ImportOptions& options = {});

}  // namespace tenon::eval
