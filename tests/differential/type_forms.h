#pragma once

#include <span>

namespace tenon::differential {

/// A form of an op with types left open: `$1` is the dtype of type variable 1, `#1` its number in ONNX, `%1[2]` a value
/// of its type, sequence or optional included, with shape [2]. Inputs without them take the types of their variables.
/// `only`: types of the form's first variable that has more than one; all when empty.
struct OpenForm {
  const char *ops, *inputs, *attrs = "";
  int outputs = 1;
  const char* only = "";
};

/// Of the ops whose newest model in op_forms.h leaves a type variable out, means nothing on some types, or is shorter
/// than a vector.
std::span<const OpenForm> open_forms();

}  // namespace tenon::differential
