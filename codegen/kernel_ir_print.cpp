#include <algorithm>
#include <cmath>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/kernel_ir_names.h"
#include "support/hash.h"

namespace tenon::kir {
namespace {

std::string_view combiner_name(Combiner c) {
  for (const auto& [name, value] : kCombiners)
    if (value == c) return name;
  return "?";
}

/// Prints with values renumbered in order of appearance, so that equal kernels print equally.
class Printer {
 public:
  explicit Printer(const Kernel& kernel) : k_(kernel), numbers_(kernel.values.size(), -1) {}

  std::string run(bool with_names) {
    if (with_names) out_ += fmt::format("kernel \"{}\" ", escaped(k_.name));
    out_ += fmt::format("dims {} lanes {} ", k_.num_dims, k_.lanes);
    if (k_.round != 0) out_ += fmt::format("round {} ", k_.round);
    out_ += "{\n";
    for (const BufferInfo& b : k_.buffers) {
      out_ += fmt::format("  {} {}", kSpaceNames[static_cast<size_t>(b.space)], name(b.dtype));
      if (b.space != BufferSpace::kBinding) out_ += fmt::format(" {}", b.count);
      if (b.space == BufferSpace::kTile) out_ += fmt::format(" columns {}", b.columns);
      if (b.space == BufferSpace::kBinding && b.written) out_ += " written";
      if (with_names) out_ += fmt::format(" \"{}\"", escaped(b.name));
      out_ += "\n";
    }
    out_ += fmt::format("  body {} {{\n", defined(k_.body.args[0]));
    region(k_.body, 4);
    out_ += "  }\n}\n";
    return std::move(out_);
  }

 private:
  static std::string escaped(std::string_view text) {
    std::string out;
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c == '\n' ? ' ' : c;
    }
    return out;
  }

  std::string defined(ValueId v) {
    const int number = count_++;
    if (static_cast<size_t>(v) < numbers_.size()) numbers_[static_cast<size_t>(v)] = number;
    return numbered(number);
  }
  std::string use(ValueId v) const {
    const int number = static_cast<size_t>(v) < numbers_.size() ? numbers_[static_cast<size_t>(v)] : -1;
    return number < 0 ? "%?" : numbered(number);
  }
  static std::string numbered(int number) { return '%' + fmt::format_int(number).str(); }
  std::string uses(std::span<const ValueId> values) const {
    std::string out;
    for (ValueId v : values) out += (out.empty() ? "" : ", ") + use(v);
    return out;
  }

  static std::string literal(DType dtype, Scalar value) {
    if (!is_float(dtype)) return fmt::format("{}", value.i);
    if (std::isnan(value.f)) return "nan";
    if (std::isinf(value.f)) return value.f < 0 ? "-inf" : "inf";
    return fmt::format("{:a}", value.f);
  }

  void region(const Region& r, int indent) {
    for (const auto& i : r.insts) {
      out_.append(static_cast<size_t>(indent), ' ');
      inst(*i, indent);
    }
    if (!r.yields.empty()) {
      out_.append(static_cast<size_t>(indent), ' ');
      out_ += "yield " + uses(r.yields) + "\n";
    }
  }

  void inst(const Inst& i, int indent) {
    std::string body;
    switch (i.kind) {
      case InstKind::kConst:
        body = fmt::format("const {} {}", name(i.dtype), literal(i.dtype, i.constant));
        break;
      case InstKind::kDim:
        body = fmt::format("dim {}", i.index);
        break;
      case InstKind::kOp:
        body = fmt::format("{} {}", info(i.op).name, uses(i.operands));
        break;
      case InstKind::kCast:
        body = fmt::format("cast {} to {}", use(i.operands[0]), name(i.dtype));
        break;
      case InstKind::kBitcast:
        body = fmt::format("bitcast {} to {}", use(i.operands[0]), name(i.dtype));
        break;
      case InstKind::kLoad:
        body = fmt::format("load {}b{}[{}]", wide(i), i.index, use(i.operands[0]));
        if (i.operands.size() == 3) body += fmt::format(" if {} else {}", use(i.operands[1]), use(i.operands[2]));
        break;
      case InstKind::kStore:
        body = fmt::format("store {}b{}[{}], {}", wide(i), i.index, use(i.operands[0]),
                           i.width > 1 ? uses(std::span(i.operands).subspan(1)) : use(i.operands[1]));
        if (i.width <= 1 && i.operands.size() == 3) body += fmt::format(" if {}", use(i.operands[2]));
        break;
      case InstKind::kPrefetch:
        body = fmt::format("prefetch b{}[{}]", i.index, use(i.operands[0]));
        break;
      case InstKind::kCheck:
        body = fmt::format("check {}, {}", use(i.operands[0]), i.index);
        break;
      case InstKind::kTileFill:
        body = fmt::format("tile.fill b{}, {}", i.index, use(i.operands[0]));
        break;
      case InstKind::kTileMma:
        body = fmt::format("tile.mma {} b{}, {}, {} depth {}", info(i.op).name, i.index, tile(i, 0), tile(i, 1), i.depth);
        break;
      case InstKind::kTileStore:
        body = fmt::format("tile.store b{}, {} rows {} depth {}", i.index, tile(i, 0), use(i.operands[1]), i.depth);
        break;
      case InstKind::kFor:
        return loop(i, indent);
      case InstKind::kIf:
        return branch(i, indent);
    }
    out_ += results(i) + body + "\n";
  }

  static std::string wide(const Inst& i) { return i.width > 1 ? fmt::format("wide {} ", i.width) : ""; }

  /// bN[OFFSET] stride S, where operand `t` is the offset.
  std::string tile(const Inst& i, size_t t) const {
    const TileAccess& access = i.tiles[t];
    return fmt::format("b{}[{}] stride {}{}", access.buffer, use(i.operands[t]), access.stride, access.transposed ? " transposed" : "");
  }

  std::string results(const Inst& i) {
    std::string out;
    for (ValueId v : i.results) out += (out.empty() ? "" : ", ") + defined(v);
    return out.empty() ? out : out + " = ";
  }

  void loop(const Inst& i, int indent) {
    const Region& r = i.regions[0];
    // Operands are named before the loop's own values are numbered.
    const std::string bounds = fmt::format("{} to {} step {}", use(i.operands[0]), use(i.operands[1]), i.step);
    const std::string inits = uses(std::span(i.operands).subspan(2));
    out_ += results(i) + fmt::format("for {}", kLoopNames[static_cast<size_t>(i.loop)]);
    if (i.width) out_ += fmt::format(" width {}", i.width);
    out_ += fmt::format(" {} in {}", defined(r.args[0]), bounds);
    if (r.args.size() > 1) {
      out_ += " carry";
      for (size_t c = 1; c < r.args.size(); ++c) out_ += (c > 1 ? ", " : " ") + defined(r.args[c]);
      out_ += " = " + inits;
    }
    if (!i.combiners.empty()) {
      out_ += " combine";
      for (size_t c = 0; c < i.combiners.size(); ++c)
        out_ += (c ? ", " : " ") + std::string(combiner_name(i.combiners[c]));
    }
    braces(r, indent);
    out_ += "\n";
  }

  void branch(const Inst& i, int indent) {
    const std::string condition = use(i.operands[0]);
    out_ += results(i) + "if " + condition;
    braces(i.regions[0], indent);
    out_ += " else";
    braces(i.regions[1], indent);
    out_ += "\n";
  }

  void braces(const Region& r, int indent) {
    out_ += " {\n";
    region(r, indent + 2);
    out_.append(static_cast<size_t>(indent), ' ');
    out_ += "}";
  }

  const Kernel& k_;
  std::string out_;
  std::vector<int> numbers_;  // by value; -1: not defined yet
  int count_ = 0;
};

}  // namespace

std::string print(const Kernel& kernel) { return Printer(kernel).run(true); }

uint64_t structural_hash(const Kernel& kernel) {
  const std::string text = Printer(kernel).run(false);
  return hash64(text);
}

}  // namespace tenon::kir
