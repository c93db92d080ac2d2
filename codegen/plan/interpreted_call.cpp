#include "codegen/plan/build.h"
#include "ir/evaluate.h"

namespace tenon::codegen {
namespace {

class InterpretedCall final : public runtime::HostFunction {
 public:
  InterpretedCall(const ir::Node& node, std::span<const ir::Value* const> captures)
      : node_(node), captures_(captures.begin(), captures.end()) {}

  Status call(runtime::HostCallContext& context) const override {
    const auto own = static_cast<size_t>(node_.num_inputs());
    ir::EvalOptions options;
    options.symbols = context.symbols;
    options.outer = [&](const ir::Value* value) -> const HostValue* {
      for (size_t i = 0; i < captures_.size(); ++i)
        if (captures_[i] == value) return &context.inputs[own + i];
      return nullptr;
    };
    return ir::evaluate_node(node_, context.inputs.first(own), context.outputs, options);
  }

 private:
  const ir::Node& node_;
  std::vector<const ir::Value*> captures_;
};

}  // namespace

std::shared_ptr<const runtime::HostFunction> interpreted_call(const ir::Node& node, std::span<const ir::Value* const> captures) {
  return std::make_shared<InterpretedCall>(node, captures);
}

}  // namespace tenon::codegen
