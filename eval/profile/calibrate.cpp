#include "eval/profile/calibrate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "support/memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::eval {
namespace {

constexpr int kChains = 12;  // independent accumulators: more than latency times units needs, no more than SSE has registers
constexpr size_t kFloatsPerTurn = 128;  // that sum() reads between two branches

/// Code of one vector width.
struct Probe {
  const char* name;
  int lanes;
  float (*multiply_add)(int64_t rounds);                 // kChains * lanes multiply-adds a round
  float (*sum)(const float* data, size_t count);         // reads; count is a multiple of kFloatsPerTurn
  float (*multiply_bytes)(int64_t rounds) = nullptr;     // kChains * lanes * 4 of bytes
};

template <size_t n>
float total(const float (&lanes)[n]) {
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

#if defined(__x86_64__)
[[gnu::target("avx512f")]] float multiply_add_avx512(int64_t rounds) {
  __m512 acc[kChains];
  const __m512 x = _mm512_set1_ps(0.999F), y = _mm512_set1_ps(0.001F);
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_fmadd_ps(acc[i], x, y);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, acc[0]);
  return total(lanes);
}

[[gnu::target("avx512f")]] float sum_avx512(const float* data, size_t count) {
  __m512 acc[8] = {};
  for (size_t at = 0; at < count; at += kFloatsPerTurn) {
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; ++i) acc[i] = _mm512_add_ps(acc[i], _mm512_load_ps(data + at + 16 * i));
  }
  for (int i = 1; i < 8; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, acc[0]);
  return total(lanes);
}

[[gnu::target("avx512f,avx512vnni")]] float multiply_bytes_avx512(int64_t rounds) {
  __m512i acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_epi32(i);
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-1);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbusd_epi32(acc[i], x, y);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_epi32(acc[0], acc[i]);
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, acc[0]);
  return static_cast<float>(lanes[0]);
}

[[gnu::target("avx2,avxvnni")]] float multiply_bytes_avx2(int64_t rounds) {
  __m256i acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_set1_epi32(i);
  const __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(-1);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm256_dpbusd_avx_epi32(acc[i], x, y);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm256_add_epi32(acc[0], acc[i]);
  return static_cast<float>(_mm256_extract_epi32(acc[0], 0));
}

[[gnu::target("avx2,fma")]] float multiply_add_avx2(int64_t rounds) {
  __m256 acc[kChains];
  const __m256 x = _mm256_set1_ps(0.999F), y = _mm256_set1_ps(0.001F);
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm256_fmadd_ps(acc[i], x, y);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, acc[0]);
  return total(lanes);
}

[[gnu::target("avx2")]] float sum_avx2(const float* data, size_t count) {
  __m256 acc[8] = {};
  for (size_t at = 0; at < count; at += kFloatsPerTurn) {
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i) acc[i % 8] = _mm256_add_ps(acc[i % 8], _mm256_load_ps(data + at + 8 * i));
  }
  for (int i = 1; i < 8; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, acc[0]);
  return total(lanes);
}
#endif

// Four lanes and no fused multiply-add: what every x86-64 has, and the form for other machines.
using Four = float __attribute__((vector_size(16)));

float multiply_add_four(int64_t rounds) {
  Four acc[kChains];
  const Four x = {0.999F, 0.999F, 0.999F, 0.999F}, y = {0.001F, 0.001F, 0.001F, 0.001F};
  for (int i = 0; i < kChains; ++i) acc[i] = x * static_cast<float>(i);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = acc[i] * x + y;
  }
  for (int i = 1; i < kChains; ++i) acc[0] += acc[i];
  return acc[0][0] + acc[0][1] + acc[0][2] + acc[0][3];
}

float sum_four(const float* data, size_t count) {
  Four acc[8] = {};
  for (size_t at = 0; at < count; at += kFloatsPerTurn) {
#pragma GCC unroll 32
    for (size_t i = 0; i < 32; ++i) acc[i % 8] += *reinterpret_cast<const Four*>(data + at + 4 * i);
  }
  for (int i = 1; i < 8; ++i) acc[0] += acc[i];
  return acc[0][0] + acc[0][1] + acc[0][2] + acc[0][3];
}

Probe choose(const codegen::Target& target) {
#if defined(__x86_64__)
  if (target.vector_bits >= 512 && __builtin_cpu_supports("avx512f"))
    return {"AVX-512", 16, multiply_add_avx512, sum_avx512, target.has_dot4 && __builtin_cpu_supports("avx512vnni") ? multiply_bytes_avx512 : nullptr};
  if (target.vector_bits >= 256 && target.has_fma && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"AVX2", 8, multiply_add_avx2, sum_avx2, target.has_dot4 && __builtin_cpu_supports("avxvnni") ? multiply_bytes_avx2 : nullptr};
  return {"SSE", 4, multiply_add_four, sum_four};
#else
  (void)target;
  return {"portable", 4, multiply_add_four, sum_four};
#endif
}

/// Seconds of a call of every thread at the same time, the best of some.
template <class Fn>
double best_seconds(Executor& executor, int threads, int tries, Fn&& fn) {
  double best = INFINITY;
  for (int i = 0; i < tries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    executor.parallel_for(threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t part = begin; part < end; ++part) fn(part);
    }, threads);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return std::max(best, 1e-9);
}

constexpr int kTries = 24;         // many short ones: on a busy machine some have it to themselves
constexpr int kLongTries = 5;      // of what takes longer
constexpr double kSeconds = 5e-4;  // of one try, at least
constexpr double kBurstSeconds = 1e-4;

class Bench {
 public:
  Bench(const Probe& probe, Executor& executor, int threads) : probe_(probe), executor_(executor), sink_(static_cast<size_t>(threads) * kApart) {}

  /// The best of so many tries, each of `rounds` of multiply-adds on every thread.
  double gflops(int threads, int64_t rounds, int tries) {
    return gops(probe_.multiply_add, 1, threads, rounds, tries);
  }

  /// The same of bytes; 0 where nothing multiplies them.
  double byte_gops(int threads, int64_t rounds, int tries) {
    return probe_.multiply_bytes == nullptr ? 0 : gops(probe_.multiply_bytes, 4, threads, rounds, tries);
  }

  /// Rounds that take one thread at least so long.
  int64_t rounds_of(double seconds) {
    int64_t rounds = 1 << 12;
    while (rounds < (int64_t{1} << 40) && best_seconds(executor_, 1, 1, [&](int64_t part) { keep(part, probe_.multiply_add(rounds)); }) < seconds) rounds *= 2;
    return rounds;
  }

  /// Every thread reads a part of its own.
  double gbps(int threads, const float* data, size_t floats) {
    const size_t part_floats = floats / static_cast<size_t>(threads) / kFloatsPerTurn * kFloatsPerTurn;
    if (part_floats == 0) return 0;
    int64_t rounds = 1;
    const auto run = [&](int tries) {
      return best_seconds(executor_, threads, tries, [&](int64_t part) {
        for (int64_t r = 0; r < rounds; ++r) keep(part, probe_.sum(data + static_cast<size_t>(part) * part_floats, part_floats));
      });
    };
    while (rounds < (int64_t{1} << 40) && run(1) < kSeconds) rounds *= 2;
    const double bytes = 4.0 * static_cast<double>(part_floats) * threads * static_cast<double>(rounds);
    return bytes / run(rounds == 1 ? kLongTries : kTries) * 1e-9;
  }

 private:
  double gops(float (*multiply)(int64_t), int in_lane, int threads, int64_t rounds, int tries) {
    const double each = 2.0 * kChains * probe_.lanes * in_lane;
    const double seconds = best_seconds(executor_, threads, tries, [&](int64_t part) { keep(part, multiply(rounds)); });
    return each * static_cast<double>(rounds) * threads / seconds * 1e-9;
  }

  static constexpr size_t kApart = 16;  // floats: a cache line a thread
  void keep(int64_t part, float value) { sink_[static_cast<size_t>(part) * kApart] = value; }

  const Probe& probe_;
  Executor& executor_;
  std::vector<float> sink_;
};

struct Free {
  void operator()(float* data) const { ::operator delete[](data, std::align_val_t(64)); }
};
using Floats = std::unique_ptr<float[], Free>;

/// Zeros, as many as there is memory for.
Floats allocate(size_t& floats) {
  for (; floats > kFloatsPerTurn; floats /= 2) {
    if (auto* data = static_cast<float*>(::operator new[](floats * sizeof(float), std::align_val_t(64), std::nothrow))) {
      std::fill_n(data, floats, 0.0F);
      return Floats(data);
    }
  }
  return nullptr;
}

constexpr size_t kMemoryBytes = size_t{256} << 20;  // larger than what one program gets of most caches

Peak measure(Bench& bench, const codegen::Target& target, int threads, const float* data, size_t floats) {
  Peak peak;
  peak.threads = threads;
  const int64_t rounds = bench.rounds_of(kSeconds);
  peak.gflops = bench.gflops(threads, rounds, kTries);
  peak.byte_gops = bench.byte_gops(threads, rounds, kTries);
  const auto n = static_cast<size_t>(threads);
  const auto l1 = static_cast<size_t>(std::max<int64_t>(target.l1_bytes, 4096)), l2 = static_cast<size_t>(std::max<int64_t>(target.l2_bytes, 8192));
  for (size_t bytes : {l1 / 2 * n, l2 / 2 * n, l2 * 4 * n, l2 * 16 * n, floats * sizeof(float)}) {
    bytes = std::min(bytes, floats * sizeof(float));
    if (!peak.read.empty() && static_cast<double>(bytes) <= peak.read.back().bytes) continue;
    const double gbps = bench.gbps(threads, data, bytes / sizeof(float));
    if (bytes == l2 / 2 * n) peak.gbps_l2 = gbps;
    if (gbps > 0) peak.read.push_back({static_cast<double>(bytes), gbps});
  }
  if (!peak.read.empty()) peak.gbps_ram = peak.read.back().gbps;
  return peak;
}

}  // namespace

double Peak::gbps(double bytes) const {
  if (read.empty()) return 0;
  if (bytes <= read.front().bytes) return read.front().gbps;
  for (size_t i = 1; i < read.size(); ++i) {
    const ReadRate &a = read[i - 1], &b = read[i];
    if (bytes > b.bytes) continue;
    return a.gbps + (b.gbps - a.gbps) * std::log(bytes / a.bytes) / std::log(b.bytes / a.bytes);
  }
  return read.back().gbps;
}

double Peak::compute_ms(double flops, double of_bytes) const {
  if (gflops <= 0) return 0;
  return ((flops - of_bytes) / gflops + of_bytes / std::max(gflops, byte_gops)) * 1e-6;
}

Peak Calibration::at(int threads) const {
  if (threads <= 1 || all.threads <= 1) return one;
  if (threads >= all.threads) return all;
  const double part = static_cast<double>(threads) / all.threads;
  Peak peak = all;
  peak.threads = threads;
  for (double* figure : {&peak.gflops, &peak.byte_gops, &peak.gbps_l2, &peak.gbps_ram}) *figure *= part;
  for (ReadRate& rate : peak.read) rate = {rate.bytes * part, rate.gbps * part};
  return peak;
}

void Calibration::run_at(double gflops) {
  if (gflops <= 0 || gflops >= all.gflops) return;
  const double part = gflops / all.gflops;
  all.gflops = gflops;
  one.gflops *= part;
  for (Peak* peak : {&all, &one}) peak->byte_gops *= part;
}

struct Burst::State {
  Probe probe;
  Bench bench;
  int threads;
  int64_t rounds;
  State(const codegen::Target& target, Executor& executor, int wanted)
      : probe(choose(target)), bench(probe, executor, wanted), threads(wanted), rounds(bench.rounds_of(kBurstSeconds)) {}
};

Burst::Burst(const codegen::Target& target, Executor& executor, int threads)
    : state_(std::make_unique<State>(target, executor, std::clamp(threads, 1, executor.num_threads()))) {}
Burst::~Burst() = default;
double Burst::gflops() {
  constexpr int kTwo = 2;  // the first wakes threads that have gone to sleep
  return state_->bench.gflops(state_->threads, state_->rounds, kTwo);
}

Calibration calibrate(const codegen::Target& target, Executor& executor, int threads) {
  const Probe probe = choose(target);
  threads = std::clamp(threads, 1, executor.num_threads());
  Calibration out;
  out.vectors = probe.name;
  size_t floats = std::min(kMemoryBytes, physical_memory() / 8) / sizeof(float);
  const Floats data = allocate(floats);
  if (data == nullptr) floats = 0;
  Bench bench(probe, executor, threads);
  out.one = measure(bench, target, 1, data.get(), floats);
  out.all = out.one;
  out.best_gflops = out.all.gflops;
  if (threads == 1) return out;
  out.all = measure(bench, target, threads, data.get(), floats);
  // Several threads can do what one can, even if the machine had no other core to spare just then.
  out.all.gflops = std::max(out.all.gflops, out.one.gflops);
  out.all.byte_gops = std::max(out.all.byte_gops, out.one.byte_gops);
  out.best_gflops = out.all.gflops;
  for (ReadRate& rate : out.all.read) rate.gbps = std::max(rate.gbps, out.one.gbps(rate.bytes / threads));
  out.all.gbps_l2 = std::max(out.all.gbps_l2, out.one.gbps_l2);
  out.all.gbps_ram = std::max(out.all.gbps_ram, out.one.gbps_ram);
  return out;
}

}  // namespace tenon::eval
