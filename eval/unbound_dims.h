#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "ir/graph.h"

/// Symbolic dims of a model's inputs that nobody gave a size, of a graph that came from the file `model`; those of inputs that are `given`
/// have theirs from them.
namespace tenon::eval {

/// "batch, length at 1 (bind with --dim NAME=N)": those without a name in the model are bound by the input's --shape. Without the advice for
/// a .tir file, which takes none; empty when there are no such dims.
std::string unbound_dims(const ir::Graph& graph, const std::filesystem::path& model, std::span<const std::string> given = {});

/// The error of a run on random inputs: where such dims were 1 for it, and the error may come of that, its advice is to give them sizes.
Status advise_sizes(Status failed, const ir::Graph& graph, const std::filesystem::path& model, std::span<const std::string> given = {});

}  // namespace tenon::eval
