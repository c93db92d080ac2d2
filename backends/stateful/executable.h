#pragma once

#include <memory>
#include <span>
#include <utility>

#include "backends/stateful/session.h"

namespace tenon::backends {

class StatefulExecutable final : public Executable {
 public:
  explicit StatefulExecutable(StatefulModel model) : model_(std::make_shared<const StatefulModel>(std::move(model))) {}

  Result<std::unique_ptr<Session>> create_session(const SessionOptions& options) const override {
    TENON_ASSIGN_OR_RETURN(auto session, model_->inner->create_session(options));
    return std::unique_ptr<Session>(std::make_unique<StatefulSession>(model_, std::move(session), options.max_bytes));
  }
  const std::vector<Placement>& placement() const override { return model_->inner->placement(); }
  const CompileStats& stats() const override { return model_->inner->stats(); }
  std::span<const StateInfo> states() const override { return model_->infos; }
  const runtime::PreparedPlan* executed_plan() const override { return model_->inner->executed_plan(); }
  std::string_view code_of() const override { return model_->inner->code_of(); }

  const StatefulModel& model() const { return *model_; }

 private:
  std::shared_ptr<const StatefulModel> model_;
};

/// What the inner executable is compiled with: `memories` are given up, and variants of it are compiled from what it is compiled from.
CompileOptions inner_options(const CompileOptions& options, std::span<const StatePair> pairs, const SharedGraph& shared, bool in_place);

}  // namespace tenon::backends
