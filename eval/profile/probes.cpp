#include "eval/profile/probes.h"

#include <array>
#include <functional>
#include <vector>

#include "codegen/kernel_ir.h"

namespace tenon::eval {
namespace {

using kir::Kernel;
using kir::KernelBuilder;
using kir::LoopKind;
using kir::ValueId;
using ir::ScalarOp;

constexpr int kChains = 12;       // independent sums: more than latency times units needs, no more than SSE has registers for
constexpr int kReadChains = 8;
using Words = std::array<uint32_t, 16>;  // as many as the widest vectors have

using Step = std::function<ValueId(KernelBuilder& b, ValueId x, ValueId y, ValueId sum)>;

/// kChains sums in every lane, each `step` of two words that stay the same, as often as dim 0 says.
Kernel chains(int lanes, DType factor, DType sum, const Step& step) {
  Kernel k;
  k.name = "probe";
  k.num_dims = 1;
  KernelBuilder b(k);
  const int x = b.add_binding("x", factor, false), y = b.add_binding("y", factor, false), out = b.add_binding("sums", sum, true);
  b.loop(LoopKind::kVector, b.i64(0), b.i64(lanes), 1, [&](ValueId lane) {
    const ValueId left = b.load(x, lane), right = b.load(y, lane);
    std::vector<ValueId> sums;
    for (int i = 0; i < kChains; ++i) sums.push_back(is_float(sum) ? b.constant(sum, i) : b.constant_int(sum, i));
    sums = b.loop(LoopKind::kSerial, b.i64(0), b.dim(0), 1, sums, [&](ValueId, std::span<const ValueId> carried) {
      std::vector<ValueId> next;
      for (const ValueId each : carried) next.push_back(step(b, left, right, each));
      return next;
    });
    for (int i = 1; i < kChains; ++i) sums[0] = b.add(sums[0], sums[static_cast<size_t>(i)]);
    b.store(out, lane, sums[0]);
  }, lanes);
  return k;
}

/// The sum of dim 0 floats, in every lane of those that lie there.
Kernel reads(int lanes) {
  Kernel k;
  k.name = "probe_reads";
  k.num_dims = 1;
  KernelBuilder b(k);
  const int data = b.add_binding("data", DType::kF32, false), out = b.add_binding("sums", DType::kF32, true);
  b.loop(LoopKind::kVector, b.i64(0), b.i64(lanes), 1, [&](ValueId lane) {
    std::vector<ValueId> sums(kReadChains, b.constant(DType::kF32, 0));
    sums = b.loop(LoopKind::kSerial, b.i64(0), b.dim(0), kFloatsPerTurn, sums, [&](ValueId at, std::span<const ValueId> carried) {
      std::vector<ValueId> next(carried.begin(), carried.end());
      for (int i = 0; i < static_cast<int>(kFloatsPerTurn) / lanes; ++i) {
        ValueId& sum = next[static_cast<size_t>(i % kReadChains)];
        sum = b.add(sum, b.load(data, b.add(at, b.add(lane, b.i64(int64_t{i} * lanes)))));
      }
      return next;
    });
    for (int i = 1; i < kReadChains; ++i) sums[0] = b.add(sums[0], sums[static_cast<size_t>(i)]);
    b.store(out, lane, sums[0]);
  }, lanes);
  return k;
}

ValueId multiply_add(KernelBuilder& b, ValueId x, ValueId y, ValueId sum) { return b.op(ScalarOp::kFma, {sum, x, y}); }
ValueId multiply_then_add(KernelBuilder& b, ValueId x, ValueId y, ValueId sum) { return b.add(b.mul(sum, x), y); }
ValueId dot4(KernelBuilder& b, ValueId x, ValueId y, ValueId sum) { return b.op(ScalarOp::kDot4, {x, y, sum}); }
ValueId dot4_signed(KernelBuilder& b, ValueId x, ValueId y, ValueId sum) { return b.op(ScalarOp::kDot4Signed, {x, y, sum}); }

/// As codegen/schedule/bf16_pairs.h has it: the high halves, then the low ones.
ValueId pair_of_bf16(KernelBuilder& b, ValueId x, ValueId y, ValueId sum) {
  const auto half = [&](ValueId word, bool high) {
    return b.bitcast(b.op(high ? ScalarOp::kAnd : ScalarOp::kShl, {word, b.constant_int(DType::kI32, high ? -0x10000 : 16)}), DType::kF32);
  };
  const ValueId odd = b.op(ScalarOp::kFma, {half(x, true), half(y, true), sum});
  return b.op(ScalarOp::kFma, {half(x, false), half(y, false), odd});
}

std::string name_of_vectors(const codegen::Target& target) {
#if defined(__x86_64__)
  return target.vector_bits >= 512 ? "AVX-512" : target.vector_bits >= 256 ? "AVX2" : "SSE";
#elif defined(__aarch64__)
  (void)target;
  return "NEON";
#else
  return fmt::format("{} bits", target.vector_bits);
#endif
}

}  // namespace

void ChainProbe::run(int64_t rounds) const {
  // A number below 1 and a small one, as f32 and as pairs of bf16; as bytes, any.
  alignas(64) Words x, y, sums;
  x.fill(0x3f7f3f7f);
  y.fill(0x3a833a83);
  void* const bindings[] = {x.data(), y.data(), sums.data()};
  fn(bindings, &rounds, 0, 1);
}

void Probes::read(const float* data, size_t count) const {
  alignas(64) Words sums;
  void* const bindings[] = {const_cast<float*>(data), sums.data()};
  const auto floats = static_cast<int64_t>(count);
  reads(bindings, &floats, 0, 1);
}

Result<Probes> make_probes(const codegen::Target& target) {
  const int lanes = target.lanes(32);
  Probes out;
  out.vectors = name_of_vectors(target);
  TENON_ASSIGN_OR_RETURN(out.code, codegen::CpuJit::create(target));
  std::vector<Kernel> kernels;
  std::vector<ChainProbe*> probes;
  const auto add = [&](ChainProbe& probe, int products, DType factor, DType sum, const Step& step) {
    kernels.push_back(chains(lanes, factor, sum, step));
    probe.operations = 2.0 * kChains * lanes * products;
    probes.push_back(&probe);
  };
  add(out.floats, 1, DType::kF32, DType::kF32, target.has_fma ? multiply_add : multiply_then_add);
  if (target.has_dot4 || target.has_dot4_signed) add(out.bytes, 4, DType::kI32, DType::kI32, target.has_dot4 ? dot4 : dot4_signed);
  if (target.has_bf16_pairs) add(out.bf16, 2, DType::kI32, DType::kF32, pair_of_bf16);
  kernels.push_back(reads(lanes));
  std::vector<const Kernel*> pointers;
  for (const Kernel& kernel : kernels) {
    TENON_RETURN_IF_ERROR(kir::verify(kernel));
    pointers.push_back(&kernel);
  }
  TENON_ASSIGN_OR_RETURN(const std::vector<runtime::KernelFn> functions, out.code->compile(pointers, 1));
  for (size_t i = 0; i < probes.size(); ++i) probes[i]->fn = functions[i];
  out.reads = functions.back();
  return out;
}

}  // namespace tenon::eval
