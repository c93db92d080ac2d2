#include <gtest/gtest.h>

#include "harness.h"
#include "ir/evaluate.h"
#include "ir/parser.h"

// Loops over time on GPUs: all steps in one kernel, whose lanes share the elements of a step.
namespace tenon::lower_test {
namespace {

/// A gated unit: states h and c, gates of one product, and a second product of what the first makes.
std::string gated(int64_t hidden, const char* batch = "B, ") {
  return fmt::format(R"(graph "g" {{
  input %h0: f32[{1}{0}]
  input %c0: f32[{1}{0}]
  input %x: f32[T, {1}{2}]
  input %w: f32[{0}, {2}]
  input %v: f32[{0}, {0}]
  %h: f32[{1}{0}], %c: f32[{1}{0}], %y: f32[T, {1}{0}] = Scan(%h0, %c0, %x) {{num_scan_inputs = 1}} region {{
    input %hs: f32[{1}{0}]
    input %cs: f32[{1}{0}]
    input %t: f32[{1}{2}]
    %p: f32[{1}{2}] = MatMul(%hs, %w)
    %q: f32[{1}{2}] = Add(%p, %t)
    %a: f32[{1}{0}], %b: f32[{1}{0}] = Split(%q) {{axis = -1, num_outputs = 2}}
    %r: f32[{1}{0}] = Sigmoid(%a)
    %rh: f32[{1}{0}] = Mul(%r, %hs)
    %m: f32[{1}{0}] = MatMul(%rh, %v)
    %n: f32[{1}{0}] = Tanh(%m)
    %d: f32[{1}{0}] = Mul(%b, %cs)
    %e: f32[{1}{0}] = Add(%n, %d)
    %f: f32[{1}{0}] = Tanh(%e)
    %i: f32[{1}{0}] = Identity(%f)
    output %f
    output %e
    output %i
  }}
  output %h
  output %c
  output %y
}})",
                     hidden, batch, 2 * hidden);
}

codegen::Target gpu_of(int subgroup, int most, int64_t shared = 32 << 10) {
  codegen::Target t = gpu();
  t.subgroup_size = subgroup;
  t.max_workgroup = most;
  t.shared_bytes = shared;
  return t;
}

const ir::Node& scan_of(const ir::Graph& graph) {
  for (const auto& node : graph.nodes())
    if (node->is("Scan")) return *node;
  std::abort();
}

void check(const std::string& text, int64_t steps, int64_t batch, const codegen::Target& target, const std::string& how = "") {
  const auto graph = ir::parse_text(text);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const ir::Node& scan = scan_of(**graph);
  Instance instance;
  instance.symbols = {{"T", steps}, {"B", batch}};
  std::vector<HostValue> inputs;
  for (const ir::Value* v : (*graph)->inputs()) {
    instance.tensors[v] = random_tensor(*v, instance, inputs.size() + 1);
    inputs.emplace_back(instance.tensors[v]);
  }
  const auto want = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(want.ok()) << want.status().to_string();
  const auto lowered = codegen::lower(scan, target);
  ASSERT_TRUE(lowered.ok()) << lowered.status().to_string();
  EXPECT_TRUE(lowered->implementation.starts_with("recurrence of ")) << lowered->implementation;
  EXPECT_TRUE(lowered->implementation.ends_with(how)) << lowered->implementation;
  const auto got = run_lowered(*lowered, scan, instance, target);
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  for (size_t o = 0; o < want->size(); ++o) expect_close((*got)[o], std::get<Tensor>((*want)[o]), 2e-4, fmt::format("output {}", o));
}

TEST(LowerRecurrence, OnGpusOfAnySize) {
  for (const int64_t hidden : {2, 5, 21, 64, 100})
    for (const auto& [subgroup, most] : {std::pair(8, 1024), std::pair(32, 64), std::pair(1, 4)}) {
      SCOPED_TRACE(fmt::format("hidden {}, subgroups of {}, {} invocations", hidden, subgroup, most));
      check(gated(hidden), 3, 2, gpu_of(subgroup, most));
    }
}

TEST(LowerRecurrence, OnGpusOfAnyRowsAndSteps) {
  for (const auto& [steps, batch] : {std::pair<int64_t, int64_t>{1, 1}, {0, 3}, {6, 1}, {7, 5}, {4, 0}}) {
    SCOPED_TRACE(fmt::format("{} steps of {} rows", steps, batch));
    check(gated(9), steps, batch, gpu());
  }
  check(gated(17, "1, "), 4, 1, gpu());
  check(gated(17, "3, "), 5, 3, gpu());
}

/// A GPU with so many units, each busy with two workgroups.
codegen::Target gpu_with(int64_t units, int most = 1024) {
  codegen::Target t = gpu_of(8, most);
  t.busy_workgroups = 2 * units;
  return t;
}

// Whole workgroups, some without all of their rows, and too few rows to share; parts of K, and elements of which a lane has several.
TEST(LowerRecurrence, WorkgroupsTakeSeveralRowsWhereThereAreMoreThanUnits) {
  for (const int most : {16, 1024})
    for (const int64_t hidden : {5, 33}) {
      for (const int64_t batch : {0, 1, 2, 3, 7, 16, 17}) {
        SCOPED_TRACE(fmt::format("hidden {}, {} rows, {} invocations", hidden, batch, most));
        check(gated(hidden), 3, batch, gpu_with(2, most), ", 4 rows");
      }
      check(gated(hidden, "7, "), 3, 7, gpu_with(2, most), ", 4 rows");
      check(gated(hidden, "7, "), 3, 7, gpu_with(7, most), " lanes");
    }
  codegen::Target small = gpu_with(2);
  small.shared_bytes = 1024;
  check(gated(16), 3, 9, small, ", 3 rows");  // as many as fit
}

// Every row is one workgroup's, whichever of the two kernels a run takes.
TEST(LowerRecurrence, OneOfTwoKernelsHasAGrid) {
  const auto graph = ir::parse_text(gated(9));
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const auto lowered = codegen::lower(scan_of(**graph), gpu_with(4));
  ASSERT_TRUE(lowered.ok()) << lowered.status().to_string();
  std::vector<const codegen::LoweredKernel*> kernels;
  for (const auto& k : lowered->kernels)
    if (k.kernel.lanes > 1 && k.kernel.name == "recurrence") kernels.push_back(&k);
  ASSERT_EQ(kernels.size(), 2u);
  const auto grid = [&](size_t kernel, int64_t rows) {
    std::vector<std::optional<int64_t>> symbols(static_cast<size_t>((*graph)->dims().num_symbols()), rows);
    return *ir::evaluate(kernels[kernel]->grid, symbols);
  };
  for (const int64_t rows : {0, 1, 3, 4}) EXPECT_EQ(std::pair(grid(0, rows), grid(1, rows)), std::pair(rows, int64_t{0})) << rows;
  for (const int64_t rows : {5, 8, 9, 100}) EXPECT_EQ(std::pair(grid(0, rows), grid(1, rows)), std::pair(int64_t{0}, (rows + 3) / 4)) << rows;
}

void expect_refused(const std::string& text, const codegen::Target& target, const std::string& why) {
  const auto graph = ir::parse_text(text);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const auto lowered = codegen::lower(scan_of(**graph), target);
  ASSERT_FALSE(lowered.ok());
  EXPECT_EQ(lowered.status().code(), Code::kUnsupported);
  EXPECT_NE(lowered.status().to_string().find(why), std::string::npos) << lowered.status().to_string();
}

TEST(LowerRecurrence, GpusRefuseWhatTheirLanesCannotShare) {
  expect_refused(gated(700), gpu_of(32, 512, 8 << 10), "bytes of shared memory, 8192 are there");
  expect_refused(gated(1100), gpu_with(128), "which the whole device reads faster");
  const auto graph = ir::parse_text(gated(1100));
  EXPECT_TRUE(codegen::lower(scan_of(**graph), gpu_with(1)).ok()) << "one unit is the whole device";
  expect_refused(R"(graph "g" {
  input %h0: f32[4, 6]
  input %x: f32[T, 4, 6]
  %h: f32[4, 6], %y: f32[T, 4, 6] = Scan(%h0, %x) {num_scan_inputs = 1} region {
    input %s: f32[4, 6]
    input %t: f32[4, 6]
    %i: i64[4] = Constant {value = dense<i64[4], 1, 2, 3, 0>}
    %g: f32[4, 6] = Gather(%s, %i) {axis = 0}
    %n: f32[4, 6] = Add(%g, %t)
    output %n
    output %n
  }
  output %h
  output %y
})",
                 gpu(), "GPU: a step reads other rows of a state");
}

}  // namespace
}  // namespace tenon::lower_test
