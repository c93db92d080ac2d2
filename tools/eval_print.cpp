#include "tools/eval_print.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "eval/picture.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr size_t kShownProblems = 5;

std::string number(double value) {
  if (!std::isfinite(value)) return "-";
  if (value != 0 && std::abs(value) < 1e-3) return fmt::format("{:.2e}", value);
  return fmt::format("{:.{}f}", value, std::abs(value) < 10 ? 4 : 2);
}
std::string times(double ms) { return ms > 0 ? fmt::format("{:.{}f}", ms, ms < 100 ? 3 : 1) : "-"; }
std::string ratio(double first, double own) { return own > 0 && first > 0 ? fmt::format("{:.2f}", first / own) : "-"; }

/// "0.9 [0.85, 0.94]"; without an interval where there is none.
std::string with_interval(const eval::Score& s) {
  return s.resamples > 0 ? fmt::format("{} [{}, {}]", number(s.value), number(s.low), number(s.high)) : number(s.value);
}

void print_metrics(const eval::Evaluation& evaluation, const std::vector<eval::ScoredCandidate>& scores, int resamples) {
  std::vector<std::string> header = {"backend"};
  bool intervals = false;
  for (const eval::ScoredCandidate& s : scores)
    for (const eval::ScoredMetric& m : s.metrics) intervals = intervals || m.score.resamples > 0;
  for (const eval::MetricChoice& metric : evaluation.recipe.metrics) header.push_back(metric.title + (intervals ? " [95 %]" : ""));
  Table table(header);
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!evaluation.results[i].status.ok()) continue;
    std::vector<std::string> row = {evaluation.results[i].name};
    for (const eval::ScoredMetric& m : scores[i].metrics)
      row.push_back(m.status.ok() ? with_interval(m.score) : "failed");
    table.add(std::move(row));
  }
  table.print();
  for (size_t i = 0; i < scores.size(); ++i)
    for (const eval::ScoredMetric& m : scores[i].metrics)
      if (!m.status.ok()) fmt::print("{} of {}: {}\n", m.title, evaluation.results[i].name, m.status.to_string());
      else if (m.score.resamples > 0 && m.score.resamples < resamples)
        fmt::print("{} of {}: an interval from {} samples, as {} would take long\n", m.title, evaluation.results[i].name, m.score.resamples, resamples);
}

void print_times(const eval::Evaluation& evaluation, const std::vector<eval::ScoredCandidate>& scores) {
  const bool singles = std::any_of(scores.begin(), scores.end(), [](const auto& s) { return s.single_ms > 0; });
  const bool predictions = std::any_of(scores.begin(), scores.end(), [](const auto& s) { return s.other_predictions >= 0; });
  std::vector<std::string> header = {"backend", "compile ms"};
  if (singles) header.insert(header.end(), {"one ms", "ratio"});
  const bool full = std::all_of(scores.begin(), scores.end(), [](const auto& s) { return s.full_batches || s.p50 == 0; });
  const std::string run = !full ? "run" : evaluation.recipe.batch == 1 ? "one" : fmt::format("{}", evaluation.recipe.batch);
  header.insert(header.end(), {run + " p50 ms", "p90 ms", "ratio", "examples/s", "arena", "largest difference"});
  if (predictions) header.emplace_back("other predictions");
  Table table(header);
  const eval::ScoredCandidate& first = scores.front();
  const bool first_ok = evaluation.results.front().status.ok();
  for (size_t i = 0; i < scores.size(); ++i) {
    const eval::CandidateResult& r = evaluation.results[i];
    const eval::ScoredCandidate& s = scores[i];
    if (!r.status.ok()) continue;
    std::vector<std::string> row = {r.name, fmt::format("{:.1f}", r.state.compile_ms)};
    if (singles) row.insert(row.end(), {times(s.single_ms), ratio(first_ok ? first.single_ms : 0, s.single_ms)});
    constexpr int64_t kFewest = 5;  // runs that tell what nine of ten stay below
    row.insert(row.end(), {times(s.runs > 0 ? s.p50 : 0), times(s.runs >= kFewest ? s.p90 : 0), ratio(first_ok ? first.p50 : 0, s.p50), fmt::format("{:.1f}", s.throughput),
                           s.arena_bytes > 0 ? human_bytes(static_cast<double>(s.arena_bytes)) : "-",
                           !s.compared ? "-" : s.comparable ? fmt::format("{:.2g}", s.max_abs) : "not comparable"});
    if (predictions) row.push_back(s.other_predictions >= 0 ? fmt::format("{}", s.other_predictions) : "-");
    table.add(std::move(row));
  }
  table.print();
}

/// How backends differ from the first, where it is more than round-off.
void print_comparisons(const eval::Evaluation& evaluation, const std::vector<eval::ScoredCandidate>& scores) {
  constexpr double kShown = 5e-5;  // half of the last digit of the table
  for (size_t i = 1; i < scores.size(); ++i) {
    const std::string &first = evaluation.results.front().name, &own = evaluation.results[i].name;
    std::vector<std::string> lines;
    for (const eval::PairComparison& c : scores[i].comparisons)
      if (const auto& d = c.difference; std::abs(d.difference) >= kShown)
        lines.push_back(d.resamples == 0 ? fmt::format("  {}: {:+.4f}", c.metric, d.difference) : fmt::format("  {}: {:+.4f} [{:+.4f}, {:+.4f}], p {:.3g} (paired bootstrap)", c.metric, d.difference, d.low, d.high, d.p));
    if (const auto& m = scores[i].mcnemar; m && m->only_first + m->only_second > 0)
      lines.push_back(fmt::format("  right by {} alone: {}; by {} alone: {}; p {:.3g} (McNemar)", first, m->only_first, own, m->only_second, m->p));
    if (!lines.empty()) fmt::print("\n{} less {}:\n{}\n", own, first, fmt::join(lines, "\n"));
  }
}

void print_problems(const eval::Evaluation& evaluation) {
  if (evaluation.problems.empty()) return;
  const size_t count = evaluation.problems.size();
  fmt::print("\n{} of {} examples could not be evaluated and are left out:\n", count, evaluation.done);
  for (size_t i = 0; i < std::min(count, kShownProblems); ++i) fmt::print("  {}: {}\n", printable(evaluation.problems[i].source), printable(evaluation.problems[i].message));
  if (count > kShownProblems) fmt::print("  … and {} more (--json has all)\n", count - kShownProblems);
}

int64_t terminal_width() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

/// Records to show.
std::vector<const eval::Record*> choose(const std::vector<eval::Record>& records, int64_t show) {
  const auto count = static_cast<int64_t>(records.size());
  show = std::min(show, count);
  std::vector<const eval::Record*> wrong, out;
  for (const eval::Record& r : records) {
    const auto& c = std::get<eval::ClassOutcome>(r.outcome);
    if (static_cast<int64_t>(wrong.size()) < show / 3 && c.predicted != c.label) wrong.push_back(&r);
  }
  const int64_t spread = show - static_cast<int64_t>(wrong.size());
  for (int64_t i = 0; i < spread; ++i) out.push_back(&records[static_cast<size_t>(i * count / spread)]);
  out.insert(out.end(), wrong.begin(), wrong.end());
  return out;
}

std::string padded(const std::string& text, int64_t columns, int64_t width) {
  return text + std::string(static_cast<size_t>(std::max<int64_t>(0, width - columns)), ' ');
}

std::string class_name(const std::vector<std::string>& names, int64_t number) {
  return number >= 0 && number < static_cast<int64_t>(names.size()) ? names[static_cast<size_t>(number)] : fmt::format("{}", number);
}

/// An image of a data set, [height, width, channels], as [1, channels, height, width].
Result<Tensor> planar(const eval::Example& example) {
  const auto found = example.fields.find("image");
  const auto* image = found != example.fields.end() ? std::get_if<Tensor>(&found->second) : nullptr;
  if (image == nullptr || image->rank() != 3 || image->dtype() != DType::kU8) return error(Code::kNotFound, "there is no image");
  const int64_t pixels = image->dim(0) * image->dim(1), channels = image->dim(2);
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(DType::kU8, {1, channels, image->dim(0), image->dim(1)}));
  for (int64_t i = 0; i < image->size(); ++i)
    out.mutable_span<uint8_t>()[static_cast<size_t>(i % channels * pixels + i / channels)] = image->span<uint8_t>()[static_cast<size_t>(i)];
  return out;
}

}  // namespace

void print_evaluation(const eval::Evaluation& evaluation, const std::vector<eval::ScoredCandidate>& scores, int resamples) {
  const std::string batch = evaluation.recipe.batch == 1 ? "one by one" : fmt::format("batches of {}", evaluation.recipe.batch);
  std::vector<std::string> outputs;
  for (const auto& [role, name] : evaluation.recipe.outputs) outputs.push_back(fmt::format("{}: output {}", role, name));
  fmt::print("{} examples, {}; {}{}{}\n\n", evaluation.done, batch, evaluation.recipe.task, outputs.empty() ? "" : "; ", fmt::join(outputs, ", "));
  if (std::any_of(evaluation.results.begin(), evaluation.results.end(), [](const auto& r) { return r.status.ok(); })) {
    print_metrics(evaluation, scores, resamples);
    fmt::print("\n");
    print_times(evaluation, scores);
    print_comparisons(evaluation, scores);
  }
  for (const eval::CandidateResult& r : evaluation.results)
    if (!r.status.ok()) fmt::print("\n{} did not run: {}\n", r.name, r.status.to_string());
  print_problems(evaluation);
}

void print_pictures(const eval::Evaluation& evaluation, const eval::Dataset& dataset, int64_t show) {
  constexpr int64_t kGap = 3, kWidest = 32, kCaption = 24;
  const auto ran = std::find_if(evaluation.results.begin(), evaluation.results.end(), [](const auto& r) { return r.status.ok(); });
  if (ran == evaluation.results.end() || evaluation.task->outcome != "class" || evaluation.task->input != "image") return;
  const int64_t column = std::max(kWidest, kCaption), a_row = std::max<int64_t>(1, (terminal_width() + kGap) / (column + kGap));
  const std::vector<const eval::Record*> chosen = choose(ran->state.records, show);
  for (size_t start = 0; start < chosen.size(); start += static_cast<size_t>(a_row)) {
    std::vector<std::string> lines;
    std::string captions;
    int64_t done = 0;
    for (size_t k = start; k < std::min(chosen.size(), start + static_cast<size_t>(a_row)); ++k, ++done) {
      const Result<eval::Example> example = dataset.read(chosen[k]->index);
      const Result<Tensor> image = example.ok() ? planar(*example) : Result<Tensor>(example.status());
      if (!image.ok()) continue;
      const int64_t width = std::min(kWidest, image->dim(3));
      const std::vector<std::string> art = eval::picture(*image, 0, width);
      const int64_t before = done * (column + kGap);
      if (art.size() > lines.size()) lines.resize(art.size(), std::string(static_cast<size_t>(before), ' '));
      for (size_t i = 0; i < lines.size(); ++i)
        lines[i] += i < art.size() ? padded(art[i], width, column + kGap) : std::string(static_cast<size_t>(column + kGap), ' ');
      const auto& c = std::get<eval::ClassOutcome>(chosen[k]->outcome);
      const std::vector<std::string>& names = evaluation.recipe.labels.names;
      std::string caption = fmt::format("{} ({:.1f} %)", class_name(names, c.predicted), 100 * c.confidence);
      if (c.predicted != c.label) caption += fmt::format(" wrong: is {}", class_name(names, c.label));
      captions += padded(caption, static_cast<int64_t>(caption.size()), column + kGap);
    }
    fmt::print("\n");
    for (std::string& line : lines) {
      line.erase(line.find_last_not_of(' ') + 1);
      fmt::print("{}\n", line);
    }
    captions.erase(captions.find_last_not_of(' ') + 1);
    fmt::print("{}\n", captions);
  }
}

}  // namespace tenon::tools
