#include "eval/profile/profile.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "eval/cost.h"
#include "eval/profile/origins.h"
#include "eval/profile/recorder.h"
#include "eval/states.h"
#include "eval/statistics.h"
#include "ir/op.h"
#include "passes/rounded_factors.h"

namespace tenon::eval {
namespace {

using backends::Placement;
using Entry = Recorder::Entry;
using Symbols = std::vector<std::optional<int64_t>>;


/// Indices of the middle half of the runs by their length.
std::vector<size_t> middle_half(const std::vector<Recorder::Run>& runs) {
  std::vector<size_t> order(runs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return runs[a].ms < runs[b].ms; });
  const auto cut = static_cast<std::ptrdiff_t>(order.size() / 4);
  return {order.begin() + cut, order.end() - cut};
}

/// What one node of the compiled graph is made of.
struct Part {
  std::optional<size_t> origin;     // in Origins::nodes
  std::string node, op;             // as the compiled graph calls it
  double weight = 1;
};

/// The compiled nodes of a placement row, those of a fused one's region. Weights are operations and elements: a node that moves
/// data takes time as well.
std::vector<Part> parts_of(const Placement& row, const Origins& origins, std::span<const std::optional<int64_t>> symbols) {
  std::vector<Part> parts;
  const auto add = [&](const ir::Node& node) {
    Part part{origins.find(node), display_name(node), std::string(node.op_name())};
    const double weight = node_flops(node, symbols).value_or(0) + node_elements(node, symbols).value_or(0);
    part.weight = std::isfinite(weight) ? std::max(weight, 1.0) : 1.0;
    parts.push_back(std::move(part));
  };
  if (row.source == nullptr) return {Part{std::nullopt, row.node, row.op}};
  if (row.source->is("tenon.fused")) {
    for (const auto& inner : row.source->region(0).nodes())
      if (!inner->is("Constant") && !passes::rounds_a_factor(*inner)) add(*inner);
  } else {
    add(*row.source);
  }
  if (parts.empty()) parts.push_back({std::nullopt, row.node, row.op});
  const double total = std::accumulate(parts.begin(), parts.end(), 0.0, [](double sum, const Part& p) { return sum + p.weight; });
  for (Part& part : parts) part.weight /= total;
  return parts;
}

class Builder {
 public:
  Builder(const ir::Graph& model, const Recorder& recorder, const std::vector<Placement>& placement, Profile& out)
      : recorder_(recorder), placement_(placement), origins_(model), out_(out) {}

  void run() {
    select();
    average();
    share_operations();
    count_bytes();
    divide();
    add_steps();
    add_kernels();
    add_nodes();
    add_silent();
    add_memory();
    add_trace();
  }

 private:
  struct Measured {
    size_t entry;                   // in the recorder
    const Placement* row;           // null: none
    std::vector<Part> parts;
    double ms = 0, self_ms = 0, median_ms = 0, calls = 0;
    std::optional<double> flops;    // of a run
    double byte_flops = 0;          // of these, products of bytes
    double bytes = 0;               // of a run
  };

  const Entry& entry(const Measured& m) const { return recorder_.entries()[m.entry]; }
  const runtime::Step& step(const Measured& m) const { return entry(m).plan->steps[static_cast<size_t>(entry(m).step)]; }
  const Measured* parent(const Measured& m) const {
    const int32_t p = entry(m).parent;
    return p == -1 ? nullptr : &measured_[measured_of_[static_cast<size_t>(p)]];
  }
  /// By a dispatch.
  std::vector<runtime::ValueIdx> written_by(const Measured& m) const {
    std::vector<runtime::ValueIdx> out;
    for (size_t b = 0; b < step(m).bindings.size(); ++b)
      if (runtime::writes((*entry(m).plan->kernels)[static_cast<size_t>(step(m).kernel)].access[b])) out.push_back(step(m).bindings[b]);
    return out;
  }
  std::string node_of(const Part& part) const { return part.origin ? origins_.nodes()[*part.origin].name : part.node; }
  std::string kernel_name(const Measured& m) const {
    const runtime::Step& s = step(m);
    if (s.kind == runtime::Step::Kind::kDispatch)
      return fmt::format("{}.{}", (*entry(m).plan->kernels)[static_cast<size_t>(s.kernel)].name, s.kernel);
    return m.row == nullptr ? s.node : m.row->implementation;
  }

  void select();
  void average();
  void share_operations();
  void count_bytes();
  void divide();
  void add_steps();
  void add_kernels();
  void add_nodes();
  void add_silent();
  void add_memory();
  void add_trace();
  void rate(KernelProfile& kernel, double least_ms, double compute_ms) const;

  const Recorder& recorder_;
  const std::vector<Placement>& placement_;
  const Origins origins_;
  Profile& out_;
  std::vector<Measured> measured_;
  std::vector<size_t> measured_of_;        // by entry
  std::map<size_t, bool> merged_;          // original nodes that several compiled ones stem from
  std::set<size_t> seen_;                  // original nodes with time
};

// A run may turn to another plan for dims that are 1: what the first one did before is not of this run's making.
void Builder::select() {
  const auto& entries = recorder_.entries();
  measured_of_.assign(entries.size(), 0);
  for (size_t i = 0; i < entries.size(); ++i) {
    size_t top = i;
    while (entries[top].parent != -1) top = static_cast<size_t>(entries[top].parent);
    if (entries[top].plan != recorder_.plan()) continue;
    const int32_t row = entries[i].plan->steps[static_cast<size_t>(entries[i].step)].placement;
    const bool known = row >= 0 && static_cast<size_t>(row) < placement_.size();
    measured_of_[i] = measured_.size();
    measured_.push_back({i, known ? &placement_[static_cast<size_t>(row)] : nullptr, {}});
  }
}

void Builder::average() {
  const auto& runs = recorder_.runs();
  const std::vector<size_t> middle = middle_half(runs);
  const double n = static_cast<double>(std::max<size_t>(middle.size(), 1));
  for (size_t r : middle) out_.total_ms += runs[r].ms / n;
  for (Measured& m : measured_) {
    std::vector<double> all;
    for (const Recorder::Run& run : runs) all.push_back(m.entry < run.samples.size() ? run.samples[m.entry].ms : 0);
    m.median_ms = median(all);
    for (size_t r : middle) {
      if (m.entry >= runs[r].samples.size()) continue;
      const Recorder::Sample& sample = runs[r].samples[m.entry];
      m.ms += sample.ms;
      m.self_ms += sample.self_ms;
      m.calls += static_cast<double>(sample.calls);
    }
    for (double* sum : {&m.ms, &m.self_ms, &m.calls}) *sum /= n;
    if (entry(m).depth == 0) out_.steps_ms += m.ms;
  }
}

// A node's operations are its bodies'; where it takes several kernels, they are divided as the plan estimates the work of those that
// do more than copy.
void Builder::share_operations() {
  const auto own_work = [&](const Measured& m) {
    const runtime::Step& s = step(m);
    if (s.kind == runtime::Step::Kind::kDispatch && (*entry(m).plan->kernels)[static_cast<size_t>(s.kernel)].moves) return 0.0;
    return static_cast<double>(std::max<int64_t>(entry(m).work, 1));
  };
  std::map<std::pair<const runtime::Plan*, const Placement*>, double> work;
  for (const Measured& m : measured_)
    if (m.row != nullptr) work[{entry(m).plan, m.row}] += own_work(m);
  for (Measured& m : measured_) {
    if (m.row == nullptr || m.row->source == nullptr || m.row->source->num_regions() > (m.row->source->is("tenon.fused") ? 1 : 0)) continue;
    const auto flops = node_flops(*m.row->source, entry(m).symbols);
    const double own = own_work(m), all = work[{entry(m).plan, m.row}];
    if (!flops || !std::isfinite(*flops)) continue;
    const double share = all > 0 ? own / all * m.calls : 0;
    m.flops = *flops * share;
    m.byte_flops = node_byte_flops(*m.row->source, entry(m).symbols).value_or(0) * share;
  }
}

// Tensors count once a call, but kernels that write one together count their parts of it, and a node that looks up a few rows of a
// table reads no more than it loads, temporaries aside.
void Builder::count_bytes() {
  const auto work = [&](const Measured& m) { return static_cast<double>(std::max<int64_t>(entry(m).work, 1)); };
  struct Row {
    int steps = 0;
    double written = 0;
    std::map<runtime::ValueIdx, double> writers;  // of each value: their work
  };
  std::map<std::pair<const runtime::Plan*, const Placement*>, Row> rows;
  for (const Measured& m : measured_) {
    Row& row = rows[{entry(m).plan, m.row}];
    ++row.steps;
    for (runtime::ValueIdx v : written_by(m)) row.writers[v] += work(m);
  }
  for (Measured& m : measured_) {
    Row& row = rows[{entry(m).plan, m.row}];
    const auto written = written_by(m);
    m.bytes = entry(m).written * (m.row == nullptr || written.empty() ? 1 : work(m) / row.writers[written[0]]);
    row.written += m.bytes;
  }
  for (Measured& m : measured_) {
    const Row& row = rows[{entry(m).plan, m.row}];
    const auto loads = m.row != nullptr && m.row->source != nullptr && m.flops ? node_loads(*m.row->source, entry(m).symbols) : std::nullopt;
    const double most = loads ? *loads * m.calls + (row.steps > 1 ? row.written : 0) : entry(m).read;
    m.bytes += std::min(entry(m).read, most);
  }
}

void Builder::divide() {
  std::map<const Placement*, std::vector<Part>> of_row;
  std::map<size_t, std::set<std::string>> stems;
  for (Measured& m : measured_) {
    if (m.row == nullptr) {
      m.parts = {Part{std::nullopt, step(m).node, ""}};
      continue;
    }
    const auto [found, added] = of_row.try_emplace(m.row);
    if (added) {
      found->second = parts_of(*m.row, origins_, entry(m).symbols);
      for (const Part& part : found->second)
        if (part.origin) stems[*part.origin].insert(part.node);
    }
    m.parts = found->second;
  }
  for (const auto& [origin, names] : stems) merged_[origin] = names.size() > 1;
}

void Builder::add_steps() {
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

void Builder::rate(KernelProfile& kernel, double least_ms, double compute_ms) const {
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
void Builder::add_kernels() {
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
    for (const Part& part : m.parts) {
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
    const double compute = peak.compute_ms(m.flops.value_or(0), m.byte_flops);
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
void Builder::add_nodes() {
  std::map<std::pair<std::string, std::string>, NodeProfile> rows;  // by parent and name
  std::map<std::string, OpProfile> ops;
  std::map<std::string, std::set<std::string>> counted;
  for (const Measured& m : measured_) {
    const Measured* outer = parent(m);
    const std::string inside = outer == nullptr ? "" : node_of(outer->parts[0]);
    for (const Part& part : m.parts) {
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

void Builder::add_silent() {
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

void add_weights(const runtime::Plan& plan, std::set<const void*>& seen, size_t& bytes) {
  for (const runtime::PlanValue& value : plan.values) {
    const auto* tensor = std::get_if<Tensor>(&value.constant);
    if (tensor != nullptr && value.storage == runtime::Storage::kConstant && seen.insert(tensor->data()).second) bytes += tensor->bytes();
  }
  for (const runtime::Step& step : plan.steps)
    for (const auto& body : step.plans) add_weights(*body, seen, bytes);
}

void Builder::add_memory() {
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

void Builder::add_trace() {
  std::vector<bool> ours(recorder_.entries().size(), false);
  for (const Measured& m : measured_) ours[m.entry] = true;
  for (const Recorder::Event& event : recorder_.events())
    if (ours[event.entry]) out_.trace.push_back({measured_of_[event.entry], event.start_us, event.duration_us});
  out_.trace_cut = recorder_.events_cut();
}

}  // namespace

Result<Profile> profile(const ir::Graph& model, const backends::Executable& executable, std::span<const HostValue> inputs,
                        const ProfileOptions& options) {
  Recorder recorder;
  backends::SessionOptions session_options{.num_threads = options.threads, .max_bytes = options.max_bytes};
  TENON_ASSIGN_OR_RETURN(const auto plain, executable.create_session(session_options));
  session_options.observer = &recorder;
  TENON_ASSIGN_OR_RETURN(const auto observed, executable.create_session(session_options));
  if (observed->last_placement() == nullptr)
    return Status(Code::kUnsupported, "it runs no plan whose steps could be seen", "profile", "profile the cpu or vulkan backend");
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> own, set_states(*plain, model, inputs));
  TENON_RETURN_IF_ERROR(set_states(*observed, model, inputs).status());
  const auto run_observed = [&](bool keep) -> Status {
    recorder.begin_run();
    const auto ran = observed->time(own, {.runs = 1}, options.interrupt);
    if (!ran.ok()) return ran.status();
    recorder.end_run(keep);
    return {};
  };
  for (int i = 0; i < std::max(options.warmup, 1); ++i) {
    TENON_RETURN_IF_ERROR(run_observed(false));
    TENON_RETURN_IF_ERROR(plain->time(own, {.runs = 1}, options.interrupt).status());
  }
  Profile out;
  out.threads = options.threads > 0 ? std::min(options.threads, default_pool().num_threads()) : default_pool().num_threads();
  std::optional<codegen::Target> machine;
  std::optional<Burst> burst;
  if (options.calibrate) {
    TENON_ASSIGN_OR_RETURN(machine, codegen::cpu_target(options.target.empty() ? "host" : options.target));
    burst.emplace(*machine, default_pool(), out.threads);
  }
  const auto run_by = [&] { return std::string(observed->taken_over_by().empty() ? executable.code_of() : observed->taken_over_by()); };
  out.run_by = run_by();
  constexpr int kLeastRuns = 3;
  std::vector<double> unobserved, bursts;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.max_seconds);
  for (int i = 0; i < std::max(options.runs, 1); ++i) {
    if (i >= kLeastRuns && std::chrono::steady_clock::now() >= end) break;
    TENON_RETURN_IF_ERROR(run_observed(true));
    if (burst) bursts.push_back(burst->gflops());
    TENON_ASSIGN_OR_RETURN(const std::vector<double> ms, plain->time(own, {.runs = 1}, options.interrupt));
    unobserved.push_back(ms[0]);
  }

  if (run_by() != out.run_by)
    return Status(Code::kIo, fmt::format("{} failed between the runs that count, and {} took over", out.run_by, run_by()), "profile", "profile again");
  out.runs = static_cast<int>(unobserved.size());
  if (machine) {
    out.peak = calibrate(*machine, default_pool(), out.threads);
    out.peak->run_at(median(bursts));
  }
  out.unobserved_ms = median(unobserved);
  std::vector<double> lengths;
  for (const Recorder::Run& run : recorder.runs()) lengths.push_back(run.ms);
  out.observed_overhead = out.unobserved_ms > 0 ? median(lengths) / out.unobserved_ms - 1 : 0;
  Builder(model, recorder, *observed->last_placement(), out).run();
  out.memory.arena_bytes = observed->arena_bytes();
  return out;
}

}  // namespace tenon::eval
