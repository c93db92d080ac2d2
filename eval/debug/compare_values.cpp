#include "eval/debug/compare_values.h"

#include <algorithm>

#include "eval/debug/cut.h"
#include "eval/round_off.h"
#include "ir/evaluate.h"

namespace tenon::eval {
namespace {

constexpr size_t kMaxRoundOffChecks = 64;  // of values; the outputs have one of their own

bool draws_random_numbers(const ir::Graph& graph) {
  bool found = false;
  ir::walk(const_cast<ir::Graph&>(graph), [&](ir::Node& node) { found = found || node.op().side_effects; });
  return found;
}

class Comparer {
 public:
  Comparer(const ir::Graph& graph, std::span<const Variant> variants, const std::vector<HostValue>& inputs, const CompareOptions& options)
      : graph_(graph), variants_(variants), inputs_(inputs), options_(options), names_(comparable_values(graph)) {
    for (const auto& node : graph.nodes())
      for (const ir::Value* output : node->outputs()) by_name_.emplace(output->name(), output);
  }

  Result<Comparison> run(TappedVariants* tapped) {
    out_.random = draws_random_numbers(graph_);
    TENON_RETURN_IF_ERROR(count_products());
    TENON_RETURN_IF_ERROR(count_steps());
    TENON_RETURN_IF_ERROR(run_variants());
    TENON_RETURN_IF_ERROR(run_reference());
    for (size_t i = 0; i < variants_.size(); ++i)
      if (!variants_[i].is_reference()) TENON_RETURN_IF_ERROR(find_own_errors(i));
    if (!out_.random) TENON_RETURN_IF_ERROR(find_totals());
    TENON_RETURN_IF_ERROR(judge());
    if (tapped != nullptr) *tapped = std::move(tapped_);
    return std::move(out_);
  }

 private:
  using Steps = std::unordered_map<std::string, QuantisedSteps>;

  void progress(const std::string& text) const {
    if (options_.progress) options_.progress(text);
  }

  bool rounds(size_t variant) const {
    return options_.widen && rounds_factors(*variants_[variant].backend, variants_[variant].compile.precision);
  }

  Status count_products() {
    for (size_t i = 0; i < variants_.size(); ++i)
      if (rounds(i) && products_.empty()) {
        TENON_ASSIGN_OR_RETURN(products_, products_before(graph_, options_.taps.interrupt));
      }
    int most = 0;
    for (const ir::Value* output : graph_.outputs()) most = std::max(most, products(output->name()));
    for (size_t i = 0; i < variants_.size(); ++i) {
      const int rounded = rounds(i) ? most : 0;
      out_.roundings.push_back({rounded, with_rounded_factors(options_.tolerance, variants_[i].compile.precision, rounded)});
    }
    return {};
  }

  Status count_steps() {
    if (!options_.widen) return {};
    TENON_ASSIGN_OR_RETURN(steps_, steps_before(graph_, options_.taps.interrupt));
    for (const ir::Value* output : graph_.outputs())
      if (const auto found = steps_.find(output->name()); found != steps_.end() && found->second.quantisers > out_.steps.quantisers) out_.steps = found->second;
    return {};
  }

  /// Between two codes lie few numbers: more than a quarter of them is not what one quantiser does that rounds as it should.
  static bool explains(const QuantisedSteps& steps, int64_t differing, const HostValue& value) {
    const auto* tensor = std::get_if<Tensor>(&value);
    const bool own = steps.quantisers == 1 && steps.step > 0;
    return !own || tensor == nullptr || differing <= std::max<int64_t>(1, tensor->size() / 4);
  }

  /// By `exact`, else by the steps of quantisers before it, which is then said.
  static Difference judged(const HostValue& expected, const HostValue& actual, const Tolerance& exact, const Steps& steps, const std::string& value,
                           std::string& note) {
    Difference d = compare(expected, actual, exact);
    const auto found = d.ok ? steps.end() : steps.find(value);
    if (found != steps.end() && explains(found->second, d.differing, expected)) {
      d = compare(expected, actual, with_steps(exact, found->second));
      if (d.ok) note = fmt::format("allowed for {}", describe(found->second));
    }
    if (!d.ok) note = d.message;
    return d;
  }

  int products(const std::string& value) const {
    const auto found = products_.find(value);
    return found == products_.end() ? 0 : found->second;
  }

  /// For a value that both of two variants computed from the inputs: the wider of theirs.
  Tolerance tolerance_between(size_t a, size_t b, const std::string& value) const {
    Tolerance out = options_.tolerance;
    for (const size_t v : {a, b})
      if (rounds(v)) out = with_rounded_factors(out, variants_[v].compile.precision, products(value));
    return out;
  }

  Status run_variants() {
    TapOptions taps = options_.taps;
    taps.max_spill_bytes /= variants_.size();
    for (const Variant& variant : variants_) {
      tapped_.emplace_back();
      if (variant.is_reference()) continue;
      progress("running " + variant.name);
      Result<Tapped> tapped = run_tapped(graph_, variant, inputs_, taps);
      if (!tapped.ok()) return std::move(tapped).status().at(variant.name);
      tapped_.back() = std::move(*tapped);
    }
    return {};
  }

  ir::EvalOptions evaluation() const {
    ir::EvalOptions out;
    if (options_.taps.session.max_bytes != 0) out.max_bytes = static_cast<int64_t>(std::min<size_t>(options_.taps.session.max_bytes, INT64_MAX));
    out.interrupt = options_.taps.interrupt;
    return out;
  }

  /// The reference's values of what other variants have.
  Status run_reference() {
    std::optional<size_t> which;
    for (size_t i = 0; i < variants_.size(); ++i)
      if (variants_[i].is_reference()) which = i;
    if (!which) return {};
    progress("running " + variants_[*which].name);
    TENON_ASSIGN_OR_RETURN(Spill kept, Spill::create(options_.taps.max_spill_bytes / variants_.size()));
    ir::EvalOptions evaluate = evaluation();
    evaluate.alter = [&](const ir::Node& node, std::span<HostValue> outputs) -> Status {
      if (node.graph() != &graph_) return {};
      for (size_t i = 0; i < outputs.size(); ++i) {
        const std::string& name = node.outputs()[i]->name();
        const auto* tensor = std::get_if<Tensor>(&outputs[i]);
        const auto has = [&](const Tapped& t) { return t.values.has(name); };
        if (tensor != nullptr && std::ranges::any_of(tapped_, has)) TENON_RETURN_IF_ERROR(kept.put(name, *tensor));
      }
      return {};
    };
    Result<std::vector<HostValue>> outputs = ir::evaluate_graph(graph_, inputs_, evaluate);
    if (!outputs.ok()) return std::move(outputs).status().at(variants_[*which].name);
    for (size_t i = 0; i < variants_.size(); ++i) {
      if (!variants_[i].is_reference()) continue;
      tapped_[i].outputs = *outputs;
    }
    reference_values_ = std::move(kept);
    return {};
  }

  const Spill& values_of(size_t variant) const { return variants_[variant].is_reference() ? reference_values_ : tapped_[variant].values; }

  /// Evaluates the graph with this variant's values in the place of the interpreter's, as soon as those are compared.
  Status find_own_errors(size_t variant) {
    progress("judging " + variants_[variant].name);
    const Spill& taken = tapped_[variant].values;
    // Products and quantisers since the values that are taken as they are.
    std::unordered_map<std::string, int> own_products;
    const auto given = [&](std::string_view name) { return taken.has(std::string(name)); };
    if (rounds(variant)) {
      TENON_ASSIGN_OR_RETURN(own_products, products_before(graph_, options_.taps.interrupt, given));
    }
    Steps own_steps;
    if (!steps_.empty()) {
      TENON_ASSIGN_OR_RETURN(own_steps, steps_before(graph_, options_.taps.interrupt, given));
    }
    ir::EvalOptions evaluate = evaluation();
    evaluate.alter = [&](const ir::Node& node, std::span<HostValue> outputs) -> Status {
      if (node.graph() != &graph_) return {};
      for (size_t i = 0; i < outputs.size(); ++i) {
        const std::string& name = node.outputs()[i]->name();
        if (!taken.has(name)) continue;
        TENON_ASSIGN_OR_RETURN(Tensor actual, taken.get(name));
        if (!node.op().side_effects) {
          ValueDifference row;
          row.variant = variant;
          row.value = name;
          row.op = node.op_name();
          row.node = node.name();
          const auto since = own_products.find(name);
          const int products = since == own_products.end() ? 0 : since->second;
          row.own = judged(outputs[i], HostValue(actual), with_rounded_factors(options_.tolerance, variants_[variant].compile.precision, products), own_steps,
                           name, row.note);
          row.ok = row.own.ok;
          row.by_steps = row.ok && !row.note.empty();
          out_.values.push_back(std::move(row));
        }
        outputs[i] = std::move(actual);
      }
      return {};
    };
    Result<std::vector<HostValue>> outputs = ir::evaluate_graph(graph_, inputs_, evaluate);
    return std::move(outputs).status().at(fmt::format("judging {}", variants_[variant].name));
  }

  Status find_totals() {
    progress("comparing");
    for (ValueDifference& row : out_.values) {
      if (row.variant == 0 || !values_of(0).has(row.value)) continue;
      TENON_RETURN_IF_ERROR(options_.taps.interrupt.check());
      TENON_ASSIGN_OR_RETURN(const Tensor expected, values_of(0).get(row.value));
      TENON_ASSIGN_OR_RETURN(const Tensor actual, values_of(row.variant).get(row.value));
      row.total = compare(HostValue(expected), HostValue(actual), tolerance_between(0, row.variant, row.value));
      row.has_total = true;
    }
    for (size_t v = 1; v < variants_.size(); ++v)
      for (size_t i = 0; i < graph_.outputs().size(); ++i) {
        OutputDifference row{v, graph_.output_name(static_cast<int>(i)), {}, true, {}};
        const std::string& name = graph_.outputs()[i]->name();
        row.total = judged(tapped_[0].outputs[i], tapped_[v].outputs[i], tolerance_between(0, v, name), steps_, name, row.note);
        row.ok = row.total.ok;
        out_.outputs.push_back(std::move(row));
      }
    return {};
  }

  std::unordered_set<std::string> known(size_t variant) const {
    std::unordered_set<std::string> out;
    for (const std::string& name : names_)
      if (tapped_[variant].values.has(name)) out.insert(name);
    return out;
  }

  /// Whether the nodes between the value and what is known upstream could give this by rounding each in another way.
  Result<std::optional<std::string>> excuse(const ValueDifference& row, const Region& region) const {
    const Spill& taken = tapped_[row.variant].values;
    std::map<std::string, HostValue> given;
    for (const ir::Value* input : region.inputs)
      if (input->def() != nullptr) {
        TENON_ASSIGN_OR_RETURN(Tensor tensor, taken.get(input->name()));
        given.emplace(input->name(), std::move(tensor));
      }
    TENON_ASSIGN_OR_RETURN(const Cut piece, cut(graph_, inputs_, {row.value}, given));
    TENON_ASSIGN_OR_RETURN(const auto expected, ir::evaluate_graph(*piece.graph, piece.inputs, evaluation()));
    TENON_ASSIGN_OR_RETURN(Tensor actual, taken.get(row.value));
    const HostValue values[] = {std::move(actual)};
    return within_round_off(*piece.graph, piece.inputs, {{0, expected[0]}}, values, options_.round_off_samples);
  }

  Status judge() {
    std::vector<std::unordered_set<std::string>> known_of;
    for (size_t v = 0; v < variants_.size(); ++v) {
      known_of.push_back(known(v));
      const auto compared = std::ranges::count(out_.values, v, &ValueDifference::variant);
      out_.uncompared.push_back(variants_[v].is_reference() ? 0 : names_.size() - static_cast<size_t>(compared));
    }
    size_t checks = 0;
    for (ValueDifference& row : out_.values) {
      if (row.ok) continue;
      TENON_RETURN_IF_ERROR(options_.taps.interrupt.check());
      const Region region = region_of(*by_name_.at(row.value), known_of[row.variant]);
      for (const ir::Node* node : region.nodes) row.covers.push_back(describe(*node));
      if (options_.round_off_samples == 0 || checks++ >= kMaxRoundOffChecks) continue;
      progress("judging " + row.value);
      // What cannot be cut out, or is random, has no excuse.
      const auto excused = excuse(row, region);
      if (!excused.ok() || !*excused) continue;
      row.ok = true;
      row.note = **excused;
    }
    const auto rank = [](const ValueDifference& row) { return std::pair(!row.ok, row.own.share); };
    for (size_t i = 0; i < out_.values.size(); ++i) {
      const ValueDifference& row = out_.values[i];
      if (!row.ok && !out_.first) out_.first = i;
      if (row.own.share > 0 && (!out_.worst || rank(out_.values[*out_.worst]) < rank(row))) out_.worst = i;
    }
    if (out_.worst && out_.values[*out_.worst].covers.empty()) {
      ValueDifference& row = out_.values[*out_.worst];
      for (const ir::Node* node : region_of(*by_name_.at(row.value), known_of[row.variant]).nodes) row.covers.push_back(describe(*node));
    }
    return judge_outputs();
  }

  Status judge_outputs() {
    for (size_t v = 1; v < variants_.size(); ++v) {
      std::map<size_t, HostValue> expected;
      for (size_t i = 0; i < graph_.outputs().size(); ++i)
        if (const auto row = output_row(v, i); row != nullptr && !row->ok) expected.emplace(i, tapped_[0].outputs[i]);
      // Where one operation is wrong the outputs need no excuse.
      if (expected.empty() || out_.first || options_.round_off_samples == 0) continue;
      progress("judging the outputs");
      const auto excused = within_round_off(graph_, inputs_, expected, tapped_[v].outputs, options_.round_off_samples);
      if (!excused.ok() || !*excused) continue;
      for (const auto& [i, value] : expected) {
        output_row(v, i)->ok = true;
        output_row(v, i)->note = **excused;
      }
    }
    out_.ok = !out_.first && std::ranges::all_of(out_.outputs, &OutputDifference::ok);
    return {};
  }

  OutputDifference* output_row(size_t variant, size_t output) {
    const size_t index = (variant - 1) * graph_.outputs().size() + output;
    return index < out_.outputs.size() ? &out_.outputs[index] : nullptr;
  }

  const ir::Graph& graph_;
  std::span<const Variant> variants_;
  const std::vector<HostValue>& inputs_;
  const CompareOptions& options_;
  const std::unordered_set<std::string> names_;
  std::unordered_map<std::string, const ir::Value*> by_name_;
  std::unordered_map<std::string, int> products_;  // before each value, where a variant rounds
  Steps steps_;                                    // of each value behind a quantiser
  TappedVariants tapped_;
  Spill reference_values_;
  Comparison out_;
};

}  // namespace

Result<Comparison> compare_values(const ir::Graph& graph, std::span<const Variant> variants, const std::vector<HostValue>& inputs,
                                  const CompareOptions& options, TappedVariants* tapped) {
  if (variants.size() < 2) return Status(Code::kInvalidArgument, "there is one way to run the model, two are needed");
  return Comparer(graph, variants, inputs, options).run(tapped);
}

}  // namespace tenon::eval
