// Experimental ops of opset 1, which opset 10 took out of the specification: definitions from docs/Operators.md of
// ONNX 1.4.

#include <algorithm>

#include "frontend/onnx/normalize.h"

namespace tenon::frontend {
namespace {

using namespace rules;
using Outputs = std::optional<std::vector<ir::Value*>>;

Status missing_input() { return error(Code::kInvalidModel, "the input is missing"); }

ir::Value* times(ir::Builder& builder, ir::Value* x, double factor) {
  return builder.make("Mul", {x, scalar_like(builder, x, factor)});
}

/// alpha * x + beta.
Status affine(Call& call, ir::Builder& builder, Outputs& outputs) {
  ir::Value* x = call.in(0);
  if (x == nullptr) return missing_input();
  outputs = {
      builder.make("Add", {times(builder, x, call.real("alpha", 1)), scalar_like(builder, x, call.real("beta", 0))})};
  return builder.status();
}

/// alpha * f(beta * x), with f = tanh or x -> ln(1 + exp(x)).
Status scaled_activation(Call& call, ir::Builder& builder, Outputs& outputs) {
  ir::Value* x = call.in(0);
  if (x == nullptr) return missing_input();
  const char* f = call.op == "ScaledTanh" ? "Tanh" : "Softplus";
  outputs = {times(builder, builder.make(f, {times(builder, x, call.real("beta", 1))}), call.real("alpha", 1))};
  return builder.status();
}

Status scale(Call& call, ir::Builder& builder, Outputs& outputs) {
  if (!call.has(0)) return missing_input();
  outputs = {times(builder, call.in(0), call.real("scale", 1))};
  return builder.status();
}

/// x * scale + bias[channel].
Status image_scaler(Call& call, ir::Builder& builder, Outputs& outputs) {
  ir::Value* x = call.in(0);
  const auto* bias = call.reals("bias");
  if (x == nullptr || bias == nullptr) return error(Code::kInvalidModel, "the input or the bias is missing");
  const std::vector<float> values(bias->begin(), bias->end());
  ir::Value* b = builder.constant(
      Tensor::from<float>({static_cast<int64_t>(values.size()), 1, 1}, std::span<const float>(values)));
  outputs = {builder.make("Add", {times(builder, x, call.real("scale", 1)), builder.make("CastLike", {b, x})})};
  return builder.status();
}

/// `border` is (left, top, right, bottom); with `scale` = (height, width) the window of that size at the left top
/// border.
Status crop(Call& call, ir::Builder& builder, Outputs& outputs) {
  const auto *border = call.integers("border"), *size = call.integers("scale");
  if (!call.has(0) || border == nullptr || border->size() != 4 || (size != nullptr && size->size() != 2))
    return error(Code::kInvalidModel, "the input is missing, or border has not 4 entries, or scale not 2");
  for (const std::vector<int64_t>* list : {border, size})
    for (size_t i = 0; list != nullptr && i < list->size(); ++i)
      if ((*list)[i] < 0 || (*list)[i] > INT32_MAX)
        return error(Code::kInvalidModel, "border or scale holds {}", (*list)[i]);
  const int64_t left = (*border)[0], top = (*border)[1];
  const auto end = [](int64_t behind) { return behind == 0 ? INT64_MAX : -behind; };
  const int64_t bottom = size != nullptr ? top + (*size)[0] : end((*border)[3]);
  const int64_t right = size != nullptr ? left + (*size)[1] : end((*border)[2]);
  outputs = {builder.make(
      "Slice", {call.in(0), builder.ints({top, left}), builder.ints({bottom, right}), builder.ints({2, 3})})};
  return builder.status();
}

Status dynamic_slice(Call& call, ir::Builder&, Outputs&) {
  call.op = "Slice";
  return {};
}

/// The shape that a filler makes: its attribute, or the shape of the input (its contents with input_as_shape), and
/// extra_shape.
Result<ir::Value*> filler_shape(Call& call, ir::Builder& builder) {
  const auto *shape = call.integers("shape"), *extra = call.integers("extra_shape");
  if (shape != nullptr && !call.has(0)) return builder.ints(*shape);
  if (!call.has(0)) return error(Code::kInvalidModel, "there is neither an input nor a shape");
  ir::Value* of = call.integer("input_as_shape", 0) != 0
                      ? builder.make("Cast", {call.in(0)}, {{"to", int64_t{info(DType::kI64).onnx}}})
                      : builder.make("Shape", {call.in(0)});
  return extra == nullptr ? of : builder.make("Concat", {of, builder.ints(*extra)}, {{"axis", int64_t{0}}});
}

Status constant_fill(Call& call, ir::Builder& builder, Outputs& outputs) {
  const std::optional<DType> dtype =
      dtype_from_onnx(static_cast<int>(std::clamp<int64_t>(call.integer("dtype", 1), 0, 1000)));
  if (!dtype || *dtype == DType::kString)
    return error(Code::kInvalidModel, "dtype {} is no type of numbers", call.integer("dtype", 1));
  TENON_ASSIGN_OR_RETURN(ir::Value * shape, filler_shape(call, builder));
  TENON_ASSIGN_OR_RETURN(Tensor value, Tensor::zeros(*dtype, {1}));
  value.set_double(0, call.real("value", 0));
  outputs = {builder.make("ConstantOfShape", {shape}, {{"value", std::move(value)}})};
  return builder.status();
}

Status given_tensor_fill(Call& call, ir::Builder& builder, Outputs& outputs) {
  const auto* values = call.reals("values");
  if (values == nullptr) return error(Code::kInvalidModel, "the attribute values is missing");
  const std::vector<float> floats(values->begin(), values->end());
  TENON_ASSIGN_OR_RETURN(ir::Value * shape, filler_shape(call, builder));
  ir::Value* flat =
      builder.constant(Tensor::from<float>({static_cast<int64_t>(floats.size())}, std::span<const float>(floats)));
  outputs = {builder.make("Reshape", {flat, shape})};
  return builder.status();
}

/// Below 9: statistics of each channel of each example, or of a whole example; perhaps only the mean.
Status mean_variance(Call& call, ir::Builder& builder, Outputs& outputs) {
  const std::optional<int64_t> rank = rank_of(call.in(0));
  if (!rank || *rank < 2) return unsupported(call, "an input whose rank is not known, or below 2");
  std::vector<int64_t> axes;
  for (int64_t axis = call.integer("across_channels", 0) != 0 ? 1 : 2; axis < *rank; ++axis) axes.push_back(axis);
  const bool variance = call.integer("normalize_variance", 1) != 0;
  call.attrs = {};
  if (variance) {
    call.attrs.set("axes", axes);
    return {};
  }
  outputs = {builder.make("Sub", {call.in(0), builder.make("ReduceMean", {call.in(0), builder.ints(axes)})})};
  return builder.status();
}

constexpr NormalizeRule kRules[] = {
    {"", "Affine", kAnyVersion, affine, true},
    {"", "ConstantFill", kAnyVersion, constant_fill, true},
    {"", "Crop", kAnyVersion, crop, true},
    {"", "DynamicSlice", kAnyVersion, dynamic_slice, true},
    {"", "GivenTensorFill", kAnyVersion, given_tensor_fill, true},
    {"", "ImageScaler", kAnyVersion, image_scaler, true},
    {"", "MeanVarianceNormalization", 9, mean_variance},
    {"", "ParametricSoftplus ScaledTanh", kAnyVersion, scaled_activation, true},
    {"", "Scale", kAnyVersion, scale, true},
};

}  // namespace

std::span<const NormalizeRule> experimental_rules() { return kRules; }

}  // namespace tenon::frontend
