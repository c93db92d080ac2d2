// Layers: normalisation, dropout, pooling, resizing, recurrent ops: old forms to the newest.

#include <cmath>

#include "frontend/onnx/normalize.h"

namespace tenon::frontend {
namespace {

using namespace rules;
using Outputs = std::optional<std::vector<ir::Value*>>;

/// BatchNormalization below 9 with spatial = 0: statistics for each element of an example, y = (x - mean) / sqrt(var +
/// eps) * scale + bias.
Status batch_norm_elements(Call& call, ir::Builder& builder, Outputs& outputs) {
  for (size_t i = 0; i < 5; ++i)
    if (!call.has(i)) return error(Code::kInvalidModel, "input {} is missing", i);
  ir::Value* x = call.in(0);
  ir::Value* deviation =
      builder.make("Sqrt", {builder.make("Add", {call.in(4), scalar_like(builder, x, call.real("epsilon", 1e-5F))})});
  ir::Value* scaled = builder.make("Div", {builder.make("Sub", {x, call.in(3)}), deviation});
  outputs = {builder.make("Add", {builder.make("Mul", {scaled, call.in(1)}), call.in(2)})};
  return builder.status();
}

/// Below 14 there was no training_mode: using the statistics' outputs meant training, which gave other outputs than
/// today's.
Status batch_norm_old(Call& call, ir::Builder& builder, Outputs& outputs) {
  for (size_t i = 1; i < call.used.size(); ++i)
    if (call.used[i]) return unsupported(call, "training outputs (mean, variance)");
  call.used.resize(std::min<size_t>(call.used.size(), 1));
  const bool spatial = call.integer("spatial", 1) != 0;
  for (const char* name : {"spatial", "is_test"}) call.attrs.erase(name);
  return spatial ? Status() : batch_norm_elements(call, builder, outputs);
}

/// An all-true mask of x's shape in the dtype that the opset had for it.
ir::Value* dropout_mask(const Call& call, ir::Builder& builder) {
  ir::Value* ones = builder.make("ConstantOfShape", {builder.make("Shape", {call.in(0)})},
                                 {{"value", Tensor::from<bool>({1}, {true})}});
  if (call.version >= 10 || ones == nullptr) return ones;
  return builder.make("Cast", {ones}, {{"to", int64_t{info(call.in(0)->dtype()).onnx}}});
}

bool is_constant_zero(const ir::Value* value) {
  const Tensor* t = ir::constant_of(value);
  return t != nullptr && t->size() == 1 && t->dtype() != DType::kString && t->at_double(0) == 0;
}

/// Inference: dropout keeps everything, and so does training with a ratio of 0. What may train stays as it is.
Status dropout_inference(Call& call, ir::Builder& builder, Outputs& outputs) {
  if (!call.has(0)) return error(Code::kInvalidModel, "the input is missing");
  const bool may_train = call.version >= 12 && call.has(2) && !is_constant_zero(call.in(2));
  if (may_train && !(call.has(1) && is_constant_zero(call.in(1)))) return {};
  std::vector<ir::Value*> out = {builder.make("Identity", {call.in(0)})};
  if (call.output_used(1)) out.push_back(dropout_mask(call, builder));
  outputs = std::move(out);
  return builder.status();
}

Status drop_output_sequence(Call& call, ir::Builder&, Outputs&) {
  call.attrs.erase("output_sequence");
  return {};
}

/// GlobalLpPool and LpPool of opset 1 had a float `p`.
Status integer_p(Call& call, ir::Builder&, Outputs&) {
  const double p = call.real("p", 2);
  if (p != std::floor(p) || p < 1 || p > 1e6)
    return unsupported(call, fmt::format("p = {}, which is no positive integer", p));
  call.attrs.set("p", static_cast<int64_t>(p));
  return {};
}

/// GroupNormalization below 21 had a scale and a bias for each group; now for each channel.
Status group_norm_channels(Call& call, ir::Builder& builder, Outputs&) {
  const int64_t groups = call.integer("num_groups", 0);
  const std::optional<int64_t> rank = rank_of(call.in(0));
  if (!rank || *rank < 2) return unsupported(call, "an input whose channels are not known");
  if (groups < 1) return error(Code::kInvalidModel, "num_groups {} is not positive", groups);
  const ir::Dim channels = call.in(0)->tensor().dim(1);
  if (channels.is_const() && channels.value() % groups != 0)
    return error(Code::kInvalidModel, "{} channels do not divide into {} groups", channels.value(), groups);
  const ir::Dim each = ir::floor_div(channels, groups);
  for (size_t i : {1, 2}) {
    if (!call.has(i)) return error(Code::kInvalidModel, "input {} is missing", i);
    ir::Value* column = builder.make("tenon.reshape", {call.in(i)}, {{"dims", std::vector<ir::Dim>{groups, 1}}});
    ir::Value* table = builder.make("tenon.expand", {column}, {{"dims", std::vector<ir::Dim>{groups, each}}});
    call.inputs[i] = builder.make("tenon.reshape", {table}, {{"dims", std::vector<ir::Dim>{channels}}});
  }
  return builder.status();
}

ir::Value* floats(ir::Builder& builder, const std::vector<float>& values) {
  return builder.constant(Tensor::from<float>({static_cast<int64_t>(values.size())}, std::span<const float>(values)));
}

/// Upsample and Resize before opset 11: x_original = x_resized / scale, nearest rounds down.
Status to_asymmetric_resize(Call& call, ir::Builder& builder, ir::Value* scales, Outputs& outputs) {
  std::string mode = call.text("mode", "nearest");
  if (mode == "bilinear" || mode == "trilinear") mode = "linear";
  if (call.in(0) == nullptr || scales == nullptr)
    return error(Code::kInvalidModel, "the input or the scales are missing");
  ir::Value* inputs[] = {call.in(0), nullptr, scales};
  outputs = builder.make_n("Resize", inputs, 1,
                           {{"mode", mode},
                            {"coordinate_transformation_mode", std::string("asymmetric")},
                            {"nearest_mode", std::string("floor")}});
  return builder.status();
}

Status upsample(Call& call, ir::Builder& builder, Outputs& outputs) {
  ir::Value* scales = call.in(1);
  if (const auto* list = call.reals("scales"))
    scales = floats(builder, {list->begin(), list->end()});
  else if (call.attrs.has("height_scale") && call.attrs.has("width_scale"))
    scales = floats(builder, {1, 1, static_cast<float>(call.real("height_scale", 1)),
                              static_cast<float>(call.real("width_scale", 1))});
  return to_asymmetric_resize(call, builder, scales, outputs);
}

Status resize_10(Call& call, ir::Builder& builder, Outputs& outputs) {
  return to_asymmetric_resize(call, builder, call.in(1), outputs);
}

/// Empty roi, scales or sizes stand for absent ones.
Status resize_absent(Call& call, ir::Builder&, Outputs&) {
  for (size_t i = 1; i < call.inputs.size(); ++i) {
    const Tensor* t = call.has(i) ? ir::constant_of(call.in(i)) : nullptr;
    if (t != nullptr && t->size() == 0) call.inputs[i] = nullptr;
  }
  return {};
}

Status roi_align_coordinates(Call& call, ir::Builder&, Outputs&) {
  call.attrs.set("coordinate_transformation_mode", std::string("output_half_pixel"));
  return {};
}

Status grid_sample_modes(Call& call, ir::Builder&, Outputs&) {
  const std::string mode = call.text("mode", "bilinear");
  call.attrs.set("mode", mode == "bilinear" ? std::string("linear") : mode == "bicubic" ? std::string("cubic") : mode);
  return {};
}

constexpr NormalizeRule kRules[] = {
    {"", "BatchNormalization", 14, batch_norm_old},
    {"", "Dropout", kAnyVersion, dropout_inference, true},
    {"", "RNN GRU LSTM", 7, drop_output_sequence},
    {"", "GlobalLpPool LpPool", 2, integer_p},
    {"", "GroupNormalization", 21, group_norm_channels},
    {"", "Upsample", kAnyVersion, upsample, true},
    {"", "Resize", 11, resize_10},
    {"", "Resize", kAnyVersion, resize_absent},
    {"", "RoiAlign", 16, roi_align_coordinates},
    {"", "GridSample", 20, grid_sample_modes},
};

}  // namespace

std::span<const NormalizeRule> nn_rules() { return kRules; }

}  // namespace tenon::frontend
