// What an observer of a session sees of a compiled model, on every backend that runs plans.

#include "runtime/observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/parser.h"

namespace tenon::backends {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

struct Watcher : runtime::Observer {
  std::vector<runtime::Step> steps;
  std::vector<size_t> read, written;
  std::map<std::string, std::vector<float>> values;

  void on_step(const runtime::StepEvent& e) override {
    steps.push_back(e.plan.steps[static_cast<size_t>(e.step)]);
    read.push_back(e.read_bytes);
    written.push_back(e.written_bytes);
  }
  bool wants(const runtime::Plan&, runtime::ValueIdx) const override { return true; }
  Status on_value(const runtime::Plan& plan, runtime::ValueIdx v, const HostValue& value) override {
    const Tensor& tensor = std::get<Tensor>(value);
    std::vector<float> numbers;
    for (int64_t i = 0; i < tensor.size(); ++i) numbers.push_back(static_cast<float>(tensor.at_double(i)));
    values[plan.values[static_cast<size_t>(v)].name] = std::move(numbers);
    return {};
  }
};

// Two rows: x W, its sum with b of as many rows or one, and a view of that.
constexpr std::string_view kModel = R"(graph "g" {
  input %x: f32[M, 2]
  input %b: f32[N, 1]
  %w: f32[2, 2] = Constant {value = dense<f32[2, 2], 1, 2, 3, 4>}
  %p: f32[M, 2] = MatMul(%x, %w) "product"
  %s: f32[N, 2] = Add(%b, %p) "sum"
  %flat: i64[1] = Constant {value = dense<i64[1], -1>}
  %y: f32[M * 2] = Reshape(%s, %flat) "flatten"
  output %y
})";

class Observed : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    const Backend& backend = *find_backend(GetParam());
    if (const Status there = backend.available(); !there.ok()) GTEST_SKIP() << there.to_string();
    auto graph = ir::parse_text(kModel);
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    CompileOptions options;
    options.disabled_passes = {"fuse"};
    auto executable = backend.compile(**graph, options);
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    executable_ = *executable;
    session_ = *executable_->create_session({.observer = &seen_});
  }
  Watcher seen_;
  std::shared_ptr<const Executable> executable_;
  std::unique_ptr<Session> session_;
};

TEST_P(Observed, SeesTheValuesOfEveryNode) {
  const std::vector<HostValue> inputs = {Tensor::from<float>({2, 2}, {1, 0, 0, 1}), Tensor::from<float>({2, 1}, {10, 20})};
  ASSERT_TRUE(session_->run(inputs).ok());
  EXPECT_THAT(seen_.values, UnorderedElementsAre(Pair("p", ElementsAre(1, 2, 3, 4)), Pair("s", ElementsAre(11, 12, 23, 24)),
                                                 Pair("y", ElementsAre(11, 12, 23, 24))));
  ASSERT_EQ(seen_.steps.size(), 2u);
  EXPECT_THAT(seen_.read, ElementsAre(32, 24));
  EXPECT_THAT(seen_.written, ElementsAre(16, 16));
}

TEST_P(Observed, StepsNameTheirPlacementInVariantsToo) {
  for (int64_t rows : {2, 1}) {  // of b; a plan that takes N as M's equal gives way to another for 1
    seen_.steps.clear();
    const std::vector<HostValue> inputs = {*Tensor::zeros(DType::kF32, {2, 2}), *Tensor::zeros(DType::kF32, {rows, 1})};
    ASSERT_TRUE(session_->run(inputs).ok());
    const auto* rows_of = session_->last_placement();
    const auto& placement = rows_of == nullptr ? executable_->placement() : *rows_of;
    std::vector<std::string> ops;
    for (const runtime::Step& step : seen_.steps) {
      ASSERT_GE(step.placement, 0);
      ASSERT_LT(static_cast<size_t>(step.placement), placement.size());
      const Placement& row = placement[static_cast<size_t>(step.placement)];
      EXPECT_EQ(row.node, step.node);
      ASSERT_NE(row.source, nullptr);
      EXPECT_EQ(row.source->op_name(), row.op);
      ops.push_back(row.op);
    }
    ASSERT_FALSE(ops.empty());
    EXPECT_EQ(ops.back(), rows == 1 ? "Gemm" : "Add") << "a bias of one row makes the product a Gemm";
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, Observed, testing::Values("cpu", "vulkan"), [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tenon::backends
