#pragma once

#include <filesystem>
#include <string_view>

#include "backends/backend.h"

namespace tenon::eval {

/// What `tenon compile --tune` found, in a file beside the model: MODEL.tuning.json,
///
///     {"kind": "tuning", "version": 1, "target": what the choices were measured on, "threads": N,
///      "choices": [{"what": signature, "rows": R, "vectors": V, "m_block": M, "winograd": W} …]}
///
/// where members of a choice that are 0 are left out.
std::filesystem::path tuning_path(const std::filesystem::path& model);

/// kInvalidArgument, naming the member, for a file that is not of this form. A choice that schedules cannot take is ignored by them.
Result<codegen::Tuning> parse_tuning(std::string_view text, std::string_view target);
/// As text of such a file.
std::string tuning_text(const codegen::Tuning& tuning, std::string_view target, int threads);

/// Sets `compile.tuning` from the file beside the model, where the backend takes it, there is one for the target of `compile` and none is
/// set. One that cannot be used is a warning, once for a file: models run without it.
void use_tuning(const std::filesystem::path& model, const backends::Backend& backend, backends::CompileOptions& compile);

}  // namespace tenon::eval
