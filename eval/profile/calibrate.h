#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "codegen/target.h"
#include "eval/cost.h"
#include "support/executor.h"
#include "support/status.h"

namespace tenon::eval {

/// How fast `bytes` are read again and again.
struct ReadRate {
  double bytes = 0;
  double gbps = 0;                  // 1e9 bytes a second
};

/// What a number of threads can do at best, measured.
struct Peak {
  int threads = 1;
  double gflops = 0;                // f32, in registers; a multiply-add is 2
  double byte_gops = 0;             // the same of bytes into sums of 32 bits; 0: the target has no instruction for it
  double bf16_gflops = 0;           // of bf16 in pairs, into sums of f32; 0: as byte_gops
  std::vector<ReadRate> read;       // ascending in bytes: the first level cache, the second, …, memory

  double gbps_l2 = 0, gbps_ram = 0; // of half a second level cache a thread; of the largest size
  /// For a working set of this size: between measured sizes, linear in the logarithm of the size.
  double gbps(double bytes) const;
  /// Milliseconds of so many operations, of which these have narrow factors.
  double compute_ms(double flops, const NarrowFlops& narrow = {}) const;
};

/// The axes of a roofline model (Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model", 2009).
struct Calibration {
  std::string vectors;              // "AVX-512", "AVX2", "SSE", "NEON": of the code that measured
  Peak one, all;                    // a single thread; as many as were asked for
  double best_gflops = 0;           // of `all`, before run_at()

  /// For any number of threads between.
  Peak at(int threads) const;

  /// The arithmetic of `all` was measured beside the runs as `gflops`: processors lower their clock under work that moves much data, so
  /// the best burst of arithmetic alone is out of reach there. Arithmetic counts at that clock from here on; 0, or more than the best, changes nothing.
  void run_at(double gflops);
};

/// Multiply-adds of all threads for about 0.2 ms, to be called between the runs that are measured.
class Burst {
 public:
  /// For a target that this machine can execute. `executor` outlives it.
  static Result<Burst> make(const codegen::Target& target, Executor& executor, int threads);
  Burst(Burst&&) noexcept;
  Burst& operator=(Burst&&) noexcept;
  ~Burst();
  double gflops();

 private:
  struct State;
  explicit Burst(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Measures for about half a second, by code for a target that this machine can execute.
Result<Calibration> calibrate(const codegen::Target& target, Executor& executor, int threads);

}  // namespace tenon::eval
