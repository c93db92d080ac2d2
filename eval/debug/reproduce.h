#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/compare.h"
#include "eval/debug/cut.h"
#include "eval/debug/variant.h"

namespace tenon::eval {

struct ReproduceOptions {
  Tolerance tolerance;
  bool widen = true;                      // it, as CompareOptions::widen does
  int round_off_samples = 8;
  backends::SessionOptions session;
  int max_runs = 400;                     // of pieces that are tried
  Interrupt interrupt;
  std::function<void(std::string_view doing)> progress;
};

/// A small model on which a variant differs from the reference interpreter.
struct Reproducer {
  Cut piece;                              // with one output
  HostValue expected;                     // what the interpreter gives
  Difference difference;
  int runs = 0;
};

/// Cuts the nodes out of `graph` that compute `value` from the nearest values that `taken` (of the variant) has, and gives them the
/// variant's own. When these alone do not differ, nodes before them come in as well. Then nodes go as long as the rest still
/// differs: those before and after, and those whose operand can stand for their result (delta debugging: A. Zeller, R. Hildebrandt,
/// "Simplifying and isolating failure-inducing input", IEEE TSE 28(2), 2002). kNotFound when no piece differs.
Result<Reproducer> reproduce(const ir::Graph& graph, const Variant& variant, const std::vector<HostValue>& inputs, const Spill& taken,
                             const std::string& value, const ReproduceOptions& options);

/// Writes model.onnx, model.tir, test_data_set_0/input_K.pb and output_0.pb, reads the model again and runs it: whether it still
/// differs then. The folder is made; kInvalidArgument when it has a model.onnx. A piece that ONNX cannot say is written as .tir alone
/// and gives kUnsupported.
Result<bool> write_reproducer(const Reproducer& found, const Variant& variant, const std::filesystem::path& folder, const ReproduceOptions& options);

}  // namespace tenon::eval
