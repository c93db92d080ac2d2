#include "codegen/lower/kernel_limits.h"

#include <algorithm>
#include <vector>

#include "ir/op.h"

namespace tenon::codegen {

using ir::Body;
using ir::ExprPool;
using ir::Node;
using ir::Value;

namespace {

constexpr int kMaxDepth = 4000;

}  // namespace

bool kernel_dtype(DType d) {
  switch (d) {
    case DType::kBool:
    case DType::kI8: case DType::kI16: case DType::kI32: case DType::kI64:
    case DType::kU8: case DType::kU16: case DType::kU32: case DType::kU64:
    case DType::kF16: case DType::kBF16: case DType::kF32: case DType::kF64: return true;
    default: return false;
  }
}

Status check_type(const Value* v) {
  if (!v->type().is_tensor()) return error(Code::kUnsupported, "value {} is not a tensor", v->name());
  if (!v->type().is_ranked_tensor()) return error(Code::kUnsupported, "rank of {} is not known", v->name());
  return {};
}

Status check_body(const Body& body) {
  if (!kernel_dtype(body.dtype)) return error(Code::kUnsupported, "kernels lack {}", name(body.dtype));
  if (body.axes.size() + body.reduce_axes.size() > 30) return error(Code::kUnsupported, "more than 30 axes");
  for (int id = 0; id < body.pool->size(); ++id) {
    if (!kernel_dtype(body.pool->node(id).dtype))
      return error(Code::kUnsupported, "kernels lack {}", name(body.pool->node(id).dtype));
  }
  return {};
}

Status no_body(const Node& n) {
  if (n.op().compute.decompose == nullptr)
    return error(Code::kUnsupported, "{}", n.op().host.empty() ? "opaque: there are no element semantics" : n.op().host);
  for (const Value* v : n.inputs())
    if (v != nullptr) TENON_RETURN_IF_ERROR(check_type(v));
  return error(Code::kUnsupported, "the op is composed of simpler ones, but not in this form");
}

Status check_depth(const ExprPool& pool) {
  std::vector<int> depth(static_cast<size_t>(pool.size()), 0);
  for (int id = 0; id < pool.size(); ++id) {
    int& own = depth[static_cast<size_t>(id)];
    for (int a : pool.node(id).args) own = std::max(own, depth[static_cast<size_t>(a)] + 1);
    if (own > kMaxDepth) return error(Code::kUnsupported, "an expression is more than {} deep", kMaxDepth);
  }
  return {};
}

}  // namespace tenon::codegen
