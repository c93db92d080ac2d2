#pragma once

#include <span>

#include "ir/op.h"
#include "passes/pass.h"

namespace tenon::passes {

/// One rewrite of one node: new nodes are built before it, then replace() puts values in the place of its outputs and
/// erases it, or, when something does not fit, leaves the graph as it was. Nodes of a patch that was not applied are
/// erased with it.
class Patch {
 public:
  explicit Patch(ir::Node& node);
  ~Patch();
  Patch(const Patch&) = delete;
  Patch& operator=(const Patch&) = delete;

  ir::Builder& builder() { return builder_; }

  /// False when the context allows no further rewrite. An error when the builder failed or when a value has another
  /// dtype or rank than the output it replaces. A null value stands for an unused output. On true the node is gone.
  Result<bool> replace(PassContext& context, std::span<ir::Value* const> values);
  Result<bool> replace(PassContext& context, ir::Value* value) { return replace(context, std::span(&value, 1)); }
  /// The first node that the patch built, null when there is none; for passes that visit new nodes as well.
  ir::Node* first_built() const;

 private:
  Status check(std::span<ir::Value* const> values) const;

  ir::Graph& graph_;
  ir::Node* node_;    // null once replaced
  ir::Node* before_;  // what preceded it when the patch began
  size_t assumed_;    // and how much the graph had taken on trust
  ir::Builder builder_;
};

}  // namespace tenon::passes
