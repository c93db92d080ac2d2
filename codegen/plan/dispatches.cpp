// What runs in kernels: dispatches, and setup steps for what constants alone determine.

#include <algorithm>

#include "codegen/plan/builder.h"
#include "ir/op.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Node;
using ir::Value;
using runtime::DimId;
using runtime::PlanValue;
using runtime::Step;
using runtime::Storage;
using runtime::ValueIdx;

// Kernels need the shape of everything that they touch before they start.
Status PlanBuilder::check_operands(const Node& node, const LoweredOp& op) const {
  for (const Value* v : node.outputs())
    if (!shape_known(v)) return error(Code::kUnsupported, "the shape of {} is known at run time only", v->name());
  const auto known = [&](Dim d) { return is_known(d, known_); };
  for (const LoweredKernel& kernel : op.kernels) {
    for (const BindingRef& binding : kernel.bindings) {
      const auto* v = std::get_if<const Value*>(&binding);
      if (v != nullptr && !shape_known(*v))
        return error(Code::kUnsupported, "the shape of {} is known at run time only", (*v)->name());
    }
    if (!known(kernel.grid) || !std::all_of(kernel.dims.begin(), kernel.dims.end(), known))
      return error(Code::kUnsupported, "a dim is known at run time only");
  }
  for (const Temporary& t : op.temporaries)
    if (!known(t.count)) return error(Code::kUnsupported, "the size of a temporary is known at run time only");
  return {};
}

Result<bool> PlanBuilder::add_generated(const Node& node, std::string& reason) {
  Result<LoweredOp> op = lower(node, module_.options.target);
  Status refused = op.ok() ? check_operands(node, *op) : op.status();
  if (refused.ok() && module_.options.refuse) {
    for (const LoweredKernel& kernel : op->kernels)
      if (auto why = module_.options.refuse(kernel.kernel)) refused = Status(Code::kUnsupported, *why);
  }
  if (!refused.ok()) {
    reason += refused.what();
    return false;
  }
  if (op->view_of != nullptr) {
    if (!shape_known(op->view_of)) return false;
    TENON_RETURN_IF_ERROR(define_view(op->view_of, node.output()));
    record(node, Placement::Kind::kView, "view", "");
    return true;
  }
  for (const std::string& why : op->refused) reason += (reason.empty() ? "" : "; ") + why;
  const bool in_place = op->updated != nullptr && may_update(node, *op->updated);
  if (in_place) {
    op->kernels.erase(op->kernels.begin(), op->kernels.begin() + static_cast<std::ptrdiff_t>(op->first_update));
    op->implementation += ", in place";
    TENON_RETURN_IF_ERROR(define_updated(*op->updated, node.output()));
  }
  TENON_RETURN_IF_ERROR(add_dispatches(node, *op, in_place));
  record(node, Placement::Kind::kGenerated, op->implementation, std::move(reason));
  module_.built.placement.back().tunables = std::move(op->tunables);
  return true;
}

Status PlanBuilder::add_dispatches(const Node& node, LoweredOp& op, bool in_place) {
  for (const Value* output : node.outputs())
    if (!values_.contains(output)) TENON_RETURN_IF_ERROR(define(output, Storage::kArena).status());
  std::vector<ValueIdx> temporaries;
  for (const Temporary& t : op.temporaries) {
    PlanValue value;
    value.name = fmt::format("{}.t{}", node_name(node), temporaries.size());
    value.dtype = t.dtype;
    value.ranked = true;
    TENON_ASSIGN_OR_RETURN(const DimId count, dims_.emit(t.count));
    value.dims = {count};
    temporaries.push_back(append(std::move(value)));
  }
  std::vector<int> writers(temporaries.size(), 0);  // kernels that write each
  for (const LoweredKernel& kernel : op.kernels)
    for (size_t b = 0; b < kernel.bindings.size(); ++b)
      if (const int* t = std::get_if<int>(&kernel.bindings[b]); t != nullptr && kernel.kernel.buffers[b].written) ++writers[static_cast<size_t>(*t)];
  for (LoweredKernel& kernel : op.kernels) {
    if (kernel.once) {
      TENON_RETURN_IF_ERROR(add_setup(node, kernel, temporaries, writers));
      continue;
    }
    Step step;
    step.kind = Step::Kind::kDispatch;
    step.node = node_name(node);
    step.placement = next_row();
    for (const BindingRef& binding : kernel.bindings) {
      ValueIdx v = -1;
      if (const int* t = std::get_if<int>(&binding)) v = temporaries.at(static_cast<size_t>(*t));
      else {
        TENON_ASSIGN_OR_RETURN(v, use(std::get<const Value*>(binding)));
      }
      step.bindings.push_back(v);
    }
    for (Dim d : kernel.dims) {
      TENON_ASSIGN_OR_RETURN(const DimId id, dims_.emit(d));
      step.kernel_dims.push_back(id);
    }
    TENON_ASSIGN_OR_RETURN(step.grid, dims_.emit(kernel.grid));
    if (is_known(kernel.work, known_)) {
      TENON_ASSIGN_OR_RETURN(step.work, dims_.emit(kernel.work));
    }
    if (in_place && op.updates.is_valid() && is_known(op.updates, known_)) {
      TENON_ASSIGN_OR_RETURN(step.updates, dims_.emit(op.updates));
    }
    step.kernel = module_.kernel(std::move(kernel.kernel));
    plan_->steps.push_back(std::move(step));
    ++module_.built.dispatches;
  }
  return {};
}

Status PlanBuilder::add_setup(const Node& node, LoweredKernel& kernel, std::vector<ValueIdx>& temporaries,
                              const std::vector<int>& writers) {
  SetupStep step{.plan = plan_, .grid = kernel.grid.value(), .node = node_name(node)};
  if (kernel.work.is_valid() && kernel.work.is_const()) step.work = kernel.work.value();
  for (Dim d : kernel.dims) step.dims.push_back(d.value());
  std::vector<uint64_t> key{reinterpret_cast<uint64_t>(plan_.get())};
  std::vector<size_t> written;  // temporaries
  for (size_t b = 0; b < kernel.bindings.size(); ++b) {
    if (const int* t = std::get_if<int>(&kernel.bindings[b])) {
      const auto temporary = static_cast<size_t>(*t);
      step.bindings.emplace_back(temporaries[temporary]);
      // Parts of a temporary that several kernels write are those of this node alone.
      if (kernel.kernel.buffers[b].written && writers[temporary] > 1) key.push_back(static_cast<uint64_t>(temporaries[temporary]));
      if (kernel.kernel.buffers[b].written) written.push_back(temporary);
      else key.push_back(static_cast<uint64_t>(temporaries[temporary]));
      continue;
    }
    TENON_ASSIGN_OR_RETURN(const Tensor constant, stored_constant(*std::get<const Value*>(kernel.bindings[b])));
    step.bindings.emplace_back(constant);
    key.push_back(reinterpret_cast<uint64_t>(constant.data()));
  }
  for (int64_t d : step.dims) key.push_back(static_cast<uint64_t>(d));
  step.kernel = module_.kernel(std::move(kernel.kernel));
  key.push_back(static_cast<uint64_t>(step.kernel));
  key.push_back(static_cast<uint64_t>(step.grid));
  std::vector<ValueIdx>& made = module_.made_once[key];
  if (!made.empty()) {
    for (size_t i = 0; i < written.size(); ++i) temporaries[written[i]] = made[i];
    return {};
  }
  for (size_t t : written) {
    made.push_back(temporaries[t]);
    plan_->values[static_cast<size_t>(temporaries[t])].storage = Storage::kConstant;
  }
  module_.built.setup.push_back(std::move(step));
  return {};
}

}  // namespace tenon::codegen
