#include "tools/tune.h"

#include <fmt/format.h>

#include "codegen/target_identity.h"
#include "eval/model.h"
#include "eval/tune.h"
#include "eval/tuning_file.h"

namespace tenon::tools {
namespace {

std::string text_of(const codegen::Choice& c) {
  if (c.winograd != 0) return c.winograd < 0 ? "as defined" : fmt::format("winograd {0}x{0}", c.winograd);
  return fmt::format("{} rows x {} vectors", c.rows, c.vectors) + (c.m_block > 0 ? fmt::format(", blocks of {} rows", c.m_block) : "");
}

void print(const eval::Tuned& tuned) {
  Table table({"what", "before", "after", "ms before", "ms after", "ratio"});
  for (const eval::TunedChoice& c : tuned.choices)
    table.add({c.signature, text_of(c.before), text_of(c.after), fmt::format("{:.3f}", c.before_ms), fmt::format("{:.3f}", c.after_ms),
               fmt::format("{:.2f}", c.before_ms / c.after_ms)});
  if (!tuned.choices.empty()) table.print();
  fmt::print("{} trials, {}\n", tuned.trials, tuned.complete ? "everything tried" : "time is up: more may be found with more seconds");
}

}  // namespace

void add_tune_options(CLI::App& app, TuneRequest& request) {
  app.add_option("--tune", request.seconds, "Write no code: search for better tiles by measuring runs for so many seconds, and keep what is found beside the model")
      ->type_name("SECONDS")
      ->default_str("")
      ->check(number_within(1, 86400));
  app.add_option("--threads", request.threads, "With --tune: threads to tune for")->type_name("N")->check(CLI::Range(1, kMaxThreads).description(""));
  add_input_options(app, request.inputs);
}

Status tune_model(ModelOptions& model, const std::string& target, int level, DType precision, const TuneRequest& request) {
  TENON_ASSIGN_OR_RETURN(const auto backend, backends_of("cpu"));
  TENON_ASSIGN_OR_RETURN(const auto graph, load(model));
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, inputs_of(request.inputs, *graph, model));
  TENON_ASSIGN_OR_RETURN(const codegen::Target cpu, codegen::cpu_target(target.empty() ? "host" : target));
  backends::CompileOptions compile;
  compile.target = target;
  compile.opt_level = level;
  compile.precision = precision;
  compile.cache = user_cache();
  compile.interrupt = model.interrupt;
  compile.reload = [&model] { return eval::load_model(model.path, model.import); };
  Progress progress;
  eval::TuneOptions options;
  options.seconds = request.seconds;
  options.session.num_threads = request.threads;
  options.session.max_bytes = model.max_bytes;
  options.progress = [&](std::string_view doing) { progress.show(std::string(doing)); };
  TENON_ASSIGN_OR_RETURN(const eval::Tuned tuned, eval::tune(*backend[0], compile, inputs, options));
  progress.clear();
  print(tuned);
  const std::filesystem::path path = eval::tuning_path(model.path);
  if (tuned.tuning.empty()) {
    std::error_code ec;
    const bool older = std::filesystem::exists(path, ec);
    fmt::print("nothing better was found: {}\n", older ? path.string() + " of an earlier search stays as it is" : "no file is written");
    return {};
  }
  fmt::print("whole model: {:.3f} ms, {:.3f} before: {:.2f} times as fast, with {} thread{}; kept in {}, which is used from now on\n", tuned.after_ms,
             tuned.before_ms, tuned.before_ms / tuned.after_ms, request.threads, request.threads == 1 ? "" : "s", path.string());
  return write_file(path, eval::tuning_text(tuned.tuning, codegen::identity(cpu), request.threads));
}

}  // namespace tenon::tools
