#pragma once

#include <optional>

#include "frontend/onnx/proto.h"
#include "frontend/onnx/tensor_proto.h"
#include "frontend/onnx/types.h"
#include "ir/graph.h"

namespace tenon::frontend {

/// The type of an attribute: the one stated, else (IR versions below 3 wrote none) that of the field which is set.
onnx::AttributeProto::AttributeType attribute_type(const onnx::AttributeProto& proto);

/// An attribute's value; kInvalidModel when data lies in another field than its type says. Graphs are not values:
/// kUnsupported.
Result<ir::Attr> read_attribute(const onnx::AttributeProto& proto, TensorReader& tensors, DimNames& dims);

/// The tensor of a `Constant` node, from whichever of its value attributes is set.
Result<Tensor> read_constant(const ir::Attrs& attrs);

}  // namespace tenon::frontend
