#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "eval/report/chart.h"
#include "eval/report/format.h"
#include "eval/report/html.h"
#include "eval/report/reader.h"
#include "eval/report/sections.h"

namespace tenon::eval::report {
namespace {

using nlohmann::json;

/// Elements with a number above zero, by it, largest first.
std::vector<const json*> ranked(const json& rows, const char* key) {
  std::vector<std::pair<double, const json*>> order;
  for (const json& row : rows)
    if (const auto value = positive(row, key)) order.emplace_back(*value, &row);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<const json*> out;
  for (const auto& [value, row] : order) out.push_back(row);
  return out;
}

std::string op_chart(const json& document) {
  const std::vector<const json*> ops = ranked(list(document, "ops"), "ms");
  if (ops.empty()) return {};
  const std::vector<double> most = {*number(*ops[0], "ms")};
  RowChart chart(Scale::linear(most, true), duration, "time of a run");
  constexpr size_t kMostOps = 20;
  double rest = 0;
  for (const json* op : ops) {
    const double ms = *number(*op, "ms");
    if (chart.rows() >= kMostOps) {
      rest += ms;
      continue;
    }
    const auto share = number(*op, "share");
    const std::string words = duration(ms) + (share ? " <small>" + percent(*share) + "</small>" : "");
    chart.row(name(text(*op, "op"), 32), draw_box(0, chart.scale().at(ms), RowChart::kMiddle - 7, 14, 0, "bar"), words);
  }
  const std::string foot = rest > 0 ? note(fmt::format("{} more ops take {} together.", ops.size() - kMostOps, duration(rest))) : "";
  return chart.str("Time by op", foot);
}

std::string kernels_table(const std::vector<const json*>& kernels) {
  HtmlTable table("Kernels by time; “of roof” is the speed over what arithmetic and memory would allow", {"Kernel", "#", "Time", "Share", "Implementation", "Ops", "Calls",
                  "GFLOP/s", "GB/s", "FLOP/byte", "Of roof", "Bound by"});
  for (size_t i = 0; i < kernels.size() && i < kMostListed; ++i) {
    const json& k = *kernels[i];
    const auto fixed = [&](const char* key) {
      const auto value = number(k, key);
      return Cell::figure(value ? figure(*value) : "", value);
    };
    const auto ms = number(k, "ms"), share = number(k, "share"), fraction = number(k, "fraction");
    table.add({Cell::text(name(text(k, "name"), 40)), Cell::figure(std::to_string(i + 1), static_cast<double>(i + 1)), Cell::figure(optional(ms, duration), ms),
               Cell::figure(optional(share, percent), share), Cell::text(name(text(k, "implementation"), 32)), Cell::text(name(text(k, "ops"), 32)),
               Cell::figure(escape(text(k, "calls")), number(k, "calls")), fixed("gflops"), fixed("gbps"), fixed("intensity"),
               Cell::figure(optional(fraction, percent), fraction), Cell::text(name(text(k, "bound"), 24))});
  }
  return table.str() + left_out(kernels.size(), table.rows(), "kernels");
}

/// Speed against arithmetic intensity under the roofs (Williams, Waterman and Patterson 2009).
std::string roofline(const json& document, const std::vector<const json*>& kernels) {
  const json& peak = member(document, "peak");
  const auto gflops = positive(peak, "gflops"), ram = positive(peak, "gbps_ram"), l2 = positive(peak, "gbps_l2");
  struct Dot {
    const json* kernel;
    size_t rank;
    double intensity, gflops, share;
  };
  std::vector<Dot> dots;
  std::vector<double> xs, ys;
  size_t without = 0;
  for (size_t i = 0; i < kernels.size(); ++i) {
    const auto x = positive(*kernels[i], "intensity"), y = positive(*kernels[i], "gflops");
    if (!x || !y) {
      ++without;
      continue;
    }
    if (dots.size() >= kMostRows) continue;
    dots.push_back({kernels[i], i + 1, *x, *y, std::clamp(number(*kernels[i], "share").value_or(0), 0.0, 1.0)});
    xs.push_back(*x);
    ys.push_back(*y);
  }
  if (dots.empty()) return {};
  if (gflops) {
    ys.push_back(*gflops * 1.3);
    if (ram) xs.push_back(*gflops / *ram);
  }
  const Scale x = Scale::logarithmic(xs), y = Scale::logarithmic(ys);
  XyChart chart({x, [](double v) { return figure(v, 1); }, "FLOP/byte"}, {y, [](double v) { return figure(v, 1); }, "GFLOP/s"}, 320);
  // A roof of so many GB/s, from where it enters the plot to the peak.
  const auto roof = [&](double bandwidth) {
    const double start = std::max(x.low(), y.low() / bandwidth), ridge = gflops ? *gflops / bandwidth : x.high(), end = std::min(ridge, std::min(x.high(), y.high() / bandwidth));
    if (start < end) chart.line({{start, start * bandwidth}, {end, end * bandwidth}}, 0, "roof");
    return std::pair(start, end);
  };
  std::string roofs;
  if (ram) {
    roof(*ram);
    roofs += fmt::format("Lines: memory {} GB/s", figure(*ram));
  }
  if (l2) {
    roof(*l2);
    roofs += fmt::format("{}second-level cache {} GB/s", roofs.empty() ? "Lines: " : ", ", figure(*l2));
  }
  if (gflops) {
    chart.line({{std::max(x.low(), *gflops / std::max(ram.value_or(*gflops / x.low()), l2.value_or(0.0))), *gflops}, {x.high(), *gflops}}, 0, "roof");
    roofs += fmt::format("{}arithmetic {} GFLOP/s", roofs.empty() ? "Lines: " : ", ", figure(*gflops));
  }
  for (auto dot = dots.rbegin(); dot != dots.rend(); ++dot)
    chart.dot({dot->intensity, dot->gflops}, 0,
              fmt::format("{}. {}: {}, {} GFLOP/s at {} FLOP/byte", dot->rank, shortened(text(*dot->kernel, "name"), 60), percent(dot->share), figure(dot->gflops),
                          figure(dot->intensity)),
              3 + 13 * std::sqrt(dot->share));
  for (const Dot& dot : dots)
    if (dot.rank <= 12) chart.label({dot.intensity, dot.gflops}, std::to_string(dot.rank), 6 + 13 * std::sqrt(dot.share));
  std::string foot = note(roofs.empty() ? "" : roofs + ". Areas of dots are shares of the time, numbers those of the table.");
  if (without > 0) foot += note(fmt::format("{} kernels without arithmetic or traffic are not drawn.", without));
  return chart.str("Roofline: speed against arithmetic intensity", fmt::format("{} kernels; the one that takes most time reaches {} GFLOP/s at {} FLOP/byte.", dots.size(),
                                                                                figure(dots[0].gflops), figure(dots[0].intensity)), foot);
}

struct Moment {
  double step = 0, bytes = 0;
  std::string node;
};

/// The largest moment of each of at most kMostColumns stretches.
std::vector<Moment> timeline_of(const json& memory) {
  const json& all = list(memory, "timeline");
  const size_t stride = (all.size() + kMostColumns - 1) / kMostColumns;
  std::vector<Moment> out;
  for (size_t start = 0; start < all.size(); start += stride) {
    Moment most;
    const json* at = nullptr;
    for (size_t i = start; i < std::min(start + stride, all.size()); ++i)
      if (const auto held = number(all[i], "bytes"); held && *held >= 0 && (at == nullptr || *held > most.bytes)) {
        most.bytes = *held;
        most.step = number(all[i], "step").value_or(static_cast<double>(i));
        at = &all[i];
      }
    if (at == nullptr) continue;
    most.node = text(*at, "node");
    out.push_back(std::move(most));
  }
  std::stable_sort(out.begin(), out.end(), [](const Moment& a, const Moment& b) { return a.step < b.step; });
  return out;
}

std::string memory_chart(const json& memory) {
  const std::vector<Moment> moments = timeline_of(memory);
  if (moments.size() < 2) return {};
  std::vector<double> xs = {moments.front().step, moments.back().step + 1}, ys = {0};
  const Moment* most = &moments[0];
  for (const Moment& m : moments) {
    ys.push_back(m.bytes);
    if (m.bytes > most->bytes) most = &m;
  }
  const auto arena = positive(memory, "arena_bytes");
  if (arena) ys.push_back(*arena);
  XyChart chart({Scale::linear(xs), count, "step"}, {Scale::linear(ys, true), bytes, "bytes in use"}, 220);
  for (size_t i = 0; i < moments.size(); ++i) {
    const double next = i + 1 < moments.size() ? moments[i + 1].step : moments[i].step + 1;
    chart.column(moments[i].step, next, 0, moments[i].bytes, 0, &moments[i] == most ? "bar" : "area",
                 fmt::format("step {}, {}: {}", count(moments[i].step), shortened(moments[i].node, 60), bytes(moments[i].bytes)));
  }
  if (arena) chart.line({{xs.front(), *arena}, {xs.back(), *arena}}, 0, "roof", "5 4");
  chart.vertical(most->step, "mark", "peak " + bytes(most->bytes), 1);
  std::string foot = note(fmt::format("Peak {} at step {}, {}.{}", bytes(most->bytes), count(most->step), name(most->node, 60),
                                      arena ? fmt::format(" Dashed: the arena, {}.", bytes(*arena)) : ""));
  const size_t all = list(memory, "timeline").size();
  if (all > moments.size()) foot += note(fmt::format("{} steps in {} columns, each as high as its largest.", all, moments.size()));
  return chart.str("Memory of activations, step by step", fmt::format("{} steps; at most {} at step {}.", all, bytes(most->bytes), count(most->step)), foot);
}

std::string alive_at_peak(const json& memory) {
  const auto peak = number(memory, "peak_step");
  if (!peak) return {};
  std::vector<const json*> alive;
  for (const json* tensor : ranked(list(memory, "tensors"), "bytes"))
    if (number(*tensor, "first").value_or(0) <= *peak && *peak <= number(*tensor, "last").value_or(0)) alive.push_back(tensor);
  HtmlTable table("Alive at the peak", {"Tensor", "Size", "From step", "To step", "Offset"});
  for (const json* tensor : alive) {
    if (table.rows() >= 20) break;
    std::vector<Cell> cells = {Cell::text(name(text(*tensor, "name"), 60)), Cell::figure(bytes(*number(*tensor, "bytes")), number(*tensor, "bytes"))};
    for (const char* key : {"first", "last", "offset"}) cells.push_back(Cell::figure(escape(text(*tensor, key)), number(*tensor, key)));
    table.add(std::move(cells));
  }
  return table.str() + left_out(alive.size(), table.rows(), "tensors");
}

std::string nodes_table(const json& document) {
  const std::vector<const json*> nodes = ranked(list(document, "nodes"), "ms");
  HtmlTable table("Nodes by time", {"Node", "Op", "Time", "Share"});
  for (const json* node : nodes) {
    if (table.rows() >= kMostListed) break;
    const auto ms = number(*node, "ms"), share = number(*node, "share");
    table.add({Cell::text(name(text(*node, "node"), 80)), Cell::text(name(text(*node, "op"), 32)), Cell::figure(optional(ms, duration), ms),
               Cell::figure(optional(share, percent), share)});
  }
  if (table.empty()) return {};
  return fmt::format("<details><summary>Nodes</summary>{}{}</details>\n", table.str(), left_out(nodes.size(), table.rows(), "nodes"));
}

std::string profile(const json& document, const Names& names) {
  const json& memory = member(document, "memory");
  std::vector<std::string> facts;
  if (const std::string run = names.run(document); !run.empty()) facts.push_back(name(run, 40));
  if (const auto total = number(document, "total_ms")) facts.push_back(duration(*total) + " a run");
  if (const auto arena = number(memory, "arena_bytes")) facts.push_back("arena " + bytes(*arena));
  if (const auto weights = number(memory, "weight_bytes")) facts.push_back("weights " + bytes(*weights));
  std::string html = facts.empty() ? "" : fmt::format("<p class=\"lead\">{}</p>\n", fmt::join(facts, " · "));
  const std::vector<const json*> kernels = ranked(list(document, "kernels"), "ms");
  return html + op_chart(document) + kernels_table(kernels) + roofline(document, kernels) + memory_chart(memory) + alive_at_peak(memory) + nodes_table(document);
}

}  // namespace

std::vector<Section> profile_sections(const json& document, const Names& names) {
  std::vector<Section> out;
  const json& all = list(document, "profile");
  for (const json& one : all) {
    if (out.size() >= kMostDocuments) break;
    const std::string model = text(one, "model");
    std::string html = profile(one, names);
    if (out.size() + 1 == kMostDocuments) html += left_out(all.size(), kMostDocuments, "profiles");
    out.push_back({fmt::format("profile-{}", out.size() + 1), model.empty() ? "Profile" : "Profile: " + names.model(model), std::move(html)});
  }
  return out;
}

}  // namespace tenon::eval::report
