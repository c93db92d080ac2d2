#pragma once

#include <string>
#include <string_view>

/// Keys of ir::Graph::metadata that stand for fields of ModelProto and GraphProto; all other keys are metadata_props.
namespace tenon::frontend::fields {

inline constexpr std::string_view kProducerName = "producer_name", kProducerVersion = "producer_version",
                                  kDomain = "domain", kModelVersion = "model_version", kDoc = "doc_string",
                                  kGraphDoc = "graph.doc_string";
/// "17 ai.onnx.ml:3": the version of ai.onnx first, then the other domains'.
inline constexpr std::string_view kOpsets = "opset_import";
inline constexpr std::string_view kIrVersion = "ir_version";
/// The ONNX name of a symbolic dim whose symbol had to be called otherwise; empty for a dim of an input that has no name.
inline constexpr std::string_view kDimParam = "dim_param:";
inline std::string dim_param(std::string_view symbol) { return std::string(kDimParam) + std::string(symbol); }

/// An entry of metadata_props whose key is one of the above.
inline constexpr std::string_view kProp = "metadata_props:";
inline bool is_taken(std::string_view key) {
  for (std::string_view field : {kProducerName, kProducerVersion, kDomain, kModelVersion, kDoc, kGraphDoc, kOpsets, kIrVersion})
    if (key == field) return true;
  return key.starts_with(kDimParam) || key.starts_with(kProp);
}

}  // namespace tenon::frontend::fields
