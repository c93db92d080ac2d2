#include <algorithm>

#include "passes/raise_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Value;

using Dims = std::vector<Dim>;

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

/// The first axis that a normalisation works on, when it works on it and all after it.
std::optional<int64_t> first_axis(const Match& m) {
  const ir::Node& var = m.node("var");
  auto axes = reduced_axes(var);
  if (!axes || axes->empty() || !keeps_dims(var)) return std::nullopt;
  if (m.has("mean") && (reduced_axes(m.node("mean")) != axes || !keeps_dims(m.node("mean")))) return std::nullopt;
  int64_t rank = var.input(0)->tensor().rank();
  for (size_t i = 0; i < axes->size(); ++i)
    if ((*axes)[i] != rank - static_cast<int64_t>(axes->size() - i)) return std::nullopt;
  return axes->front();
}

/// Whether a value has these dims, but for 1s before them.
bool has_dims(const Value* value, const Dims& dims) {
  if (!ranked(value)) return false;
  Dims have = dims_of(value);
  while (have.size() > dims.size() && have.front().is_const(1)) have.erase(have.begin());
  return have == dims;
}

/// A parameter of the normalised axes.
Value* with_dims(Builder& b, Value* value, const Dims& dims) {
  return has_dims(value, dims) ? reshape_to(b, value, dims) : nullptr;
}

Value* all(Builder& b, DType dtype, const Dims& dims, double number) {
  Shape shape;
  for (Dim dim : dims) {
    if (!dim.is_const()) return nullptr;
    shape.push_back(dim.value());
  }
  return filled(b, dtype, std::move(shape), number);
}

/// A parameter [C] that was written [C, 1, 1 …].
Value* per_channel(Builder& b, Value* value, const Dims& x) {
  Dims spread(x.size() - 1, 1);
  spread[0] = x[1];
  return has_dims(value, spread) ? reshape_to(b, value, {x[1]}) : nullptr;
}

/// What is normalised: the operand before it was widened, where the op widens by itself, which it does for half types.
/// Null when the casts do not fit.
Value* operand(const Match& m) {
  Value *x = m["x"], *wide = m["wide"], *narrow = m["narrow"];
  bool by_itself = wide && is_half(x->dtype()) && wide->dtype() == DType::kF32;
  if (narrow) return by_itself && narrow->dtype() == x->dtype() ? x : nullptr;
  return wide ? wide : x;
}

Value* instance_normalization(const Match& m, Builder& b, Value* x, const Dims& dims) {
  Value* scale = per_channel(b, m["scale"], dims);
  Value* bias = m.has("bias") ? per_channel(b, m["bias"], dims) : all(b, x->dtype(), {dims[1]}, 0);
  if (!scale || !bias) return nullptr;
  return b.make("InstanceNormalization", {x, scale, bias}, {{"epsilon", m.number("eps")}});
}

Value* layer_normalization(const Match& m, Builder& b) {
  Value* x = operand(m);
  auto axis = first_axis(m);
  if (!x || !axis) return nullptr;
  const Dims dims = dims_of(x), normal(dims.begin() + *axis, dims.end());
  if (m.has("scale") && *axis == 2 && dims.size() > 2 && !m.has("narrow"))
    if (Value* y = instance_normalization(m, b, x, dims)) return y;
  Value* scale = m.has("scale") ? with_dims(b, m["scale"], normal) : all(b, x->dtype(), normal, 1);
  Value* bias = m.has("bias") ? with_dims(b, m["bias"], normal) : nullptr;
  if (!scale || (m.has("bias") && !bias) || scale->dtype() != x->dtype()) return nullptr;
  std::vector<Value*> inputs = {x, scale};
  if (bias) inputs.push_back(bias);
  int64_t from_end = *axis - static_cast<int64_t>(dims.size());
  return b.make_n("LayerNormalization", inputs, 1, {{"axis", from_end}, {"epsilon", m.number("eps")}})[0];
}

/// The result has the scale's type, so a half operand may have a wide scale.
Value* rms_normalization(const Match& m, Builder& b) {
  Value* x = operand(m);
  auto axis = first_axis(m);
  if (!x || !axis) return nullptr;
  if (x == m["wide"] && is_half(m["x"]->dtype()) && x->dtype() == DType::kF32) x = m["x"];
  const Dims dims = dims_of(x), normal(dims.begin() + *axis, dims.end());
  Value* scale = m.has("scale") ? with_dims(b, m["scale"], normal) : all(b, m.out()->dtype(), normal, 1);
  if (!scale) return nullptr;
  int64_t from_end = *axis - static_cast<int64_t>(dims.size());
  return b.make("RMSNormalization", {x, scale}, {{"axis", from_end}, {"epsilon", m.number("eps")}});
}

/// A LayerNormalization without parameters, and those that follow it.
Value* with_parameters(const Match& m, Builder& b) {
  const ir::Node& norm = m.node("norm");
  if (number_of(m["ones"]) != 1 || !ranked(m["x"])) return nullptr;
  auto axis = ir::normalize_axis(norm.attr_int("axis", -1), m["x"]->tensor().rank());
  if (!axis.ok()) return nullptr;
  const Dims dims = dims_of(m["x"]), normal(dims.begin() + *axis, dims.end());
  Value* scale = m.has("scale") ? with_dims(b, m["scale"], normal) : m["ones"];
  Value* bias = m.has("bias") ? with_dims(b, m["bias"], normal) : nullptr;
  if (!scale || (m.has("bias") && !bias)) return nullptr;
  std::vector<Value*> inputs = {m["x"], scale};
  if (bias) inputs.push_back(bias);
  std::vector<std::pair<std::string, ir::Attr>> attrs(norm.attrs().begin(), norm.attrs().end());
  return b.make_n("LayerNormalization", inputs, 1, std::move(attrs))[0];
}

/// Groups of channels seen as channels (or as rows), normalised, and seen as channels again.
Value* group_normalization(const Match& m, Builder& b) {
  if (!ranked(m["x"]) || !ranked(m["view"])) return nullptr;
  const Dims &dims = dims_of(m["x"]), &view = dims_of(m["view"]);
  const ir::Node& norm = m.node("norm");
  if (dims.size() < 2 || view.size() < 3 || view[0] != dims[0] || dims_of(m["back"]) != dims) return nullptr;
  if (!dims[1].is_const() || !view[1].is_const() || view[1].value() < 1 || dims[1].value() % view[1].value() != 0)
    return nullptr;
  if (number_of(m["ones"]) != 1 || (m.has("zeros") && number_of(m["zeros"]) != 0)) return nullptr;
  if (norm.is("LayerNormalization")) {
    auto axis = ir::normalize_axis(norm.attr_int("axis", -1), static_cast<int64_t>(view.size()));
    if (!axis.ok() || *axis != 2) return nullptr;
  }
  DType dtype = m["x"]->dtype();
  Value* scale = m.has("scale") ? per_channel(b, m["scale"], dims) : all(b, dtype, {dims[1]}, 1);
  Value* bias = m.has("bias") ? per_channel(b, m["bias"], dims) : all(b, dtype, {dims[1]}, 0);
  if (!scale || !bias) return nullptr;
  return b.make("GroupNormalization", {m["x"], scale, bias},
                {{"num_groups", view[1].value()}, {"epsilon", norm.attr_float("epsilon", 1e-5)}});
}

std::vector<RaiseRule> make_rules() {
  const Pattern x = any("x"), scale = any("scale"), bias = any("bias"), eps = number("eps");
  const Pattern input = maybe_cast(x, "wide");

  const Pattern mean = reduced("ReduceMean", input, "mean");
  const Pattern centred = (input - mean).as("centred");
  const Pattern inverse = pow(eps + reduced("ReduceMean", pow(centred, 2), "var"), -0.5);
  const Pattern layer = centred * inverse, narrow_layer = op("Cast", {layer}).as("narrow");
  const Pattern scaled_layer = either({layer * scale, narrow_layer * scale});
  // (x - mean) r + bias as TensorFlow writes it
  const Pattern factor = (inverse * scale).as("factor");
  const Pattern tensorflow = input * factor + (bias - mean * factor);

  const Pattern rms = input * pow(eps + reduced("ReduceMean", pow(input, 2), "var"), -0.5);
  const Pattern narrow_rms = op("Cast", {rms}).as("narrow");

  const Pattern bare = op("LayerNormalization", {x, constant("ones")}).as("norm");
  const Pattern view = reshaped(x, "view");
  const Pattern groups = reshaped(
      either({op("InstanceNormalization|LayerNormalization", {view, constant("ones"), constant("zeros")}).as("norm"),
              op("LayerNormalization", {view, constant("ones")}).as("norm")}),
      "back");
  return {
      {tensorflow, layer_normalization},
      {scaled_layer + bias, layer_normalization},
      {scaled_layer, layer_normalization},
      {either({narrow_layer, layer}), layer_normalization},
      {either({rms * scale, narrow_rms * scale}), rms_normalization},
      {either({narrow_rms, rms}), rms_normalization},
      {bare * scale + bias, with_parameters},
      {bare * scale, with_parameters},
      {bare + bias, with_parameters},
      {groups * scale + bias, group_normalization},
      {groups * scale, group_normalization},
      {groups, group_normalization},
  };
}

}  // namespace

std::span<const RaiseRule> normalization_rules() {
  static const auto* rules = new std::vector<RaiseRule>(make_rules());
  return *rules;
}

}  // namespace tenon::passes
