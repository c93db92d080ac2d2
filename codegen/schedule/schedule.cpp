#include "codegen/schedule/schedule.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;

BindingRef Lowering::storage(int operand) {
  if (operand < kStageOperand) return group.operands[static_cast<size_t>(operand)].value;
  const size_t s = static_cast<size_t>(operand - kStageOperand);
  if (group.stages[s].same_memory_as >= 0) return storage(group.stages[s].same_memory_as);
  if (group.stages[s].output != nullptr) return group.stages[s].output;
  temporary_of.resize(group.stages.size(), -1);
  if (temporary_of[s] < 0) {
    temporary_of[s] = static_cast<int>(out.temporaries.size());
    out.temporaries.push_back({group.stages[s].dtype, ir::product(group.stages[s].shape) + group.stages[s].slack});
  }
  return temporary_of[s];
}

std::function<const std::vector<Dim>*(int)> shapes(const Lowering& lowering, std::vector<int> except) {
  return [&lowering, except = std::move(except)](int operand) -> const std::vector<Dim>* {
    if (operand >= kStageOperand && std::find(except.begin(), except.end(), operand - kStageOperand) != except.end()) return nullptr;
    return &lowering.group.shape_of(operand);
  };
}

KernelWriter::KernelWriter(Lowering& lowering, std::string_view name, std::span<const Expr> reads,
                           std::span<const int> writes, std::span<const int> in_registers)
    : lowering_(lowering), kernel_(std::make_unique<LoweredKernel>()) {
  kernel_->kernel.name = name;
  emitter_ = std::make_unique<Emitter>(*lowering.group.pool, *kernel_);
  std::vector<int> operands;
  for (Expr e : reads) {
    if (e.valid()) collect_operands(e, operands);
  }
  for (int o : operands) {
    if (o >= kStageOperand && std::find(in_registers.begin(), in_registers.end(), o - kStageOperand) != in_registers.end()) continue;
    const DType dtype = o >= kStageOperand ? lowering.stage(o - kStageOperand).dtype
                                           : lowering.group.operands[static_cast<size_t>(o)].dtype;
    emitter_->set_buffer(o, emitter_->add_binding("in" + std::to_string(kernel_->bindings.size()), dtype, false, lowering.storage(o)));
  }
  for (int s : writes) {
    const int b = emitter_->add_binding("out" + std::to_string(outputs_.size()), lowering.stage(s).dtype, true,
                                        lowering.storage(kStageOperand + s));
    outputs_.emplace_back(s, b);
  }
}

int KernelWriter::output(int stage) const {
  for (const auto& [s, b] : outputs_) {
    if (s == stage) return b;
  }
  return -1;
}

void KernelWriter::finish(Dim grid, Dim work) {
  emitter_.reset();
  kernel_->grid = grid;
  kernel_->work = work;
  lowering_.out.kernels.push_back(std::move(*kernel_));
}

}  // namespace tenon::codegen
