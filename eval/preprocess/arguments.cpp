#include "eval/preprocess/arguments.h"

#include <algorithm>

#include "support/float_types.h"

namespace tenon::eval {

using nlohmann::json;

namespace {
const json& value_of(const StepArguments& a, std::string_view name) {
  const auto found = a.values.find(name);
  TENON_CHECK(found != a.values.end());
  return *found;
}
}  // namespace

int64_t integer(const StepArguments& a, std::string_view name) { return value_of(a, name).get<int64_t>(); }
double number(const StepArguments& a, std::string_view name) { return value_of(a, name).get<double>(); }
bool boolean(const StepArguments& a, std::string_view name) { return value_of(a, name).get<bool>(); }
std::string text(const StepArguments& a, std::string_view name) { return value_of(a, name).get<std::string>(); }
std::vector<double> numbers(const StepArguments& a, std::string_view name) {
  const json& value = value_of(a, name);
  return value.is_number() ? std::vector<double>{value.get<double>()} : value.get<std::vector<double>>();
}
std::vector<std::string> texts(const StepArguments& a, std::string_view name) { return value_of(a, name).get<std::vector<std::string>>(); }
std::pair<int64_t, int64_t> size_of(const StepArguments& a, std::string_view name) {
  const json& value = value_of(a, name);
  if (value.is_number()) return {value.get<int64_t>(), value.get<int64_t>()};
  return {value[0].get<int64_t>(), value[1].get<int64_t>()};
}
Status wrong_parameter(std::string_view name, std::string_view what) {
  return Status(Code::kInvalidArgument, fmt::format("parameter '{}' {}", name, what), {}, "docs/preprocessing.md has every step's parameters");
}

Result<Tensor> tensor_in(const Fields& fields, const std::string& name) {
  const auto found = fields.find(name);
  if (found != fields.end()) {
    const auto* tensor = std::get_if<Tensor>(&found->second);
    if (tensor != nullptr && tensor->defined()) return *tensor;
    return error(Code::kInvalidArgument, "the field '{}' is no tensor", name);
  }
  constexpr size_t kListed = 20;
  std::string names;
  size_t listed = 0;
  for (const auto& [other, value] : fields)
    if (listed++ < kListed) names += (names.empty() ? "" : ", ") + other;
  return error(Code::kNotFound, "there is no field '{}'", name)
      .with_hint(names.empty() ? "the example has none" : "give one of the example's as \"input\": " + names);
}

Result<std::string> text_in(const Fields& fields, const std::string& name) {
  TENON_ASSIGN_OR_RETURN(const Tensor t, tensor_in(fields, name));
  if (t.dtype() != DType::kString || t.size() != 1)
    return error(Code::kInvalidArgument, "the field '{}' is {} of {} elements, not one text", name, tenon::name(t.dtype()), t.size());
  return t.string_values()[0];
}

Result<Tensor> image_in(const Fields& fields, const std::string& name) {
  TENON_ASSIGN_OR_RETURN(Tensor t, tensor_in(fields, name));
  if ((t.dtype() != DType::kU8 && t.dtype() != DType::kF32) || (t.rank() != 2 && t.rank() != 3) || t.size() == 0)
    return error(Code::kInvalidArgument, "the field '{}' is {} of shape {}, not an image: u8 or f32 [height, width, channels]", name,
                 tenon::name(t.dtype()), to_string(t.shape()));
  if (t.rank() == 2) return t.reshaped({t.dim(0), t.dim(1), 1});
  if (t.dim(2) > 16)
    return error(Code::kInvalidArgument, "the field '{}' has {} channels; an image has at most 16, in its last dim", name, t.dim(2))
        .with_hint("put this step before layout");
  return t;
}

Result<Tensor> samples_in(const Fields& fields, const std::string& name) {
  TENON_ASSIGN_OR_RETURN(const Tensor t, tensor_in(fields, name));
  if (!is_float(t.dtype()) || t.rank() != 1)
    return error(Code::kInvalidArgument, "the field '{}' is {} of shape {}, not sound: f32 [samples]", name, tenon::name(t.dtype()), to_string(t.shape()));
  return to_f32(t);
}

Result<Tensor> to_f32(const Tensor& t) {
  if (t.dtype() == DType::kF32) return t;
  if (t.dtype() == DType::kString || info(t.dtype()).cls == DTypeClass::kComplex || is_packed(t.dtype()))
    return error(Code::kInvalidArgument, "{} elements are no numbers that this step can change", name(t.dtype()));
  TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, t.shape()));
  const std::span<float> to = out.mutable_span<float>();
  if (t.dtype() == DType::kU8) {
    const auto from = t.span<uint8_t>();
    std::copy(from.begin(), from.end(), to.begin());
  } else {
    for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(t.at_double(static_cast<int64_t>(i)));
  }
  return out;
}

Result<Tensor> make_tensor(DType dtype, Shape shape) {
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  if (count > kMaxElements) return error(Code::kResourceExhausted, "the result {} has more than {} elements", to_string(shape), kMaxElements);
  return Tensor::empty(dtype, std::move(shape));
}

}  // namespace tenon::eval
