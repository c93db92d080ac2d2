#pragma once

#include <llvm/IR/IRBuilder.h>

#include "codegen/kernel_ir.h"
#include "codegen/target.h"

namespace tenon::codegen {

/// Emits scalar operations on LLVM scalars or vectors alike. Values are held as: bool i1, ints iN, f32 float, f64
/// double, f16 and bf16 as the i16 of their bits.
class OpEmitter {
 public:
  OpEmitter(llvm::IRBuilder<>& builder, const Target& target);

  llvm::Type* register_type(DType dtype, int lanes);
  llvm::Type* storage_type(DType dtype, int lanes);  // as in memory: bool is a byte
  llvm::Value* from_storage(DType dtype, llvm::Value* value);
  llvm::Value* to_storage(DType dtype, llvm::Value* value);
  llvm::Constant* constant(DType dtype, ir::Scalar value);

  /// `dtype` is that of the operands (kSelect: of the branches); nullptr when the operation is not a basic one.
  llvm::Value* op(ir::ScalarOp op, DType dtype, llvm::ArrayRef<llvm::Value*> args);
  llvm::Value* cast(llvm::Value* value, DType from, DType to);
  llvm::Value* bitcast(llvm::Value* value, DType from, DType to);
  llvm::Value* combine(ir::Combiner combiner, DType dtype, llvm::Value* a, llvm::Value* b);
  ir::Scalar identity(ir::Combiner combiner, DType dtype);

 private:
  llvm::Type* like(llvm::Value* value, llvm::Type* element);
  llvm::Value* to_f32(llvm::Value* small, DType from);
  llvm::Value* from_f32(llvm::Value* value, DType to);
  llvm::Value* from_f64(llvm::Value* value, DType to);
  llvm::Value* half_bits_to_f32(llvm::Value* bits);
  llvm::Value* f32_to_half_bits(llvm::Value* value);
  llvm::Value* f64_to_f32_odd(llvm::Value* value);
  llvm::Value* float_op(ir::ScalarOp op, llvm::ArrayRef<llvm::Value*> args);
  llvm::Value* float_compare(ir::ScalarOp op, llvm::Value* a, llvm::Value* b);
  llvm::Value* float_min_max(bool max, llvm::Value* a, llvm::Value* b);
  llvm::Value* fma(llvm::Value* a, llvm::Value* b, llvm::Value* c);
  llvm::Value* fma_by_f64(llvm::Value* a, llvm::Value* b, llvm::Value* c);
  llvm::Value* int_op(ir::ScalarOp op, DType dtype, llvm::ArrayRef<llvm::Value*> args);
  llvm::Value* pairs_of_bf16(llvm::Value* a, llvm::Value* b, llvm::Value* c);
  llvm::Value* pairs_of_integers(llvm::Value* a, llvm::Value* b, llvm::Value* c);
  llvm::Value* dot4(ir::ScalarOp op, llvm::Value* a, llvm::Value* b, llvm::Value* c);
  llvm::Value* dot4_x86(llvm::Value* a, llvm::Value* b, llvm::Value* c);
  llvm::Value* sums_of_neighbours(llvm::Value* a, llvm::Value* b, unsigned add_pairs);
  llvm::Value* dot4_aarch64(ir::ScalarOp op, llvm::Value* a, llvm::Value* b, llvm::Value* c);
  struct Halves {
    llvm::Value *even, *odd;
  };
  Halves as_halves(llvm::Value* words, bool is_signed);
  llvm::Value* int_divide(ir::ScalarOp op, bool is_unsigned, llvm::Value* a, llvm::Value* b);
  llvm::Value* divide_by_reciprocal(ir::ScalarOp op, llvm::Value* a, llvm::Value* b);
  llvm::Value* shift(ir::ScalarOp op, bool is_unsigned, llvm::Value* a, llvm::Value* by);
  llvm::Value* float_to_int(llvm::Value* value, DType to);

  llvm::IRBuilder<>& b_;
  const Target& target_;
  bool has_fma_, has_half_conversions_, has_bf16_conversions_;
};

}  // namespace tenon::codegen
