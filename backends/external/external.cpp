#include "backends/external/external.h"

#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "backends/external/find.h"
#include "backends/external/interface.h"
#include "backends/external/runner.h"
#include "frontend/onnx/export.h"
#include "ir/op.h"
#include "support/cpu_count.h"

namespace tenon::backends {
namespace fs = std::filesystem;
namespace external {
namespace {

/// A model file that is removed with this object, with its folder.
class TemporaryModel {
 public:
  static Result<std::unique_ptr<TemporaryModel>> write(const ir::Graph& graph) {
    // Sessions of one executable may start in several threads, and an export asks the graph's dims.
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    std::error_code ec;
    std::string pattern = (fs::temp_directory_path(ec) / "tenon-model-XXXXXX").string();
    if (ec || ::mkdtemp(pattern.data()) == nullptr)
      return Status(Code::kIo, fmt::format("cannot make a folder: {}", std::strerror(errno)), pattern, "name another with TMPDIR");
    auto out = std::make_unique<TemporaryModel>(pattern);
    if (Status status = frontend::export_onnx(graph, out->file()); !status.ok()) return std::move(status).at("writing the model for a runner");
    return out;
  }
  explicit TemporaryModel(fs::path folder) : folder_(std::move(folder)) {}
  ~TemporaryModel() {
    std::error_code ec;
    fs::remove_all(folder_, ec);
  }
  TemporaryModel(const TemporaryModel&) = delete;
  TemporaryModel& operator=(const TemporaryModel&) = delete;
  fs::path file() const { return folder_ / "model.onnx"; }

 private:
  fs::path folder_;
};

bool typed(const ir::Graph& graph) {
  for (const auto& node : graph.nodes())
    for (const ir::Value* value : node->outputs())
      if (!value->type().known()) return false;
  return true;
}

/// What sessions of one executable share.
struct Source {
  std::string backend;
  std::vector<std::string> command;
  LoadOptions load;
  Interface interface;
  std::unique_ptr<const ir::Graph> graph;  // where there is no file: written for each load, which is all that needs it
};

class ExternalSession final : public Session {
 public:
  ExternalSession(std::shared_ptr<const Source> source, const SessionOptions& options) : source_(std::move(source)), load_(source_->load), max_bytes_(options.max_bytes) {
    load_.threads = options.num_threads > 0 ? options.num_threads : default_placement().cores;
  }

  Status start(const Interrupt& interrupt) {
    if (runner_ && runner_->alive()) return {};
    runner_.reset();
    auto runner = Runner::start(source_->command, max_bytes_, interrupt);
    if (!runner.ok()) return std::move(runner).status().at(source_->backend);
    std::unique_ptr<TemporaryModel> written;
    if (source_->graph) {
      TENON_ASSIGN_OR_RETURN(written, TemporaryModel::write(*source_->graph));
      load_.model = written->file();
      load_.temporary = true;
    }
    if (Status status = (*runner)->load(load_, interrupt); !status.ok()) return std::move(status).at(source_->backend);
    runner_ = std::move(*runner);
    return {};
  }

  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt) override {
    TENON_RETURN_IF_ERROR(bind(inputs, interrupt));
    Result<std::map<std::string, HostValue>> outputs = runner_->run(interrupt);
    if (!outputs.ok()) return std::move(outputs).status().at(source_->backend);
    auto ordered = source_->interface.outputs(*outputs);
    if (!ordered.ok()) return std::move(ordered).status().at(source_->backend);
    return ordered;
  }

  Result<std::vector<double>> time(std::span<const HostValue> inputs, const Repeat& repeat, const Interrupt& interrupt) override {
    TENON_RETURN_IF_ERROR(bind(inputs, interrupt));
    Result<std::vector<double>> samples = runner_->time(repeat, interrupt);
    if (!samples.ok()) return std::move(samples).status().at(source_->backend);
    return samples;
  }

  Result<std::optional<ProcessFigures>> process() override {
    TENON_RETURN_IF_ERROR(start({}));
    Result<size_t> peak = runner_->peak_resident_bytes(Interrupt::after(std::chrono::minutes(1)));
    if (!peak.ok()) return std::move(peak).status().at(source_->backend);
    return std::optional(ProcessFigures{.runtime = runner_->runtime(), .load_ms = runner_->load_ms(), .last_run_ms = runner_->last_run_ms(), .peak_rss_bytes = *peak});
  }

 private:
  Status bind(std::span<const HostValue> inputs, const Interrupt& interrupt) {
    TENON_RETURN_IF_ERROR(source_->interface.check_inputs(inputs));
    TENON_RETURN_IF_ERROR(start(interrupt));
    const std::set<std::string> known(runner_->inputs().begin(), runner_->inputs().end());
    std::vector<std::pair<std::string, HostValue>> named;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const std::string& name = source_->interface.input_name(i);
      // A runtime may have dropped an input that nothing uses.
      if (known.contains(name) && !std::holds_alternative<std::monostate>(inputs[i])) named.emplace_back(name, inputs[i]);
    }
    Status status = runner_->bind(named, interrupt);
    return status.ok() ? Status() : std::move(status).at(source_->backend);
  }

  std::shared_ptr<const Source> source_;
  LoadOptions load_;
  size_t max_bytes_;
  std::unique_ptr<Runner> runner_;
};

class ExternalExecutable final : public Executable {
 public:
  ExternalExecutable(Source source, const ir::Graph& graph) {
    for (const auto& node : graph.nodes())
      placement_.push_back({.node = node->name(), .op = std::string(node->op_name()), .kind = Placement::Kind::kLibrary, .implementation = source.backend, .reason = {}, .covers = {node->name()}});
    source_ = std::make_shared<const Source>(std::move(source));
  }
  Result<std::unique_ptr<Session>> create_session(const SessionOptions& options) const override {
    auto session = std::make_unique<ExternalSession>(source_, options);
    TENON_RETURN_IF_ERROR(session->start(options.interrupt));
    return std::unique_ptr<Session>(std::move(session));
  }
  const std::vector<Placement>& placement() const override { return placement_; }
  const CompileStats& stats() const override { return stats_; }

 private:
  std::shared_ptr<const Source> source_;
  std::vector<Placement> placement_;
  CompileStats stats_;
};

class ExternalBackend : public Backend {
 public:
  explicit ExternalBackend(std::string name) : name_(std::move(name)) {}
  std::string_view name() const override { return name_; }
  bool external() const override { return true; }
  Status available() const override { return command().status(); }
  virtual Result<std::vector<std::string>> command() const = 0;

  Result<std::shared_ptr<const Executable>> compile(const ir::Graph& graph, const CompileOptions& options) const override {
    if (typed(graph)) return compile_typed(graph, options);
    // From .tir, whose types may be left to inference.
    const std::unique_ptr<ir::Graph> inferred = graph.clone();
    TENON_RETURN_IF_ERROR(ir::infer_graph(*inferred));
    return compile_typed(*inferred, options);
  }

 private:
  Result<std::shared_ptr<const Executable>> compile_typed(const ir::Graph& graph, const CompileOptions& options) const {
    TENON_RETURN_IF_ERROR(options.interrupt.check());
    TENON_ASSIGN_OR_RETURN(std::vector<std::string> command, this->command());
    Source source{.backend = name_, .command = std::move(command), .load = {.opt_level = options.opt_level}, .interface = Interface(graph), .graph = nullptr};
    source.load.shapes = source.interface.input_shapes();
    if (options.model.empty()) {
      source.graph = graph.clone();
    } else {
      std::error_code ec;
      source.load.model = fs::absolute(options.model, ec);
      source.load.dims = options.model_dims;
    }
    return std::shared_ptr<const Executable>(std::make_shared<ExternalExecutable>(std::move(source), graph));
  }

  std::string name_;
};

class KnownBackend final : public ExternalBackend {
 public:
  explicit KnownBackend(const KnownRunner& runner) : ExternalBackend(std::string(runner.backend)), runner_(runner) {}
  Result<std::vector<std::string>> command() const override { return command_of(runner_); }

 private:
  const KnownRunner& runner_;
};

class CommandBackend final : public ExternalBackend {
 public:
  explicit CommandBackend(const std::string& command) : ExternalBackend("exec:" + command), command_(command) {}
  Result<std::vector<std::string>> command() const override { return split_command(command_); }

 private:
  std::string command_;
};

}  // namespace
}  // namespace external

std::span<const Backend* const> external_backends() {
  static const std::vector<external::KnownBackend> made(external::known_runners().begin(), external::known_runners().end());
  static const std::vector<const Backend*> all = [] {
    std::vector<const Backend*> out;
    for (const external::KnownBackend& one : made) out.push_back(&one);
    return out;
  }();
  return all;
}

const Backend& command_backend(std::string_view command) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<external::CommandBackend>, std::less<>> made;
  const std::lock_guard lock(mutex);
  auto found = made.find(command);
  if (found == made.end()) found = made.emplace(std::string(command), std::make_unique<external::CommandBackend>(std::string(command))).first;
  return *found->second;
}

}  // namespace tenon::backends
