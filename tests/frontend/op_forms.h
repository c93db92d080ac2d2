#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/frontend/model_builder.h"

/// A node of every op in every form that an opset gave it, as text.
namespace tenon::frontend::testing {

/// Holds from version `since` of the op to the next form of the same op.
///
/// Inputs: `f32[2,3]` a graph input with values of its own, `i64{1,2}` and `i64:3` constants of rank 1 and 0
/// (`i64{1,2}[2,1]` of another), `-` an absent one, `seq(f32[2])` a sequence of two such tensors, `opt(f32[2])` an
/// optional, `map(string,f32)` a map as graph input. Attributes: `axis=1`, `alpha=0.5` (a point makes a float),
/// `mode=linear`, lists `[1,2]`, tensors `f32{1,2}`, types `type=<f32[2]>`, graphs `body=@NAME` or `body=@NAME:TYPE`.
struct OpForm {
  std::string_view ops;  // names separated by spaces, with their domain unless it is ai.onnx
  int64_t since;
  std::string_view inputs, attrs = {};
  int outputs = 1;
};
std::span<const OpForm> op_forms();

/// The form in force at a version; null when there is none.
const OpForm* find_form(std::string_view qualified, int64_t version);

/// A model of one node, with values for its graph inputs: small integers, floats in [-2, 2), complex numbers x + (x + 10)i.
struct OpModel {
  Model model;
  std::vector<HostValue> inputs;
  /// Of each graph input: the input of the node that it makes or is part of, -1 for a constant of the form.
  std::vector<int> operands;
};
/// `constants_as_inputs`: constants are graph inputs too, with the same values.
OpModel op_model(std::string_view domain, std::string_view op, int64_t version, const OpForm& form,
                 bool constants_as_inputs = false);

}  // namespace tenon::frontend::testing
