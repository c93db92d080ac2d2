#include "runtime/dispatch_cost.h"

#include <algorithm>
#include <limits>

namespace tenon::runtime {
namespace {

// One thread's rates in vector code, and the caches' where neither is known better. Between a dispatch that joins its
// threads and the next one lie some 300 ns when they spin, and as long again for lines that another core has written.
constexpr int64_t kOperationsPerNs = 48, kBytesPerNs = 32;
constexpr int64_t kNsPerThread = 3'000, kNsPerAwakeThread = 2'000;
constexpr int64_t kNsOfParallelRun = 100'000;
constexpr int64_t kMaxBytesPerOperation = 8;

int64_t saturated(size_t bytes) { return static_cast<int64_t>(std::min<size_t>(bytes, std::numeric_limits<int64_t>::max() / 4)); }

}  // namespace

int64_t predicted_ns(const DispatchCost& cost) {
  if (cost.work < 0) return -1;
  int64_t read = saturated(cost.read);
  if (cost.work < read / kMaxBytesPerOperation) read = cost.work * kMaxBytesPerOperation;
  return std::max(cost.work / kOperationsPerNs, (read + saturated(cost.written)) / kBytesPerNs);
}

int threads_for(const DispatchCost& cost, int max_threads) {
  if (max_threads <= 1 || cost.grid <= 1) return 1;
  const int64_t ns = predicted_ns(cost);
  if (ns < 0) return max_threads;
  return static_cast<int>(std::clamp<int64_t>(ns / kNsPerThread, 1, max_threads));
}

int threads_for_round(const DispatchCost& dispatch, int64_t rounds, int max_threads) {
  if (max_threads <= 1 || dispatch.grid <= rounds) return 1;
  const int64_t ns = predicted_ns(dispatch);
  if (ns < 0) return max_threads;
  return static_cast<int>(std::clamp<int64_t>(ns / rounds / kNsPerAwakeThread, 1, max_threads));
}

bool worth_threads(int64_t run_ns) { return run_ns >= kNsOfParallelRun; }

}  // namespace tenon::runtime
