#include "ir/weights.h"

namespace tenon::ir {

void drop_weights(Graph& graph) {
  for (const auto& node : graph.nodes()) {
    const Tensor* value = node->is("Constant") ? node->attr_tensor("value") : nullptr;
    if (value != nullptr && value->bytes() >= kLargeConstant) node->attrs().set("value", Tensor());
  }
}

std::unique_ptr<Graph> without_weights(const Graph& graph) {
  std::unique_ptr<Graph> out = graph.clone();
  drop_weights(*out);
  return out;
}

}  // namespace tenon::ir
