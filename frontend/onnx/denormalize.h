#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "frontend/onnx/normalize.h"
#include "ir/graph.h"
#include "support/status.h"

namespace tenon::frontend {

/// The mirror of normalize.h: nodes in their newest form, which is the only one that the graph has, to what an older
/// opset can say.

/// Changes a call in its newest form into that of opsets below `below`. kUnsupported when they cannot say it.
struct DenormalizeRule {
  std::string_view domain, ops;  // names separated by spaces
  int64_t below;
  Status (*rewrite)(Call& call, const ir::Node& node);
};
/// Newest form first, as the rules apply to one op.
std::span<const DenormalizeRule> denormalize_rules();

/// Builds what stands for a node of an op, where opsets below `below` lack the op or a use of it (`wanted`; null: any
/// use).
struct ExpandRule {
  std::string_view domain, ops;
  int64_t below;
  Result<ir::Value*> (*build)(ir::Node& node, ir::Builder& builder);
  bool (*wanted)(const ir::Node& node) = nullptr;
};
std::span<const ExpandRule> expand_rules();

/// What opsets added to ops that were there before (ONNX docs/Changelog.md): attributes, values of attributes,
/// operands, types. The lowest opset, `opset` or later, that has all that the call, already in the form of `opset`,
/// uses; `what` names the last thing found. Attributes that the opset lacks and that say the default are taken out of
/// the call.
int64_t opset_of_additions(Call& call, const ir::Node& node, int64_t opset, std::string& what);

/// The node in the form that `opset` (of its own domain) has. kUnsupported, with the lowest opset that has one in
/// `needed`.
Result<Call> form_of(const ir::Node& node, int64_t opset, int64_t& needed);

/// Replaces, in a module and its regions, everything that is no ONNX: tenon.reshape, tenon.expand and tenon.dim_values
/// by standard ops which compute the dims from values that have them; fused nodes of which no function can be made by
/// their parts. Outputs get values of their own that have the outputs' names. With an `opset` (not 0), also nodes that
/// it lacks, where simpler ones say the same.
Status make_portable(ir::Graph& module, int64_t opset);

}  // namespace tenon::frontend
