#pragma once

#include <array>
#include <vector>

#include "codegen/spirv/module.h"
#include "ir/compute.h"
#include "ir/scalar_op.h"
#include "support/dtype.h"

namespace tenon::codegen::spirv {

/// Types, constants, conversions and operations of Kernel IR as SPIR-V instructions at a module's insertion point. Bools are OpTypeBool
/// in registers and bytes in memory, bf16 its 16 bits; integers have no signedness.
class Ops {
 public:
  /// `dot_product`: the device has SPV_KHR_integer_dot_product.
  Ops(Module& module, bool dot_product) : m_(module), dot_product_(dot_product) {}

  Id int_type(int width);
  Id float_type(int width);
  Id bool_type();
  Id type(DType d);
  Id memory_type(DType d);
  Id pointer(spv::StorageClass storage, Id pointee);
  Id int_const(int width, int64_t value);
  Id constant(DType d, const ir::Scalar& value);

  /// Value conversion as ir::cast_scalar.
  Id cast(Id value, DType from, DType to);
  Id sign_extend(Id value, int from);
  Id bitcast(Id value, DType from, DType to);
  /// `op` on operands of dtype `d` (of a select: of its choices), as ir/scalar_op.h defines it; 0: SPIR-V has no form for it.
  Id apply(ir::ScalarOp op, DType d, std::span<const Id> a);
  Id apply(ir::ScalarOp op, DType d, std::initializer_list<Id> a) { return apply(op, d, std::span(a.begin(), a.size())); }

 private:
  Id float_to_int(Id value, DType from, DType to);
  Id bfloat16_to_f32(Id value);
  Id f32_to_bfloat16(Id value);
  Id bool_op(ir::ScalarOp op, std::span<const Id> a);
  Id extended(uint32_t instruction, Id t, std::span<const Id> a);
  Id round_f64(Id x);
  Id exact(spv::Op op, Id t, std::span<const Id> a);
  Id float_op(ir::ScalarOp op, DType d, std::span<const Id> a);
  Id nan_aware(spv::Op wins, Id t, std::span<const Id> a);
  Id int_op(ir::ScalarOp op, DType d, std::span<const Id> a);
  Id sign(DType d, Id x);
  Id divide(DType d, std::span<const Id> a, bool remainder);
  Id floor_divide(DType d, std::span<const Id> a, bool remainder);
  Id dot4(ir::ScalarOp op, Id t, std::span<const Id> a);
  Id shift(spv::Op op, DType d, std::span<const Id> a, Id beyond);
  bool is(uint8_t fact, Id id) const { return id < facts_.size() && (facts_[id] & fact) != 0; }

  Module& m_;
  bool dot_product_;
  Id glsl_ = 0;
  std::array<Id, 4> int_types_{}, float_types_{};  // of 8, 16, 32 and 64 bits; 0: not yet made
  Id bool_ = 0;
  static constexpr uint8_t kDivisor = 1, kShift = 2;  // neither 0 nor -1; less than the width
  std::vector<uint8_t> facts_;                        // of integer constants, by id
};

}  // namespace tenon::codegen::spirv
