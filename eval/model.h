#pragma once

#include <filesystem>
#include <memory>

#include "backends/backend.h"
#include "frontend/onnx/import.h"
#include "ir/graph.h"

namespace tenon::eval {

/// The model that a path names: the file itself, or model.onnx of a folder (or of its subfolder onnx, where exporters of
/// Transformers models put it). kNotFound says what is there instead.
Result<std::filesystem::path> find_model(const std::filesystem::path& path);

/// Reads a .tir file by that ending, anything else as ONNX. kUnsupported when dims or shapes are to be bound in .tir.
Result<std::unique_ptr<ir::Graph>> load_model(const std::filesystem::path& path, const frontend::ImportOptions& options = {});

/// Names the file and the dims bound in it in what a backend is given, for those that read ONNX themselves. Not where the graph is
/// another than the file's: .tir, inputs of other shapes.
void name_source(const std::filesystem::path& model, const frontend::ImportOptions& import, backends::CompileOptions& compile);

}  // namespace tenon::eval
