#include "codegen/spirv/emit.h"

#include <algorithm>
#include <optional>

#include "codegen/kernel_tiles.h"
#include "codegen/math.h"
#include "codegen/spirv/emitter.h"
#include "codegen/spirv/narrow.h"

namespace tenon::codegen::spirv {

using kir::BufferSpace;
using kir::Inst;
using kir::InstKind;
using kir::Region;
using kir::ValueId;

Result<std::vector<uint32_t>> Emitter::run() {
  TENON_RETURN_IF_ERROR(check_types());
  m_.capability(spv::CapabilityShader);
  m_.capability(spv::CapabilityPhysicalStorageBufferAddresses);
  m_.capability(spv::CapabilityInt64);
  ids_.assign(kernel_.values.size(), 0);
  constants_.assign(kernel_.values.size(), nullptr);
  elements_.resize(kernel_.buffers.size());
  narrow_ = options_.narrow_indices ? narrow_values(kernel_, options_.log) : std::vector<char>(kernel_.values.size(), 0);
  pending_ = Accesses(kernel_.buffers.size());
  vectors_.assign(kernel_.buffers.size(), 1);
  TENON_RETURN_IF_ERROR(find_vectors(kernel_.body));
  emit_entry();
  TENON_RETURN_IF_ERROR(emit_region(kernel_.body));
  m_.op(spv::OpBranch, {exit_});
  m_.label(exit_);
  m_.op(spv::OpReturn, {});
  const bool workgroup = matrices_ && matrices_->scope == MatrixScope::kWorkgroup;
  const int64_t there = options_.shared_bytes - (workgroup ? options_.matrix_shared_bytes : 0);
  if (shared_bytes_ > there)
    return error(Code::kUnsupported, "kernel {} wants {} bytes of shared memory, {} are there", kernel_.name, shared_bytes_, there);
  return m_.finish(workgroup ? 0x00010600 : 0x00010500, interface_);
}

Status Emitter::check_types() const {
  if (kernel_.round != 0) return error(Code::kUnsupported, "kernel {} runs in rounds", kernel_.name);
  for (const auto& value : kernel_.values)
    if (bits(value.dtype) < 8 || bits(value.dtype) > 64 || value.dtype == DType::kC64 || (is_float(value.dtype) && bits(value.dtype) == 8))
      return error(Code::kUnsupported, "kernel {} has a {} value, which SPIR-V has no form for", kernel_.name, name(value.dtype));
  return Status();
}

// ---- entry -----------------------------------------------------------------------------------------------------------

Id Emitter::builtin(spv::BuiltIn which, Id type) {
  const Id id = m_.global_variable(o_.pointer(spv::StorageClassInput, type), spv::StorageClassInput);
  m_.decorate(id, spv::DecorationBuiltIn, {static_cast<uint32_t>(which)});
  interface_.push_back(id);
  return id;
}

/// This invocation's or workgroup's; sets lane_.
Id Emitter::grid_index(Id begin) {
  const Id u64 = o_.int_type(64), u32 = o_.int_type(32), v3 = m_.type(spv::OpTypeVector, {u32, 3});
  const Id group = builtin(spv::BuiltInWorkgroupId, v3), groups = builtin(spv::BuiltInNumWorkgroups, v3),
           local = builtin(spv::BuiltInLocalInvocationId, v3);
  const auto component = [&](Id vector, uint32_t i) {
    return m_.value(spv::OpCompositeExtract, u32, {m_.value(spv::OpLoad, v3, {vector}), i});
  };
  const auto extend = [&](Id value) { return m_.value(spv::OpUConvert, u64, {value}); };
  // Grid rows in y: one dimension of a dispatch is limited to 65535 workgroups.
  const Id row = m_.value(spv::OpIMul, u64, {extend(component(group, 1)), extend(component(groups, 0))});
  Id index = m_.value(spv::OpIAdd, u64, {row, extend(component(group, 0))});
  lane_ = component(local, 0);
  if (!cooperative()) {
    const Id first = m_.value(spv::OpIMul, u64, {index, o_.int_const(64, options_.workgroup_size)});
    index = m_.value(spv::OpIAdd, u64, {first, extend(lane_)});
  }
  return m_.value(spv::OpIAdd, u64, {index, begin});
}

void Emitter::emit_entry() {
  const Id u64 = o_.int_type(64), void_type = m_.type(spv::OpTypeVoid, {});
  const Id block = m_.distinct_type(spv::OpTypeStruct, {u64, u64, u64});
  m_.decorate(block, spv::DecorationBlock);
  for (uint32_t i = 0; i < 3; ++i) m_.decorate_member(block, i, spv::DecorationOffset, {8 * i});
  const Id push = m_.global_variable(o_.pointer(spv::StorageClassPushConstant, block), spv::StorageClassPushConstant);
  interface_.push_back(push);

  const Id function = m_.new_id();
  m_.entry_point(function, "main");
  const uint32_t size = static_cast<uint32_t>(cooperative() ? kernel_.lanes : options_.workgroup_size);
  m_.execution_mode(function, spv::ExecutionModeLocalSize, {size, 1, 1});
  if (options_.denorm_preserve_f32) {
    m_.capability(spv::CapabilityDenormPreserve);
    m_.execution_mode(function, spv::ExecutionModeDenormPreserve, {32});
  }
  if (options_.nan_preserve_f32) {
    m_.capability(spv::CapabilitySignedZeroInfNanPreserve);
    m_.execution_mode(function, spv::ExecutionModeSignedZeroInfNanPreserve, {32});
  }
  m_.begin_function(void_type, function, m_.type(spv::OpTypeFunction, {void_type}));
  for (const kir::BufferInfo& buffer : kernel_.buffers) buffers_.push_back(declare(buffer));
  if (matrices_) declare_matrices();

  const auto pushed = [&](uint32_t member) {
    const Id at = m_.value(spv::OpAccessChain, o_.pointer(spv::StorageClassPushConstant, u64), {push, o_.int_const(32, member)});
    return m_.value(spv::OpLoad, u64, {at});
  };
  const Id grid = grid_index(pushed(1));
  const ValueId argument = kernel_.body.args[0];
  ids_[static_cast<size_t>(argument)] = narrow(argument) ? m_.value(spv::OpUConvert, o_.int_type(32), {grid}) : grid;
  const Id inside = m_.value(spv::OpSLessThan, o_.bool_type(), {grid, pushed(2)});
  const Id body = m_.new_id();
  exit_ = m_.new_id();
  m_.op(spv::OpSelectionMerge, {exit_, spv::SelectionControlMaskNone});
  m_.op(spv::OpBranchConditional, {inside, body, exit_});
  m_.label(body);

  const Id parameters = pushed(0);
  const int bindings = kernel_.num_bindings();
  const auto parameter = [&](int i) {
    return load_address(m_.value(spv::OpIAdd, u64, {parameters, o_.int_const(64, int64_t{8} * i)}), u64, 8);
  };
  for (int i = 0; i < bindings; ++i) buffers_[static_cast<size_t>(i)] = parameter(i);
  for (int i = 0; i < kernel_.num_dims; ++i) dims_.push_back(parameter(bindings + i));
  error_address_ = parameter(bindings + kernel_.num_dims);
  if (matrices_) find_blocks();
}

// ---- instructions ----------------------------------------------------------------------------------------------------

Status Emitter::emit_region(const Region& region) {
  for (const auto& inst : region.insts) TENON_RETURN_IF_ERROR(emit_inst(*inst));
  return Status();
}

Status Emitter::emit_inst(const Inst& inst) {
  switch (inst.kind) {
    case InstKind::kConst:
      constants_[static_cast<size_t>(inst.results[0])] = &inst;
      return Status();
    case InstKind::kDim: {
      const Id dim = dims_[static_cast<size_t>(inst.index)];
      define(inst, narrow(inst.results[0]) ? m_.value(spv::OpUConvert, o_.int_type(32), {dim}) : dim);
      return Status();
    }
    case InstKind::kOp: return emit_op(inst);
    case InstKind::kCast: define(inst, o_.cast(operand(inst, 0), operand_dtype(inst, 0), inst.dtype)); return Status();
    case InstKind::kBitcast: define(inst, o_.bitcast(operand(inst, 0), operand_dtype(inst, 0), inst.dtype)); return Status();
    case InstKind::kLoad: emit_load(inst); return Status();
    case InstKind::kStore: emit_store(inst); return Status();
    case InstKind::kPrefetch: return Status();
    case InstKind::kFor: return is_lane_loop(inst) ? emit_lane_loop(inst) : emit_for(inst);
    case InstKind::kIf: return emit_if(inst);
    case InstKind::kCheck: emit_check(inst); return Status();
    case InstKind::kTileFill:
    case InstKind::kTileMma:
    case InstKind::kTileStore:
      emit_tile(inst);
      return Status();
  }
  return error(Code::kInternal, "unknown Kernel IR instruction in {}", kernel_.name);
}

Status Emitter::emit_op(const Inst& inst) {
  const DType d = operand_dtype(inst, inst.op == ir::ScalarOp::kSelect ? 1 : 0);
  const bool all = std::all_of(inst.operands.begin(), inst.operands.end(), [&](ValueId v) { return kernel_.dtype(v) != DType::kI64 || narrow(v); });
  const bool in_32_bits = d == DType::kI64 && all && (narrow(inst.results[0]) || ir::info(inst.op).result_is_bool);
  Operands a{};
  for (ValueId v : inst.operands) a.push_back(in_32_bits ? id(v) : wide(v));
  const Id result = o_.apply(inst.op, in_32_bits ? DType::kI32 : d, a);
  if (result == 0)
    return error(Code::kUnsupported, "no SPIR-V form of {} on {} (kernel {})", ir::info(inst.op).name, name(d), kernel_.name);
  define(inst, result);
  return Status();
}

void Emitter::emit_load(const Inst& inst) {
  note(inst);
  if (inst.width > 1) return load_wide(inst);
  if (inst.operands.size() == 1) return define(inst, load(inst.index, inst.operands[0]));
  const Id before = m_.current_block(), other = operand(inst, 2);
  Id loaded = 0, from = 0;
  when(operand(inst, 1), [&] {
    loaded = load(inst.index, inst.operands[0]);
    from = m_.current_block();
  });
  define(inst, m_.value(spv::OpPhi, o_.type(kernel_.dtype(inst.results[0])), {loaded, from, other, before}));
}

void Emitter::emit_store(const Inst& inst) {
  note(inst);
  const auto write = [&] {
    if (inst.width > 1)
      store_wide(inst);
    else
      store(inst.index, inst.operands[0], operand(inst, 1));
  };
  const bool masked = inst.width <= 1 && inst.operands.size() == 3;
  Id condition = masked ? operand(inst, 2) : 0;
  if (uniform()) {
    const Id first = m_.value(spv::OpIEqual, o_.bool_type(), {lane_, o_.int_const(32, 0)});
    condition = masked ? m_.value(spv::OpLogicalAnd, o_.bool_type(), {first, condition}) : first;
  }
  if (condition == 0) write();
  else when(condition, write);
}

void Emitter::emit_check(const Inst& inst) {
  const Id failed = m_.value(spv::OpLogicalNot, o_.bool_type(), {operand(inst, 0)});
  when(failed, [&] {
    const Id at = m_.value(spv::OpConvertUToPtr, o_.pointer(spv::StorageClassPhysicalStorageBuffer, o_.int_type(32)), {error_address_});
    m_.op(spv::OpStore, {at, o_.int_const(32, inst.index), spv::MemoryAccessAlignedMask, 4});
  });
}

Status Emitter::emit_loop(const Inst& inst, Id first, int64_t step, std::span<const Id> inits, std::vector<Id>& results, const Accesses* around) {
  const Region& body = inst.regions[0];
  const Id header = m_.new_id(), test = m_.new_id(), start = m_.new_id(), next = m_.new_id(), merge = m_.new_id();
  const int width = narrow(body.args[0]) ? 32 : 64;
  const Id end = bound(inst, 1);
  const Id before = m_.current_block();
  m_.op(spv::OpBranch, {header});
  m_.label(header);
  std::vector<size_t> phis;
  const auto phi = [&](ValueId value, Id initial) {
    phis.push_back(m_.body_size());
    const Id type = value == body.args[0] ? o_.int_type(width) : o_.type(kernel_.dtype(value));
    ids_[static_cast<size_t>(value)] = m_.value(spv::OpPhi, type, {initial, before, 0, next});
  };
  phi(body.args[0], first);
  for (size_t i = 0; i < inits.size(); ++i) phi(body.args[i + 1], inits[i]);
  m_.op(spv::OpLoopMerge, {merge, next, spv::LoopControlMaskNone});
  m_.op(spv::OpBranch, {test});
  m_.label(test);
  const Id more = m_.value(spv::OpSLessThan, o_.bool_type(), {id(body.args[0]), end});
  m_.op(spv::OpBranchConditional, {more, start, merge});
  m_.label(start);
  TENON_RETURN_IF_ERROR(emit_region(body));
  if (around != nullptr) settle(*around);
  const std::vector<Id> yields = wide(body.yields);
  m_.op(spv::OpBranch, {next});
  m_.label(next);
  constexpr size_t kBackValue = 5;  // words of OpPhi: opcode, type, id, value, block, value, block
  m_.patch(phis[0] + kBackValue, m_.value(spv::OpIAdd, o_.int_type(width), {id(body.args[0]), o_.int_const(width, step)}));
  for (size_t i = 0; i < yields.size(); ++i) m_.patch(phis[i + 1] + kBackValue, yields[i]);
  m_.op(spv::OpBranch, {header});
  m_.label(merge);
  for (size_t i = 0; i < inits.size(); ++i) results.push_back(id(body.args[i + 1]));
  return Status();
}

/// Iterations in order: those of a vector loop as well, whose combiners then need no combining.
Status Emitter::emit_for(const Inst& inst) {
  std::vector<Id> inits, results;
  for (size_t i = 2; i < inst.operands.size(); ++i) inits.push_back(operand(inst, i));
  std::optional<Accesses> all;
  if (uniform()) settle(all.emplace(accesses_of(inst)));
  TENON_RETURN_IF_ERROR(emit_loop(inst, bound(inst, 0), inst.step, inits, results, all ? &*all : nullptr));
  for (size_t i = 0; i < results.size(); ++i) ids_[static_cast<size_t>(inst.results[i])] = results[i];
  return Status();
}

Status Emitter::emit_if(const Inst& inst) {
  if (uniform()) settle(accesses_of(inst));
  const Accesses before = pending_;
  const Id then_label = m_.new_id(), else_label = m_.new_id(), merge = m_.new_id();
  m_.op(spv::OpSelectionMerge, {merge, spv::SelectionControlMaskNone});
  m_.op(spv::OpBranchConditional, {operand(inst, 0), then_label, else_label});
  Id ends[2];
  std::vector<Id> yields[2];
  Accesses after = before;
  for (size_t side = 0; side < 2; ++side) {
    m_.label(side == 0 ? then_label : else_label);
    pending_ = before;
    if (side < inst.regions.size()) TENON_RETURN_IF_ERROR(emit_region(inst.regions[side]));
    after.add(pending_);
    if (side < inst.regions.size()) yields[side] = wide(inst.regions[side].yields);
    ends[side] = m_.current_block();
    m_.op(spv::OpBranch, {merge});
  }
  pending_ = after;
  m_.label(merge);
  for (size_t i = 0; i < inst.results.size(); ++i) {
    const ValueId result = inst.results[i];
    ids_[static_cast<size_t>(result)] = m_.value(spv::OpPhi, o_.type(kernel_.dtype(result)),
                                                 {yields[0][i], ends[0], yields[1][i], ends[1]});
  }
  return Status();
}

Result<std::vector<uint32_t>> emit(const kir::Kernel& kernel, const EmitOptions& options) {
  const bool math = kir::has_math(kernel);
  for (const MatrixScope scope : {MatrixScope::kWorkgroup, MatrixScope::kSubgroup}) {
    auto matrices = matrix_tiles(kernel, options, scope);
    if (!matrices) continue;
    auto words = math ? Emitter(kir::math_expanded(kernel), options, std::move(matrices)).run() : Emitter(kernel, options, std::move(matrices)).run();
    if (words.ok() || scope == MatrixScope::kSubgroup) return words;  // drivers take shared memory for a workgroup's matrices
  }
  if (kir::has_tiles(kernel)) return Emitter(kir::tiles_expanded(kernel, math), options, std::nullopt).run();
  return math ? Emitter(kir::math_expanded(kernel), options, std::nullopt).run() : Emitter(kernel, options, std::nullopt).run();
}

}  // namespace tenon::codegen::spirv
