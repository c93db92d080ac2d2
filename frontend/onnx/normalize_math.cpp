// Elementwise, reduction and matrix ops: old forms to the newest.

#include <cmath>
#include <limits>

#include "frontend/onnx/normalize.h"

namespace tenon::frontend {
namespace {

using namespace rules;
using Outputs = std::optional<std::vector<ir::Value*>>;

/// Opset below 7: with `broadcast`, B's shape is a run of A's axes that starts at `axis` (default: B's axes are the last ones).
Status legacy_broadcast(Call& call, ir::Builder& builder, Outputs&) {
  const bool broadcast = call.integer("broadcast", 0) != 0;
  const bool has_axis = call.attrs.has("axis");
  int64_t axis = call.integer("axis", 0);
  call.attrs.erase("broadcast");
  call.attrs.erase("axis");
  if (!broadcast || !has_axis || !call.has(0) || !call.has(1)) return {};
  const std::optional<int64_t> a = rank_of(call.in(0)), b = rank_of(call.in(1));
  if (!a || !b) return unsupported(call, "broadcasting by axis of inputs whose ranks are not known");
  if (axis < 0) axis += *a;
  if (axis < 0 || axis + *b > *a)
    return error(Code::kInvalidModel, "broadcast axis {} does not fit inputs of rank {} and {}", axis, *a, *b);
  std::vector<int64_t> trailing;
  for (int64_t i = *b; i < *a - axis; ++i) trailing.push_back(i);
  if (!trailing.empty()) call.inputs[1] = builder.make("Unsqueeze", {call.in(1), builder.ints(trailing)});
  return builder.status();
}

/// Gemm below 7: C broadcasts as it does today; the attribute only said so.
Status drop_broadcast(Call& call, ir::Builder&, Outputs&) {
  call.attrs.erase("broadcast");
  return {};
}

/// PRelu below 7: a slope of rank 1 belongs to axis 1.
Status prelu_channels(Call& call, ir::Builder& builder, Outputs&) {
  const std::optional<int64_t> x = rank_of(call.in(0)), slope = rank_of(call.in(1));
  if (!x || !slope || *slope != 1 || *x < 3) return {};
  if (call.in(1)->tensor().dim(0).is_const(1)) return {};
  std::vector<int64_t> trailing;
  for (int64_t i = 1; i < *x - 1; ++i) trailing.push_back(i);
  call.inputs[1] = builder.make("Unsqueeze", {call.in(1), builder.ints(trailing)});
  return builder.status();
}

/// Clip below 11. The bounds of opset 6 default to the finite range of f32, those of opset 1 to none.
Status clip_bounds(Call& call, ir::Builder& builder, Outputs&) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const bool bounded = call.version >= 6;
  if (bounded || call.attrs.has("min")) call.set_input(1, scalar_like(builder, call.in(0), call.real("min", -kLargest)));
  if (bounded || call.attrs.has("max")) call.set_input(2, scalar_like(builder, call.in(0), call.real("max", kLargest)));
  call.attrs.erase("min");
  call.attrs.erase("max");
  return builder.status();
}

Status reduce_axes(Call& call, ir::Builder& builder, Outputs&) { return axes_to_input(call, builder, "axes", 1); }

/// Softmax, LogSoftmax and Hardmax below 13 work on the matrix that flattening before `axis` gives.
Status softmax_flat(Call& call, ir::Builder& builder, Outputs& outputs) {
  ir::Value* x = call.in(0);
  if (x == nullptr) return {};
  int64_t axis = call.integer("axis", 1);
  const std::optional<int64_t> rank = rank_of(x);
  if (rank && (axis == *rank - 1 || axis == -1)) {
    call.attrs.set("axis", int64_t{-1});
    return {};
  }
  ir::Value* flat = builder.make("Flatten", {x}, {{"axis", axis}});
  ir::Value* y = builder.make(call.op, {flat}, {{"axis", int64_t{-1}}});
  ir::Value* shape = builder.make("Shape", {x});
  outputs = {builder.make("Reshape", {y, shape})};
  return builder.status();
}

/// https://github.com/onnx/onnx/blob/main/docs/Operators.md#Selu: opset 1 had shorter constants.
Status selu_defaults(Call& call, ir::Builder&, Outputs&) {
  if (!call.attrs.has("alpha")) call.attrs.set("alpha", static_cast<double>(1.6732f));
  if (!call.attrs.has("gamma")) call.attrs.set("gamma", static_cast<double>(1.0507f));
  return {};
}

Status topk_input(Call& call, ir::Builder& builder, Outputs&) {
  if (!call.attrs.has("k") || call.has(1)) return {};
  call.set_input(1, builder.ints({call.integer("k", 0)}));
  call.attrs.erase("k");
  return builder.status();
}

/// OneHot below 11: negative indices name no class, where today they count from the end.
Status one_hot_indices(Call& call, ir::Builder& builder, Outputs&) {
  ir::Value *indices = call.in(0), *depth = call.in(1);
  if (indices == nullptr || depth == nullptr || is_unsigned_int(indices->dtype())) return {};
  const int64_t i64 = info(DType::kI64).onnx;
  indices = builder.make("Cast", {indices}, {{"to", i64}});
  depth = builder.make("Reshape", {builder.make("Cast", {depth}, {{"to", i64}}), builder.ints(std::span<const int64_t>())});
  ir::Value* negative = builder.make("Less", {indices, builder.scalar(DType::kI64, 0)});
  call.inputs[0] = builder.make("Where", {negative, depth, indices});
  return builder.status();
}

/// DFT below 20: `axis` was an attribute with default 1.
Status dft_axis(Call& call, ir::Builder& builder, Outputs&) {
  const Tensor axis = Tensor::scalar<int64_t>(call.integer("axis", 1));
  call.attrs.erase("axis");
  call.set_input(2, builder.constant(axis));
  return builder.status();
}

/// LabelEncoder of ai.onnx.ml below 2 mapped between strings and their positions in `classes_strings`.
Status label_encoder(Call& call, ir::Builder&, Outputs&) {
  const ir::Attr* classes = call.attrs.find("classes_strings");
  const auto* names = classes == nullptr ? nullptr : std::get_if<std::vector<std::string>>(classes);
  if (names == nullptr || !call.has(0)) return {};
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < names->size(); ++i) numbers.push_back(static_cast<int64_t>(i));
  const std::vector<std::string> strings = *names;
  const bool from_strings = call.in(0)->dtype() == DType::kString;
  call.attrs.erase("classes_strings");
  call.attrs.set(from_strings ? "keys_strings" : "values_strings", strings);
  call.attrs.set(from_strings ? "values_int64s" : "keys_int64s", numbers);
  return {};
}

/// LabelEncoder below 4 compared keys as numbers do: NaN equals nothing (as ONNX Runtime).
Status label_encoder_nan(Call& call, ir::Builder&, Outputs&) {
  const auto* keys = call.reals("keys_floats");
  if (keys == nullptr) return {};
  std::vector<size_t> kept;
  for (size_t i = 0; i < keys->size(); ++i)
    if (!std::isnan((*keys)[i])) kept.push_back(i);
  if (kept.size() == keys->size()) return {};
  for (const char* name : {"keys_floats", "values_floats", "values_int64s", "values_strings"}) {
    const ir::Attr* list = call.attrs.find(name);
    if (list == nullptr) continue;
    ir::Attr shorter = std::visit(
        [&]<class T>(const T& values) -> ir::Attr {
          if constexpr (requires { values[0]; values.size(); } && !std::is_same_v<T, std::string>) {
            T out;
            for (size_t i : kept)
              if (i < values.size()) out.push_back(values[i]);
            return out;
          } else {
            return values;
          }
        },
        *list);
    call.attrs.set(name, std::move(shorter));
  }
  return {};
}

constexpr NormalizeRule kRules[] = {
    {"", "Add Sub Mul Div Pow And Or Xor Greater Less Equal", 7, legacy_broadcast},
    {"", "Gemm", 7, drop_broadcast},
    {"", "PRelu", 7, prelu_channels},
    {"", "Clip", 11, clip_bounds},
    {"", "ReduceSum", 13, reduce_axes},
    {"", "ReduceMax ReduceMin ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare", 18,
     reduce_axes},
    {"", "Softmax LogSoftmax Hardmax", 13, softmax_flat},
    {"", "Selu", 6, selu_defaults},
    {"", "TopK", 10, topk_input},
    {"", "OneHot", 11, one_hot_indices},
    {"", "DFT", 20, dft_axis},
    {"ai.onnx.ml", "LabelEncoder", 2, label_encoder},
    {"ai.onnx.ml", "LabelEncoder", 4, label_encoder_nan},
};

}  // namespace

std::span<const NormalizeRule> math_rules() { return kRules; }

}  // namespace tenon::frontend
