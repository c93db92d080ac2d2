// Tensors, types and attributes as messages.

#include "frontend/onnx/export_messages.h"

#include "frontend/onnx/model_fields.h"
#include "frontend/onnx/wire.h"

namespace tenon::frontend {
namespace {

constexpr size_t kInlineBytes = 64;
constexpr size_t kMaxDimText = 256;  // DimNames reads no longer expressions

}  // namespace

void RawTensors::describe(const Tensor& tensor, onnx::TensorProto& proto) {
  proto.set_data_type(info(tensor.dtype()).onnx);
  for (int64_t d : tensor.shape()) proto.add_dims(d);
  if (tensor.dtype() == DType::kString) {
    for (const std::string& s : tensor.string_values()) proto.add_string_data(s);
  } else if (tensor.bytes() <= kInlineBytes) {
    proto.set_raw_data(std::string(reinterpret_cast<const char*>(tensor.data()), tensor.bytes()));
  } else {
    google::protobuf::UnknownFieldSet* fields = proto.GetReflection()->MutableUnknownFields(&proto);
    fields->AddVarint(kRawOffsetField, list_.size());
    fields->AddVarint(kRawSizeField, tensor.bytes());
    list_.push_back(tensor);
  }
}

void DimTexts::describe(ir::Dim dim, onnx::TensorShapeProto::Dimension& proto) const {
  if (dim.is_const()) {
    proto.set_dim_value(dim.value());
    return;
  }
  std::string text = ir::to_string(dim);
  if (dim.is_symbol())
    if (auto it = module_.metadata.find(fields::dim_param(text)); it != module_.metadata.end() && !it->second.empty()) text = it->second;
  if (text.size() <= kMaxDimText) proto.set_dim_param(std::move(text));
}

void describe_type(const ir::Type& type, const DimTexts& dims, onnx::TypeProto& proto) {
  if (type.is_tensor()) {
    proto.mutable_tensor_type()->set_elem_type(info(type.dtype()).onnx);
    if (!type.tensor().ranked()) return;
    onnx::TensorShapeProto* shape = proto.mutable_tensor_type()->mutable_shape();
    for (const ir::Dim& dim : *type.tensor().dims) dims.describe(dim, *shape->add_dim());
  } else if (const ir::SequenceType* sequence = type.as_sequence()) {
    onnx::TypeProto* elem = proto.mutable_sequence_type()->mutable_elem_type();
    if (sequence->elem) describe_type(*sequence->elem, dims, *elem);
  } else if (const ir::OptionalType* optional = type.as_optional()) {
    onnx::TypeProto* elem = proto.mutable_optional_type()->mutable_elem_type();
    if (optional->elem) describe_type(*optional->elem, dims, *elem);
  } else if (const ir::MapType* map = type.as_map()) {
    proto.mutable_map_type()->set_key_type(info(map->key).onnx);
    onnx::TypeProto* value = proto.mutable_map_type()->mutable_value_type();
    if (map->value) describe_type(*map->value, dims, *value);
  }
}

void describe_attribute(const std::string& name, const ir::Attr& value, RawTensors& tensors, const DimTexts& dims,
                        onnx::AttributeProto& proto) {
  using onnx::AttributeProto;
  proto.set_name(name);
  struct Visitor {
    RawTensors& tensors;
    const DimTexts& dims;
    AttributeProto& proto;
    void operator()(int64_t v) const { proto.set_type(AttributeProto::INT), proto.set_i(v); }
    void operator()(double v) const { proto.set_type(AttributeProto::FLOAT), proto.set_f(static_cast<float>(v)); }
    void operator()(const std::string& v) const { proto.set_type(AttributeProto::STRING), proto.set_s(v); }
    void operator()(const Tensor& v) const {
      proto.set_type(AttributeProto::TENSOR), tensors.describe(v, *proto.mutable_t());
    }
    void operator()(const ir::Type& v) const {
      proto.set_type(AttributeProto::TYPE_PROTO), describe_type(v, dims, *proto.mutable_tp());
    }
    void operator()(const std::vector<int64_t>& list) const {
      proto.set_type(AttributeProto::INTS);
      for (int64_t v : list) proto.add_ints(v);
    }
    void operator()(const std::vector<double>& list) const {
      proto.set_type(AttributeProto::FLOATS);
      for (double v : list) proto.add_floats(static_cast<float>(v));
    }
    void operator()(const std::vector<std::string>& list) const {
      proto.set_type(AttributeProto::STRINGS);
      for (const std::string& v : list) proto.add_strings(v);
    }
    void operator()(const std::vector<Tensor>& list) const {
      proto.set_type(AttributeProto::TENSORS);
      for (const Tensor& v : list) tensors.describe(v, *proto.add_tensors());
    }
    void operator()(const std::vector<ir::Dim>&) const { TENON_CHECK(false); }
  };
  std::visit(Visitor{tensors, dims, proto}, value);
}

}  // namespace tenon::frontend
