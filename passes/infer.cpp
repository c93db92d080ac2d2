#include "ir/op.h"
#include "ir/symbols.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

struct Known {
  const ir::Value* value;
  ir::Type type;
  std::optional<std::vector<ir::Dim>> dim_values;
  bool operator==(const Known&) const = default;
};

std::vector<Known> known(ir::Graph& graph) {
  std::vector<Known> out;
  ir::walk(graph, [&](ir::Node& node) {
    for (const ir::Value* output : node.outputs()) out.push_back({output, output->type(), output->dim_values()});
  });
  return out;
}

}  // namespace

Result<bool> infer(ir::Graph& graph, PassContext& context) {
  std::vector<Known> before = known(graph);
  TENON_RETURN_IF_ERROR(context.step(static_cast<int64_t>(before.size())));
  TENON_RETURN_IF_ERROR(ir::infer_graph(graph));
  ir::SymbolMap rebound;
  for (const Known& row : before) ir::collect_rebound(*row.value, row.type, row.value->type(), rebound);
  ir::replace_symbols(graph, rebound);
  return before != known(graph);
}

}  // namespace tenon::passes
