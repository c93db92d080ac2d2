#pragma once

#include <span>
#include <string_view>

#include "ir/op.h"

namespace tenon::passes {

/// A local rewrite of a node with one used output: the value that takes its place, built with `builder` where it is new,
/// or null when the rule does not apply. A rule keeps the output's type and its values (a zero may change its sign).
struct Rule {
  std::string_view op;
  ir::Value* (*apply)(ir::Node& node, ir::Builder& builder);
};

std::span<const Rule> arithmetic_rules();  // neutral operands, casts, involutions, arithmetic on dims
std::span<const Rule> shape_rules();       // transpose, reshape, expand, slice, pad, concat, split, tile
std::span<const Rule> sequence_rules();    // elements of sequences whose making the graph shows

}  // namespace tenon::passes
