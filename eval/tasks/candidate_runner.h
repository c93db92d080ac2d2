#pragma once

#include <memory>
#include <span>
#include <vector>

#include "eval/tasks/evaluate.h"

namespace tenon::eval {

/// One candidate of an evaluation at work.
class CandidateRunner {
 public:
  CandidateRunner(const Candidate& candidate, const EvaluateOptions& options);

  bool ok() const { return result.status.ok(); }

  /// Makes its session; result.status says whether it has one.
  void compile(const ir::Graph& graph);
  /// Adds the time of the run, of so many examples, to `figures`.
  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, int64_t examples, BatchFigures& figures);
  /// Asks a process of its own what it has used.
  void close();

  CandidateResult result;

 private:
  const Candidate& candidate_;
  const EvaluateOptions& options_;
  std::shared_ptr<const backends::Executable> executable_;
  std::unique_ptr<backends::Session> session_;
  bool external_ = false, ran_ = false;
};

}  // namespace tenon::eval
