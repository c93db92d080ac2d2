#include <algorithm>

#include "codegen/spirv/emitter.h"

// Kernels whose grid indices are executed by workgroups: lane loops, what lanes make together, barriers.
namespace tenon::codegen::spirv {

using ir::ScalarOp;
using kir::BufferSpace;
using kir::Combiner;
using kir::Inst;
using kir::InstKind;
using kir::Region;

namespace {

ScalarOp operation(Combiner combiner) {
  switch (combiner) {
    case Combiner::kMul: return ScalarOp::kMul;
    case Combiner::kMin: return ScalarOp::kMin;
    case Combiner::kMax: return ScalarOp::kMax;
    case Combiner::kAnd: return ScalarOp::kAnd;
    case Combiner::kOr: return ScalarOp::kOr;
    default: return ScalarOp::kAdd;
  }
}

}  // namespace

// ---- accesses --------------------------------------------------------------------------------------------------------

void Accesses::add(const Accesses& other) {
  for (size_t b = 0; b < reads.size(); ++b) reads[b] |= other.reads[b], writes[b] |= other.writes[b];
}

bool Accesses::conflicts(const Accesses& later) const {
  for (size_t b = 0; b < reads.size(); ++b)
    if ((writes[b] && (later.reads[b] || later.writes[b])) || (reads[b] && later.writes[b])) return true;
  return false;
}

Accesses Emitter::accesses_of(const Inst& inst) const {
  Accesses all(kernel_.buffers.size());
  add_accesses(inst, all);
  return all;
}

/// What lanes have alone, and what nobody writes, never conflicts.
void Emitter::add_accesses(const Inst& inst, Accesses& to) const {
  if (inst.kind == InstKind::kLoad || inst.kind == InstKind::kStore) {
    const kir::BufferInfo& buffer = kernel_.buffers[static_cast<size_t>(inst.index)];
    if (buffer.space != BufferSpace::kLane && buffer.written && inst.index != options_.log)
      (inst.kind == InstKind::kLoad ? to.reads : to.writes)[static_cast<size_t>(inst.index)] = 1;
  }
  for (const kir::TileAccess& tile : inst.tiles)
    if (kernel_.buffers[static_cast<size_t>(tile.buffer)].written)
      (inst.kind == InstKind::kTileMma ? to.reads : to.writes)[static_cast<size_t>(tile.buffer)] = 1;
  for (const Region& region : inst.regions)
    for (const auto& inner : region.insts) add_accesses(*inner, to);
}

void Emitter::settle(const Accesses& next) {
  if (pending_.conflicts(next)) barrier();
}

void Emitter::note(const Inst& access) {
  if (!uniform()) return;
  const Accesses made = accesses_of(access);
  settle(made);
  pending_.add(made);
}

void Emitter::barrier() {
  int64_t semantics =
      int64_t{spv::MemorySemanticsAcquireReleaseMask} + spv::MemorySemanticsUniformMemoryMask + spv::MemorySemanticsWorkgroupMemoryMask;
  if (matrices_) semantics += int64_t{spv::MemorySemanticsMakeAvailableMask} + spv::MemorySemanticsMakeVisibleMask;
  const Id scope = o_.int_const(32, spv::ScopeWorkgroup);
  m_.op(spv::OpControlBarrier, {scope, scope, o_.int_const(32, semantics)});
  std::fill(pending_.reads.begin(), pending_.reads.end(), 0);
  std::fill(pending_.writes.begin(), pending_.writes.end(), 0);
}

// ---- lanes -----------------------------------------------------------------------------------------------------------

/// Lane l takes iterations l, l + lanes …; each begins with the combiners' identities, and what the loop was given comes in once.
Status Emitter::emit_lane_loop(const Inst& inst) {
  const Accesses all = accesses_of(inst);
  settle(all);
  const size_t carried = inst.operands.size() - 2;
  std::vector<Id> inits, results;
  for (size_t c = 0; c < carried; ++c) {
    const DType d = operand_dtype(inst, c + 2);
    inits.push_back(o_.constant(d, ir::identity(inst.combiners[c], d)));
  }
  const int width = narrow_[static_cast<size_t>(inst.regions[0].args[0])] ? 32 : 64;
  const Id t = o_.int_type(width), lane = width == 32 ? lane_ : m_.value(spv::OpUConvert, t, {lane_});
  const Id offset = inst.step == 1 ? lane : m_.value(spv::OpIMul, t, {lane, o_.int_const(width, inst.step)});
  const Id first = m_.value(spv::OpIAdd, t, {bound(inst, 0), offset});
  in_lanes_ = true;
  const Status done = one_trip(inst) ? emit_trip(inst, first, inits, results) : emit_loop(inst, first, inst.step * kernel_.lanes, inits, results, nullptr);
  in_lanes_ = false;
  TENON_RETURN_IF_ERROR(done);
  pending_.add(all);
  for (size_t c = 0; c < carried; ++c) {
    const DType d = operand_dtype(inst, c + 2);
    const Id together = reduce(inst.combiners[c], d, results[c]);
    const Id result = together == 0 ? 0 : o_.apply(operation(inst.combiners[c]), d, {operand(inst, c + 2), together});
    if (result == 0) return error(Code::kUnsupported, "lanes cannot combine {} (kernel {})", name(d), kernel_.name);
    ids_[static_cast<size_t>(inst.results[c])] = result;
  }
  return Status();
}

/// Whether each lane has exactly one iteration.
bool Emitter::one_trip(const Inst& loop) const {
  const Inst *lo = constant(loop.operands[0]), *hi = constant(loop.operands[1]);
  return lo != nullptr && hi != nullptr && hi->constant.i - lo->constant.i == loop.step * kernel_.lanes;
}

Status Emitter::emit_trip(const Inst& loop, Id index, std::span<const Id> inits, std::vector<Id>& results) {
  const Region& body = loop.regions[0];
  ids_[static_cast<size_t>(body.args[0])] = index;
  for (size_t i = 0; i < inits.size(); ++i) ids_[static_cast<size_t>(body.args[i + 1])] = inits[i];
  TENON_RETURN_IF_ERROR(emit_region(body));
  results = wide(body.yields);
  return Status();
}

Id Emitter::reduce(Combiner combiner, DType d, Id value) {
  const ScalarOp op = operation(combiner);
  const bool word = bits(d) == 32 && d != DType::kBool;
  const bool shuffles = word && options_.subgroup_size > 1 && kernel_.lanes % options_.subgroup_size == 0;
  return shuffles ? reduce_subgroups(op, d, value) : reduce_in_memory(op, d, value);
}

Id Emitter::scratch_element(DType d, Id array, Id index) {
  return m_.value(spv::OpAccessChain, o_.pointer(spv::StorageClassWorkgroup, o_.type(d)), {array, index});
}

/// An array of an element for each lane, shared by all that is combined.
static Id find_scratch(const std::vector<std::pair<Id, Id>>& made, Id type) {
  const auto found = std::find_if(made.begin(), made.end(), [&](const auto& entry) { return entry.first == type; });
  return found == made.end() ? 0 : found->second;
}

/// Halves the lanes until one is left.
Id Emitter::reduce_in_memory(ScalarOp op, DType d, Id value) {
  const Id t = o_.type(d), u32 = o_.int_type(32);
  Id array = find_scratch(scratch_, t);
  if (array == 0) {
    array = workgroup_array(t, std::max(1, bits(d) / 8), kernel_.lanes);
    scratch_.emplace_back(t, array);
  }
  barrier();  // until all have read what was there, in an earlier trip of a loop perhaps
  m_.op(spv::OpStore, shared({scratch_element(d, array, lane_), value}));
  bool known = true;
  for (int half = kernel_.lanes / 2; half > 0; half /= 2) {
    barrier();
    when(m_.value(spv::OpSLessThan, o_.bool_type(), {lane_, o_.int_const(32, half)}), [&] {
      const Id mine = scratch_element(d, array, lane_);
      const Id other = scratch_element(d, array, m_.value(spv::OpIAdd, u32, {lane_, o_.int_const(32, half)}));
      const Id x = m_.value(spv::OpLoad, t, shared({mine})), y = m_.value(spv::OpLoad, t, shared({other}));
      const Id both = o_.apply(op, d, {x, y});
      known = known && both != 0;
      if (both != 0) m_.op(spv::OpStore, shared({mine, both}));
    });
  }
  barrier();
  const Id result = m_.value(spv::OpLoad, t, shared({scratch_element(d, array, o_.int_const(32, 0))}));
  return known ? result : 0;
}

/// A butterfly of shuffles in each subgroup, then the subgroups' results one by one, so that all lanes come to the same bits.
Id Emitter::reduce_subgroups(ScalarOp op, DType d, Id value) {
  m_.capability(spv::CapabilityGroupNonUniform);
  m_.capability(spv::CapabilityGroupNonUniformShuffle);
  const Id t = o_.type(d), u32 = o_.int_type(32), scope = o_.int_const(32, spv::ScopeSubgroup);
  for (int distance = 1; distance < options_.subgroup_size; distance *= 2) {
    const Id other = m_.value(spv::OpGroupNonUniformShuffleXor, t, {scope, value, o_.int_const(32, distance)});
    value = o_.apply(op, d, {value, other});
    if (value == 0) return 0;
  }
  const int subgroups = kernel_.lanes / options_.subgroup_size;
  if (subgroups == 1) return value;
  if (subgroup_ == 0) subgroup_ = builtin(spv::BuiltInSubgroupId, u32);
  if (subgroup_lane_ == 0) subgroup_lane_ = builtin(spv::BuiltInSubgroupLocalInvocationId, u32);
  Id array = find_scratch(scratch_, t);
  if (array == 0) {
    array = workgroup_array(t, bits(d) / 8, kernel_.lanes);
    scratch_.emplace_back(t, array);
  }
  barrier();
  const Id lane = m_.value(spv::OpLoad, u32, {subgroup_lane_});
  when(m_.value(spv::OpIEqual, o_.bool_type(), {lane, o_.int_const(32, 0)}), [&] {
    m_.op(spv::OpStore, shared({scratch_element(d, array, m_.value(spv::OpLoad, u32, {subgroup_})), value}));
  });
  barrier();
  Id result = m_.value(spv::OpLoad, t, shared({scratch_element(d, array, o_.int_const(32, 0))}));
  for (int s = 1; s < subgroups; ++s)
    result = o_.apply(op, d, {result, m_.value(spv::OpLoad, t, shared({scratch_element(d, array, o_.int_const(32, s))}))});
  return result;
}

}  // namespace tenon::codegen::spirv
