#include "eval/debug/reproduce.h"

#include <algorithm>
#include <fstream>

#include "eval/inputs.h"
#include "eval/model.h"
#include "eval/round_off.h"
#include "eval/quantised_steps.h"
#include "eval/rounded_products.h"
#include "frontend/onnx/export.h"
#include "frontend/onnx/import.h"
#include "ir/evaluate.h"
#include "ir/printer.h"

namespace tenon::eval {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxWidenings = 4;  // before all that is upstream comes in

std::vector<std::string> outputs_of(const ir::Graph& graph) {
  std::vector<std::string> names;
  for (const ir::Value* output : graph.outputs()) names.push_back(output->name());
  return names;
}

/// The variant without the file of the whole model.
Variant of_pieces(Variant variant) {
  variant.compile.model.clear();
  return variant;
}

/// For the output of a piece.
Result<Tolerance> tolerance_of(const ir::Graph& graph, const Variant& variant, const ReproduceOptions& options) {
  const bool rounds = options.widen && rounds_factors(*variant.backend, variant.compile.precision);
  TENON_ASSIGN_OR_RETURN(const Rounding rounding, rounding_of_outputs(graph, options.tolerance, rounds ? variant.compile.precision : DType::kF32, options.interrupt));
  if (!options.widen) return rounding.tolerance;
  TENON_ASSIGN_OR_RETURN(const std::vector<QuantisedSteps> steps, steps_of_outputs(graph, options.interrupt));
  return with_steps(rounding.tolerance, steps.at(0));
}

class Reducer {
 public:
  Reducer(const Variant& variant, const ReproduceOptions& options) : variant_(of_pieces(variant)), options_(options) {}

  int runs() const { return runs_; }

  /// The piece's expected output and how the variant's differs, when it does. Nullopt also for what cannot be run.
  Result<std::optional<Reproducer>> test(Cut piece) {
    TENON_RETURN_IF_ERROR(options_.interrupt.check());
    if (runs_ >= options_.max_runs || piece.graph->outputs().size() != 1) return std::optional<Reproducer>();
    ++runs_;
    if (options_.progress) options_.progress(fmt::format("reducing: run {}, {} nodes", runs_, count_operations(*piece.graph)));
    ir::EvalOptions evaluate;
    evaluate.interrupt = options_.interrupt;
    const auto expected = ir::evaluate_graph(*piece.graph, piece.inputs, evaluate);
    if (!expected.ok()) return std::optional<Reproducer>();
    const auto running = start(*piece.graph, variant_, options_.session, options_.interrupt);
    if (!running.ok()) return std::optional<Reproducer>();
    const auto actual = running->session->run(piece.inputs, options_.interrupt);
    if (!actual.ok()) return std::optional<Reproducer>();
    TENON_ASSIGN_OR_RETURN(const Tolerance tolerance, tolerance_of(*piece.graph, variant_, options_));
    Reproducer out{{}, (*expected)[0], compare((*expected)[0], (*actual)[0], tolerance), runs_};
    if (out.difference.ok) return std::optional<Reproducer>();
    if (options_.round_off_samples > 0) {
      const auto excused = within_round_off(*piece.graph, piece.inputs, {{0, (*expected)[0]}}, *actual, options_.round_off_samples);
      if (excused.ok() && *excused) return std::optional<Reproducer>();
    }
    out.piece = std::move(piece);
    return std::optional<Reproducer>(std::move(out));
  }

  Result<Reproducer> reduce(Reproducer found) {
    for (size_t before = 0; before != count_operations(*found.piece.graph);) {
      before = count_operations(*found.piece.graph);
      if (before == 1) break;
      TENON_RETURN_IF_ERROR(drop_after(found));
      TENON_RETURN_IF_ERROR(drop_before(found));
      TENON_RETURN_IF_ERROR(drop_each(found));
      TENON_RETURN_IF_ERROR(bypass_each(found));
    }
    found.runs = runs_;
    return found;
  }

 private:
  using Values = std::map<std::string, HostValue>;

  static std::vector<const ir::Node*> operations(const ir::Graph& graph) {
    std::vector<const ir::Node*> out;
    for (const auto& node : graph.nodes())
      if (!node->is("Constant")) out.push_back(node.get());
    return out;
  }

  /// What the interpreter computes for every value of the piece.
  Result<Values> values_of(const Cut& piece) const {
    Values out;
    ir::EvalOptions evaluate;
    evaluate.interrupt = options_.interrupt;
    evaluate.observe = [&](const ir::Node& node, std::span<const HostValue> outputs) {
      if (node.graph() != piece.graph.get() || node.is("Constant")) return;
      for (size_t i = 0; i < outputs.size(); ++i)
        if (std::holds_alternative<Tensor>(outputs[i])) out[node.outputs()[i]->name()] = outputs[i];
    };
    TENON_RETURN_IF_ERROR(ir::evaluate_graph(*piece.graph, piece.inputs, evaluate).status());
    return out;
  }

  /// Takes the smaller piece in the place of `found` when it still differs.
  Result<bool> accept(Result<Cut> smaller, Reproducer& found) {
    if (!smaller.ok() || count_operations(*smaller->graph) >= count_operations(*found.piece.graph)) return false;
    TENON_ASSIGN_OR_RETURN(std::optional<Reproducer> still, test(std::move(*smaller)));
    if (!still) return false;
    found = std::move(*still);
    return true;
  }

  /// The first value that differs becomes the output.
  Status drop_after(Reproducer& found) {
    std::vector<std::string> names;
    for (const ir::Node* node : operations(*found.piece.graph))
      for (const ir::Value* output : node->outputs())
        if (!output->unused()) names.push_back(output->name());
    for (const std::string& name : names) {
      TENON_ASSIGN_OR_RETURN(const bool done, accept(cut(*found.piece.graph, found.piece.inputs, {name}, {}), found));
      if (done) break;
    }
    return {};
  }

  /// Only the last node, the last two, four …: what comes before is given.
  Status drop_before(Reproducer& found) {
    TENON_ASSIGN_OR_RETURN(const Values values, values_of(found.piece));
    const std::vector<const ir::Node*> nodes = operations(*found.piece.graph);
    for (size_t keep = 1; keep < nodes.size(); keep *= 2) {
      Values given;
      for (size_t i = 0; i + keep < nodes.size(); ++i)
        for (const ir::Value* output : nodes[i]->outputs())
          if (const auto at = values.find(output->name()); at != values.end()) given.insert(*at);
      TENON_ASSIGN_OR_RETURN(const bool done, accept(cut(*found.piece.graph, found.piece.inputs, outputs_of(*found.piece.graph), given), found));
      if (done) break;
    }
    return {};
  }

  /// Each node's results given, and the node with all that only it needs gone.
  Status drop_each(Reproducer& found) {
    std::vector<std::vector<std::string>> results;
    for (const ir::Node* node : operations(*found.piece.graph)) {
      results.emplace_back();
      for (const ir::Value* output : node->outputs()) results.back().push_back(output->name());
    }
    for (size_t i = results.size(); i-- > 0;) {
      TENON_ASSIGN_OR_RETURN(const Values values, values_of(found.piece));
      Values given;
      for (const std::string& name : results[i])
        if (const auto at = values.find(name); at != values.end()) given.insert(*at);
      if (given.empty()) continue;
      TENON_RETURN_IF_ERROR(accept(cut(*found.piece.graph, found.piece.inputs, outputs_of(*found.piece.graph), given), found).status());
    }
    return {};
  }

  /// Each node's operand of the same type in the place of its result.
  Status bypass_each(Reproducer& found) {
    std::vector<std::string> names;
    for (const ir::Node* node : operations(*found.piece.graph))
      if (node->num_outputs() == 1) names.push_back(node->output()->name());
    for (const std::string& name : names) TENON_RETURN_IF_ERROR(bypass(name, found));
    return {};
  }

  Status bypass(const std::string& name, Reproducer& found) {
    const std::unique_ptr<ir::Graph> copy = found.piece.graph->clone();
    for (const auto& node : copy->nodes()) {
      if (node->num_outputs() != 1 || node->output()->name() != name) continue;
      for (ir::Value* input : node->inputs()) {
        if (input == nullptr || input->def() == nullptr || input->def()->is("Constant") || !(input->type() == node->output()->type())) continue;
        copy->replace_all_uses(node->output(), input);
        return accept(cut(*copy, found.piece.inputs, outputs_of(*copy), {}), found).status();
      }
    }
    return {};
  }

  const Variant variant_;
  const ReproduceOptions& options_;
  int runs_ = 0;
};

/// The values given to a piece: the variant's own.
Result<std::map<std::string, HostValue>> given_of(const Region& region, const Spill& taken) {
  std::map<std::string, HostValue> given;
  for (const ir::Value* input : region.inputs) {
    if (input->def() == nullptr) continue;
    TENON_ASSIGN_OR_RETURN(Tensor tensor, taken.get(input->name()));
    given.emplace(input->name(), std::move(tensor));
  }
  return given;
}

Status write_text(const fs::path& file, std::string_view text) {
  std::ofstream out(file, std::ios::binary);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  out.close();
  return out ? Status() : Status(Code::kIo, "cannot write the file", file.string());
}

Status write_data(const Reproducer& found, const fs::path& folder) {
  const auto write = [&](const HostValue& value, const std::string& name, const std::string& file) {
    const auto* tensor = std::get_if<Tensor>(&value);
    if (tensor == nullptr) return Status(Code::kUnsupported, "only tensors can be written", fmt::format("value '{}'", name));
    return frontend::write_tensor(*tensor, name, folder / file);
  };
  for (size_t i = 0; i < found.piece.inputs.size(); ++i)
    TENON_RETURN_IF_ERROR(write(found.piece.inputs[i], found.piece.graph->inputs()[i]->name(), fmt::format("input_{}.pb", i)));
  return write(found.expected, found.piece.graph->output_name(0), "output_0.pb");
}

}  // namespace

Result<Reproducer> reproduce(const ir::Graph& graph, const Variant& variant, const std::vector<HostValue>& inputs, const Spill& taken,
                             const std::string& value, const ReproduceOptions& options) {
  const ir::Value* target = nullptr;
  std::unordered_set<std::string> known;
  for (const auto& node : graph.nodes())
    for (const ir::Value* output : node->outputs()) {
      if (output->name() == value) target = output;
      if (taken.has(output->name())) known.insert(output->name());
    }
  if (target == nullptr) return Status(Code::kNotFound, fmt::format("the model has no value '{}'", value));
  Reducer reducer(variant, options);
  for (int widened = 0; widened <= kMaxWidenings; ++widened) {
    const Region region = region_of(*target, known);
    TENON_ASSIGN_OR_RETURN(const auto given, given_of(region, taken));
    Result<Cut> piece = cut(graph, inputs, {value}, given);
    if (piece.ok()) {
      TENON_ASSIGN_OR_RETURN(std::optional<Reproducer> found, reducer.test(std::move(*piece)));
      if (found) return reducer.reduce(std::move(*found));
    }
    if (given.empty()) break;
    if (widened + 1 == kMaxWidenings) known.clear();
    for (const auto& [name, tensor] : given) known.erase(name);
  }
  return Status(Code::kNotFound, fmt::format("what computes '{}' does not differ by itself", value), variant.name,
                "compare the whole model; a fault that comes and goes may hang on threads or on memory");
}

Result<bool> write_reproducer(const Reproducer& found, const Variant& variant, const fs::path& folder, const ReproduceOptions& options) {
  std::error_code ec;
  if (fs::exists(folder / "model.onnx", ec)) return Status(Code::kInvalidArgument, "the folder has a model.onnx", folder.string(), "name another folder");
  const fs::path data = folder / "test_data_set_0";
  fs::create_directories(data, ec);
  if (ec) return Status(Code::kIo, "cannot make the folder: " + ec.message(), data.string(), "name another folder");
  TENON_RETURN_IF_ERROR(write_text(folder / "model.tir", ir::to_text(*found.piece.graph, {.full = true})));
  TENON_RETURN_IF_ERROR(write_data(found, data));
  TENON_RETURN_IF_ERROR(frontend::export_onnx(*found.piece.graph, folder / "model.onnx"));
  TENON_ASSIGN_OR_RETURN(const auto again, load_model(folder / "model.onnx"));
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, read_inputs(*again, data));
  TENON_ASSIGN_OR_RETURN(const Running running, start(*again, of_pieces(variant), options.session, options.interrupt));
  TENON_ASSIGN_OR_RETURN(const auto outputs, running.session->run(inputs, options.interrupt));
  TENON_ASSIGN_OR_RETURN(const Tolerance tolerance, tolerance_of(*again, variant, options));
  return !compare(found.expected, outputs[0], tolerance).ok;
}

}  // namespace tenon::eval
