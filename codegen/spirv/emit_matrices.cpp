#include "codegen/spirv/emitter.h"

// Tile instructions on matrix units: SPV_KHR_cooperative_matrix, and SPV_NV_cooperative_matrix2 where a workgroup holds a whole tile. The
// numbers are the extensions', since Debian 12's headers lack them.
namespace tenon::codegen::spirv {

using kir::Inst;
using kir::InstKind;
using kir::TileAccess;
using kir::ValueId;

namespace {

constexpr auto kCapability = static_cast<spv::Capability>(6022);  // CooperativeMatrixKHR
constexpr auto kTypeMatrix = static_cast<spv::Op>(4456), kLoadMatrix = static_cast<spv::Op>(4457),
               kStoreMatrix = static_cast<spv::Op>(4458), kMultiplyAdd = static_cast<spv::Op>(4459);
constexpr auto kElementFunctions = static_cast<spv::Capability>(5432);  // CooperativeMatrixPerElementOperationsNV
constexpr auto kForElements = static_cast<spv::Op>(5369);               // OpCooperativeMatrixPerElementOpNV
constexpr uint32_t kMatrixA = 0, kMatrixB = 1, kAccumulator = 2;                 // Cooperative Matrix Use
constexpr uint32_t kRowMajor = 0, kColumnMajor = 1;                              // Cooperative Matrix Layout
constexpr uint32_t kSignedA = 1, kSignedB = 2, kSignedC = 4, kSignedResult = 8;  // Cooperative Matrix Operands

}  // namespace

Id Emitter::matrix_type(DType d, int64_t rows, int64_t columns, uint32_t use) {
  const auto scope = matrices_->scope == MatrixScope::kWorkgroup ? spv::ScopeWorkgroup : spv::ScopeSubgroup;
  return m_.type(kTypeMatrix, {o_.type(d), o_.int_const(32, scope), o_.int_const(32, rows), o_.int_const(32, columns),
                               o_.int_const(32, use)});
}

/// Sums of all fragments of a tile are variables of an invocation, of which the scope's invocations together have the matrices.
void Emitter::declare_matrices() {
  m_.capability(kCapability);
  m_.capability(spv::CapabilityVulkanMemoryModel);
  m_.extension("SPV_KHR_cooperative_matrix");
  m_.memory_model(spv::MemoryModelVulkan);
  if (matrices_->scope == MatrixScope::kWorkgroup) {
    m_.capability(kElementFunctions);
    m_.extension("SPV_NV_cooperative_matrix2");
  }
  fragments_.resize(kernel_.buffers.size());
  for (size_t b = 0; b < kernel_.buffers.size(); ++b) {
    if (!matrices_->tiles[b]) continue;
    const MatrixTile& t = *matrices_->tiles[b];
    const Id type = matrix_type(t.shape.sum, t.shape.m, t.shape.n, kAccumulator);
    for (int64_t f = 0; f < t.fragments_down() * t.fragments_across(); ++f)
      fragments_[b].push_back(m_.local_variable(o_.pointer(spv::StorageClassFunction, type)));
  }
}

/// Where this subgroup's block of each tile begins; a workgroup's is the tile.
void Emitter::find_blocks() {
  blocks_.resize(kernel_.buffers.size());
  if (matrices_->scope == MatrixScope::kWorkgroup) return;
  const Id u32 = o_.int_type(32);
  m_.capability(spv::CapabilityGroupNonUniform);
  if (subgroup_ == 0) subgroup_ = builtin(spv::BuiltInSubgroupId, u32);
  const Id subgroup = m_.value(spv::OpLoad, u32, {subgroup_});
  for (size_t b = 0; b < kernel_.buffers.size(); ++b) {
    if (!matrices_->tiles[b]) continue;
    const MatrixTile& t = *matrices_->tiles[b];
    const Id across = o_.int_const(32, t.across);
    const Id down = m_.value(spv::OpUDiv, u32, {subgroup, across}), right = m_.value(spv::OpUMod, u32, {subgroup, across});
    blocks_[b] = {m_.value(spv::OpIMul, u32, {down, o_.int_const(32, t.block_rows)}),
                  m_.value(spv::OpIMul, u32, {right, o_.int_const(32, t.block_columns)})};
  }
}

Id Emitter::in_32_bits(ValueId v) { return narrow(v) ? id(v) : m_.value(spv::OpUConvert, o_.int_type(32), {id(v)}); }

/// The pointer to element (r + i, c + j) of a matrix in shared memory; r or c of 0 is none. Where the array is of vectors, the vector that
/// begins with it.
Id Emitter::matrix_element(const TileAccess& access, Id offset, Id r, int64_t i, Id c, int64_t j) {
  const auto plus = [&](Id x, int64_t n) {
    if (x == 0) return o_.int_const(32, n);
    return n == 0 ? x : m_.value(spv::OpIAdd, o_.int_type(32), {x, o_.int_const(32, n)});
  };
  return shared_element(access.buffer, place(access, offset, plus(r, i), plus(c, j)), 32, vectors_[static_cast<size_t>(access.buffer)]);
}

/// The pointer to element (row, column) alone.
Id Emitter::element_of(const TileAccess& access, Id offset, Id row, Id column) {
  return shared_element(access.buffer, place(access, offset, row, column), 32, 1);
}

Id Emitter::place(const TileAccess& access, Id offset, Id row, Id column) {
  const Id u32 = o_.int_type(32);
  const Id far = m_.value(spv::OpIMul, u32, {access.transposed ? column : row, o_.int_const(32, access.stride)});
  const Id within = m_.value(spv::OpIAdd, u32, {far, access.transposed ? row : column});
  return m_.value(spv::OpIAdd, u32, {offset, within});
}

/// In units of what the pointer is to: vectors where the array is of those.
Id Emitter::matrix_stride(const TileAccess& access) {
  return o_.int_const(32, access.stride / vectors_[static_cast<size_t>(access.buffer)]);
}

Id Emitter::load_matrix(Id type, const TileAccess& access, Id pointer) {
  const Id layout = o_.int_const(32, access.transposed ? kColumnMajor : kRowMajor);
  return m_.value(kLoadMatrix, type, {pointer, layout, matrix_stride(access), kNonPrivatePointer});
}

void Emitter::emit_tile(const Inst& inst) {
  note(inst);
  const auto b = static_cast<size_t>(inst.index);
  const MatrixTile& t = *matrices_->tiles[b];
  const Id type = matrix_type(t.shape.sum, t.shape.m, t.shape.n, kAccumulator);
  if (inst.kind == InstKind::kTileMma) return multiply(inst, t, type);
  if (inst.kind == InstKind::kTileFill) {
    const Id filled = m_.value(spv::OpCompositeConstruct, type, {operand(inst, 0)});
    for (Id fragment : fragments_[b]) m_.op(spv::OpStore, {fragment, filled});
    return;
  }
  if (matrices_->scope == MatrixScope::kWorkgroup) return store_elements(inst, t, type);
  // Fragments whose rows are among those asked for; a subgroup's invocations decide alike.
  const Id u32 = o_.int_type(32), offset = in_32_bits(inst.operands[0]);
  const bool whole = inst.depth == t.rows;
  const Id first = whole ? 0 : in_32_bits(inst.operands[1]);
  for (int64_t i = 0; i < t.fragments_down(); ++i) {
    Id row = m_.value(spv::OpIAdd, u32, {blocks_[b].row, o_.int_const(32, i * t.shape.m)});
    if (!whole) row = m_.value(spv::OpISub, u32, {row, first});
    const auto write = [&] {
      for (int64_t j = 0; j < t.fragments_across(); ++j) {
        const Id value = m_.value(spv::OpLoad, type, {fragments_[b][static_cast<size_t>(i * t.fragments_across() + j)]});
        const Id to = matrix_element(inst.tiles[0], offset, row, 0, blocks_[b].column, j * t.shape.n);
        m_.op(kStoreMatrix, {to, value, o_.int_const(32, kRowMajor), matrix_stride(inst.tiles[0]), kNonPrivatePointer});
      }
    };
    // Rows before the first wrap around, and are as far beyond.
    if (whole)
      write();
    else
      when(m_.value(spv::OpULessThan, o_.bool_type(), {row, o_.int_const(32, inst.depth)}), write);
  }
}

/// A matrix of a workgroup is stored whole or not at all, so a function that is called for each of its elements stores those in the rows
/// asked for. It may be called several times for one, which then is stored several times.
void Emitter::store_elements(const Inst& inst, const MatrixTile& t, Id type) {
  const Id u32 = o_.int_type(32), element = o_.type(t.shape.sum);
  const TileAccess& to = inst.tiles[0];
  const Id store = m_.function(element, {{u32, u32, element, u32, u32}}, [&](std::span<const Id> p) {  // row, column, element, first row, offset
    const Id row = m_.value(spv::OpISub, u32, {p[0], p[3]});
    // Rows before the first wrap around, and are as far beyond.
    when(m_.value(spv::OpULessThan, o_.bool_type(), {row, o_.int_const(32, inst.depth)}),
         [&] { m_.op(spv::OpStore, shared({element_of(to, p[4], row, p[1]), p[2]})); });
    return p[2];
  });
  const Id sums = m_.value(spv::OpLoad, type, {fragments_[static_cast<size_t>(inst.index)][0]});
  m_.value(kForElements, type, {sums, store, in_32_bits(inst.operands[1]), in_32_bits(inst.operands[0])});
}

/// Sums += A × B, fragment by fragment: for each step along K all of the block's rows of A meet all of its columns of B.
void Emitter::multiply(const Inst& inst, const MatrixTile& t, Id type) {
  const auto b = static_cast<size_t>(inst.index);
  const Id a_type = matrix_type(t.shape.a, t.shape.m, t.shape.k, kMatrixA), b_type = matrix_type(t.shape.b, t.shape.k, t.shape.n, kMatrixB);
  const bool integers = !is_float(t.shape.sum);
  const uint32_t signs = integers ? (is_signed_int(t.shape.a) ? kSignedA : 0) | (is_signed_int(t.shape.b) ? kSignedB : 0) |
                                        (is_signed_int(t.shape.sum) ? kSignedC | kSignedResult : 0)
                                  : 0;
  const Id a_offset = in_32_bits(inst.operands[0]), b_offset = in_32_bits(inst.operands[1]);
  std::vector<Id> sums;
  for (Id fragment : fragments_[b]) sums.push_back(m_.value(spv::OpLoad, type, {fragment}));
  for (int64_t k = 0; k < inst.depth; k += t.shape.k) {
    std::vector<Id> rows, columns;
    for (int64_t i = 0; i < t.fragments_down(); ++i)
      rows.push_back(
          load_matrix(a_type, inst.tiles[0], matrix_element(inst.tiles[0], a_offset, blocks_[b].row, i * t.shape.m, 0, k)));
    for (int64_t j = 0; j < t.fragments_across(); ++j)
      columns.push_back(
          load_matrix(b_type, inst.tiles[1], matrix_element(inst.tiles[1], b_offset, 0, k, blocks_[b].column, j * t.shape.n)));
    for (size_t i = 0; i < rows.size(); ++i)
      for (size_t j = 0; j < columns.size(); ++j) {
        Id& sum = sums[i * columns.size() + j];
        sum = signs == 0 ? m_.value(kMultiplyAdd, type, {rows[i], columns[j], sum})
                         : m_.value(kMultiplyAdd, type, {rows[i], columns[j], sum, signs});
      }
  }
  for (size_t f = 0; f < sums.size(); ++f) m_.op(spv::OpStore, {fragments_[b][f], sums[f]});
}

}  // namespace tenon::codegen::spirv
