// The newest form of an op to that of older opsets, in place; ONNX docs/Changelog.md.

#include <algorithm>

#include "frontend/onnx/denormalize.h"

namespace tenon::frontend {
namespace {

/// The message is what the op's name is followed by: "opset 13 of ai.onnx has no ReduceMax with …".
Status cannot(std::string what) { return Status(Code::kUnsupported, std::move(what)); }

/// Makes a constant integer input an attribute; an absent one stays absent.
Status to_attribute(Call& call, size_t input, std::string_view name, std::string_view what) {
  if (!call.has(input)) return {};
  const auto values = ir::constant_ints(call.in(input));
  if (!values) return cannot(fmt::format("{} that are not constant", what));
  call.attrs.set(name, *values);
  call.inputs.resize(input);
  return {};
}

Status reduce_axes(Call& call, const ir::Node&) {
  const bool keep_all = call.integer("noop_with_empty_axes", 0) != 0;
  call.attrs.erase("noop_with_empty_axes");
  TENON_RETURN_IF_ERROR(to_attribute(call, 1, "axes", "axes"));
  const auto* axes = call.integers("axes");
  if (keep_all && (axes == nullptr || axes->empty())) return cannot("no axes, meaning none");
  // An empty list meant all axes, as an absent one does.
  if (axes != nullptr && axes->empty()) call.attrs.erase("axes");
  return {};
}

/// Before num_outputs a split without sizes was into equal parts, and their number that of the outputs.
Status split_count(Call& call, const ir::Node& node) {
  if (!call.attrs.has("num_outputs")) return {};
  const int64_t parts = call.integer("num_outputs", 0);
  call.attrs.erase("num_outputs");
  const ir::Value* x = call.in(0);
  if (call.has(1) || x == nullptr) return {};
  if (x->type().is_ranked_tensor()) {
    TENON_ASSIGN_OR_RETURN(const int64_t axis, ir::normalize_axis(call.integer("axis", 0), x->tensor().rank()));
    if (parts == node.num_outputs() && parts > 0 && mod(x->tensor().dim(axis), parts).is_const(0)) return {};
  }
  return cannot("num_outputs where the parts may differ");
}

Status pad_axes(Call& call, const ir::Node&) {
  if (!call.has(3)) return {};
  return cannot("axes");
}

Status dft_axis(Call& call, const ir::Node& node) {
  std::optional<int64_t> axis = -2;
  if (call.has(2)) {
    const auto given = ir::constant_ints(call.in(2));
    axis = given && given->size() == 1 ? std::optional((*given)[0]) : std::nullopt;
  }
  if (!axis) return cannot("an axis that is not constant");
  const std::optional<int64_t> rank = rules::rank_of(node.input(0));
  if (*axis < 0 && !rank) return cannot("an axis counted from the end of an unknown rank");
  call.attrs.set("axis", *axis < 0 ? *axis + *rank : *axis);
  call.inputs.resize(std::min<size_t>(call.inputs.size(), 2));
  return {};
}

Status grid_sample_modes(Call& call, const ir::Node& node) {
  const std::string mode = call.text("mode", "linear");
  call.attrs.set("mode", mode == "linear" ? std::string("bilinear") : mode == "cubic" ? std::string("bicubic") : mode);
  if (rules::rank_of(node.input(0)) != std::optional<int64_t>(4))
    return cannot("an input that is not known to have rank 4");
  return {};
}

/// Boxes were not shifted by half a pixel.
Status roi_align_coordinates(Call& call, const ir::Node&) {
  if (call.text("coordinate_transformation_mode", "half_pixel") != "output_half_pixel")
    return cannot("half_pixel coordinates");
  call.attrs.erase("coordinate_transformation_mode");
  return {};
}

/// The zero point's type was the result's.
Status quantized_type(Call& call, const ir::Node& node) {
  if (call.integer("output_dtype", 0) == 0) return {};
  call.attrs.erase("output_dtype");
  const DType made = node.output()->dtype();
  if (!call.has(2) && made != DType::kU8) return cannot("output_dtype instead of a zero point");
  return {};
}

Status dequantized_type(Call& call, const ir::Node& node) {
  if (call.integer("output_dtype", 0) == 0) return {};
  call.attrs.erase("output_dtype");
  return node.input(1) != nullptr && node.output()->dtype() == node.input(1)->dtype()
             ? Status()
             : cannot("output_dtype other than the scale's");
}

/// Scale and bias were one number a group.
Status group_norm_channels(Call&, const ir::Node&) { return cannot("a scale for each channel"); }

/// ONNX Runtime has the op in every opset, ONNX from 17 on.
Status only_since(Call&, const ir::Node&) { return cannot({}); }

constexpr DenormalizeRule kRules[] = {
    {"", "DequantizeLinear", 23, dequantized_type},
    {"", "QuantizeLinear", 21, quantized_type},
    {"", "GroupNormalization", 21, group_norm_channels},
    {"", "DFT", 20, dft_axis},
    {"", "GridSample", 20, grid_sample_modes},
    {"", "ReduceMax ReduceMin ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare", 18,
     reduce_axes},
    {"", "Split", 18, split_count},
    {"", "Pad", 18, pad_axes},
    {"", "LayerNormalization", 17, only_since},
    {"", "RoiAlign", 16, roi_align_coordinates},
};

}  // namespace

std::span<const DenormalizeRule> denormalize_rules() { return kRules; }

}  // namespace tenon::frontend
