#include "backends/reference/reference.h"

#include <algorithm>

#include "ir/evaluate.h"

namespace tenon::backends {
namespace {

class ReferenceSession final : public Session {
 public:
  ReferenceSession(std::shared_ptr<const ir::Graph> graph, const SessionOptions& options) : graph_(std::move(graph)) {
    if (options.max_bytes != 0) max_bytes_ = static_cast<int64_t>(std::min<size_t>(options.max_bytes, INT64_MAX));
  }
  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt) override {
    ir::EvalOptions options;
    options.max_bytes = std::max<int64_t>(max_bytes_ - aside_, 1);
    options.interrupt = interrupt.or_after(kDefaultTimeLimit);
    return ir::evaluate_graph(*graph_, inputs, options);
  }
  void set_aside(size_t bytes) override { aside_ = static_cast<int64_t>(std::min<size_t>(bytes, INT64_MAX)); }

 private:
  std::shared_ptr<const ir::Graph> graph_;
  int64_t max_bytes_ = ir::EvalOptions().max_bytes, aside_ = 0;
};

class ReferenceExecutable final : public Executable {
 public:
  explicit ReferenceExecutable(std::shared_ptr<const ir::Graph> graph) : graph_(std::move(graph)) {
    for (const auto& node : graph_->nodes())
      placement_.push_back({.node = node->name(),
                            .op = std::string(node->op_name()),
                            .kind = node->is("Constant") ? Placement::Kind::kFolded : Placement::Kind::kInterpreted,
                            .implementation = "interpreter",
                            .reason = {},
                            .covers = {node->name()}});
  }
  Result<std::unique_ptr<Session>> create_session(const SessionOptions& options) const override {
    return std::unique_ptr<Session>(new ReferenceSession(graph_, options));
  }
  const std::vector<Placement>& placement() const override { return placement_; }
  const CompileStats& stats() const override { return stats_; }

 private:
  std::shared_ptr<const ir::Graph> graph_;
  std::vector<Placement> placement_;
  CompileStats stats_;
};

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  Status available() const override { return {}; }
  Result<std::shared_ptr<const Executable>> compile(const ir::Graph& graph, const CompileOptions&) const override {
    return std::shared_ptr<const Executable>(std::make_shared<ReferenceExecutable>(graph.clone()));
  }
};

}  // namespace

const Backend& reference_backend() {
  static const ReferenceBackend backend;
  return backend;
}

}  // namespace tenon::backends
