#include "backends/reference/reference.h"

#include "ir/evaluate.h"

namespace tenon::backends {
namespace {

class ReferenceSession final : public Session {
 public:
  explicit ReferenceSession(std::shared_ptr<const ir::Graph> graph) : graph_(std::move(graph)) {}
  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs) override { return ir::evaluate_graph(*graph_, inputs); }

 private:
  std::shared_ptr<const ir::Graph> graph_;
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
  Result<std::unique_ptr<Session>> create_session(const SessionOptions&) const override {
    return std::unique_ptr<Session>(new ReferenceSession(graph_));
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
