#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "codegen/target.h"
#include "support/executor.h"

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
  std::vector<ReadRate> read;       // ascending in bytes: the first level cache, the second, …, memory

  double gbps_l2 = 0, gbps_ram = 0; // of half a second level cache a thread; of the largest size
  /// For a working set of this size: between measured sizes, linear in the logarithm of the size.
  double gbps(double bytes) const;
  /// Milliseconds of so many operations, `of_bytes` of which are products of bytes and their sums.
  double compute_ms(double flops, double of_bytes) const;
};

/// The axes of a roofline model (Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model", 2009).
struct Calibration {
  std::string vectors;              // "AVX-512", "AVX2", "SSE", "portable": of the code that measured
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
  Burst(const codegen::Target& target, Executor& executor, int threads);
  ~Burst();
  Burst(const Burst&) = delete;
  Burst& operator=(const Burst&) = delete;
  double gflops();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Measures for about half a second. Vectors are the target's, or narrower ones where this machine lacks them.
Calibration calibrate(const codegen::Target& target, Executor& executor, int threads);

}  // namespace tenon::eval
