#include "passes/product_columns.h"

#include <algorithm>
#include <cstring>

#include "ir/op.h"

namespace tenon::passes {

using ir::Body;
using ir::Dim;
using ir::ExprKind;
using ir::ExprNode;
using ir::Node;
using ir::Value;

namespace {

std::vector<char> reachable(const Body& body) {
  std::vector<char> seen(static_cast<size_t>(body.pool->size()), 0);
  for (const ir::Expr& root : {body.value, body.post})
    if (root.valid()) seen[static_cast<size_t>(root.id)] = 1;
  for (size_t id = seen.size(); id-- > 0;)
    if (seen[id])
      for (int a : body.pool->node(static_cast<int>(id)).args) seen[static_cast<size_t>(a)] = 1;
  return seen;
}

bool same_attrs(const ir::Attrs& a, const ir::Attrs& b) {
  const auto same = [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.index() == y.second.index() &&
           std::visit(
               [&](const auto& value) {
                 using T = std::decay_t<decltype(value)>;
                 if constexpr (std::is_same_v<T, Tensor> || std::is_same_v<T, std::vector<Tensor>>)
                   return false;
                 else
                   return value == std::get<T>(y.second);
               },
               x.second);
  };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same);
}

/// Whether two constants can lie side by side along `axis`.
bool side_by_side(const Tensor& a, const Tensor& b, int axis) {
  if (a.dtype() != b.dtype() || a.rank() != b.rank() || axis >= a.rank() || is_packed(a.dtype()) ||
      a.dtype() == DType::kString)
    return false;
  for (int64_t i = 0; i < a.rank(); ++i)
    if (i != axis && a.dim(i) != b.dim(i)) return false;
  return true;
}

}  // namespace

std::optional<Product> product_of_columns(Node& node) {
  if (node.op().compute.body == nullptr || node.num_outputs() != 1 || node.num_regions() > 0) return std::nullopt;
  if (!node.output()->type().is_ranked_tensor() || node.output()->tensor().rank() == 0) return std::nullopt;
  const Dim columns = node.output()->tensor().dims->back();
  if (!columns.is_const() || columns.value() < 2) return std::nullopt;
  const Result<std::vector<Body>> bodies = node.op().compute.body(node);
  if (!bodies.ok() || bodies->size() != 1 || bodies->front().kind != ir::ComputeKind::kContraction) return std::nullopt;
  const Body& body = bodies->front();
  Product p{&node, columns.value(), std::vector<int>(static_cast<size_t>(node.num_inputs()), -1)};
  const int innermost = static_cast<int>(body.axes.size()) - 1;
  const std::vector<char> seen = reachable(body);
  for (size_t id = 0; id < seen.size(); ++id) {
    if (!seen[id]) continue;
    const ExprNode& e = body.pool->node(static_cast<int>(id));
    for (size_t i = 0; i < e.args.size(); ++i) {
      const ExprNode& arg = body.pool->node(e.args[i]);
      if (arg.kind != ExprKind::kIndex || arg.axis != innermost) continue;
      if (e.kind != ExprKind::kLoad || e.guarded || ir::constant_of(node.input(e.operand)) == nullptr)
        return std::nullopt;
      int& axis = p.axis[static_cast<size_t>(e.operand)];
      if (axis >= 0 && axis != static_cast<int>(i)) return std::nullopt;
      axis = static_cast<int>(i);
    }
  }
  return std::ranges::any_of(p.axis, [](int a) { return a >= 0; }) ? std::optional(p) : std::nullopt;
}

bool same_form(const Node& a, const Node& b) {
  return &a.op() == &b.op() && a.num_inputs() == b.num_inputs() && same_attrs(a.attrs(), b.attrs());
}

bool same_product(const Product& a, const Product& b) {
  if (!same_form(*a.node, *b.node) || a.axis != b.axis) return false;
  for (size_t i = 0; i < a.axis.size(); ++i) {
    const Value *x = a.node->input(static_cast<int>(i)), *y = b.node->input(static_cast<int>(i));
    if (a.axis[i] < 0 ? x != y : !side_by_side(*ir::constant_of(x), *ir::constant_of(y), a.axis[i])) return false;
  }
  return true;
}

Result<Tensor> concatenated(std::span<const Tensor* const> parts, int axis) {
  Shape shape = parts[0]->shape();
  int64_t along = 0;
  for (const Tensor* t : parts) along += t->dim(axis);  // dims of tensors in memory
  shape[static_cast<size_t>(axis)] = along;
  TENON_ASSIGN_OR_RETURN(Tensor whole, Tensor::empty(parts[0]->dtype(), std::move(shape)));
  int64_t rows = 1;
  for (int64_t i = 0; i < axis; ++i) rows *= whole.dim(i);
  std::byte* to = whole.mutable_data();
  for (int64_t row = 0; row < rows; ++row) {
    for (const Tensor* t : parts) {
      const size_t bytes = t->bytes() / static_cast<size_t>(rows);
      std::memcpy(to, t->data() + static_cast<size_t>(row) * bytes, bytes);
      to += bytes;
    }
  }
  return whole;
}

std::optional<Tensor> as_row(const Tensor& t, int64_t columns) {
  if (is_packed(t.dtype()) || t.dtype() == DType::kString ||
      (t.size() != 1 && (t.size() != columns || t.dim(t.rank() - 1) != columns)))
    return std::nullopt;
  if (t.size() == columns) {
    Result<Tensor> row = t.reshaped({columns});
    return row.ok() ? std::optional(std::move(*row)) : std::nullopt;
  }
  Result<Tensor> row = Tensor::empty(t.dtype(), {columns});
  if (!row.ok()) return std::nullopt;
  for (int64_t i = 0; i < columns; ++i)
    std::memcpy(row->mutable_data() + static_cast<size_t>(i) * t.bytes(), t.data(), t.bytes());
  return std::move(*row);
}

}  // namespace tenon::passes
