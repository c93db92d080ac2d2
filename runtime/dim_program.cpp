#include "runtime/dim_program.h"

#include <algorithm>

#include "support/checked.h"

namespace tenon::runtime {
namespace {

std::optional<int64_t> floor_div(int64_t a, int64_t b) {
  const auto quotient = checked_div(a, b);
  if (!quotient) return std::nullopt;
  return *quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

std::optional<int64_t> floor_mod(int64_t a, int64_t b) {
  if (b == 0) return std::nullopt;
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

std::optional<int64_t> apply(DimProgram::Op op, int64_t a, int64_t b) {
  switch (op) {
    case DimProgram::Op::kAdd: return checked_add(a, b);
    case DimProgram::Op::kMul: return checked_mul(a, b);
    case DimProgram::Op::kFloorDiv: return floor_div(a, b);
    case DimProgram::Op::kMod: return floor_mod(a, b);
    case DimProgram::Op::kMin: return std::min(a, b);
    case DimProgram::Op::kMax: return std::max(a, b);
    case DimProgram::Op::kConst:
    case DimProgram::Op::kSymbol: break;
  }
  return std::nullopt;
}

std::string symbol_name(const DimProgram& program, int64_t symbol) {
  const auto index = static_cast<size_t>(symbol);
  return index < program.symbol_names.size() ? program.symbol_names[index] : fmt::format("s{}", symbol);
}

// Shared subexpressions make the text grow exponentially with depth, so deep ones are cut.
constexpr int kMaxDepth = 12;

std::string expression(const DimProgram& program, DimId id, int depth) {
  if (depth > kMaxDepth) return "…";
  const DimProgram::Inst& inst = program.insts[static_cast<size_t>(id)];
  const auto operand = [&](DimId d) { return expression(program, d, depth + 1); };
  const auto call = [&](std::string_view name) { return fmt::format("{}({}, {})", name, operand(inst.a), operand(inst.b)); };
  switch (inst.op) {
    case DimProgram::Op::kConst: return fmt::format("{}", inst.imm);
    case DimProgram::Op::kSymbol: return symbol_name(program, inst.imm);
    case DimProgram::Op::kAdd: return fmt::format("({} + {})", operand(inst.a), operand(inst.b));
    case DimProgram::Op::kMul: return fmt::format("{}*{}", operand(inst.a), operand(inst.b));
    case DimProgram::Op::kFloorDiv: return call("floor_div");
    case DimProgram::Op::kMod: return call("mod");
    case DimProgram::Op::kMin: return call("min");
    case DimProgram::Op::kMax: return call("max");
  }
  return {};
}

}  // namespace

Result<int64_t> evaluate(const DimProgram& program, DimId id, std::span<const int64_t> values,
                         std::span<const std::optional<int64_t>> symbols) {
  const DimProgram::Inst& inst = program.insts[static_cast<size_t>(id)];
  if (inst.op == DimProgram::Op::kConst) return inst.imm;
  if (inst.op == DimProgram::Op::kSymbol) {
    const auto& value = symbols[static_cast<size_t>(inst.imm)];
    if (!value) return error(Code::kInternal, "dim {} has no value here", symbol_name(program, inst.imm));
    return *value;
  }
  const auto value = apply(inst.op, values[static_cast<size_t>(inst.a)], values[static_cast<size_t>(inst.b)]);
  if (!value) return error(Code::kOutOfRange, "the dim {} overflows or divides by zero", expression(program, id));
  return *value;
}

std::string expression(const DimProgram& program, DimId id) { return expression(program, id, 0); }

}  // namespace tenon::runtime
