#pragma once

#include <unordered_map>
#include <unordered_set>

#include "ir/dim.h"
#include "runtime/plan.h"

namespace tenon::codegen {

/// Writes symbolic dims as instructions of a plan's DimProgram, each expression once.
class DimEmitter {
 public:
  DimEmitter(const ir::DimContext& context, runtime::DimProgram& program);

  /// kUnsupported for an invalid dim.
  Result<runtime::DimId> emit(ir::Dim dim);

 private:
  Result<runtime::DimId> emit_node(const ir::DimNode& node);
  runtime::DimId constant(int64_t value);
  runtime::DimId binary(runtime::DimProgram::Op op, runtime::DimId a, runtime::DimId b);

  runtime::DimProgram& program_;
  std::unordered_map<const ir::DimNode*, runtime::DimId> nodes_;
  std::unordered_map<int64_t, runtime::DimId> constants_;
};

/// Symbols that have a value: those of the enclosing plans, and those that this one has bound so far.
class KnownSymbols {
 public:
  explicit KnownSymbols(const KnownSymbols* outer = nullptr) : outer_(outer) {}  // `outer` must outlive it
  bool contains(int symbol) const { return own_.contains(symbol) || (outer_ != nullptr && outer_->contains(symbol)); }
  bool insert(int symbol) { return !contains(symbol) && own_.insert(symbol).second; }
  void erase(int symbol) { own_.erase(symbol); }

 private:
  const KnownSymbols* outer_;
  std::unordered_set<int> own_;
};

/// Whether every symbol of `dim` is in `known`.
bool is_known(ir::Dim dim, const KnownSymbols& known);

}  // namespace tenon::codegen
