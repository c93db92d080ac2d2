#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>

#include "backends/vulkan/requirement.h"
#include "eval/bench/baseline.h"
#include "eval/bench/child.h"
#include "eval/bench/document.h"
#include "eval/bench/machine.h"
#include "eval/bench/sweep.h"
#include "eval/bench/trust.h"
#include "eval/model.h"
#include "eval/report/report.h"
#include "support/cpu_count.h"
#include "tools/bench_output.h"
#include "tools/common.h"
#include "tools/profile.h"

namespace tenon::tools {
namespace {

using nlohmann::json;

constexpr const char* kNotes =
    "Every backend runs in a process of its own; rounds alternate between them, so that a busy machine slows all alike, and several\n"
    "launches of the processes share the rounds. The ratio is the first backend's median over this one's (above 1: faster), with a 95 %\n"
    "bootstrap interval over launches and rounds. Runs before the rounds go on until they do not get faster any more. `compile` is\n"
    "everything between the imported model and the first run; a runtime that reads the model itself has its loading there.\n"
    "Inputs are random with a fixed seed, symbolic dims 1 unless bound. --threads, --batch and --dim take lists and ranges: 1,2,4; 1-4;\n"
    "2-8+2; 1-8*2. With several models --dim and --shape apply to those that have the dim or input. A model that fails has no figures:\n"
    "its reason goes to stderr, and the status is 2. With --state each run begins with the states as --dim and --shape make their inputs,\n"
    "and what it appends to them is forgotten after it. What makes figures doubtful (other load, heat, noise) is said below the table.\n\n"
    "Examples:\n"
    "  tenon bench model.onnx --backend cpu,onnxruntime --threads 1,2\n"
    "  tenon bench a.onnx b.onnx --batch 1-8*2 --dim sequence=128 --format markdown\n"
    "  tenon bench model.onnx --json before.json; tenon bench model.onnx --baseline before.json\n"
    "  tenon bench model.onnx --duration 30 --streams 4 --report report.html";

struct Options {
  DType precision = DType::kF32;
  std::vector<std::string> models, dims, shapes, custom_ops, states;
  std::string backend = "cpu", threads = "1", batch, json, format = "table", baseline, report;
  TargetOptions target;
  int rounds = 20, launches = 5, warmup = 2, opt_level = 3, streams = 0;
  double round_ms = 100, duration = 0, warmup_ms = 1000, tolerance = 3;
  uint64_t seed = 0;
  bool test_data = false, profile = false;
  LimitOptions limits;
};

/// What was asked for and no model has. Models that failed may have had it.
Status check_absent(const Options& o, const std::vector<std::vector<std::string>>& absent) {
  std::vector<std::pair<const char*, std::string>> asked;
  for (const std::string& text : o.dims) asked.emplace_back("--dim", text.substr(0, text.rfind('=')));
  for (const std::string& text : o.shapes) asked.emplace_back("--shape", text.substr(0, text.rfind('=')));
  for (const auto& [option, name] : asked)
    if (std::all_of(absent.begin(), absent.end(), [&](const auto& names) { return std::find(names.begin(), names.end(), name) != names.end(); }))
      return Status(Code::kInvalidArgument, fmt::format("no model has a {} '{}'", option[2] == 'd' ? "symbolic dim" : "input", name), option,
                    "tenon inspect MODEL shows what there is");
  return {};
}

Status check_positive(double value, const char* option, const char* unit, bool zero = false) {
  if (std::isfinite(value) && (value > 0 || (zero && value == 0))) return {};
  return Status(Code::kInvalidArgument, fmt::format("{} is no length", value), option, fmt::format("give {} above 0", unit));
}

Result<eval::MeasureOptions> measure_options(const Options& o) {
  TENON_RETURN_IF_ERROR(check_positive(o.round_ms, "--round-ms", "milliseconds"));
  TENON_RETURN_IF_ERROR(check_positive(o.warmup_ms, "--warmup-ms", "milliseconds", true));
  TENON_RETURN_IF_ERROR(check_positive(o.duration, "--duration", "seconds", true));
  constexpr double kMostSeconds = 7 * 86400;
  if (o.duration > kMostSeconds) return Status(Code::kInvalidArgument, fmt::format("{} seconds are more than a week", o.duration), "--duration", "give fewer");
  eval::MeasureOptions options;
  options.launches = o.launches;
  options.rounds = o.rounds;
  options.round_ms = o.round_ms;
  options.duration_s = o.duration;
  options.warmup = o.warmup;
  options.warmup_ms = o.warmup_ms;
  options.streams = o.streams;
  options.seed = o.seed;
  options.use_test_data = o.test_data;
  TENON_ASSIGN_OR_RETURN(options.states, eval::parse_states(o.states));
  options.compile.opt_level = o.opt_level;
  o.target.apply(options.compile);
  options.compile.precision = o.precision;
  options.compile.cache = user_cache();
  options.executables = user_executables(options.compile.cache);
  options.timeout_s = o.limits.timeout_s;
  TENON_ASSIGN_OR_RETURN(options.max_bytes, apply_memory_limit(o.limits));
  return options;
}

/// One row of the plan: subjects that are measured together.
struct Case {
  std::string model;
  int threads = 1;
  std::optional<int64_t> batch;
  eval::DimBinding dims;
};

Result<std::vector<Case>> plan(const Options& o) {
  TENON_ASSIGN_OR_RETURN(const std::vector<int64_t> threads, eval::parse_sweep(o.threads, "--threads", 0, kMaxThreads));
  std::vector<std::optional<int64_t>> batches{std::nullopt};
  if (!o.batch.empty()) {
    TENON_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, eval::parse_sweep(o.batch, "--batch", 1, 1 << 20));
    batches.assign(sizes.begin(), sizes.end());
  }
  TENON_ASSIGN_OR_RETURN(const std::vector<eval::DimBinding> bindings, eval::parse_dim_sweeps(o.dims));
  std::vector<Case> out;
  for (const std::string& model : o.models)
    for (const eval::DimBinding& dims : bindings)
      for (const std::optional<int64_t>& batch : batches)
        for (int64_t n : threads) out.push_back({model, n == 0 ? default_placement().cores : static_cast<int>(n), batch, dims});
  return out;
}

/// Names the model where the error does not, and the backend where the others say something else.
void report_failures(const std::vector<eval::Subject>& subjects, const std::vector<eval::Measurement>& measured) {
  const std::string first = measured[0].status.to_string();
  const bool alike = std::ranges::all_of(measured, [&](const eval::Measurement& m) { return m.status.to_string() == first; });
  for (size_t i = 0; i < (alike ? 1 : measured.size()); ++i) {
    const Status& status = measured[i].status;
    if (status.ok()) continue;
    const std::string model = subjects[i].model.string(), backend(subjects[i].backend->name());
    std::string place = status.to_string().find(model) == std::string::npos ? model : "";
    if ((!alike || (subjects.size() == 1 && !place.empty())) && !status.where().starts_with(backend)) place += fmt::format("{}on {}", place.empty() ? "" : " ", backend);
    report(place.empty() ? status : Status(status).at(place));
  }
}

std::atomic<bool> interrupted{false};

/// The first interruption ends the round and shows what there is; the second ends the command.
void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
}

/// Before anything is measured for it.
Status check_writable(const std::string& path) {
  if (path.empty() || path == "-") return {};
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (::access(folder.empty() ? "." : folder.c_str(), W_OK) == 0 && !std::filesystem::is_directory(path)) return {};
  return Status(Code::kIo, fmt::format("cannot write there: {}", std::strerror(errno)), path, "name a file in a folder that you may write to");
}

class Bench {
 public:
  Bench(const Options& o, std::vector<const backends::Backend*> backends, eval::MeasureOptions options, frontend::ImportOptions import)
      : o_(o), backends_(std::move(backends)), options_(std::move(options)), import_(std::move(import)) {
    context_ = eval::machine_context();
    context_.update({{"version", TENON_VERSION}, {"rounds", o.rounds}, {"launches", o.launches}, {"round_ms", o.round_ms}, {"seed", o.seed}, {"opt_level", o.opt_level},
                     {"target", o.target.target.empty() ? "host" : o.target.target}, {"precision", name(o.precision)}, {"test_data", o.test_data}, {"states", o.states}});
    options_.stop = &interrupted;
    for (const eval::Doubt& doubt : eval::machine_doubts(context_)) doubts_.push_back({"", doubt});
  }

  Result<int> run() {
    TENON_ASSIGN_OR_RETURN(const std::vector<Case> cases, plan(o_));
    json baseline;
    if (!o_.baseline.empty()) {
      TENON_ASSIGN_OR_RETURN(baseline, eval::read_bench_document(o_.baseline));
    }
    if (!o_.json.empty() && o_.json == o_.report) return Status(Code::kInvalidArgument, "both would be written to one file", "--json, --report", "name two files");
    for (const std::string& path : {o_.json, o_.report}) TENON_RETURN_IF_ERROR(check_writable(path));
    catch_interrupts();
    size_t done = 0;
    for (; done < cases.size() && !interrupted; ++done) measure(cases[done], fmt::format("[{}/{}] ", done + 1, cases.size()));
    if (interrupted) doubts_.push_back({"", {"interrupted", 0, fmt::format("interrupted: {} of {} cases were begun, the last one has fewer rounds", done, cases.size())}});
    else if (o_.models.size() > 1) TENON_RETURN_IF_ERROR(check_absent(o_, absent_));
    json document = {{"kind", "bench"}, {"context", context_}, {"warnings", warnings()}, {"results", results_}};
    int status = misplaced_ ? kDoesNotHold : failed_ || interrupted ? kFailure : kSuccess;
    if (!baseline.is_null()) {
      Result<eval::BaselineComparison> comparison = eval::compare_with_baseline(baseline, document, o_.tolerance / 100);
      if (!comparison.ok()) return std::move(comparison).status().at(o_.baseline);
      document["baseline"] = eval::to_json(*comparison);
      document["baseline"].update({{"file", o_.baseline}, {"tolerance", o_.tolerance / 100}});
    }
    print(document);
    if (!o_.json.empty()) TENON_RETURN_IF_ERROR(write_json(document, o_.json));
    if (!o_.report.empty()) TENON_RETURN_IF_ERROR(write_report(document));
    if (baseline.is_null()) return status;
    const json& changes = document["baseline"]["changes"];
    if (changes.empty())
      return Status(Code::kInvalidArgument, "the baseline has none of these models, backends, threads and dims", o_.baseline, "measure the same as the baseline does");
    const bool slower = std::any_of(changes.begin(), changes.end(), [](const json& c) { return c["verdict"] == "slower"; });
    return slower && status == kSuccess ? kDoesNotHold : status;
  }

 private:
  void measure(const Case& one, const std::string& turn) {
    const Result<std::filesystem::path> file = eval::find_model(one.model);
    std::vector<eval::Subject> subjects;
    for (const backends::Backend* backend : backends_) {
      eval::Subject& s = subjects.emplace_back();
      s.model = file.ok() ? *file : std::filesystem::path(one.model);
      s.import = import_;
      s.import.dims = one.dims;
      s.backend = backend;
      s.threads = one.threads;
      s.batch = one.batch;
      s.skip_absent = o_.models.size() > 1;
    }
    eval::GroupMeasurement measured;
    measured.subjects.resize(subjects.size());
    Progress progress;
    if (file.ok())
      measured = eval::measure(subjects, options_, [&](const std::string& what) { progress.show(fmt::format("{}{} threads={} {}", turn, one.model, one.threads, what)); });
    progress.clear();
    for (eval::Measurement& m : measured.subjects) {
      if (!file.ok()) m.status = file.status();
      // An interruption may come before the first round.
      else if (m.status.ok() && eval::all_samples(m.samples).empty()) m.status = Status(Code::kCancelled, "interrupted before the first round");
    }
    for (const eval::Doubt& doubt : eval::doubts(subjects, measured, available_cores())) doubts_.push_back({name_of(one, measured.subjects[0].absent), doubt});
    for (size_t i = 0; i < subjects.size(); ++i) {
      const eval::Measurement& m = measured.subjects[i];
      results_.push_back(eval::bench_row(subjects[i], m, subjects[0], measured.subjects[0], options_));
      if (o_.profile && m.status.ok() && !subjects[i].backend->external()) add_profile(subjects[i], m, turn);
      absent_.push_back(m.status.ok() ? m.absent : std::vector<std::string>());
      if (m.status.ok()) continue;
      failed_ = true;
      misplaced_ |= m.status.what().find(backends::vulkan::kOnHost) != std::string::npos;
    }
    report_failures(subjects, measured.subjects);
  }

  /// Where the time of the last row goes. In a process of its own, as the threads of a profile must not be there when others are started.
  void add_profile(const eval::Subject& subject, const eval::Measurement& m, const std::string& turn) {
    ProfileRequest request;
    request.model.path = subject.model.string();
    if (subject.model.extension() != ".tir")  // whose types stand in its text
      for (const auto& [name, shape] : m.shapes) request.model.shapes.push_back(fmt::format("{}={}", name, fmt::join(shape, "x")));
    request.model.custom_ops = o_.custom_ops;
    request.model.states = o_.states;
    request.model.limits = o_.limits;
    request.backend = subject.backend->name();
    request.target = o_.target;
    request.precision = o_.precision;
    request.threads = subject.threads;
    request.opt_level = o_.opt_level;
    request.seed = o_.seed;
    request.test_data = o_.test_data;
    request.quiet = true;
    Progress progress;
    progress.show(fmt::format("{}{} profile", turn, subject.model.string()));
    Result<eval::Child> child = eval::Child::start({}, [&](eval::Lines& lines) {
      const Result<eval::Profile> profile = profile_model(request);
      const bool without_plan = !profile.ok() && profile.status().code() == Code::kUnsupported;
      const json answer = profile.ok() ? eval::to_json(*profile) : without_plan ? json() : json(profile.status().to_string());
      lines.write(answer.dump(-1, ' ', false, json::error_handler_t::replace));
    });
    Result<std::string> line = child.ok() ? child->receive(o_.limits.timeout_s + 1) : child.status();
    progress.clear();
    const json profile = line.ok() ? json::parse(*line, nullptr, false) : json(line.status().to_string());
    if (profile.is_object()) results_.back()["profile"] = profile;
    if (profile.is_string())
      doubts_.push_back({subject.model.string() + ": ", {"profile", 0, fmt::format("there is no profile on {}: {}", subject.backend->name(), profile.get<std::string>())}});
  }

  Status write_report(const json& document) const {
    json report = {{"title", "Benchmark"}, {"context", context_}};
    TENON_RETURN_IF_ERROR(eval::add_to_report(report, document, "bench"));
    TENON_ASSIGN_OR_RETURN(const std::string html, eval::render_report(report));
    TENON_RETURN_IF_ERROR(write_file(o_.report, html));
    if (o_.json != "-" && o_.format == "table") fmt::print("\nreport: {}\n", o_.report);
    return {};
  }

  static std::string name_of(const Case& one, const std::vector<std::string>& absent) {
    std::string name = one.model;
    for (const auto& [dim, size] : one.dims)
      if (std::find(absent.begin(), absent.end(), dim) == absent.end()) name += fmt::format(" {}={}", dim, size);
    if (one.batch) name += fmt::format(" batch={}", *one.batch);
    return name + fmt::format(", {} thread{}: ", one.threads, one.threads == 1 ? "" : "s");
  }

  std::vector<std::string> warnings() const {
    std::vector<std::string> out;
    for (const auto& [where, doubt] : doubts_) out.push_back(where + doubt.text);
    return out;
  }

  /// The worst of each cause, and in how many other places there is one.
  void print_warnings() const {
    std::vector<std::string_view> causes;
    for (const auto& [where, doubt] : doubts_)
      if (std::find(causes.begin(), causes.end(), doubt.cause) == causes.end()) causes.push_back(doubt.cause);
    for (std::string_view cause : causes) {
      const std::pair<std::string, eval::Doubt>* worst = nullptr;
      int count = 0;
      for (const auto& one : doubts_) {
        if (one.second.cause != cause) continue;
        ++count;
        if (worst == nullptr || one.second.severity > worst->second.severity) worst = &one;
      }
      fmt::print("warning: {}{}{}\n", worst->first, worst->second.text, count == 1 ? "" : fmt::format(" ({} more like this, --json has all)", count - 1));
    }
  }

  void print(const json& document) const {
    if (o_.json == "-") return;
    if (o_.format == "csv") return print_bench_csv(document);
    if (o_.format == "markdown") return print_bench_markdown(document);
    print_bench_table(document);
    print_warnings();
    print_bench_profiles(document);
    if (document.contains("baseline")) print_bench_changes(document["baseline"]);
  }

  const Options& o_;
  const std::vector<const backends::Backend*> backends_;
  eval::MeasureOptions options_;
  const frontend::ImportOptions import_;
  json context_, results_ = json::array();
  std::vector<std::pair<std::string, eval::Doubt>> doubts_;  // with the case that they are of
  std::vector<std::vector<std::string>> absent_;
  bool failed_ = false, misplaced_ = false;
};

Result<int> bench(const Options& o) {
  TENON_ASSIGN_OR_RETURN(std::vector<const backends::Backend*> chosen, backends_of(o.backend));
  TENON_ASSIGN_OR_RETURN(eval::MeasureOptions options, measure_options(o));
  TENON_ASSIGN_OR_RETURN(frontend::ImportOptions import, import_options({.path = {}, .shapes = o.shapes, .custom_ops = o.custom_ops}));
  return Bench(o, std::move(chosen), std::move(options), std::move(import)).run();
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench", "Measure latency, load and compile time and memory, backends in turn");
  sub->add_option("MODEL", o->models, "Models: .onnx, .tir, or folders with model.onnx")->required()->type_name("")->default_str("");
  sub->add_option("--backend", o->backend, "Backends, separated by commas; ratios are to the first")->type_name("NAME,...");
  sub->add_option("--threads", o->threads, "Numbers of threads; 0: all cores")->type_name("N,...");
  sub->add_option("--batch", o->batch, "Sizes of the symbolic dims that lead the inputs")->type_name("N,...");
  add_list(*sub, "--dim", o->dims, "NAME=N,...", "Give a symbolic dim a size, or several in turn. Repeatable");
  add_list(*sub, "--shape", o->shapes, "INPUT=DxD...", "Give an input a shape, as 1x3x224x224; -1 keeps a dim. Repeatable");
  add_custom_ops(*sub, o->custom_ops);
  add_states(*sub, o->states);
  sub->add_option("--rounds", o->rounds, "Rounds, shared by the launches")->check(CLI::Range(1, 100000).description(""))->type_name("N");
  sub->add_option("--round-ms", o->round_ms, "Length of a round in milliseconds; at least one run")->type_name("MS");
  sub->add_option("--duration", o->duration, "Seconds for all rounds of a model, instead of --rounds")->type_name("SECONDS");
  sub->add_option("--launches", o->launches, "Processes a backend, one after the other")->check(CLI::Range(1, 1000).description(""))->type_name("N");
  sub->add_option("--warmup", o->warmup, "Runs before the first round, at least")->check(CLI::Range(0, 100000).description(""))->type_name("N");
  sub->add_option("--warmup-ms", o->warmup_ms, "How long to wait, at most, until runs do not get faster any more")->type_name("MS");
  sub->add_option("--streams", o->streams, "Also the throughput of that many sessions at the same time")->check(CLI::Range(0, 256).description(""))->type_name("N");
  add_seed(*sub, o->seed);
  sub->add_flag("--test-data", o->test_data, "Use the inputs of test_data_set_0 beside the model");
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  add_limit_options(*sub, o->limits, "preparing a model, and then each round,");
  one_of(sub->add_option("--format", o->format, "What to print"), "FORM", {"table", "markdown", "csv"});
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->add_flag("--profile", o->profile, "Also show where the time goes: kernels, ops, nodes (tenon profile has more)");
  sub->add_option("--report", o->report, "Write results as one HTML file")->type_name("FILE");
  sub->add_option("--baseline", o->baseline, "Compare with what --json wrote before; status 1 when something became slower")->type_name("PATH");
  sub->add_option("--tolerance", o->tolerance, "Percent that a median may grow without being called slower")->check(non_negative())->type_name("PERCENT");
  sub->footer(kNotes);
  sub->callback([o, &status] {
    const Result<int> result = bench(*o);
    status = result.ok() ? *result : report(result.status());
  });
}

}  // namespace tenon::tools
