#include "eval/tasks/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "eval/compare.h"
#include "eval/tasks/binding.h"
#include "eval/tasks/object_reader.h"
#include "support/cpu_count.h"

namespace tenon::eval {
using Clock = std::chrono::steady_clock;
using nlohmann::json;

namespace {

constexpr int kStateVersion = 1;
constexpr double kSinglesSeconds = 5;  // of all candidates together

/// Longer runs do not hang on what caches held before.
constexpr double kTimedTwiceMs = 100;

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

bool is_interruption(const Status& status) { return status.code() == Code::kCancelled || status.code() == Code::kDeadlineExceeded; }

/// Whether outputs agree in everything but the values of finite numbers, and how far those are apart.
void compare_outputs(const std::vector<HostValue>& expected, const std::vector<HostValue>& actual, BatchFigures& figures) {
  const Tolerance any{.rtol = 0, .atol = INFINITY, .scaled_atol = 0};
  for (size_t i = 0; i < expected.size() && i < actual.size(); ++i) {
    const Difference difference = compare(expected[i], actual[i], any);
    figures.max_abs = std::max(figures.max_abs, difference.max_abs);
    figures.comparable = figures.comparable && difference.ok;
  }
}

/// One candidate at work.
class Runner {
 public:
  Runner(const Candidate& candidate, const EvaluateOptions& options) : candidate_(candidate), options_(options) {
    result.name = candidate.name;
    result.threads = options.session.num_threads > 0 ? options.session.num_threads : default_placement().cores;
  }

  bool ok() const { return result.status.ok(); }

  void compile(const ir::Graph& graph) {
    const auto start = Clock::now();
    std::optional<double> own_clock;
    std::optional<CompiledModel> model;
    result.status = [&]() -> Status {
      if (Status status = candidate_.backend->available(); !status.ok()) {
        result.available = false;
        return status;
      }
      if (candidate_.request) {
        TENON_ASSIGN_OR_RETURN(model, CompiledModel::open(*candidate_.request));
        TENON_RETURN_IF_ERROR(model->compile());
        executable_ = model->executable();
      } else {
        TENON_ASSIGN_OR_RETURN(executable_, candidate_.backend->compile(graph, candidate_.compile));
      }
      TENON_ASSIGN_OR_RETURN(session_, executable_->create_session(options_.session));
      TENON_ASSIGN_OR_RETURN(const auto process, session_->process());
      if (process) {
        external_ = true;
        result.runtime = process->runtime;
        own_clock = process->load_ms;
      }
      return {};
    }();
    if (const double took = own_clock.value_or(ms_since(start)); result.state.compile_ms == 0) result.state.compile_ms = took;
    if (result.status.ok() && model) model->keep();
  }

  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, int64_t examples, BatchFigures& figures) {
    const auto start = Clock::now();
    Result<std::vector<HostValue>> outputs = session_->run(inputs, options_.interrupt);
    double took = ms_since(start);
    if (!outputs.ok()) return outputs;
    // A run that others' caches, or the way to another process, may have slowed is timed once more, by the clock of where it runs.
    if (external_ || took < kTimedTwiceMs) {
      TENON_ASSIGN_OR_RETURN(const std::vector<double> times, session_->time(inputs, {.runs = 1}, options_.interrupt));
      if (!times.empty()) took = times.front();
    }
    figures.runs.push_back({took, examples, !ran_});
    figures.arena_bytes = std::max(figures.arena_bytes, session_->arena_bytes());
    ran_ = true;
    return outputs;
  }

  void close() {
    if (session_ == nullptr) return;
    const auto process = session_->process();
    if (process.ok() && process->has_value()) result.peak_rss_bytes = (*process)->peak_rss_bytes;
  }

  CandidateResult result;

 private:
  const Candidate& candidate_;
  const EvaluateOptions& options_;
  std::shared_ptr<const backends::Executable> executable_;
  std::unique_ptr<backends::Session> session_;
  bool external_ = false, ran_ = false;
};

Result<TaskContext> make_context(const TaskInfo& task, const ir::Graph& graph, const Recipe& recipe) {
  TaskContext out;
  out.options = recipe.options;
  out.labels = recipe.labels;
  TENON_ASSIGN_OR_RETURN(out.roles, assign_roles(task, graph, recipe.outputs));
  for (int i = 0; i < static_cast<int>(graph.outputs().size()); ++i) out.outputs.push_back(graph.output_name(i));
  for (const MetricChoice& metric : recipe.metrics) {
    const MetricInfo* info = find_metric(metric.name);
    out.probabilities = out.probabilities || (info != nullptr && info->needs_probabilities);
  }
  out.folder = recipe.folder;
  return out;
}

/// Fills in what does not need the binding.
Status complete(const std::vector<std::string>& classes, Recipe& recipe) {
  if (recipe.task.empty()) recipe.task = "image-classification";
  TENON_ASSIGN_OR_RETURN(const TaskInfo* task, find_task(recipe.task));
  TENON_ASSIGN_OR_RETURN(recipe.options, task_options(*task, recipe.options, "options"));
  if (recipe.labels.field.empty()) recipe.labels.field = std::string(task->label);
  if (recipe.labels.names.empty()) recipe.labels.names = classes;
  if (recipe.metrics.empty())
    for (const std::string_view name : task->metrics) recipe.metrics.push_back({std::string(name), {}, std::string(name)});
  for (const MetricChoice& metric : recipe.metrics) {
    const MetricInfo* info = find_metric(metric.name);
    if (info == nullptr) return error(Code::kInvalidArgument, "there is no metric '{}'", metric.name);
    if (!reads(*info, task->outcome))
      return Status(Code::kInvalidArgument, fmt::format("metric {} is of outcomes of kind {}; task {} gives {}", metric.name, info->outcome, task->name, task->outcome),
                    "metrics", fmt::format("choose from {}", metric_names(task->outcome)));
  }
  return {};
}

json manifest_of(const Dataset& dataset, const Recipe& recipe, const EvaluateOptions& options) {
  json names = json::array();
  for (const Candidate& c : options.candidates) names.push_back(c.name);
  return {{"version", kStateVersion},
          {"recipe", to_json(recipe)},
          {"dataset", {{"fingerprint", fmt::format("{:016x}", dataset.fingerprint())}, {"examples", dataset.size()}}},
          {"identity", options.identity},
          {"backends", names},
          {"threads", options.session.num_threads},
          {"shard", {{"number", options.shard}, {"of", options.shards}}}};
}

class Evaluator {
 public:
  Evaluator(const ir::Graph& graph, const Dataset& dataset, const EvaluateOptions& options) : graph_(graph), dataset_(dataset), options_(options) {}

  Result<Evaluation> run() {
    TENON_RETURN_IF_ERROR(prepare());
    TENON_RETURN_IF_ERROR(open_state());
    TENON_RETURN_IF_ERROR(compile());
    for (int64_t b = options_.shard; b < total_batches_; b += options_.shards) {
      if (std::binary_search(finished_.begin(), finished_.end(), b)) continue;
      if (options_.stop != nullptr && options_.stop->load()) {
        out_.stopped = Status(Code::kCancelled, "interrupted");
        break;
      }
      if (std::none_of(runners_.begin(), runners_.end(), [](const Runner& r) { return r.ok(); })) break;
      const Status status = one_batch(b);
      if (is_interruption(status)) {
        out_.stopped = status;
        break;
      }
      TENON_RETURN_IF_ERROR(status);
    }
    if (out_.stopped.ok()) TENON_RETURN_IF_ERROR(time_singles());
    return finish();
  }

 private:
  Status prepare() {
    out_.recipe = options_.recipe;
    TENON_RETURN_IF_ERROR(complete(dataset_.classes(), out_.recipe));
    TENON_ASSIGN_OR_RETURN(out_.task, find_task(out_.recipe.task));
    TENON_ASSIGN_OR_RETURN(Binding binding, Binding::make(graph_, *out_.task, out_.recipe));
    binding_.emplace(std::move(binding));
    TENON_ASSIGN_OR_RETURN(const TaskContext context, make_context(*out_.task, graph_, out_.recipe));
    TENON_ASSIGN_OR_RETURN(judge_, out_.task->make(context));
    out_.examples = out_.recipe.limit > 0 ? std::min(out_.recipe.limit, dataset_.size()) : dataset_.size();
    if (out_.examples == 0) return error(Code::kInvalidArgument, "the data set has no examples");
    total_batches_ = (out_.examples + binding_->batch() - 1) / binding_->batch();
    for (int64_t b = options_.shard; b < total_batches_; b += options_.shards) shard_examples_ += examples_of(b);
    out_.batches = total_batches_ > options_.shard ? (total_batches_ - options_.shard + options_.shards - 1) / options_.shards : 0;
    return {};
  }

  Status open_state() {
    out_.manifest = manifest_of(dataset_, out_.recipe, options_);
    for (const Candidate& c : options_.candidates) runners_.emplace_back(c, options_);
    if (options_.state.empty()) return {};
    std::vector<std::string> names;
    for (const Candidate& c : options_.candidates) names.push_back(c.name);
    StateContents contents;
    TENON_ASSIGN_OR_RETURN(state_, StateFolder::open(options_.state, out_.manifest, names, contents));
    finished_ = contents.batches;
    out_.problems = std::move(contents.problems);
    out_.batches_before = out_.batches_done = static_cast<int64_t>(finished_.size());
    for (size_t i = 0; i < runners_.size(); ++i) {
      runners_[i].result.state = std::move(contents.subjects[i]);
      runners_[i].result.status = runners_[i].result.state.failure;
      runners_[i].result.available = runners_[i].result.state.available;
    }
    for (int64_t b : finished_) out_.done += examples_of(b);
    return {};
  }

  Status compile() {
    if (out_.batches_done == out_.batches) return {};  // nothing is left to run
    for (size_t i = 0; i < runners_.size(); ++i) {
      Runner& r = runners_[i];
      if (!r.ok()) continue;
      say(fmt::format("compiling for {}", r.result.name));
      const bool fresh = r.result.state.compile_ms == 0;
      r.compile(graph_);
      if (is_interruption(r.result.status)) return r.result.status;
      if (r.ok() && fresh && state_ != nullptr) TENON_RETURN_IF_ERROR(state_->append_compiled(i, r.result.state.compile_ms));
    }
    return {};
  }

  int64_t examples_of(int64_t batch) const { return std::min(binding_->batch(), out_.examples - batch * binding_->batch()); }

  void say(const std::string& what) const {
    if (options_.say) options_.say(what);
  }

  /// The examples of a batch that can be run; the others become problems.
  std::vector<Row> read_rows(int64_t batch, std::vector<Problem>& problems) const {
    std::vector<Row> rows;
    const int64_t first = batch * binding_->batch();
    for (int64_t i = first; i < first + examples_of(batch); ++i) {
      Result<Example> example = dataset_.read(i);
      Result<Row> row = example.ok() ? binding_->prepare(std::move(*example)) : Result<Row>(std::move(example).status());
      if (row.ok()) {
        row->example.index = i;
        rows.push_back(std::move(*row));
      } else {
        problems.push_back({i, dataset_.source(i), std::move(row).status().to_string()});
      }
    }
    return rows;
  }

  Status one_batch(int64_t batch) {
    std::vector<Problem> problems;
    const std::vector<Row> rows = read_rows(batch, problems);
    const std::vector<Group> groups = binding_->group(rows);
    std::vector<BatchFigures> figures(runners_.size());
    std::vector<std::vector<std::optional<Outcome>>> outcomes(runners_.size(), std::vector<std::optional<Outcome>>(rows.size()));
    std::vector<std::vector<Status>> wrong(runners_.size(), std::vector<Status>(rows.size()));
    for (BatchFigures& f : figures) f.batch = batch;
    for (const Group& group : groups) {
      TENON_RETURN_IF_ERROR(options_.interrupt.check());
      TENON_RETURN_IF_ERROR(run_group(rows, group, figures, outcomes, wrong));
    }
    for (size_t i = 0; i < rows.size(); ++i)
      if (std::string problem = blame(rows[i], i, wrong); !problem.empty())
        problems.push_back({rows[i].example.index, dataset_.source(rows[i].example.index), std::move(problem)});
    std::sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) { return a.index < b.index; });
    for (size_t c = 0; c < runners_.size(); ++c) {
      CandidateResult& result = runners_[c].result;
      if (!result.status.ok()) {
        if (state_ != nullptr && result.state.failure.ok()) TENON_RETURN_IF_ERROR(state_->append_failure(c, result.status, result.available));
        result.state.failure = result.status;
        result.state.available = result.available;
        continue;
      }
      std::vector<Record> records;
      for (size_t i = 0; i < rows.size(); ++i)
        if (outcomes[c][i]) records.push_back({rows[i].example.index, rows[i].example.source, std::move(*outcomes[c][i])});
      if (state_ != nullptr) TENON_RETURN_IF_ERROR(state_->append(c, records, figures[c]));
      for (Record& record : records) result.state.records.push_back(std::move(record));
      result.state.batches.push_back(std::move(figures[c]));
    }
    if (state_ != nullptr) TENON_RETURN_IF_ERROR(state_->append_problems(batch, problems));
    for (Problem& p : problems) out_.problems.push_back(std::move(p));
    ++out_.batches_done;
    out_.done += examples_of(batch);
    if (options_.progress) options_.progress(out_.done, shard_examples_);
    return {};
  }

  /// What could not be judged for any backend is a problem of the example, which is returned. What could be for some fails the others:
  /// left out of them alone, it would make them look better.
  std::string blame(const Row& row, size_t i, const std::vector<std::vector<Status>>& wrong) {
    size_t working = 0, failed = 0;
    bool unusable = false;
    std::string problem;
    for (size_t c = 0; c < runners_.size(); ++c) {
      if (!runners_[c].ok()) continue;
      ++working;
      if (wrong[c][i].ok()) continue;
      ++failed;
      unusable = unusable || wrong[c][i].code() == kUnusableOutput;
      if (problem.empty()) problem = wrong[c][i].to_string();
    }
    if (failed == working && !unusable) return problem;
    for (size_t c = 0; c < runners_.size(); ++c)
      if (CandidateResult& r = runners_[c].result; r.status.ok() && !wrong[c][i].ok())
        r.status = Status(Code::kInvalidArgument, fmt::format("its outputs cannot be judged: {}", wrong[c][i].what()), dataset_.source(row.example.index), wrong[c][i].hint());
    return {};
  }

  /// Every candidate on the same inputs, one after another; who begins changes from group to group.
  Status run_group(const std::vector<Row>& rows, const Group& group, std::vector<BatchFigures>& figures,
                   std::vector<std::vector<std::optional<Outcome>>>& outcomes, std::vector<std::vector<Status>>& wrong) {
    TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, binding_->stack(rows, group, false));
    std::vector<HostValue> pair_inputs;
    if (out_.task->pairs) {
      TENON_ASSIGN_OR_RETURN(pair_inputs, binding_->stack(rows, group, true));
    }
    struct Made {
      std::vector<HostValue> outputs, pair;
    };
    std::vector<Made> made(runners_.size());
    const auto count = static_cast<int64_t>(group.rows.size());
    const size_t first = groups_run_++ % runners_.size();
    for (size_t turn = 0; turn < runners_.size(); ++turn) {
      const size_t c = (first + turn) % runners_.size();
      Runner& r = runners_[c];
      if (!r.ok()) continue;
      r.result.status = [&]() -> Status {
        TENON_ASSIGN_OR_RETURN(made[c].outputs, r.run(inputs, count, figures[c]));
        if (out_.task->pairs) {
          TENON_ASSIGN_OR_RETURN(made[c].pair, r.run(pair_inputs, count, figures[c]));
        }
        return {};
      }();
      if (is_interruption(r.result.status)) return std::exchange(r.result.status, Status());
    }
    for (size_t c = 1; c < runners_.size(); ++c) {
      if (!runners_[0].ok() || !runners_[c].ok()) continue;
      compare_outputs(made[0].outputs, made[c].outputs, figures[c]);
      compare_outputs(made[0].pair, made[c].pair, figures[c]);
    }
    for (size_t c = 0; c < runners_.size(); ++c)
      if (runners_[c].ok()) runners_[c].result.status = judge_group(rows, group, std::move(made[c].outputs), std::move(made[c].pair), outcomes[c], wrong[c]);
    return {};
  }

  Status judge_group(const std::vector<Row>& rows, const Group& group, std::vector<HostValue> outputs, std::vector<HostValue> pair,
                     std::vector<std::optional<Outcome>>& outcomes, std::vector<Status>& wrong) const {
    TENON_ASSIGN_OR_RETURN(const auto parts, binding_->split(std::move(outputs), rows, group));
    std::vector<std::vector<HostValue>> pair_parts(parts.size());
    if (out_.task->pairs) {
      TENON_ASSIGN_OR_RETURN(pair_parts, binding_->split(std::move(pair), rows, group));
    }
    for (size_t i = 0; i < group.rows.size(); ++i) {
      const size_t row = group.rows[i];
      Result<Outcome> outcome = judge_->judge({rows[row].example, rows[row].prepared, parts[i], pair_parts[i]});
      if (outcome.ok()) outcomes[row] = std::move(*outcome);
      else wrong[row] = std::move(outcome).status();
    }
    return {};
  }

  /// The first examples one by one, where a run may have another size than that of a batch.
  Status time_singles() {
    if (binding_->fixed_batch() > 0 || binding_->batch() == 1) return {};
    const auto start = Clock::now();
    const int64_t count = std::min(options_.singles, out_.examples);
    for (int64_t i = 0; i < count && ms_since(start) < kSinglesSeconds * 1000; ++i) {
      if (options_.stop != nullptr && options_.stop->load()) return {};
      Result<Example> example = dataset_.read(i);
      Result<Row> row = example.ok() ? binding_->prepare(std::move(*example)) : Result<Row>(std::move(example).status());
      if (!row.ok() || row->whole) continue;
      say(fmt::format("single example {} of {}", i + 1, count));
      const std::vector<Row> rows = {std::move(*row)};
      TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, binding_->stack(rows, {{0}}, false));
      for (Runner& r : runners_) {
        if (!r.ok() || out_.batches_done == out_.batches_before) continue;
        BatchFigures figures;
        const Result<std::vector<HostValue>> outputs = r.run(inputs, 1, figures);
        if (!outputs.ok() && is_interruption(outputs.status())) return {};
        // A model whose batch is not free after all has no such time.
        if (!outputs.ok()) return {};
        if (i > 0 || count == 1) r.result.single_ms.push_back(figures.runs.front().ms);
      }
    }
    return {};
  }

  Result<Evaluation> finish() {
    for (Runner& r : runners_) r.close();
    std::sort(out_.problems.begin(), out_.problems.end(), [](const Problem& a, const Problem& b) { return a.index < b.index; });
    bool any = false;
    for (Runner& r : runners_) {
      any = any || (r.ok() && !r.result.state.records.empty());
      out_.results.push_back(std::move(r.result));
    }
    if (any || !out_.stopped.ok() || out_.batches == 0) return std::move(out_);
    for (const CandidateResult& r : out_.results)
      if (!r.status.ok()) return Status(r.status).at(r.name);
    return Status(Code::kInvalidArgument, fmt::format("none of {} examples can be evaluated; the first: {}", out_.done,
                                                      out_.problems.empty() ? "" : out_.problems[0].message),
                  out_.problems.empty() ? "" : out_.problems[0].source);
  }

  const ir::Graph& graph_;
  const Dataset& dataset_;
  const EvaluateOptions& options_;
  Evaluation out_;
  std::optional<Binding> binding_;
  std::unique_ptr<Judge> judge_;
  std::unique_ptr<StateFolder> state_;
  std::vector<Runner> runners_;
  size_t groups_run_ = 0;
  std::vector<int64_t> finished_;
  int64_t total_batches_ = 0, shard_examples_ = 0;
};

/// What the manifest of a shard says, checked.
struct Manifest {
  int64_t shard = -1, shards = 0, threads = 0, examples = 0;
  std::vector<std::string> names;            // of the backends
  std::string model;
};

Result<Manifest> parse_manifest(const json& manifest) {
  constexpr int64_t kMost = INT64_MAX / 2, kMostShards = int64_t{1} << 20, kMostThreads = int64_t{1} << 20;
  static const json kNothing = json::object();
  const auto object = [](const json* value) -> const json& { return value != nullptr ? *value : kNothing; };
  Manifest out;
  int64_t version = 0;
  ObjectReader reader(manifest, {});
  reader.integer("version", version, 0, kMost);
  reader.integer("threads", out.threads, 0, kMostThreads);
  reader.strings("backends", out.names);
  const json *recipe = reader.any("recipe"), *dataset = reader.any("dataset"), *shard = reader.any("shard"), *identity = reader.any("identity");
  TENON_RETURN_IF_ERROR(reader.finish());
  if (version != kStateVersion) return error(Code::kInvalidArgument, "the folder is of another version of this program");
  if (recipe == nullptr) return Status(Code::kInvalidArgument, "there is no recipe", "recipe");
  std::string fingerprint;
  ObjectReader of_dataset(object(dataset), "dataset");
  of_dataset.text("fingerprint", fingerprint);
  of_dataset.integer("examples", out.examples, 1, kMost);
  TENON_RETURN_IF_ERROR(of_dataset.finish());
  ObjectReader of_shard(object(shard), "shard");
  of_shard.integer("of", out.shards, 1, kMostShards);
  of_shard.integer("number", out.shard, 0, kMostShards - 1);
  TENON_RETURN_IF_ERROR(of_shard.finish());
  if (out.examples < 1) return Status(Code::kInvalidArgument, "there are no examples", "dataset.examples");
  if (out.shard < 0 || out.shard >= out.shards) return Status(Code::kInvalidArgument, fmt::format("shard {} of {} does not exist", out.shard + 1, out.shards), "shard");
  if (identity != nullptr && identity->is_object() && identity->contains("path") && (*identity)["path"].is_string()) out.model = (*identity)["path"].get<std::string>();
  if (out.names.empty()) return Status(Code::kInvalidArgument, "there is no backend", "backends");
  std::vector<std::string> sorted;
  for (const std::string& name : out.names) sorted.push_back(state_file_name(name));
  std::sort(sorted.begin(), sorted.end());
  if (std::find(out.names.begin(), out.names.end(), "") != out.names.end() || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    return Status(Code::kInvalidArgument, "backends have no names, or share one", "backends");
  return out;
}

/// kInvalidArgument unless what shards hold is of the examples that there are.
Status check_range(const StateContents& contents, int64_t examples, int64_t batches) {
  const auto inside = [&](int64_t index) { return index >= 0 && index < examples; };
  if (!contents.batches.empty() && contents.batches.back() >= batches)
    return error(Code::kInvalidArgument, "batch {} is beyond the {} of the evaluation", contents.batches.back(), batches);
  for (const Problem& p : contents.problems)
    if (!inside(p.index)) return error(Code::kInvalidArgument, "a problem is of example {}, but there are {}", p.index, examples);
  for (const SubjectState& s : contents.subjects)
    for (size_t i = 0; i < s.records.size(); ++i) {
      if (!inside(s.records[i].index)) return error(Code::kInvalidArgument, "a record is of example {}, but there are {}", s.records[i].index, examples);
      if (i > 0 && s.records[i].index == s.records[i - 1].index) return error(Code::kInvalidArgument, "there are two records of example {}", s.records[i].index);
    }
  return {};
}

}  // namespace

Result<Recipe> complete_recipe(const ir::Graph& graph, const std::vector<std::string>& classes, Recipe recipe) {
  TENON_RETURN_IF_ERROR(complete(classes, recipe));
  TENON_ASSIGN_OR_RETURN(const TaskInfo* task, find_task(recipe.task));
  TENON_ASSIGN_OR_RETURN(const Binding binding, Binding::make(graph, *task, recipe));
  return recipe;
}

Result<Evaluation> evaluate(const ir::Graph& graph, const Dataset& dataset, const EvaluateOptions& options) {
  if (options.candidates.empty()) return error(Code::kInvalidArgument, "there is no backend to evaluate");
  if (options.shards < 1 || options.shard < 0 || options.shard >= options.shards)
    return error(Code::kInvalidArgument, "shard {} of {} does not exist", options.shard + 1, options.shards);
  return Evaluator(graph, dataset, options).run();
}

Result<Evaluation> merge_evaluations(const std::vector<std::filesystem::path>& folders) {
  Evaluation out;
  Manifest first;
  std::vector<StateContents> states;
  std::vector<int64_t> shards_seen;
  for (const std::filesystem::path& folder : folders) {
    TENON_ASSIGN_OR_RETURN(json manifest, read_manifest(folder));
    Result<Manifest> parsed = parse_manifest(manifest);
    if (!parsed.ok()) {
      const Status& s = parsed.status();
      const std::string file = (folder / "manifest.json").string();
      return Status(s.code(), s.what(), s.where().empty() ? file : fmt::format("{}: {}", file, s.where()), "name folders that --state has made");
    }
    shards_seen.push_back(parsed->shard);
    manifest["shard"]["number"] = 0;
    if (manifest.contains("identity") && manifest["identity"].is_object()) manifest["identity"].erase("path");  // its hash says which model it is
    if (states.empty()) {
      first = std::move(*parsed);
      out.manifest = manifest;
    }
    if (const std::string where = manifest_difference(out.manifest, manifest); !where.empty())
      return Status(Code::kInvalidArgument, fmt::format("the folders hold different evaluations: {} differs", where), folder.string(), "merge shards of one");
    TENON_ASSIGN_OR_RETURN(StateContents contents, read_state(folder, first.names));
    states.push_back(std::move(contents));
  }
  if (states.empty()) return error(Code::kInvalidArgument, "there is no folder to merge");
  TENON_ASSIGN_OR_RETURN(out.recipe, parse_recipe(out.manifest["recipe"], {}, "manifest.json: recipe"));
  TENON_ASSIGN_OR_RETURN(out.task, find_task(out.recipe.task));
  TENON_ASSIGN_OR_RETURN(StateContents merged, merge_states(std::move(states)));
  out.model = first.model;
  out.examples = out.recipe.limit > 0 ? std::min(out.recipe.limit, first.examples) : first.examples;
  if (out.recipe.batch < 1) return Status(Code::kInvalidArgument, "the size of a batch is not there", "manifest.json: recipe.batch");
  out.batches = (out.examples - 1) / out.recipe.batch + 1;
  const int64_t of = first.shards;
  TENON_RETURN_IF_ERROR(check_range(merged, out.examples, out.batches));
  for (size_t i = 0; i < merged.batches.size(); ++i)
    if (merged.batches[i] != static_cast<int64_t>(i)) {
      const int64_t shard = static_cast<int64_t>(i) % of;
      const bool there = std::find(shards_seen.begin(), shards_seen.end(), shard) != shards_seen.end();
      return Status(Code::kInvalidArgument, fmt::format("batch {} is missing", i), {},
                    there ? fmt::format("finish shard {}/{} first", shard + 1, of) : fmt::format("name the folder of shard {}/{}, too", shard + 1, of));
    }
  if (static_cast<int64_t>(merged.batches.size()) != out.batches)
    return Status(Code::kInvalidArgument, fmt::format("batch {} is missing", merged.batches.size()), {},
                  fmt::format("finish shard {}/{}, or name its folder, too", static_cast<int64_t>(merged.batches.size()) % of + 1, of));
  out.batches_done = out.batches;
  out.done = out.examples;
  out.problems = std::move(merged.problems);
  for (size_t s = 0; s < first.names.size(); ++s) {
    CandidateResult result;
    result.name = first.names[s];
    result.threads = static_cast<int>(first.threads);
    result.state = std::move(merged.subjects[s]);
    result.status = result.state.failure;
    result.available = result.state.available;
    out.results.push_back(std::move(result));
  }
  return out;
}

}  // namespace tenon::eval
