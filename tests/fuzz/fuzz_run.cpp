// Import, evaluate, optimise, print, parse and evaluate again, within limits.

#include <cstdio>
#include <cstdlib>

#include "frontend/onnx/import.h"
#include "ir/evaluate.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"

namespace {

using namespace tenon;

constexpr int64_t kDim = 2;              // what symbols stand for
constexpr int64_t kMaxElements = 4096;   // of one input

std::optional<std::vector<HostValue>> zeros(const ir::Graph& graph) {
  std::vector<HostValue> out;
  const std::vector<std::optional<int64_t>> symbols(static_cast<size_t>(graph.dims().num_symbols()), kDim);
  for (const ir::Value* input : graph.inputs()) {
    if (!input->type().is_ranked_tensor()) return std::nullopt;
    Shape shape;
    for (const ir::Dim& dim : *input->tensor().dims) {
      const auto size = ir::evaluate(dim, symbols);
      if (!size.ok() || *size < 0 || *size > kMaxElements) return std::nullopt;
      shape.push_back(*size);
    }
    const auto count = element_count(shape);
    if (!count.ok() || *count > kMaxElements) return std::nullopt;
    auto tensor = Tensor::zeros(input->dtype(), std::move(shape));
    if (!tensor.ok()) return std::nullopt;
    out.emplace_back(std::move(*tensor));
  }
  return out;
}

void evaluate(const ir::Graph& graph) {
  const auto inputs = zeros(graph);
  if (!inputs) return;
  ir::EvalOptions options;
  options.max_bytes = int64_t{16} << 20;
  options.max_loop_trips = 64;
  options.interrupt = Interrupt::after(std::chrono::milliseconds(500));
  (void)ir::evaluate_graph(graph, *inputs, options);
}

void require(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.to_string().c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto graph = frontend::import_onnx_bytes({reinterpret_cast<const std::byte*>(data), size}, {.max_nodes = 500});
  if (!graph.ok()) return 0;
  evaluate(**graph);
  passes::PipelineOptions options;
  options.interrupt = Interrupt::after(std::chrono::seconds(2));
  options.verify_each = true;
  const Status optimised = passes::run_pipeline(**graph, options);
  if (optimised.code() == Code::kInternal) require(optimised, "passes");
  if (!optimised.ok()) return 0;
  require(ir::verify(**graph), "after the passes");
  const std::string text = ir::to_text(**graph, {.full = true});
  auto parsed = ir::parse_text(text);
  require(parsed.status(), "the printed graph does not parse");
  if (ir::to_text(**parsed, {.full = true}) != text) std::abort();
  evaluate(**graph);
  return 0;
}
