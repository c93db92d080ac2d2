#include <algorithm>

#include "codegen/kernel_ir.h"
#include "codegen/kernel_tiles.h"

namespace tenon::kir {
namespace {

constexpr int kMaxDepth = 64;
constexpr int64_t kMaxUnroll = 4096;
constexpr int64_t kMaxLocalBytes = 1 << 20;  // kernels keep them on the stack
constexpr int kMaxWidth = 256;

bool is_value_dtype(DType d) {
  switch (d) {
    case DType::kBool:
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
    case DType::kF64:
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
    case DType::kU16:
    case DType::kU32:
    case DType::kU64:
      return true;
    default:
      return false;
  }
}

class Verifier {
 public:
  explicit Verifier(const Kernel& kernel) : k_(kernel), defined_(kernel.values.size(), false) {}

  Status run() {
    for (const ValueInfo& v : k_.values)
      if (!is_value_dtype(v.dtype)) return fail("value of dtype {}", name(v.dtype));
    TENON_RETURN_IF_ERROR(buffers());
    if (k_.lanes < 1 || k_.lanes > 1024 || (k_.lanes & (k_.lanes - 1)) != 0) return fail("{} lanes", k_.lanes);
    if (k_.round < 0) return fail("rounds of {}", k_.round);
    if (k_.num_dims < 0) return fail("{} dims", k_.num_dims);
    if (k_.body.args.size() != 1 || !k_.body.yields.empty())
      return fail("the body takes the grid index and yields nothing");
    TENON_RETURN_IF_ERROR(define(k_.body.args[0]));
    if (k_.dtype(k_.body.args[0]) != DType::kI64) return fail("the grid index is i64");
    return region(k_.body, 0);
  }

 private:
  template <class... Args>
  Status fail(fmt::format_string<Args...> format, Args&&... args) const {
    return Status(Code::kInternal, fmt::format(format, std::forward<Args>(args)...),
                  fmt::format("kernel '{}', instruction {}", k_.name, at_), "report this as a bug");
  }

  Status buffers() const {
    int64_t local_bytes = 0;
    bool seen_local = false;
    for (const BufferInfo& b : k_.buffers) {
      if (!is_value_dtype(b.dtype)) return fail("buffer '{}' of dtype {}", b.name, name(b.dtype));
      if (b.space == BufferSpace::kBinding) {
        if (seen_local) return fail("binding '{}' after a local buffer", b.name);
        continue;
      }
      seen_local = true;
      if (b.space == BufferSpace::kLane && k_.lanes == 1) return fail("buffer '{}' of lanes that are not there", b.name);
      if (b.count < 1 || b.count > kMaxLocalBytes) return fail("local buffer '{}' of {} elements", b.name, b.count);
      if (b.space == BufferSpace::kTile &&
          (k_.lanes == 1 || b.columns < 1 || b.count % b.columns != 0 || !lane_block(b.count / b.columns, b.columns, k_.lanes)))
        return fail("tile '{}' of {} elements in rows of {} for {} lanes", b.name, b.count, b.columns, k_.lanes);
      local_bytes += b.count * bits(b.dtype) / 8;
    }
    if (local_bytes > kMaxLocalBytes) return fail("{} bytes of local buffers", local_bytes);
    return {};
  }

  Status define(ValueId v) {
    if (v < 0 || static_cast<size_t>(v) >= k_.values.size()) return fail("no value %{}", v);
    if (defined_[static_cast<size_t>(v)] || retired_.count(v)) return fail("%{} defined twice", v);
    defined_[static_cast<size_t>(v)] = true;
    scope_.push_back(v);
    return {};
  }

  Status uses(std::span<const ValueId> values) const {
    for (ValueId v : values)
      if (v < 0 || static_cast<size_t>(v) >= k_.values.size() || !defined_[static_cast<size_t>(v)])
        return fail("%{} used where it is not defined", v);
    return {};
  }

  Status want(ValueId v, DType dtype) const {
    if (k_.dtype(v) != dtype) return fail("%{} is {}, not {}", v, name(k_.dtype(v)), name(dtype));
    return {};
  }

  Status region(const Region& r, int depth) {
    if (depth > kMaxDepth) return fail("regions nest deeper than {}", kMaxDepth);
    const size_t mark = scope_.size();
    for (const auto& i : r.insts) {
      if (!i) return fail("empty instruction");
      ++at_;
      TENON_RETURN_IF_ERROR(uses(i->operands));
      TENON_RETURN_IF_ERROR(inst(*i, depth));
      for (ValueId v : i->results) TENON_RETURN_IF_ERROR(define(v));
    }
    TENON_RETURN_IF_ERROR(uses(r.yields));
    for (size_t s = mark; s < scope_.size(); ++s) {
      defined_[static_cast<size_t>(scope_[s])] = false;
      retired_.insert(scope_[s]);
    }
    scope_.resize(mark);
    return {};
  }

  Status arity(const Inst& i, size_t operands, size_t results, size_t regions = 0) const {
    if (i.operands.size() != operands) return fail("{} operands, not {}", i.operands.size(), operands);
    if (i.results.size() != results) return fail("{} results, not {}", i.results.size(), results);
    if (i.regions.size() != regions) return fail("{} regions, not {}", i.regions.size(), regions);
    for (ValueId r : i.results)
      if (r < 0 || static_cast<size_t>(r) >= k_.values.size()) return fail("no value %{}", r);
    return {};
  }

  Status inst(const Inst& i, int depth) {
    switch (i.kind) {
      case InstKind::kConst:
        TENON_RETURN_IF_ERROR(arity(i, 0, 1));
        return want(i.results[0], i.dtype);
      case InstKind::kDim:
        TENON_RETURN_IF_ERROR(arity(i, 0, 1));
        if (i.index < 0 || i.index >= k_.num_dims) return fail("dim {} of {}", i.index, k_.num_dims);
        return want(i.results[0], DType::kI64);
      case InstKind::kOp:
        return op(i);
      case InstKind::kCast:
        TENON_RETURN_IF_ERROR(arity(i, 1, 1));
        return want(i.results[0], i.dtype);
      case InstKind::kBitcast:
        TENON_RETURN_IF_ERROR(arity(i, 1, 1));
        if (bits(i.dtype) != bits(k_.dtype(i.operands[0])) || i.dtype == DType::kBool ||
            k_.dtype(i.operands[0]) == DType::kBool)
          return fail("bitcast of {} to {}", name(k_.dtype(i.operands[0])), name(i.dtype));
        return want(i.results[0], i.dtype);
      case InstKind::kLoad:
      case InstKind::kStore:
        return access(i);
      case InstKind::kPrefetch:
        TENON_RETURN_IF_ERROR(arity(i, 1, 0));
        if (i.index < 0 || static_cast<size_t>(i.index) >= k_.buffers.size()) return fail("no buffer {}", i.index);
        return want(i.operands[0], DType::kI64);
      case InstKind::kFor:
        return loop(i, depth);
      case InstKind::kIf:
        return branch(i, depth);
      case InstKind::kTileFill:
      case InstKind::kTileMma:
      case InstKind::kTileStore:
        return tile(i);
      case InstKind::kCheck:
        TENON_RETURN_IF_ERROR(arity(i, 1, 0));
        if (i.index <= 0) return fail("check code {}", i.index);
        return want(i.operands[0], DType::kBool);
    }
    return fail("unknown instruction kind");
  }

  Status op(const Inst& i) const {
    if (i.op >= ScalarOp::kCount) return fail("unknown operation");
    const ir::ScalarOpInfo& op_info = info(i.op);
    TENON_RETURN_IF_ERROR(arity(i, static_cast<size_t>(op_info.arity), 1));
    const bool select = i.op == ScalarOp::kSelect;
    const DType dtype = k_.dtype(i.operands[select ? 1 : 0]);
    if (select) TENON_RETURN_IF_ERROR(want(i.operands[0], DType::kBool));
    for (size_t o = select ? 1 : 0; o < i.operands.size(); ++o) TENON_RETURN_IF_ERROR(want(i.operands[o], dtype));
    if (!takes(i.op, dtype)) return fail("{} on {}", op_info.name, name(dtype));
    return want(i.results[0], op_info.result_is_bool ? DType::kBool : dtype);
  }

  Status access(const Inst& i) const {
    const bool load = i.kind == InstKind::kLoad;
    if (i.width > 1) return wide_access(i, load);
    const size_t plain = load ? 1 : 2;
    const bool masked = i.operands.size() == 3;
    TENON_RETURN_IF_ERROR(arity(i, masked ? 3 : plain, load ? 1 : 0));
    if (i.index < 0 || static_cast<size_t>(i.index) >= k_.buffers.size()) return fail("no buffer {}", i.index);
    const BufferInfo& buffer = k_.buffers[static_cast<size_t>(i.index)];
    TENON_RETURN_IF_ERROR(want(i.operands[0], DType::kI64));
    if (buffer.space == BufferSpace::kTile) return fail("an element of tile '{}'", buffer.name);
    if (buffer.space == BufferSpace::kLane && !in_lanes_) return fail("buffer '{}' outside of the lanes", buffer.name);
    if (load) {
      TENON_RETURN_IF_ERROR(want(i.results[0], buffer.dtype));
      if (masked) TENON_RETURN_IF_ERROR(want(i.operands[1], DType::kBool));
      return masked ? want(i.operands[2], buffer.dtype) : Status();
    }
    if (!buffer.written) return fail("store to read-only buffer '{}'", buffer.name);
    TENON_RETURN_IF_ERROR(want(i.operands[1], buffer.dtype));
    return masked ? want(i.operands[2], DType::kBool) : Status();
  }

  Status wide_access(const Inst& i, bool load) const {
    const auto width = static_cast<size_t>(i.width);
    TENON_RETURN_IF_ERROR(arity(i, load ? 1 : 1 + width, load ? width : 0));
    if (i.width != 2 && i.width != 4) return fail("{} elements at once", i.width);
    if (i.index < 0 || static_cast<size_t>(i.index) >= k_.buffers.size()) return fail("no buffer {}", i.index);
    const BufferInfo& buffer = k_.buffers[static_cast<size_t>(i.index)];
    if (buffer.dtype == DType::kBool || bits(buffer.dtype) > 32) return fail("several {} at once", name(buffer.dtype));
    const bool whole = buffer.space == BufferSpace::kBinding || (buffer.space == BufferSpace::kLocal && buffer.count % i.width == 0);
    if (!whole) return fail("{} elements at once of '{}'", i.width, buffer.name);
    TENON_RETURN_IF_ERROR(want(i.operands[0], DType::kI64));
    for (ValueId v : i.results) TENON_RETURN_IF_ERROR(want(v, buffer.dtype));
    if (!load && !buffer.written) return fail("store to read-only buffer '{}'", buffer.name);
    for (size_t o = 1; o < i.operands.size(); ++o) TENON_RETURN_IF_ERROR(want(i.operands[o], buffer.dtype));
    return {};
  }

  Status tile(const Inst& i) const {
    const bool fills = i.kind == InstKind::kTileFill, multiplies = i.kind == InstKind::kTileMma;
    TENON_RETURN_IF_ERROR(arity(i, fills ? 1 : 2, 0));
    if (in_lanes_) return fail("a tile instruction in the lanes");
    if (i.index < 0 || static_cast<size_t>(i.index) >= k_.buffers.size()) return fail("no buffer {}", i.index);
    const BufferInfo& tile = k_.buffers[static_cast<size_t>(i.index)];
    if (tile.space != BufferSpace::kTile) return fail("buffer '{}' is no tile", tile.name);
    if (fills) return want(i.operands[0], tile.dtype);
    for (ValueId v : i.operands) TENON_RETURN_IF_ERROR(want(v, DType::kI64));
    if (i.tiles.size() != (multiplies ? 2 : 1)) return fail("{} matrices in memory", i.tiles.size());
    const int64_t rows = tile.count / tile.columns;
    if (i.depth < 1 || i.depth > (multiplies ? kMaxLocalBytes : rows)) return fail("a depth of {}", i.depth);
    for (const TileAccess& access : i.tiles) {
      if (access.buffer < 0 || static_cast<size_t>(access.buffer) >= k_.buffers.size()) return fail("no buffer {}", access.buffer);
      const BufferInfo& buffer = k_.buffers[static_cast<size_t>(access.buffer)];
      if (buffer.space != BufferSpace::kBinding && buffer.space != BufferSpace::kLocal)
        return fail("a matrix in '{}', which lanes do not share", buffer.name);
      if (access.stride < 0) return fail("a stride of {}", access.stride);
      if (!multiplies && (access.transposed || buffer.dtype != tile.dtype || !buffer.written))
        return fail("rows of '{}' cannot go to '{}'", tile.name, buffer.name);
      if (multiplies && is_float(buffer.dtype) != is_float(tile.dtype))
        return fail("products of {} in {}", name(buffer.dtype), name(tile.dtype));
    }
    if (!multiplies) return {};
    if (i.op != ScalarOp::kFma && i.op != ScalarOp::kMul && i.op != ScalarOp::kDot4 && i.op != ScalarOp::kDot4Signed)
      return fail("products by {}", info(i.op).name);
    return takes(i.op, tile.dtype) ? Status() : fail("{} on {}", info(i.op).name, name(tile.dtype));
  }

  Status loop(const Inst& i, int depth) {
    const size_t carried = i.operands.size() < 2 ? 0 : i.operands.size() - 2;
    TENON_RETURN_IF_ERROR(arity(i, carried + 2, carried, 1));
    TENON_RETURN_IF_ERROR(want(i.operands[0], DType::kI64));
    TENON_RETURN_IF_ERROR(want(i.operands[1], DType::kI64));
    if (i.step <= 0) return fail("loop step {}", i.step);
    if (i.width < 0 || i.width > kMaxWidth || (i.width & (i.width - 1))) return fail("loop width {}", i.width);
    if (i.loop == LoopKind::kVector && i.combiners.size() != carried)
      return fail("{} combiners for {} carried values", i.combiners.size(), carried);
    for (size_t c = 0; c < i.combiners.size(); ++c)
      TENON_RETURN_IF_ERROR(combiner(i.combiners[c], k_.dtype(i.operands[c + 2])));
    const Region& r = i.regions[0];
    if (r.args.size() != carried + 1 || r.yields.size() != carried) return fail("loop carries {} values", carried);
    const size_t mark = scope_.size();
    for (ValueId a : r.args) TENON_RETURN_IF_ERROR(define(a));
    TENON_RETURN_IF_ERROR(want(r.args[0], DType::kI64));
    for (size_t c = 0; c < carried; ++c) {
      const DType dtype = k_.dtype(i.operands[c + 2]);
      TENON_RETURN_IF_ERROR(want(r.args[c + 1], dtype));
      TENON_RETURN_IF_ERROR(want(i.results[c], dtype));
    }
    if (i.loop == LoopKind::kUnroll) TENON_RETURN_IF_ERROR(unrollable(i));
    const bool outside = !in_lanes_;
    in_lanes_ = in_lanes_ || i.loop == LoopKind::kVector;
    TENON_RETURN_IF_ERROR(region(r, depth + 1));
    if (outside) in_lanes_ = false;
    for (size_t c = 0; c < carried; ++c) TENON_RETURN_IF_ERROR(want(r.yields[c], k_.dtype(i.operands[c + 2])));
    for (size_t s = mark; s < scope_.size(); ++s) {
      defined_[static_cast<size_t>(scope_[s])] = false;
      retired_.insert(scope_[s]);
    }
    scope_.resize(mark);
    return {};
  }

  Status combiner(Combiner c, DType dtype) const {
    switch (c) {
      case Combiner::kAdd:
      case Combiner::kMul:
      case Combiner::kMin:
      case Combiner::kMax:
        return dtype == DType::kBool ? fail("arithmetic combiner on bool") : Status();
      case Combiner::kAnd:
      case Combiner::kOr:
        return is_float(dtype) ? fail("logical combiner on {}", name(dtype)) : Status();
      default:
        return fail("a loop cannot combine by position");
    }
  }

  Status unrollable(const Inst& i) const {
    const auto lo = constant(i.operands[0]), hi = constant(i.operands[1]);
    if (!lo || !hi) return fail("an unrolled loop needs constant bounds");
    int64_t span = 0;
    if (__builtin_sub_overflow(*hi, *lo, &span) || span / i.step > kMaxUnroll)
      return fail("an unrolled loop of more than {} iterations", kMaxUnroll);
    return {};
  }

  std::optional<int64_t> constant(ValueId v) const { return find_constant(k_.body, v); }

  static std::optional<int64_t> find_constant(const Region& r, ValueId v) {
    for (const auto& i : r.insts) {
      if (i->kind == InstKind::kConst && i->results.size() == 1 && i->results[0] == v) return i->constant.i;
      for (const Region& inner : i->regions)
        if (const auto c = find_constant(inner, v)) return c;
    }
    return std::nullopt;
  }

  Status branch(const Inst& i, int depth) {
    TENON_RETURN_IF_ERROR(arity(i, 1, i.results.size(), 2));
    TENON_RETURN_IF_ERROR(want(i.operands[0], DType::kBool));
    for (const Region& r : i.regions) {
      if (!r.args.empty() || r.yields.size() != i.results.size()) return fail("branches must yield what 'if' gives");
      TENON_RETURN_IF_ERROR(region(r, depth + 1));
      for (size_t c = 0; c < r.yields.size(); ++c) TENON_RETURN_IF_ERROR(want(r.yields[c], k_.dtype(i.results[c])));
    }
    return {};
  }

  const Kernel& k_;
  std::vector<bool> defined_;
  std::vector<ValueId> scope_;
  struct IdSet {
    std::vector<bool> bits;
    void insert(ValueId v) {
      if (bits.size() <= static_cast<size_t>(v)) bits.resize(static_cast<size_t>(v) + 1);
      bits[static_cast<size_t>(v)] = true;
    }
    bool count(ValueId v) const { return static_cast<size_t>(v) < bits.size() && bits[static_cast<size_t>(v)]; }
  } retired_;
  int at_ = 0;
  bool in_lanes_ = false;
};

}  // namespace

Status verify(const Kernel& kernel) { return Verifier(kernel).run(); }

}  // namespace tenon::kir
