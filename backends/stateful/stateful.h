#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "ir/graph.h"

namespace tenon::backends {

/// The pairs that a graph says itself: an output that is an input with something behind it (a concatenation), or with elements replaced (a
/// scatter). Names play no part. `graph` stays as it is.
Result<std::vector<StatePair>> find_states(const ir::Graph& graph, const Interrupt& interrupt);

/// An executable whose sessions keep these states: they take the other inputs, give the other outputs, in order, and have Session::states().
/// kInvalidArgument when a pair names what is not there, or two things that cannot be one.
///
/// A state that a concatenation makes longer lies in memory with room behind it, where a backend can write to that
/// (Backend::updates_inputs): a run then writes the new elements, and readers take past and present from where they are. All others
/// are passed on from one run to the next, but those of fixed size whose elements a scatter replaces: it writes to them. A run of such
/// a model that fails after it began leaves these unusable until they are set or reset.
Result<std::shared_ptr<const Executable>> compile_stateful(const Backend& backend, std::unique_ptr<ir::Graph> graph, const CompileOptions& options,
                                                           std::span<const StatePair> pairs);

/// Backend::save of what compile_stateful() made with CompileOptions::keep_code, with or without states.
Result<SavedExecutable> save_stateful(const Backend& backend, const Executable& executable);
/// The executable of these bytes, whose states are `pairs`. kInvalidArgument when they are damaged.
Result<std::shared_ptr<const Executable>> restore_stateful(const Backend& backend, std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights,
                                                           const CompileOptions& options, std::span<const StatePair> pairs);

}  // namespace tenon::backends
