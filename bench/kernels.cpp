// What generated kernels reach of the machine: an SGEMM register tile as a fraction of the FMA peak that the same
// program measures, and elements a second of elementwise math. Usage: bench_kernels [TARGET [asm]]; with asm it prints
// the code of the first SGEMM tile instead.

#include <algorithm>
#include <chrono>
#include <ctime>
#include <vector>

#include <fmt/format.h>

#include "codegen/kernel_ir.h"
#include "codegen/llvm/jit.h"

namespace tenon {
namespace {

using namespace kir;
using Clock = std::chrono::steady_clock;

/// CPU time of this thread, which a busy neighbour does not lengthen.
double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

/// Median seconds of a call, over at least 0.2 s.
template <class F>
double measure(F&& call) {
  call();
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 5 || seconds(Clock::now() - start) < 0.2) {
    const auto t = Clock::now();
    call();
    times.push_back(seconds(Clock::now() - t));
  }
  std::nth_element(times.begin(), times.begin() + static_cast<ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// Independent chains of FMAs that never leave registers: `chains` vectors of `lanes`, dim 0 steps.
Kernel fma_chains(int lanes, int chains) {
  Kernel k;
  k.name = "fma_chains";
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  b.loop(
      LoopKind::kVector, b.i64(0), b.i64(lanes), 1,
      [&](ValueId l) {
        std::vector<ValueId> inits;
        for (int c = 0; c < chains; ++c) inits.push_back(b.load(x, b.add(l, b.i64(c * lanes))));
        const ValueId scale = b.load(x, l), bias = b.load(x, b.add(l, b.i64(lanes)));
        const auto sums =
            b.loop(LoopKind::kSerial, b.i64(0), b.dim(0), 1, inits, [&](ValueId, std::span<const ValueId> c) {
              std::vector<ValueId> next;
              for (ValueId v : c) next.push_back(b.op(ScalarOp::kFma, {v, scale, bias}));
              return next;
            });
        for (int c = 0; c < chains; ++c) b.store(y, b.add(l, b.i64(c * lanes)), sums[static_cast<size_t>(c)]);
      },
      lanes);
  return k;
}

/// C[g * rows .., 0 .. panel) = A[g * rows .., K] B[K, panel]: dim 0 is K; B is packed in a panel of `vectors` vectors.
Kernel sgemm_tile(int lanes, int rows, int vectors) {
  Kernel k;
  k.name = "sgemm_tile";
  KernelBuilder b(k);
  const int a = b.add_binding("a", DType::kF32, false), p = b.add_binding("b", DType::kF32, false);
  const int c = b.add_binding("c", DType::kF32, true);
  const ValueId depth = b.dim(0);
  const int panel = lanes * vectors;
  const ValueId first = b.mul(b.grid_index(), b.i64(rows));
  b.loop(
      LoopKind::kVector, b.i64(0), b.i64(lanes), 1,
      [&](ValueId l) {
        const std::vector<ValueId> zeros(static_cast<size_t>(rows * vectors), b.constant(DType::kF32, 0));
        const auto sums =
            b.loop(LoopKind::kSerial, b.i64(0), depth, 1, zeros, [&](ValueId kk, std::span<const ValueId> acc) {
              std::vector<ValueId> next, column;
              for (int v = 0; v < vectors; ++v)
                column.push_back(b.load(p, b.add(b.add(b.mul(kk, b.i64(panel)), b.i64(v * lanes)), l)));
              for (int r = 0; r < rows; ++r) {
                const ValueId left = b.load(a, b.add(b.mul(b.add(first, b.i64(r)), depth), kk));
                for (int v = 0; v < vectors; ++v)
                  next.push_back(b.op(ScalarOp::kFma, {left, column[static_cast<size_t>(v)],
                                                       acc[static_cast<size_t>(r * vectors + v)]}));
              }
              return next;
            });
        for (int r = 0; r < rows; ++r)
          for (int v = 0; v < vectors; ++v)
            b.store(c, b.add(b.mul(b.add(first, b.i64(r)), b.i64(panel)), b.add(b.i64(v * lanes), l)),
                    sums[static_cast<size_t>(r * vectors + v)]);
      },
      lanes);
  return k;
}

Kernel map_kernel(ScalarOp op) {
  Kernel k;
  k.name = std::string(info(op).name);
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
    const ValueId v = b.load(x, i);
    b.store(y, i, info(op).arity == 2 ? b.op(op, {v, v}) : b.op(op, {v}));
  });
  return k;
}

Kernel sum_kernel() {
  Kernel k;
  k.name = "sum";
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  const ValueId zero = b.constant(DType::kF32, 0);
  const auto sum =
      b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, std::span(&zero, 1),
             [&](ValueId iv, std::span<const ValueId> c) { return std::vector<ValueId>{b.add(c[0], b.load(x, iv))}; },
             {Combiner::kAdd});
  b.store(y, b.grid_index(), sum[0]);
  return k;
}

/// y[i] = x[i mod 64 * 64 + i div 64 mod 64]: what an index that is not affine costs.
Kernel gather_kernel() {
  Kernel k;
  k.name = "gather by div and mod";
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  const ValueId side = b.op(ScalarOp::kMin, {b.dim(0), b.i64(64)});
  b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
    const ValueId column = b.op(ScalarOp::kMod, {i, side});
    const ValueId row = b.op(ScalarOp::kMod, {b.op(ScalarOp::kFloorDiv, {i, side}), side});
    b.store(y, i, b.load(x, b.add(b.mul(column, side), row)));
  });
  return k;
}

int print_assembly(const codegen::Target& target) {
  const Kernel tile =
      target.vector_registers == 32 ? sgemm_tile(target.lanes(32), 6, 4) : sgemm_tile(target.lanes(32), 6, 2);
  const Kernel* const one[] = {&tile};
  const auto text = codegen::emit(one, target, codegen::EmitKind::kAssembly);
  fmt::print("{}\n", text.ok() ? *text : text.status().to_string());
  return text.ok() ? 0 : 2;
}

int run(const char* name, bool assembly) {
  const auto target = codegen::cpu_target(name);
  if (!target.ok()) return fmt::print(stderr, "error: {}\n", target.status().to_string()), 2;
  if (assembly) return print_assembly(*target);
  auto jit = codegen::CpuJit::create(*target);
  if (!jit.ok()) return fmt::print(stderr, "error: {}\n", jit.status().to_string()), 2;
  double compile_seconds = 0;
  const auto compile = [&](const Kernel& kernel) {
    const Kernel* const one[] = {&kernel};
    const double start = cpu_seconds();
    const auto made = (*jit)->compile(one, 1);
    compile_seconds = cpu_seconds() - start;
    if (!made.ok()) fmt::print(stderr, "error: {}\n", made.status().to_string());
    return made.ok() ? (*made)[0] : nullptr;
  };
  struct alignas(64) Line {
    float values[16];
  };
  constexpr size_t kFloats = 1 << 20;
  std::vector<Line> memory(3 * (kFloats / 16 + 9));  // apart by more than a page, so that addresses do not alias
  const auto array = [&](size_t i) { return memory[i * (kFloats / 16 + 9)].values; };
  float *const x = array(0), *const y = array(1), *const z = array(2);
  for (size_t i = 0; i < kFloats; ++i) x[i] = static_cast<float>(i % 1000) / 250 - 2;
  const int lanes = target->lanes(32);

  fmt::print("target {}, {} bit vectors\n", name, target->vector_bits);
  const int chains = target->vector_registers == 32 ? 24 : 12;
  const auto chain = compile(fma_chains(lanes, chains));
  if (!chain) return 2;
  const int64_t steps = 200000;
  void* const chain_args[] = {x, y};
  const double peak =
      2.0 * lanes * chains * static_cast<double>(steps) / measure([&] { chain(chain_args, &steps, 0, 1); });
  fmt::print("{:24} {:8.1f} GFLOP/s (compiled in {:.1f} ms)\n", "peak fma", peak / 1e9, compile_seconds * 1e3);

  struct Tile {
    int rows, vectors;
  };
  const std::vector<Tile> tiles =
      target->vector_registers == 32 ? std::vector<Tile>{{6, 4}, {8, 3}, {14, 2}} : std::vector<Tile>{{6, 2}, {4, 3}};
  for (const Tile tile : tiles) {
    const auto gemm = compile(sgemm_tile(lanes, tile.rows, tile.vectors));
    if (!gemm) return 2;
    const int64_t depth = 768, grid = 64 / tile.rows;
    void* const args[] = {x, z, y};
    const double flops = 2.0 * static_cast<double>(depth * grid) * tile.rows * tile.vectors * lanes;
    const double rate = flops / measure([&] {
                          for (int r = 0; r < 50; ++r) gemm(args, &depth, 0, grid);
                        }) *
                        50;
    fmt::print("{:24} {:8.1f} GFLOP/s {:5.1f} % of peak (compiled in {:.1f} ms)\n",
               fmt::format("sgemm {}x{} K=768", tile.rows, tile.vectors * lanes), rate / 1e9, 100 * rate / peak,
               compile_seconds * 1e3);
  }

  const int64_t count = 4096;  // fits the first-level cache
  const auto rate_of = [&](const Kernel& kernel) {
    const auto fn = compile(kernel);
    if (!fn) return;
    void* const args[] = {x, y};
    const double rate = static_cast<double>(count) * 100 / measure([&] {
                          for (int r = 0; r < 100; ++r) fn(args, &count, 0, 1);
                        });
    fmt::print("{:24} {:8.2f} G elements/s (compiled in {:.1f} ms)\n", kernel.name, rate / 1e9, compile_seconds * 1e3);
  };
  for (ScalarOp op : {ScalarOp::kAdd, ScalarOp::kMax, ScalarOp::kExp, ScalarOp::kTanh, ScalarOp::kErf,
                      ScalarOp::kSigmoid, ScalarOp::kLog, ScalarOp::kSin, ScalarOp::kPow, ScalarOp::kAtan})
    rate_of(map_kernel(op));
  rate_of(sum_kernel());
  rate_of(gather_kernel());

  std::vector<Kernel> many;
  for (int i = 0; i < 4; ++i)
    for (ScalarOp op : {ScalarOp::kAdd, ScalarOp::kExp, ScalarOp::kTanh, ScalarOp::kErf})
      many.push_back(map_kernel(op));
  for (int i = 0; i < 4; ++i) many.push_back(sgemm_tile(lanes, 6, 2));
  std::vector<const Kernel*> pointers;
  for (const Kernel& k : many) pointers.push_back(&k);
  const double start = cpu_seconds();
  if (!(*jit)->compile(pointers, 1).ok()) return 2;
  fmt::print("{} kernels at once compile in {:.1f} ms of one thread\n", many.size(), (cpu_seconds() - start) * 1e3);
  return 0;
}

}  // namespace
}  // namespace tenon

int main(int argc, char** argv) { return tenon::run(argc > 1 ? argv[1] : "host", argc > 2); }
