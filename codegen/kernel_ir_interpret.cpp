#include <bit>
#include <cstring>

#include "codegen/kernel_ir.h"
#include "support/checked.h"

namespace tenon::kir {
namespace {

Scalar reinterpret_scalar(Scalar value, DType from, DType to) {
  std::byte bytes[8] = {};
  ir::store_scalar(bytes, from, 0, value);
  return ir::load_scalar(bytes, to, 0);
}

class Interpreter {
 public:
  Interpreter(const Kernel& kernel, std::span<const BufferView> bindings, std::span<const int64_t> dims)
      : k_(kernel), dims_(dims), values_(kernel.values.size()), views_(bindings.begin(), bindings.end()) {
    locals_.resize(k_.buffers.size());
    for (size_t b = views_.size(); b < k_.buffers.size(); ++b) {
      const BufferInfo& info = k_.buffers[b];
      const int64_t count = info.count * (info.space == BufferSpace::kLane ? k_.lanes : 1);
      locals_[b].resize(static_cast<size_t>(count * bits(info.dtype) / 8));
      views_.push_back({locals_[b].data(), count});
    }
  }

  Status run(int64_t g) {
    at(k_.body.args[0]).i = g;
    return region(k_.body);
  }

 private:
  Scalar& at(ValueId v) { return values_[static_cast<size_t>(v)]; }

  Status region(const Region& r) {
    for (const auto& i : r.insts) TENON_RETURN_IF_ERROR(inst(*i));
    return {};
  }

  Status inst(const Inst& i) {
    switch (i.kind) {
      case InstKind::kConst:
        at(i.results[0]) = is_float(i.dtype) ? ir::cast_scalar(i.constant, DType::kF64, i.dtype) : i.constant;
        return {};
      case InstKind::kDim:
        at(i.results[0]).i = dims_[static_cast<size_t>(i.index)];
        return {};
      case InstKind::kOp: {
        Scalar args[3];
        for (size_t o = 0; o < i.operands.size(); ++o) args[o] = at(i.operands[o]);
        at(i.results[0]) = ir::eval_scalar(i.op, k_.dtype(i.operands[i.op == ScalarOp::kSelect ? 1 : 0]), args);
        return {};
      }
      case InstKind::kCast:
        at(i.results[0]) = ir::cast_scalar(at(i.operands[0]), k_.dtype(i.operands[0]), i.dtype);
        return {};
      case InstKind::kBitcast:
        at(i.results[0]) = reinterpret_scalar(at(i.operands[0]), k_.dtype(i.operands[0]), i.dtype);
        return {};
      case InstKind::kLoad:
        return load(i);
      case InstKind::kStore:
        return store(i);
      case InstKind::kPrefetch:
        return {};
      case InstKind::kTileFill: {
        const auto b = static_cast<size_t>(i.index);
        for (int64_t e = 0; e < k_.buffers[b].count; ++e) ir::store_scalar(views_[b].data, k_.buffers[b].dtype, e, at(i.operands[0]));
        return {};
      }
      case InstKind::kTileMma:
        return multiply(i);
      case InstKind::kTileStore:
        return spread(i);
      case InstKind::kFor:
        return loop(i);
      case InstKind::kIf: {
        const Region& r = i.regions[at(i.operands[0]).i ? 0 : 1];
        TENON_RETURN_IF_ERROR(region(r));
        for (size_t c = 0; c < i.results.size(); ++c) at(i.results[c]) = at(r.yields[c]);
        return {};
      }
      case InstKind::kCheck:
        if (!at(i.operands[0]).i && failed_.ok())
          failed_ = error(Code::kOutOfRange, "kernel '{}' failed its check, code {}", k_.name, i.index);
        return {};
    }
    return {};
  }

  /// The access's place in its buffer, which a lane has a part of where it is kLane.
  Result<int64_t> place(const Inst& i) {
    const BufferView& view = views_[static_cast<size_t>(i.index)];
    const BufferInfo& info = k_.buffers[static_cast<size_t>(i.index)];
    int64_t offset = at(i.operands[0]).i, size = view.size;
    if (info.space == BufferSpace::kLane) {
      if (lane_ < 0 || lane_ >= k_.lanes) return error(Code::kInternal, "kernel '{}' has no lane {}", k_.name, lane_);
      size = info.count;
      if (offset >= 0 && offset < size) return lane_ * info.count + offset;
    }
    if (offset >= 0 && offset < size) return offset;
    return error(Code::kInternal, "kernel '{}' accesses element {} of buffer '{}' of {} elements", k_.name, offset,
                 info.name, size);
  }

  /// Places of several elements at once.
  Result<int64_t> wide_place(const Inst& i) {
    TENON_ASSIGN_OR_RETURN(const int64_t offset, place(i));
    const BufferView& view = views_[static_cast<size_t>(i.index)];
    if (offset % i.width == 0 && offset + i.width <= view.size) return offset;
    return error(Code::kInternal, "kernel '{}' accesses {} elements from {} of buffer '{}' of {}", k_.name, i.width, offset,
                 k_.buffers[static_cast<size_t>(i.index)].name, view.size);
  }

  Status load(const Inst& i) {
    if (i.width > 1) {
      TENON_ASSIGN_OR_RETURN(const int64_t offset, wide_place(i));
      const size_t b = static_cast<size_t>(i.index);
      for (int e = 0; e < i.width; ++e)
        at(i.results[static_cast<size_t>(e)]) = ir::load_scalar(views_[b].data, k_.buffers[b].dtype, offset + e);
      return {};
    }
    if (i.operands.size() == 3 && !at(i.operands[1]).i) {
      at(i.results[0]) = at(i.operands[2]);
      return {};
    }
    TENON_ASSIGN_OR_RETURN(const int64_t offset, place(i));
    const size_t b = static_cast<size_t>(i.index);
    at(i.results[0]) = ir::load_scalar(views_[b].data, k_.buffers[b].dtype, offset);
    return {};
  }

  Status store(const Inst& i) {
    if (i.width > 1) {
      TENON_ASSIGN_OR_RETURN(const int64_t offset, wide_place(i));
      const size_t b = static_cast<size_t>(i.index);
      for (int e = 0; e < i.width; ++e)
        ir::store_scalar(views_[b].data, k_.buffers[b].dtype, offset + e, at(i.operands[static_cast<size_t>(e) + 1]));
      return {};
    }
    if (i.operands.size() == 3 && !at(i.operands[2]).i) return {};
    TENON_ASSIGN_OR_RETURN(const int64_t offset, place(i));
    const size_t b = static_cast<size_t>(i.index);
    ir::store_scalar(views_[b].data, k_.buffers[b].dtype, offset, at(i.operands[1]));
    return {};
  }

  /// Element (r, c) of the matrix `t` of a tile instruction.
  Result<int64_t> tile_place(const Inst& i, size_t t, int64_t r, int64_t c) {
    const TileAccess& access = i.tiles[t];
    const int64_t offset = at(i.operands[t]).i + (access.transposed ? c * access.stride + r : r * access.stride + c);
    const BufferView& view = views_[static_cast<size_t>(access.buffer)];
    if (offset >= 0 && offset < view.size) return offset;
    return error(Code::kInternal, "kernel '{}' accesses element {} of buffer '{}' of {} elements", k_.name, offset,
                 k_.buffers[static_cast<size_t>(access.buffer)].name, view.size);
  }

  Status multiply(const Inst& i) {
    const auto t = static_cast<size_t>(i.index);
    const BufferInfo& tile = k_.buffers[t];
    const auto factor = [&](size_t which, int64_t r, int64_t c) -> Result<Scalar> {
      TENON_ASSIGN_OR_RETURN(const int64_t place, tile_place(i, which, r, c));
      const auto b = static_cast<size_t>(i.tiles[which].buffer);
      return ir::cast_scalar(ir::load_scalar(views_[b].data, k_.buffers[b].dtype, place), k_.buffers[b].dtype, tile.dtype);
    };
    for (int64_t e = 0; e < tile.count; ++e) {
      Scalar sum = ir::load_scalar(views_[t].data, tile.dtype, e);
      for (int64_t k = 0; k < i.depth; ++k) {
        TENON_ASSIGN_OR_RETURN(const Scalar a, factor(0, e / tile.columns, k));
        TENON_ASSIGN_OR_RETURN(const Scalar b, factor(1, k, e % tile.columns));
        Scalar args[] = {a, b, sum};
        const Scalar product = ir::eval_scalar(i.op, tile.dtype, args);
        Scalar both[] = {sum, product};
        sum = i.op == ScalarOp::kMul ? ir::eval_scalar(ScalarOp::kAdd, tile.dtype, both) : product;
      }
      ir::store_scalar(views_[t].data, tile.dtype, e, sum);
    }
    return {};
  }

  Status spread(const Inst& i) {
    const auto t = static_cast<size_t>(i.index);
    const BufferInfo& tile = k_.buffers[t];
    const int64_t first = at(i.operands[1]).i, rows = tile.count / tile.columns;
    for (int64_t r = 0; r < i.depth; ++r)
      for (int64_t c = 0; c < tile.columns; ++c) {
        if (first + r < 0 || first + r >= rows)
          return error(Code::kInternal, "kernel '{}' stores row {} of {} of '{}'", k_.name, first + r, rows, tile.name);
        TENON_ASSIGN_OR_RETURN(const int64_t place, tile_place(i, 0, r, c));
        const auto b = static_cast<size_t>(i.tiles[0].buffer);
        ir::store_scalar(views_[b].data, tile.dtype, place, ir::load_scalar(views_[t].data, tile.dtype, (first + r) * tile.columns + c));
      }
    return {};
  }

  Status loop(const Inst& i) {
    const Region& r = i.regions[0];
    const int64_t hi = at(i.operands[1]).i;
    const bool in_lanes = i.loop == LoopKind::kVector && lane_ < 0;
    std::vector<Scalar> carried;
    for (size_t c = 2; c < i.operands.size(); ++c) carried.push_back(at(i.operands[c]));
    for (int64_t iv = at(i.operands[0]).i; iv < hi;) {
      at(r.args[0]).i = iv;
      if (in_lanes) lane_ = iv;
      for (size_t c = 0; c < carried.size(); ++c) at(r.args[c + 1]) = carried[c];
      TENON_RETURN_IF_ERROR(region(r));
      for (size_t c = 0; c < carried.size(); ++c) carried[c] = at(r.yields[c]);
      const auto next = checked_add(iv, i.step);
      if (!next) break;
      iv = *next;
    }
    if (in_lanes) lane_ = -1;
    for (size_t c = 0; c < carried.size(); ++c) at(i.results[c]) = carried[c];
    return {};
  }

  const Kernel& k_;
  int64_t lane_ = -1;  // iteration of the outermost vector loop
  std::span<const int64_t> dims_;
  std::vector<Scalar> values_;
  std::vector<BufferView> views_;
  std::vector<std::vector<std::byte>> locals_;

 public:
  Status failed_;
};

}  // namespace

Status interpret(const Kernel& kernel, std::span<const BufferView> bindings, std::span<const int64_t> dims,
                 int64_t begin, int64_t end) {
  if (bindings.size() != static_cast<size_t>(kernel.num_bindings()))
    return error(Code::kInvalidArgument, "kernel '{}' takes {} bindings, not {}", kernel.name, kernel.num_bindings(),
                 bindings.size());
  if (dims.size() < static_cast<size_t>(kernel.num_dims))
    return error(Code::kInvalidArgument, "kernel '{}' takes {} dims, not {}", kernel.name, kernel.num_dims,
                 dims.size());
  Interpreter interpreter(kernel, bindings, dims);
  for (int64_t g = begin; g < end; ++g) TENON_RETURN_IF_ERROR(interpreter.run(g));
  return interpreter.failed_;
}

}  // namespace tenon::kir
