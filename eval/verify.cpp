#include "eval/verify.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "backends/stateful/stateful.h"
#include "eval/inputs.h"
#include "eval/model.h"
#include "eval/round_off.h"
#include "eval/rounded_products.h"
#include "eval/tuning_file.h"
#include "frontend/onnx/export.h"
#include "passes/pass.h"

namespace tenon::eval {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

}  // namespace

std::string_view status_name(CaseStatus status) {
  return status == CaseStatus::kPassed ? "passed" : status == CaseStatus::kFailed ? "failed" : "skipped";
}

Result<std::vector<Case>> find_cases(const fs::path& root) {
  std::error_code ec;
  if (!fs::is_directory(root, ec)) return Status(Code::kNotFound, "no such folder", root.string(), "check the path");
  std::vector<Case> out;
  const auto consider = [&](const fs::path& folder) {
    if (!fs::exists(folder / "model.onnx", ec) || data_sets(folder).empty()) return;
    std::string name = folder.lexically_relative(root).generic_string();
    if (name == ".") name = fs::canonical(root, ec).filename().string();
    out.push_back({std::move(name), folder});
  };
  consider(root);
  for (auto it = fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied, ec);
       !ec && it != fs::recursive_directory_iterator(); it.increment(ec))
    if (it->is_directory(ec)) consider(it->path());
  std::sort(out.begin(), out.end(), [](const Case& a, const Case& b) { return a.name < b.name; });
  return out;
}

namespace {

std::vector<std::string> output_names(const ir::Graph& graph) {
  std::vector<std::string> names;
  for (size_t i = 0; i < graph.outputs().size(); ++i) names.push_back(graph.output_name(static_cast<int>(i)));
  return names;
}

/// The outputs that the rule covers as rows, the others element by element.
Status compare_outputs(const ir::Graph& graph, const std::map<size_t, HostValue>& expected, const std::vector<HostValue>& outputs,
                       const Tolerance& tolerance, const std::optional<RowRule>& rows, CaseResult& result) {
  const std::vector<std::string> names = output_names(graph);
  std::vector<size_t> matched;
  if (rows) {
    const Difference d = match_rows(*rows, names, expected, outputs, tolerance, matched);
    if (!d.ok) return Status(Code::kMismatch, d.message);
  }
  for (const auto& [index, value] : expected) {
    if (std::find(matched.begin(), matched.end(), index) != matched.end()) continue;
    if (index >= outputs.size()) return Status(Code::kMismatch, fmt::format("output {} is missing", index));
    const Difference d = compare(value, outputs[index], tolerance);
    result.max_abs = std::max(result.max_abs, d.max_abs);
    result.max_rel = std::max(result.max_rel, d.max_rel);
    if (!d.ok) return Status(Code::kMismatch, fmt::format("output {}: {}", names[index], d.message));
  }
  return {};
}

Result<std::unique_ptr<ir::Graph>> through_onnx(ir::Graph& graph, const RoundTrip& trip, const frontend::ImportOptions& import) {
  passes::PipelineOptions options;
  options.level = trip.level;
  options.for_export = true;
  TENON_RETURN_IF_ERROR(passes::run_pipeline(graph, options));
  frontend::ExportOptions format;
  format.opset = trip.opset;
  Result<std::string> bytes = frontend::export_onnx_bytes(graph, format);
  if (!bytes.ok()) return std::move(bytes).status().at("export");
  auto again = frontend::import_onnx_bytes(std::as_bytes(std::span(*bytes)), import);
  if (!again.ok()) return std::move(again).status().at("import of what was exported");
  return again;
}

void count_nodes(std::span<const backends::Placement> rows, CaseResult& result) {
  using Kind = backends::Placement::Kind;
  for (const backends::Placement& row : rows) {
    if (row.kind == Kind::kFolded) continue;
    const int nodes = std::max(1, static_cast<int>(row.covers.size()));
    result.nodes += nodes;
    if (row.kind != Kind::kHost && row.kind != Kind::kInterpreted) continue;
    result.host_nodes[row.reason.empty() ? row.op : fmt::format("{}: {}", row.op, row.reason)] += nodes;
  }
}

/// Runs the data sets in turn; the first failure ends the case.
Status run_case(const Case& one, const backends::Backend& backend, const VerifyOptions& options, CaseResult& result) {
  const Interrupt interrupt = Interrupt::after(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.timeout_s)));
  frontend::ImportOptions import = options.import;
  import.interrupt = interrupt;
  TENON_ASSIGN_OR_RETURN(auto graph, frontend::import_onnx(one.folder / "model.onnx", import));
  if (options.round_trip) {
    TENON_ASSIGN_OR_RETURN(graph, through_onnx(*graph, *options.round_trip, import));
  }
  Tolerance tolerance = options.tolerance;
  if (options.widen && rounds_factors(backend, options.compile.precision)) {
    TENON_ASSIGN_OR_RETURN(const Rounding rounding, rounding_of_outputs(*graph, tolerance, options.compile.precision, interrupt));
    tolerance = rounding.tolerance;
    result.rounding = describe(rounding, options.compile.precision);
  }
  const std::vector<std::string> names = output_names(*graph);
  result.has_key = options.rows && std::find(names.begin(), names.end(), options.rows->key) != names.end();
  const auto compile_start = Clock::now();
  backends::CompileOptions compile = options.compile;
  compile.interrupt = interrupt;
  if (!options.round_trip) {
    name_source(one.folder / "model.onnx", import, compile);
    use_tuning(one.folder / "model.onnx", backend, compile);
  }
  TENON_ASSIGN_OR_RETURN(const std::vector<backends::StatePair> states, states_of(*graph, options.states, interrupt));
  TENON_ASSIGN_OR_RETURN(const auto executable, backends::compile_stateful(backend, graph->clone(), compile, states));
  result.compile_ms = ms_since(compile_start);
  count_nodes(executable->placement(), result);
  backends::SessionOptions session_options = options.session;
  session_options.interrupt = interrupt;
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session(session_options));
  for (const fs::path& folder : data_sets(one.folder)) {
    const std::string set = folder.filename().string();
    TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, read_inputs(*graph, folder));
    TENON_ASSIGN_OR_RETURN(const auto expected, read_outputs(*graph, folder));
    if (expected.empty() && !graph->outputs().empty())
      return Status(Code::kNotFound, "no output_0.pb to compare with", folder.string());
    if (backends::States* states = session->states()) states->reset();  // a data set is a sequence of its own
    TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> given, set_states(*session, *graph, inputs));
    const auto run_start = Clock::now();
    Result<std::vector<HostValue>> outputs = session->run(given, interrupt);
    result.run_ms += ms_since(run_start);
    if (outputs.ok()) outputs = with_states(*session, *graph, std::move(*outputs));
    if (!outputs.ok()) return std::move(outputs).status().at(set);
    const CaseResult before = result;
    Status agrees = compare_outputs(*graph, expected, *outputs, tolerance, options.rows, result);
    if (agrees.code() == Code::kMismatch && !options.rows) {
      // Rows of a ranking whose scores tie within the tolerance have no one right order.
      if (const auto rule = ranking_rule(output_names(*graph), expected)) {
        CaseResult ranked = before;
        if (compare_outputs(*graph, expected, *outputs, tolerance, rule, ranked).ok()) {
          agrees = Status();
          result = std::move(ranked);
          result.message = fmt::format("rows of {} that tie are in another order", rule->key);
        }
      }
    }
    if (agrees.code() == Code::kMismatch && options.round_off_samples > 0) {
      if (auto within = within_round_off(*graph, inputs, expected, *outputs, options.round_off_samples); within.ok() && *within) {
        agrees = Status();
        result.message = std::move(**within);
      }
    }
    if (!agrees.ok()) return std::move(agrees).at(set);
    if (expected.size() < graph->outputs().size() && result.message.empty())
      result.message = fmt::format("{} of {} outputs are compared: {} has no file for the others", expected.size(), graph->outputs().size(), set);
    ++result.data_sets;
  }
  if (options.states.automatic && states.empty()) result.message = fmt::format("it has no states{}{}", result.message.empty() ? "" : "; ", result.message);
  if (const std::string_view other = backends::taken_over_by(backend, *executable, *session); !other.empty())
    result.message = fmt::format("{} failed and {} took over{}{}", backend.name(), other, result.message.empty() ? "" : "; ", result.message);
  return {};
}

}  // namespace

CaseResult verify_case(const Case& one, const backends::Backend& backend, const VerifyOptions& options) {
  CaseResult result;
  result.name = one.name;
  result.backend = backend.name();
  const Status status = run_case(one, backend, options, result);
  result.status = status.ok() ? CaseStatus::kPassed : CaseStatus::kFailed;
  if (!status.ok()) result.message = status.to_string();
  if (status.code() == Code::kDeadlineExceeded)
    result.message = fmt::format("took longer than {} s{}", options.timeout_s, status.where().empty() ? "" : ": " + status.where());
  return result;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace tenon::eval
