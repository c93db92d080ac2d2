#include <algorithm>
#include <unordered_map>

#include "codegen/plan/build.h"
#include "ir/evaluate.h"

namespace tenon::codegen {
namespace {

class InterpretedCall final : public runtime::HostFunction {
 public:
  InterpretedCall(const ir::Node& node, std::span<const ir::Value* const> captures)
      : node_(node) {
    for (const ir::Value* capture : captures) captures_.emplace(capture, captures_.size());
  }

  Status call(runtime::HostCallContext& context) const override {
    const auto own = static_cast<size_t>(node_.num_inputs());
    ir::EvalOptions options;
    options.symbols = context.symbols;
    options.interrupt = context.interrupt;
    if (context.max_bytes != 0) options.max_bytes = static_cast<int64_t>(std::min<size_t>(context.max_bytes, INT64_MAX));
    options.outer = [&](const ir::Value* value) -> const HostValue* {
      const auto found = captures_.find(value);
      return found == captures_.end() ? nullptr : &context.inputs[own + found->second];
    };
    return ir::evaluate_node(node_, context.inputs.first(own), context.outputs, options);
  }

 private:
  const ir::Node& node_;
  std::unordered_map<const ir::Value*, size_t> captures_;  // to the inputs after the node's own
};

}  // namespace

std::shared_ptr<const runtime::HostFunction> interpreted_call(const ir::Node& node, std::span<const ir::Value* const> captures) {
  return std::make_shared<InterpretedCall>(node, captures);
}

}  // namespace tenon::codegen
