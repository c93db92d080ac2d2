#include "tests/spirv/sample_kernels.h"

#include <functional>

#include <fmt/format.h>

namespace tenon::testing {
namespace {

using kir::Kernel;
using kir::KernelBuilder;
using kir::LoopKind;
using kir::ScalarOp;
using kir::ValueId;

template <class Fn>
SampleKernel make(std::string name, DType in, DType out, Fn&& body) {
  SampleKernel sample{name, in, out, {}};
  sample.kernel.name = name;
  KernelBuilder b(sample.kernel);
  b.add_binding("a", in, false);
  b.add_binding("b", in, false);
  b.add_binding("c", out, true);
  sample.kernel.num_dims = 1;
  b.store(2, b.grid_index(), body(b));
  return sample;
}

constexpr DType kFloats[] = {DType::kF32, DType::kF64, DType::kF16};
constexpr DType kInts[] = {DType::kI8, DType::kI16, DType::kI32, DType::kI64,
                           DType::kU8, DType::kU16, DType::kU32, DType::kU64};

void add_operations(std::vector<SampleKernel>& out) {
  constexpr ScalarOp kUnaryFloat[] = {ScalarOp::kNeg, ScalarOp::kAbs, ScalarOp::kFloor, ScalarOp::kCeil, ScalarOp::kRound,
                                      ScalarOp::kTrunc};
  constexpr ScalarOp kBinaryFloat[] = {ScalarOp::kAdd, ScalarOp::kSub, ScalarOp::kMul, ScalarOp::kMin, ScalarOp::kMax};
  constexpr ScalarOp kBinaryInt[] = {ScalarOp::kAdd, ScalarOp::kSub, ScalarOp::kMul, ScalarOp::kDiv, ScalarOp::kRem,
                                     ScalarOp::kMod, ScalarOp::kFloorDiv, ScalarOp::kMin, ScalarOp::kMax, ScalarOp::kAnd,
                                     ScalarOp::kOr, ScalarOp::kXor, ScalarOp::kShl, ScalarOp::kShr};
  constexpr ScalarOp kCompare[] = {ScalarOp::kEq, ScalarOp::kNe, ScalarOp::kLt, ScalarOp::kLe, ScalarOp::kGt, ScalarOp::kGe};
  auto unary = [&](ScalarOp op, DType d) {
    out.push_back(make(std::string(ir::info(op).name) + "_" + std::string(name(d)), d, d, [&](KernelBuilder& b) {
      return b.op(op, {b.load(0, b.grid_index())});
    }));
  };
  auto binary = [&](ScalarOp op, DType d, DType result) {
    out.push_back(make(std::string(ir::info(op).name) + "_" + std::string(name(d)), d, result, [&](KernelBuilder& b) {
      return b.op(op, {b.load(0, b.grid_index()), b.load(1, b.grid_index())});
    }));
  };
  for (DType d : kFloats) {
    for (ScalarOp op : kUnaryFloat) unary(op, d);
    for (ScalarOp op : kBinaryFloat) binary(op, d, d);
    for (ScalarOp op : kCompare) binary(op, d, DType::kBool);
  }
  for (DType d : kInts) {
    for (ScalarOp op : {ScalarOp::kNot, ScalarOp::kNeg, ScalarOp::kAbs, ScalarOp::kSign}) unary(op, d);
    for (ScalarOp op : kBinaryInt) binary(op, d, d);
    for (ScalarOp op : kCompare) binary(op, d, DType::kBool);
  }
  for (ScalarOp op : {ScalarOp::kAnd, ScalarOp::kOr, ScalarOp::kXor, ScalarOp::kEq}) binary(op, DType::kBool, DType::kBool);
  for (ScalarOp op : {ScalarOp::kExp, ScalarOp::kLog, ScalarOp::kTanh, ScalarOp::kErf, ScalarOp::kSigmoid, ScalarOp::kSin,
                      ScalarOp::kCos, ScalarOp::kSqrt})
    unary(op, DType::kF32);
}

/// Divisors and distances that are known, those among them that SPIR-V leaves undefined as well.
void add_constants(std::vector<SampleKernel>& out) {
  const auto by = [&](ScalarOp op, DType d, int64_t constant) {
    const std::string sign = constant < 0 ? "minus_" : "";
    out.push_back(make(fmt::format("{}_{}_by_{}{}", ir::info(op).name, name(d), sign, std::abs(constant)), d, d, [&](KernelBuilder& b) {
      return b.op(op, {b.load(0, b.grid_index()), b.constant_int(d, constant)});
    }));
  };
  for (DType d : {DType::kI8, DType::kI32, DType::kU32, DType::kI64, DType::kU64}) {
    for (ScalarOp op : {ScalarOp::kDiv, ScalarOp::kRem, ScalarOp::kFloorDiv, ScalarOp::kMod}) {
      for (int64_t divisor : {0, 2, 7}) by(op, d, divisor);
      if (is_signed_int(d))
        for (int64_t divisor : {-1, -3}) by(op, d, divisor);
    }
    for (ScalarOp op : {ScalarOp::kShl, ScalarOp::kShr})
      for (int64_t distance : {0, 3, bits(d) - 1, bits(d)}) by(op, d, distance);
  }
}

void add_casts(std::vector<SampleKernel>& out) {
  constexpr DType kAll[] = {DType::kBool, DType::kI8, DType::kU8, DType::kI16, DType::kU16, DType::kI32, DType::kU32,
                            DType::kI64, DType::kU64, DType::kF16, DType::kBF16, DType::kF32, DType::kF64};
  for (DType from : kAll)
    for (DType to : kAll)
      if (from != to && !(is_float(from) && is_unsigned_int(to)))  // negative to unsigned is not defined
        out.push_back(make("cast_" + std::string(name(from)) + "_" + std::string(name(to)), from, to,
                           [&](KernelBuilder& b) { return b.cast(b.load(0, b.grid_index()), to); }));
}

void add_control_flow(std::vector<SampleKernel>& out) {
  out.push_back(make("prefix_sum_loop", DType::kF32, DType::kF32, [](KernelBuilder& b) {
    const ValueId init[] = {b.constant(DType::kF32, 0)};
    return b.loop(LoopKind::kSerial, b.i64(0), b.add(b.grid_index(), b.i64(1)), 1, init,
                  [&](ValueId i, std::span<const ValueId> carried) {
                    return std::vector<ValueId>{b.op(ScalarOp::kAdd, {carried[0], b.load(0, i)})};
                  })[0];
  }));
  out.push_back(make("vector_sum_step_3", DType::kI32, DType::kI32, [](KernelBuilder& b) {
    const ValueId init[] = {b.constant_int(DType::kI32, 7)};
    return b.loop(LoopKind::kSerial, b.i64(0), b.dim(0), 3, init,
                  [&](ValueId i, std::span<const ValueId> carried) {
                    return std::vector<ValueId>{b.op(ScalarOp::kXor, {carried[0], b.load(1, i)})};
                  })[0];
  }));
  out.push_back(make("masked_neighbour", DType::kF32, DType::kF32, [](KernelBuilder& b) {
    const ValueId left = b.sub(b.grid_index(), b.i64(1));
    const ValueId inside = b.op(ScalarOp::kGe, {left, b.i64(0)});
    return b.load_masked(0, left, inside, b.constant(DType::kF32, -1.5));
  }));
  out.push_back(make("branch", DType::kF32, DType::kF32, [](KernelBuilder& b) {
    const ValueId odd = b.op(ScalarOp::kEq, {b.op(ScalarOp::kRem, {b.grid_index(), b.i64(2)}), b.i64(1)});
    return b.if_else(
        odd, [&] { return std::vector<ValueId>{b.load(0, b.grid_index())}; },
        [&] { return std::vector<ValueId>{b.op(ScalarOp::kNeg, {b.load(1, b.grid_index())})}; })[0];
  }));
  out.push_back(make("local_reverse", DType::kF32, DType::kF32, [](KernelBuilder& b) {
    const int local = b.add_local("tile", DType::kF32, 8);
    b.loop(LoopKind::kUnroll, b.i64(0), b.i64(8), 1, [&](ValueId i) {
      const ValueId at = b.op(ScalarOp::kRem, {b.add(b.grid_index(), i), b.dim(0)});
      b.store(local, b.sub(b.i64(7), i), b.load(0, at));
    });
    return b.op(ScalarOp::kSub, {b.load(local, b.i64(0)), b.load(local, b.i64(5))});
  }));
  out.push_back(make("wrapped_index", DType::kI32, DType::kI64, [](KernelBuilder& b) {
    const ValueId i = b.cast(b.load(0, b.grid_index()), DType::kI64);
    const ValueId negative = b.op(ScalarOp::kLt, {i, b.i64(0)});
    const ValueId wrapped = b.op(ScalarOp::kSelect, {negative, b.add(b.dim(0), i), i});
    return wrapped;
  }));
  out.push_back(make("index_inside", DType::kI32, DType::kBool, [](KernelBuilder& b) {
    const ValueId i = b.cast(b.load(0, b.grid_index()), DType::kI64);
    const ValueId inside = b.op(ScalarOp::kAnd, {b.op(ScalarOp::kGe, {i, b.i64(0)}), b.op(ScalarOp::kLt, {i, b.i64(11)})});
    return inside;
  }));
  out.push_back(make("select", DType::kF32, DType::kF32, [](KernelBuilder& b) {
    const ValueId x = b.load(0, b.grid_index()), y = b.load(1, b.grid_index());
    return b.op(ScalarOp::kSelect, {b.op(ScalarOp::kLt, {x, y}), x, y});
  }));
}

/// Combines a row of `dim` elements over 64 lanes, twice as many lanes as some rows are long.
ValueId combined(KernelBuilder& b, ir::Combiner combiner, ValueId init, const std::function<ValueId(ValueId i, ValueId carried)>& body) {
  const ValueId inits[] = {init};
  return b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, inits,
                [&](ValueId i, std::span<const ValueId> carried) { return std::vector<ValueId>{body(i, carried[0])}; }, {combiner})[0];
}

void add_lanes(std::vector<SampleKernel>& out) {
  const auto lanes = [&](std::string name, DType in, DType result, const std::function<ValueId(KernelBuilder&)>& body) {
    out.push_back(make(std::move(name), in, result, [&](KernelBuilder& b) {
      b.kernel().lanes = 64;
      return body(b);
    }));
  };
  lanes("lanes_sum", DType::kI32, DType::kI32, [](KernelBuilder& b) {
    return combined(b, ir::Combiner::kAdd, b.constant_int(DType::kI32, 5), [&](ValueId i, ValueId sum) {
      return b.op(ScalarOp::kAdd, {sum, b.op(ScalarOp::kMul, {b.load(0, i), b.load(1, b.grid_index())})});
    });
  });
  lanes("lanes_product_mod_256", DType::kU8, DType::kU8, [](KernelBuilder& b) {
    return combined(b, ir::Combiner::kMul, b.constant_int(DType::kU8, 1), [&](ValueId i, ValueId sum) {
      return b.op(ScalarOp::kMul, {sum, b.op(ScalarOp::kOr, {b.load(0, i), b.constant_int(DType::kU8, 1)})});
    });
  });
  lanes("lanes_max_of_what_is_kept", DType::kF32, DType::kF32, [](KernelBuilder& b) {
    const int row = b.add_local("row", DType::kF32, 256);
    const ValueId largest = combined(b, ir::Combiner::kMax, b.constant(DType::kF32, -1e30), [&](ValueId i, ValueId most) {
      const ValueId v = b.op(ScalarOp::kMul, {b.load(0, i), b.load(1, b.grid_index())});
      b.store(row, b.sub(b.sub(b.dim(0), i), b.i64(1)), v);
      return b.op(ScalarOp::kMax, {most, v});
    });
    const ValueId smallest = combined(b, ir::Combiner::kMin, b.constant(DType::kF32, 1e30), [&](ValueId i, ValueId least) {
      return b.op(ScalarOp::kMin, {least, b.op(ScalarOp::kSub, {b.load(row, i), largest})});
    });
    return b.op(ScalarOp::kAdd, {smallest, b.load(row, b.grid_index())});
  });
  lanes("lanes_first_position", DType::kI16, DType::kI64, [](KernelBuilder& b) {
    return combined(b, ir::Combiner::kMin, b.i64(INT64_MAX), [&](ValueId i, ValueId least) {
      const ValueId same = b.op(ScalarOp::kLe, {b.load(0, i), b.load(1, b.grid_index())});
      return b.op(ScalarOp::kMin, {least, b.op(ScalarOp::kSelect, {same, b.mul(i, b.i64(INT32_MAX)), b.i64(INT64_MAX)})});
    });
  });
  // What lanes combine through is used again in the next trip.
  lanes("lanes_combine_again_and_again", DType::kI32, DType::kI32, [](KernelBuilder& b) {
    const ValueId init[] = {b.constant_int(DType::kI32, 0)};
    return b.loop(LoopKind::kSerial, b.i64(0), b.i64(40), 1, init, [&](ValueId trip, std::span<const ValueId> carried) {
      const ValueId most = combined(b, ir::Combiner::kMax, b.constant_int(DType::kI32, INT32_MIN), [&](ValueId i, ValueId best) {
        return b.op(ScalarOp::kMax, {best, b.op(ScalarOp::kXor, {b.load(0, i), b.cast(trip, DType::kI32)})});
      });
      return std::vector<ValueId>{b.op(ScalarOp::kAdd, {b.op(ScalarOp::kXor, {carried[0], most}), b.load(1, b.grid_index())})};
    })[0];
  });
  lanes("lanes_all", DType::kF32, DType::kBool, [](KernelBuilder& b) {
    return combined(b, ir::Combiner::kAnd, b.constant_int(DType::kBool, 1), [&](ValueId i, ValueId all) {
      return b.op(ScalarOp::kAnd, {all, b.op(ScalarOp::kLe, {b.load(0, i), b.load(1, b.grid_index())})});
    });
  });
  // As many iterations as lanes, 2 apart.
  lanes("lanes_one_trip", DType::kI32, DType::kI32, [](KernelBuilder& b) {
    const ValueId inits[] = {b.load(1, b.grid_index())};
    return b.loop(LoopKind::kVector, b.i64(0), b.i64(128), 2, inits, [&](ValueId i, std::span<const ValueId> carried) {
      return std::vector<ValueId>{b.op(ScalarOp::kAdd, {carried[0], b.op(ScalarOp::kMul, {b.load(0, i), b.cast(i, DType::kI32)})})};
    }, {ir::Combiner::kAdd})[0];
  });
  // Blocks of a row go through shared memory, each lane keeps sums of its own between them.
  lanes("lanes_keep_sums", DType::kI32, DType::kI32, [](KernelBuilder& b) {
    const int block = b.add_local("block", DType::kI32, 64), own = b.add_local("own", DType::kI32, 2, kir::BufferSpace::kLane);
    const auto each = [&](const std::function<void(ValueId)>& body) { b.loop(LoopKind::kVector, b.i64(0), b.i64(64), 1, body); };
    each([&](ValueId) {
      b.store(own, b.i64(0), b.constant_int(DType::kI32, 0));
      b.store(own, b.i64(1), b.constant_int(DType::kI32, 1));
    });
    b.loop(LoopKind::kSerial, b.i64(0), b.dim(0), 64, [&](ValueId first) {
      each([&](ValueId lane) {
        const ValueId at = b.add(first, lane);
        b.store(block, lane, b.load_masked(0, at, b.op(ScalarOp::kLt, {at, b.dim(0)}), b.constant_int(DType::kI32, 0)));
      });
      each([&](ValueId lane) {
        const ValueId other = b.load(block, b.sub(b.i64(63), lane));
        b.store(own, b.i64(0), b.op(ScalarOp::kAdd, {b.load(own, b.i64(0)), other}));
        b.store(own, b.i64(1), b.op(ScalarOp::kXor, {b.load(own, b.i64(1)), other}));
      });
    });
    each([&](ValueId lane) { b.store(block, lane, b.op(ScalarOp::kMul, {b.load(own, b.i64(0)), b.load(own, b.i64(1))})); });
    return b.load(block, b.op(ScalarOp::kRem, {b.grid_index(), b.i64(64)}));
  });
  // Four elements at once, from memory and through shared memory, which is read one by one as well.
  for (const DType d : {DType::kF32, DType::kF16, DType::kI16, DType::kU8})
    lanes(fmt::format("lanes_several_at_once_{}", name(d)), d, d, [d](KernelBuilder& b) {
      const int block = b.add_local("block", d, 128);
      b.loop(LoopKind::kVector, b.i64(0), b.i64(32), 1, [&](ValueId i) {
        const ValueId at = b.mul(i, b.i64(4));
        const auto x = b.load_wide(0, at, 4), y = b.load_wide(1, at, 4);
        const ValueId turned[] = {x[3], y[0], x[1], y[2]};
        b.store_wide(block, at, turned);
      });
      return b.load(block, b.op(ScalarOp::kRem, {b.grid_index(), b.i64(128)}));
    });
  // Small integers, whose sums of products are exact however they are made.
  for (const DType factor : {DType::kF16, DType::kBF16, DType::kF32})
    lanes(fmt::format("lanes_multiply_tiles_{}", name(factor)), DType::kI32, DType::kF32, [factor](KernelBuilder& b) {
      constexpr int64_t kSide = 32, kPitch = 40, kSumsPitch = 36;
      const int x = b.add_local("x", factor, kSide * kPitch), y = b.add_local("y", factor, kSide * kPitch),
                out = b.add_local("out", DType::kF32, kSide * kSumsPitch);
      const int sums = b.add_tile("sums", DType::kF32, kSide, kSide);
      b.tile_fill(sums, b.constant(DType::kF32, 3));
      for (const auto& [to, from] : {std::pair{x, 0}, {y, 1}})
        b.loop(LoopKind::kVector, b.i64(0), b.i64(kSide * kSide), 1, [&](ValueId i) {
          const ValueId at = b.op(ScalarOp::kRem, {i, b.dim(0)});
          const ValueId small = b.op(ScalarOp::kRem, {b.load(from, at), b.constant_int(DType::kI32, 7)});
          b.store(to, b.add(b.mul(b.op(ScalarOp::kDiv, {i, b.i64(kSide)}), b.i64(kPitch)), b.op(ScalarOp::kRem, {i, b.i64(kSide)})),
                  b.cast(small, factor));
        });
      b.tile_mma(sums, ScalarOp::kFma, {x, kPitch, false}, b.i64(0), {y, kPitch, true}, b.i64(0), kSide);
      b.tile_store(sums, b.i64(0), kSide, {out, kSumsPitch, false}, b.i64(0));
      const ValueId element = b.op(ScalarOp::kRem, {b.grid_index(), b.i64(kSide * kSide)});
      return b.load(out, b.add(b.mul(b.op(ScalarOp::kDiv, {element, b.i64(kSide)}), b.i64(kSumsPitch)),
                               b.op(ScalarOp::kRem, {element, b.i64(kSide)})));
    });
}

}  // namespace

std::vector<SampleKernel> sample_kernels() {
  std::vector<SampleKernel> out;
  add_operations(out);
  add_constants(out);
  add_casts(out);
  add_control_flow(out);
  add_lanes(out);
  return out;
}

}  // namespace tenon::testing
