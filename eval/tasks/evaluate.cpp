#include "eval/tasks/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "eval/compare.h"
#include "eval/tasks/binding.h"
#include "eval/tasks/candidate_runner.h"
#include "eval/tasks/manifest.h"

namespace tenon::eval {
using Clock = std::chrono::steady_clock;

namespace {

constexpr double kSinglesSeconds = 5;  // of all candidates together

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
      if (std::none_of(runners_.begin(), runners_.end(), [](const CandidateRunner& r) { return r.ok(); })) break;
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
      CandidateRunner& r = runners_[i];
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
      CandidateRunner& r = runners_[c];
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
      for (CandidateRunner& r : runners_) {
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
    for (CandidateRunner& r : runners_) r.close();
    std::sort(out_.problems.begin(), out_.problems.end(), [](const Problem& a, const Problem& b) { return a.index < b.index; });
    bool any = false;
    for (CandidateRunner& r : runners_) {
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
  std::vector<CandidateRunner> runners_;
  size_t groups_run_ = 0;
  std::vector<int64_t> finished_;
  int64_t total_batches_ = 0, shard_examples_ = 0;
};

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

}  // namespace tenon::eval
