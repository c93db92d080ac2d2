#include "eval/debug/bisect.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "eval/quantised_steps.h"
#include "eval/round_off.h"
#include "ir/evaluate.h"
#include "ir/printer.h"

namespace tenon::eval {
namespace {

class Bisector {
 public:
  Bisector(const ir::Graph& graph, const Variant& variant, const std::vector<HostValue>& inputs, const BisectOptions& options)
      : graph_(graph), variant_(variant), inputs_(inputs), options_(options) {}

  Result<Bisection> run() {
    // The interpreter, too, evaluates what the passes round.
    auto rounding = rounding_of_outputs(graph_, options_.tolerance, options_.widen ? variant_.compile.precision : DType::kF32, options_.interrupt);
    Result<std::vector<QuantisedSteps>> steps = options_.widen ? steps_of_outputs(graph_, options_.interrupt) : std::vector<QuantisedSteps>();
    TENON_RETURN_IF_ERROR(options_.interrupt.check());
    // Where a pass fails, that is what is looked for, by the tolerance for exact factors.
    out_.rounding = rounding.ok() ? *rounding : Rounding{0, options_.tolerance};
    if (steps.ok()) steps_ = std::move(*steps);
    steps_.resize(graph_.outputs().size());
    TENON_ASSIGN_OR_RETURN(expected_, ir::evaluate_graph(graph_, inputs_, evaluation()));
    // What the passes refuse by themselves is no rewrite's fault.
    if (Status all = optimise(-1, &out_.rewrites).status(); all.code() == Code::kUnsupported || all.code() == Code::kNotFound) return all;
    TENON_ASSIGN_OR_RETURN(out_.differs, differs(-1));
    if (!out_.differs) return std::move(out_);
    TENON_ASSIGN_OR_RETURN(out_.before_any, differs(0));
    if (out_.before_any) return std::move(out_);
    int64_t good = 0, bad = out_.rewrites;
    while (bad - good > 1) {
      const int64_t middle = good + (bad - good) / 2;
      TENON_ASSIGN_OR_RETURN(const bool wrong, differs(middle));
      (wrong ? bad : good) = middle;
    }
    TENON_RETURN_IF_ERROR(describe(bad));
    return std::move(out_);
  }

 private:
  ir::EvalOptions evaluation() const {
    ir::EvalOptions out;
    if (options_.session.max_bytes != 0) out.max_bytes = static_cast<int64_t>(std::min<size_t>(options_.session.max_bytes, INT64_MAX));
    out.interrupt = options_.interrupt;
    return out;
  }

  passes::PipelineOptions pipeline(int64_t rewrites) const {
    passes::PipelineOptions out;
    out.level = variant_.compile.opt_level;
    out.factors = variant_.compile.precision;
    out.disabled = variant_.compile.disabled_passes;
    out.fault = variant_.compile.fault;
    out.max_rewrites = rewrites;
    out.target = variant_.backend->target_facts(variant_.compile);
    out.interrupt = options_.interrupt;
    return out;
  }

  Result<std::unique_ptr<ir::Graph>> optimise(int64_t rewrites, int64_t* taken = nullptr) const {
    std::unique_ptr<ir::Graph> copy = graph_.clone();
    passes::RewriteLog log;
    passes::PipelineOptions options = pipeline(rewrites);
    options.log = &log;
    Status status = passes::run_pipeline(*copy, options);
    if (taken != nullptr) *taken = log.taken;
    TENON_RETURN_IF_ERROR(std::move(status));
    return copy;
  }

  Result<std::vector<HostValue>> outputs_after(int64_t rewrites) {
    if (variant_.is_reference()) {
      TENON_ASSIGN_OR_RETURN(const auto copy, optimise(rewrites));
      return ir::evaluate_graph(*copy, inputs_, evaluation());
    }
    Variant limited = variant_;
    limited.compile.max_rewrites = rewrites;
    TENON_ASSIGN_OR_RETURN(const Running running, start(graph_, limited, options_.session, options_.interrupt));
    return running.session->run(inputs_, options_.interrupt);
  }

  /// Whether an output is wrong; the first that is, is kept.
  Result<bool> differs(int64_t rewrites) {
    TENON_RETURN_IF_ERROR(options_.interrupt.check());
    ++out_.runs;
    if (options_.progress)
      options_.progress(rewrites < 0 ? fmt::format("run {}: all {} rewrites", out_.runs, out_.rewrites) : fmt::format("run {}: the first {} of {} rewrites", out_.runs, rewrites, out_.rewrites));
    Result<std::vector<HostValue>> outputs = outputs_after(rewrites);
    if (!outputs.ok()) return fails(std::move(outputs).status().at(rewrites < 0 ? std::string("with all rewrites") : fmt::format("with {} rewrites", rewrites)));
    for (size_t i = 0; i < expected_.size(); ++i) {
      const Difference d = compare(expected_[i], (*outputs)[i], with_steps(out_.rounding.tolerance, steps_[i]));
      if (d.ok) continue;
      TENON_ASSIGN_OR_RETURN(const bool noise, is_noise(i, (*outputs)[i]));
      if (noise) continue;
      out_.output = graph_.output_name(static_cast<int>(i));
      out_.difference = d;
      return true;
    }
    return false;
  }

  /// A run that fails where the graph as it is does not is wrong, too, unless it was stopped or could not be made as asked.
  Result<bool> fails(Status status) {
    const Code code = status.code();
    if (code == Code::kCancelled || code == Code::kDeadlineExceeded || code == Code::kResourceExhausted || code == Code::kIo) return status;
    out_.output.clear();
    out_.difference = {};
    out_.difference.ok = false;
    out_.difference.message = status.to_string();
    return true;
  }

  /// No further off than the model's own outputs move when every operation rounds in another way; measured once.
  Result<bool> is_noise(size_t output, const HostValue& actual) {
    constexpr double kTwoRuns = 2;
    if (options_.round_off_samples == 0) return false;
    const double ordered = relative_distance(actual, expected_[output]), unordered = unordered_distance(actual, expected_[output]);
    if (!std::isfinite(ordered) || !std::isfinite(unordered)) return false;
    if (!noise_) {
      if (options_.progress) options_.progress("measuring the model's own round-off");
      Result<RoundOff> measured = measure_round_off(graph_, inputs_, options_.round_off_samples);
      if (!measured.ok() && measured.status().code() != Code::kUnsupported) return std::move(measured).status();
      noise_ = measured.ok() ? std::move(*measured) : RoundOff{std::vector<double>(expected_.size()), std::vector<double>(expected_.size()), 0};
    }
    if (ordered > kTwoRuns * noise_->noise[output] || unordered > kTwoRuns * noise_->unordered_noise[output]) return false;
    out_.note = fmt::format("output '{}' differs by {:.2g} (relative norm), which the model's own round-off explains", graph_.output_name(static_cast<int>(output)), ordered);
    return true;
  }

  Status describe(int64_t number) {
    TENON_RETURN_IF_ERROR(differs(number).status());  // its figures
    TENON_ASSIGN_OR_RETURN(const auto before, optimise(number - 1));
    std::unique_ptr<ir::Graph> after = graph_.clone();
    passes::RewriteLog log;
    log.watched[number];
    passes::PipelineOptions options = pipeline(number);
    options.log = &log;
    const Status status = passes::run_pipeline(*after, options);  // its failure may be what is wrong
    out_.culprit = log.watched.at(number);
    out_.before = ir::to_text(*before);
    out_.after = status.ok() ? ir::to_text(*after) : out_.before;
    return {};
  }

  const ir::Graph& graph_;
  const Variant& variant_;
  const std::vector<HostValue>& inputs_;
  const BisectOptions& options_;
  std::vector<QuantisedSteps> steps_;  // by output
  std::vector<HostValue> expected_;
  std::optional<RoundOff> noise_;
  Bisection out_;
};

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// Lines of the one side or the other that a longest common subsequence leaves out; true in `a`, `b` marks those kept. Beyond
/// kMaxCells everything counts as changed.
void common_lines(std::span<const std::string_view> a, std::span<const std::string_view> b, std::vector<char>& in_a, std::vector<char>& in_b) {
  constexpr size_t kMaxCells = size_t{1} << 24;
  in_a.assign(a.size(), 0);
  in_b.assign(b.size(), 0);
  if (a.empty() || b.empty() || a.size() > kMaxCells / b.size()) return;
  const size_t width = b.size() + 1;
  std::vector<uint32_t> length((a.size() + 1) * width);
  for (size_t i = a.size(); i-- > 0;)
    for (size_t j = b.size(); j-- > 0;)
      length[i * width + j] = a[i] == b[j] ? length[(i + 1) * width + j + 1] + 1 : std::max(length[(i + 1) * width + j], length[i * width + j + 1]);
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) in_a[i++] = in_b[j++] = 1;
    else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) ++i;
    else ++j;
  }
}

}  // namespace

Result<Bisection> bisect_rewrites(const ir::Graph& graph, const Variant& variant, const std::vector<HostValue>& inputs, const BisectOptions& options) {
  return Bisector(graph, variant, inputs, options).run();
}

std::string line_difference(std::string_view before, std::string_view after, size_t context, size_t max_lines) {
  const std::vector<std::string_view> a = lines_of(before), b = lines_of(after);
  size_t head = 0, tail = 0;
  while (head < std::min(a.size(), b.size()) && a[head] == b[head]) ++head;
  while (tail < std::min(a.size(), b.size()) - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  std::vector<char> in_a, in_b;
  common_lines(std::span(a).subspan(head, a.size() - head - tail), std::span(b).subspan(head, b.size() - head - tail), in_a, in_b);
  std::vector<std::pair<char, std::string_view>> rows;
  for (size_t i = 0; i < head; ++i) rows.emplace_back(' ', a[i]);
  for (size_t i = 0, j = 0; i < in_a.size() || j < in_b.size();) {
    if (i < in_a.size() && !in_a[i]) rows.emplace_back('-', a[head + i++]);
    else if (j < in_b.size() && !in_b[j]) rows.emplace_back('+', b[head + j++]);
    else rows.emplace_back(' ', a[head + i++]), ++j;
  }
  for (size_t i = a.size() - tail; i < a.size(); ++i) rows.emplace_back(' ', a[i]);
  std::vector<char> shown(rows.size(), 0);
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i].first != ' ')
      for (size_t k = i - std::min(i, context); k < std::min(rows.size(), i + context + 1); ++k) shown[k] = 1;
  std::string text;
  size_t printed = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!shown[i]) continue;
    if (printed++ == max_lines) {
      text += fmt::format("… and {} more lines\n", std::count(shown.begin() + static_cast<std::ptrdiff_t>(i), shown.end(), 1));
      break;
    }
    if (i > 0 && !shown[i - 1] && printed > 1) text += "  …\n";
    text += fmt::format("{} {}\n", rows[i].first, rows[i].second);
  }
  return text;
}

}  // namespace tenon::eval
