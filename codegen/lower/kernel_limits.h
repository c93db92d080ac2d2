#pragma once

#include "ir/compute.h"
#include "ir/graph.h"

/// What lowering to kernels takes; each check fails with kUnsupported and the reason.
namespace tenon::codegen {

/// Whether kernels load, store and compute values of this dtype.
bool kernel_dtype(DType d);
/// The value must be a tensor of known rank.
Status check_type(const ir::Value* v);
/// It must have dtypes that kernels have everywhere, and few enough axes.
Status check_body(const ir::Body& body);
/// Why a node whose op has no body cannot be lowered: never ok.
Status no_body(const ir::Node& n);
/// No expression may be too deep: what follows walks them by recursion.
Status check_depth(const ir::ExprPool& pool);

}  // namespace tenon::codegen
