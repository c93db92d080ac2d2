#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace tenon {

/// Runs a range in parallel. The host of a session may bring its own; ThreadPool is the default one.
class Executor {
 public:
  /// Does [begin, end). `worker` is in [0, number of threads of the call), and no two invocations of one call that run
  /// at the same time share it, so it may index scratch memory. Must not throw.
  using RangeFn = void (*)(void* context, int64_t begin, int64_t end, int worker);

  virtual ~Executor() = default;

  /// Splits [0, n) into ranges, runs fn on each exactly once, on at most `max_threads` threads (0: num_threads()), and returns when
  /// all are done; what they wrote is then visible. How many ranges there are may differ from call to call: results
  /// must not depend on it. n <= 0 does nothing.
  virtual void parallel_for(int64_t n, RangeFn fn, void* context, int max_threads) = 0;
  void parallel_for(int64_t n, RangeFn fn, void* context) { parallel_for(n, fn, context, 0); }

  /// parallel_for(n, [&](int64_t begin, int64_t end, int worker) { ... })
  template <class F>
    requires std::is_invocable_v<F&, int64_t, int64_t, int>
  void parallel_for(int64_t n, F&& body, int max_threads = 0) {
    using Body = std::remove_reference_t<F>;
    parallel_for(
        n,
        [](void* context, int64_t begin, int64_t end, int worker) {
          (*static_cast<Body*>(context))(begin, end, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)), max_threads);
  }

  virtual int num_threads() const = 0;
};

/// The threads of one process. A call splits its range into contiguous, nearly equal parts, one a thread, and each part into a few
/// pieces. A thread takes the pieces of its own part, then those that others have not come to: one that sleeps, shares its core or has a slower one
/// holds a call up by a piece at most. Idle threads watch for the next call for about 50 µs, then sleep. A call made while another is
/// running, nested or from another thread, does its whole range on the calling thread: it never waits for strangers, and cannot deadlock.
/// Workers compute under the caller's floating-point control (rounding, flushing of subnormals). A child made by fork
/// has no workers and must make its own pool.
class ThreadPool final : public Executor {
 public:
  /// `threads` counts the caller, so 1 starts none. Fewer start when the system refuses more. Where `cpus` are given,
  /// those started up to a number of `bound` threads run on these alone; the caller and others run where they like.
  explicit ThreadPool(int threads, std::span<const int> cpus = {}, int bound = 0);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  using Executor::parallel_for;
  void parallel_for(int64_t n, RangeFn fn, void* context, int max_threads) override;
  int num_threads() const override { return static_cast<int>(workers_.size()) + 1; }

 private:
  struct Worker;
  struct Job {
    RangeFn fn = nullptr;
    void* context = nullptr;
    int64_t n = 0;
    int parts = 0;
    uint64_t fp_control = 0;
  };
  void work(Worker& self, int index);
  void run_pieces(int self);
  std::atomic<int>& pieces_taken(int part);

  Job job_;  // written only while busy_ is held and no worker is at it
  alignas(64) std::atomic<bool> busy_ = false;
  alignas(64) std::atomic<int> unfinished_ = 0;
  alignas(64) std::atomic<int> own_pieces_taken_ = 0;  // of the caller's part
  std::vector<std::unique_ptr<Worker>> workers_;
};

/// Does everything on the calling thread.
class InlineExecutor final : public Executor {
 public:
  using Executor::parallel_for;
  void parallel_for(int64_t n, RangeFn fn, void* context, int) override {
    if (n > 0) fn(context, 0, n, 0);
  }
  int num_threads() const override { return 1; }
};

/// The pool that sessions share unless told otherwise: one thread a CPU that the process may use, of which the first
/// default_placement().cores, which sessions take unless told otherwise, are where that says; started on first use.
ThreadPool& default_pool();

}  // namespace tenon
