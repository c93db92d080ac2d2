// The derivative rules: for each op, what the cotangents of its outputs make of its inputs' (g is the output's, one
// input: x).

#include <algorithm>
#include <cmath>
#include <numbers>
#include <unordered_map>

#include "ir/differentiate.h"

namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;

Value* make(Pullback& p, std::string_view op, std::initializer_list<Value*> inputs,
            std::initializer_list<std::pair<std::string_view, Attr>> attrs = {}) {
  return p.s.builder().make(op, inputs, attrs);
}
Value* number(Pullback& p, double value) { return p.s.like(p.g(), value); }
Value* square(Pullback& p, Value* v) { return p.s.mul(v, v); }
Value* one_minus(Pullback& p, Value* v) { return p.s.sub(p.s.like(v, 1), v); }
Value* one_plus(Pullback& p, Value* v) { return p.s.add(v, 1); }
Value* inverse_sqrt(Pullback& p, Value* v) { return p.s.unary("Reciprocal", p.s.unary("Sqrt", v)); }
Value* zeros_like(Pullback& p, Value* v) { return p.s.expand(number(p, 0), *v->tensor().dims); }
Value* when(Pullback& p, Value* condition, Value* then, Value* otherwise) {
  return make(p, "Where", {condition, then, otherwise});
}
Value* where_kept(Pullback& p, Value* condition) { return when(p, condition, p.g(), number(p, 0)); }

Status need_ranks(Pullback& p) {
  for (const Value* v : p.node.inputs())
    if (v != nullptr && !v->type().is_ranked_tensor())
      return Status(Code::kUnsupported, fmt::format("the rank of {} is not known", v->name()), {},
                    "give the model's inputs shapes");
  return {};
}

/// g · slope(p), of one input.
template <class Fn>
constexpr DerivativeFn scaled_by(Fn) {
  return [](Pullback& p) -> Values { return std::vector<Value*>{p.s.mul(p.g(), Fn{}(p))}; };
}
/// The cotangents that `fn` gives, for rules that cannot fail.
template <class Fn>
constexpr DerivativeFn each(Fn) {
  return [](Pullback& p) -> Values { return Fn{}(p); };
}
using List = std::vector<Value*>;

constexpr double kPi = std::numbers::pi;

Value* normal_density(Pullback& p, Value* x) {
  return p.s.mul(p.s.unary("Exp", p.s.mul(square(p, x), -0.5)), 1 / std::sqrt(2 * kPi));
}

/// Φ(x) + x φ(x); or of the tanh approximation, u = √(2/π) (x + 0.044715 x³).
Value* gelu_slope(Pullback& p) {
  Value* x = p.x();
  if (p.node.attr_string("approximate", "none") != "tanh") {
    Value* cdf = p.s.mul(one_plus(p, p.s.unary("Erf", p.s.mul(x, std::sqrt(0.5)))), 0.5);
    return p.s.add(cdf, p.s.mul(x, normal_density(p, x)));
  }
  const double a = std::sqrt(2 / kPi), b = 0.044715;
  Value* t = p.s.unary("Tanh", p.s.mul(p.s.mul(x, one_plus(p, p.s.mul(square(p, x), b))), a));
  Value* du = p.s.mul(one_plus(p, p.s.mul(square(p, x), 3 * b)), a);
  return p.s.mul(p.s.add(one_plus(p, t), p.s.mul(p.s.mul(x, one_minus(p, square(p, t))), du)), 0.5);
}

/// σ(a x) (1 + a x (1 - σ(a x)))
Value* swish_slope(Pullback& p) {
  Value* ax = p.s.mul(p.x(), p.node.attr_float("alpha", 1));
  Value* sigma = p.s.unary("Sigmoid", ax);
  return p.s.mul(sigma, one_plus(p, p.s.mul(ax, one_minus(p, sigma))));
}

Value* mish_slope(Pullback& p) {
  Value* t = p.s.unary("Tanh", p.s.unary("Softplus", p.x()));
  return p.s.add(t, p.s.mul(p.s.mul(p.x(), p.s.unary("Sigmoid", p.x())), one_minus(p, square(p, t))));
}

Value* step(Pullback& p, double otherwise) {
  return when(p, make(p, "Greater", {p.x(), number(p, 0)}), number(p, 1), number(p, otherwise));
}

Value* selu_slope(Pullback& p) {
  const double alpha = p.node.attr_float("alpha", 1.67326319217681884765625),
               gamma = p.node.attr_float("gamma", 1.05070102214813232421875);
  return when(p, make(p, "Greater", {p.x(), number(p, 0)}), number(p, gamma),
              p.s.mul(p.s.unary("Exp", p.x()), alpha * gamma));
}

/// 1 between the ends of a ramp, 0 beyond; `slope` in between.
Value* ramp(Pullback& p, double low, double high, double slope) {
  Value* inside =
      make(p, "And", {make(p, "Greater", {p.x(), number(p, low)}), make(p, "Less", {p.x(), number(p, high)})});
  return when(p, inside, number(p, slope), number(p, 0));
}

Value* hard_sigmoid_slope(Pullback& p) {
  const double alpha = p.node.attr_float("alpha", 0.2), beta = p.node.attr_float("beta", 0.5);
  if (alpha == 0) return number(p, 0);
  const double a = -beta / alpha, b = (1 - beta) / alpha;
  return ramp(p, std::min(a, b), std::max(a, b), alpha);
}

Value* hard_swish_slope(Pullback& p) {
  Value* middle = p.s.add(p.s.mul(p.x(), 1.0 / 3), 0.5);
  Value* upper = when(p, make(p, "Less", {p.x(), number(p, 3)}), middle, number(p, 1));
  return when(p, make(p, "Greater", {p.x(), number(p, -3)}), upper, number(p, 0));
}

// ---- Two inputs and more

Values div(Pullback& p) {
  Value* a = p.s.div(p.g(), p.x(1));
  return List{a, p.s.unary("Neg", p.s.mul(a, p.y()))};
}

/// x^e: e x^(e-1) and x^e ln x, which is 0 where x = 0 (for e > 0, its limit).
Values pow(Pullback& p) {
  Value *x = p.x(), *e = p.s.cast(p.x(1), p.x()->dtype());
  Value* less = p.s.sub(e, p.s.like(e, 1));
  Value* zero = make(p, "Equal", {x, number(p, 0)});
  Value* logarithm = p.s.unary("Log", when(p, zero, number(p, 1), x));
  Value* slope = when(p, make(p, "Equal", {e, number(p, 0)}), number(p, 0), p.s.mul(e, make(p, "Pow", {x, less})));
  // The dtypes of x and e may differ; e's cotangent has e's.
  return List{p.s.mul(p.g(), slope), p.s.cast(p.s.mul(p.g(), p.s.mul(p.y(), logarithm)), p.x(1)->dtype())};
}

/// Every input that attains the extremum gets an equal share.
Values extremum(Pullback& p) {
  List hits;
  Value* total = nullptr;
  for (Value* x : p.node.inputs()) {
    Value* hit = p.s.cast(make(p, "Equal", {x, p.y()}), p.g()->dtype());
    total = total == nullptr ? hit : p.s.add(total, hit);
    hits.push_back(hit);
  }
  for (Value*& hit : hits) hit = p.s.mul(p.g(), p.s.div(hit, total));
  return hits;
}

Values where(Pullback& p) {
  Value* zero = number(p, 0);
  return List{nullptr, when(p, p.x(0), p.g(), zero), when(p, p.x(0), zero, p.g())};
}

Values clip(Pullback& p) {
  List out = {p.g(), nullptr, nullptr};
  const auto bound = [&](int i, std::string_view beyond) {
    if (!p.node.has_input(i)) return;
    Value* outside = make(p, beyond, {p.x(0), p.x(i)});
    out[static_cast<size_t>(i)] = where_kept(p, outside);
    out[0] = when(p, outside, number(p, 0), out[0]);
  };
  bound(1, "Less");
  bound(2, "Greater");
  return out;
}

// ---- Matrix products

Value* swapped(Pullback& p, Value* m) {
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < m->tensor().rank(); ++i) perm.push_back(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return p.s.transpose(m, std::move(perm));
}

Value* with_axis(Pullback& p, Value* v, int64_t axis) { return make(p, "Unsqueeze", {v, p.s.builder().ints({axis})}); }

/// Vectors are matrices of one row on the left, of one column on the right.
Values matmul(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  const bool row = p.dims(0).size() == 1, column = p.dims(1).size() == 1;
  Value* a = row ? with_axis(p, p.x(0), 0) : p.x(0);
  Value* b = column ? with_axis(p, p.x(1), 1) : p.x(1);
  Value* g = p.g();
  if (column) g = with_axis(p, g, -1);
  if (row) g = with_axis(p, g, -2);
  TENON_RETURN_IF_ERROR(p.s.builder().status());
  Value* gb = p.s.matmul(swapped(p, a), g);
  if (column) gb = make(p, "Squeeze", {gb, p.s.builder().ints({-1})});
  return List{p.s.matmul(g, swapped(p, b)), gb};
}

/// α A' B' + β C, where ' transposes when the attribute says so.
Values gemm(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  const bool ta = p.node.attr_int("transA", 0) != 0, tb = p.node.attr_int("transB", 0) != 0;
  Value* g = p.s.mul(p.g(), p.node.attr_float("alpha", 1));
  Value* a = ta ? swapped(p, p.x(0)) : p.x(0);
  Value* b = tb ? swapped(p, p.x(1)) : p.x(1);
  Value* ga = p.s.matmul(g, swapped(p, b));
  Value* gb = p.s.matmul(swapped(p, a), g);
  TENON_RETURN_IF_ERROR(p.s.builder().status());
  List out = {ta ? swapped(p, ga) : ga, tb ? swapped(p, gb) : gb};
  if (p.node.has_input(2)) out.push_back(p.s.mul(p.g(), p.node.attr_float("beta", 1)));
  return out;
}

// ---- Reductions

/// v (of the output's shape) with the reduced axes back as axes of size 1.
Result<Value*> kept(Pullback& p, Value* v) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  if (p.node.attr_int("keepdims", 1) != 0) return v;
  const Dims& dims = p.dims();
  std::vector<int64_t> axes;
  if (p.node.has_input(1)) {
    const auto given = constant_ints(p.x(1));
    if (!given) return Status(Code::kUnsupported, "axes that are not constant have no derivative rule");
    for (int64_t a : *given) {
      TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(a, static_cast<int64_t>(dims.size())));
      axes.push_back(axis);
    }
  }
  const bool all = axes.empty() && p.node.attr_int("noop_with_empty_axes", 0) == 0;
  Dims out;
  for (size_t i = 0; i < dims.size(); ++i)
    out.push_back(all || std::ranges::find(axes, static_cast<int64_t>(i)) != axes.end() ? Dim(1) : dims[i]);
  return p.s.reshape(v, std::move(out));
}

Value* spread(Pullback& p, Value* g) { return p.s.expand(g, p.dims()); }

Values reduce_sum(Pullback& p) {
  TENON_ASSIGN_OR_RETURN(Value * g, kept(p, p.g()));
  return List{spread(p, g)};
}

Values reduce_mean(Pullback& p) {
  TENON_ASSIGN_OR_RETURN(Value * g, kept(p, p.g()));
  const DType dtype = p.g()->dtype();
  // Counts go through f64: f16 ends at 65504.
  Value* share =
      p.s.div(p.s.cast(make(p, "Size", {p.y()}), DType::kF64), p.s.cast(make(p, "Size", {p.x()}), DType::kF64));
  return List{spread(p, p.s.mul(g, p.s.cast(share, dtype)))};
}

/// g · slope(x, y) for reductions whose slope at an element depends on it and on the result.
template <class Fn>
constexpr DerivativeFn reduced(Fn) {
  return [](Pullback& p) -> Values {
    TENON_ASSIGN_OR_RETURN(Value * g, kept(p, p.g()));
    TENON_ASSIGN_OR_RETURN(Value * y, kept(p, p.y()));
    return List{p.s.mul(g, Fn{}(p, y))};
  };
}

Values reduce_extremum(Pullback& p) {
  TENON_ASSIGN_OR_RETURN(Value * g, kept(p, p.g()));
  TENON_ASSIGN_OR_RETURN(Value * y, kept(p, p.y()));
  Value* hit = p.s.cast(make(p, "Equal", {p.x(), y}), g->dtype());
  const List inputs = p.node.has_input(1) ? List{hit, p.x(1)} : List{hit};
  Value* count = p.s.builder().make_n(
      "ReduceSum", inputs, 1,
      {{"keepdims", int64_t{1}}, {"noop_with_empty_axes", p.node.attr_int("noop_with_empty_axes", 0)}})[0];
  return List{p.s.mul(p.s.div(g, count), hit)};
}

Values softmax(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  const int64_t axes[] = {p.node.attr_int("axis", -1)};
  Value* gy = p.s.mul(p.g(), p.y());
  return List{p.s.sub(gy, p.s.mul(p.y(), p.s.reduce("ReduceSum", gy, axes)))};
}

Values log_softmax(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  const int64_t axes[] = {p.node.attr_int("axis", -1)};
  return List{p.s.sub(p.g(), p.s.mul(p.s.unary("Exp", p.y()), p.s.reduce("ReduceSum", p.g(), axes)))};
}

// ---- Movement

Values as_input_shape(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  return List{p.s.reshape(p.g(), p.dims())};
}

Values transpose(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  const std::vector<int64_t> perm = p.node.attr_ints("perm");
  const size_t rank = p.dims().size();
  std::vector<int64_t> inverse(rank);
  for (size_t i = 0; i < rank; ++i) {
    const auto from = perm.empty() ? rank - 1 - i : static_cast<size_t>(perm[i]);
    inverse[from] = static_cast<int64_t>(i);
  }
  return List{p.s.transpose(p.g(), std::move(inverse))};
}

Values trilu(Pullback& p) {
  const List inputs = p.node.has_input(1) ? List{p.g(), p.x(1)} : List{p.g()};
  return List{p.s.builder().make_n("Trilu", inputs, 1, {p.node.attrs().begin(), p.node.attrs().end()})[0]};
}

Values concat(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  TENON_ASSIGN_OR_RETURN(const int64_t axis,
                         normalize_axis(p.node.attr_int("axis", 0), static_cast<int64_t>(p.dims().size())));
  List out;
  Dim at = 0;
  for (int i = 0; i < p.node.num_inputs(); ++i) {
    const Dim end = at + p.dims(i)[static_cast<size_t>(axis)];
    out.push_back(p.s.slice(p.g(), axis, at, end));
    at = end;
  }
  return out;
}

Values split(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  List parts;
  for (int i = 0; i < p.node.num_outputs(); ++i) parts.push_back(p.g(i) != nullptr ? p.g(i) : zeros_like(p, p.y(i)));
  return List{p.s.builder().make_n("Concat", parts, 1, {{"axis", p.node.attr_int("axis", 0)}})[0]};
}

/// An op whose every output element is an element of x, or of what surrounds it (Pad): the op itself, run on the
/// elements' positions, says where each cotangent goes. One more position, past the end, takes what is of Pad's
/// constant.
Values by_positions(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  Builder& b = p.s.builder();
  const Dim count = product(p.dims());
  Value* range = b.make("Range", {b.scalar(DType::kI64, 0), p.s.dim_scalar(count), b.scalar(DType::kI64, 1)});
  List inputs(p.node.inputs().begin(), p.node.inputs().end());
  inputs[0] = p.s.reshape(range, p.dims());
  if (p.node.is("Pad")) {
    inputs.resize(std::max<size_t>(inputs.size(), 3), nullptr);
    inputs[2] = p.s.dim_scalar(count);
  }
  Value* positions = b.make_n(p.node.op_name(), inputs, 1, {p.node.attrs().begin(), p.node.attrs().end()})[0];
  Value* flat = b.ints({-1});
  Value* zeros = p.s.expand(number(p, 0), {count + 1});
  Value* sums =
      b.make("ScatterElements", {zeros, b.make("Reshape", {positions, flat}), b.make("Reshape", {p.g(), flat})},
             {{"axis", int64_t{0}}, {"reduction", std::string("add")}});
  List out = {p.s.reshape(p.s.slice(sums, 0, 0, count), p.dims())};
  if (p.node.is("Pad") && p.node.has_input(2))
    out.insert(out.end(), {nullptr, p.s.reshape(p.s.slice(sums, 0, count, count + 1), p.dims(2))});
  return out;
}

/// Data keeps its cotangent, updates read theirs at their places; other reductions have no rule.
Values scatter_elements(Pullback& p) {
  TENON_RETURN_IF_ERROR(need_ranks(p));
  const std::string reduction = p.node.attr_string("reduction", "none");
  const int64_t axis = p.node.attr_int("axis", 0);
  Value* updates = make(p, "GatherElements", {p.g(), p.x(1)}, {{"axis", axis}});
  if (reduction == "add") return List{p.g(), nullptr, updates};
  if (reduction != "none") return error(Code::kUnsupported, "reduction {} has no derivative rule", reduction);
  Value* zero = zeros_like(p, p.x(2));
  return List{make(p, "ScatterElements", {p.g(), p.x(1), zero}, {{"axis", axis}}), nullptr, updates};
}

/// Scales and drops as the run forward did: by its mask.
Values dropout(Pullback& p) {
  Node& node = p.node;
  if (node.num_outputs() < 2) {
    node.add_output(node.graph()->unique_name(node.name() + ".mask"));
    TENON_RETURN_IF_ERROR(infer_node(node));
  }
  Value* kept = p.s.cast(node.output(1), p.g()->dtype());
  Value* ratio = node.has_input(1) ? p.s.cast(p.x(1), p.g()->dtype()) : number(p, 0.5);
  Value* scale = p.s.unary("Reciprocal", one_minus(p, ratio));
  if (node.has_input(2))
    scale = when(p, p.x(2), scale, number(p, 1));
  else
    scale = number(p, 1);
  return List{p.s.mul(p.g(), p.s.mul(kept, scale))};
}

Values zero(Pullback& p) { return List(static_cast<size_t>(p.node.num_inputs()), nullptr); }

constexpr DerivativeRule kRules[] = {
    // One input, elementwise.
    {"Identity", each([](Pullback& p) { return List{p.g()}; })},
    {"Cast CastLike", each([](Pullback& p) { return List{p.s.cast(p.g(), p.x()->dtype())}; })},
    {"Neg", each([](Pullback& p) { return List{p.s.unary("Neg", p.g())}; })},
    {"Abs", scaled_by([](Pullback& p) { return p.s.unary("Sign", p.x()); })},
    {"Exp", scaled_by([](Pullback& p) { return p.y(); })},
    {"Log", each([](Pullback& p) { return List{p.s.div(p.g(), p.x())}; })},
    {"Sqrt", each([](Pullback& p) { return List{p.s.div(p.s.mul(p.g(), 0.5), p.y())}; })},
    {"Reciprocal", scaled_by([](Pullback& p) { return p.s.unary("Neg", square(p, p.y())); })},
    {"Sin", scaled_by([](Pullback& p) { return p.s.unary("Cos", p.x()); })},
    {"Cos", scaled_by([](Pullback& p) { return p.s.unary("Neg", p.s.unary("Sin", p.x())); })},
    {"Tan", scaled_by([](Pullback& p) { return one_plus(p, square(p, p.y())); })},
    {"Asin", scaled_by([](Pullback& p) { return inverse_sqrt(p, one_minus(p, square(p, p.x()))); })},
    {"Acos", scaled_by([](Pullback& p) { return p.s.unary("Neg", inverse_sqrt(p, one_minus(p, square(p, p.x())))); })},
    {"Atan", scaled_by([](Pullback& p) { return p.s.unary("Reciprocal", one_plus(p, square(p, p.x()))); })},
    {"Sinh", scaled_by([](Pullback& p) { return p.s.unary("Cosh", p.x()); })},
    {"Cosh", scaled_by([](Pullback& p) { return p.s.unary("Sinh", p.x()); })},
    {"Tanh", scaled_by([](Pullback& p) { return one_minus(p, square(p, p.y())); })},
    {"Asinh", scaled_by([](Pullback& p) { return inverse_sqrt(p, one_plus(p, square(p, p.x()))); })},
    {"Acosh", scaled_by([](Pullback& p) { return inverse_sqrt(p, p.s.sub(square(p, p.x()), number(p, 1))); })},
    {"Atanh", scaled_by([](Pullback& p) { return p.s.unary("Reciprocal", one_minus(p, square(p, p.x()))); })},
    {"Erf", scaled_by([](Pullback& p) {
       return p.s.mul(p.s.unary("Exp", p.s.unary("Neg", square(p, p.x()))), 2 / std::sqrt(kPi));
     })},
    {"Sigmoid", scaled_by([](Pullback& p) { return p.s.mul(p.y(), one_minus(p, p.y())); })},
    {"Relu", scaled_by([](Pullback& p) { return step(p, 0); })},
    {"LeakyRelu", scaled_by([](Pullback& p) { return step(p, p.node.attr_float("alpha", 0.01)); })},
    {"ThresholdedRelu", each([](Pullback& p) {
       return List{where_kept(p, make(p, "Greater", {p.x(), number(p, p.node.attr_float("alpha", 1))}))};
     })},
    {"Elu", scaled_by([](Pullback& p) {
       return when(p, make(p, "Less", {p.x(), number(p, 0)}), p.s.add(p.y(), p.node.attr_float("alpha", 1)),
                   number(p, 1));
     })},
    {"Celu", scaled_by([](Pullback& p) {
       return p.s.unary("Exp", make(p, "Min", {p.s.div(p.x(), p.node.attr_float("alpha", 1)), number(p, 0)}));
     })},
    {"Selu", scaled_by([](Pullback& p) { return selu_slope(p); })},
    {"Softplus", scaled_by([](Pullback& p) { return p.s.unary("Sigmoid", p.x()); })},
    {"Softsign",
     scaled_by([](Pullback& p) { return square(p, p.s.unary("Reciprocal", one_plus(p, p.s.unary("Abs", p.x())))); })},
    {"HardSigmoid", scaled_by([](Pullback& p) { return hard_sigmoid_slope(p); })},
    {"HardSwish", scaled_by([](Pullback& p) { return hard_swish_slope(p); })},
    {"Gelu", scaled_by([](Pullback& p) { return gelu_slope(p); })},
    {"Swish", scaled_by([](Pullback& p) { return swish_slope(p); })},
    {"Mish", scaled_by([](Pullback& p) { return mish_slope(p); })},
    {"Floor Ceil Round Sign RandomNormalLike RandomUniformLike Bernoulli", zero},
    {"Dropout", dropout},

    // More inputs, broadcast.
    {"Add", each([](Pullback& p) { return List{p.g(), p.g()}; })},
    {"Sub", each([](Pullback& p) { return List{p.g(), p.s.unary("Neg", p.g())}; })},
    {"Mul", each([](Pullback& p) { return List{p.s.mul(p.g(), p.x(1)), p.s.mul(p.g(), p.x(0))}; })},
    {"Div", div},
    {"Pow", pow},
    {"Sum", each([](Pullback& p) { return List(static_cast<size_t>(p.node.num_inputs()), p.g()); })},
    {"Mean", each([](Pullback& p) {
       return List(static_cast<size_t>(p.node.num_inputs()), p.s.mul(p.g(), 1.0 / p.node.num_inputs()));
     })},
    {"Max Min", extremum},
    {"PRelu", each([](Pullback& p) {
       Value* below = make(p, "Less", {p.x(0), number(p, 0)});
       return List{when(p, below, p.s.mul(p.g(), p.x(1)), p.g()), when(p, below, p.s.mul(p.g(), p.x(0)), number(p, 0))};
     })},
    {"Where", where},
    {"Clip", clip},

    {"MatMul", matmul},
    {"Gemm", gemm},

    {"ReduceSum", reduce_sum},
    {"ReduceMean", reduce_mean},
    {"ReduceMax ReduceMin", reduce_extremum},
    {"ReduceL1", reduced([](Pullback& p, Value*) { return p.s.unary("Sign", p.x()); })},
    {"ReduceL2", reduced([](Pullback& p, Value* y) { return p.s.div(p.x(), y); })},
    {"ReduceSumSquare", reduced([](Pullback& p, Value*) { return p.s.mul(p.x(), 2); })},
    {"ReduceLogSum", reduced([](Pullback& p, Value* y) { return p.s.unary("Exp", p.s.unary("Neg", spread(p, y))); })},
    {"ReduceLogSumExp", reduced([](Pullback& p, Value* y) { return p.s.unary("Exp", p.s.sub(p.x(), y)); })},
    {"Softmax", softmax},
    {"LogSoftmax", log_softmax},

    {"Reshape Flatten Squeeze Unsqueeze tenon.reshape", as_input_shape},
    {"Expand tenon.expand", each([](Pullback& p) { return List{p.g()}; })},
    {"Transpose", transpose},
    {"Trilu", trilu},
    {"Concat", concat},
    {"Split", split},
    {"Slice Gather GatherElements GatherND Pad Tile DepthToSpace SpaceToDepth ReverseSequence Compress", by_positions},
    {"ScatterElements", scatter_elements},
};

}  // namespace

std::span<const DerivativeRule> derivative_rules() { return kRules; }

DerivativeFn derivative_of(const OpDef& op) {
  static const std::unordered_map<std::string, DerivativeFn> table = [] {
    std::unordered_map<std::string, DerivativeFn> out;
    for (const DerivativeRule& rule : kRules)
      for (std::string_view rest = rule.ops; !rest.empty();) {
        const size_t space = rest.find(' ');
        out.emplace(rest.substr(0, space), rule.rule);
        rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
      }
    return out;
  }();
  auto it = table.find(qualified_name(op));
  return it == table.end() ? nullptr : it->second;
}

}  // namespace tenon::ir
