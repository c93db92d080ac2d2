#include "frontend/onnx/attributes.h"

namespace tenon::frontend {

using onnx::AttributeProto;

AttributeProto::AttributeType attribute_type(const AttributeProto& a) {
  if (a.type() != AttributeProto::UNDEFINED) return a.type();
  if (a.has_f()) return AttributeProto::FLOAT;
  if (a.has_i()) return AttributeProto::INT;
  if (a.has_s()) return AttributeProto::STRING;
  if (a.has_t()) return AttributeProto::TENSOR;
  if (a.has_g()) return AttributeProto::GRAPH;
  if (a.has_sparse_tensor()) return AttributeProto::SPARSE_TENSOR;
  if (a.has_tp()) return AttributeProto::TYPE_PROTO;
  if (a.floats_size() > 0) return AttributeProto::FLOATS;
  if (a.ints_size() > 0) return AttributeProto::INTS;
  if (a.strings_size() > 0) return AttributeProto::STRINGS;
  if (a.tensors_size() > 0) return AttributeProto::TENSORS;
  if (a.graphs_size() > 0) return AttributeProto::GRAPHS;
  return AttributeProto::UNDEFINED;
}

namespace {

Status check_only(const AttributeProto& a, AttributeProto::AttributeType type) {
  const std::pair<AttributeProto::AttributeType, bool> set[] = {
      {AttributeProto::FLOAT, a.has_f()},
      {AttributeProto::INT, a.has_i()},
      {AttributeProto::STRING, a.has_s()},
      {AttributeProto::TENSOR, a.has_t()},
      {AttributeProto::GRAPH, a.has_g()},
      {AttributeProto::SPARSE_TENSOR, a.has_sparse_tensor()},
      {AttributeProto::TYPE_PROTO, a.has_tp()},
      {AttributeProto::FLOATS, a.floats_size() > 0},
      {AttributeProto::INTS, a.ints_size() > 0},
      {AttributeProto::STRINGS, a.strings_size() > 0},
      {AttributeProto::TENSORS, a.tensors_size() > 0},
      {AttributeProto::GRAPHS, a.graphs_size() > 0},
      {AttributeProto::SPARSE_TENSORS, a.sparse_tensors_size() > 0},
      {AttributeProto::TYPE_PROTOS, a.type_protos_size() > 0}};
  for (const auto& [kind, present] : set)
    if (present && kind != type)
      return error(Code::kInvalidModel, "attribute {} holds data of another type than its own", a.name());
  return {};
}

}  // namespace

Result<ir::Attr> read_attribute(const AttributeProto& a, TensorReader& tensors, DimNames& dims) {
  const AttributeProto::AttributeType type = attribute_type(a);
  TENON_RETURN_IF_ERROR(check_only(a, type));
  switch (type) {
    case AttributeProto::FLOAT: return ir::Attr(static_cast<double>(a.f()));
    case AttributeProto::INT: return ir::Attr(int64_t{a.i()});
    case AttributeProto::STRING: return ir::Attr(a.s());
    case AttributeProto::FLOATS: return ir::Attr(std::vector<double>(a.floats().begin(), a.floats().end()));
    case AttributeProto::INTS: return ir::Attr(std::vector<int64_t>(a.ints().begin(), a.ints().end()));
    case AttributeProto::STRINGS: return ir::Attr(std::vector<std::string>(a.strings().begin(), a.strings().end()));
    case AttributeProto::TENSOR: {
      TENON_ASSIGN_OR_RETURN(Tensor t, tensors.read(a.t()));
      return ir::Attr(std::move(t));
    }
    case AttributeProto::SPARSE_TENSOR: {
      TENON_ASSIGN_OR_RETURN(Tensor t, tensors.read(a.sparse_tensor()));
      return ir::Attr(std::move(t));
    }
    case AttributeProto::TENSORS: {
      std::vector<Tensor> list;
      for (const auto& proto : a.tensors()) {
        TENON_ASSIGN_OR_RETURN(Tensor t, tensors.read(proto));
        list.push_back(std::move(t));
      }
      return ir::Attr(std::move(list));
    }
    case AttributeProto::TYPE_PROTO: {
      TENON_ASSIGN_OR_RETURN(ir::Type t, read_type(a.tp(), dims, "type"));
      return ir::Attr(std::move(t));
    }
    case AttributeProto::UNDEFINED:
      return error(Code::kInvalidModel, "attribute {} has no type and no value", a.name());
    default: return error(Code::kUnsupported, "attribute {} is of a kind that is not supported here", a.name());
  }
}

Result<Tensor> read_constant(const ir::Attrs& attrs) {
  const ir::Attr* value = nullptr;
  std::string_view kind;
  for (const auto& [name, attr] : attrs) {
    if (value != nullptr) return error(Code::kInvalidModel, "Constant has two values, {} and {}", kind, name);
    value = &attr;
    kind = name;
  }
  if (value == nullptr) return error(Code::kInvalidModel, "Constant has no value");
  if (kind == "value" || kind == "sparse_value")
    if (const auto* t = std::get_if<Tensor>(value)) return *t;
  if (kind == "value_int")
    if (const auto* i = std::get_if<int64_t>(value)) return Tensor::scalar<int64_t>(*i);
  if (kind == "value_float")
    if (const auto* f = std::get_if<double>(value)) return Tensor::scalar<float>(static_cast<float>(*f));
  if (kind == "value_string")
    if (const auto* s = std::get_if<std::string>(value)) return Tensor::strings({}, {*s});
  if (kind == "value_ints") {
    if (const auto* v = std::get_if<std::vector<int64_t>>(value))
      return Tensor::from<int64_t>({static_cast<int64_t>(v->size())}, *v);
  }
  if (kind == "value_floats") {
    if (const auto* v = std::get_if<std::vector<double>>(value)) {
      const std::vector<float> floats(v->begin(), v->end());
      return Tensor::from<float>({static_cast<int64_t>(v->size())}, std::span<const float>(floats));
    }
  }
  if (kind == "value_strings")
    if (const auto* v = std::get_if<std::vector<std::string>>(value))
      return Tensor::strings({static_cast<int64_t>(v->size())}, *v);
  return error(Code::kInvalidModel, "Constant cannot take {} of this type", kind);
}

}  // namespace tenon::frontend
