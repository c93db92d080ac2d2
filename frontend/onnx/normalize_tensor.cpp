// Shape, movement and type ops: old forms to the newest.

#include "frontend/onnx/normalize.h"

namespace tenon::frontend {
namespace {

using namespace rules;
using Outputs = std::optional<std::vector<ir::Value*>>;

Status squeeze_axes(Call& call, ir::Builder& builder, Outputs&) { return axes_to_input(call, builder, "axes", 1); }
Status reshape_shape(Call& call, ir::Builder& builder, Outputs&) { return axes_to_input(call, builder, "shape", 1); }

/// Numbers of a constant of any dtype.
std::optional<std::vector<int64_t>> constant_numbers(const ir::Value* value) {
  const Tensor* t = value == nullptr ? nullptr : ir::constant_of(value);
  if (t == nullptr || t->dtype() == DType::kString || t->size() > 4096) return std::nullopt;
  std::vector<int64_t> out;
  for (int64_t i = 0; i < t->size(); ++i) out.push_back(t->at_int(i));
  return out;
}

/// The sizes of Split-1 may be an input of the data's type.
Status split_1(Call& call, ir::Builder& builder, Outputs&) {
  if (!call.has(1)) return {};
  if (const auto sizes = constant_numbers(call.in(1))) call.inputs[1] = builder.ints(*sizes);
  else call.inputs[1] = builder.make("Cast", {call.in(1)}, {{"to", int64_t{info(DType::kI64).onnx}}});
  return builder.status();
}

Status split_sizes(Call& call, ir::Builder& builder, Outputs&) { return axes_to_input(call, builder, "split", 1); }

/// Below 18 the number of outputs was the node's own.
Status split_count(Call& call, ir::Builder&, Outputs&) {
  if (!call.has(1)) call.attrs.set("num_outputs", static_cast<int64_t>(call.used.size()));
  return {};
}

Status slice_inputs(Call& call, ir::Builder& builder, Outputs&) {
  TENON_RETURN_IF_ERROR(axes_to_input(call, builder, "starts", 1));
  TENON_RETURN_IF_ERROR(axes_to_input(call, builder, "ends", 2));
  return axes_to_input(call, builder, "axes", 3);
}

Status pad_inputs(Call& call, ir::Builder& builder, Outputs&) {
  TENON_RETURN_IF_ERROR(axes_to_input(call, builder, call.version < 2 ? "paddings" : "pads", 1));
  if (call.attrs.has("value") && call.text("mode", "constant") == "constant")
    call.set_input(2, scalar_like(builder, call.in(0), call.real("value", 0)));
  call.attrs.erase("value");
  return builder.status();
}

/// Cast below 6 named its type: "FLOAT", "INT64".
Status cast_by_name(Call& call, ir::Builder&, Outputs&) {
  std::string name = call.text("to", "");
  if (name.empty()) return {};
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  for (int code = 1; code <= 16; ++code) {
    const std::optional<DType> dtype = dtype_from_onnx(code);
    if (!dtype || info(*dtype).onnx_name != name) continue;
    call.attrs.set("to", int64_t{code});
    return {};
  }
  return error(Code::kInvalidModel, "unknown type {} to cast to", name);
}

Status concat_axis(Call& call, ir::Builder&, Outputs&) {
  if (!call.attrs.has("axis")) call.attrs.set("axis", int64_t{1});
  return {};
}

/// Tile-1: `tiles` repeats along `axis`.
Status tile_repeats(Call& call, ir::Builder& builder, Outputs&) {
  const std::optional<int64_t> rank = rank_of(call.in(0));
  const auto tiles = constant_numbers(call.in(1)), axis = constant_numbers(call.in(2));
  if (!rank || !tiles || !axis || tiles->size() != 1 || axis->size() != 1)
    return unsupported(call, "tiles or axis that are not constant");
  TENON_ASSIGN_OR_RETURN(const int64_t at, ir::normalize_axis((*axis)[0], *rank));
  std::vector<int64_t> repeats(static_cast<size_t>(*rank), 1);
  repeats[static_cast<size_t>(at)] = (*tiles)[0];
  call.inputs = {call.in(0), builder.ints(repeats)};
  return builder.status();
}

Status scatter(Call& call, ir::Builder&, Outputs&) {
  call.op = "ScatterElements";
  return {};
}

constexpr NormalizeRule kRules[] = {
    {"", "Squeeze Unsqueeze", 13, squeeze_axes},
    {"", "Reshape", 5, reshape_shape},
    {"", "Split", 2, split_1},
    {"", "Split", 13, split_sizes},
    {"", "Split", 18, split_count},
    {"", "Slice", 10, slice_inputs},
    {"", "Pad", 11, pad_inputs},
    {"", "Cast", 6, cast_by_name},
    {"", "Concat", 4, concat_axis},
    {"", "Tile", 6, tile_repeats},
    {"", "Scatter", kAnyVersion, scatter, true},
};

}  // namespace

std::span<const NormalizeRule> tensor_rules() { return kRules; }

}  // namespace tenon::frontend
