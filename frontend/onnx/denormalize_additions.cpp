// What newer opsets added to ops that were there before; ONNX docs/Changelog.md, from opset 14 on.

#include <algorithm>
#include <map>

#include "frontend/onnx/denormalize.h"

namespace tenon::frontend {
namespace {

using ir::Attr;

/// An attribute that is new in `since`. Left out where it has its default, which is what older opsets do.
struct NewAttribute {
  std::string_view domain, ops;
  int64_t since;
  std::string_view name;
};

constexpr NewAttribute kAttributes[] = {
    {"", "Reshape", 14, "allowzero"},
    {"", "GRU LSTM RNN", 14, "layout"},
    {"", "BatchNormalization", 14, "training_mode"},
    {"", "Shape", 15, "start"},
    {"", "Shape", 15, "end"},
    {"", "ScatterElements ScatterND", 16, "reduction"},
    {"", "LpPool", 18, "ceil_mode"},
    {"", "LpPool", 18, "dilations"},
    {"", "Resize", 18, "antialias"},
    {"", "Resize", 18, "axes"},
    {"", "Resize", 18, "keep_aspect_ratio_policy"},
    {"", "AveragePool", 19, "dilations"},
    {"", "Cast CastLike QuantizeLinear", 19, "saturate"},
    {"", "QuantizeLinear DequantizeLinear", 21, "block_size"},
    {"", "GroupNormalization", 21, "stash_type"},
    {"", "QuantizeLinear", 23, "precision"},
    {"", "Cast CastLike", 24, "round_mode"},
    {"", "Attention", 25, "left_window_size"},
    {"", "Attention", 25, "right_window_size"},
    {"", "Range", 27, "stash_type"},
    {"ai.onnx.ml", "TreeEnsembleClassifier", 3, "base_values_as_tensor"},
    {"ai.onnx.ml", "TreeEnsembleClassifier TreeEnsembleRegressor", 3, "nodes_hitrates_as_tensor"},
    {"ai.onnx.ml", "TreeEnsembleClassifier TreeEnsembleRegressor", 3, "nodes_values_as_tensor"},
    {"ai.onnx.ml", "TreeEnsembleClassifier", 3, "class_weights_as_tensor"},
    {"ai.onnx.ml", "TreeEnsembleRegressor", 3, "base_values_as_tensor"},
    {"ai.onnx.ml", "TreeEnsembleRegressor", 3, "target_weights_as_tensor"},
    {"ai.onnx.ml", "LabelEncoder", 4, "keys_tensor"},
    {"ai.onnx.ml", "LabelEncoder", 4, "values_tensor"},
    {"ai.onnx.ml", "LabelEncoder", 4, "default_tensor"},
};

/// A value of an attribute that is new in `since`.
struct NewValue {
  std::string_view ops;
  int64_t since;
  std::string_view name, value;
};

constexpr NewValue kValues[] = {
    {"ScatterElements ScatterND", 18, "reduction", "min"},
    {"ScatterElements ScatterND", 18, "reduction", "max"},
    {"Pad", 19, "mode", "wrap"},
    {"Resize", 19, "coordinate_transformation_mode", "half_pixel_symmetric"},
};

/// Operands from number `input` on are new in `since`.
struct NewInput {
  std::string_view ops;
  int64_t since;
  size_t input;
};

constexpr NewInput kInputs[] = {
    {"Attention", 24, 6},
};

/// Types of operands and results that are new in `since`.
struct NewTypes {
  std::string_view ops;
  int64_t since;
  ir::DTypeSet dtypes;
  bool sequence = false, optional = false;
};

constexpr ir::DTypeSet kBF16 = ir::dtypes(DType::kBF16), kHalf = ir::dtypes(DType::kF16, DType::kBF16);
constexpr ir::DTypeSet kInt4 = ir::dtypes(DType::kI4, DType::kU4), kInt2 = ir::dtypes(DType::kI2, DType::kU2);
constexpr ir::DTypeSet kInt8And16 = ir::dtypes(DType::kI8, DType::kI16, DType::kU8, DType::kU16);
constexpr ir::DTypeSet kFloat4 = ir::dtypes(DType::kF4E2M1), kE8M0 = ir::dtypes(DType::kF8E8M0);

constexpr std::string_view kCasts = "Cast CastLike Identity If Loop Reshape Scan Shape Size Constant";
constexpr std::string_view kLater = "ConstantOfShape Flatten Pad Squeeze Transpose Unsqueeze";

constexpr NewTypes kTypes[] = {
    {"Add Div Mul Sub", 14, kInt8And16},
    {"BatchNormalization", 14, kBF16},
    {"CumSum", 14, kHalf},
    {"Identity", 14, 0, true},
    {"Relu", 14, ir::kSignedInts},
    {"Pow Shape", 15, kBF16},
    {"GreaterOrEqual LeakyRelu LessOrEqual PRelu Scan ScatterElements ScatterND Where", 16, kBF16},
    {"Identity If Loop", 16, 0, false, true},
    {"Size Split", 18, kBF16},
    {kCasts, 19, ir::kFloat8},
    {"DequantizeLinear QuantizeLinear", 19, ir::kFloat8 | kHalf},
    {"Equal", 19, ir::dtypes(DType::kString)},
    {"ConstantOfShape IsNaN", 20, ir::kFloat8},
    {"IsInf", 20, ir::kFloat8 | kHalf},
    {"ReduceMax ReduceMin", 20, ir::dtypes(DType::kBool)},
    {kCasts, 21, kInt4},
    {kLater, 21, ir::kFloat8 | kInt4},
    {"DequantizeLinear QuantizeLinear", 21, kInt4 | ir::dtypes(DType::kI16, DType::kU16)},
    {"QLinearMatMul", 21, ir::kFloat8 | kHalf},
    {"Acos Acosh Asin Asinh Atan Atanh AveragePool Bernoulli Conv ConvTranspose Cos Cosh DeformConv Det Elu EyeLike "
     "GRU GlobalAveragePool "
     "GlobalLpPool GlobalMaxPool GridSample HardSigmoid HardSwish InstanceNormalization LSTM LpNormalization LpPool "
     "MaxPool MaxRoiPool "
     "MaxUnpool Mish Multinomial NegativeLogLikelihoodLoss RNN RandomNormalLike RandomUniformLike RoiAlign Round Selu "
     "Sin Sinh Softplus "
     "Softsign Tan ThresholdedRelu",
     22, kBF16},
    {kCasts, 23, kFloat4},
    {kLater, 23, kFloat4},
    {"DequantizeLinear QuantizeLinear", 23, kFloat4},
    {kCasts, 24, kE8M0},
    {kLater, 24, kE8M0},
    {"DequantizeLinear QuantizeLinear", 24, kE8M0},
    {"SplitToSequence TopK", 24, kBF16},
    {kCasts, 25, kInt2},
    {kLater, 25, kInt2},
    {"DequantizeLinear QuantizeLinear", 25, kInt2},
    {"Range", 27, kHalf},
    {"Celu", 28, kHalf | ir::dtypes(DType::kF64)},
};

bool names(std::string_view ops, std::string_view op) {
  for (size_t at = ops.find(op); at != std::string_view::npos; at = ops.find(op, at + 1)) {
    const size_t end = at + op.size();
    if ((at == 0 || ops[at - 1] == ' ') && (end == ops.size() || ops[end] == ' ')) return true;
  }
  return false;
}

/// Whether an attribute says what leaving it out says.
bool is_default(const ir::OpDef& op, std::string_view name, const Attr& value) {
  const auto def = std::ranges::find(op.attrs, name, &ir::AttrDef::name);
  const std::string_view text = def == op.attrs.end() ? std::string_view() : def->fallback;
  if (const auto* i = std::get_if<int64_t>(&value)) return fmt::format("{}", *i) == text;
  if (const auto* s = std::get_if<std::string>(&value)) return *s == text;
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value))
    return std::ranges::all_of(*list, [](int64_t v) { return v == 1; });  // dilations
  return false;
}

bool uses(const ir::Value* value, const NewTypes& types) {
  if (value == nullptr) return false;
  const ir::Type& type = value->type();
  if (type.is_tensor()) return (types.dtypes & ir::dtype_bit(type.dtype())) != 0;
  return (types.sequence && type.as_sequence() != nullptr) || (types.optional && type.as_optional() != nullptr);
}

std::string describe(const ir::Node& node, const NewTypes& types) {
  for (const ir::Value* v : node.inputs())
    if (uses(v, types)) return to_string(v->type());
  for (const ir::Value* v : node.outputs())
    if (uses(v, types)) return to_string(v->type());
  return {};
}

}  // namespace

int64_t opset_of_additions(Call& call, const ir::Node& node, int64_t opset, std::string& what) {
  int64_t lowest = opset;
  const auto need = [&](int64_t since, std::string text) {
    if (since <= lowest) return;
    lowest = since;
    what = std::move(text);
  };
  for (const NewAttribute& row : kAttributes) {
    if (row.since <= opset || row.domain != call.domain || !names(row.ops, call.op)) continue;
    const Attr* value = call.attrs.find(row.name);
    if (value == nullptr) continue;
    if (is_default(node.op(), row.name, *value))
      call.attrs.erase(row.name);
    else
      need(row.since, fmt::format("the attribute {}", row.name));
  }
  if (!call.domain.empty()) return lowest;
  for (const NewValue& row : kValues)
    if (row.since > opset && names(row.ops, call.op) && call.text(row.name, "") == row.value)
      need(row.since, fmt::format("{} {}", row.name, row.value));
  for (const NewInput& row : kInputs)
    if (row.since > opset && names(row.ops, call.op))
      for (size_t i = row.input; i < call.inputs.size(); ++i)
        if (call.has(i)) need(row.since, fmt::format("input {}", i));
  for (const NewTypes& row : kTypes)
    if (row.since > lowest && names(row.ops, call.op))
      if (std::string type = describe(node, row); !type.empty()) need(row.since, "type " + type);
  return lowest;
}

}  // namespace tenon::frontend
