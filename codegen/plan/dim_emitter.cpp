#include "codegen/plan/dim_emitter.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Dim;
using ir::DimKind;
using ir::DimNode;
using runtime::DimId;
using Op = runtime::DimProgram::Op;

DimEmitter::DimEmitter(const ir::DimContext& context, runtime::DimProgram& program) : program_(program) {
  program_.num_symbols = context.num_symbols();
  for (int i = 0; i < context.num_symbols(); ++i) program_.symbol_names.push_back(context.symbol_name(i));
}

DimId DimEmitter::constant(int64_t value) {
  const auto [it, fresh] = constants_.emplace(value, static_cast<DimId>(program_.insts.size()));
  if (fresh) program_.insts.push_back({Op::kConst, value});
  return it->second;
}

DimId DimEmitter::binary(Op op, DimId a, DimId b) {
  program_.insts.push_back({op, 0, a, b});
  return static_cast<DimId>(program_.insts.size()) - 1;
}

Result<DimId> DimEmitter::emit(Dim dim) {
  if (!dim.is_valid()) return Status(Code::kUnsupported, "a dim overflows");
  if (dim.is_const()) return constant(dim.value());
  if (const auto found = nodes_.find(dim.node()); found != nodes_.end()) return found->second;
  TENON_ASSIGN_OR_RETURN(const DimId id, emit_node(*dim.node()));
  nodes_.emplace(dim.node(), id);
  return id;
}

Result<DimId> DimEmitter::emit_node(const DimNode& node) {
  const auto pair = [&](Op op) -> Result<DimId> {
    TENON_ASSIGN_OR_RETURN(const DimId a, emit(node.a));
    TENON_ASSIGN_OR_RETURN(const DimId b, emit(node.b));
    return binary(op, a, b);
  };
  switch (node.kind) {
    case DimKind::kSymbol:
      program_.insts.push_back({Op::kSymbol, node.symbol});
      return static_cast<DimId>(program_.insts.size()) - 1;
    case DimKind::kFloorDiv: return pair(Op::kFloorDiv);
    case DimKind::kMod: return pair(Op::kMod);
    case DimKind::kMin: return pair(Op::kMin);
    case DimKind::kMax: return pair(Op::kMax);
    case DimKind::kSum: break;
  }
  DimId sum = -1;
  for (const DimNode::Term& term : node.terms) {
    DimId product = -1;
    for (const DimNode* factor : term.factors) {
      DimId id = -1;
      if (const auto found = nodes_.find(factor); found != nodes_.end()) {
        id = found->second;
      } else {
        TENON_ASSIGN_OR_RETURN(id, emit_node(*factor));
        nodes_.emplace(factor, id);
      }
      product = product < 0 ? id : binary(Op::kMul, product, id);
    }
    if (product < 0) product = constant(term.coefficient);
    else if (term.coefficient != 1) product = binary(Op::kMul, product, constant(term.coefficient));
    sum = sum < 0 ? product : binary(Op::kAdd, sum, product);
  }
  if (sum < 0) return constant(node.constant);
  return node.constant == 0 ? sum : binary(Op::kAdd, sum, constant(node.constant));
}

bool is_known(Dim dim, const KnownSymbols& known) {
  if (!dim.is_valid()) return false;
  std::vector<int> symbols;
  ir::collect_symbols(dim, symbols);
  return std::all_of(symbols.begin(), symbols.end(), [&](int s) { return known.contains(s); });
}

}  // namespace tenon::codegen
