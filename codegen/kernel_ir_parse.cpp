#include <cstdlib>
#include <map>

#include "codegen/kernel_ir.h"
#include "codegen/kernel_ir_names.h"
#include "codegen/kernel_ir_tokens.h"

namespace tenon::kir {
namespace {

/// Recursive descent over the printed form. Every error names its line.
class Parser : KernelTokens {
 public:
  explicit Parser(std::string_view text) : KernelTokens(text) {}

  Result<Kernel> run() {
    TENON_RETURN_IF_ERROR(kernel());
    if (!at_end()) return fail("text after the kernel");
    return std::move(k_);
  }

 private:
  Result<ValueId> value() {
    const std::string token(next());
    const auto it = names_.find(token);
    if (it == names_.end()) return fail("'{}' is not a value defined above", token);
    return it->second;
  }
  Result<std::string> new_name() {
    const std::string token(next());
    if (token.size() < 2 || token[0] != '%') return fail("'{}' is not a value name", token);
    if (names_.count(token)) return fail("'{}' is defined twice", token);
    return token;
  }
  ValueId define(const std::string& name, DType dtype) {
    k_.values.push_back({dtype});
    const ValueId v = static_cast<ValueId>(k_.values.size()) - 1;
    names_[name] = v;
    return v;
  }
  template <class List>
  Status values(List& out, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      TENON_ASSIGN_OR_RETURN(const ValueId v, value());
      out.push_back(v);
    }
    return {};
  }

  Status kernel() {
    TENON_RETURN_IF_ERROR(expect("kernel"));
    TENON_ASSIGN_OR_RETURN(k_.name, string());
    TENON_RETURN_IF_ERROR(expect("dims"));
    TENON_ASSIGN_OR_RETURN(k_.num_dims, small_integer());
    TENON_RETURN_IF_ERROR(expect("lanes"));
    TENON_ASSIGN_OR_RETURN(k_.lanes, small_integer());
    if (accept("round")) {
      TENON_ASSIGN_OR_RETURN(k_.round, integer());
    }
    TENON_RETURN_IF_ERROR(expect("{"));
    while (peek() != "body") TENON_RETURN_IF_ERROR(buffer());
    next();
    TENON_ASSIGN_OR_RETURN(const std::string grid, new_name());
    k_.body.args.push_back(define(grid, DType::kI64));
    TENON_RETURN_IF_ERROR(region(k_.body, 0));
    return expect("}");
  }

  Status buffer() {
    BufferInfo b;
    const std::string_view space = next();
    if (space == kSpaceNames[0])
      b.space = BufferSpace::kBinding;
    else if (space == kSpaceNames[1])
      b.space = BufferSpace::kLocal;
    else if (space == kSpaceNames[2])
      b.space = BufferSpace::kLane;
    else if (space == kSpaceNames[3])
      b.space = BufferSpace::kTile;
    else
      return fail("expected a buffer or the body, not '{}'", space);
    TENON_ASSIGN_OR_RETURN(b.dtype, dtype());
    if (b.space != BufferSpace::kBinding) {
      TENON_ASSIGN_OR_RETURN(b.count, integer());
      b.written = true;
      if (b.space == BufferSpace::kTile) {
        TENON_RETURN_IF_ERROR(expect("columns"));
        TENON_ASSIGN_OR_RETURN(b.columns, integer());
      }
    } else {
      b.written = accept("written");
    }
    TENON_ASSIGN_OR_RETURN(b.name, string());
    k_.buffers.push_back(std::move(b));
    return {};
  }

  Status region(Region& r, int depth) {
    if (depth > 64) return fail("regions nest too deeply");
    TENON_RETURN_IF_ERROR(expect("{"));
    while (!accept("}")) {
      if (accept("yield")) {
        while (peek() != "}") TENON_RETURN_IF_ERROR(values(r.yields, 1));
        continue;
      }
      TENON_RETURN_IF_ERROR(inst(r, depth));
    }
    return {};
  }

  Status inst(Region& r, int depth) {
    if (peek().empty()) return fail("unexpected end of text");
    std::vector<std::string> names;
    while (!peek().empty() && peek()[0] == '%') {
      TENON_ASSIGN_OR_RETURN(std::string name, new_name());
      names.push_back(std::move(name));
    }
    if (!names.empty()) TENON_RETURN_IF_ERROR(expect("="));
    InstPtr made = k_.pool.make();
    Inst& i = *made;
    std::vector<DType> types;
    const std::string keyword(next());
    TENON_RETURN_IF_ERROR(rest(i, keyword, types, depth));
    if (types.size() != names.size()) return fail("'{}' gives {} results, not {}", keyword, types.size(), names.size());
    for (size_t n = 0; n < names.size(); ++n) i.results.push_back(define(names[n], types[n]));
    r.insts.push_back(std::move(made));
    return {};
  }

  Status rest(Inst& i, const std::string& keyword, std::vector<DType>& types, int depth) {
    if (keyword == "const") return constant(i, types);
    if (keyword == "for") return loop(i, types, depth);
    if (keyword == "if") return branch(i, types, depth);
    if (keyword == "load" || keyword == "store") return access(i, keyword == "load", types);
    if (keyword == "prefetch") {
      TENON_RETURN_IF_ERROR(element(i));
      i.kind = InstKind::kPrefetch;
      return {};
    }
    if (keyword.starts_with("tile.")) return tile_inst(i, keyword);
    if (keyword == "cast" || keyword == "bitcast") {
      i.kind = keyword == "cast" ? InstKind::kCast : InstKind::kBitcast;
      TENON_RETURN_IF_ERROR(values(i.operands, 1));
      TENON_RETURN_IF_ERROR(expect("to"));
      TENON_ASSIGN_OR_RETURN(i.dtype, dtype());
      types = {i.dtype};
      return {};
    }
    if (keyword == "dim") {
      i.kind = InstKind::kDim;
      TENON_ASSIGN_OR_RETURN(i.index, small_integer());
      types = {DType::kI64};
      return {};
    }
    if (keyword == "check") {
      i.kind = InstKind::kCheck;
      TENON_RETURN_IF_ERROR(values(i.operands, 1));
      TENON_ASSIGN_OR_RETURN(i.index, small_integer());
      return {};
    }
    const auto op = ir::scalar_op_from_name(keyword);
    if (!op) return fail("unknown instruction '{}'", keyword);
    i.kind = InstKind::kOp;
    i.op = *op;
    const ir::ScalarOpInfo& op_info = info(*op);
    TENON_RETURN_IF_ERROR(values(i.operands, static_cast<size_t>(op_info.arity)));
    types = {op_info.result_is_bool ? DType::kBool : k_.dtype(i.operands[*op == ScalarOp::kSelect ? 1 : 0])};
    return {};
  }

  Status tile_inst(Inst& i, const std::string& keyword) {
    if (keyword == "tile.mma") {
      const std::string word(next());
      const auto op = ir::scalar_op_from_name(word);
      if (!op) return fail("unknown operation '{}'", word);
      i.op = *op;
    }
    TENON_ASSIGN_OR_RETURN(i.index, buffer_number());
    if (keyword == "tile.fill") {
      i.kind = InstKind::kTileFill;
      return values(i.operands, 1);
    }
    if (keyword != "tile.mma" && keyword != "tile.store") return fail("unknown instruction '{}'", keyword);
    i.kind = keyword == "tile.mma" ? InstKind::kTileMma : InstKind::kTileStore;
    for (int t = 0; t < (i.kind == InstKind::kTileMma ? 2 : 1); ++t) {
      TileAccess access;
      TENON_ASSIGN_OR_RETURN(access.buffer, buffer_number());
      TENON_RETURN_IF_ERROR(expect("["));
      TENON_RETURN_IF_ERROR(values(i.operands, 1));
      TENON_RETURN_IF_ERROR(expect("]"));
      TENON_RETURN_IF_ERROR(expect("stride"));
      TENON_ASSIGN_OR_RETURN(access.stride, integer());
      access.transposed = accept("transposed");
      i.tiles.push_back(access);
    }
    if (accept("rows")) TENON_RETURN_IF_ERROR(values(i.operands, 1));
    TENON_RETURN_IF_ERROR(expect("depth"));
    TENON_ASSIGN_OR_RETURN(i.depth, integer());
    return {};
  }

  Status constant(Inst& i, std::vector<DType>& types) {
    i.kind = InstKind::kConst;
    TENON_ASSIGN_OR_RETURN(i.dtype, dtype());
    types = {i.dtype};
    if (!is_float(i.dtype)) {
      TENON_ASSIGN_OR_RETURN(i.constant.i, integer());
      return {};
    }
    const std::string token(next());
    char* end = nullptr;
    i.constant.f = std::strtod(token.c_str(), &end);
    if (token.empty() || *end) return fail("'{}' is not a number", token);
    return {};
  }

  Result<int32_t> buffer_number() {
    const std::string buffer(next());
    char* end = nullptr;
    const long index = buffer.size() > 1 && buffer[0] == 'b' ? std::strtol(buffer.c_str() + 1, &end, 10) : -1;
    if (index < 0 || *end || static_cast<size_t>(index) >= k_.buffers.size()) return fail("no buffer '{}'", buffer);
    return static_cast<int32_t>(index);
  }

  /// bN[OFFSET]
  Status element(Inst& i) {
    TENON_ASSIGN_OR_RETURN(i.index, buffer_number());
    TENON_RETURN_IF_ERROR(expect("["));
    TENON_RETURN_IF_ERROR(values(i.operands, 1));
    return expect("]");
  }

  Status access(Inst& i, bool load, std::vector<DType>& types) {
    i.kind = load ? InstKind::kLoad : InstKind::kStore;
    if (accept("wide")) {
      TENON_ASSIGN_OR_RETURN(i.width, small_integer());
      if (i.width > 64) return fail("{} elements at once", i.width);
      TENON_RETURN_IF_ERROR(element(i));
      if (load) types.assign(static_cast<size_t>(i.width), k_.buffers[static_cast<size_t>(i.index)].dtype);
      return load ? Status() : values(i.operands, static_cast<size_t>(i.width));
    }
    TENON_RETURN_IF_ERROR(element(i));
    if (!load) TENON_RETURN_IF_ERROR(values(i.operands, 1));
    // "if" begins either a mask or the next instruction; a mask is followed by "else VALUE" or ends the line.
    if (same_line() && accept("if")) {
      TENON_RETURN_IF_ERROR(values(i.operands, 1));
      if (load) {
        TENON_RETURN_IF_ERROR(expect("else"));
        TENON_RETURN_IF_ERROR(values(i.operands, 1));
      }
    }
    if (load) types = {k_.buffers[static_cast<size_t>(i.index)].dtype};
    return {};
  }

  Status loop(Inst& i, std::vector<DType>& types, int depth) {
    i.kind = InstKind::kFor;
    const std::string kind(next());
    size_t l = 0;
    while (l < std::size(kLoopNames) && kLoopNames[l] != kind) ++l;
    if (l == std::size(kLoopNames)) return fail("unknown loop kind '{}'", kind);
    i.loop = static_cast<LoopKind>(l);
    if (accept("width")) {
      TENON_ASSIGN_OR_RETURN(i.width, small_integer());
    }
    TENON_ASSIGN_OR_RETURN(const std::string iv, new_name());
    TENON_RETURN_IF_ERROR(expect("in"));
    TENON_RETURN_IF_ERROR(values(i.operands, 1));
    TENON_RETURN_IF_ERROR(expect("to"));
    TENON_RETURN_IF_ERROR(values(i.operands, 1));
    TENON_RETURN_IF_ERROR(expect("step"));
    TENON_ASSIGN_OR_RETURN(i.step, integer());
    std::vector<std::string> carried;
    if (accept("carry")) {
      while (!peek().empty() && peek()[0] == '%') {
        TENON_ASSIGN_OR_RETURN(std::string name, new_name());
        carried.push_back(std::move(name));
      }
      TENON_RETURN_IF_ERROR(expect("="));
      TENON_RETURN_IF_ERROR(values(i.operands, carried.size()));
    }
    if (accept("combine"))
      while (peek() != "{") TENON_RETURN_IF_ERROR(combiner(i));
    i.regions.resize(1);
    i.regions[0].args.push_back(define(iv, DType::kI64));
    for (size_t c = 0; c < carried.size(); ++c) {
      types.push_back(k_.dtype(i.operands[c + 2]));
      i.regions[0].args.push_back(define(carried[c], types.back()));
    }
    return region(i.regions[0], depth + 1);
  }

  Status combiner(Inst& i) {
    const std::string_view token = next();
    for (const auto& [name, value] : kCombiners)
      if (name == token) {
        i.combiners.push_back(value);
        return {};
      }
    return fail("unknown combiner '{}'", token);
  }

  Status branch(Inst& i, std::vector<DType>& types, int depth) {
    i.kind = InstKind::kIf;
    TENON_RETURN_IF_ERROR(values(i.operands, 1));
    i.regions.resize(2);
    TENON_RETURN_IF_ERROR(region(i.regions[0], depth + 1));
    TENON_RETURN_IF_ERROR(expect("else"));
    TENON_RETURN_IF_ERROR(region(i.regions[1], depth + 1));
    for (ValueId v : i.regions[0].yields) types.push_back(k_.dtype(v));
    return {};
  }

  Kernel k_;
  std::map<std::string, ValueId> names_;
};

}  // namespace

Result<Kernel> parse(std::string_view text) {
  TENON_ASSIGN_OR_RETURN(Kernel kernel, Parser(text).run());
  TENON_RETURN_IF_ERROR(verify(kernel));
  return kernel;
}

}  // namespace tenon::kir
