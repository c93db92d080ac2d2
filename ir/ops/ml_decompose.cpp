#include "ir/ops/ml_decompose.h"

#include <algorithm>
#include <cmath>

namespace tenon::ir {
namespace {

bool ranked_below(const Value* x, int64_t rank) { return x->type().is_ranked_tensor() && x->tensor().rank() < rank; }

/// One number, or one for each column of the last axis.
Result<Value*> column_attr(Builder& b, const Node& node, std::string_view name, double fallback) {
  std::vector<double> values = node.attr_floats(name);
  if (values.empty()) values = {fallback};
  const bool fits =
      values.size() == 1 || (node.input(0)->type().is_ranked_tensor() && node.input(0)->tensor().rank() > 0 &&
                             node.input(0)->tensor().dims->back().is_const(static_cast<int64_t>(values.size())));
  if (!fits) return error(Code::kUnsupported, "attribute {} may not fit the last axis", name);
  return doubles(b, DType::kF64, values);
}

/// [1] against a scalar would give a vector.
Result<Value*> fitted(Builder& b, Value* values, const Value* x) {
  if (!x->type().is_ranked_tensor()) return error(Code::kUnsupported, "the rank of the input is not known");
  return x->tensor().rank() == 0 ? b.make("Squeeze", {values, b.ints({0})}) : values;
}

}  // namespace

Value* cast_to(Builder& b, Value* value, DType dtype) {
  return value == nullptr || value->dtype() == dtype ? value
                                                     : b.make("Cast", {value}, {{"to", int64_t{info(dtype).onnx}}});
}

Result<Value*> doubles(Builder& b, DType dtype, std::span<const double> values) {
  TENON_ASSIGN_OR_RETURN(Tensor t, Tensor::zeros(dtype, {static_cast<int64_t>(values.size())}));
  for (size_t i = 0; i < values.size(); ++i) t.set_double(static_cast<int64_t>(i), values[i]);
  return b.constant(std::move(t));
}

Result<Value*> feature_rows(Builder& b, Value* x) {
  if (!x->type().is_ranked_tensor() || x->tensor().rank() < 1 || x->tensor().rank() > 2)
    return error(Code::kUnsupported, "the features are not known to be a matrix");
  Value* wide = cast_to(b, x, DType::kF64);
  return x->tensor().rank() == 1 ? b.make("Unsqueeze", {wide, b.ints({0})}) : wide;
}

namespace {

Value* probit(Builder& b, Value* p) {
  const auto number = [&](double v) { return b.scalar(DType::kF64, v); };
  Value* x = b.make("Sub", {b.make("Mul", {number(2), p}), number(1)});
  Value* tails = b.make("Mul", {b.make("Sub", {number(1), x}), b.make("Add", {number(1), x})});
  Value* log = b.make("Log", {tails});
  Value* u = b.make("Add", {number(2 / (3.14159 * 0.147)), b.make("Mul", {number(0.5), log})});
  Value* v = b.make("Div", {log, number(0.147)});
  Value* root = b.make("Sqrt", {b.make("Sub", {b.make("Mul", {u, u}), v})});
  Value* size = b.make("Sqrt", {b.make("Sub", {root, u})});
  Value* sign = b.make("Where", {b.make("Less", {x, number(0)}), number(-1.41421356), number(1.41421356)});
  return b.make("Mul", {sign, size});
}

/// Softmax of the scores that are not 0.
Value* softmax_of_others(Builder& b, Value* scores) {
  const auto over_targets = [&](std::string_view op, Value* x) {
    return b.make(op, {x, b.ints({1})}, {{"keepdims", int64_t{1}}});
  };
  Value* zero = b.make("LessOrEqual", {b.make("Abs", {scores}), b.scalar(DType::kF64, 1e-7)});
  Value* power = b.make("Exp", {b.make("Sub", {scores, over_targets("ReduceMax", scores)})});
  power = b.make("Where", {zero, b.scalar(DType::kF64, 0), power});
  Value* total = over_targets("ReduceSum", power);
  Value* none = b.make("Equal", {total, b.scalar(DType::kF64, 0)});
  return b.make("Where", {none, power, b.make("Div", {power, total})});
}

}  // namespace

Value* both_scores(Builder& b, Value* score, PostTransform post, bool margin) {
  if (post == PostTransform::kProbit) score = probit(b, score);
  const bool opposite = margin || post == PostTransform::kLogistic || post == PostTransform::kProbit;
  Value* first = opposite ? b.make("Neg", {score}) : b.make("Sub", {b.scalar(DType::kF64, 1), score});
  Value* both = b.make("Concat", {first, score}, {{"axis", int64_t{1}}});
  return post == PostTransform::kLogistic ? b.make("Sigmoid", {both}) : both;
}

Result<Value*> post_transformed(Builder& b, Value* scores, PostTransform post) {
  if (post == PostTransform::kNone) return scores;
  if (scores == nullptr || !scores->type().is_ranked_tensor() || !scores->tensor().dims->back().is_const())
    return error(Code::kUnsupported, "the number of scores is not known");
  if (scores->tensor().dims->back().is_const(1) && post != PostTransform::kProbit) return scores;
  switch (post) {
    case PostTransform::kNone:
      break;
    case PostTransform::kLogistic:
      return b.make("Sigmoid", {scores});
    case PostTransform::kSoftmax:
      return b.make("Softmax", {scores}, {{"axis", int64_t{1}}});
    case PostTransform::kSoftmaxZero:
      return softmax_of_others(b, scores);
    case PostTransform::kProbit:
      return probit(b, scores);
  }
  return scores;
}

Result<Value*> labels_at(Builder& b, const Labels& labels, Value* which) {
  TENON_ASSIGN_OR_RETURN(Tensor table, Tensor::zeros(labels.dtype(), {static_cast<int64_t>(labels.size())}));
  for (size_t i = 0; i < labels.size(); ++i) store_label(table, static_cast<int64_t>(i), labels, i);
  return b.make("Gather", {b.constant(std::move(table)), which}, {{"axis", int64_t{0}}});
}

Result<std::vector<Value*>> decompose_scaler(Node& node, Builder& b) {
  Value* x = node.input(0);
  TENON_ASSIGN_OR_RETURN(Value * offset, column_attr(b, node, "offset", 0));
  TENON_ASSIGN_OR_RETURN(Value * scale, column_attr(b, node, "scale", 1));
  TENON_ASSIGN_OR_RETURN(offset, fitted(b, offset, x));
  TENON_ASSIGN_OR_RETURN(scale, fitted(b, scale, x));
  Value* scaled = b.make("Mul", {b.make("Sub", {cast_to(b, x, DType::kF64), offset}), scale});
  return std::vector<Value*>{cast_to(b, scaled, DType::kF32)};
}

Result<std::vector<Value*>> decompose_normalizer(Node& node, Builder& b) {
  const std::string norm = node.attr_string("norm", "MAX");
  if (!ranked_below(node.input(0), 3) || node.input(0)->tensor().rank() == 0 ||
      (norm != "MAX" && norm != "L1" && norm != "L2"))
    return error(Code::kUnsupported, "the features are not known to be a matrix, or there is no such norm");
  if (!known_le(1, node.input(0)->tensor().dims->back())) return error(Code::kUnsupported, "there may be no columns");
  Value* x = cast_to(b, node.input(0), DType::kF64);
  Value* size;
  if (norm == "MAX") {  // of what is a number
    Value* numbers = b.make("Where", {b.make("IsNaN", {x}), b.scalar(DType::kF64, -INFINITY), x});
    size = b.make("ReduceMax", {numbers, b.ints({-1})}, {{"keepdims", int64_t{1}}});
  } else {
    size = b.make("ReduceSum", {norm == "L1" ? b.make("Abs", {x}) : b.make("Mul", {x, x}), b.ints({-1})},
                  {{"keepdims", int64_t{1}}});
    if (norm == "L2") size = b.make("Sqrt", {size});
  }
  Value* zero = b.make("Equal", {size, b.scalar(DType::kF64, 0)});
  return std::vector<Value*>{cast_to(b, b.make("Where", {zero, x, b.make("Div", {x, size})}), DType::kF32)};
}

Result<std::vector<Value*>> decompose_imputer(Node& node, Builder& b) {
  Value* x = node.input(0);
  const DType dtype = x->dtype();
  if (!is_float(dtype)) return error(Code::kUnsupported, "integers are compared as they are");
  const std::vector<double> values = node.attr_floats("imputed_value_floats");
  if (values.empty()) return error(Code::kUnsupported, "there are no imputed values");
  const bool fits = values.size() == 1 || (x->type().is_ranked_tensor() && x->tensor().rank() > 0 &&
                                           x->tensor().dims->back().is_const(static_cast<int64_t>(values.size())));
  if (!fits) return error(Code::kUnsupported, "the imputed values may not fit the last axis");
  TENON_ASSIGN_OR_RETURN(Value * given, doubles(b, dtype, values));
  TENON_ASSIGN_OR_RETURN(given, fitted(b, given, x));
  const double missing = node.attr_float("replaced_value_float", 0);
  Value* gone = std::isnan(missing) ? b.make("IsNaN", {x}) : b.make("Equal", {x, b.scalar(dtype, missing)});
  return std::vector<Value*>{b.make("Where", {gone, given, x})};
}

}  // namespace tenon::ir
