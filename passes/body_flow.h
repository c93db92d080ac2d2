#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "ir/compute.h"
#include "passes/layout_flow.h"

namespace tenon::passes {

/// The way from one value to others of a node: how their axes are its axes.
struct Way {
  enum class Kind : uint8_t { kNone, kMapped, kFactor, kUnclear } kind = Kind::kNone;
  AxisMap map;
  void join(Way other) {
    if (other.kind == Kind::kNone || (kind == Kind::kMapped && other.kind == Kind::kFactor)) return;
    if (kind == Kind::kNone || (kind == Kind::kFactor && other.kind == Kind::kMapped)) *this = std::move(other);
    else if (kind != other.kind || map != other.map) kind = Kind::kUnclear;
  }
};

Way composed(const Way& first, const Way& second);

/// What a layout pass needs to know of one node that computes its output by a body: an op's, or one inside a fused node.
struct BodyFlow {
  std::vector<Way> ways;  // by input
  bool pinned = false;
  std::optional<LayoutAnchor> anchor;
};
/// `outer`: values that stand for a region's inputs.
BodyFlow body_flow(const ir::Node& node, const ir::Body& body, const std::unordered_map<const ir::Value*, const ir::Value*>& outer);

/// The bodies that kernels compute a node's outputs by; nullopt where none do.
std::optional<std::vector<ir::Body>> bodies_of(const ir::Node& node);

}  // namespace tenon::passes
