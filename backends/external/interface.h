#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ir/graph.h"
#include "support/status.h"
#include "support/tensor.h"

namespace tenon::backends::external {

/// Names and types of a graph's inputs and outputs, by which values to and from a runner are checked.
class Interface {
 public:
  explicit Interface(const ir::Graph& graph);

  const std::string& input_name(size_t i) const { return inputs_[i].name; }
  /// {"x": [1, 3, null]}: shapes of the inputs, null where a size is open, and for an input that is no tensor or of
  /// any rank.
  nlohmann::json input_shapes() const;
  /// Dtypes, ranks, known dims, and symbols that have one size. Errors name the input.
  Status check_inputs(std::span<const HostValue> inputs) const;
  /// The graph's outputs in its order from values by name. A number of another type becomes the graph's; dims that the graph knows
  /// must hold.
  Result<std::vector<HostValue>> outputs(const std::map<std::string, HostValue>& values) const;

 private:
  struct Port {
    std::string name;
    ir::Type type;
  };
  std::shared_ptr<ir::DimContext> dims_;  // of the types
  std::vector<Port> inputs_, outputs_;
};

}  // namespace tenon::backends::external
