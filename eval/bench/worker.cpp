#include "eval/bench/worker.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <latch>
#include <numeric>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

#include "eval/bench/outputs.h"
#include "eval/compiled_model.h"
#include "eval/inputs.h"
#include "eval/unbound_dims.h"

namespace tenon::eval {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }
std::string text(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

json to_json(const Status& status) {
  return {{"code", static_cast<int>(status.code())}, {"what", status.what()}, {"where", status.where()}, {"hint", status.hint()}};
}

Interrupt time_limit(const MeasureOptions& options) {
  return Interrupt::after(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.timeout_s)));
}

/// Symbols that are the first dim of an input.
Result<std::vector<std::string>> leading_symbols(const ir::Graph& graph) {
  std::vector<std::string> out;
  for (const ir::Value* input : graph.inputs()) {
    if (!input->type().is_ranked_tensor() || input->tensor().rank() == 0) continue;
    const ir::Dim dim = input->tensor().dim(0);
    if (!dim.is_symbol()) continue;
    const std::string name = graph.dims().symbol_name(dim.symbol_id());
    if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
  }
  if (out.empty()) return Status(Code::kInvalidArgument, "no input begins with a symbolic dim", "--batch", "leave --batch out, or the --dim that fixes it");
  return out;
}

/// The same inputs by their shapes.
std::vector<std::pair<std::string, std::vector<int64_t>>> leading_shapes(const ir::Graph& graph, int64_t batch) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> out;
  for (const ir::Value* input : graph.inputs()) {
    if (!input->type().is_ranked_tensor() || input->tensor().rank() == 0 || !input->tensor().dim(0).is_symbol()) continue;
    std::vector<int64_t> shape(static_cast<size_t>(input->tensor().rank()), -1);
    shape[0] = batch;
    out.emplace_back(input->name(), std::move(shape));
  }
  return out;
}

class Worker {
 public:
  Worker(const Subject& subject, const MeasureOptions& options, int outputs) : subject_(subject), options_(options), outputs_(outputs) {}

  void serve(Lines& lines) {
    json report;
    const Status status = prepare(report);
    if (!status.ok()) report["error"] = to_json(status);
    if (!lines.write(text(report)) || !status.ok()) return;
    while (const std::optional<std::string> command = lines.read()) {
      const Result<json> answer = *command == "run" ? round() : *command == "throughput" ? throughput() : figures();
      if (!lines.write(text(answer.ok() ? *answer : json{{"error", to_json(answer.status())}}))) return;
    }
  }

 private:
  Status prepare(json& report) {
    const Interrupt interrupt = time_limit(options_);
    TENON_RETURN_IF_ERROR(load(report, interrupt));
    TENON_RETURN_IF_ERROR(compile(report, interrupt));
    if (options_.use_test_data) {
      TENON_ASSIGN_OR_RETURN(all_inputs_, read_inputs(model_->graph(), subject_.model.parent_path() / "test_data_set_0"));
    } else {
      TENON_ASSIGN_OR_RETURN(all_inputs_, random_inputs(model_->graph(), options_.seed));
    }
    note_dims(report);
    TENON_ASSIGN_OR_RETURN(inputs_, set_states(*session_, model_->graph(), all_inputs_));
    const auto start = Clock::now();
    Result<std::vector<HostValue>> ran = session_->run(inputs_, interrupt);
    if (!ran.ok()) return options_.use_test_data ? std::move(ran).status() : advise_sizes(std::move(ran).status(), model_->graph(), subject_.model);
    const std::vector<HostValue> outputs = std::move(*ran);
    report["first_run_ms"] = ms_since(start);
    TENON_ASSIGN_OR_RETURN(const std::optional<backends::ProcessFigures> process, session_->process());
    if (process && process->last_run_ms > 0) report["first_run_ms"] = process->last_run_ms;  // without what it takes to get there and back
    if (outputs_ >= 0) TENON_RETURN_IF_ERROR(save_outputs(outputs_, outputs));
    TENON_RETURN_IF_ERROR(set_states(*session_, model_->graph(), all_inputs_).status());  // as before that run
    return warm_up(report, interrupt);
  }

  Result<CompiledModel> open(frontend::ImportOptions import, const Interrupt& interrupt, json& report) const {
    std::vector<std::string> absent;
    import.interrupt = interrupt;
    if (subject_.skip_absent) import.absent = &absent;
    backends::CompileOptions compile = options_.compile;
    compile.interrupt = interrupt;
    const auto start = Clock::now();
    Result<CompiledModel> model = CompiledModel::open({subject_.model, std::move(import), subject_.backend, std::move(compile), options_.executables, nullptr, options_.states});
    report["load_ms"] = ms_since(start);
    return model;
  }

  Status load(json& report, const Interrupt& interrupt) {
    Result<CompiledModel> model = open(subject_.import, interrupt, report);
    if (model.ok() && subject_.batch) {
      TENON_ASSIGN_OR_RETURN(const std::vector<std::string> symbols, leading_symbols(model->graph()));
      frontend::ImportOptions import = subject_.import;
      for (const std::string& symbol : symbols) import.dims.emplace_back(symbol, *subject_.batch);
      Result<CompiledModel> bound = open(import, interrupt, report);
      if (!bound.ok()) {  // a dim that the model gives no name cannot be bound by one
        import = subject_.import;
        for (auto& shape : leading_shapes(model->graph(), *subject_.batch)) import.shapes.push_back(std::move(shape));
        bound = open(import, interrupt, report);
      }
      model = std::move(bound);
    }
    if (!model.ok()) return std::move(model).status();
    model_.emplace(std::move(*model));
    report["absent"] = model_->absent();
    report["from_cache"] = model_->from_cache();
    return {};
  }

  Status compile(json& report, const Interrupt& interrupt) {
    const auto start = Clock::now();
    TENON_RETURN_IF_ERROR(model_->compile());
    TENON_ASSIGN_OR_RETURN(session_, model_->executable()->create_session(session_options(interrupt)));
    report["compile_ms"] = ms_since(start);
    model_->keep();
    TENON_ASSIGN_OR_RETURN(const std::optional<backends::ProcessFigures> process, session_->process());
    if (!process) return {};
    report["load_ms"] = 0;
    report["compile_ms"] = process->load_ms;
    report["runtime"] = process->runtime;
    return {};
  }

  backends::SessionOptions session_options(const Interrupt& interrupt) const {
    return {.num_threads = subject_.threads, .max_bytes = options_.max_bytes, .interrupt = interrupt};
  }

  void note_dims(json& report) const {
    json dims = json::object(), shapes = json::object();
    for (size_t i = 0; i < all_inputs_.size(); ++i) {
      const auto* tensor = std::get_if<Tensor>(&all_inputs_[i]);
      const ir::Value& input = *model_->graph().inputs()[i];
      if (tensor == nullptr || !input.type().is_ranked_tensor() || input.tensor().rank() != tensor->rank()) continue;
      if (tensor->rank() > 0) shapes[input.name()] = tensor->shape();
      for (int axis = 0; axis < tensor->rank(); ++axis)
        if (const ir::Dim dim = input.tensor().dim(axis); dim.is_symbol()) dims[model_->graph().dims().symbol_name(dim.symbol_id())] = tensor->dim(axis);
    }
    for (const auto& [name, size] : options_.states.any() ? subject_.import.dims : model_->import().dims)
      if (std::ranges::find(model_->absent(), name) == model_->absent().end()) dims[name] = size;
    if (subject_.batch && dims.empty()) dims["batch"] = *subject_.batch;
    report["dims"] = dims;
    report["shapes"] = shapes;
  }

  /// Runs in parts of growing length until two of them in a row are not faster than the best before.
  Status warm_up(json& report, const Interrupt& interrupt) {
    constexpr double kFaster = 0.97;
    const auto start = Clock::now();
    int runs = 0, still = 0;
    double best = 0;
    for (backends::Repeat part{.runs = 1, .ms = 0}; still < 2 || runs < options_.warmup; part = {3, std::min(2 * part.ms + 5, 100.0)}) {
      if (runs >= options_.warmup && ms_since(start) >= options_.warmup_ms) break;
      TENON_ASSIGN_OR_RETURN(const std::vector<double> samples, session_->time(inputs_, part, interrupt));
      runs += static_cast<int>(samples.size());
      const double middle = median(samples);
      still = best > 0 && middle >= kFaster * best ? still + 1 : 0;
      best = best > 0 ? std::min(best, middle) : middle;
    }
    report["warmup_runs"] = runs;
    report["settled"] = still >= 2;
    return {};
  }

  Result<json> round() {
    TENON_ASSIGN_OR_RETURN(const std::vector<double> samples, session_->time(inputs_, {.runs = 1, .ms = options_.round_ms}, time_limit(options_)));
    return json(samples);
  }

  Result<json> throughput() {
    const auto count = static_cast<size_t>(options_.streams);
    std::vector<std::unique_ptr<backends::Session>> sessions(count);
    for (auto& session : sessions) {
      TENON_ASSIGN_OR_RETURN(session, model_->executable()->create_session(session_options(time_limit(options_))));
      TENON_RETURN_IF_ERROR(set_states(*session, model_->graph(), all_inputs_).status());
      const Result<std::vector<HostValue>> warm = session->run(inputs_, time_limit(options_));
      if (!warm.ok()) return warm.status();
      TENON_RETURN_IF_ERROR(set_states(*session, model_->graph(), all_inputs_).status());
    }
    std::latch ready(static_cast<std::ptrdiff_t>(count));
    std::vector<Status> failures(count);
    std::vector<double> rates(count);
    const auto part = [&](size_t i) {
      ready.arrive_and_wait();
      const Result<std::vector<double>> samples = sessions[i]->time(inputs_, {.runs = 1, .ms = kThroughputRounds * options_.round_ms}, time_limit(options_));
      if (!samples.ok()) {
        failures[i] = samples.status();
        return;
      }
      // By the clock of the runs themselves: what it takes to reach another process is no part of its rate.
      const double ms = std::accumulate(samples->begin(), samples->end(), 0.0);
      rates[i] = ms > 0 ? static_cast<double>(samples->size()) * 1000 / ms : 0;
    };
    std::vector<std::thread> threads;
    for (size_t i = 0; i < count; ++i) threads.emplace_back(part, i);
    for (std::thread& thread : threads) thread.join();
    for (Status& failure : failures) TENON_RETURN_IF_ERROR(std::move(failure));
    return json(std::accumulate(rates.begin(), rates.end(), 0.0));
  }

  Result<json> figures() {
    json out = {{"arena_mb", static_cast<double>(session_->arena_bytes()) / (1 << 20)},
                {"taken_over_by", backends::taken_over_by(*subject_.backend, *model_->executable(), *session_)}};
    TENON_ASSIGN_OR_RETURN(const std::optional<backends::ProcessFigures> process, session_->process());
    // Where the model runs in yet another process, that is the one that counts.
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    out["peak_rss_mb"] = process ? static_cast<double>(process->peak_rss_bytes) / (1 << 20) : static_cast<double>(usage.ru_maxrss) / 1024;
    return out;
  }

  static constexpr int kThroughputRounds = 5;

  const Subject& subject_;
  const MeasureOptions& options_;
  const int outputs_;
  std::optional<CompiledModel> model_;
  std::unique_ptr<backends::Session> session_;
  std::vector<HostValue> all_inputs_, inputs_;  // of the graph; of sessions, which keep states themselves
};

}  // namespace

Status failure_of(const json& answer) {
  if (!answer.is_object() || !answer.contains("error")) return {};
  const json& e = answer["error"];
  return Status(static_cast<Code>(e["code"].get<int>()), e["what"], e["where"], e["hint"]);
}

void serve_subject(const Subject& subject, const MeasureOptions& options, int outputs, Lines& lines) {
  Worker(subject, options, outputs).serve(lines);
}

}  // namespace tenon::eval
