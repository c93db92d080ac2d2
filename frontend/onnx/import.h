#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "support/interrupt.h"
#include "support/status.h"

namespace tenon::frontend {

struct ImportOptions {
  /// Overrides of symbolic dims by name, and of whole input shapes ("input=1x3x224x224", -1 keeps a dim).
  std::vector<std::pair<std::string, int64_t>> dims;
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  /// Where given, overrides of names that the model does not have are left out and their names added here; else they are errors.
  std::vector<std::string>* absent = nullptr;
  /// Where given, the model's file and those of its external data are added here.
  std::vector<std::filesystem::path>* files = nullptr;
  /// What nodes may name beside the built-in ops; a function of the model with the name of one of them is not used.
  std::shared_ptr<const ir::OpRegistry> ops;
  int max_nesting = 64;             // of regions and function calls
  int64_t max_nodes = 2'000'000;    // after inlining of functions
  Interrupt interrupt;              // asked before each node
  /// Files of at least this size are mapped, not copied, and must not be made shorter in place while the graph or anything that
  /// was compiled from it lives. Larger than any file: nothing is mapped.
  size_t map_from = size_t{64} << 20;
};

/// Reads an ONNX model: any IR version 3 to 13, opset 1 to 28, normalised to the newest form of every op. Initializers
/// and external data share the bytes of their files. The graph is inferred and verified. All unsupported parts are reported in one error.
Result<std::unique_ptr<ir::Graph>> import_onnx(const std::filesystem::path& file, const ImportOptions& options = {});
/// From memory; external data is refused unless `base_folder` is given. The bytes must outlive nothing: they are copied.
Result<std::unique_ptr<ir::Graph>> import_onnx_bytes(std::span<const std::byte> bytes, const ImportOptions& options = {},
                                                     const std::filesystem::path& base_folder = {});

/// Reads a TensorProto, SequenceProto, OptionalProto, .npy or .npz file (by content). `type` picks the kind, `name` the array of
/// a .npz that holds several.
Result<HostValue> read_value(const std::filesystem::path& file, const ir::Type& type, std::string_view name = {});
/// Writes a tensor as TensorProto (.pb).
Status write_tensor(const Tensor& tensor, std::string_view name, const std::filesystem::path& file);

}  // namespace tenon::frontend
