#include <signal.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <fstream>
#include <thread>

#include "eval/bench/machine.h"
#include "eval/report/report.h"
#include "eval/tasks/result.h"
#include "support/hash.h"
#include "tools/common.h"
#include "tools/eval_print.h"

namespace tenon::tools {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kHelp =
    "All backends run on the same inputs, batch by batch. Metrics have 95 % intervals from a bootstrap over examples. Times are of runs\n"
    "alone, without reading and preprocessing; a ratio is the first backend's time over this one's. The largest difference is that\n"
    "of outputs from the first backend's. Examples that cannot be evaluated (a broken file, no label, a class that the model does not\n"
    "have) are listed and left out.\n\n"
    "What a recipe says (docs/evaluating.md), options override. --print-recipe shows all that is in effect.\n\n"
    "Examples:\n"
    "  tenon eval models/digits/model.onnx \\\n"
    "    --dataset models/digits/data/test-images.idx3-ubyte,models/digits/data/test-labels.idx1-ubyte --show 6\n"
    "  tenon eval models/digits --recipe models/digits/recipe.json --backend reference,cpu --json -\n"
    "  tenon eval MODEL --recipe R.yaml --state out/1 --shard 1/2     and, elsewhere, out/2 with --shard 2/2; then\n"
    "  tenon eval --merge out/1 out/2";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  std::string recipe, task, dataset, format, output, backend = "all", levels = "3", shard, state, json, report;
  TargetOptions target;
  std::vector<std::string> metrics, inputs, options, merge;
  std::string label, scale, offset;
  int64_t batch = 0, limit = -1, singles = 100, show = 0;
  int threads = 0, resamples = 1000;
  bool strict = false, print_recipe = false;
};

// Set by the first SIGINT or SIGTERM; the second one ends the process.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted.store(true); };
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

/// After the last batch there is nothing to keep: a signal ends the process.
void release_interrupts() {
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
}

Result<std::string> hash_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return Status(Code::kIo, "cannot read the file", file.string());
  Hasher hasher;
  std::vector<char> buffer(size_t{1} << 20);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0)
    hasher.bytes(std::as_bytes(std::span(buffer).first(static_cast<size_t>(in.gcount()))));
  return hasher.digest128().hex();
}

/// "NAME=VALUE"; without "=", the name is empty.
std::pair<std::string, std::string> assignment(const std::string& text) {
  const size_t eq = text.find('=');
  return eq == std::string::npos ? std::pair(std::string(), text) : std::pair(text.substr(0, eq), text.substr(eq + 1));
}

Result<double> real(const std::string& text, const char* option) {
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return Status(Code::kInvalidArgument, fmt::format("'{}' is not a number", text), option);
  return value;
}

Status apply_task(const Options& o, eval::Recipe& recipe) {
  if (!o.task.empty() && o.task != recipe.task) {
    recipe.task = o.task;
    recipe.metrics.clear();
    recipe.options = nullptr;
  }
  if (recipe.task.empty()) recipe.task = "image-classification";
  TENON_ASSIGN_OR_RETURN(const eval::TaskInfo* task, eval::find_task(recipe.task));
  for (const std::string& text : o.options) {
    const auto [name, value] = assignment(text);
    if (name.empty()) return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form NAME=VALUE", text), "--option");
    // Texts need no quotes.
    json parsed = json::parse(value, nullptr, false);
    if (parsed.is_discarded()) parsed = value;
    if (recipe.options.is_null()) recipe.options = json::object();
    recipe.options[name] = std::move(parsed);
  }
  TENON_ASSIGN_OR_RETURN(recipe.options, eval::task_options(*task, recipe.options, "--option"));
  if (!o.output.empty()) {
    const auto [role, name] = assignment(o.output);
    if (role.empty() && task->roles.empty()) return Status(Code::kInvalidArgument, fmt::format("task {} takes all outputs", task->name), "--output");
    recipe.outputs[role.empty() ? std::string(task->roles[0].name) : role] = name;
  }
  return {};
}

/// The recipe with what options say over it.
Result<eval::Recipe> read_recipe(const Options& o) {
  eval::Recipe recipe;
  if (!o.recipe.empty()) {
    TENON_ASSIGN_OR_RETURN(recipe, eval::read_recipe(o.recipe));
  }
  TENON_RETURN_IF_ERROR(apply_task(o, recipe));
  if (!o.dataset.empty()) {
    recipe.dataset = o.dataset;
    recipe.dataset_options = {};
  }
  if (!o.format.empty()) recipe.dataset_options.format = o.format;
  if (o.batch > 0) recipe.batch = o.batch;
  if (o.limit >= 0) recipe.limit = o.limit;
  if (!o.label.empty()) recipe.labels.field = o.label;
  for (const std::string& text : o.inputs) {
    const auto [name, value] = assignment(text);
    if (name.empty()) return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form INPUT=FIELD", text), "--input");
    eval::InputChoice& choice = recipe.inputs[name];
    double number = 0;
    const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), number);
    choice = ec == std::errc() && end == value.data() + value.size() ? eval::InputChoice{{}, number} : eval::InputChoice{value, {}};
  }
  if (!o.metrics.empty()) recipe.metrics.clear();
  for (const std::string& text : o.metrics) {
    TENON_ASSIGN_OR_RETURN(eval::MetricChoice metric, eval::parse_metric(text));
    recipe.metrics.push_back(std::move(metric));
  }
  return recipe;
}

/// --scale and --offset replace the step that brings pixels to [0, 1].
Status apply_scale(const Options& o, eval::Recipe& recipe) {
  if (o.scale.empty() && o.offset.empty()) return {};
  double factor = 1.0 / 255, offset = 0;
  if (!o.scale.empty()) {
    TENON_ASSIGN_OR_RETURN(factor, real(o.scale, "--scale"));
  }
  if (!o.offset.empty()) {
    TENON_ASSIGN_OR_RETURN(offset, real(o.offset, "--offset"));
  }
  for (json& step : recipe.preprocess)
    if (step.is_object() && step.value("step", json()) == "scale") {
      step.update({{"divisor", 1}, {"factor", factor}, {"offset", offset}});
      return {};
    }
  return Status(Code::kInvalidArgument, "preprocessing has no step 'scale' whose numbers these could be", "--scale", "add it to the recipe");
}

Status parse_shard(const Options& o, eval::EvaluateOptions& options) {
  if (o.shard.empty()) return {};
  const size_t slash = o.shard.find('/');
  const auto part = [&](std::string_view text, int64_t& value) {
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    return ec == std::errc() && end == text.data() + text.size();
  };
  int64_t number = 0, of = 0;
  constexpr int64_t kMost = 1 << 20;
  const bool ok = slash != std::string::npos && part(std::string_view(o.shard).substr(0, slash), number) &&
                  part(std::string_view(o.shard).substr(slash + 1), of) && number >= 1 && number <= of && of <= kMost;
  if (!ok) return Status(Code::kInvalidArgument, fmt::format("'{}' is not I/N with I from 1 to N", o.shard), "--shard");
  if (o.state.empty() && of > 1) return Status(Code::kInvalidArgument, "a shard is of use only where it is kept", "--shard", "add --state DIR; --merge joins the folders");
  options.shard = number - 1;
  options.shards = of;
  return {};
}

/// Backends by name at every level; "all" also has those that cannot run here, whose result then says why.
Result<std::vector<eval::Candidate>> candidates(const Options& o) {
  std::vector<const backends::Backend*> backends;
  if (o.backend == "all") {
    const auto all = backends::all_backends();
    backends.assign(all.begin(), all.end());
  } else {
    TENON_ASSIGN_OR_RETURN(backends, backends_of(o.backend));
  }
  TENON_ASSIGN_OR_RETURN(const std::vector<int> levels, parse_ints(o.levels, "-O", 0, 3));
  std::vector<eval::Candidate> out;
  for (const backends::Backend* backend : backends)
    for (int level : levels) {
      eval::Candidate c{levels.size() > 1 ? fmt::format("{} -O{}", backend->name(), level) : std::string(backend->name()), backend, {}, {}};
      c.compile.opt_level = level;
      o.target.apply(c.compile);
      c.compile.precision = o.precision;
      c.compile.cache = user_cache();
      c.compile.interrupt = o.model.interrupt;
      if (std::any_of(out.begin(), out.end(), [&](const eval::Candidate& other) { return other.name == c.name; }))
        return Status(Code::kInvalidArgument, fmt::format("{} is given twice", c.name), "--backend");
      c.request = {o.model.path, o.model.import, backend, c.compile, user_executables(c.compile.cache)};
      out.push_back(std::move(c));
    }
  return out;
}

/// "12 s", "3 min 5 s", "2 h 10 min".
std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
}

json context_of(const Options& o) {
  json out = eval::machine_context();
  out.update({{"version", TENON_VERSION}, {"model", o.model.path}, {"resamples", o.resamples}});
  return out;
}

/// Tables, pictures, JSON; the exit status.
Result<int> show(const Options& o, const eval::Evaluation& evaluation, const eval::Dataset* dataset, json context, Progress& progress) {
  TENON_ASSIGN_OR_RETURN(const std::vector<eval::ScoredCandidate> scores,
                         eval::score_all(evaluation, o.resamples, [&](const std::string& what) { progress.show("scoring: " + what); }, o.model.interrupt));
  progress.clear();
  if (o.json != "-") {
    print_evaluation(evaluation, scores, o.resamples);
    if (o.show > 0 && dataset != nullptr) print_pictures(evaluation, *dataset, o.show);
  }
  if (!o.json.empty() || !o.report.empty()) {
    const json document = eval::to_json(evaluation, scores, std::move(context));
    if (!o.json.empty()) TENON_RETURN_IF_ERROR(write_json(document, o.json));
    if (!o.report.empty()) {
      json whole = json::object();
      TENON_RETURN_IF_ERROR(eval::add_to_report(whole, document, o.report));
      TENON_ASSIGN_OR_RETURN(const std::string html, eval::render_report(whole));
      TENON_RETURN_IF_ERROR(write_file(o.report, html));
      if (o.json != "-") fmt::print("\nreport: {}\n", o.report);
    }
  }
  const bool failed = std::any_of(evaluation.results.begin(), evaluation.results.end(), [](const auto& r) { return !r.status.ok() && r.available; });
  if (!evaluation.problems.empty()) {
    std::fflush(stdout);
    fmt::print(stderr, "warning: {} of {} examples are left out\n", evaluation.problems.size(), evaluation.done);
  }
  return failed || (o.strict && !evaluation.problems.empty()) ? kDoesNotHold : kSuccess;
}

Result<int> merge(const Options& o) {
  std::vector<fs::path> folders(o.merge.begin(), o.merge.end());
  TENON_ASSIGN_OR_RETURN(const eval::Evaluation evaluation, eval::merge_evaluations(folders));
  Progress progress;
  return show(o, evaluation, nullptr, {{"version", TENON_VERSION}, {"model", evaluation.model}, {"resamples", o.resamples}}, progress);
}

Status interruption(const Options& o, const eval::Evaluation& evaluation) {
  const std::string hint = o.state.empty() ? "nothing is kept; with --state DIR, the same command goes on where it was"
                                           : "the same command goes on from there";
  return Status(evaluation.stopped.code(), evaluation.stopped.what(), fmt::format("{} of {} batches are done", evaluation.batches_done, evaluation.batches), hint);
}

Result<int> evaluate(Options& o) {
  constexpr int kFewest = 100;
  if (o.resamples > 0 && o.resamples < kFewest)
    return Status(Code::kInvalidArgument, fmt::format("{} resamples are too few for an interval", o.resamples), "--resamples", fmt::format("give {} or more, or 0 for no intervals", kFewest));
  if (!o.merge.empty()) return merge(o);
  if (o.model.path.empty()) return Status(Code::kInvalidArgument, "there is no model", "MODEL", "name one, or folders with --merge");
  TENON_ASSIGN_OR_RETURN(eval::Recipe recipe, read_recipe(o));
  if (recipe.dataset.empty() && !o.print_recipe)
    return Status(Code::kInvalidArgument, "there is no data set", "--dataset", "name one, here or in a recipe");
  std::unique_ptr<eval::Dataset> dataset;
  if (!recipe.dataset.empty()) {
    TENON_ASSIGN_OR_RETURN(dataset, eval::open_dataset(recipe.dataset, recipe.dataset_options));
  }
  TENON_RETURN_IF_ERROR(begin(o.model));
  eval::EvaluateOptions options;
  TENON_ASSIGN_OR_RETURN(options.candidates, candidates(o));
  TENON_ASSIGN_OR_RETURN(const eval::CompiledModel model, eval::CompiledModel::open(*options.candidates[0].request));
  for (eval::Candidate& c : options.candidates) c.request->imported = &model;
  TENON_ASSIGN_OR_RETURN(recipe, eval::complete_recipe(model.graph(), dataset != nullptr ? dataset->classes() : std::vector<std::string>(), std::move(recipe)));
  TENON_RETURN_IF_ERROR(apply_scale(o, recipe));
  if (o.print_recipe) {
    fmt::print("{}", eval::to_text(recipe));
    return kSuccess;
  }
  options.recipe = std::move(recipe);
  TENON_RETURN_IF_ERROR(parse_shard(o, options));
  options.session.num_threads = o.threads;
  options.session.max_bytes = o.model.max_bytes;
  options.state = o.state;
  options.singles = o.singles;
  options.interrupt = o.model.interrupt;
  if (!o.state.empty()) {
    TENON_ASSIGN_OR_RETURN(const std::string hash, hash_of(o.model.path));
    json libraries = json::array();
    for (const std::string& library : o.model.custom_ops) {
      TENON_ASSIGN_OR_RETURN(std::string digest, hash_of(library));
      libraries.push_back(std::move(digest));
    }
    options.identity = {{"version", TENON_VERSION}, {"custom_ops", std::move(libraries)}, {"path", o.model.path}, {"hash", hash}, {"dims", o.model.dims}, {"shapes", o.model.shapes}, {"target", o.target.target}, {"precision", name(o.precision)}};
  }
  catch_interrupts();
  options.stop = &interrupted;
  Progress progress;
  // What is left is judged by what this process has done since its first batch.
  std::chrono::steady_clock::time_point start, shown;
  int64_t first = 0;
  options.say = [&](const std::string& what) { progress.show(what); };
  options.progress = [&](int64_t done, int64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (now - shown < std::chrono::milliseconds(100)) return;
    shown = now;
    if (first == 0) {
      first = done;
      start = now;
    }
    const double seconds = std::chrono::duration<double>(now - start).count();
    const std::string left = done > first ? fmt::format(", about {} left", duration(seconds / static_cast<double>(done - first) * static_cast<double>(total - done))) : "";
    progress.show(fmt::format("{} of {} examples{}", done, total, left));
  };
  TENON_ASSIGN_OR_RETURN(const eval::Evaluation evaluation, eval::evaluate(model.graph(), *dataset, options));
  progress.clear();
  release_interrupts();
  if (!evaluation.stopped.ok()) return interruption(o, evaluation);
  json context = context_of(o);
  return show(o, evaluation, dataset.get(), std::move(context), progress);
}

}  // namespace

void add_eval(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("eval", "Accuracy and latency of a model on a data set, on several backends");
  add_model_options(*sub, o->model);
  sub->get_option("MODEL")->required(false);
  std::vector<std::string> tasks, formats;
  for (const eval::TaskInfo& task : eval::tasks()) tasks.emplace_back(task.name);
  for (const eval::FormatInfo& format : eval::dataset_formats()) formats.emplace_back(format.name);
  sub->add_option("--recipe", o->recipe, "How to evaluate: a .json or .yaml file")->type_name("FILE");
  sub->add_option("--task", o->task, fmt::format("What the model does: {}. By default image-classification", fmt::join(tasks, ", ")))->type_name("NAME");
  sub->add_option("--dataset", o->dataset, "Examples: a file, a folder, or IMAGES,LABELS of IDX")->type_name("PATH");
  sub->add_option("--format", o->format, fmt::format("What --dataset is, where its path does not say it: {}", fmt::join(formats, ", ")))->type_name("NAME");
  add_list(*sub, "--metric", o->metrics, "NAME[:KEY=VALUE]", "Metrics instead of the task's. Repeatable");
  add_list(*sub, "--option", o->options, "NAME=VALUE", "An option of the task. Repeatable");
  add_list(*sub, "--input", o->inputs, "INPUT=FIELD", "The field, or the number, that an input of the model takes. Repeatable");
  sub->add_option("--output", o->output, "The output that is judged, or ROLE=OUTPUT")->type_name("NAME");
  sub->add_option("--label", o->label, "The field that holds the truth")->type_name("FIELD");
  sub->add_option("--scale", o->scale, "An input element is pixel x scale + offset; 1/255 by default")->type_name("X");
  sub->add_option("--offset", o->offset, "See --scale")->type_name("X");
  sub->add_option("--backend", o->backend, "Backends, separated by commas, or all; the first is what others are compared with")->type_name("NAME,...");
  sub->add_option("-O", o->levels, "Optimisation levels, separated by commas; several are compared like backends")->type_name("0..3");
  sub->add_option("--threads", o->threads, "Threads of a session; 0: all cores")->type_name("N")->check(thread_count());
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  sub->add_option("--batch", o->batch, "Examples a run, unless the model fixes it; 32 by default")->check(CLI::Range(1, 1 << 20).description(""))->type_name("N")->default_str("");
  sub->add_option("--limit", o->limit, "Examples used, from the start; 0: all")->check(CLI::NonNegativeNumber.description(""))->type_name("N")->default_str("");
  sub->add_option("--singles", o->singles, "Examples run once more alone, for their time")->check(CLI::NonNegativeNumber.description(""))->type_name("N");
  sub->add_option("--resamples", o->resamples, "Samples of the bootstrap, 100 or more; 0: no intervals")->check(CLI::Range(0, 1'000'000).description(""))->type_name("N");
  sub->add_option("--state", o->state, "Keep what is done in a folder: after an interruption, the same command goes on")->type_name("DIR");
  sub->add_option("--shard", o->shard, "Evaluate the I-th of N parts, counted from 1")->type_name("I/N");
  sub->add_option("--merge", o->merge, "Results of the shards in these folders, without running anything")->type_name("DIR...")->default_str("");
  sub->add_flag("--strict", o->strict, "Exit status 1 when examples are left out");
  sub->add_flag("--print-recipe", o->print_recipe, "Print all that is in effect as a recipe, and stop");
  sub->add_option("--show", o->show, "Images to print as characters, with predictions")->check(CLI::NonNegativeNumber.description(""))->type_name("N");
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->add_option("--report", o->report, "Write results as one HTML file")->type_name("FILE");
  sub->footer(kHelp);
  sub->callback([o, &status] {
    const Result<int> result = evaluate(*o);
    status = result.ok() ? *result : report(result.status());
  });
}

}  // namespace tenon::tools
