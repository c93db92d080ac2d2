#include "codegen/kernel_ir.h"

#include <algorithm>
#include <memory>

namespace tenon::kir {

namespace {

/// How many instructions the pool's block `number` has: few in the first, and never so many that the system is asked for pages.
size_t block_size(size_t number) { return size_t{32} << std::min<size_t>(number, 3); }

}  // namespace

void InstEnd::operator()(Inst* inst) const { std::destroy_at(inst); }

InstPool::~InstPool() {
  for (size_t i = 0; i < blocks_.size(); ++i) std::allocator<Inst>().deallocate(blocks_[i], block_size(i));
}

InstPtr InstPool::make() {
  if (left_ == 0) {
    left_ = block_size(blocks_.size());
    blocks_.push_back(std::allocator<Inst>().allocate(left_));
  }
  return InstPtr(std::construct_at(blocks_.back() + --left_));
}

int Kernel::num_bindings() const {
  return static_cast<int>(std::count_if(buffers.begin(), buffers.end(),
                                        [](const BufferInfo& b) { return b.space == BufferSpace::kBinding; }));
}

KernelBuilder::KernelBuilder(Kernel& kernel) : kernel_(kernel), block_(&kernel.body) {
  if (kernel_.body.args.empty()) kernel_.body.args.push_back(new_value(DType::kI64));
  def_.resize(kernel_.values.size(), nullptr);
  const std::function<void(const Region&)> index = [&](const Region& region) {
    for (const auto& inst : region.insts) {
      for (ValueId r : inst->results) def_[static_cast<size_t>(r)] = inst.get();
      for (const Region& inner : inst->regions) index(inner);
    }
  };
  index(kernel_.body);
}

ValueId KernelBuilder::new_value(DType dtype) {
  kernel_.values.push_back({dtype});
  def_.push_back(nullptr);
  return static_cast<ValueId>(kernel_.values.size()) - 1;
}

Inst& KernelBuilder::append(InstKind kind) {
  block_->insts.push_back(kernel_.pool.make());
  block_->insts.back()->kind = kind;
  return *block_->insts.back();
}

int KernelBuilder::add_binding(std::string name, DType dtype, bool written) {
  kernel_.buffers.push_back({std::move(name), dtype, BufferSpace::kBinding, written, 0, 0});
  return static_cast<int>(kernel_.buffers.size()) - 1;
}

int KernelBuilder::add_local(std::string name, DType dtype, int64_t count, BufferSpace space) {
  kernel_.buffers.push_back({std::move(name), dtype, space, true, count, 0});
  return static_cast<int>(kernel_.buffers.size()) - 1;
}

int KernelBuilder::add_tile(std::string name, DType dtype, int64_t rows, int64_t columns) {
  kernel_.buffers.push_back({std::move(name), dtype, BufferSpace::kTile, true, rows * columns, columns});
  return static_cast<int>(kernel_.buffers.size()) - 1;
}

namespace {

/// Gives `inst` a result of its own.
ValueId define(Inst& inst, ValueId value, std::vector<const Inst*>& def) {
  inst.results = {value};
  def[static_cast<size_t>(value)] = &inst;
  return value;
}

bool foldable(DType dtype) { return dtype == DType::kI64 || dtype == DType::kBool; }

}  // namespace

ValueId KernelBuilder::constant(DType dtype, double value) {
  if (!is_float(dtype)) return constant_int(dtype, static_cast<int64_t>(value));
  Inst& inst = append(InstKind::kConst);
  inst.dtype = dtype;
  inst.constant.f = value;
  return define(inst, new_value(dtype), def_);
}

ValueId KernelBuilder::constant_int(DType dtype, int64_t value) {
  if (is_float(dtype)) return constant(dtype, static_cast<double>(value));
  Inst& inst = append(InstKind::kConst);
  inst.dtype = dtype;
  inst.constant.i = value;
  return define(inst, new_value(dtype), def_);
}

ValueId KernelBuilder::dim(int index) {
  kernel_.num_dims = std::max(kernel_.num_dims, index + 1);
  Inst& inst = append(InstKind::kDim);
  inst.index = index;
  return define(inst, new_value(DType::kI64), def_);
}

std::optional<int64_t> KernelBuilder::as_constant(ValueId v) const {
  const Inst* inst = def_[static_cast<size_t>(v)];
  if (!inst || inst->kind != InstKind::kConst || is_float(inst->dtype)) return std::nullopt;
  return inst->constant.i;
}

namespace {

struct Folder {
  KernelBuilder& b;
  const std::vector<const Inst*>& def;

  /// The value that `op(x, y)` on i64 or bool is without computing anything; -1 when it must be computed.
  ValueId identity_of(ScalarOp op, DType dtype, ValueId x, ValueId y) const {
    const auto cx = b.as_constant(x), cy = b.as_constant(y);
    const auto is = [](const std::optional<int64_t>& c, int64_t v) { return c && *c == v; };
    switch (op) {
      case ScalarOp::kAdd:
        return is(cx, 0) ? y : is(cy, 0) ? x : -1;
      case ScalarOp::kSub:
        return is(cy, 0) ? x : x == y ? b.i64(0) : -1;
      case ScalarOp::kMul:
        return is(cx, 1) || is(cy, 0) ? y : is(cy, 1) || is(cx, 0) ? x : -1;
      case ScalarOp::kDiv:
      case ScalarOp::kFloorDiv:
        return is(cy, 1) || is(cx, 0) ? x : -1;
      case ScalarOp::kMod:
      case ScalarOp::kRem:
        return is(cy, 1) ? b.i64(0) : is(cx, 0) ? x : -1;
      case ScalarOp::kMin:
      case ScalarOp::kMax:
        return x == y ? x : -1;
      case ScalarOp::kAnd:
        return fold_logic(dtype, x, y, cx, cy, true);
      case ScalarOp::kOr:
        return fold_logic(dtype, x, y, cx, cy, false);
      case ScalarOp::kEq:
      case ScalarOp::kLe:
      case ScalarOp::kGe:
        return x == y ? b.constant_int(DType::kBool, 1) : -1;
      case ScalarOp::kNe:
      case ScalarOp::kLt:
      case ScalarOp::kGt:
        return x == y ? b.constant_int(DType::kBool, 0) : -1;
      default:
        return -1;
    }
  }

  static ValueId fold_logic(DType dtype, ValueId x, ValueId y, std::optional<int64_t> cx, std::optional<int64_t> cy,
                            bool is_and) {
    if (x == y) return x;
    if (dtype != DType::kBool) return -1;
    if (cx) return (*cx != 0) == is_and ? y : x;
    if (cy) return (*cy != 0) == is_and ? x : y;
    return -1;
  }

  const Inst* op_inst(ValueId v, ScalarOp op) const {
    const Inst* inst = def[static_cast<size_t>(v)];
    return inst && inst->kind == InstKind::kOp && inst->op == op ? inst : nullptr;
  }
};

}  // namespace

ValueId KernelBuilder::op(ScalarOp op, std::initializer_list<ValueId> operands) {
  return this->op(op, std::span<const ValueId>(operands.begin(), operands.size()));
}

ValueId KernelBuilder::op(ScalarOp op, std::span<const ValueId> operands) {
  const ir::ScalarOpInfo& op_info = info(op);
  TENON_CHECK(operands.size() == static_cast<size_t>(op_info.arity));
  const DType dtype = kernel_.dtype(operands[op == ScalarOp::kSelect ? 1 : 0]);
  const DType result = op_info.result_is_bool ? DType::kBool : dtype;
  if (op == ScalarOp::kSelect) {
    if (const auto c = as_constant(operands[0])) return operands[*c ? 1 : 2];
    if (operands[1] == operands[2]) return operands[1];
  }
  if (foldable(dtype)) {
    Scalar args[3];
    bool all = true;
    for (size_t i = 0; i < operands.size(); ++i) {
      const auto c = as_constant(operands[i]);
      all &= c.has_value();
      if (c) args[i].i = *c;
    }
    if (all) return constant_int(result, eval_scalar(op, dtype, args).i);
    const Folder folder{*this, def_};
    if (op_info.arity == 2) {
      if (const ValueId v = folder.identity_of(op, dtype, operands[0], operands[1]); v >= 0) return v;
      const auto c = as_constant(operands[1]);
      const Inst* inner = c ? folder.op_inst(operands[0], op) : nullptr;
      if (inner && dtype == DType::kI64 && (op == ScalarOp::kAdd || op == ScalarOp::kMul)) {
        if (const auto c2 = as_constant(inner->operands[1])) {
          const Scalar both[2] = {{0, *c2}, {0, *c}};
          return this->op(op, {inner->operands[0], i64(eval_scalar(op, dtype, both).i)});
        }
      }
    } else if (op == ScalarOp::kNot && dtype == DType::kBool) {
      if (const Inst* inner = folder.op_inst(operands[0], ScalarOp::kNot)) return inner->operands[0];
    }
  }
  Inst& inst = append(InstKind::kOp);
  inst.op = op;
  inst.operands.assign(operands.begin(), operands.end());
  return define(inst, new_value(result), def_);
}

ValueId KernelBuilder::cast(ValueId value, DType to) {
  const DType from = kernel_.dtype(value);
  if (from == to) return value;
  if (const auto c = as_constant(value)) {
    const Scalar out = ir::cast_scalar({0, *c}, from, to);
    return is_float(to) ? constant(to, out.f) : constant_int(to, out.i);
  }
  Inst& inst = append(InstKind::kCast);
  inst.dtype = to;
  inst.operands = {value};
  return define(inst, new_value(to), def_);
}

ValueId KernelBuilder::bitcast(ValueId value, DType to) {
  if (kernel_.dtype(value) == to) return value;
  Inst& inst = append(InstKind::kBitcast);
  inst.dtype = to;
  inst.operands = {value};
  return define(inst, new_value(to), def_);
}

ValueId KernelBuilder::load(int buffer, ValueId offset) {
  Inst& inst = append(InstKind::kLoad);
  inst.index = buffer;
  inst.operands = {offset};
  return define(inst, new_value(kernel_.buffers[static_cast<size_t>(buffer)].dtype), def_);
}

ValueId KernelBuilder::load_masked(int buffer, ValueId offset, ValueId mask, ValueId other) {
  if (const auto c = as_constant(mask)) return *c ? load(buffer, offset) : other;
  Inst& inst = append(InstKind::kLoad);
  inst.index = buffer;
  inst.operands = {offset, mask, other};
  return define(inst, new_value(kernel_.buffers[static_cast<size_t>(buffer)].dtype), def_);
}

void KernelBuilder::store(int buffer, ValueId offset, ValueId value) {
  Inst& inst = append(InstKind::kStore);
  inst.index = buffer;
  inst.operands = {offset, value};
}

void KernelBuilder::store_masked(int buffer, ValueId offset, ValueId value, ValueId mask) {
  if (const auto c = as_constant(mask)) {
    if (*c) store(buffer, offset, value);
    return;
  }
  Inst& inst = append(InstKind::kStore);
  inst.index = buffer;
  inst.operands = {offset, value, mask};
}

std::vector<ValueId> KernelBuilder::load_wide(int buffer, ValueId offset, int width) {
  if (width == 1) return {load(buffer, offset)};
  Inst& inst = append(InstKind::kLoad);
  inst.index = buffer;
  inst.width = width;
  inst.operands = {offset};
  for (int i = 0; i < width; ++i) {
    const ValueId value = new_value(kernel_.buffers[static_cast<size_t>(buffer)].dtype);
    inst.results.push_back(value);
    def_[static_cast<size_t>(value)] = &inst;
  }
  return inst.results;
}

void KernelBuilder::store_wide(int buffer, ValueId offset, std::span<const ValueId> values) {
  if (values.size() == 1) return store(buffer, offset, values[0]);
  Inst& inst = append(InstKind::kStore);
  inst.index = buffer;
  inst.width = static_cast<int32_t>(values.size());
  inst.operands = {offset};
  inst.operands.insert(inst.operands.end(), values.begin(), values.end());
}

void KernelBuilder::prefetch(int buffer, ValueId offset) {
  Inst& inst = append(InstKind::kPrefetch);
  inst.index = buffer;
  inst.operands = {offset};
}

void KernelBuilder::check(ValueId condition, CheckCode code) {
  if (const auto c = as_constant(condition); c && *c) return;
  Inst& inst = append(InstKind::kCheck);
  inst.index = code;
  inst.operands = {condition};
}

void KernelBuilder::tile_fill(int tile, ValueId value) {
  Inst& inst = append(InstKind::kTileFill);
  inst.index = tile;
  inst.operands = {value};
}

void KernelBuilder::tile_mma(int tile, ScalarOp op, TileAccess a, ValueId a_offset, TileAccess b, ValueId b_offset, int64_t depth) {
  Inst& inst = append(InstKind::kTileMma);
  inst.index = tile;
  inst.op = op;
  inst.depth = depth;
  inst.tiles = {a, b};
  inst.operands = {a_offset, b_offset};
}

void KernelBuilder::tile_store(int tile, ValueId first_row, int64_t rows, TileAccess to, ValueId offset) {
  Inst& inst = append(InstKind::kTileStore);
  inst.index = tile;
  inst.depth = rows;
  inst.tiles = {to};
  inst.operands = {offset, first_row};
}

std::vector<ValueId> KernelBuilder::loop(
    LoopKind kind, ValueId lo, ValueId hi, int64_t step, std::span<const ValueId> inits,
    const std::function<std::vector<ValueId>(ValueId iv, std::span<const ValueId> carried)>& body,
    std::vector<Combiner> combiners, int width) {
  Inst& inst = append(InstKind::kFor);
  inst.loop = kind;
  inst.step = step;
  inst.width = width;
  inst.combiners = std::move(combiners);
  inst.operands = {lo, hi};
  inst.operands.insert(inst.operands.end(), inits.begin(), inits.end());
  inst.regions.resize(1);
  Region* const outer = block_;
  Region& region = inst.regions[0];
  region.args.push_back(new_value(DType::kI64));
  for (ValueId init : inits) region.args.push_back(new_value(kernel_.dtype(init)));
  block_ = &region;
  const std::vector<ValueId> args = region.args;
  region.yields = body(args[0], std::span(args).subspan(1));
  block_ = outer;
  for (ValueId init : inits) {
    const ValueId result = new_value(kernel_.dtype(init));
    inst.results.push_back(result);
    def_[static_cast<size_t>(result)] = &inst;
  }
  return inst.results;
}

void KernelBuilder::loop(LoopKind kind, ValueId lo, ValueId hi, int64_t step,
                         const std::function<void(ValueId iv)>& body, int width) {
  loop(
      kind, lo, hi, step, {},
      [&](ValueId iv, std::span<const ValueId>) {
        body(iv);
        return std::vector<ValueId>{};
      },
      {}, width);
}

std::vector<ValueId> KernelBuilder::if_else(ValueId condition, const std::function<std::vector<ValueId>()>& then_body,
                                            const std::function<std::vector<ValueId>()>& else_body) {
  if (const auto c = as_constant(condition)) return *c ? then_body() : else_body();
  Inst& inst = append(InstKind::kIf);
  inst.operands = {condition};
  inst.regions.resize(2);
  Region* const outer = block_;
  block_ = &inst.regions[0];
  inst.regions[0].yields = then_body();
  block_ = &inst.regions[1];
  inst.regions[1].yields = else_body();
  block_ = outer;
  for (ValueId y : inst.regions[0].yields) {
    const ValueId result = new_value(kernel_.dtype(y));
    inst.results.push_back(result);
    def_[static_cast<size_t>(result)] = &inst;
  }
  return inst.results;
}

}  // namespace tenon::kir
