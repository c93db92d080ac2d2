#include "ir/ops/elementwise.h"

namespace tenon::ir {

Status infer_elementwise(InferContext& c, DType dtype) {
  std::vector<std::vector<Dim>> shapes;
  bool ranked = true;
  int last = -1;
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    if (!c.has(i)) continue;
    last = i;
    if (c.ranked(i)) shapes.push_back(c.shape(i));
    else ranked = false;
  }
  if (last < 0) return c.fail("there are no inputs");
  if (dtype == DType::kInvalid) dtype = c.dtype(last);
  Result<std::vector<Dim>> dims = broadcast(shapes);
  if (!dims.ok()) return c.fail_text(dims.status().what());
  c.set(0, ranked ? Type(TensorType(dtype, std::move(*dims))) : Type(TensorType::unranked(dtype)));
  return {};
}

void propagate_dims(InferContext& c, DimFn fn) {
  const std::optional<std::vector<Dim>> a = c.dim_values(0), b = c.dim_values(1);
  if (!a || !b || a->empty() || b->empty()) return;
  if (a->size() != b->size() && a->size() != 1 && b->size() != 1) return;
  std::vector<Dim> out;
  for (size_t i = 0; i < std::max(a->size(), b->size()); ++i) {
    out.push_back(fn((*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]));
    if (!out.back().is_valid()) return;
  }
  c.set_dim_values(0, std::move(out));
}

std::vector<Expr> broadcast_operands(Body& body, const Node& node) {
  const std::vector<Expr> at = axis_indices(*body.pool, body.axes.size());
  std::vector<Expr> out;
  for (int i = 0; i < node.num_inputs(); ++i) {
    if (!node.has_input(i)) {
      out.emplace_back();
      continue;
    }
    const Expr x = load_broadcast(body, node, i, at, body.axes);
    out.push_back(body.pool->cast(x, compute_dtype(x.dtype())));
  }
  return out;
}

}  // namespace tenon::ir
