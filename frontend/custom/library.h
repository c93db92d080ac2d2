#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "ir/op_registry.h"
#include "support/status.h"
#include "tenon/custom_op.h"

/// Custom ops: what a library registers through include/tenon/custom_op.h becomes OpDefs of a registry.
namespace tenon::frontend {

/// Loads a shared library and adds its ops. The library is native code with this process's rights: load only what is
/// trusted. It stays loaded while one of its ops lives. kNotFound: no such file; kInvalidArgument: it cannot be loaded,
/// does not export tenon_register_ops, is of another ABI, reports an error, or describes an op wrongly; then it adds
/// nothing.
Status load_custom_ops(const std::filesystem::path& library, ir::OpRegistry& registry);

/// Adds the ops that a function registers. `origin` names it in errors; `owner` keeps its code alive.
Status add_custom_ops(decltype(&tenon_register_ops) register_ops, const std::string& origin,
                      std::shared_ptr<void> owner, ir::OpRegistry& registry);

}  // namespace tenon::frontend
