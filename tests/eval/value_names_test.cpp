// A value that keeps its name through the passes keeps its meaning: what comparisons stand on, on the models that there are. The
// interpreter evaluates what -O3 makes; every value that has a name of the model is judged by its own error.

#include <gmock/gmock.h>

#include <algorithm>

#include "backends/backend.h"
#include "eval/debug/compare_values.h"
#include "eval/inputs.h"
#include "eval/model.h"
#include "eval/verify.h"
#include "ir/evaluate.h"
#include "passes/pass.h"
#include "tests/eval/debug_models.h"

namespace tenon::eval {
namespace {

/// The interpreter behind the passes. Shows the values of the optimised graph as a plan's would be shown.
class Optimised final : public backends::Backend {
 public:
  std::string_view name() const override { return "optimised"; }
  Status available() const override { return {}; }
  Result<std::shared_ptr<const backends::Executable>> compile(const ir::Graph& graph, const backends::CompileOptions&) const override {
    auto copy = graph.clone();
    TENON_RETURN_IF_ERROR(passes::run_pipeline(*copy, {}));
    return std::shared_ptr<const backends::Executable>(std::make_shared<Compiled>(std::move(copy)));
  }

 private:
  class Running final : public backends::Session {
   public:
    Running(std::shared_ptr<const ir::Graph> graph, runtime::Observer* observer) : graph_(std::move(graph)), observer_(observer) {}
    Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt) override {
      ir::EvalOptions options;
      options.interrupt = interrupt;
      options.alter = [&](const ir::Node& node, std::span<HostValue> outputs) -> Status {
        if (node.graph() != graph_.get() || node.is("Constant") || observer_ == nullptr) return {};
        runtime::Plan plan;
        for (const ir::Value* output : node.outputs()) plan.values.push_back({.name = output->name(), .dtype = output->dtype()});
        for (size_t i = 0; i < outputs.size(); ++i) {
          const auto index = static_cast<runtime::ValueIdx>(i);
          if (std::holds_alternative<Tensor>(outputs[i]) && observer_->wants(plan, index)) TENON_RETURN_IF_ERROR(observer_->on_value(plan, index, outputs[i]));
        }
        return {};
      };
      return ir::evaluate_graph(*graph_, inputs, options);
    }

   private:
    std::shared_ptr<const ir::Graph> graph_;
    runtime::Observer* observer_;
  };
  class Compiled final : public backends::Executable {
   public:
    explicit Compiled(std::shared_ptr<const ir::Graph> graph) : graph_(std::move(graph)) {}
    Result<std::unique_ptr<backends::Session>> create_session(const backends::SessionOptions& options) const override {
      return std::unique_ptr<backends::Session>(std::make_unique<Running>(graph_, options.observer));
    }
    const std::vector<backends::Placement>& placement() const override { return placement_; }
    const backends::CompileStats& stats() const override { return stats_; }

   private:
    std::shared_ptr<const ir::Graph> graph_;
    std::vector<backends::Placement> placement_;
    backends::CompileStats stats_;
  };
};

class ValueNames : public ::testing::TestWithParam<const char*> {};

TEST_P(ValueNames, KeepTheirMeaning) {
  const std::filesystem::path root = GetParam()[0] == '/' ? std::filesystem::path(GetParam()) : std::filesystem::path(TENON_SOURCE_DIR) / GetParam();
  if (!std::filesystem::exists(root)) GTEST_SKIP() << root << " is not there";
  const auto cases = find_cases(root);
  ASSERT_TRUE(cases.ok()) << cases.status().to_string();
  static const Optimised kOptimised;
  const std::vector<Variant> variants = {variant_of("reference"), {"optimised", &kOptimised, {}}};
  size_t models = 0, values = 0;
  for (const Case& one : *cases) {
    const auto graph = load_model(one.folder / "model.onnx");
    if (!graph.ok()) continue;  // the conformance tests say which and why
    const auto inputs = read_inputs(**graph, one.folder / "test_data_set_0");
    if (!inputs.ok()) continue;
    const auto c = compare_values(**graph, variants, *inputs, {});
    if (!c.ok()) continue;
    ++models;
    values += c->values.size();
    for (const ValueDifference& row : c->values) EXPECT_TRUE(row.ok) << one.name << ", value " << row.value << ": " << row.note;
  }
  EXPECT_GT(models, 0U);
  RecordProperty("values", static_cast<int>(values));
  fmt::print("{} values of {} models\n", values, models);
}

INSTANTIATE_TEST_SUITE_P(, ValueNames,
                         ::testing::Values("models", "../shared/models/classify", "../shared/models/control", "../shared/models/detect", "../shared/models/enhance",
                                           "../shared/models/llm-tiny", "../shared/models/match", "../shared/models/ml", "../shared/models/music", "../shared/models/ocr",
                                           "../shared/models/regress", "../shared/models/segment", "../shared/models/speech-enh", "../shared/models/speech-kws",
                                           "../shared/models/speech-vad", "../shared/models/text", "../shared/models/timeseries", "../shared/models/track",
                                           "/usr/share/libonnx-testdata/data/node", "/usr/share/libonnx-testdata/data/simple",
                                           "/usr/share/libonnx-testdata/data/pytorch-converted", "/usr/share/libonnx-testdata/data/pytorch-operator"));

}  // namespace
}  // namespace tenon::eval
