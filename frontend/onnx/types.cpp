#include "frontend/onnx/types.h"

#include <cctype>
#include <vector>

namespace tenon::frontend {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

Result<ir::Type> read_nested(const onnx::TypeProto& proto, DimNames& dims, std::string_view hint, int depth) {
  if (depth > 16) return Status(Code::kInvalidModel, "types are nested more than 16 deep");
  const auto element = [&](int code) -> Result<DType> {
    const std::optional<DType> dtype = dtype_from_onnx(code);
    if (!dtype) return error(Code::kUnsupported, "unknown element type {}", code);
    return *dtype;
  };
  const auto inner = [&](const onnx::TypeProto& type) -> Result<std::shared_ptr<const ir::Type>> {
    TENON_ASSIGN_OR_RETURN(ir::Type t, read_nested(type, dims, hint, depth + 1));
    return std::make_shared<const ir::Type>(std::move(t));
  };
  switch (proto.value_case()) {
    case onnx::TypeProto::kTensorType: {
      const auto& tensor = proto.tensor_type();
      TENON_ASSIGN_OR_RETURN(DType dtype, element(tensor.elem_type()));
      if (!tensor.has_shape()) return ir::Type(ir::TensorType::unranked(dtype));
      if (tensor.shape().dim_size() > 64) return Status(Code::kInvalidModel, "more than 64 dims");
      std::vector<ir::Dim> shape;
      for (const auto& dim : tensor.shape().dim()) shape.push_back(dims.dim(dim, fmt::format("{}_{}", hint, shape.size())));
      return ir::Type(ir::TensorType(dtype, std::move(shape)));
    }
    case onnx::TypeProto::kSequenceType: {
      TENON_ASSIGN_OR_RETURN(auto elem, inner(proto.sequence_type().elem_type()));
      return ir::Type(ir::SequenceType{std::move(elem)});
    }
    case onnx::TypeProto::kOptionalType: {
      TENON_ASSIGN_OR_RETURN(auto elem, inner(proto.optional_type().elem_type()));
      return ir::Type(ir::OptionalType{std::move(elem)});
    }
    case onnx::TypeProto::kMapType: {
      TENON_ASSIGN_OR_RETURN(DType key, element(proto.map_type().key_type()));
      TENON_ASSIGN_OR_RETURN(auto value, inner(proto.map_type().value_type()));
      return ir::Type(ir::MapType{key, std::move(value)});
    }
    case onnx::TypeProto::kSparseTensorType: return Status(Code::kUnsupported, "sparse tensors as inputs are not supported");
    default: return ir::Type();
  }
}

}  // namespace

bool is_bare_name(std::string_view param) {
  if (param.empty() || std::isdigit(static_cast<unsigned char>(param.front())) != 0) return false;
  for (char c : param)
    if (!is_word(c)) return false;
  return true;
}

void DimNames::declare(std::string_view param) {
  if (!param.empty() && param != "?") declared_.emplace(param);
}

Status DimNames::bind(std::string_view param, int64_t value) {
  if (value < 0) return error(Code::kInvalidArgument, "dim {} cannot be {}", param, value);
  if (declared_.count(param) == 0)
    return error(Code::kInvalidArgument, "the model has no symbolic dim '{}'; it has: {}", param,
                 declared_.empty() ? "none" : fmt::format("{}", fmt::join(declared_, ", ")));
  const auto [it, inserted] = bound_.emplace(param, value);
  if (!inserted && it->second != value)
    return error(Code::kInvalidArgument, "dim {} cannot be both {} and {}", param, it->second, value);
  return {};
}

const std::string& DimNames::symbol_name(std::string_view param) {
  auto it = names_.find(param);
  if (it != names_.end()) return it->second;
  std::string word(param.substr(0, 64));
  for (char& c : word)
    if (!is_word(c)) c = '_';
  if (std::isdigit(static_cast<unsigned char>(word.front())) != 0) word.insert(0, "d");
  std::string unique = word;
  for (int i = 1; !taken_.insert(unique).second; ++i) unique = fmt::format("{}_{}", word, i);
  return names_.emplace(param, std::move(unique)).first->second;
}

bool DimNames::is_expression(std::string_view param) {
  if (is_bare_name(param) || param.size() > 256) return false;
  ir::DimContext scratch;
  Result<ir::Dim> parsed = ir::parse_dim(param, scratch);
  if (!parsed.ok() || !parsed->is_valid()) return false;
  for (int i = 0; i < scratch.num_symbols(); ++i)
    if (declared_.count(scratch.symbol_name(i)) == 0) return false;
  return true;
}

ir::Dim DimNames::dim(std::string_view param, std::string_view hint) {
  if (param.empty() || param == "?") return context_.fresh(is_bare_name(hint) ? hint : "unknown");
  if (is_expression(param)) {
    Result<ir::Dim> parsed = ir::parse_dim(param, context_);
    if (parsed.ok())
      return context_.substitute(*parsed, [&](int symbol) -> std::optional<ir::Dim> {
        auto it = bound_.find(context_.symbol_name(symbol));
        return it == bound_.end() ? std::nullopt : std::optional<ir::Dim>(it->second);
      });
  }
  if (auto it = bound_.find(param); it != bound_.end()) return it->second;
  return context_.symbol(symbol_name(param));
}

ir::Dim DimNames::dim(const onnx::TensorShapeProto::Dimension& proto, std::string_view hint) {
  if (proto.value_case() == onnx::TensorShapeProto::Dimension::kDimValue && proto.dim_value() >= 0) return proto.dim_value();
  if (proto.value_case() == onnx::TensorShapeProto::Dimension::kDimParam) return dim(proto.dim_param(), hint);
  return dim(std::string_view(), hint);
}

Result<ir::Type> read_type(const onnx::TypeProto& proto, DimNames& dims, std::string_view hint) {
  return read_nested(proto, dims, hint, 0);
}

}  // namespace tenon::frontend
