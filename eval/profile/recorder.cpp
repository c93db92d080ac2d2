#include "eval/profile/recorder.h"

#include <algorithm>

namespace tenon::eval {
namespace {

constexpr size_t kMaxEvents = 100'000;

double ms_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

void Recorder::begin_run() {
  run_.samples.assign(entries_.size(), {});
  for (Entry& entry : entries_) entry.read = entry.written = 0;
  events_.clear();
  events_cut_ = false;
  for (auto& list : orphans_) list.clear();
  inner_ms_.assign(inner_ms_.size(), 0);
  plan_ = nullptr;
  start_ = Clock::now();
}

void Recorder::end_run(bool keep) {
  run_.ms = ms_between(start_, Clock::now());
  if (keep) runs_.push_back(run_);
}

size_t Recorder::entry_of(const runtime::StepEvent& event) {
  const auto [found, added] = index_.try_emplace({&event.plan, event.step}, entries_.size());
  if (added) {
    Entry& entry = entries_.emplace_back();
    entry.plan = &event.plan;
    entry.step = event.step;
    entry.depth = event.depth;
    entry.symbols.assign(event.symbols.begin(), event.symbols.end());
    run_.samples.emplace_back();
  }
  return found->second;
}

void Recorder::on_step(const runtime::StepEvent& event) {
  const size_t index = entry_of(event);
  Entry& entry = entries_[index];
  const auto depth = static_cast<size_t>(event.depth);
  if (orphans_.size() < depth + 2) {
    orphans_.resize(depth + 2);
    inner_ms_.resize(depth + 2, 0);
  }
  const double ms = ms_between(event.start, event.end);
  Sample& sample = run_.samples[index];
  if (sample.calls == 0 && depth > 0 && entry.parent == -1) orphans_[depth].push_back(index);
  sample.ms += ms;
  sample.self_ms += ms - inner_ms_[depth + 1];
  ++sample.calls;
  inner_ms_[depth] += ms;
  inner_ms_[depth + 1] = 0;
  for (size_t child : orphans_[depth + 1]) entries_[child].parent = static_cast<int32_t>(index);
  orphans_[depth + 1].clear();
  entry.threads = std::max(entry.threads, event.threads);
  entry.work = event.work;
  entry.read += static_cast<double>(event.read_bytes);
  entry.written += static_cast<double>(event.written_bytes);
  if (depth == 0) plan_ = &event.plan;
  if (events_.size() < kMaxEvents) events_.push_back({index, ms_between(start_, event.start) * 1e3, ms * 1e3});
  else events_cut_ = true;
}

void Recorder::on_arena(const runtime::Plan& plan, std::span<const runtime::ArenaRange> ranges) {
  plan_ = arena_plan_ = &plan;
  arena_.assign(ranges.begin(), ranges.end());
}

}  // namespace tenon::eval
