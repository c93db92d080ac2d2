#include "support/executor.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <system_error>

#include "support/cpu_count.h"

namespace tenon {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kPieces = 4;      // of a thread's part
constexpr int kNeighbours = 7;  // whose parts a worker looks into: each look may wait for another core. The caller looks into all

void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Watches `value` until it is no longer `old`, then returns what it is; sleeps once kSpin has passed.
template <class T>
T wait_for_change(const std::atomic<T>& value, T old) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      const T now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  while (true) {
    const T now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    value.wait(old, std::memory_order_acquire);
  }
}

// The control bits of the floating-point unit, without the sticky exception flags.
uint64_t fp_control() {
#if defined(__x86_64__)
  return __builtin_ia32_stmxcsr() & 0xffc0u;
#elif defined(__aarch64__)
  uint64_t fpcr;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  return fpcr;
#else
  return 0;
#endif
}

/// A thread that cannot be bound runs wherever the process may.
void bind(std::thread& thread, std::span<const int> cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (int cpu : cpus)
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &mask);
  if (CPU_COUNT(&mask) > 0) pthread_setaffinity_np(thread.native_handle(), sizeof mask, &mask);
}

void set_fp_control([[maybe_unused]] uint64_t control) {
  if (fp_control() == control) return;
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(static_cast<unsigned>(control));
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" : : "r"(control));
#endif
}

}  // namespace

// `ticket` goes up by one for every job that the worker may help with; kStop ends it. Whoever moves `taken` up to the ticket decides:
// the worker, that it helps, or the caller, when nothing is left before the worker has woken up, that it does not.
struct alignas(64) ThreadPool::Worker {
  static constexpr uint32_t kStop = ~0u;
  std::atomic<uint32_t> ticket = 0;
  std::atomic<uint32_t> taken = 0;
  std::atomic<int> pieces_taken = 0;  // of the worker's part, in the line that moves between the two threads anyway
  std::thread thread;

  static uint32_t after(uint32_t t) { return t + 1 == kStop ? 0 : t + 1; }
  static uint32_t before(uint32_t t) { return t == 0 ? kStop - 1 : t - 1; }
  void post(uint32_t next) {
    ticket.store(next, std::memory_order_release);
    ticket.notify_one();
  }
  bool take(uint32_t t) {
    uint32_t previous = before(t);
    return taken.compare_exchange_strong(previous, t, std::memory_order_acq_rel, std::memory_order_relaxed);
  }
};

ThreadPool::ThreadPool(int threads, std::span<const int> cpus, int bound) {
  for (int index = 1; index < threads; ++index) {
    auto worker = std::make_unique<Worker>();
    try {
      worker->thread = std::thread([this, w = worker.get(), index] { work(*w, index); });
    } catch (const std::system_error&) {
      return;
    }
    if (index < bound) bind(worker->thread, cpus);
    workers_.push_back(std::move(worker));
  }
}

ThreadPool::~ThreadPool() {
  for (auto& worker : workers_) worker->post(Worker::kStop);
  for (auto& worker : workers_) worker->thread.join();
}

void ThreadPool::work(Worker& self, int index) {
  uint32_t seen = 0;
  while ((seen = wait_for_change(self.ticket, seen)) != Worker::kStop) {
    if (!self.take(seen)) continue;
    set_fp_control(job_.fp_control);
    run_pieces(index);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

std::atomic<int>& ThreadPool::pieces_taken(int part) {
  return part == 0 ? own_pieces_taken_ : workers_[static_cast<size_t>(part - 1)]->pieces_taken;
}

void ThreadPool::run_pieces(int self) {
  const int64_t size = job_.n / job_.parts, longer = job_.n % job_.parts;
  const int looks = self == 0 ? job_.parts : std::min(job_.parts, 1 + kNeighbours);
  for (int i = 0; i < looks; ++i) {
    const int part = (self + i) % job_.parts;
    const int64_t begin = part * size + std::min<int64_t>(part, longer), count = size + (part < longer);
    const int64_t pieces = std::min<int64_t>(count, kPieces), each = count / pieces, larger = count % pieces;
    std::atomic<int>& taken = pieces_taken(part);
    if (part != self && taken.load(std::memory_order_relaxed) >= pieces) continue;
    for (int64_t piece; (piece = taken.fetch_add(1, std::memory_order_relaxed)) < pieces;) {
      const int64_t first = begin + piece * each + std::min(piece, larger);
      job_.fn(job_.context, first, first + each + (piece < larger), self);
    }
  }
}

void ThreadPool::parallel_for(int64_t n, RangeFn fn, void* context, int max_threads) {
  if (n <= 0) return;
  const int limit = max_threads > 0 ? std::min(max_threads, num_threads()) : num_threads();
  const int parts = static_cast<int>(std::min<int64_t>(n, limit));
  if (parts == 1 || busy_.exchange(true, std::memory_order_acquire)) {
    fn(context, 0, n, 0);
    return;
  }
  job_ = {fn, context, n, parts, fp_control()};
  own_pieces_taken_.store(0, std::memory_order_relaxed);
  unfinished_.store(parts - 1, std::memory_order_relaxed);
  for (int i = 1; i < parts; ++i) pieces_taken(i).store(0, std::memory_order_relaxed);  // before any worker looks into the parts of others
  for (int i = 0; i < parts - 1; ++i) {
    Worker& worker = *workers_[static_cast<size_t>(i)];
    worker.post(Worker::after(worker.ticket.load(std::memory_order_relaxed)));
  }
  run_pieces(0);
  for (int i = 0; i < parts - 1; ++i) {
    Worker& worker = *workers_[static_cast<size_t>(i)];
    if (worker.take(worker.ticket.load(std::memory_order_relaxed))) unfinished_.fetch_sub(1, std::memory_order_relaxed);
  }
  for (int left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) wait_for_change(unfinished_, left);
  busy_.store(false, std::memory_order_release);
}

ThreadPool& default_pool() {
  static ThreadPool pool(available_cores(), default_placement().cpus, default_placement().cores);
  return pool;
}

}  // namespace tenon
