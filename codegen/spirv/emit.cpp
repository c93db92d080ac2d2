#include "codegen/spirv/emit.h"

#include <bit>
#include <cmath>

#include <spirv/unified1/GLSL.std.450.h>

#include "codegen/spirv/module.h"
#include "support/float_types.h"

namespace tenon::codegen::spirv {
namespace {

using kir::Inst;
using kir::InstKind;
using kir::Kernel;
using kir::Region;
using kir::ScalarOp;
using kir::ValueId;

// bf16 has no SPIR-V 1.5 type: in registers it is its 16 bits, and only casts touch it.
bool is_arith_float(DType d) { return d == DType::kF16 || d == DType::kF32 || d == DType::kF64; }

class Emitter {
 public:
  Emitter(const Kernel& kernel, const EmitOptions& options) : kernel_(kernel), options_(options) {}

  Result<std::vector<uint32_t>> run() {
    TENON_RETURN_IF_ERROR(check_types());
    m_.capability(spv::CapabilityShader);
    m_.capability(spv::CapabilityPhysicalStorageBufferAddresses);
    m_.capability(spv::CapabilityInt64);
    glsl_ = m_.ext_inst_set("GLSL.std.450");
    ids_.assign(kernel_.values.size(), 0);
    emit_entry();
    TENON_RETURN_IF_ERROR(emit_region(kernel_.body));
    m_.op(spv::OpBranch, {exit_});
    m_.label(exit_);
    m_.op(spv::OpReturn, {});
    return m_.finish(0x00010500);
  }

 private:
  // ---- types and constants -------------------------------------------------------------------------------------
  Status check_types() const {
    if (kernel_.round != 0) return error(Code::kUnsupported, "kernel {} runs in rounds", kernel_.name);
    if (kernel_.lanes != 1)
      return error(Code::kUnsupported, "kernel {} wants {} cooperating lanes; one invocation executes a grid index here",
                   kernel_.name, kernel_.lanes);
    for (const auto& value : kernel_.values)
      if (bits(value.dtype) < 8 || bits(value.dtype) > 64 || value.dtype == DType::kC64 ||
          (is_float(value.dtype) && bits(value.dtype) == 8))
        return error(Code::kUnsupported, "kernel {} has a {} value, which SPIR-V has no form for", kernel_.name,
                     name(value.dtype));
    return Status();
  }

  Id int_type(int width) {
    if (width == 8) m_.capability(spv::CapabilityInt8);
    if (width == 16) m_.capability(spv::CapabilityInt16);
    return m_.type(spv::OpTypeInt, {static_cast<uint32_t>(width), 0});
  }
  Id float_type(int width) {
    if (width == 16) m_.capability(spv::CapabilityFloat16);
    if (width == 64) m_.capability(spv::CapabilityFloat64);
    return m_.type(spv::OpTypeFloat, {static_cast<uint32_t>(width)});
  }
  Id bool_type() { return m_.type(spv::OpTypeBool, {}); }
  Id type(DType d) {
    if (d == DType::kBool) return bool_type();
    return is_arith_float(d) ? float_type(bits(d)) : int_type(bits(d));
  }
  Id memory_type(DType d) {
    if (bits(d) == 8) m_.capability(spv::CapabilityStorageBuffer8BitAccess);
    if (bits(d) == 16) m_.capability(spv::CapabilityStorageBuffer16BitAccess);
    return d == DType::kBool ? int_type(8) : type(d);
  }
  Id pointer(spv::StorageClass storage, Id pointee) {
    return m_.type(spv::OpTypePointer, {static_cast<uint32_t>(storage), pointee});
  }
  Id int_const(int width, int64_t value) {
    const uint64_t bits = static_cast<uint64_t>(value);
    std::vector<uint32_t> words;
    if (width == 64) words = {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
    else words = {static_cast<uint32_t>(bits & ((uint64_t{1} << width) - 1))};
    return m_.constant(int_type(width), words);
  }
  Id constant(DType d, const kir::Scalar& value) {
    switch (d) {
      case DType::kBool: return m_.constant_bool(bool_type(), value.i != 0);
      case DType::kF32: {
        const uint32_t word = std::bit_cast<uint32_t>(static_cast<float>(value.f));
        return m_.constant(type(d), std::span(&word, 1));
      }
      case DType::kF64: {
        const uint64_t b = std::bit_cast<uint64_t>(value.f);
        const uint32_t words[] = {static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32)};
        return m_.constant(type(d), words);
      }
      case DType::kF16: {
        const uint32_t word = float_to_half(static_cast<float>(value.f));
        return m_.constant(type(d), std::span(&word, 1));
      }
      case DType::kBF16: return int_const(16, float_to_bf16(static_cast<float>(value.f)));
      default: return int_const(bits(d), value.i);
    }
  }

  // ---- entry ---------------------------------------------------------------------------------------------------
  void emit_entry() {
    const Id u64 = int_type(64), u32 = int_type(32), void_type = m_.type(spv::OpTypeVoid, {});
    const Id block = m_.distinct_type(spv::OpTypeStruct, {u64, u64, u64});
    m_.decorate(block, spv::DecorationBlock);
    for (uint32_t i = 0; i < 3; ++i) m_.decorate_member(block, i, spv::DecorationOffset, {8 * i});
    const Id push = m_.global_variable(pointer(spv::StorageClassPushConstant, block), spv::StorageClassPushConstant);
    const Id v3 = m_.type(spv::OpTypeVector, {u32, 3});
    auto builtin = [&](spv::BuiltIn which) {
      const Id id = m_.global_variable(pointer(spv::StorageClassInput, v3), spv::StorageClassInput);
      m_.decorate(id, spv::DecorationBuiltIn, {static_cast<uint32_t>(which)});
      return id;
    };
    const Id group = builtin(spv::BuiltInWorkgroupId), groups = builtin(spv::BuiltInNumWorkgroups),
             local = builtin(spv::BuiltInLocalInvocationId);

    const Id function = m_.new_id();
    const Id interface[] = {push, group, groups, local};
    m_.entry_point(function, "main", interface);
    m_.execution_mode(function, spv::ExecutionModeLocalSize, {static_cast<uint32_t>(options_.workgroup_size), 1, 1});
    if (options_.denorm_preserve_f32) {
      m_.capability(spv::CapabilityDenormPreserve);
      m_.execution_mode(function, spv::ExecutionModeDenormPreserve, {32});
    }
    if (options_.nan_preserve_f32) {
      m_.capability(spv::CapabilitySignedZeroInfNanPreserve);
      m_.execution_mode(function, spv::ExecutionModeSignedZeroInfNanPreserve, {32});
    }
    m_.begin_function(void_type, function, m_.type(spv::OpTypeFunction, {void_type}));
    for (const kir::BufferInfo& buffer : kernel_.buffers) buffers_.push_back(declare_local(buffer));

    auto pushed = [&](uint32_t member) {
      const Id at = m_.value(spv::OpAccessChain, pointer(spv::StorageClassPushConstant, u64),
                             {push, int_const(32, member)});
      return m_.value(spv::OpLoad, u64, {at});
    };
    auto component = [&](Id vector, uint32_t i) {
      const Id loaded = m_.value(spv::OpLoad, v3, {vector});
      return m_.value(spv::OpUConvert, u64, {m_.value(spv::OpCompositeExtract, u32, {loaded, i})});
    };
    // Grid rows in y: one dimension of a dispatch is limited to 65535 workgroups.
    const Id row = m_.value(spv::OpIMul, u64, {component(group, 1), component(groups, 0)});
    const Id linear = m_.value(spv::OpIAdd, u64, {row, component(group, 0)});
    const Id first = m_.value(spv::OpIMul, u64, {linear, int_const(64, options_.workgroup_size)});
    const Id lane = m_.value(spv::OpIAdd, u64, {first, component(local, 0)});
    const Id grid = m_.value(spv::OpIAdd, u64, {lane, pushed(1)});
    ids_[static_cast<size_t>(kernel_.body.args[0])] = grid;
    const Id inside = m_.value(spv::OpSLessThan, bool_type(), {grid, pushed(2)});
    const Id body = m_.new_id();
    exit_ = m_.new_id();
    m_.op(spv::OpSelectionMerge, {exit_, spv::SelectionControlMaskNone});
    m_.op(spv::OpBranchConditional, {inside, body, exit_});
    m_.label(body);

    const Id parameters = pushed(0);
    const int bindings = kernel_.num_bindings();
    auto parameter = [&](int i) {
      const Id at = m_.value(spv::OpIAdd, u64, {parameters, int_const(64, int64_t{8} * i)});
      return load_address(at, u64, 8);
    };
    for (int i = 0; i < bindings; ++i) buffers_[static_cast<size_t>(i)] = parameter(i);
    for (int i = 0; i < kernel_.num_dims; ++i) dims_.push_back(parameter(bindings + i));
    error_address_ = parameter(bindings + kernel_.num_dims);
  }

  Id declare_local(const kir::BufferInfo& buffer) {
    if (buffer.space == kir::BufferSpace::kBinding) return 0;
    // A workgroup of independent grid indices shares nothing, so kShared without lanes is private as well.
    const Id count = int_const(32, std::max<int64_t>(buffer.count, 1));
    const Id array = m_.type(spv::OpTypeArray, {buffer.dtype == DType::kBool ? int_type(8) : type(buffer.dtype), count});
    return m_.local_variable(pointer(spv::StorageClassFunction, array));
  }

  // ---- memory --------------------------------------------------------------------------------------------------
  Id load_address(Id address, Id value_type, int bytes) {
    const Id at = m_.value(spv::OpConvertUToPtr, pointer(spv::StorageClassPhysicalStorageBuffer, value_type), {address});
    return m_.value(spv::OpLoad, value_type, {at, spv::MemoryAccessAlignedMask, static_cast<uint32_t>(bytes)});
  }
  /// The pointer to element `offset` of a buffer.
  Id element(int buffer, Id offset) {
    const kir::BufferInfo& info = kernel_.buffers[static_cast<size_t>(buffer)];
    const Id base = buffers_[static_cast<size_t>(buffer)];
    if (info.space != kir::BufferSpace::kBinding) {
      const Id of = info.dtype == DType::kBool ? int_type(8) : type(info.dtype);
      return m_.value(spv::OpAccessChain, pointer(spv::StorageClassFunction, of), {base, offset});
    }
    const Id bytes = m_.value(spv::OpIMul, int_type(64), {offset, int_const(64, bits(info.dtype) / 8)});
    const Id address = m_.value(spv::OpIAdd, int_type(64), {base, bytes});
    return m_.value(spv::OpConvertUToPtr, pointer(spv::StorageClassPhysicalStorageBuffer, memory_type(info.dtype)),
                    {address});
  }
  std::vector<uint32_t> with_alignment(int buffer, std::vector<uint32_t> operands) {
    const kir::BufferInfo& info = kernel_.buffers[static_cast<size_t>(buffer)];
    if (info.space == kir::BufferSpace::kBinding) {
      operands.push_back(spv::MemoryAccessAlignedMask);
      operands.push_back(static_cast<uint32_t>(bits(info.dtype) / 8));
    }
    return operands;
  }
  Id load(int buffer, Id offset) {
    const DType d = kernel_.buffers[static_cast<size_t>(buffer)].dtype;
    const Id at = element(buffer, offset);
    const Id raw = m_.value(spv::OpLoad, d == DType::kBool ? int_type(8) : type(d), with_alignment(buffer, {at}));
    return d == DType::kBool ? m_.value(spv::OpINotEqual, bool_type(), {raw, int_const(8, 0)}) : raw;
  }
  void store(int buffer, Id offset, Id value) {
    const DType d = kernel_.buffers[static_cast<size_t>(buffer)].dtype;
    if (d == DType::kBool) value = m_.value(spv::OpSelect, int_type(8), {value, int_const(8, 1), int_const(8, 0)});
    const Id at = element(buffer, offset);
    m_.op(spv::OpStore, with_alignment(buffer, {at, value}));
  }

  // ---- control flow --------------------------------------------------------------------------------------------
  Id id(ValueId v) const { return ids_[static_cast<size_t>(v)]; }
  Id operand(const Inst& inst, size_t i) const { return id(inst.operands[i]); }
  DType operand_dtype(const Inst& inst, size_t i) const { return kernel_.dtype(inst.operands[i]); }
  void define(const Inst& inst, Id value) { ids_[static_cast<size_t>(inst.results[0])] = value; }

  /// Runs `then_body` where the condition holds.
  template <class Body>
  void when(Id condition, Body&& then_body) {
    const Id then_label = m_.new_id(), merge = m_.new_id();
    m_.op(spv::OpSelectionMerge, {merge, spv::SelectionControlMaskNone});
    m_.op(spv::OpBranchConditional, {condition, then_label, merge});
    m_.label(then_label);
    then_body();
    m_.op(spv::OpBranch, {merge});
    m_.label(merge);
  }

  Status emit_region(const Region& region) {
    for (const auto& inst : region.insts) TENON_RETURN_IF_ERROR(emit_inst(*inst));
    return Status();
  }

  Status emit_inst(const Inst& inst) {
    switch (inst.kind) {
      case InstKind::kConst: define(inst, constant(inst.dtype, inst.constant)); return Status();
      case InstKind::kDim: define(inst, dims_[static_cast<size_t>(inst.index)]); return Status();
      case InstKind::kOp: return emit_op(inst);
      case InstKind::kCast: define(inst, cast(operand(inst, 0), operand_dtype(inst, 0), inst.dtype)); return Status();
      case InstKind::kBitcast: define(inst, bitcast(operand(inst, 0), operand_dtype(inst, 0), inst.dtype)); return Status();
      case InstKind::kLoad: emit_load(inst); return Status();
      case InstKind::kStore: emit_store(inst); return Status();
      case InstKind::kPrefetch: return Status();
      case InstKind::kFor: return emit_for(inst);
      case InstKind::kIf: return emit_if(inst);
      case InstKind::kCheck: emit_check(inst); return Status();
      case InstKind::kBarrier: return Status();  // grid indices of a workgroup are independent here
    }
    return error(Code::kInternal, "unknown Kernel IR instruction in {}", kernel_.name);
  }

  void emit_load(const Inst& inst) {
    if (inst.operands.size() == 1) return define(inst, load(inst.index, operand(inst, 0)));
    const Id before = m_.current_block(), other = operand(inst, 2);
    Id loaded = 0, from = 0;
    when(operand(inst, 1), [&] {
      loaded = load(inst.index, operand(inst, 0));
      from = m_.current_block();
    });
    define(inst, m_.value(spv::OpPhi, type(kernel_.dtype(inst.results[0])), {loaded, from, other, before}));
  }

  void emit_store(const Inst& inst) {
    if (inst.operands.size() == 2) return store(inst.index, operand(inst, 0), operand(inst, 1));
    when(operand(inst, 2), [&] { store(inst.index, operand(inst, 0), operand(inst, 1)); });
  }

  void emit_check(const Inst& inst) {
    const Id failed = m_.value(spv::OpLogicalNot, bool_type(), {operand(inst, 0)});
    when(failed, [&] {
      const Id at = m_.value(spv::OpConvertUToPtr, pointer(spv::StorageClassPhysicalStorageBuffer, int_type(32)),
                             {error_address_});
      m_.op(spv::OpStore, {at, int_const(32, inst.index), spv::MemoryAccessAlignedMask, 4});
    });
  }

  // Every loop kind runs in order here: the lanes of a vector loop are iterations, and its combiners need no combining.
  Status emit_for(const Inst& inst) {
    const Region& body = inst.regions[0];
    const Id header = m_.new_id(), test = m_.new_id(), start = m_.new_id(), next = m_.new_id(), merge = m_.new_id();
    const Id before = m_.current_block();
    m_.op(spv::OpBranch, {header});
    m_.label(header);
    std::vector<size_t> phis;
    auto phi = [&](ValueId value, Id initial) {
      phis.push_back(m_.body_size());
      ids_[static_cast<size_t>(value)] = m_.value(spv::OpPhi, type(kernel_.dtype(value)), {initial, before, 0, next});
    };
    phi(body.args[0], operand(inst, 0));
    for (size_t i = 1; i < body.args.size(); ++i) phi(body.args[i], operand(inst, i + 1));
    m_.op(spv::OpLoopMerge, {merge, next, spv::LoopControlMaskNone});
    m_.op(spv::OpBranch, {test});
    m_.label(test);
    const Id more = m_.value(spv::OpSLessThan, bool_type(), {id(body.args[0]), operand(inst, 1)});
    m_.op(spv::OpBranchConditional, {more, start, merge});
    m_.label(start);
    TENON_RETURN_IF_ERROR(emit_region(body));
    m_.op(spv::OpBranch, {next});
    m_.label(next);
    constexpr size_t kBackValue = 5;  // words of OpPhi: opcode, type, id, value, block, value, block
    m_.patch(phis[0] + kBackValue,
             m_.value(spv::OpIAdd, int_type(64), {id(body.args[0]), int_const(64, inst.step)}));
    for (size_t i = 0; i < body.yields.size(); ++i) m_.patch(phis[i + 1] + kBackValue, id(body.yields[i]));
    m_.op(spv::OpBranch, {header});
    m_.label(merge);
    for (size_t i = 0; i < inst.results.size(); ++i)
      ids_[static_cast<size_t>(inst.results[i])] = id(body.args[i + 1]);
    return Status();
  }

  Status emit_if(const Inst& inst) {
    const Id then_label = m_.new_id(), else_label = m_.new_id(), merge = m_.new_id();
    m_.op(spv::OpSelectionMerge, {merge, spv::SelectionControlMaskNone});
    m_.op(spv::OpBranchConditional, {operand(inst, 0), then_label, else_label});
    Id ends[2];
    for (size_t side = 0; side < 2; ++side) {
      m_.label(side == 0 ? then_label : else_label);
      if (side < inst.regions.size()) TENON_RETURN_IF_ERROR(emit_region(inst.regions[side]));
      ends[side] = m_.current_block();
      m_.op(spv::OpBranch, {merge});
    }
    m_.label(merge);
    for (size_t i = 0; i < inst.results.size(); ++i) {
      const ValueId result = inst.results[i];
      ids_[static_cast<size_t>(result)] =
          m_.value(spv::OpPhi, type(kernel_.dtype(result)),
                   {id(inst.regions[0].yields[i]), ends[0], id(inst.regions[1].yields[i]), ends[1]});
    }
    return Status();
  }

  // ---- conversions ---------------------------------------------------------------------------------------------
  Id cast(Id value, DType from, DType to) {
    if (from == to) return value;
    if (from == DType::kBF16) return cast(bfloat16_to_f32(value), DType::kF32, to);
    if (to == DType::kBF16) return f32_to_bfloat16(cast(value, from, DType::kF32));
    const Id result = type(to);
    if (to == DType::kBool) {
      if (is_float(from)) return m_.value(spv::OpFUnordNotEqual, result, {value, constant(from, {})});
      return m_.value(spv::OpINotEqual, result, {value, int_const(bits(from), 0)});
    }
    if (from == DType::kBool)
      return m_.value(spv::OpSelect, result, {value, constant(to, {1.0, 1}), constant(to, {0.0, 0})});
    if (is_float(from) && is_float(to)) return m_.value(spv::OpFConvert, result, {value});
    if (is_float(from)) return float_to_int(value, from, to);
    if (is_float(to))
      return m_.value(is_signed_int(from) ? spv::OpConvertSToF : spv::OpConvertUToF, result, {value});
    if (bits(from) == bits(to)) return value;
    if (is_signed_int(from) && bits(to) == 64) return sign_extend(value, bits(from));
    return m_.value(is_signed_int(from) ? spv::OpSConvert : spv::OpUConvert, result, {value});
  }

  // By shifts: Mesa 22.3 folds a comparison of a sign-converted value with a 64-bit constant to a wrong result.
  Id sign_extend(Id value, int from) {
    const Id t = int_type(64), distance = int_const(64, 64 - from);
    const Id raised = m_.value(spv::OpShiftLeftLogical, t, {m_.value(spv::OpUConvert, t, {value}), distance});
    return m_.value(spv::OpShiftRightArithmetic, t, {raised, distance});
  }

  // SPIR-V leaves values outside the result type undefined; here they are the minimum of the type that is converted to
  // first, i32 or i64, which then wraps (ir::cast_scalar).
  Id float_to_int(Id value, DType from, DType to) {
    const int width = bits(to) == 64 || to == DType::kU32 ? 64 : 32;
    const double half = std::ldexp(1.0, width - 1);
    if (from == DType::kF16) value = m_.value(spv::OpFConvert, float_type(32), {value}), from = DType::kF32;
    const Id b = bool_type(), t = int_type(width);
    const Id above = m_.value(spv::OpFOrdGreaterThanEqual, b, {value, constant(from, {-half, 0})});
    const Id below = m_.value(spv::OpFOrdLessThan, b, {value, constant(from, {half, 0})});
    const Id fits = m_.value(spv::OpLogicalAnd, b, {above, below});
    const Id inside = m_.value(spv::OpSelect, type(from), {fits, value, constant(from, {})});
    const Id converted = m_.value(spv::OpConvertFToS, t, {inside});
    const Id result = m_.value(spv::OpSelect, t, {fits, converted, int_const(width, width == 64 ? INT64_MIN : INT32_MIN)});
    if (bits(to) < width) return m_.value(spv::OpUConvert, type(to), {result});
    if (to != DType::kU64) return result;
    const Id large = m_.value(spv::OpFOrdGreaterThanEqual, b, {value, constant(from, {half, 0})});
    const Id small = m_.value(spv::OpFOrdLessThan, b, {value, constant(from, {2 * half, 0})});
    const Id upper = m_.value(spv::OpLogicalAnd, b, {large, small});
    const Id safe = m_.value(spv::OpSelect, type(from), {upper, value, constant(from, {half, 0})});
    return m_.value(spv::OpSelect, t, {upper, m_.value(spv::OpConvertFToU, t, {safe}), result});
  }

  Id bitcast(Id value, DType from, DType to) {
    return type(from) == type(to) ? value : m_.value(spv::OpBitcast, type(to), {value});
  }

  Id bfloat16_to_f32(Id value) {
    const Id wide = m_.value(spv::OpUConvert, int_type(32), {value});
    const Id shifted = m_.value(spv::OpShiftLeftLogical, int_type(32), {wide, int_const(32, 16)});
    return m_.value(spv::OpBitcast, float_type(32), {shifted});
  }

  // Round to nearest even on the upper half; a NaN keeps its upper bits and becomes quiet.
  Id f32_to_bfloat16(Id value) {
    const Id u32 = int_type(32);
    const Id raw = m_.value(spv::OpBitcast, u32, {value});
    const Id upper = m_.value(spv::OpShiftRightLogical, u32, {raw, int_const(32, 16)});
    const Id odd = m_.value(spv::OpBitwiseAnd, u32, {upper, int_const(32, 1)});
    const Id bias = m_.value(spv::OpIAdd, u32, {odd, int_const(32, 0x7fff)});
    const Id rounded = m_.value(spv::OpShiftRightLogical, u32,
                                {m_.value(spv::OpIAdd, u32, {raw, bias}), int_const(32, 16)});
    const Id quiet = m_.value(spv::OpBitwiseOr, u32, {upper, int_const(32, 0x40)});
    const Id nan = m_.value(spv::OpIsNan, bool_type(), {value});
    return m_.value(spv::OpUConvert, int_type(16), {m_.value(spv::OpSelect, u32, {nan, quiet, rounded})});
  }

  // ---- operations ----------------------------------------------------------------------------------------------
  Status emit_op(const Inst& inst) {
    const DType d = operand_dtype(inst, inst.op == ScalarOp::kSelect ? 1 : 0);
    std::vector<Id> a;
    for (ValueId v : inst.operands) a.push_back(id(v));
    Id result = 0;
    if (inst.op == ScalarOp::kSelect) result = m_.value(spv::OpSelect, type(d), a);
    else if (d == DType::kBool) result = bool_op(inst.op, a);
    else if (is_arith_float(d)) result = float_op(inst.op, d, a);
    else if (d != DType::kBF16) result = int_op(inst.op, d, a);
    if (result == 0)
      return error(Code::kUnsupported, "no SPIR-V form of {} on {} (kernel {})", ir::info(inst.op).name, name(d),
                   kernel_.name);
    define(inst, result);
    return Status();
  }

  Id bool_op(ScalarOp op, const std::vector<Id>& a) {
    const Id t = bool_type();
    switch (op) {
      case ScalarOp::kNot: return m_.value(spv::OpLogicalNot, t, a);
      case ScalarOp::kAnd: case ScalarOp::kMin: case ScalarOp::kMul: return m_.value(spv::OpLogicalAnd, t, a);
      case ScalarOp::kOr: case ScalarOp::kMax: case ScalarOp::kAdd: return m_.value(spv::OpLogicalOr, t, a);
      case ScalarOp::kXor: case ScalarOp::kNe: return m_.value(spv::OpLogicalNotEqual, t, a);
      case ScalarOp::kEq: return m_.value(spv::OpLogicalEqual, t, a);
      default: return 0;
    }
  }

  Id extended(uint32_t instruction, Id t, const std::vector<Id>& a) {
    std::vector<uint32_t> operands{glsl_, instruction};
    operands.insert(operands.end(), a.begin(), a.end());
    return m_.value(spv::OpExtInst, t, operands);
  }
  Id exact(spv::Op op, Id t, const std::vector<Id>& a) {
    const Id result = m_.value(op, t, a);
    m_.decorate(result, spv::DecorationNoContraction);
    return result;
  }

  Id float_op(ScalarOp op, DType d, const std::vector<Id>& a) {
    const Id t = type(d), b = bool_type();
    switch (op) {
      case ScalarOp::kNeg: return m_.value(spv::OpFNegate, t, a);
      case ScalarOp::kAbs: return extended(GLSLstd450FAbs, t, a);
      case ScalarOp::kSqrt: return extended(GLSLstd450Sqrt, t, a);
      case ScalarOp::kFloor: return extended(GLSLstd450Floor, t, a);
      case ScalarOp::kCeil: return extended(GLSLstd450Ceil, t, a);
      case ScalarOp::kRound: return extended(GLSLstd450RoundEven, t, a);
      case ScalarOp::kTrunc: return extended(GLSLstd450Trunc, t, a);
      case ScalarOp::kFma: return extended(GLSLstd450Fma, t, a);
      case ScalarOp::kIsNan: return m_.value(spv::OpIsNan, b, a);
      case ScalarOp::kIsInf: return m_.value(spv::OpIsInf, b, a);
      case ScalarOp::kAdd: return exact(spv::OpFAdd, t, a);
      case ScalarOp::kSub: return exact(spv::OpFSub, t, a);
      case ScalarOp::kMul: return exact(spv::OpFMul, t, a);
      case ScalarOp::kDiv: return exact(spv::OpFDiv, t, a);
      case ScalarOp::kMin: return nan_aware(spv::OpFOrdLessThan, t, a);
      case ScalarOp::kMax: return nan_aware(spv::OpFOrdGreaterThan, t, a);
      case ScalarOp::kEq: return m_.value(spv::OpFOrdEqual, b, a);
      case ScalarOp::kNe: return m_.value(spv::OpFUnordNotEqual, b, a);
      case ScalarOp::kLt: return m_.value(spv::OpFOrdLessThan, b, a);
      case ScalarOp::kLe: return m_.value(spv::OpFOrdLessThanEqual, b, a);
      case ScalarOp::kGt: return m_.value(spv::OpFOrdGreaterThan, b, a);
      case ScalarOp::kGe: return m_.value(spv::OpFOrdGreaterThanEqual, b, a);
      default: return 0;
    }
  }

  // a when a wins or is NaN, else b, which carries its own NaN.
  Id nan_aware(spv::Op wins, Id t, const std::vector<Id>& a) {
    const Id first = m_.value(wins, bool_type(), a), nan = m_.value(spv::OpIsNan, bool_type(), {a[0]});
    return m_.value(spv::OpSelect, t, {m_.value(spv::OpLogicalOr, bool_type(), {first, nan}), a[0], a[1]});
  }

  Id int_op(ScalarOp op, DType d, const std::vector<Id>& a) {
    const Id t = type(d), b = bool_type();
    const bool is_signed = is_signed_int(d);
    const int width = bits(d);
    auto compare = [&](spv::Op s, spv::Op u) { return m_.value(is_signed ? s : u, b, a); };
    switch (op) {
      case ScalarOp::kNeg: return m_.value(spv::OpSNegate, t, a);
      case ScalarOp::kNot: return m_.value(spv::OpNot, t, a);
      case ScalarOp::kAbs: {
        if (!is_signed) return a[0];
        const Id negative = m_.value(spv::OpSLessThan, b, {a[0], int_const(width, 0)});
        return m_.value(spv::OpSelect, t, {negative, m_.value(spv::OpSNegate, t, a), a[0]});
      }
      case ScalarOp::kPopcount: return width == 32 ? m_.value(spv::OpBitCount, t, a) : 0;
      case ScalarOp::kAdd: return m_.value(spv::OpIAdd, t, a);
      case ScalarOp::kSub: return m_.value(spv::OpISub, t, a);
      case ScalarOp::kMul: return m_.value(spv::OpIMul, t, a);
      case ScalarOp::kFma: return m_.value(spv::OpIAdd, t, {m_.value(spv::OpIMul, t, {a[0], a[1]}), a[2]});
      case ScalarOp::kDot4:
      case ScalarOp::kDot4Signed: {
        Id sum = a[2];
        for (int byte = 0; byte < 4; ++byte) {
          const Id at = int_const(32, 8 * byte), eight = int_const(32, 8);
          const Id x = m_.value(op == ScalarOp::kDot4 ? spv::OpBitFieldUExtract : spv::OpBitFieldSExtract, t, {a[0], at, eight}), y = m_.value(spv::OpBitFieldSExtract, t, {a[1], at, eight});
          sum = m_.value(spv::OpIAdd, t, {sum, m_.value(spv::OpIMul, t, {x, y})});
        }
        return sum;
      }
      case ScalarOp::kDiv: return divide(d, a, false);
      case ScalarOp::kRem: return divide(d, a, true);
      case ScalarOp::kFloorDiv: return floor_divide(d, a, false);
      case ScalarOp::kMod: return floor_divide(d, a, true);
      case ScalarOp::kMin: return m_.value(spv::OpSelect, t, {compare(spv::OpSLessThan, spv::OpULessThan), a[0], a[1]});
      case ScalarOp::kMax: return m_.value(spv::OpSelect, t, {compare(spv::OpSGreaterThan, spv::OpUGreaterThan), a[0], a[1]});
      case ScalarOp::kAnd: return m_.value(spv::OpBitwiseAnd, t, a);
      case ScalarOp::kOr: return m_.value(spv::OpBitwiseOr, t, a);
      case ScalarOp::kXor: return m_.value(spv::OpBitwiseXor, t, a);
      case ScalarOp::kShl: return shift(spv::OpShiftLeftLogical, d, a, int_const(width, 0));
      case ScalarOp::kShr: {
        if (!is_signed) return shift(spv::OpShiftRightLogical, d, a, int_const(width, 0));
        const Id fill = m_.value(spv::OpShiftRightArithmetic, t, {a[0], int_const(width, width - 1)});
        return shift(spv::OpShiftRightArithmetic, d, a, fill);
      }
      case ScalarOp::kEq: return m_.value(spv::OpIEqual, b, a);
      case ScalarOp::kNe: return m_.value(spv::OpINotEqual, b, a);
      case ScalarOp::kLt: return compare(spv::OpSLessThan, spv::OpULessThan);
      case ScalarOp::kLe: return compare(spv::OpSLessThanEqual, spv::OpULessThanEqual);
      case ScalarOp::kGt: return compare(spv::OpSGreaterThan, spv::OpUGreaterThan);
      case ScalarOp::kGe: return compare(spv::OpSGreaterThanEqual, spv::OpUGreaterThanEqual);
      default: return 0;
    }
  }

  // SPIR-V leaves x/0, minimum/-1 and shifts by the width undefined; Kernel IR defines them (ir/scalar_op.h).
  Id divide(DType d, const std::vector<Id>& a, bool remainder) {
    const Id t = type(d), b = bool_type();
    const int width = bits(d);
    const Id zero = int_const(width, 0), one = int_const(width, 1);
    const Id by_zero = m_.value(spv::OpIEqual, b, {a[1], zero});
    Id divisor = m_.value(spv::OpSelect, t, {by_zero, one, a[1]});
    if (!is_signed_int(d)) {
      const Id q = m_.value(remainder ? spv::OpUMod : spv::OpUDiv, t, {a[0], divisor});
      return m_.value(spv::OpSelect, t, {by_zero, zero, q});
    }
    const Id minus = m_.value(spv::OpIEqual, b, {divisor, int_const(width, -1)});
    const Id safe = m_.value(spv::OpSelect, t, {minus, one, divisor});
    const Id q = m_.value(remainder ? spv::OpSRem : spv::OpSDiv, t, {a[0], safe});
    const Id negated = remainder ? zero : m_.value(spv::OpSNegate, t, {a[0]});
    return m_.value(spv::OpSelect, t, {by_zero, zero, m_.value(spv::OpSelect, t, {minus, negated, q})});
  }

  Id floor_divide(DType d, const std::vector<Id>& a, bool remainder) {
    const Id quotient = divide(d, a, false), rest = divide(d, a, true);
    if (!is_signed_int(d)) return remainder ? rest : quotient;
    const Id t = type(d), b = bool_type();
    const int width = bits(d);
    const Id zero = int_const(width, 0);
    const Id inexact = m_.value(spv::OpINotEqual, b, {rest, zero});
    const Id signs = m_.value(spv::OpBitwiseXor, t, {rest, a[1]});
    const Id adjust = m_.value(spv::OpLogicalAnd, b, {inexact, m_.value(spv::OpSLessThan, b, {signs, zero})});
    const Id moved = remainder ? m_.value(spv::OpIAdd, t, {rest, a[1]})
                               : m_.value(spv::OpISub, t, {quotient, int_const(width, 1)});
    return m_.value(spv::OpSelect, t, {adjust, moved, remainder ? rest : quotient});
  }

  Id shift(spv::Op op, DType d, const std::vector<Id>& a, Id beyond) {
    const Id t = type(d);
    const int width = bits(d);
    const Id inside = m_.value(spv::OpULessThan, bool_type(), {a[1], int_const(width, width)});
    const Id amount = m_.value(spv::OpSelect, t, {inside, a[1], int_const(width, 0)});
    return m_.value(spv::OpSelect, t, {inside, m_.value(op, t, {a[0], amount}), beyond});
  }

  const Kernel& kernel_;
  const EmitOptions& options_;
  Module m_;
  Id glsl_ = 0, exit_ = 0, error_address_ = 0;
  std::vector<Id> ids_, buffers_, dims_;
};

}  // namespace

Result<std::vector<uint32_t>> emit(const kir::Kernel& kernel, const EmitOptions& options) {
  kir::Kernel expanded = kir::clone(kernel);
  kir::expand_math(expanded);
  return Emitter(expanded, options).run();
}

}  // namespace tenon::codegen::spirv
