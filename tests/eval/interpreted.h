#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "ir/evaluate.h"
#include "passes/pass.h"

namespace tenon::eval {

/// The interpreter, behind the passes where `optimised`. Shows the values of the graph that it evaluates as a plan's would be shown, after
/// `alter`, if there is one, has had its way with them.
class Interpreted final : public backends::Backend {
 public:
  using Alter = std::function<void(const std::string& value, Tensor& tensor)>;
  explicit Interpreted(bool optimised, Alter alter = {}) : optimised_(optimised), alter_(std::move(alter)) {}
  std::string_view name() const override { return "interpreted"; }
  Status available() const override { return {}; }
  Result<std::shared_ptr<const backends::Executable>> compile(const ir::Graph& graph, const backends::CompileOptions&) const override {
    auto copy = graph.clone();
    if (optimised_) TENON_RETURN_IF_ERROR(passes::run_pipeline(*copy, {}));
    return std::shared_ptr<const backends::Executable>(std::make_shared<Compiled>(std::move(copy), alter_));
  }

 private:
  class Running final : public backends::Session {
   public:
    Running(std::shared_ptr<const ir::Graph> graph, Alter alter, runtime::Observer* observer)
        : graph_(std::move(graph)), alter_(std::move(alter)), observer_(observer) {}
    Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt) override {
      ir::EvalOptions options;
      options.interrupt = interrupt;
      options.alter = [&](const ir::Node& node, std::span<HostValue> outputs) -> Status {
        if (node.graph() != graph_.get() || node.is("Constant")) return {};
        for (size_t i = 0; i < outputs.size(); ++i)
          if (auto* tensor = std::get_if<Tensor>(&outputs[i]); tensor != nullptr && alter_) alter_(node.outputs()[i]->name(), *tensor);
        if (observer_ == nullptr) return {};
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
    Alter alter_;
    runtime::Observer* observer_;
  };
  class Compiled final : public backends::Executable {
   public:
    Compiled(std::shared_ptr<const ir::Graph> graph, Alter alter) : graph_(std::move(graph)), alter_(std::move(alter)) {}
    Result<std::unique_ptr<backends::Session>> create_session(const backends::SessionOptions& options) const override {
      return std::unique_ptr<backends::Session>(std::make_unique<Running>(graph_, alter_, options.observer));
    }
    const std::vector<backends::Placement>& placement() const override { return placement_; }
    const backends::CompileStats& stats() const override { return stats_; }

   private:
    std::shared_ptr<const ir::Graph> graph_;
    Alter alter_;
    std::vector<backends::Placement> placement_;
    backends::CompileStats stats_;
  };

  bool optimised_;
  Alter alter_;
};

}  // namespace tenon::eval
