#include "eval/profile/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "eval/cost.h"
#include "eval/inputs.h"
#include "eval/model.h"
#include "eval/profile/attribute.h"
#include "ir/parser.h"

namespace tenon::eval {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using nlohmann::json;

std::unique_ptr<ir::Graph> graph_of(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return graph.ok() ? std::move(*graph) : nullptr;
}

/// Random inputs; three runs, without a calibration.
Result<Profile> profile_of(const ir::Graph& graph, std::string_view backend = "cpu", ProfileOptions options = {.runs = 3, .calibrate = false},
                           const backends::CompileOptions& compile = {}) {
  TENON_ASSIGN_OR_RETURN(const auto inputs, random_inputs(graph, 1));
  TENON_ASSIGN_OR_RETURN(const auto executable, backends::find_backend(backend)->compile(graph, compile));
  return profile(graph, *executable, inputs, options);
}

std::unique_ptr<ir::Graph> digits() {
  auto graph = load_model(std::filesystem::path(TENON_SOURCE_DIR) / "models/digits/model.onnx");
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return std::move(*graph);
}

double flops(const Profile& p) {
  double sum = 0;
  for (const KernelProfile& k : p.kernels) sum += k.flops.value_or(NAN);
  return sum;
}

TEST(Profile, CountsAProductInClosedForm) {
  const auto graph = graph_of(R"(graph "g" {
  input %a: f32[M, 24]
  input %b: f32[24, 40]
  %y: f32[M, 40] = MatMul(%a, %b) "product"
  output %y
})");
  const auto executable = backends::find_backend("cpu")->compile(*graph, {});
  ASSERT_TRUE(executable.ok());
  const std::vector<HostValue> inputs = {*Tensor::zeros(DType::kF32, {7, 24}), *Tensor::zeros(DType::kF32, {24, 40})};
  const auto p = profile(*graph, **executable, inputs, {.runs = 2, .calibrate = false});
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  EXPECT_DOUBLE_EQ(flops(*p), 2.0 * 7 * 24 * 40);
  double bytes = 0;
  for (const StepProfile& s : p->steps) bytes += s.bytes;
  EXPECT_GE(bytes, 4.0 * (7 * 24 + 24 * 40 + 7 * 40));
  ASSERT_EQ(p->nodes.size(), 1u);
  EXPECT_EQ(p->nodes[0].node, "product");
  EXPECT_EQ(p->nodes[0].op, "MatMul");
}

// 2 N Co Ho Wo (Ci / groups) Kh Kw, and one for each bias.
TEST(Profile, CountsAConvolutionWithItsBorderInClosedForm) {
  const auto graph = graph_of(R"(graph "g" {
  input %x: f32[2, 6, 9, 9]
  input %w: f32[8, 3, 3, 3]
  input %b: f32[8]
  %y: f32[2, 8, 5, 5] = Conv(%x, %w, %b) {group = 2, pads = [1, 1, 1, 1], strides = [2, 2]} "conv"
  output %y
})");
  const auto p = profile_of(*graph);
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  constexpr double kOutputs = 2.0 * 8 * 5 * 5;
  EXPECT_DOUBLE_EQ(flops(*p), kOutputs * (2.0 * 3 * 3 * 3 + 1));
  for (const KernelProfile& k : p->kernels)
    EXPECT_TRUE(!k.name.starts_with("map") || *k.flops == 0) << "a copy with a border computes nothing";
}

// 2 M N K products and sums; the zero points once an element of each factor.
TEST(Cost, CountsZeroPointsOnceAnElement) {
  const auto graph = graph_of(R"(graph "g" {
  input %a: u8[5, 8]
  input %b: i8[8, 3]
  input %za: u8[]
  input %zb: i8[]
  %y: i32[5, 3] = MatMulInteger(%a, %b, %za, %zb)
  output %y
})");
  const ir::Node& product = *graph->outputs()[0]->def();
  EXPECT_EQ(node_flops(product, {}), 2 * 5 * 3 * 8 + 5 * 8 + 8 * 3);
  EXPECT_EQ(node_narrow_flops(product, {}).bytes, 2 * 5 * 3 * 8);
  EXPECT_EQ(node_narrow_flops(product, {}).bf16, 0);
}

// Factors that are bf16 as they are, and those that a fused node rounds; not where one is wider.
TEST(Cost, CountsProductsOfBf16) {
  const auto graph = graph_of(R"(graph "g" {
  input %a: bf16[5, 8]
  input %b: bf16[8, 3]
  input %x: f32[5, 8]
  input %w: f32[8, 3]
  %y: bf16[5, 3] = MatMul(%a, %b)
  %xs: bf16[5, 8] = Cast(%x) {to = 16}
  %xw: f32[5, 8] = Cast(%xs) {to = 1}
  %bw: f32[8, 3] = Cast(%b) {to = 1}
  %z: f32[5, 3] = MatMul(%xw, %bw)
  %v: f32[5, 3] = MatMul(%xw, %w)
  output %y
  output %z
  output %v
})");
  constexpr double kOperations[] = {2 * 5 * 3 * 8, 2 * 5 * 3 * 8, 0};
  for (size_t i = 0; i < 3; ++i) {
    const ir::Node& product = *graph->outputs()[i]->def();
    EXPECT_EQ(node_flops(product, {}), 2 * 5 * 3 * 8) << i;
    EXPECT_EQ(node_narrow_flops(product, {}).bf16, kOperations[i]) << i;
    EXPECT_EQ(node_narrow_flops(product, {}).bytes, 0) << i;
  }
}

TEST(Peak, SetsNarrowProductsAgainstTheirOwnRates) {
  const Peak peak{.gflops = 100, .byte_gops = 400, .bf16_gflops = 200};
  EXPECT_EQ(peak.compute_ms(3e8), 3);
  EXPECT_EQ(peak.compute_ms(3e8, {.bytes = 2e8}), 1 + 0.5);
  EXPECT_EQ(peak.compute_ms(3e8, {.bytes = 0, .bf16 = 2e8}), 1 + 1);
  EXPECT_EQ(Peak({.gflops = 100}).compute_ms(3e8, {.bytes = 1e8, .bf16 = 1e8}), 3) << "without instructions for them they are products like others";
}

TEST(Cost, MovingElementsIsNoOperation) {
  const auto graph = graph_of(R"(graph "g" {
  input %x: f32[2, 3]
  input %z: f32[2, 3]
  %pads: i64[4] = Constant {value = dense<i64[4], 1, 0, 1, 2>}
  %p: f32[4, 5] = Pad(%x, %pads)
  %t: f32[5, 4] = Transpose(%p) {perm = [1, 0]}
  %c: f32[4, 3] = Concat(%x, %z) {axis = 0}
  %r: f32[4, 3] = Relu(%c)
  output %t
  output %r
})");
  std::map<std::string, double> counted;
  for (const auto& node : graph->nodes())
    if (!node->is("Constant")) counted[std::string(node->op_name())] = node_flops(*node, {}).value_or(NAN);
  EXPECT_EQ(counted["Pad"], 0);
  EXPECT_EQ(counted["Transpose"], 0);
  EXPECT_EQ(counted["Concat"], 0);
  EXPECT_EQ(counted["Relu"], 12);
}

TEST(Profile, TimesAddUp) {
  const auto graph = digits();
  const auto p = profile_of(*graph, "cpu", {.runs = 9, .calibrate = false});
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  EXPECT_EQ(p->runs, 9);
  EXPECT_GT(p->steps_ms, 0);
  EXPECT_LE(p->steps_ms, p->total_ms);
  const auto sum = [](const auto& rows) {
    double all = 0;
    for (const auto& row : rows) all += row.ms;
    return all;
  };
  const double close = 1e-9 * p->steps_ms;
  EXPECT_NEAR(sum(p->steps), p->steps_ms, close);
  EXPECT_NEAR(sum(p->kernels), p->steps_ms, close);
  EXPECT_NEAR(sum(p->nodes), p->steps_ms, close);
  EXPECT_NEAR(sum(p->ops), p->steps_ms, close);
  EXPECT_TRUE(std::is_sorted(p->kernels.begin(), p->kernels.end(), [](const auto& a, const auto& b) { return a.ms > b.ms; }));
}

TEST(Profile, EveryNodeOfTheModelRunsOrIsNamedAsSilent) {
  const auto graph = digits();
  for (const char* backend : {"cpu", "vulkan"}) {
    if (!backends::find_backend(backend)->available().ok()) continue;
    for (int level : {0, 3}) {
      const auto p = profile_of(*graph, backend, {.runs = 1, .calibrate = false}, {.opt_level = level});
      ASSERT_TRUE(p.ok()) << p.status().to_string();
      std::map<std::string, int> seen;
      for (const NodeProfile& n : p->nodes) ++seen[n.node];
      for (const SilentNode& n : p->silent) ++seen[n.node];
      std::set<std::string> names;
      for (const auto& node : graph->nodes())
        if (!node->is("Constant")) names.insert(node->name());
      for (const auto& [name, times] : seen) {
        EXPECT_EQ(times, 1) << name << " on " << backend << " -O" << level;
        EXPECT_TRUE(names.contains(name)) << name << " on " << backend << " -O" << level;
      }
      EXPECT_EQ(seen.size(), names.size());
    }
  }
}

TEST(Profile, SaysWhatBecameOfNodesThatDoNotRun) {
  const auto graph = graph_of(R"(graph "g" {
  input %x: f32[4, 6]
  %flat: i64[1] = Constant {value = dense<i64[1], -1>}
  %same: f32[4, 6] = Identity(%x) "same"
  %r: f32[4, 6] = Relu(%same) "relu"
  %v: f32[24] = Reshape(%r, %flat) "view"
  output %v
})");
  const auto p = profile_of(*graph);
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  ASSERT_EQ(p->nodes.size(), 1u);
  EXPECT_EQ(p->nodes[0].node, "relu");
  ASSERT_EQ(p->silent.size(), 2u);
  EXPECT_EQ(p->silent[0].node, "same");
  EXPECT_EQ(p->silent[0].why, "folded");
  EXPECT_EQ(p->silent[0].into, "relu");
  EXPECT_EQ(p->silent[1].node, "view");
  EXPECT_EQ(p->silent[1].why, "view");
}

TEST(Profile, MemoryIsThePlaceOfEveryTensor) {
  const auto graph = digits();
  const auto p = profile_of(*graph);
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  const MemoryProfile& m = p->memory;
  size_t end = 0, peak = 0;
  for (const TensorPlace& t : m.tensors) end = std::max(end, t.offset + t.bytes);
  EXPECT_GE(m.arena_bytes, end);
  EXPECT_LT(m.arena_bytes, end + 64) << "nothing but the alignment of the last";
  ASSERT_FALSE(m.timeline.empty());
  for (const auto& moment : m.timeline) {
    std::vector<std::pair<size_t, size_t>> alive;
    size_t bytes = 0;
    for (const TensorPlace& t : m.tensors) {
      if (t.first > moment.step || moment.step > t.last) continue;
      bytes += t.bytes;
      alive.emplace_back(t.offset, t.offset + t.bytes);
    }
    EXPECT_EQ(moment.bytes, bytes) << "step " << moment.step;
    std::sort(alive.begin(), alive.end());
    for (size_t i = 1; i < alive.size(); ++i) EXPECT_LE(alive[i - 1].second, alive[i].first) << "step " << moment.step;
    peak = std::max(peak, bytes);
  }
  EXPECT_EQ(m.peak_bytes, peak);
  EXPECT_EQ(m.timeline[static_cast<size_t>(m.peak_step)].bytes, peak);
  EXPECT_GT(m.weight_bytes, 0u);
}

// y = x + i summed in a loop of five.
constexpr std::string_view kLoop = R"(graph "g" {
  input %x: f32[1000]
  %n: i64[] = Constant {value = dense<i64[], 5>}
  %go: bool[] = Constant {value = dense<bool[], 1>}
  %y: f32[1000] = Loop(%n, %go, %x) "loop" region {
    input %i: i64[]
    input %c: bool[]
    input %s: f32[1000]
    %f: f32[] = Cast(%i) {to = 1} "cast"
    %t: f32[1000] = Add(%s, %f) "add"
    %d: bool[] = Identity(%c) "keep"
    output %d
    output %t
  }
  output %y
})";

TEST(Profile, BodiesCountInTheirNodeAndByThemselves) {
  const auto graph = graph_of(kLoop);
  const auto p = profile_of(*graph, "cpu", {.runs = 3, .calibrate = false}, {.opt_level = 0});
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  double inner = 0, outer = 0, self = 0, ops = 0, kernels = 0;
  for (const StepProfile& s : p->steps) {
    if (s.depth == 1) {
      inner += s.ms;
      EXPECT_EQ(s.calls, 5);
      EXPECT_EQ(s.parent, "loop");
    } else {
      EXPECT_EQ(s.node, "loop");
      EXPECT_EQ(s.calls, 1);
      outer = s.ms;
      self = s.self_ms;
    }
  }
  EXPECT_GT(inner, 0);
  EXPECT_NEAR(outer, inner + self, 1e-9 * outer);
  EXPECT_NEAR(p->steps_ms, outer, 1e-9 * outer);
  std::map<std::string, std::string> parents;
  for (const NodeProfile& n : p->nodes) {
    parents[n.node] = n.parent;
    EXPECT_NEAR(n.node == "loop" ? n.ms : outer, outer, 1e-9 * outer);
  }
  EXPECT_EQ(parents["loop"], "");
  EXPECT_EQ(parents["add"], "loop");
  for (const OpProfile& o : p->ops) ops += o.ms;
  for (const KernelProfile& k : p->kernels) kernels += k.ms;
  EXPECT_NEAR(ops, outer, 1e-9 * outer);
  EXPECT_NEAR(kernels, outer, 1e-9 * outer);
}

TEST(Profile, CountsNoMoreOfATableThanIsLoaded) {
  const auto graph = graph_of(R"(graph "g" {
  input %table: f32[1000, 16]
  input %rows: i64[3]
  input %x: f32[8, 16]
  %t: f32[16, 8] = Transpose(%x) {perm = [1, 0]} "turn"
  %g: f32[3, 16] = Gather(%table, %rows) "look up"
  output %t
  output %g
})");
  const auto p = profile_of(*graph);
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  std::map<std::string, double> bytes;
  for (const StepProfile& s : p->steps) bytes[s.node] = s.bytes;
  EXPECT_EQ(bytes["turn"], 2 * 4 * 128);
  EXPECT_GE(bytes["look up"], 4 * 3 * 16 * 2 + 8 * 3);
  EXPECT_LE(bytes["look up"], (4 + 4 + 8) * 3 * 16) << "of 64000 bytes";
  EXPECT_EQ(flops(*p), 0);
}

TEST(Profile, KernelsThatWriteOneTensorTogetherCountTheirParts) {
  const auto graph = graph_of(R"(graph "g" {
  input %a: f32[30, 16]
  input %b: f32[10, 16]
  %y: f32[40, 16] = Concat(%a, %b) {axis = 0} "join"
  output %y
})");
  const auto p = profile_of(*graph);
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  double bytes = 0;
  for (const StepProfile& s : p->steps) bytes += s.bytes;
  EXPECT_DOUBLE_EQ(bytes, 2 * 4 * 40 * 16);
}

TEST(Profile, OfBackendsWithoutAPlanIsAnError) {
  const auto graph = digits();
  const auto p = profile_of(*graph, "reference");
  EXPECT_EQ(p.status().code(), Code::kUnsupported);
  EXPECT_THAT(p.status().to_string(), HasSubstr("profile the cpu or vulkan backend"));
}

TEST(Profile, RooflineIsTheLongerOfTwoTimes) {
  const auto graph = digits();
  const auto p = profile_of(*graph, "cpu", {.runs = 3});
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  ASSERT_TRUE(p->peak.has_value());
  const Peak& peak = p->peak->one;
  for (const KernelProfile& k : p->kernels) {
    if (!k.fraction || k.flops.value_or(0) == 0) continue;
    EXPECT_LE(*k.attainable_gflops, peak.gflops * (1 + 1e-9)) << k.name;
    EXPECT_NEAR(*k.fraction, k.gflops / *k.attainable_gflops, 1e-6 * *k.fraction) << k.name;
    EXPECT_TRUE(k.bound == "compute" || k.bound == "memory");
    if (k.calls != 1) continue;
    const double roof = std::min(peak.gflops, k.intensity * peak.gbps(k.bytes));
    EXPECT_NEAR(*k.attainable_gflops, roof, 1e-6 * roof) << k.name;
  }
}

TEST(Calibration, InterpolatesBetweenSizesAndThreads) {
  Calibration c;
  c.one = {.threads = 1, .gflops = 100, .read = {{1 << 10, 400}, {1 << 20, 200}, {1 << 30, 10}}, .gbps_l2 = 200, .gbps_ram = 10};
  c.all = {.threads = 4, .gflops = 360, .read = {{4 << 10, 1600}, {4 << 20, 800}, {1 << 30, 30}}, .gbps_l2 = 800, .gbps_ram = 30};
  EXPECT_EQ(c.one.gbps(1), 400);
  EXPECT_EQ(c.one.gbps(1 << 20), 200);
  EXPECT_NEAR(c.one.gbps(1 << 15), 300, 1e-9) << "half way between in the exponent";
  EXPECT_EQ(c.one.gbps(1e12), 10);
  EXPECT_EQ(c.at(1).gflops, 100);
  EXPECT_EQ(c.at(2).gflops, 180);
  EXPECT_EQ(c.at(2).gbps(2 << 20), 400);
  EXPECT_EQ(c.at(8).gflops, 360);
  EXPECT_EQ(Peak().gbps(5), 0);
}

TEST(Calibration, FollowsTheClockOfTheRuns) {
  Calibration c;
  c.one = {.gflops = 100, .byte_gops = 400, .bf16_gflops = 160};
  c.all = {.threads = 2, .gflops = 200, .byte_gops = 800, .bf16_gflops = 320};
  c.run_at(0);
  c.run_at(250);
  EXPECT_EQ(c.all.gflops, 200) << "neither nothing nor more than the best";
  c.run_at(150);
  EXPECT_EQ(c.all.gflops, 150);
  EXPECT_EQ(c.one.gflops, 75);
  EXPECT_EQ(c.all.byte_gops, 600);
  EXPECT_EQ(c.one.bf16_gflops, 120);
  auto burst = Burst::make(*codegen::cpu_target("host"), default_pool(), 1);
  ASSERT_TRUE(burst.ok()) << burst.status().to_string();
  for (int i = 0; i < 3; ++i) EXPECT_GT(burst->gflops(), 0);
}

TEST(Calibration, MeasuresWithEveryWidthThatTheMachineHas) {
  for (const char* level : {"x86-64-v2", "x86-64-v3", "x86-64-v4", "host"}) {
    const auto target = codegen::cpu_target(level);
    if (!target.ok()) continue;
    const auto measured = calibrate(*target, default_pool(), 0);
    ASSERT_TRUE(measured.ok()) << measured.status().to_string();
    const Calibration& c = *measured;
    EXPECT_EQ(c.one.byte_gops > 0, target->has_dot4) << level;
    EXPECT_EQ(c.one.bf16_gflops > 0, target->has_bf16_pairs) << level;
    EXPECT_GT(c.one.gflops, 0) << level;
    EXPECT_TRUE(std::isfinite(c.one.gflops)) << level;
    EXPECT_GT(c.one.gbps_ram, 0) << level;
    EXPECT_GT(c.one.gbps_l2, 0) << level;
    EXPECT_TRUE(std::is_sorted(c.one.read.begin(), c.one.read.end(), [](const auto& a, const auto& b) { return a.bytes < b.bytes; }));
  }
}

// What the Trace Event Format asks of complete events, counters and metadata.
TEST(Trace, HasTheFieldsOfTheFormat) {
  const auto graph = graph_of(kLoop);
  auto p = profile_of(*graph);
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  p->model = "model \"x\"";
  const json trace = json::parse(to_trace(*p).dump());
  ASSERT_TRUE(trace.contains("traceEvents"));
  std::map<std::string, int> phases;
  double loop_start = 0, loop_end = 0;
  for (const json& e : trace["traceEvents"]) {
    ASSERT_TRUE(e["name"].is_string());
    ASSERT_TRUE(e["pid"].is_number_integer());
    ASSERT_TRUE(e["tid"].is_number_integer());
    ASSERT_TRUE(e["ts"].is_number());
    ASSERT_TRUE(e["args"].is_object());
    const std::string phase = e["ph"];
    ++phases[phase];
    if (phase == "X") {
      EXPECT_TRUE(e["cat"].is_string());
      EXPECT_GE(e["dur"].get<double>(), 0);
      if (e["name"] == "loop") {
        loop_start = e["ts"];
        loop_end = loop_start + e["dur"].get<double>();
      }
    } else if (phase == "C") {
      for (const auto& [key, value] : e["args"].items()) EXPECT_TRUE(value.is_number());
    } else {
      EXPECT_EQ(phase, "M");
      EXPECT_TRUE(e["args"]["name"].is_string());
    }
  }
  EXPECT_EQ(phases["X"], static_cast<int>(p->trace.size()));
  EXPECT_GE(phases["C"], 2);
  for (const json& e : trace["traceEvents"]) {
    if (e["ph"] != "X" || e["cat"] != "body") continue;
    EXPECT_GE(e["ts"].get<double>(), loop_start);
    EXPECT_LE(e["ts"].get<double>() + e["dur"].get<double>(), loop_end + 1e-3) << "bodies nest in the step that runs them";
  }
}

TEST(ProfileJson, HasWhatReportsRead) {
  const auto graph = digits();
  auto p = profile_of(*graph, "cpu", {.runs = 2});
  ASSERT_TRUE(p.ok()) << p.status().to_string();
  const json j = to_json(*p);
  EXPECT_EQ(j["kind"], "profile");
  for (const char* key : {"model", "backend", "threads", "total_ms", "observed_overhead", "peak", "kernels", "nodes", "ops", "memory"})
    EXPECT_TRUE(j.contains(key)) << key;
  for (const char* key : {"gflops", "gbps_ram", "gbps_l2"}) EXPECT_TRUE(j["peak"][key].is_number()) << key;
  for (const char* key : {"name", "implementation", "nodes", "ops", "calls", "ms", "share", "flops", "bytes", "gflops", "gbps", "intensity",
                          "attainable_gflops", "fraction", "bound"})
    EXPECT_TRUE(j["kernels"][0].contains(key)) << key;
  for (const char* key : {"arena_bytes", "weight_bytes", "peak_step", "timeline", "tensors"}) EXPECT_TRUE(j["memory"].contains(key)) << key;
  const auto back = parse_profile(j);
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->total_ms, p->total_ms);
  EXPECT_EQ(back->nodes.size(), p->nodes.size());
}

TEST(ProfileJson, RefusesWhatIsNone) {
  EXPECT_FALSE(parse_profile(json::parse("not json", nullptr, false)).ok());
  EXPECT_FALSE(parse_profile(json::array()).ok());
  EXPECT_FALSE(parse_profile({{"kind", "bench"}}).ok());
  EXPECT_FALSE(parse_profile({{"kind", "profile"}, {"total_ms", "1"}, {"steps_ms", 1}}).ok());
  EXPECT_FALSE(parse_profile({{"kind", "profile"}, {"total_ms", 1}, {"steps_ms", 1}, {"nodes", {1, 2}}}).ok());
  EXPECT_FALSE(parse_profile({{"kind", "profile"}, {"total_ms", 1}, {"steps_ms", 1}, {"ops", json::array({{{"ms", nullptr}}})}}).ok());
  EXPECT_TRUE(parse_profile({{"kind", "profile"}, {"total_ms", 1}, {"steps_ms", 1}, {"nodes", 7}}).ok());
}

Profile simple(double total, double steps, std::vector<NodeProfile> nodes) {
  Profile p;
  p.total_ms = total;
  p.steps_ms = steps;
  std::map<std::string, double> ops;
  for (const NodeProfile& n : nodes) ops[n.op] += n.ms;
  for (const auto& [op, ms] : ops) p.ops.push_back({.op = op, .ms = ms});
  p.nodes = std::move(nodes);
  return p;
}

TEST(Attribution, AddsUpToTheWholeChangeLargestFirst) {
  const Profile before = simple(10, 9, {{.node = "a", .op = "Conv", .ms = 5}, {.node = "b", .op = "Relu", .ms = 3}, {.node = "c", .op = "Relu", .ms = 1},
                                        {.node = "inside", .op = "Relu", .parent = "a", .ms = 2}});
  const Profile after = simple(14, 13.5, {{.node = "a", .op = "Conv", .ms = 10}, {.node = "b", .op = "Relu", .ms = 1.5}, {.node = "d", .op = "Add", .ms = 2}});
  const Attribution a = attribute(before, after);
  EXPECT_EQ(a.delta_ms, 4);
  double sum = 0;
  std::vector<std::string> names;
  for (const Change& c : a.nodes) {
    names.push_back(c.name);
    sum += c.delta_ms;
  }
  EXPECT_THAT(names, ElementsAre("a", "d", "b", "c", kBetweenSteps));
  EXPECT_DOUBLE_EQ(sum, 4);
  EXPECT_DOUBLE_EQ(a.nodes[0].share, 5.0 / 4);
  EXPECT_DOUBLE_EQ(a.nodes[3].new_ms, 0);
  EXPECT_EQ(attribute(before, before).delta_ms, 0);
  EXPECT_EQ(attribute(before, before).nodes[0].share, 0);
}

// Times differ, but not who has them: with and without fusion the nodes are the same, and both lists add up.
TEST(Attribution, ComparesFusedNodesWithThoseAlone) {
  const auto graph = digits();
  const auto fused = profile_of(*graph), alone = profile_of(*graph, "cpu", {.runs = 3, .calibrate = false}, {.opt_level = 2});
  ASSERT_TRUE(fused.ok() && alone.ok());
  const Attribution a = attribute(*alone, *fused);
  double nodes = 0, ops = 0;
  for (const Change& c : a.nodes) nodes += c.delta_ms;
  for (const Change& c : a.ops) ops += c.delta_ms;
  EXPECT_NEAR(nodes, a.delta_ms, 1e-9 * alone->total_ms);
  EXPECT_NEAR(ops, a.delta_ms, 1e-9 * alone->total_ms);
  for (const Change& c : a.nodes) {
    if (c.name == kBetweenSteps) continue;
    EXPECT_GT(c.old_ms, 0) << c.name;
    EXPECT_GT(c.new_ms, 0) << c.name;
  }
}

// A convolution that a BatchNormalization is folded with: one profile has both, the other the second alone, with all of the time.
TEST(Attribution, ComparesFoldedNodesWithWhatTheyAreFoldedInto) {
  const Profile apart = simple(5, 5, {{.node = "conv", .op = "Conv", .ms = 3}, {.node = "bn", .op = "BatchNormalization", .ms = 1}, {.node = "r", .op = "Relu", .ms = 1}});
  Profile folded = simple(4.5, 4.5, {{.node = "bn", .op = "BatchNormalization", .ms = 3.5}, {.node = "r", .op = "Relu", .ms = 1}});
  folded.silent = {{"conv", "Conv", "folded", "bn"}, {"flat", "Reshape", "view", "r"}};
  for (const Profile& after : {folded, *parse_profile(to_json(folded))}) {
    const Attribution a = attribute(apart, after);
    ASSERT_EQ(a.nodes.size(), 3u);  // bn, r, between steps
    EXPECT_EQ(a.nodes[0].name, "bn");
    EXPECT_EQ(a.nodes[0].op, "BatchNormalization");
    EXPECT_DOUBLE_EQ(a.nodes[0].old_ms, 4);
    EXPECT_DOUBLE_EQ(a.nodes[0].new_ms, 3.5);
    EXPECT_DOUBLE_EQ(attribute(after, apart).nodes[0].delta_ms, 0.5);
  }
}

}  // namespace
}  // namespace tenon::eval
