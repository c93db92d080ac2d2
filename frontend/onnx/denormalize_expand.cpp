// Ops by older ones, where the op's own definition in the op table is an expression instead of a graph. Formulas: ONNX
// docs/Operators.md.

#include <algorithm>
#include <optional>

#include "frontend/onnx/denormalize.h"

namespace tenon::frontend {
namespace {

using ir::Builder;
using ir::Node;
using ir::Value;

Value* number(Builder& b, const Node& node, double value) { return b.scalar(node.input(0)->dtype(), value); }

/// x * max(0, min(1, x / 6 + 0.5))
Result<Value*> hard_swish(Node& node, Builder& b) {
  Value* x = node.input(0);
  return b.make("Mul", {x, b.make("HardSigmoid", {x}, {{"alpha", 1.0 / 6}, {"beta", 0.5}})});
}

/// x * tanh(softplus(x))
Result<Value*> mish(Node& node, Builder& b) {
  Value* x = node.input(0);
  return b.make("Mul", {x, b.make("Tanh", {b.make("Softplus", {x})})});
}

/// x * sigmoid(alpha * x)
Result<Value*> swish(Node& node, Builder& b) {
  Value* x = node.input(0);
  const double alpha = node.attr_float("alpha", 1);
  Value* scaled = alpha == 1 ? x : b.make("Mul", {x, number(b, node, alpha)});
  return b.make("Mul", {x, b.make("Sigmoid", {scaled})});
}

/// gate * sigmoid(alpha * gate) * x
Result<Value*> swiglu(Node& node, Builder& b) {
  TENON_ASSIGN_OR_RETURN(Value * gate, swish(node, b));
  return b.make("Mul", {gate, node.input(1)});
}

/// Elements of a matrix with row + k <= column, or for the lower triangle >=; others are 0.
Result<Value*> trilu(Node& node, Builder& b) {
  Value* x = node.input(0);
  Value* shape = b.make("Shape", {x});
  const auto positions = [&](int64_t axis) {
    Value* size = b.make("Gather", {shape, b.constant(Tensor::scalar<int64_t>(axis))});
    return b.make("Range", {b.constant(Tensor::scalar<int64_t>(0)), size, b.constant(Tensor::scalar<int64_t>(1))});
  };
  Value* row = b.make("Unsqueeze", {positions(-2), b.ints({1})});
  if (node.has_input(1)) row = b.make("Add", {row, b.make("Reshape", {node.input(1), b.ints({1})})});
  Value* column = positions(-1);
  Value* keep = b.make(node.attr_int("upper", 1) != 0 ? "LessOrEqual" : "GreaterOrEqual", {row, column});
  const Result<Tensor> zero = Tensor::zeros(x->dtype(), {});
  if (!zero.ok()) return zero.status();
  return b.make("Where", {keep, x, b.constant(*zero)});
}

/// x / 2 * (1 + erf(x / sqrt(2))), or with tanh(sqrt(2 / pi) * (x + 0.044715 x³)) for erf.
Result<Value*> gelu(Node& node, Builder& b) {
  Value* x = node.input(0);
  Value* inner;
  if (node.attr_string("approximate", "none") == "tanh") {
    Value* cube = b.make("Mul", {b.make("Mul", {x, x}), x});
    Value* sum = b.make("Add", {x, b.make("Mul", {cube, number(b, node, 0.044715)})});
    inner = b.make("Tanh", {b.make("Mul", {sum, number(b, node, 0.7978845608028654)})});
  } else {
    inner = b.make("Erf", {b.make("Mul", {x, number(b, node, 0.7071067811865476)})});
  }
  Value* half = b.make("Mul", {x, number(b, node, 0.5)});
  return b.make("Mul", {half, b.make("Add", {inner, number(b, node, 1)})});
}

Result<Value*> cast_like(Node& node, Builder& b) {
  return b.make("Cast", {node.input(0)},
                {{"to", int64_t{info(node.input(1)->dtype()).onnx}}, {"saturate", node.attr_int("saturate", 1)}});
}

/// Shape of some axes: a slice of the shape. An `end` that is left out is that of all axes.
Result<Value*> shape_slice(Node& node, Builder& b) {
  Value* whole = b.make("Shape", {node.input(0)});
  return b.make("Slice",
                {whole, b.ints({node.attr_int("start", 0)}), b.ints({node.attr_int("end", INT64_MAX)}), b.ints({0})});
}

bool is_sliced(const Node& node) { return node.attrs().has("start") || node.attrs().has("end"); }

/// ReduceSum took axes that are data before the other reductions did.
bool has_data_axes(const Node& node) { return node.has_input(1) && !ir::constant_ints(node.input(1)); }

Value* sum_of(const Node& node, Builder& b, Value* x) {
  std::vector<std::pair<std::string, ir::Attr>> attrs(node.attrs().begin(), node.attrs().end());
  Value* inputs[] = {x, node.input(1)};
  return b.make_n("ReduceSum", inputs, 1, std::move(attrs))[0];
}

Result<Value*> reduce_l1(Node& node, Builder& b) { return sum_of(node, b, b.make("Abs", {node.input(0)})); }

Result<Value*> reduce_sum_square(Node& node, Builder& b) {
  return sum_of(node, b, b.make("Mul", {node.input(0), node.input(0)}));
}

Result<Value*> reduce_l2(Node& node, Builder& b) {
  return b.make("Sqrt", {sum_of(node, b, b.make("Mul", {node.input(0), node.input(0)}))});
}

Result<Value*> reduce_log_sum(Node& node, Builder& b) { return b.make("Log", {sum_of(node, b, node.input(0))}); }

/// What lies between must not overflow where the op does not.
bool has_data_axes_in_full(const Node& node) {
  return has_data_axes(node) && (node.input(0)->dtype() == DType::kF32 || node.input(0)->dtype() == DType::kF64);
}

/// Sizes for some axes as sizes for all: `rest` for the others.
std::optional<std::vector<int64_t>> for_all_axes(const Value* axes, std::span<const int64_t> values, int64_t rank,
                                                 int64_t rest) {
  const auto list = ir::constant_ints(axes);
  if (!list || values.size() % std::max<size_t>(list->size(), 1) != 0) return std::nullopt;
  const size_t runs = list->empty() ? 1 : values.size() / list->size();
  std::vector<int64_t> out(runs * static_cast<size_t>(rank), rest);
  for (size_t i = 0; i < list->size(); ++i) {
    const Result<int64_t> axis = ir::normalize_axis((*list)[i], rank);
    if (!axis.ok()) return std::nullopt;
    for (size_t run = 0; run < runs; ++run)
      out[run * static_cast<size_t>(rank) + static_cast<size_t>(*axis)] = values[run * list->size() + i];
  }
  return out;
}

/// Constant pads of some axes are pads of all, others 0.
bool pads_some_axes(const Node& node) {
  return node.has_input(3) && ir::constant_ints(node.input(3)) && ir::constant_ints(node.input(1)) &&
         rules::rank_of(node.input(0));
}

Result<Value*> pad_all_axes(Node& node, Builder& b) {
  const auto pads = for_all_axes(node.input(3), *ir::constant_ints(node.input(1)), *rules::rank_of(node.input(0)), 0);
  if (!pads) return error(Code::kInvalidModel, "axes {} do not fit the pads", node.name());
  return b.make("Pad", {node.input(0), b.ints(*pads), node.input(2)}, {{"mode", node.attr_string("mode", "constant")}});
}

bool scales_some_axes(const Node& node) {
  const Tensor* scales = ir::constant_of(node.input(2));
  return node.attrs().has("axes") && !node.has_input(1) && !node.has_input(3) && scales != nullptr &&
         rules::rank_of(node.input(0)) && static_cast<int64_t>(node.attr_ints("axes").size()) == scales->size();
}

/// Scales of some axes are scales of all, others 1.
Result<Value*> scale_all_axes(Node& node, Builder& b) {
  const int64_t rank = *rules::rank_of(node.input(0));
  const std::vector<int64_t> axes = node.attr_ints("axes");
  const Tensor& given = *ir::constant_of(node.input(2));
  std::vector<float> scales(static_cast<size_t>(rank), 1);
  for (size_t i = 0; i < axes.size(); ++i) {
    TENON_ASSIGN_OR_RETURN(const int64_t axis, ir::normalize_axis(axes[i], rank));
    scales[static_cast<size_t>(axis)] = static_cast<float>(given.at_double(static_cast<int64_t>(i)));
  }
  std::vector<std::pair<std::string, ir::Attr>> attrs;
  for (const auto& [name, value] : node.attrs())
    if (name != "axes") attrs.emplace_back(name, value);
  Value* inputs[] = {node.input(0), nullptr, b.constant(Tensor::from<float>({rank}, std::span<const float>(scales)))};
  return b.make_n("Resize", inputs, 1, std::move(attrs))[0];
}

constexpr ExpandRule kRules[] = {
    {"", "HardSwish", 14, hard_swish},
    {"", "CastLike", 15, cast_like},
    {"", "Trilu", 14, trilu},
    {"", "Shape", 15, shape_slice, is_sliced},
    {"", "Mish", 18, mish},
    {"", "Pad", 18, pad_all_axes, pads_some_axes},
    {"", "ReduceL1", 18, reduce_l1, has_data_axes},
    {"", "ReduceSumSquare", 18, reduce_sum_square, has_data_axes},
    {"", "ReduceL2", 18, reduce_l2, has_data_axes_in_full},
    {"", "ReduceLogSum", 18, reduce_log_sum, has_data_axes_in_full},
    {"", "Gelu", 20, gelu},
    {"", "Resize", 18, scale_all_axes, scales_some_axes},
    {"", "Swish", 24, swish},
    {"", "SwiGLU", 28, swiglu},
};

}  // namespace

std::span<const ExpandRule> expand_rules() { return kRules; }

}  // namespace tenon::frontend
