#include "frontend/onnx/denormalize_dims.h"

#include <algorithm>

namespace tenon::frontend {

using ir::Dim;
using ir::DimKind;
using ir::DimNode;
using ir::Value;

namespace {

/// A factor of a term, which is no sum, as a dim.
Dim dim_of(const DimNode& atom) {
  switch (atom.kind) {
    case DimKind::kFloorDiv:
      return floor_div(atom.a, atom.b);
    case DimKind::kMod:
      return mod(atom.a, atom.b);
    case DimKind::kMin:
      return min(atom.a, atom.b);
    case DimKind::kMax:
      return max(atom.a, atom.b);
    default:
      return atom.context->symbol(atom.context->symbol_name(atom.symbol));
  }
}

}  // namespace

void DimSources::enter(const ir::Graph& graph, bool isolated) {
  scopes_.emplace_back().isolated = isolated;
  for (Value* input : graph.inputs()) add(*input);
  if (scopes_.size() > 1) return;
  std::vector<int> symbols;
  for (const auto& [dim, axis] : scopes_.back().axes) collect_symbols(dim, symbols);
  input_symbols_.insert(symbols.begin(), symbols.end());
}

void DimSources::leave() { scopes_.pop_back(); }

void DimSources::define(const ir::Node& node) {
  for (Value* output : node.outputs()) add(*output);
}

void DimSources::add(Value& value) {
  if (!value.type().is_ranked_tensor()) return;
  for (int axis = 0; axis < value.tensor().rank(); ++axis)
    if (const Dim dim = value.tensor().dim(axis); !dim.is_const() && dim.is_valid())
      scopes_.back().axes.try_emplace(dim, Axis{&value, axis});
}

const DimSources::Axis* DimSources::find_axis(Dim dim) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (auto it = scope->axes.find(dim); it != scope->axes.end()) return &it->second;
    if (scope->isolated) break;
  }
  return nullptr;
}

bool DimSources::carried(Dim dim) const {
  if (dim.is_const() || find_axis(dim) != nullptr) return true;
  std::vector<int> symbols;
  collect_symbols(dim, symbols);
  ir::DimContext& context = *dim.node()->context;
  return std::ranges::all_of(symbols,
                             [&](int id) { return find_axis(context.symbol(context.symbol_name(id))) != nullptr; });
}

bool DimSources::from_inputs(Dim dim) const {
  if (dim.is_const()) return true;
  std::vector<int> symbols;
  collect_symbols(dim, symbols);
  return std::ranges::all_of(symbols, [this](int id) { return input_symbols_.contains(id); });
}

Value* DimSources::shape_of(Value* value, ir::Builder& builder) {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (auto it = scope->shapes.find(value); it != scope->shapes.end()) return it->second;
    if (scope->isolated) break;
  }
  return scopes_.back().shapes[value] = builder.make("Shape", {value});
}

/// Σ coefficient × Π factors + constant.
Result<Value*> DimSources::sum(const DimNode& node, ir::Builder& builder) {
  Value* total = node.constant == 0 ? nullptr : builder.ints({node.constant});
  for (const DimNode::Term& term : node.terms) {
    Value* part = term.coefficient == 1 || term.coefficient == -1 ? nullptr : builder.ints({term.coefficient});
    for (const DimNode* factor : term.factors) {
      TENON_ASSIGN_OR_RETURN(Value * value, one(dim_of(*factor), builder));
      part = part == nullptr ? value : builder.make("Mul", {part, value});
    }
    const bool negative = term.coefficient == -1;
    if (total == nullptr)
      total = negative ? builder.make("Neg", {part}) : part;
    else
      total = builder.make(negative ? "Sub" : "Add", {total, part});
  }
  return total;
}

Result<Value*> DimSources::compute(Dim dim, ir::Builder& builder) {
  if (const Axis* axis = find_axis(dim))
    return builder.make("Gather", {shape_of(axis->value, builder), builder.ints({axis->axis})}, {{"axis", int64_t{0}}});
  const DimNode& node = *dim.node();
  if (node.kind == DimKind::kSymbol)
    return error(Code::kUnsupported, "no value has the size {}, which is needed here", to_string(dim));
  if (node.kind == DimKind::kSum) return sum(node, builder);
  TENON_ASSIGN_OR_RETURN(Value * a, one(node.a, builder));
  TENON_ASSIGN_OR_RETURN(Value * b, one(node.b, builder));
  switch (node.kind) {
    case DimKind::kMod:
      return builder.make("Mod", {a, b});
    case DimKind::kMin:
      return builder.make("Min", {a, b});
    case DimKind::kMax:
      return builder.make("Max", {a, b});
    default:
      break;
  }
  // Div of integers rounds to zero; Mod has the sign of the divisor.
  if (ir::bounds(node.a).lo < 0 || ir::bounds(node.b).lo < 0) a = builder.make("Sub", {a, builder.make("Mod", {a, b})});
  return builder.make("Div", {a, b});
}

Result<Value*> DimSources::one(Dim dim, ir::Builder& builder) {
  if (dim.is_const()) return builder.ints({dim.value()});
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (auto it = scope->computed.find(dim); it != scope->computed.end()) return it->second;
    if (scope->isolated) break;
  }
  TENON_ASSIGN_OR_RETURN(Value * value, compute(dim, builder));
  TENON_RETURN_IF_ERROR(builder.status());
  return scopes_.back().computed[dim] = value;
}

Result<Value*> DimSources::vector(std::span<const Dim> dims, ir::Builder& builder) {
  std::vector<Value*> parts;
  for (size_t i = 0; i < dims.size();) {
    std::vector<int64_t> numbers;
    for (; i < dims.size() && dims[i].is_const(); ++i) numbers.push_back(dims[i].value());
    if (!numbers.empty()) parts.push_back(builder.ints(numbers));
    if (i == dims.size()) break;
    TENON_ASSIGN_OR_RETURN(Value * value, one(dims[i++], builder));
    parts.push_back(value);
  }
  if (parts.empty()) parts.push_back(builder.ints(std::span<const int64_t>()));
  if (parts.size() > 1) parts = builder.make_n("Concat", parts, 1, {{"axis", int64_t{0}}});
  TENON_RETURN_IF_ERROR(builder.status());
  return parts.front();
}

}  // namespace tenon::frontend
