#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/external/message.h"
#include "backends/external/process.h"

namespace tenon::backends::external {

struct LoadOptions {
  std::filesystem::path model;
  bool temporary = false;  // the model's file goes when it is loaded
  int threads = 1;
  int opt_level = 3;  // 0: every node as it stands … 3: all that the runtime has
  std::vector<std::pair<std::string, int64_t>> dims;
  nlohmann::json shapes = nlohmann::json::object();  // of inputs by name, null where a size is open
};

/// The operations of docs/runners.md. An answer that says that a request failed is an error, and the runner goes on; anything else
/// that goes wrong (no answer in time, none that makes sense, an end) is an error that ends the process. Not thread-safe.
class Runner {
 public:
  /// Starts the process and asks who it is.
  static Result<std::unique_ptr<Runner>> start(std::vector<std::string> command, size_t max_bytes, const Interrupt& interrupt);
  Status load(const LoadOptions& options, const Interrupt& interrupt);
  /// Inputs of the runs that follow.
  Status bind(const std::vector<std::pair<std::string, HostValue>>& inputs, const Interrupt& interrupt);
  Result<std::map<std::string, HostValue>> run(const Interrupt& interrupt);
  Result<std::vector<double>> time(const Repeat& repeat, const Interrupt& interrupt);
  Result<size_t> peak_resident_bytes(const Interrupt& interrupt);

  bool alive() const { return process_->alive(); }
  const std::string& runtime() const { return runtime_; }  // "ONNX Runtime 1.30.0"
  double load_ms() const { return load_ms_; }
  double last_run_ms() const { return last_run_ms_; }  // of the last run() by the runner's clock; 0: it did not say
  /// Names of the model's inputs and outputs as the runtime has them.
  const std::vector<std::string>& inputs() const { return inputs_; }
  const std::vector<std::string>& outputs() const { return outputs_; }

 private:
  Result<Message> ask(const Message& request, const Interrupt& interrupt);
  Result<Message> receive(const Interrupt& interrupt);

  std::unique_ptr<Process> process_;
  size_t max_bytes_ = 0;  // of what the process holds beside what it held after loading, and of an answer
  std::string runtime_;
  double load_ms_ = 0, last_run_ms_ = 0;
  std::vector<std::string> inputs_, outputs_;
};

}  // namespace tenon::backends::external
