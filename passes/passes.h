#pragma once

#include "passes/pass.h"

/// One function a pass; passes/pass_manager.cpp lists them in the order in which they run.
namespace tenon::passes {

Result<bool> infer(ir::Graph& graph, PassContext& context);
Result<bool> fold_constants(ir::Graph& graph, PassContext& context);
Result<bool> eliminate_dead(ir::Graph& graph, PassContext& context);
Result<bool> eliminate_common(ir::Graph& graph, PassContext& context);
Result<bool> read_contents(ir::Graph& graph, PassContext& context);
Result<bool> simplify(ir::Graph& graph, PassContext& context);
Result<bool> duplicate_tails(ir::Graph& graph, PassContext& context);
Result<bool> fold_batch_norm(ir::Graph& graph, PassContext& context);
Result<bool> raise(ir::Graph& graph, PassContext& context);
Result<bool> integer_products(ir::Graph& graph, PassContext& context);
Result<bool> decompose(ir::Graph& graph, PassContext& context);
Result<bool> widen_codes(ir::Graph& graph, PassContext& context);
Result<bool> merge_products(ir::Graph& graph, PassContext& context);
Result<bool> slice_splits(ir::Graph& graph, PassContext& context);
Result<bool> fuse(ir::Graph& graph, PassContext& context);
Result<bool> choose_layouts(ir::Graph& graph, PassContext& context);
Result<bool> round_factors(ir::Graph& graph, PassContext& context);

}  // namespace tenon::passes
