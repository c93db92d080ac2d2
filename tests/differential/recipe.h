#pragma once

#include <vector>

#include "maker.h"

/// Random cases of ops whose inputs must fit together or whose attributes matter, a function a family.
namespace tenon::differential {

using ir::Attr;
using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using Attrs = std::vector<std::pair<std::string_view, Attr>>;

struct Recipe {
  const char* name;
  void (*make)(Maker&);
  int rounds = 6;
};

inline int64_t i64(bool b) { return b ? 1 : 0; }

std::vector<Recipe> core_recipes();       // contractions, windows, reductions, movement, conversion, recurrent
std::vector<Recipe> shape_recipes();      // generators, scatter, dynamic shapes, losses
std::vector<Recipe> image_recipes();      // sampling, boxes, unpooling
std::vector<Recipe> attention_recipes();  // attention and the norms around it, ONNX's and ONNX Runtime's
std::vector<Recipe> quantized_recipes();
std::vector<Recipe> signal_recipes();    // windows, Fourier transforms, random numbers, small matrices
std::vector<Recipe> sequence_recipes();  // sequences, optionals, control flow, strings
std::vector<Recipe> ml_recipes();        // ai.onnx.ml
std::vector<Recipe> contrib_recipes();  // com.microsoft
std::vector<Recipe> all_recipes();

/// Whether table_test.cpp makes cases of this op by itself: elementwise ops, and ops of one input that need no
/// attribute.
bool made_from_its_entry(const ir::OpDef& op);

}  // namespace tenon::differential
