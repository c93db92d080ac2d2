#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "ir/graph.h"
#include "support/status.h"

namespace tenon::frontend {

inline constexpr int64_t kOldestExportOpset = 13, kNewestExportOpset = 28;

struct ExportOptions {
  /// Opset of ai.onnx, kOldestExportOpset to kNewestExportOpset. 0: the one the model was imported with (graph
  /// metadata), raised to the lowest that holds every op.
  int64_t opset = 0;
  /// Weights go to FILE.data. A model of about 2 GB or more, which protobuf cannot hold, is always written so.
  bool external_data = false;
};

/// Versions of ai.onnx.
struct OpsetChoice {
  int64_t written = 0;
  int64_t of_model = 0;    // 0: unknown
  std::string raised_for;  // the op that needs what is written; empty when none needs more than the model's
};

/// Writes the graph as a standard ONNX model: ops of every domain as themselves in the form that the opset has, ops of
/// Tenon's own by standard ones, fused nodes as model-local functions of the domain `tenon.fused`. Names of inputs,
/// outputs, values, nodes and symbolic dims survive, as do metadata and the graph's name. Weights are written from
/// where they lie, never copied. Both files are written beside their place and then renamed into it.
///
/// kUnsupported, naming the node, the op and the lowest opset, for what the opset cannot say. kInvalidArgument for an
/// opset out of range and for a target that is a symbolic link or no regular file. `choice`, when given, receives the
/// opset.
Status export_onnx(const ir::Graph& graph, const std::filesystem::path& file, const ExportOptions& options = {},
                   OpsetChoice* choice = nullptr);
/// The same as bytes, weights inside. kUnsupported at about 2 GB and more.
Result<std::string> export_onnx_bytes(const ir::Graph& graph, const ExportOptions& options = {});

}  // namespace tenon::frontend
