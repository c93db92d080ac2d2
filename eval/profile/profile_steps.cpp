#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/cost.h"
#include "eval/profile/builder.h"
#include "eval/statistics.h"
#include "passes/rounded_factors.h"

namespace tenon::eval {
namespace {

using backends::Placement;

/// Indices of the middle half of the runs by their length.
std::vector<size_t> middle_half(const std::vector<Recorder::Run>& runs) {
  std::vector<size_t> order(runs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return runs[a].ms < runs[b].ms; });
  const auto cut = static_cast<std::ptrdiff_t>(order.size() / 4);
  return {order.begin() + cut, order.end() - cut};
}

/// The compiled nodes of a placement row, those of a fused one's region. Weights are operations and elements: a node that moves
/// data takes time as well.
std::vector<NodePart> parts_of(const Placement& row, const Origins& origins, std::span<const std::optional<int64_t>> symbols) {
  std::vector<NodePart> parts;
  const auto add = [&](const ir::Node& node) {
    NodePart part{origins.find(node), display_name(node), std::string(node.op_name())};
    const double weight = node_flops(node, symbols).value_or(0) + node_elements(node, symbols).value_or(0);
    part.weight = std::isfinite(weight) ? std::max(weight, 1.0) : 1.0;
    parts.push_back(std::move(part));
  };
  if (row.source == nullptr) return {NodePart{std::nullopt, row.node, row.op}};
  if (row.source->is("tenon.fused")) {
    for (const auto& inner : row.source->region(0).nodes())
      if (!inner->is("Constant") && !passes::rounds_a_factor(*inner)) add(*inner);
  } else {
    add(*row.source);
  }
  if (parts.empty()) parts.push_back({std::nullopt, row.node, row.op});
  const double total = std::accumulate(parts.begin(), parts.end(), 0.0, [](double sum, const NodePart& p) { return sum + p.weight; });
  for (NodePart& part : parts) part.weight /= total;
  return parts;
}

}  // namespace

// A run may turn to another plan for dims that are 1: what the first one did before is not of this run's making.
void ProfileBuilder::select() {
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

void ProfileBuilder::average() {
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
void ProfileBuilder::share_operations() {
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
    m.narrow = node_narrow_flops(*m.row->source, entry(m).symbols) * share;
  }
}

// Tensors count once a call, but kernels that write one together count their parts of it, and a node that looks up a few rows of a
// table reads no more than it loads, temporaries aside.
void ProfileBuilder::count_bytes() {
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

void ProfileBuilder::divide() {
  std::map<const Placement*, std::vector<NodePart>> of_row;
  std::map<size_t, std::set<std::string>> stems;
  for (Measured& m : measured_) {
    if (m.row == nullptr) {
      m.parts = {NodePart{std::nullopt, step(m).node, ""}};
      continue;
    }
    const auto [found, added] = of_row.try_emplace(m.row);
    if (added) {
      found->second = parts_of(*m.row, origins_, entry(m).symbols);
      for (const NodePart& part : found->second)
        if (part.origin) stems[*part.origin].insert(part.node);
    }
    m.parts = found->second;
  }
  for (const auto& [origin, names] : stems) merged_[origin] = names.size() > 1;
}

}  // namespace tenon::eval
