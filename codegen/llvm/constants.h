#pragma once

#include <llvm/IR/Constants.h>

#include "support/dtype.h"

namespace tenon::codegen {

/// Constants of the type of `v`; a vector has the value in each lane.
inline llvm::Constant* int_like(llvm::Value* v, uint64_t bits) { return llvm::ConstantInt::get(v->getType(), bits); }
inline llvm::Constant* fp_like(llvm::Value* v, double value) { return llvm::ConstantFP::get(v->getType(), value); }

/// Floats that are held as their bits.
inline bool is_small_float(DType d) { return d == DType::kF16 || d == DType::kBF16; }

}  // namespace tenon::codegen
