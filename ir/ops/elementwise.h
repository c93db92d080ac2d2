#pragma once

#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ir/op.h"
#include "ir/ops/body_helpers.h"

/// Constructors of op table entries for elementwise ops, one call an op: name, dtypes, expression. The expression is a
/// lambda without captures over the operands' elements, which are already broadcast and, for f16 and bf16, widened to
/// f32; its result is converted to the output's dtype.
namespace tenon::ir {

/// Shape arithmetic on one element; Dim::invalid() when the result is not known.
using DimFn = Dim (*)(Dim a, Dim b);

/// Output 0: the broadcast shape of all inputs, with dtype `dtype` (kInvalid: that of the last input).
Status infer_elementwise(InferContext& c, DType dtype = DType::kInvalid);
/// Applies `fn` to what is known of the contents of inputs 0 and 1.
void propagate_dims(InferContext& c, DimFn fn);

/// The operands' elements at the output index, widened.
std::vector<Expr> broadcast_operands(Body& body, const Node& node);

template <class Fn>
Result<std::vector<Body>> elementwise_body(const Node& node, Fn fn) {
  Body body = start_body(node, ComputeKind::kElementwise);
  const std::vector<Expr> x = broadcast_operands(body, node);
  Expr value;
  if constexpr (std::is_invocable_v<Fn, Expr>) value = fn(x[0]);
  else if constexpr (std::is_invocable_v<Fn, const Node&, Expr>) value = fn(node, x[0]);
  else if constexpr (std::is_invocable_v<Fn, Expr, Expr>) value = fn(x[0], x[1]);
  else if constexpr (std::is_invocable_v<Fn, const Node&, Expr, Expr>) value = fn(node, x[0], x[1]);
  else value = fn(node, std::span<const Expr>(x));
  body.value = body.pool->cast(value, body.dtype);
  return one_body(std::move(body));
}

/// y = fn(x). `fn` takes (Expr), or (const Node&, Expr) to read attributes.
template <class Fn>
OpDef unary(std::string_view name, DTypeSet types, Fn, std::vector<AttrDef> attrs = {}) {
  return {.domain = "",
          .name = name,
          .inputs = {{"X", "T", types}},
          .outputs = {{"Y", "T", types}},
          .attrs = std::move(attrs),
          .infer = infer_as_input,
          .compute = {.body = [](const Node& node) { return elementwise_body(node, Fn{}); }}};
}

/// y = fn(x), y bool.
template <class Fn>
OpDef predicate(std::string_view name, DTypeSet types, Fn, std::vector<AttrDef> attrs = {}) {
  OpDef op = unary(name, types, Fn{}, std::move(attrs));
  op.outputs = {{"Y", "B", dtypes(DType::kBool)}};
  op.infer = [](InferContext& c) {
    c.set(0, same_shape(c, 0, DType::kBool));
    return Status();
  };
  return op;
}

/// c = fn(a, b), broadcast. `dims` is its arithmetic on shapes.
template <class Fn>
OpDef binary(std::string_view name, DTypeSet types, Fn, std::vector<AttrDef> attrs = {}) {
  return {.domain = "",
          .name = name,
          .inputs = {{"A", "T", types}, {"B", "T", types}},
          .outputs = {{"C", "T", types}},
          .attrs = std::move(attrs),
          .infer = [](InferContext& c) { return infer_elementwise(c, c.dtype(0)); },
          .compute = {.body = [](const Node& node) { return elementwise_body(node, Fn{}); }}};
}

/// As binary, and `DimFn_` (without captures) is what it does to known shapes.
template <class Fn, class DimFn_>
OpDef arithmetic(std::string_view name, DTypeSet types, Fn, DimFn_, std::vector<AttrDef> attrs = {}) {
  OpDef op = binary(name, types, Fn{}, std::move(attrs));
  op.infer = [](InferContext& c) {
    TENON_RETURN_IF_ERROR(infer_elementwise(c, c.dtype(0)));
    propagate_dims(c, DimFn_{});
    return Status();
  };
  return op;
}

/// c = fn(a, b), c bool.
template <class Fn, class DimFn_>
OpDef comparison(std::string_view name, DTypeSet types, Fn, DimFn_) {
  OpDef op = binary(name, types, Fn{});
  op.outputs = {{"C", "B", dtypes(DType::kBool)}};
  op.infer = [](InferContext& c) {
    TENON_RETURN_IF_ERROR(infer_elementwise(c, DType::kBool));
    propagate_dims(c, DimFn_{});
    return Status();
  };
  return op;
}

/// y = fn(node, operands) of one or more inputs of one dtype.
template <class Fn>
OpDef variadic(std::string_view name, DTypeSet types, Fn) {
  OpDef op = unary(name, types, Fn{});
  op.inputs = {{.name = "data", .var = "T", .types = types, .variadic = true}};
  op.infer = [](InferContext& c) { return infer_elementwise(c, c.dtype(0)); };
  return op;
}

}  // namespace tenon::ir
