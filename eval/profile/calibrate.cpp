#include "eval/profile/calibrate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "eval/profile/probes.h"
#include "support/memory.h"

namespace tenon::eval {
namespace {

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
  Bench(const Probes& probes, Executor& executor) : probes_(probes), executor_(executor) {}

  /// The best of so many tries, each of `rounds` on every thread; 0 where the target has no such probe.
  double gops(const ChainProbe& probe, int threads, int64_t rounds, int tries) {
    if (probe.fn == nullptr) return 0;
    const double seconds = best_seconds(executor_, threads, tries, [&](int64_t) { probe.run(rounds); });
    return probe.operations * static_cast<double>(rounds) * threads / seconds * 1e-9;
  }

  /// Rounds of multiply-adds of f32 that take one thread at least so long.
  int64_t rounds_of(double seconds) {
    int64_t rounds = 1 << 12;
    while (rounds < (int64_t{1} << 40) && best_seconds(executor_, 1, 1, [&](int64_t) { probes_.floats.run(rounds); }) < seconds) rounds *= 2;
    return rounds;
  }

  /// Every thread reads a part of its own.
  double gbps(int threads, const float* data, size_t floats) {
    const size_t part_floats = floats / static_cast<size_t>(threads) / kFloatsPerTurn * kFloatsPerTurn;
    if (part_floats == 0) return 0;
    int64_t rounds = 1;
    const auto run = [&](int tries) {
      return best_seconds(executor_, threads, tries, [&](int64_t part) {
        for (int64_t r = 0; r < rounds; ++r) probes_.read(data + static_cast<size_t>(part) * part_floats, part_floats);
      });
    };
    while (rounds < (int64_t{1} << 40) && run(1) < kSeconds) rounds *= 2;
    const double bytes = 4.0 * static_cast<double>(part_floats) * threads * static_cast<double>(rounds);
    return bytes / run(rounds == 1 ? kLongTries : kTries) * 1e-9;
  }

 private:
  const Probes& probes_;
  Executor& executor_;
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

Peak measure(Bench& bench, const Probes& probes, const codegen::Target& target, int threads, const float* data, size_t floats) {
  Peak peak;
  peak.threads = threads;
  const int64_t rounds = bench.rounds_of(kSeconds);
  for (const auto& [figure, probe] : {std::pair{&Peak::gflops, &probes.floats}, {&Peak::byte_gops, &probes.bytes}, {&Peak::bf16_gflops, &probes.bf16}})
    peak.*figure = bench.gops(*probe, threads, rounds, kTries);
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

double Peak::compute_ms(double flops, const NarrowFlops& narrow) const {
  if (gflops <= 0) return 0;
  const double wide = flops - narrow.bytes - narrow.bf16;
  return (wide / gflops + narrow.bytes / std::max(gflops, byte_gops) + narrow.bf16 / std::max(gflops, bf16_gflops)) * 1e-6;
}

Peak Calibration::at(int threads) const {
  if (threads <= 1 || all.threads <= 1) return one;
  if (threads >= all.threads) return all;
  const double part = static_cast<double>(threads) / all.threads;
  Peak peak = all;
  peak.threads = threads;
  for (double* figure : {&peak.gflops, &peak.byte_gops, &peak.bf16_gflops, &peak.gbps_l2, &peak.gbps_ram}) *figure *= part;
  for (ReadRate& rate : peak.read) rate = {rate.bytes * part, rate.gbps * part};
  return peak;
}

void Calibration::run_at(double gflops) {
  if (gflops <= 0 || gflops >= all.gflops) return;
  const double part = gflops / all.gflops;
  all.gflops = gflops;
  one.gflops *= part;
  for (Peak* peak : {&all, &one}) {
    peak->byte_gops *= part;
    peak->bf16_gflops *= part;
  }
}

struct Burst::State {
  Probes probes;
  Bench bench;
  int threads;
  int64_t rounds;
  State(Probes made, Executor& executor, int wanted)
      : probes(std::move(made)), bench(probes, executor), threads(wanted), rounds(bench.rounds_of(kBurstSeconds)) {}
};

Burst::Burst(std::unique_ptr<State> state) : state_(std::move(state)) {}
Burst::Burst(Burst&&) noexcept = default;
Burst& Burst::operator=(Burst&&) noexcept = default;
Burst::~Burst() = default;

Result<Burst> Burst::make(const codegen::Target& target, Executor& executor, int threads) {
  TENON_ASSIGN_OR_RETURN(Probes probes, make_probes(target));
  return Burst(std::make_unique<State>(std::move(probes), executor, std::clamp(threads, 1, executor.num_threads())));
}

double Burst::gflops() {
  constexpr int kTwo = 2;  // the first wakes threads that have gone to sleep
  return state_->bench.gops(state_->probes.floats, state_->threads, state_->rounds, kTwo);
}

Result<Calibration> calibrate(const codegen::Target& target, Executor& executor, int threads) {
  TENON_ASSIGN_OR_RETURN(const Probes probes, make_probes(target));
  threads = std::clamp(threads, 1, executor.num_threads());
  Calibration out;
  out.vectors = probes.vectors;
  size_t floats = std::min(kMemoryBytes, physical_memory() / 8) / sizeof(float);
  const Floats data = allocate(floats);
  if (data == nullptr) floats = 0;
  Bench bench(probes, executor);
  out.one = measure(bench, probes, target, 1, data.get(), floats);
  out.all = out.one;
  out.best_gflops = out.all.gflops;
  if (threads == 1) return out;
  out.all = measure(bench, probes, target, threads, data.get(), floats);
  // Several threads can do what one can, even if the machine had no other core to spare just then.
  for (double Peak::* figure : {&Peak::gflops, &Peak::byte_gops, &Peak::bf16_gflops, &Peak::gbps_l2, &Peak::gbps_ram})
    out.all.*figure = std::max(out.all.*figure, out.one.*figure);
  out.best_gflops = out.all.gflops;
  for (ReadRate& rate : out.all.read) rate.gbps = std::max(rate.gbps, out.one.gbps(rate.bytes / threads));
  return out;
}

}  // namespace tenon::eval
