#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "eval/states.h"
#include "frontend/onnx/import.h"
#include "ir/graph.h"
#include "support/disk_cache.h"
#include "support/file_stamp.h"

namespace tenon::eval {

struct ModelRequest {
  std::filesystem::path file;
  frontend::ImportOptions import;
  const backends::Backend* backend = nullptr;
  backends::CompileOptions compile;
  std::shared_ptr<const DiskCache> cache;  // of whole executables; null: none
  /// The same model, opened before with the same `import` and not compiled: its graph is copied instead of imported again. Outlives this.
  const class CompiledModel* imported = nullptr;
  StateRequest states = {};                // that sessions keep
};

/// A model on its way to runs. Where the cache has its executable, made of the same files with the same options, neither import nor
/// compilation happens.
class CompiledModel {
 public:
  /// Takes the executable from the cache, else imports the model.
  static Result<CompiledModel> open(ModelRequest request);
  /// Compiles what was only imported. The graph loses its weights to the executable.
  Status compile();
  /// Puts an executable that compile() made into the cache, when its files are the ones that it was made of. Takes as long as it takes to
  /// write the weights. What cannot be kept is compiled again next time.
  void keep();

  /// The model's graph; of one from the cache its inputs and outputs alone. Of a model with states also those: set_states and with_states
  /// (eval/states.h) go from its inputs and outputs to those of sessions.
  const ir::Graph& graph() const { return *graph_; }
  /// What sessions take and give; before compile() as well.
  const ir::Graph& interface() const { return interface_ != nullptr ? *interface_ : *graph_; }
  std::span<const backends::StatePair> states() const { return states_; }
  /// Null before compile(), but from the cache.
  const std::shared_ptr<const backends::Executable>& executable() const { return executable_; }
  bool from_cache() const { return from_cache_; }
  /// Dims and shapes of the request that the model does not have, where it allows such.
  const std::vector<std::string>& absent() const { return absent_; }
  /// The request's, without those.
  const frontend::ImportOptions& import() const { return request_.import; }

 private:
  explicit CompiledModel(ModelRequest request) : request_(std::move(request)) {}
  std::string key() const;
  bool restore();
  Status import_model();
  Status find_states();
  void leave_out_absent();

  ModelRequest request_;
  std::string key_;                 // of the cache; empty: nothing is looked up or kept
  std::chrono::system_clock::time_point opened_;
  std::optional<FileStamp> stamp_;  // of the model's file, before it was opened
  std::vector<std::filesystem::path> files_;
  std::vector<std::string> absent_;
  std::unique_ptr<ir::Graph> graph_;
  std::vector<backends::StatePair> states_;
  std::unique_ptr<ir::Graph> interface_;  // null: there are no states
  std::unique_ptr<ir::Graph> growing_;    // the graph without what is bound of states, where that is another one
  std::shared_ptr<const backends::Executable> executable_;
  bool from_cache_ = false;
};

}  // namespace tenon::eval
