#include <algorithm>

#include "passes/facts.h"
#include "passes/simplify_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Node;
using ir::Value;

/// `value` where it can stand for the node: the same type, so that nothing was broadcast.
Value* if_same_type(const Node& node, Value* value) {
  return value && value->type() == node.output()->type() ? value : nullptr;
}

template <int kNeutral>
Value* drop_right(Node& node, Builder&) {
  return number_of(node.input(1)) == kNeutral ? if_same_type(node, node.input(0)) : nullptr;
}

template <int kNeutral>
Value* drop_either(Node& node, Builder& b) {
  if (Value* value = drop_right<kNeutral>(node, b)) return value;
  return number_of(node.input(0)) == kNeutral ? if_same_type(node, node.input(1)) : nullptr;
}

Value* drop_identity(Node& node, Builder&) { return node.input(0); }

Value* drop_single(Node& node, Builder&) { return node.num_inputs() == 1 ? if_same_type(node, node.input(0)) : nullptr; }

/// op(op(x)) = x
Value* drop_involution(Node& node, Builder&) {
  const Node* inner = node.input(0)->def();
  return inner && &inner->op() == &node.op() ? if_same_type(node, inner->input(0)) : nullptr;
}

// ---- Casts

/// Bits of the integers that a dtype holds without gaps, sign excluded.
int exact_bits(DType d) {
  switch (d) {
    case DType::kF64: return 53;
    case DType::kF32: return 24;
    case DType::kF16: return 11;
    case DType::kBF16: return 8;
    default: return is_signed_int(d) ? bits(d) - 1 : is_unsigned_int(d) ? bits(d) : 0;
  }
}

/// Whether every value of `from` is one of `to`.
bool holds(DType to, DType from) {
  if (to == from) return true;
  if (from == DType::kBool) return is_int(to) || exact_bits(to) > 0;
  if (is_float(from))
    return (to == DType::kF64 && exact_bits(from) > 0) ||
           (to == DType::kF32 && (from == DType::kF16 || from == DType::kBF16));
  if (!is_int(from) || exact_bits(to) < exact_bits(from)) return false;
  // Two's complement has one value more below zero: a power of two, which floats hold.
  return is_float(to) || is_signed_int(to) || is_unsigned_int(from);
}

Value* simplify_cast(Node& node, Builder& b) {
  Value* x = node.input(0);
  DType to = node.output()->dtype();
  if (x->dtype() == to) return x;
  const Node* inner = x->def();
  if (!inner || !inner->is("Cast")) return nullptr;
  Value* source = inner->input(0);
  DType from = source->dtype();
  if (!holds(x->dtype(), from)) return nullptr;
  if (from == to) return source;
  // An integer that goes through floats saturates where a direct cast wraps.
  if (is_int(from) && is_int(to) && is_float(x->dtype()) && !holds(to, from)) return nullptr;
  std::vector<std::pair<std::string, ir::Attr>> attrs(node.attrs().begin(), node.attrs().end());
  return b.make_n("Cast", std::span(&source, 1), 1, std::move(attrs))[0];
}

// ---- Arithmetic on dims that ends in a condition: Where(Equal(shape, -1), ones, shape)

std::optional<std::vector<Dim>> known_dims(const Value* value) {
  if (!value || !is_int(value->dtype())) return std::nullopt;
  if (value->dim_values()) return value->dim_values();
  auto ints = ir::constant_of(value) && ir::constant_of(value)->size() <= 4096 ? ir::constant_ints(value) : std::nullopt;
  if (!ints) return std::nullopt;
  return std::vector<Dim>(ints->begin(), ints->end());
}

/// Element i of a broadcast list.
Dim at(const std::vector<Dim>& list, size_t i) { return list.size() == 1 ? list[0] : list[i]; }

Value* compare_dims(Node& node, Builder& b) {
  auto x = known_dims(node.input(0)), y = known_dims(node.input(1));
  const ir::Type& type = node.output()->type();
  if (!x || !y || !type.is_ranked_tensor() || !type.tensor().is_static() || type.tensor().rank() > 1) return nullptr;
  auto count = static_cast<size_t>(type.tensor().count().value());
  if (count != std::max(x->size(), y->size()) || (x->size() != count && x->size() != 1) ||
      (y->size() != count && y->size() != 1))
    return nullptr;
  Shape shape;
  if (type.tensor().rank() == 1) shape.push_back(static_cast<int64_t>(count));
  auto result = Tensor::zeros(DType::kBool, std::move(shape));
  if (!result.ok()) return nullptr;
  for (size_t i = 0; i < count; ++i) {
    Dim p = at(*x, i), q = at(*y, i);
    bool yes, no;
    if (node.is("Equal")) {
      yes = known_eq(p, q), no = known_ne(p, q);
    } else if (node.is("Less") || node.is("Greater")) {
      if (node.is("Greater")) std::swap(p, q);
      yes = known_lt(p, q), no = known_le(q, p);
    } else {
      if (node.is("GreaterOrEqual")) std::swap(p, q);
      yes = known_le(p, q), no = known_lt(q, p);
    }
    if (!yes && !no) return nullptr;
    result->set_int(static_cast<int64_t>(i), yes);
  }
  return b.constant(std::move(*result));
}

Value* select_dims(Node& node, Builder& b) {
  auto condition = ir::constant_ints(node.input(0));
  auto x = known_dims(node.input(1)), y = known_dims(node.input(2));
  const ir::Type& type = node.output()->type();
  if (!condition || !x || !y || node.output()->dtype() != DType::kI64 || !type.is_ranked_tensor() ||
      type.tensor().rank() > 1)
    return nullptr;
  if (const Tensor* constant = ir::constant_of(node.input(0)); constant && constant->rank() > 1) return nullptr;
  size_t count = std::max({condition->size(), x->size(), y->size()});
  for (size_t size : {condition->size(), x->size(), y->size()})
    if (size != count && size != 1) return nullptr;
  std::vector<Dim> out;
  for (size_t i = 0; i < count; ++i) {
    bool yes = (*condition)[condition->size() == 1 ? 0 : i] != 0;
    out.push_back(yes ? at(*x, i) : at(*y, i));
  }
  return b.make("tenon.dim_values", {}, {{"dims", out}, {"scalar", int64_t{type.tensor().rank() == 0}}});
}

Value* select_constant(Node& node, Builder&) {
  auto condition = number_of(node.input(0));
  return condition ? if_same_type(node, node.input(*condition != 0 ? 1 : 2)) : nullptr;
}

constexpr Rule kRules[] = {
    {"Add", drop_either<0>},
    {"Sub", drop_right<0>},
    {"Mul", drop_either<1>},
    {"Div", drop_right<1>},
    {"Pow", drop_right<1>},
    {"And", drop_either<1>},
    {"Or", drop_either<0>},
    {"Identity", drop_identity},
    {"Sum", drop_single},
    {"Max", drop_single},
    {"Min", drop_single},
    {"Mean", drop_single},
    {"Neg", drop_involution},
    {"Not", drop_involution},
    {"Cast", simplify_cast},
    {"Equal", compare_dims},
    {"Less", compare_dims},
    {"LessOrEqual", compare_dims},
    {"Greater", compare_dims},
    {"GreaterOrEqual", compare_dims},
    {"Where", select_dims},
    {"Where", select_constant},
};

}  // namespace

std::span<const Rule> arithmetic_rules() { return kRules; }

}  // namespace tenon::passes
