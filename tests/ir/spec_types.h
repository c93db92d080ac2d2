#pragma once

#include <string>
#include <vector>

#include "ir/op.h"

/// The types that ONNX allows each op's inputs and outputs (docs/Operators.md and Operators-ml.md at opset 28 and 5).
namespace tenon::ir::testing {

/// Parameters that have one type, and what that may be: `f32`, `seq(f32)`, `opt(f32)`, `opt(seq(f32))`, `map(i64,f32)`.
struct SpecVariable {
  std::vector<std::string> params;  // "<0" is input 0, ">1" output 1
  std::vector<std::string> types;
};
struct SpecOp {
  std::string name;  // with its domain unless it is ai.onnx
  std::vector<SpecVariable> variables;
  int64_t version = 0;  // the last one before ONNX deprecated the op; 0: the newest
};
std::vector<SpecOp> spec_ops();

/// The types that words stand for: dtypes, groups ("int uint float f8 x4 x2 complex any"), `seq`, `opt`, `optseq` of
/// the tensors that are older than bfloat16.
std::vector<std::string> types_of(const std::string& words);

/// The dtypes of a type that is a tensor, a set of one; 0 for others.
DTypeSet tensor_dtype(const std::string& type);

/// Why a type that the specification lists means nothing on this variable; empty when it does.
std::string_view meaningless(std::string_view op, const std::string& type);

}  // namespace tenon::ir::testing
