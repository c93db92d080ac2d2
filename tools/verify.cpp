#include "eval/verify.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "frontend/onnx/export.h"
#include "tools/tolerance.h"

namespace tenon::tools {
namespace {

constexpr const char* kRule =
    "An element a agrees with the expected e when |a - e| <= atol + scaled-atol * S + rtol * |e|, where S is the largest\n"
    "finite |e| of that output. Float types below 32 bits use at least twice (rtol) and once (scaled-atol) their epsilon; so do outputs\n"
    "behind N products whose factors --precision rounds, sqrt(N) times that.\n"
    "Integers must agree within atol, booleans and strings exactly. NaN agrees with NaN, an infinity with the same one.\n"
    "When all outputs begin with the shape of a float output that never increases along its last axis (a ranking), rows\n"
    "that agree in every output may stand in another order: only where scores tie within the tolerance can they.\n"
    "A case that still differs passes as ill-conditioned, and is listed, when each output is no further off (in its norm) than\n"
    "twice what the model's own output moves in --round-off runs whose every operation rounds by chance 1 ulp up or down, in\n"
    "their order and in any order. --rtol, --atol and --scaled-atol turn that off unless --round-off is given as well.\n\n"
    "Examples:\n"
    "  tenon verify models/digits --backend reference,cpu\n"
    "  tenon verify /usr/share/libonnx-testdata/data/node --filter 'test_conv*' --atol 1e-7\n"
    "  tenon verify models --round-trip 1 --opset 17\n"
    "  tenon verify detector --match-rows 'scores>=0.3'\n"
    "  tenon verify models --json report.json --jobs 2";

struct Options {
  DType precision = DType::kF32;
  std::vector<std::string> folders, custom_ops, states;
  std::string backend = "cpu", json, filter, rows;
  TargetOptions target;
  ToleranceOptions tolerance;
  LimitOptions limits{.timeout_s = 600, .memory = {}};
  int jobs = 1, threads = 0, opt_level = 3;
  bool no_isolate = false, verbose = false;
  eval::RoundTrip round_trip{.level = -1};
};

nlohmann::json to_json(const std::vector<eval::CaseResult>& results) {
  nlohmann::json cases = nlohmann::json::array();
  std::map<eval::CaseStatus, int> counts;
  for (const eval::CaseResult& r : results) {
    ++counts[r.status];
    cases.push_back({{"name", r.name}, {"backend", r.backend}, {"status", eval::status_name(r.status)}, {"message", r.message},
                     {"max_abs", r.max_abs}, {"max_rel", r.max_rel}, {"compile_ms", r.compile_ms}, {"run_ms", r.run_ms},
                     {"data_sets", r.data_sets}, {"rounding", r.rounding}, {"nodes", r.nodes}, {"host_nodes", r.host_nodes}});
  }
  return {{"passed", counts[eval::CaseStatus::kPassed]}, {"failed", counts[eval::CaseStatus::kFailed]},
          {"skipped", counts[eval::CaseStatus::kSkipped]}, {"cases", cases}};
}

Result<std::vector<eval::Case>> collect(const Options& o) {
  std::vector<eval::Case> cases;
  for (const std::string& folder : o.folders) {
    if (folder.empty()) return Status(Code::kInvalidArgument, "the path of a folder is empty", "DIR", "name a folder");
    const std::filesystem::path path(folder);
    std::error_code ec;
    const bool is_model = path.filename() == "model.onnx" && std::filesystem::is_regular_file(path, ec);
    if (!is_model && std::filesystem::is_regular_file(path, ec))
      return Status(Code::kInvalidArgument, "this is a file", folder, "give a folder that holds model.onnx and test_data_set_0");
    TENON_ASSIGN_OR_RETURN(auto found, eval::find_cases(!is_model ? path : path.has_parent_path() ? path.parent_path() : "."));
    for (eval::Case& one : found)
      if (o.filter.empty() || eval::glob_match(o.filter, one.name) || eval::glob_match(o.filter, one.folder.filename().string()))
        cases.push_back(std::move(one));
  }
  if (cases.empty())
    return Status(Code::kNotFound, "no folder with model.onnx and test_data_set_0", fmt::format("{}", fmt::join(o.folders, ", ")),
                  o.filter.empty() ? "give the folder that holds them" : "check --filter");
  return cases;
}

/// What a result was allowed beyond the tolerances of exact factors.
std::string allowed(const eval::CaseResult& r) { return r.rounding.empty() ? std::string() : fmt::format("; allowed for {}", r.rounding); }

/// One line a case, whatever its message holds.
void print_failure(const eval::CaseResult& r) {
  constexpr size_t kMax = 400;
  std::string text;
  for (char c : r.message)
    if (c != '\n') text += c;
    else if (text.size() > 1 && text.back() != ':') text += ';';
  if (text.size() > kMax) text = text.substr(0, kMax) + " …";
  fmt::print("FAIL  {}  {}{}\n", r.name, text, allowed(r));
}

int verify(const Options& o) {
  Result<std::vector<const backends::Backend*>> chosen = backends_of(o.backend);
  if (!chosen.ok()) return report(chosen.status());
  Result<std::vector<eval::Case>> cases = collect(o);
  if (!cases.ok()) return report(cases.status());

  eval::VerifyOptions options;
  auto states = eval::parse_states(o.states);
  if (!states.ok()) return report(states.status());
  options.states = std::move(*states);
  auto ops = load_libraries(o.custom_ops);
  if (!ops.ok()) return report(ops.status());
  options.import.ops = std::move(*ops);
  options.tolerance = o.tolerance.tolerance();
  options.widen = !o.tolerance.given();
  if (!o.rows.empty()) {
    Result<eval::RowRule> rule = eval::parse_row_rule(o.rows);
    if (!rule.ok()) return report(std::move(rule).status().at("--match-rows"));
    options.rows = *rule;
  }
  options.round_off_samples = o.tolerance.round_off_samples();
  options.compile.opt_level = o.opt_level;
  o.target.apply(options.compile);
  options.compile.precision = o.precision;
  options.compile.cache = user_cache();
  options.session.num_threads = o.threads;
  if (o.round_trip.level >= 0) options.round_trip = o.round_trip;
  options.jobs = o.jobs;
  options.isolate = !o.no_isolate;
  options.timeout_s = o.limits.timeout_s;
  const Result<size_t> memory = apply_memory_limit(o.limits);
  if (!memory.ok()) return report(memory.status());
  options.session.max_bytes = *memory;

  for (const backends::Backend* backend : *chosen)
    if (const Status possible = backend->check_options(options.compile); !possible.ok()) return report(possible);

  const bool quiet = o.json == "-";
  std::vector<eval::CaseResult> all;
  bool failed_any = false;
  for (const backends::Backend* backend : *chosen) {
    Progress progress;
    int passed = 0, failed = 0, skipped = 0;
    const auto start = std::chrono::steady_clock::now();
    auto results = eval::verify_cases(*cases, *backend, options, [&](const eval::CaseResult& r) {
      progress.clear();
      (r.status == eval::CaseStatus::kPassed ? passed : r.status == eval::CaseStatus::kFailed ? failed : skipped) += 1;
      if (!quiet && r.status == eval::CaseStatus::kFailed) print_failure(r);
      if (!quiet && !o.verbose && r.status == eval::CaseStatus::kPassed && !r.message.empty()) fmt::print("ok    {}  {}\n", r.name, r.message);
      if (!quiet && o.verbose && r.status == eval::CaseStatus::kPassed)
        fmt::print("ok    {}  max_abs {:.3g}, max_rel {:.3g}, compile {:.0f} ms, {} runs {:.1f} ms{}{}{}\n", r.name, r.max_abs, r.max_rel,
                   r.compile_ms, r.data_sets, r.run_ms, r.message.empty() ? "" : "; ", r.message, allowed(r));
      if (!quiet) std::fflush(stdout);
      progress.show(fmt::format("[{}/{}] {}", passed + failed + skipped, cases->size(), r.name));
    });
    progress.clear();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const auto exact = [](const eval::CaseResult& r) { return r.rounding.empty(); };
    if (!quiet)
      fmt::print("{}: {} passed, {} failed, {} skipped of {} ({:.1f} s){}\n", backend->name(), passed, failed, skipped, cases->size(), seconds,
                 std::ranges::all_of(results, exact) ? "" : fmt::format("; tolerances are those for {} factors", name(o.precision)));
    failed_any = failed_any || failed > 0;
    all.insert(all.end(), std::make_move_iterator(results.begin()), std::make_move_iterator(results.end()));
  }
  // A model that fails before it is looked at may have it.
  const auto may_have_key = [](const eval::CaseResult& r) { return r.has_key || (r.status == eval::CaseStatus::kFailed && r.data_sets == 0); };
  if (options.rows && std::none_of(all.begin(), all.end(), may_have_key))
    return report(Status(Code::kInvalidArgument, fmt::format("no model has an output '{}'", options.rows->key), "--match-rows",
                         "tenon inspect MODEL shows what there is"));
  if (!o.json.empty())
    if (Status status = write_json(to_json(all), o.json); !status.ok()) return report(status);
  return failed_any ? kDoesNotHold : kSuccess;
}

}  // namespace

void add_verify(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("verify", "Run folders of model.onnx + test_data_set_* and compare with their outputs");
  sub->add_option("DIR", o->folders, "Folders, searched recursively, or models in such folders")->required()->type_name("")->default_str("");
  sub->add_option("--backend", o->backend, "Backends, separated by commas")->type_name("NAME,...");
  add_tolerance(*sub, o->tolerance, "the largest expected magnitude", "a case that differs");
  sub->add_option("--filter", o->filter, "Only cases whose name, or folder's name, matches this glob")->type_name("GLOB");
  sub->add_option("--match-rows", o->rows,
                  "Compare OUTPUT and all outputs whose shapes start with its shape as rows in any order; only rows with OUTPUT>=T")
      ->type_name("OUTPUT[>=T]");
  sub->add_option("--jobs", o->jobs, "Cases at a time")->check(CLI::Range(1, 1024).description(""))->type_name("N");
  sub->add_option("--threads", o->threads, "Threads of a session; 0: all cores")->type_name("N")->check(thread_count());
  add_limit_options(*sub, o->limits, "a case");
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  CLI::Option* trip = sub->add_option("--round-trip", o->round_trip.level, "First write the model as ONNX after these passes and read it back")
                          ->check(CLI::Range(0, 3).description(""))
                          ->type_name("0..3")
                          ->default_str("");
  sub->add_option("--opset", o->round_trip.opset, "Opset that --round-trip writes")
      ->check(CLI::Range(frontend::kOldestExportOpset, frontend::kNewestExportOpset).description(""))
      ->type_name("13..28")
      ->default_str("")
      ->needs(trip);
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  add_custom_ops(*sub, o->custom_ops);
  add_states(*sub, o->states);
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->add_flag("--no-isolate", o->no_isolate, "Run cases in this process, not in child processes");
  sub->add_flag("-v,--verbose", o->verbose, "Also list cases that pass");
  sub->footer(kRule);
  sub->callback([o, &status] { status = verify(*o); });
}

}  // namespace tenon::tools
