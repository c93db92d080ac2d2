#pragma once

#include "ir/ops/ml_common.h"

/// Ops of ai.onnx.ml as standard ones, in f64 as the evaluator computes them. kUnsupported where that cannot say them;
/// then the evaluator runs them, and says what is wrong with a bad one.
namespace tenon::ir {

Result<std::vector<Value*>> decompose_scaler(Node& node, Builder& b);
Result<std::vector<Value*>> decompose_normalizer(Node& node, Builder& b);
Result<std::vector<Value*>> decompose_imputer(Node& node, Builder& b);

/// x [rows, features] in f64; a vector is one row.
Result<Value*> feature_rows(Builder& b, Value* x);
/// A constant of rank 1.
Result<Value*> doubles(Builder& b, DType dtype, std::span<const double> values);
/// The post-transform of scores [rows, targets], which leaves a single one alone unless it is PROBIT.
Result<Value*> post_transformed(Builder& b, Value* scores, PostTransform post);
/// binary_scores of ml_common.h: [rows, 2] from [rows, 1].
Value* both_scores(Builder& b, Value* score, PostTransform post, bool margin);
/// The labels at these positions.
Result<Value*> labels_at(Builder& b, const Labels& labels, Value* which);
Value* cast_to(Builder& b, Value* value, DType dtype);

}  // namespace tenon::ir
