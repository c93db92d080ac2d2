#pragma once

#include <string>
#include <vector>

#include "frontend/onnx/proto.h"
#include "ir/graph.h"

namespace tenon::frontend {

/// Tensors whose bytes are left out of the messages. A TensorProto refers to one by its number in kRawOffsetField
/// (wire.h), until wire_expand puts the bytes in or place_externally says where else they are.
class RawTensors {
 public:
  /// Fills everything but the name. Strings and tensors of a few bytes go inside the message.
  void describe(const Tensor& tensor, onnx::TensorProto& proto);
  const std::vector<Tensor>& list() const { return list_; }

 private:
  std::vector<Tensor> list_;
};

/// The dim_param of every symbol whose name in the graph is another one: keys of graph metadata (model_fields.h).
class DimTexts {
 public:
  explicit DimTexts(const ir::Graph& module) : module_(module) {}
  /// A number, a name or the text of an expression; a dim with nothing set when the text would be longer than an
  /// importer takes.
  void describe(ir::Dim dim, onnx::TensorShapeProto::Dimension& proto) const;

 private:
  const ir::Graph& module_;
};

/// Leaves `proto` empty for a type that is not known.
void describe_type(const ir::Type& type, const DimTexts& dims, onnx::TypeProto& proto);
/// A graph's attribute value other than a list of dims, which only Tenon's own ops have.
void describe_attribute(const std::string& name, const ir::Attr& value, RawTensors& tensors, const DimTexts& dims,
                        onnx::AttributeProto& proto);

}  // namespace tenon::frontend
