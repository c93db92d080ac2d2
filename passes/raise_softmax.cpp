#include "passes/raise_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Node;
using ir::Value;

bool same_axes(const Node& p, const Node& q) {
  auto axes = reduced_axes(p);
  return axes && axes == reduced_axes(q);
}

/// Softmax and LogSoftmax work along one axis.
Value* along_one_axis(const Match& m, Builder& b, std::string_view name) {
  auto axes = reduced_axes(m.node("max"));
  if (!axes || axes->size() != 1 || !same_axes(m.node("max"), m.node("sum"))) return nullptr;
  if (!keeps_dims(m.node("max")) || !keeps_dims(m.node("sum"))) return nullptr;
  return b.make(name, {m["x"]}, {{"axis", axes->front()}});
}

/// The reduction `m["sum"]` of x as another op, with the axes and attributes that it has.
Value* reduction(const Match& m, Builder& b, std::string_view name) {
  const Node& sum = m.node("sum");
  std::vector<Value*> inputs = {m["x"]};
  if (sum.has_input(1)) inputs.push_back(sum.input(1));
  std::vector<std::pair<std::string, ir::Attr>> attrs(sum.attrs().begin(), sum.attrs().end());
  return b.make_n(name, inputs, 1, std::move(attrs))[0];
}

Value* log_sum_exp(const Match& m, Builder& b) {
  if (!keeps_dims(m.node("max")) || !keeps_dims(m.node("sum")) || !same_axes(m.node("max"), m.node("sum")))
    return nullptr;
  return reduction(m, b, "ReduceLogSumExp");
}

/// x over its norm along one axis, 0 where that is 0.
Value* lp_normalization(const Match& m, Builder& b) {
  auto axes = reduced_axes(m.node("norm"));
  if (!axes || axes->size() != 1 || !keeps_dims(m.node("norm"))) return nullptr;
  return b.make("LpNormalization", {m["x"]},
                {{"axis", axes->front()}, {"p", int64_t{m.node("norm").is("ReduceL1") ? 1 : 2}}});
}

std::vector<RaiseRule> make_rules() {
  const Pattern x = any("x");
  const Pattern max = reduced("ReduceMax", x, "max");
  const Pattern shifted = (x - max).as("shifted"), exps = op("Exp", {shifted}).as("exps");
  // A maximum that is infinite must not be subtracted.
  const Pattern finite_max =
      op("Where", {either({op("IsInf", {max}), op("Equal", {op("Abs", {max}), any("infinity")})}), 0, max}).as("shift");
  const Pattern norm = reduced("ReduceL1|ReduceL2", x, "norm");
  return {
      {exps / reduced("ReduceSum", exps, "sum"), [](auto& m, auto& b) { return along_one_axis(m, b, "Softmax"); }},
      {shifted - op("Log", {reduced("ReduceSum", op("Exp", {shifted}), "sum")}),
       [](auto& m, auto& b) { return along_one_axis(m, b, "LogSoftmax"); }},
      {op("Log", {reduced("ReduceSum", op("Exp", {x - finite_max}), "sum")}) + finite_max,
       [](auto& m, auto& b) -> Value* {
         if (m.has("infinity") && !(number_of(m["infinity"]) == std::numeric_limits<double>::infinity()))
           return nullptr;
         return log_sum_exp(m, b);
       }},
      {sqrt(reduced("ReduceSum", pow(x, 2), "sum")), [](auto& m, auto& b) { return reduction(m, b, "ReduceL2"); }},
      {sqrt(reduced("ReduceSumSquare", x, "sum")), [](auto& m, auto& b) { return reduction(m, b, "ReduceL2"); }},
      {reduced("ReduceSum", pow(x, 2), "sum"), [](auto& m, auto& b) { return reduction(m, b, "ReduceSumSquare"); }},
      {reduced("ReduceSum", op("Abs", {x}), "sum"), [](auto& m, auto& b) { return reduction(m, b, "ReduceL1"); }},
      {x / op("Where", {op("Equal", {norm, 0}), 1, norm}), lp_normalization},
  };
}

}  // namespace

std::span<const RaiseRule> softmax_rules() {
  static const auto* rules = new std::vector<RaiseRule>(make_rules());
  return *rules;
}

}  // namespace tenon::passes
