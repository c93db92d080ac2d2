#pragma once

#include <memory>
#include <string_view>

#include "ir/graph.h"
#include "support/status.h"

namespace tenon::ir {

/// Reads the .tir text of ir/printer.h; `//` starts a comment. For any graph, to_text(*parse_text(to_text(g, full)), full)
/// is to_text(g, full). The text may be hostile: nesting, numbers and sizes are bounded, and the graph that comes out has
/// passed verify() without types. Errors (kInvalidModel) name line and column.
/// `ops`: what nodes may name beside the built-in ops.
Result<std::unique_ptr<Graph>> parse_text(std::string_view text, std::shared_ptr<const OpRegistry> ops = nullptr);

}  // namespace tenon::ir
