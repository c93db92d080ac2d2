#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/plan.h"

namespace tenon::runtime {

/// Makes plans by hand. `d("N")` is a symbol, `d(4)` a constant; kernels are plain functions that write the last binding.
class PlanMaker {
 public:
  explicit PlanMaker(std::shared_ptr<std::vector<std::string>> symbols = std::make_shared<std::vector<std::string>>())
      : plan(std::make_shared<Plan>()), kernels(std::make_shared<std::vector<PlanKernel>>()), symbols_(std::move(symbols)) {
    plan->kernels = kernels;
  }

  DimId d(int64_t value) { return add({DimProgram::Op::kConst, value}); }
  DimId d(const std::string& symbol) { return add({DimProgram::Op::kSymbol, symbol_id(symbol)}); }
  DimId op(DimProgram::Op op, DimId a, DimId b) { return add({op, 0, a, b}); }

  ValueIdx value(const std::string& name, Storage storage, std::vector<DimId> dims, DType dtype = DType::kF32) {
    PlanValue v;
    v.name = name;
    v.dtype = dtype;
    v.ranked = true;
    v.dims = std::move(dims);
    v.storage = storage;
    plan->values.push_back(std::move(v));
    return static_cast<ValueIdx>(plan->values.size()) - 1;
  }
  ValueIdx opaque(const std::string& name, Storage storage, DType dtype = DType::kInvalid) {
    const ValueIdx v = value(name, storage, {}, dtype);
    plan->values.back().ranked = false;
    return v;
  }
  ValueIdx input(const std::string& name, std::vector<DimId> dims, DType dtype = DType::kF32) {
    const ValueIdx v = value(name, Storage::kInput, std::move(dims), dtype);
    plan->inputs.push_back({name, v});
    return v;
  }
  ValueIdx constant(const std::string& name, Tensor tensor) {
    std::vector<DimId> dims;
    for (int64_t size : tensor.shape()) dims.push_back(d(size));
    const ValueIdx v = value(name, Storage::kConstant, std::move(dims), tensor.dtype());
    plan->values.back().constant = std::move(tensor);
    return v;
  }
  ValueIdx alias(const std::string& name, ValueIdx of, std::vector<DimId> dims) {
    const ValueIdx v = value(name, Storage::kAlias, std::move(dims), plan->values[static_cast<size_t>(of)].dtype);
    plan->values.back().alias_of = of;
    return v;
  }
  void output(const std::string& name, ValueIdx v) { plan->outputs.push_back({name, v}); }

  void dispatch(const std::string& node, KernelFn fn, std::vector<ValueIdx> bindings, std::vector<DimId> dims, DimId grid,
                DimId work = -1) {
    Step step;
    step.kind = Step::Kind::kDispatch;
    step.node = node;
    step.kernel = static_cast<int32_t>(kernels->size());
    std::vector<Access> access(bindings.size(), Access::kRead);
    access.back() = Access::kWrite;
    kernels->push_back({node, fn, static_cast<int32_t>(bindings.size()), static_cast<int32_t>(dims.size()), access});
    step.bindings = std::move(bindings);
    step.kernel_dims = std::move(dims);
    step.grid = grid;
    step.work = work;
    plan->steps.push_back(std::move(step));
  }
  Step& step(Step::Kind kind, const std::string& node, std::vector<ValueIdx> inputs, std::vector<ValueIdx> outputs) {
    Step& s = plan->steps.emplace_back();
    s.kind = kind;
    s.node = node;
    s.inputs = std::move(inputs);
    s.outputs = std::move(outputs);
    return s;
  }
  void host(const std::string& node, std::function<Status(HostCallContext&)> fn, std::vector<ValueIdx> inputs,
            std::vector<ValueIdx> outputs) {
    struct Fn final : HostFunction {
      std::function<Status(HostCallContext&)> fn;
      Status call(HostCallContext& context) const override { return fn(context); }
    };
    auto function = std::make_shared<Fn>();
    function->fn = std::move(fn);
    step(Step::Kind::kHostCall, node, std::move(inputs), std::move(outputs)).host = std::move(function);
  }

  /// All plans that share the symbols must be made before this.
  std::shared_ptr<const Plan> done() {
    plan->dims.num_symbols = 16;
    plan->dims.symbol_names = *symbols_;
    plan->dims.symbol_names.resize(16);
    return plan;
  }

  std::shared_ptr<Plan> plan;
  std::shared_ptr<std::vector<PlanKernel>> kernels;
  const std::shared_ptr<std::vector<std::string>>& symbols() const { return symbols_; }

 private:
  DimId add(DimProgram::Inst inst) {
    plan->dims.insts.push_back(inst);
    return static_cast<DimId>(plan->dims.insts.size()) - 1;
  }
  int64_t symbol_id(const std::string& name) {
    for (size_t i = 0; i < symbols_->size(); ++i)
      if ((*symbols_)[i] == name) return static_cast<int64_t>(i);
    symbols_->push_back(name);
    return static_cast<int64_t>(symbols_->size()) - 1;
  }
  std::shared_ptr<std::vector<std::string>> symbols_;
};

// Kernels over f32: bindings in…, out; one element a grid index.
inline int32_t add_one(void* const* b, const int64_t*, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) static_cast<float*>(b[1])[i] = static_cast<const float*>(b[0])[i] + 1.0f;
  return 0;
}
inline int32_t add_two_tensors(void* const* b, const int64_t*, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i)
    static_cast<float*>(b[2])[i] = static_cast<const float*>(b[0])[i] + static_cast<const float*>(b[1])[i];
  return 0;
}

inline std::vector<float> floats(const HostValue& value) {
  const auto span = std::get<Tensor>(value).span<float>();
  return {span.begin(), span.end()};
}

}  // namespace tenon::runtime
