#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "frontend/onnx/export.h"
#include "frontend/onnx/export_messages.h"
#include "frontend/onnx/importer.h"
#include "frontend/onnx/normalize.h"

namespace tenon::frontend {

inline constexpr const char* kFunctionDomain = "tenon.fused";

/// Writes a module that make_portable has rewritten as a ModelProto whose large tensors lie beside it.
class Exporter {
 public:
  Exporter(const ir::Graph& module, int64_t opset) : module_(module), asked_(opset), dims_(module) {}
  Status run(onnx::ModelProto& model);
  const RawTensors& tensors() const { return tensors_; }
  const OpsetChoice& opset_choice() const { return choice_; }

 private:
  /// The name of a value where it is not its own: inside functions.
  using Names = std::unordered_map<const ir::Value*, std::string>;

  void start_opsets();
  Status choose_opsets(const ir::Graph& graph);
  Status choose_opset(const ir::Node& node);
  Status read_forms(const ir::Graph& graph);
  void write_fields(onnx::ModelProto& model) const;
  void write_opsets(google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& out,
                    const std::unordered_set<std::string>& domains) const;
  Status write_graph(const ir::Graph& graph, onnx::GraphProto& proto);
  Status write_node(const ir::Node& node, const Names& names, onnx::NodeProto& proto);
  Result<std::string> function_of(const ir::Node& fused);
  Status write_function(const ir::Graph& body, onnx::FunctionProto& function);
  std::string node_name(const ir::Node& node);
  bool needed(const ir::Value* constant) const { return used_.contains(constant); }

  const ir::Graph& module_;
  int64_t asked_;
  DimTexts dims_;
  RawTensors tensors_;
  Opsets opsets_;
  OpsetChoice choice_;
  std::unordered_set<std::string> domains_;  // that nodes of the graphs use
  std::unordered_map<const ir::Node*, Call> forms_;
  std::unordered_set<const ir::Value*> used_;  // by some form or as an output
  std::unordered_set<std::string> node_names_;
  std::unordered_map<std::string, int64_t> suffixes_;  // of names that came again
  std::map<std::string, std::string> functions_;       // serialised body → name
  std::unordered_set<std::string> function_names_;
  std::vector<onnx::FunctionProto> function_protos_;
};

/// IR version of the ONNX release that brought an opset of ai.onnx (ONNX docs/Versioning.md), at least 8 with
/// functions.
int64_t ir_version_of(int64_t opset, bool functions);

}  // namespace tenon::frontend
