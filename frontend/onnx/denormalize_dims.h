#pragma once

#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ir/op.h"

namespace tenon::frontend {

/// Dims as values: what is visible at a place in a module and carries a dim, and standard ops that compute others from
/// it. Places are visited in program order; scopes nest as regions do.
class DimSources {
 public:
  /// A scope; the first one is the module. `isolated`: values of outer ones cannot be used (the body of a function).
  void enter(const ir::Graph& graph, bool isolated = false);
  void leave();
  /// The node's results are visible from here on.
  void define(const ir::Node& node);

  /// Whether values that are visible carry all symbols of the dim.
  bool carried(ir::Dim dim) const;
  /// An i64 tensor [n] that holds the dims, built before `before`. kUnsupported when a symbol is carried by nothing.
  Result<ir::Value*> vector(std::span<const ir::Dim> dims, ir::Builder& builder);
  /// Whether the dim is made of the symbols of the module's inputs alone.
  bool from_inputs(ir::Dim dim) const;

 private:
  struct Axis {
    ir::Value* value;
    int axis;
  };
  struct Scope {
    std::unordered_map<ir::Dim, Axis> axes;
    std::unordered_map<ir::Dim, ir::Value*> computed;  // tensors [1]
    std::unordered_map<const ir::Value*, ir::Value*> shapes;
    bool isolated = false;
  };
  void add(ir::Value& value);
  const Axis* find_axis(ir::Dim dim) const;
  Result<ir::Value*> one(ir::Dim dim, ir::Builder& builder);
  Result<ir::Value*> compute(ir::Dim dim, ir::Builder& builder);
  Result<ir::Value*> sum(const ir::DimNode& node, ir::Builder& builder);
  ir::Value* shape_of(ir::Value* value, ir::Builder& builder);

  std::vector<Scope> scopes_;
  std::unordered_set<int> input_symbols_;
};

}  // namespace tenon::frontend
