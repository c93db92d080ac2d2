#include "codegen/plan/row_major_call.h"

#include <algorithm>

#include "runtime/storage_order.h"

namespace tenon::codegen {
namespace {

using Orders = std::vector<std::vector<int32_t>>;

class RowMajorCall final : public runtime::HostFunction {
 public:
  RowMajorCall(std::shared_ptr<const runtime::HostFunction> call, Orders inputs, Orders outputs)
      : call_(std::move(call)), inputs_(std::move(inputs)), outputs_(std::move(outputs)) {}

  Status call(runtime::HostCallContext& context) const override {
    std::vector<HostValue> inputs(context.inputs.begin(), context.inputs.end());
    for (size_t i = 0; i < inputs.size(); ++i) TENON_RETURN_IF_ERROR(convert(inputs[i], inputs_[i], runtime::to_row_major));
    runtime::HostCallContext inner = context;
    inner.inputs = inputs;
    TENON_RETURN_IF_ERROR(call_->call(inner));
    for (size_t i = 0; i < context.outputs.size(); ++i)
      TENON_RETURN_IF_ERROR(convert(context.outputs[i], outputs_[i], runtime::to_storage_order));
    return {};
  }

 private:
  static Status convert(HostValue& value, const std::vector<int32_t>& order, Result<Tensor> (*reorder)(const Tensor&, std::span<const int32_t>)) {
    const auto* tensor = std::get_if<Tensor>(&value);
    if (order.empty() || tensor == nullptr) return {};
    TENON_ASSIGN_OR_RETURN(Tensor made, reorder(*tensor, order));
    value = std::move(made);
    return {};
  }

  std::shared_ptr<const runtime::HostFunction> call_;
  Orders inputs_, outputs_;
};

bool all_row_major(const Orders& orders) {
  return std::ranges::all_of(orders, [](const std::vector<int32_t>& order) { return order.empty(); });
}

}  // namespace

std::shared_ptr<const runtime::HostFunction> row_major_call(std::shared_ptr<const runtime::HostFunction> call, Orders inputs, Orders outputs) {
  if (all_row_major(inputs) && all_row_major(outputs)) return call;
  return std::make_shared<RowMajorCall>(std::move(call), std::move(inputs), std::move(outputs));
}

}  // namespace tenon::codegen
