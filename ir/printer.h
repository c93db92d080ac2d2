#pragma once

#include <string>

#include "ir/graph.h"

namespace tenon::ir {

struct PrintOptions {
  /// Constants of more elements print as `blob<type, hash, bytes>`, which does not parse; in the full form as
  /// `hex<type, bytes>`, so that any graph can be read again.
  int64_t max_elements = 64;
  bool full = false;
};

/// The .tir text of a graph:
///
///     graph "classifier" {
///       meta "producer" = "pytorch"
///       symbol "N" [1, 16]
///       input %x: f32[N, 3]
///       %w: f32[3] = Constant {value = dense<f32[3], 1.0, 2.0, 3.0>}
///       %s: i64[2] @[N, 3] = Shape(%x) "node name"
///       %y: f32[N, 3] = Mul(%x, %w)
///       output %y as "scores"
///     }
///
/// An absent operand is `_`. Regions follow the attributes as `region { … }`. `@[…]` are known dim values. The node's
/// name follows when it is not that of its first output. Integer lists are `[1, 2]`, others `floats[…]`, `strings[…]`,
/// `dims[…]`, `tensors[…]`, `type<…>`. Every symbol whose bounds are not the default has a `symbol` line.
std::string to_text(const Graph& graph, const PrintOptions& options = {});
/// One node with its regions, without a line break at the end.
std::string to_text(const Node& node, const PrintOptions& options = {});

}  // namespace tenon::ir
