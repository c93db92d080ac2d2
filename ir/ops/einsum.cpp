#include <algorithm>
#include <cctype>

#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

namespace tenon::ir {
namespace {

/// Labels are letters; an ellipsis stands for kEllipsis + position, counted from the right so that axes broadcast.
constexpr int kEllipsis = 256;

struct Term {
  std::vector<int> before, after;
  bool ellipsis = false;
};

struct Equation {
  std::vector<Term> inputs;
  Term output;
  bool explicit_output = false;
};

Result<Term> parse_term(std::string_view text) {
  Term term;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char ch = static_cast<unsigned char>(text[i]);
    if (ch == '.') {
      if (term.ellipsis || text.substr(i, 3) != "...") return error(Code::kInvalidModel, "misplaced '.' in \"{}\"", text);
      term.ellipsis = true;
      i += 2;
    } else if (std::isalpha(ch)) {
      (term.ellipsis ? term.after : term.before).push_back(ch);
    } else {
      return error(Code::kInvalidModel, "'{}' in term \"{}\" is no label", text[i], text);
    }
  }
  return term;
}

Result<Equation> parse_equation(std::string text) {
  std::erase_if(text, [](unsigned char ch) { return std::isspace(ch); });
  Equation equation;
  std::string_view rest = text;
  size_t arrow = rest.find("->");
  std::string_view left = rest.substr(0, arrow);
  for (size_t start = 0;;) {
    size_t comma = left.find(',', start);
    TENON_ASSIGN_OR_RETURN(Term term, parse_term(left.substr(start, comma == std::string_view::npos ? comma : comma - start)));
    equation.inputs.push_back(std::move(term));
    if (comma == std::string_view::npos) break;
    start = comma + 1;
  }
  if (arrow != std::string_view::npos) {
    equation.explicit_output = true;
    TENON_ASSIGN_OR_RETURN(equation.output, parse_term(rest.substr(arrow + 2)));
  }
  return equation;
}

/// NumPy's rule without "->": the ellipsis, then labels that occur once, in alphabetical order.
Term implicit_output(const Equation& equation) {
  std::vector<int> count(kEllipsis, 0);
  Term out;
  for (const Term& t : equation.inputs) {
    out.ellipsis |= t.ellipsis;
    for (int label : t.before) ++count[static_cast<size_t>(label)];
    for (int label : t.after) ++count[static_cast<size_t>(label)];
  }
  for (int label = 0; label < kEllipsis; ++label)
    if (count[static_cast<size_t>(label)] == 1) out.after.push_back(label);
  return out;
}

struct Plan {
  std::vector<std::vector<int>> inputs;  // label of every axis of every operand
  std::vector<int> output, reduced;
  std::vector<std::pair<int, Dim>> dims;
  Dim dim(int label) const {
    for (const auto& [l, d] : dims)
      if (l == label) return d;
    return 1;
  }
};

Status bind_label(Plan& plan, int label, Dim dim) {
  for (auto& [l, d] : plan.dims) {
    if (l != label) continue;
    if (d.is_const(1)) d = dim;
    else if (!dim.is_const(1) && known_ne(d, dim))
      return error(Code::kInvalidModel, "a label has both {} and {} elements", to_string(d), to_string(dim));
    else if (dim.is_const() && !dim.is_const(1)) d = dim;
    return {};
  }
  plan.dims.emplace_back(label, dim);
  return {};
}

Result<Plan> make_plan(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Equation equation, parse_equation(node.attr_string("equation", "")));
  if (equation.inputs.size() != static_cast<size_t>(node.num_inputs()))
    return error(Code::kInvalidModel, "the equation has {} terms where the node has {} inputs", equation.inputs.size(), node.num_inputs());
  Plan plan;
  size_t widest = 0;
  for (size_t i = 0; i < equation.inputs.size(); ++i) {
    const Term& term = equation.inputs[i];
    const Dims& dims = dims_of(node, static_cast<int>(i));
    size_t named = term.before.size() + term.after.size();
    if (named > dims.size() || (!term.ellipsis && named != dims.size()))
      return error(Code::kInvalidModel, "the term of input {} has {} labels where the input has {} axes", i, named, dims.size());
    size_t wide = dims.size() - named;
    widest = std::max(widest, wide);
    std::vector<int> labels = term.before;
    for (size_t j = 0; j < wide; ++j) labels.push_back(kEllipsis + static_cast<int>(wide - 1 - j));
    labels.insert(labels.end(), term.after.begin(), term.after.end());
    for (size_t j = 0; j < labels.size(); ++j) TENON_RETURN_IF_ERROR(bind_label(plan, labels[j], dims[j]));
    plan.inputs.push_back(std::move(labels));
  }
  Term out = equation.explicit_output ? equation.output : implicit_output(equation);
  plan.output = out.before;
  if (out.ellipsis)
    for (size_t j = 0; j < widest; ++j) plan.output.push_back(kEllipsis + static_cast<int>(widest - 1 - j));
  plan.output.insert(plan.output.end(), out.after.begin(), out.after.end());
  for (size_t i = 0; i < plan.output.size(); ++i) {
    int label = plan.output[i];
    if (std::count(plan.output.begin(), plan.output.end(), label) > 1)
      return error(Code::kInvalidModel, "a label stands twice in the output of the equation");
    if (std::none_of(plan.dims.begin(), plan.dims.end(), [&](const auto& d) { return d.first == label; }))
      return error(Code::kInvalidModel, "label '{}' of the output is in no input", static_cast<char>(label));
  }
  for (const auto& [label, dim] : plan.dims)
    if (std::find(plan.output.begin(), plan.output.end(), label) == plan.output.end()) plan.reduced.push_back(label);
  return plan;
}

Status infer_einsum(InferContext& c) {
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    if (!c.has(i)) return c.fail("input {} is missing", i);
    if (!c.ranked(i)) {
      c.set(0, unranked(c.dtype(0)));
      return {};
    }
  }
  Result<Plan> plan = make_plan(c.node());
  if (!plan.ok()) return std::move(plan).status().at(c.node().name());
  Dims out;
  for (int label : plan->output) out.push_back(plan->dim(label));
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

Result<std::vector<Body>> einsum_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Plan plan, make_plan(node));
  Body body;
  ExprPool& p = *body.pool;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  for (int label : plan.reduced) body.reduce_axes.push_back(plan.dim(label));
  bool reduces = !plan.reduced.empty();
  body.acc_dtype = accumulator_of(body.dtype);
  body.kind = !reduces ? ComputeKind::kMovement : node.num_inputs() == 2 ? ComputeKind::kContraction : ComputeKind::kReduce;
  auto index_of = [&](int label) {
    auto at = std::find(plan.output.begin(), plan.output.end(), label);
    if (at != plan.output.end()) return p.index(static_cast<int>(at - plan.output.begin()));
    auto r = std::find(plan.reduced.begin(), plan.reduced.end(), label);
    return p.index(static_cast<int>(plan.output.size() + static_cast<size_t>(r - plan.reduced.begin())));
  };
  Expr value;
  for (int i = 0; i < node.num_inputs(); ++i) {
    std::vector<Expr> at;
    const std::vector<int>& labels = plan.inputs[static_cast<size_t>(i)];
    for (size_t j = 0; j < labels.size(); ++j)
      at.push_back(dims_of(node, i)[j].is_const(1) ? p.constant_int(DType::kI64, 0) : index_of(labels[j]));
    Expr factor = load_as(p, node, i, at, body.acc_dtype);
    value = value.valid() ? value * factor : factor;
  }
  body.value = reduces ? value : p.cast(value, body.dtype);
  return std::vector<Body>{std::move(body)};
}

}  // namespace

std::vector<OpDef> einsum_ops() {
  return {
      {.domain = "", .name = "Einsum",
       .inputs = {{.name = "Inputs", .var = "T", .types = kNumeric, .variadic = true}},
       .outputs = {{"Output", "T", kNumeric}},
       .attrs = {{"equation", AttrKind::kString, true}},
       .infer = infer_einsum, .compute = {.body = einsum_body},
       .doc = "Einstein summation (ONNX Einsum)."},
  };
}

}  // namespace tenon::ir
