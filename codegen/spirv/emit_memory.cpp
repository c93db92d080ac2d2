#include <algorithm>

#include "codegen/spirv/emitter.h"

// Buffers of a kernel: bindings by device addresses, locals in shared memory, and their elements.
namespace tenon::codegen::spirv {

using kir::BufferSpace;
using kir::Inst;
using kir::InstKind;
using kir::Region;
using kir::ValueId;

/// An array of vectors serves wide accesses of one width; others take a component.
Status Emitter::find_vectors(const Region& region) {
  for (const auto& inst : region.insts) {
    const bool access = inst->kind == InstKind::kLoad || inst->kind == InstKind::kStore;
    if (access && inst->width > 1 && kernel_.buffers[static_cast<size_t>(inst->index)].space == BufferSpace::kLocal) {
      int& width = vectors_[static_cast<size_t>(inst->index)];
      if (width != 1 && width != inst->width)
        return error(Code::kUnsupported, "kernel {} takes a buffer in vectors of {} and of {}", kernel_.name, width, inst->width);
      width = inst->width;
    }
    for (const Region& inner : inst->regions) TENON_RETURN_IF_ERROR(find_vectors(inner));
  }
  return Status();
}

/// What is private to a grid index is the workgroup's where that executes one, else the invocation's.
Id Emitter::declare(const kir::BufferInfo& buffer) {
  if (buffer.space == BufferSpace::kBinding || buffer.space == BufferSpace::kTile) return 0;
  const int width = vectors_[static_cast<size_t>(&buffer - kernel_.buffers.data())];
  const Id element = vector_type(buffer.dtype == DType::kBool ? o_.int_type(8) : o_.type(buffer.dtype), width);
  const int64_t count = std::max<int64_t>(buffer.count / width, 1);
  if (cooperative() && buffer.space == BufferSpace::kLocal) return workgroup_array(element, bits(buffer.dtype) / 8 * width, count);
  return m_.local_variable(o_.pointer(spv::StorageClassFunction, m_.type(spv::OpTypeArray, {element, o_.int_const(32, count)})));
}

Id Emitter::workgroup_array(Id element, int bytes, int64_t count) {
  shared_bytes_ += bytes * count;
  const Id array = m_.type(spv::OpTypeArray, {element, o_.int_const(32, count)});
  interface_.push_back(m_.global_variable(o_.pointer(spv::StorageClassWorkgroup, array), spv::StorageClassWorkgroup));
  return interface_.back();
}

Id Emitter::load_address(Id address, Id value_type, int bytes) {
  const Id at = m_.value(spv::OpConvertUToPtr, o_.pointer(spv::StorageClassPhysicalStorageBuffer, value_type), {address});
  return m_.value(spv::OpLoad, value_type, {at, spv::MemoryAccessAlignedMask, static_cast<uint32_t>(bytes)});
}

Id Emitter::shared_element(int buffer, Id offset, int offset_bits, int width) {
  const kir::BufferInfo& info = kernel_.buffers[static_cast<size_t>(buffer)];
  const bool shared = cooperative() && info.space == BufferSpace::kLocal;
  const Id scalar = info.dtype == DType::kBool ? o_.int_type(8) : o_.type(info.dtype);
  const Id pointer = o_.pointer(shared ? spv::StorageClassWorkgroup : spv::StorageClassFunction, vector_type(scalar, width));
  const int vector = vectors_[static_cast<size_t>(buffer)];
  const Id array = buffers_[static_cast<size_t>(buffer)];
  if (vector == 1) return m_.value(spv::OpAccessChain, pointer, {array, offset});
  // Offsets are not negative, and vectors are of 2 or 4.
  const Id type = o_.int_type(offset_bits);
  Operands at{array, m_.value(spv::OpShiftRightLogical, type, {offset, o_.int_const(offset_bits, vector == 4 ? 2 : 1)})};
  if (width == 1) at.push_back(m_.value(spv::OpBitwiseAnd, type, {offset, o_.int_const(offset_bits, vector - 1)}));
  return m_.value(spv::OpAccessChain, pointer, at);
}

/// At a constant offset of what an invocation has alone: made once, before all else.
Id Emitter::private_element(int buffer, int64_t offset) {
  const kir::BufferInfo& info = kernel_.buffers[static_cast<size_t>(buffer)];
  std::vector<Id>& made = elements_[static_cast<size_t>(buffer)];
  made.resize(static_cast<size_t>(std::max<int64_t>(info.count, 1)));
  Id& id = made[static_cast<size_t>(offset)];
  if (id == 0)
    id = m_.first_value(spv::OpAccessChain, o_.pointer(spv::StorageClassFunction, info.dtype == DType::kBool ? o_.int_type(8) : o_.type(info.dtype)),
                        {buffers_[static_cast<size_t>(buffer)], o_.int_const(32, offset)});
  return id;
}

Id Emitter::element(int buffer, ValueId offset, int width) {
  const kir::BufferInfo& info = kernel_.buffers[static_cast<size_t>(buffer)];
  const bool alone = info.space == BufferSpace::kLane || (info.space == BufferSpace::kLocal && !cooperative());
  if (const Inst* at = constant(offset); alone && at != nullptr && vectors_[static_cast<size_t>(buffer)] == 1 && at->constant.i >= 0 && at->constant.i < info.count)
    return private_element(buffer, at->constant.i);
  if (info.space != BufferSpace::kBinding) return shared_element(buffer, id(offset), narrow(offset) ? 32 : 64, width);
  // Offsets are not negative where memory is accessed.
  const Id position = narrow(offset) && constant(offset) == nullptr ? m_.value(spv::OpUConvert, o_.int_type(64), {id(offset)}) : wide(offset);
  const Id bytes = m_.value(spv::OpIMul, o_.int_type(64), {position, o_.int_const(64, bits(info.dtype) / 8)});
  const Id address = m_.value(spv::OpIAdd, o_.int_type(64), {buffers_[static_cast<size_t>(buffer)], bytes});
  return m_.value(spv::OpConvertUToPtr, o_.pointer(spv::StorageClassPhysicalStorageBuffer, vector_type(o_.memory_type(info.dtype), width)),
                  {address});
}

void Emitter::load_wide(const Inst& inst) {
  const DType d = kernel_.buffers[static_cast<size_t>(inst.index)].dtype;
  const Id type = vector_type(o_.type(d), inst.width);
  const Id loaded =
      m_.value(spv::OpLoad, type, with_alignment(inst.index, {element(inst.index, inst.operands[0], inst.width)}, inst.width));
  for (uint32_t e = 0; e < static_cast<uint32_t>(inst.width); ++e)
    ids_[static_cast<size_t>(inst.results[e])] = m_.value(spv::OpCompositeExtract, o_.type(d), {loaded, e});
}

void Emitter::store_wide(const Inst& inst) {
  const Id type = vector_type(o_.type(kernel_.buffers[static_cast<size_t>(inst.index)].dtype), inst.width);
  Operands parts{};
  for (size_t o = 1; o < inst.operands.size(); ++o) parts.push_back(operand(inst, o));
  const Id value = m_.value(spv::OpCompositeConstruct, type, parts);
  m_.op(spv::OpStore, with_alignment(inst.index, {element(inst.index, inst.operands[0], inst.width), value}, inst.width));
}

Operands Emitter::with_alignment(int buffer, Operands operands, int width) const {
  const kir::BufferInfo& info = kernel_.buffers[static_cast<size_t>(buffer)];
  const bool others = matrices_ && info.written && (info.space == BufferSpace::kBinding || info.space == BufferSpace::kLocal);
  if (info.space == BufferSpace::kBinding) {
    operands.push_back(spv::MemoryAccessAlignedMask | (others ? kNonPrivatePointer : 0));
    operands.push_back(static_cast<uint32_t>(bits(info.dtype) / 8 * width));
  } else if (others) {
    operands.push_back(kNonPrivatePointer);
  }
  return operands;
}

Id Emitter::load(int buffer, ValueId offset) {
  const DType d = kernel_.buffers[static_cast<size_t>(buffer)].dtype;
  const Id at = element(buffer, offset);
  const Id raw = m_.value(spv::OpLoad, d == DType::kBool ? o_.int_type(8) : o_.type(d), with_alignment(buffer, {at}));
  return d == DType::kBool ? m_.value(spv::OpINotEqual, o_.bool_type(), {raw, o_.int_const(8, 0)}) : raw;
}

void Emitter::store(int buffer, ValueId offset, Id value) {
  const DType d = kernel_.buffers[static_cast<size_t>(buffer)].dtype;
  if (d == DType::kBool) value = m_.value(spv::OpSelect, o_.int_type(8), {value, o_.int_const(8, 1), o_.int_const(8, 0)});
  const Id at = element(buffer, offset);
  m_.op(spv::OpStore, with_alignment(buffer, {at, value}));
}

}  // namespace tenon::codegen::spirv
