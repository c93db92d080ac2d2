#include <cmath>

#include "eval/profile/profile.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

json optional(const std::optional<double>& value) { return value ? json(*value) : json(); }

json peak_json(const Peak& peak) {
  json read = json::array();
  for (const ReadRate& rate : peak.read) read.push_back({{"bytes", rate.bytes}, {"gbps", rate.gbps}});
  return {{"threads", peak.threads}, {"gflops", peak.gflops}, {"byte_gops", peak.byte_gops}, {"bf16_gflops", peak.bf16_gflops},
          {"gbps_ram", peak.gbps_ram}, {"gbps_l2", peak.gbps_l2}, {"read", read}};
}

json kernel_json(const KernelProfile& k) {
  return {{"name", k.name}, {"implementation", k.implementation}, {"nodes", k.nodes}, {"ops", k.ops}, {"calls", k.calls}, {"threads", k.threads},
          {"ms", k.ms}, {"share", k.share}, {"flops", optional(k.flops)}, {"bytes", k.bytes}, {"gflops", k.gflops}, {"gbps", k.gbps},
          {"intensity", k.intensity}, {"attainable_gflops", optional(k.attainable_gflops)}, {"fraction", optional(k.fraction)},
          {"bound", k.bound.empty() ? json() : json(k.bound)}};
}

json memory_json(const MemoryProfile& memory) {
  json timeline = json::array(), tensors = json::array();
  for (const auto& moment : memory.timeline) timeline.push_back({{"step", moment.step}, {"node", moment.node}, {"bytes", moment.bytes}});
  for (const TensorPlace& t : memory.tensors)
    tensors.push_back({{"name", t.name}, {"bytes", t.bytes}, {"first", t.first}, {"last", t.last}, {"offset", t.offset}});
  return {{"arena_bytes", memory.arena_bytes}, {"weight_bytes", memory.weight_bytes}, {"peak_step", memory.peak_step},
          {"peak_bytes", memory.peak_bytes}, {"timeline", timeline}, {"tensors", tensors}};
}

Status not_a_profile(const std::string& what) {
  return Status(Code::kInvalidArgument, what, "profile", "give a file that --profile or tenon profile --json wrote");
}

/// A finite number of an object, or an error.
Result<double> number(const json& row, const char* key) {
  const auto found = row.is_object() ? row.find(key) : row.end();
  if (!row.is_object() || found == row.end() || !found->is_number()) return not_a_profile(fmt::format("a row lacks the number '{}'", key));
  const double value = found->get<double>();
  return std::isfinite(value) ? Result<double>(value) : not_a_profile(fmt::format("'{}' is no finite number", key));
}

std::string text(const json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

const json& list(const json& object, const char* key) {
  static const json empty = json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : empty;
}

}  // namespace

json to_json(const Profile& p) {
  json kernels = json::array(), nodes = json::array(), silent = json::array(), ops = json::array(), steps = json::array();
  for (const KernelProfile& k : p.kernels) kernels.push_back(kernel_json(k));
  for (const NodeProfile& n : p.nodes) {
    json row = {{"node", n.node}, {"op", n.op}, {"ms", n.ms}, {"share", n.share}, {"calls", n.calls}, {"shared", n.shared}};
    if (!n.parent.empty()) row["parent"] = n.parent;
    nodes.push_back(std::move(row));
  }
  for (const SilentNode& n : p.silent) {
    json row = {{"node", n.node}, {"op", n.op}, {"why", n.why}};
    if (!n.into.empty()) row["into"] = n.into;
    silent.push_back(std::move(row));
  }
  for (const OpProfile& o : p.ops) ops.push_back({{"op", o.op}, {"ms", o.ms}, {"share", o.share}, {"calls", o.nodes}});
  for (const StepProfile& s : p.steps) {
    json row = {{"step", s.step}, {"depth", s.depth}, {"node", s.node}, {"kernel", s.kernel}, {"calls", s.calls}, {"ms", s.ms}, {"self_ms", s.self_ms},
                {"median_ms", s.median_ms}, {"flops", optional(s.flops)}, {"bytes", s.bytes}, {"threads", s.threads}};
    if (!s.parent.empty()) row["parent"] = s.parent;
    steps.push_back(std::move(row));
  }
  json peak;
  if (p.peak) {
    peak = peak_json(p.peak->all);
    peak["vectors"] = p.peak->vectors;
    peak["best_gflops"] = p.peak->best_gflops;
    peak["one_thread"] = peak_json(p.peak->one);
  }
  json out = {{"kind", "profile"}, {"model", p.model}, {"backend", p.backend}, {"threads", p.threads}, {"runs", p.runs}, {"total_ms", p.total_ms},
          {"steps_ms", p.steps_ms}, {"unobserved_ms", p.unobserved_ms}, {"observed_overhead", p.observed_overhead}, {"peak", peak},
          {"kernels", kernels}, {"nodes", nodes}, {"silent", silent}, {"ops", ops}, {"steps", steps}, {"memory", memory_json(p.memory)}};
  if (p.taken_over()) out["taken_over_by"] = p.run_by;
  return out;
}

Result<Profile> parse_profile(const json& object) {
  if (!object.is_object() || text(object, "kind") != "profile") return not_a_profile("this is no profile");
  Profile out;
  out.model = text(object, "model");
  out.backend = text(object, "backend");
  TENON_ASSIGN_OR_RETURN(out.total_ms, number(object, "total_ms"));
  TENON_ASSIGN_OR_RETURN(out.steps_ms, number(object, "steps_ms"));
  for (const json& row : list(object, "nodes")) {
    NodeProfile node;
    TENON_ASSIGN_OR_RETURN(node.ms, number(row, "ms"));
    node.node = text(row, "node");
    node.op = text(row, "op");
    node.parent = text(row, "parent");
    out.nodes.push_back(std::move(node));
  }
  for (const json& row : list(object, "silent")) out.silent.push_back({text(row, "node"), text(row, "op"), text(row, "why"), text(row, "into")});
  for (const json& row : list(object, "ops")) {
    OpProfile op;
    TENON_ASSIGN_OR_RETURN(op.ms, number(row, "ms"));
    op.op = text(row, "op");
    out.ops.push_back(std::move(op));
  }
  return out;
}

json to_trace(const Profile& p) {
  json events = json::array();
  const auto meta = [&](const char* what, const std::string& name) {
    events.push_back({{"name", what}, {"ph", "M"}, {"pid", 1}, {"tid", 1}, {"ts", 0}, {"args", {{"name", name}}}});
  };
  meta("process_name", fmt::format("{} on {}", p.model, p.backend));
  meta("thread_name", fmt::format("steps, {} threads", p.threads));
  const auto counter = [&](double ts, size_t bytes) {
    events.push_back({{"name", "arena"}, {"ph", "C"}, {"pid", 1}, {"tid", 1}, {"ts", ts}, {"args", {{"live bytes", bytes}}}});
  };
  double end = 0;
  for (const TraceEvent& event : p.trace) {
    const StepProfile& s = p.steps[event.step];
    json args = {{"kernel", s.kernel}, {"step", s.step}, {"threads", s.threads}, {"bytes", s.calls > 0 ? s.bytes / s.calls : 0}};
    if (s.flops && s.calls > 0) args["flops"] = *s.flops / s.calls;
    events.push_back({{"name", s.node}, {"cat", s.depth == 0 ? "step" : "body"}, {"ph", "X"}, {"ts", event.start_us}, {"dur", event.duration_us},
                      {"pid", 1}, {"tid", 1}, {"args", std::move(args)}});
    if (s.depth == 0 && static_cast<size_t>(s.step) < p.memory.timeline.size())
      counter(event.start_us, p.memory.timeline[static_cast<size_t>(s.step)].bytes);
    end = std::max(end, event.start_us + event.duration_us);
  }
  if (!p.trace.empty()) counter(end, 0);
  return {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
}

}  // namespace tenon::eval
