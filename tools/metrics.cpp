#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/metrics/metric.h"
#include "eval/metrics/record_file.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  tenon metrics\n"
    "  tenon metrics rougeL\n"
    "  tenon metrics f1 matthews_correlation --records cpu.jsonl --average weighted\n"
    "  tenon metrics accuracy --records cpu.jsonl --against vulkan.jsonl --json -\n"
    "  tenon metrics --markdown";

struct Options {
  std::vector<std::string> names, records, against;
  eval::ScoreOptions score;
  std::string class_names, json;
  bool markdown = false;
};

Result<std::vector<const eval::MetricInfo*>> chosen(const std::vector<std::string>& names) {
  std::vector<const eval::MetricInfo*> out;
  for (const std::string& name : names) {
    out.push_back(eval::find_metric(name));
    if (out.back() == nullptr)
      return Status(Code::kInvalidArgument, fmt::format("there is no metric '{}'", name), "metrics", "choose from " + eval::metric_names());
  }
  return out;
}

std::string reads_text(const eval::MetricInfo& metric) {
  return metric.also.empty() ? std::string(metric.outcome) : fmt::format("{}, {}", metric.outcome, metric.also);
}

const char* better_text(const eval::MetricInfo& metric) { return metric.higher_is_better ? "higher" : "lower"; }

nlohmann::json to_json(const eval::MetricInfo& metric) {
  nlohmann::json outcomes{metric.outcome};
  if (!metric.also.empty()) outcomes.push_back(metric.also);
  return {{"name", metric.name},
          {"title", metric.title},
          {"reads", outcomes},
          {"higher_is_better", metric.higher_is_better},
          {"needs_probabilities", metric.needs_probabilities},
          {"definition", metric.formula},
          {"source", metric.source}};
}

Status list(const Options& o, std::vector<const eval::MetricInfo*> metrics) {
  const bool all = metrics.empty();
  if (all)
    for (const eval::MetricInfo& metric : eval::metrics()) metrics.push_back(&metric);
  if (o.markdown) {
    fmt::print("{}", eval::metrics_markdown());
  } else if (o.json != "-" && all) {
    Table table({"metric", "reads", "better", "title"});
    for (const eval::MetricInfo* metric : metrics)
      table.add({std::string(metric->name), reads_text(*metric), better_text(*metric), std::string(metric->title)});
    table.print();
  } else if (o.json != "-") {
    for (const eval::MetricInfo* metric : metrics)
      fmt::print("{}: {}\n  definition  {}\n  source      {}\n  reads       {}{}\n  better      {}\n", metric->name, metric->title,
                 metric->formula, metric->source, reads_text(*metric),
                 metric->needs_probabilities ? ", with the probabilities of every class" : "", better_text(*metric));
  }
  if (o.json.empty()) return {};
  nlohmann::json rows = nlohmann::json::array();
  for (const eval::MetricInfo* metric : metrics) rows.push_back(to_json(*metric));
  return write_json({{"metrics", rows}}, o.json);
}

std::string figure(double value) { return std::isnan(value) ? "-" : fmt::format("{:.6g}", value); }
std::string interval(double low, double high) { return std::isnan(low) ? "-" : fmt::format("[{:.6g}, {:.6g}]", low, high); }

CLI::Validator at_least(int64_t low) { return CLI::Range(low, std::numeric_limits<int64_t>::max()).description(""); }

std::vector<std::filesystem::path> paths(const std::vector<std::string>& names) { return {names.begin(), names.end()}; }

/// Of classifiers, whether they err equally often.
Status add_mcnemar(const std::vector<eval::Record>& first, const std::vector<eval::Record>& second, bool print, nlohmann::json& out) {
  if (first.empty() || !std::holds_alternative<eval::ClassOutcome>(first[0].outcome)) return {};
  TENON_ASSIGN_OR_RETURN(const eval::McNemar test, eval::mcnemar(first, second));
  if (print) fmt::print("right alone: {} against {}; McNemar's test: p = {}\n", test.only_first, test.only_second, figure(test.p));
  out["mcnemar"] = {{"only_first", test.only_first}, {"only_second", test.only_second}, {"statistic", test.statistic}, {"p", test.p}};
  return {};
}

Status score(Options& o, const std::vector<const eval::MetricInfo*>& metrics) {
  if (metrics.empty())
    return Status(Code::kInvalidArgument, "no metric", "metrics", "name those to compute, as in `tenon metrics accuracy --records FILE`");
  if (!o.class_names.empty()) o.score.metric.names = split(o.class_names, ',');
  TENON_ASSIGN_OR_RETURN(const std::vector<eval::Record> records, eval::read_records(paths(o.records)));
  TENON_ASSIGN_OR_RETURN(const std::vector<eval::Record> against, eval::read_records(paths(o.against)));
  const bool pairs = !o.against.empty();
  Table table(pairs ? std::vector<std::string>{"metric", "value", "against", "difference", "95 %", "p"}
                    : std::vector<std::string>{"metric", "value", "95 %"});
  nlohmann::json rows = nlohmann::json::array();
  std::vector<std::string> notes;
  Progress progress;
  for (const eval::MetricInfo* metric : metrics) {
    progress.show(fmt::format("{}: {} records", metric->name, records.size()));
    TENON_ASSIGN_OR_RETURN(const eval::Score value, eval::score(*metric, records, o.score));
    nlohmann::json row{{"metric", metric->name}, {"value", value.value}, {"ci95", value.resamples > 0 ? nlohmann::json{value.low, value.high} : nlohmann::json(nullptr)}, {"resamples", value.resamples}};
    if (!value.details.is_null()) row["details"] = value.details;
    if (value.resamples > 0 && value.resamples < o.score.resamples)
      notes.push_back(
          fmt::format("{}: an interval from {} samples, as {} would take long", metric->name, value.resamples, o.score.resamples));
    if (pairs) {
      eval::ScoreOptions once = o.score;
      once.resamples = 0;
      TENON_ASSIGN_OR_RETURN(const eval::Score other, eval::score(*metric, against, once));
      TENON_ASSIGN_OR_RETURN(const eval::PairedDifference d, eval::paired_bootstrap(*metric, records, against, o.score));
      table.add({std::string(metric->name), figure(value.value), figure(other.value), figure(d.difference), interval(d.low, d.high),
                 figure(d.p)});
      row["against"] = {
          {"value", other.value}, {"difference", d.difference}, {"ci95", d.resamples > 0 ? nlohmann::json{d.low, d.high} : nlohmann::json(nullptr)}, {"p", d.p}, {"resamples", d.resamples}};
    } else {
      table.add({std::string(metric->name), figure(value.value), interval(value.low, value.high)});
    }
    rows.push_back(std::move(row));
  }
  progress.clear();
  if (o.json != "-") {
    table.print();
    for (const std::string& note : notes) fmt::print("{}\n", note);
  }
  nlohmann::json out{{"records", records.size()}, {"results", rows}};
  if (pairs) TENON_RETURN_IF_ERROR(add_mcnemar(records, against, o.json != "-", out));
  return o.json.empty() ? Status() : write_json(out, o.json);
}

Status metrics(Options& o) {
  TENON_ASSIGN_OR_RETURN(const std::vector<const eval::MetricInfo*> wanted, chosen(o.names));
  if (!o.records.empty()) return score(o, wanted);
  return list(o, wanted);
}

}  // namespace

void add_metrics(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub =
      app.add_subcommand("metrics", "List the metrics with their definitions, or compute them from the records of an evaluation");
  sub->add_option("metric", o->names, "Only these")->type_name("NAME")->default_str("");
  add_list(*sub, "--records", o->records, "FILE",
           "Records to compute the metrics from, a line of JSON each; repeatable for the parts of one result");
  add_list(*sub, "--against", o->against, "FILE", "Records of another result on the same examples: is the difference more than chance?");
  sub->add_option("--average", o->score.metric.average, "Of precision, recall and F1: micro, macro, weighted, binary")->type_name("HOW");
  sub->add_option("--k", o->score.metric.k, "Of top-k accuracy")->check(at_least(1))->type_name("N");
  sub->add_option("--bins", o->score.metric.bins, "Of the expected calibration error")->check(at_least(1))->type_name("N");
  sub->add_option("--classes", o->score.metric.classes, "Number of classes; 0: those that occur")->check(at_least(0))->type_name("N");
  sub->add_option("--class-names", o->class_names, "Of the classes, by number: O,B-PER,I-PER")->type_name("NAME,...");
  sub->add_flag("--stemmer", o->score.metric.stemmer, "ROUGE compares stems");
  sub->add_option("--resamples", o->score.resamples, "Bootstrap samples of an interval; 0: none")->check(at_least(0))->type_name("N");
  sub->add_option("--seed", o->score.seed, "Of the bootstrap")->check(at_least(0))->type_name("N");
  sub->add_flag("--markdown", o->markdown, "The table as a section of docs/metrics.md");
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = metrics(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
