#include <algorithm>
#include <cmath>

#include "eval/profile/builder.h"

namespace tenon::eval {

using backends::Placement;

void ProfileBuilder::add_steps() {
  for (const Measured& m : measured_) {
    StepProfile row;
    const Entry& e = entry(m);
    row.step = e.step;
    row.depth = e.depth;
    row.node = step(m).node;
    if (const Measured* outer = parent(m)) row.parent = step(*outer).node;
    row.kernel = kernel_name(m);
    row.calls = m.calls;
    row.ms = m.ms;
    row.self_ms = m.self_ms;
    row.median_ms = m.median_ms;
    row.flops = m.flops;
    row.bytes = m.bytes;
    row.threads = e.threads;
    out_.steps.push_back(std::move(row));
  }
}

void ProfileBuilder::rate(KernelProfile& kernel, double least_ms, double compute_ms) const {
  const double seconds = kernel.ms * 1e-3, flops = kernel.flops.value_or(0);
  kernel.share = out_.total_ms > 0 ? kernel.ms / out_.total_ms : 0;
  kernel.gflops = seconds > 0 ? flops / seconds * 1e-9 : 0;
  kernel.gbps = seconds > 0 ? kernel.bytes / seconds * 1e-9 : 0;
  kernel.intensity = kernel.bytes > 0 ? flops / kernel.bytes : 0;
  if (!out_.peak || least_ms <= 0 || !kernel.flops) return;
  kernel.attainable_gflops = flops / (least_ms * 1e-3) * 1e-9;
  kernel.fraction = kernel.ms > 0 ? least_ms / kernel.ms : 0;
  kernel.bound = 2 * compute_ms > least_ms ? "compute" : "memory";
}

// The least time of a kernel is that of its calls, one by one: what they read may fit caches of different levels.
void ProfileBuilder::add_kernels() {
  struct Sum {
    KernelProfile row;
    double least_ms = 0, compute_ms = 0;  // the latter of calls that computation bounds
    bool counted = true;
    std::set<std::string> nodes, ops;
  };
  std::map<std::string, Sum> sums;
  for (const Measured& m : measured_) {
    const Entry& e = entry(m);
    Sum& sum = sums[kernel_name(m)];
    KernelProfile& row = sum.row;
    row.name = kernel_name(m);
    row.implementation = m.row == nullptr ? "" : m.row->implementation;
    for (const NodePart& part : m.parts) {
      const std::string name = node_of(part);
      if (sum.nodes.insert(name).second) row.nodes.push_back(name);
      if (sum.ops.insert(part.op).second) row.ops.push_back(part.op);
    }
    const bool composed = !step(m).plans.empty();
    row.calls += std::llround(m.calls);
    row.threads = std::max(row.threads, e.threads);
    row.ms += m.self_ms;
    row.bytes += composed ? 0 : m.bytes;
    if (m.flops) row.flops = row.flops.value_or(0) + *m.flops;
    else sum.counted = false;
    if (!out_.peak || composed || m.calls <= 0) continue;
    const Peak peak = out_.peak->at(step(m).kind == runtime::Step::Kind::kDispatch ? e.threads : out_.threads);
    const double compute = peak.compute_ms(m.flops.value_or(0), m.narrow);
    const double rate = peak.gbps(m.bytes / m.calls), memory = rate > 0 ? m.bytes / rate * 1e-6 : 0;
    sum.least_ms += std::max(compute, memory);
    if (compute >= memory) sum.compute_ms += compute;
  }
  for (auto& [name, sum] : sums) {
    if (!sum.counted) sum.row.flops.reset();
    rate(sum.row, sum.least_ms, sum.compute_ms);
    out_.kernels.push_back(std::move(sum.row));
  }
  std::stable_sort(out_.kernels.begin(), out_.kernels.end(), [](const auto& a, const auto& b) { return a.ms > b.ms; });
}

// An op is what ran, unless several nodes ran for one of the model: then it is the model's.
void ProfileBuilder::add_nodes() {
  std::map<std::pair<std::string, std::string>, NodeProfile> rows;  // by parent and name
  std::map<std::string, OpProfile> ops;
  std::map<std::string, std::set<std::string>> counted;
  for (const Measured& m : measured_) {
    const Measured* outer = parent(m);
    const std::string inside = outer == nullptr ? "" : node_of(outer->parts[0]);
    for (const NodePart& part : m.parts) {
      if (part.origin) seen_.insert(*part.origin);
      const bool merged = part.origin && merged_.at(*part.origin);
      const std::string op = merged ? origins_.nodes()[*part.origin].op : part.op;
      NodeProfile& row = rows[{inside, node_of(part)}];
      row.node = node_of(part);
      row.op = op;
      row.parent = inside;
      row.ms += m.ms * part.weight;
      row.calls = std::max(row.calls, m.calls);
      row.shared |= m.parts.size() > 1;
      OpProfile& total = ops[op];
      total.op = op;
      total.ms += m.self_ms * part.weight;
      if (counted[op].insert(inside + "\n" + row.node).second) ++total.nodes;
    }
  }
  const double all = out_.total_ms > 0 ? out_.total_ms : 1;
  for (auto& [key, row] : rows) {
    row.share = row.ms / all;
    out_.nodes.push_back(std::move(row));
  }
  for (auto& [name, row] : ops) {
    row.share = row.ms / all;
    out_.ops.push_back(std::move(row));
  }
  const auto longest_first = [](auto& list) {
    std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.ms > b.ms; });
  };
  longest_first(out_.nodes);
  longest_first(out_.ops);
}

void ProfileBuilder::add_silent() {
  const auto& nodes = origins_.nodes();
  std::set<size_t> views;
  for (const Placement& row : placement_)
    if (row.kind == Placement::Kind::kView && row.source != nullptr)
      if (const auto origin = origins_.find(*row.source)) views.insert(*origin);
  const auto visible = [&](size_t i) { return seen_.contains(i) || views.contains(i); };
  // Backwards, so that a reader's answer is there before it is asked for; nodes stand in an order of definition before use.
  std::vector<std::optional<size_t>> into(nodes.size());
  for (size_t i = nodes.size(); i-- > 0;)
    for (size_t reader : nodes[i].readers) {
      into[i] = visible(reader) ? std::optional(reader) : into[reader];
      if (into[i]) break;
    }
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (seen_.contains(i)) continue;
    out_.silent.push_back({nodes[i].name, nodes[i].op, views.contains(i) ? "view" : "folded", into[i] ? nodes[*into[i]].name : ""});
  }
}

namespace {

void add_weights(const runtime::Plan& plan, std::set<const void*>& seen, size_t& bytes) {
  for (const runtime::PlanValue& value : plan.values) {
    const auto* tensor = std::get_if<Tensor>(&value.constant);
    if (tensor != nullptr && value.storage == runtime::Storage::kConstant && seen.insert(tensor->data()).second) bytes += tensor->bytes();
  }
  for (const runtime::Step& step : plan.steps)
    for (const auto& body : step.plans) add_weights(*body, seen, bytes);
}

}  // namespace

void ProfileBuilder::add_memory() {
  const runtime::Plan* plan = recorder_.plan();
  if (plan == nullptr) return;
  MemoryProfile& memory = out_.memory;
  std::set<const void*> seen;
  add_weights(*plan, seen, memory.weight_bytes);
  std::vector<std::ptrdiff_t> change(plan->steps.size() + 1, 0);
  for (const runtime::ArenaRange& range : recorder_.arena()) {
    memory.tensors.push_back({plan->values[static_cast<size_t>(range.value)].name, range.bytes, range.offset, range.first_step, range.last_step});
    change[static_cast<size_t>(range.first_step)] += static_cast<std::ptrdiff_t>(range.bytes);
    change[static_cast<size_t>(range.last_step) + 1] -= static_cast<std::ptrdiff_t>(range.bytes);
  }
  std::ptrdiff_t alive = 0;
  for (size_t s = 0; s < plan->steps.size(); ++s) {
    alive += change[s];
    memory.timeline.push_back({static_cast<int32_t>(s), plan->steps[s].node, static_cast<size_t>(alive)});
    if (memory.peak_step == -1 || memory.timeline.back().bytes > memory.peak_bytes) {
      memory.peak_step = static_cast<int32_t>(s);
      memory.peak_bytes = memory.timeline.back().bytes;
    }
  }
  std::stable_sort(memory.tensors.begin(), memory.tensors.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
}

void ProfileBuilder::add_trace() {
  std::vector<bool> ours(recorder_.entries().size(), false);
  for (const Measured& m : measured_) ours[m.entry] = true;
  for (const Recorder::Event& event : recorder_.events())
    if (ours[event.entry]) out_.trace.push_back({measured_of_[event.entry], event.start_us, event.duration_us});
  out_.trace_cut = recorder_.events_cut();
}

}  // namespace tenon::eval
