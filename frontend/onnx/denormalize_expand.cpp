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

constexpr ExpandRule kRules[] = {
    {"", "HardSwish", 14, hard_swish},
    {"", "CastLike", 15, cast_like},
    {"", "Shape", 15, shape_slice, is_sliced},
    {"", "Mish", 18, mish},
    {"", "Pad", 18, pad_all_axes, pads_some_axes},
    {"", "Gelu", 20, gelu},
    {"", "Swish", 24, swish},
};

}  // namespace

std::span<const ExpandRule> expand_rules() { return kRules; }

}  // namespace tenon::frontend
