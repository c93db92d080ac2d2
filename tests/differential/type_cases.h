#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/frontend/op_forms.h"
#include "tests/ir/spec_types.h"

/// Models of one node with every type that ONNX allows it.
namespace tenon::differential {

struct TypeCase {
  std::string text;                      // the node: inputs, attributes
  std::map<size_t, std::string> varied;  // type variable of the op → the type it has here
  std::vector<std::string> input_types;  // of the node's inputs; "" for an absent one
  frontend::testing::OpModel model;
  std::vector<HostValue> extreme;  // inputs with the ends of integer types, NaN, infinities; empty for other types
  /// The same values in the widest float that the varied variables can have: what the op gives there is exact where the
  /// results are small integers, so it tells what every other type must give.
  std::optional<frontend::testing::OpModel> wide;
};

/// The type variable of an input ('<') or output ('>') of a node; the last one may be variadic.
std::optional<size_t> variable_of(const ir::testing::SpecOp& op, char side, size_t i);

/// One variable after the other takes all its types; together where the op relates them (Cast, QuantizeLinear).
std::vector<TypeCase> type_cases(const ir::testing::SpecOp& op);
/// Of the forms that older versions gave the op, with the floats that every version has.
std::vector<TypeCase> old_cases(const ir::testing::SpecOp& op);

}  // namespace tenon::differential
