#include "ir/evaluate_body.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tenon::ir {
namespace {

std::vector<double> doubles(const Tensor& t) {
  std::vector<double> v;
  for (int64_t i = 0; i < t.size(); ++i) v.push_back(t.at_double(i));
  return v;
}

Tensor iota(Shape shape, DType dtype = DType::kF32) {
  Tensor t = *Tensor::zeros(dtype, std::move(shape));
  for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, static_cast<double>(i % 97));
  return t;
}

Tensor run(const Body& body, std::initializer_list<const Tensor*> operands) {
  Result<Tensor> out = evaluate_body(body, std::vector<const Tensor*>(operands), {});
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? *out : Tensor();
}

Expr load(Body& body, int operand, DType dtype, std::initializer_list<Expr> indices) {
  return body.pool->load(operand, dtype, std::vector<Expr>(indices));
}

TEST(EvaluateBody, ElementwiseOverCollapsedAxes) {
  const Tensor x = iota({3, 5, 7});
  Body body{.dtype = DType::kF32, .axes = {3, 5, 7}};
  ExprPool& p = *body.pool;
  body.value = load(body, 0, DType::kF32, {p.index(0), p.index(1), p.index(2)}) * 2.0 + 1.0;
  const Tensor out = run(body, {&x});
  for (int64_t i = 0; i < 105; ++i) EXPECT_EQ(out.at_double(i), 2 * x.at_double(i) + 1);
}

TEST(EvaluateBody, TransposeAndBroadcastAcrossBlocks) {
  const Tensor x = iota({40, 30}), bias = iota({40});
  Body body{.kind = ComputeKind::kMovement, .dtype = DType::kF32, .axes = {30, 40}};
  ExprPool& p = *body.pool;
  body.value = load(body, 0, DType::kF32, {p.index(1), p.index(0)}) + load(body, 1, DType::kF32, {p.index(1)});
  const Tensor out = run(body, {&x, &bias});
  for (int64_t i = 0; i < 30; ++i)
    for (int64_t j = 0; j < 40; ++j)
      ASSERT_EQ(out.at_double(i * 40 + j), x.at_double(j * 30 + i) + bias.at_double(j));
}

TEST(EvaluateBody, ReductionsBothWays) {
  for (const int64_t terms : {3, 500}) {
    const Tensor x = iota({4, terms});
    Body body{.kind = ComputeKind::kReduce, .dtype = DType::kF32, .axes = {4}, .reduce_axes = {terms}, .acc_dtype = DType::kF32};
    ExprPool& p = *body.pool;
    body.value = load(body, 0, DType::kF32, {p.index(0), p.index(1)});
    const Tensor sum = run(body, {&x});
    body.combiner = Combiner::kArgMax;
    body.dtype = DType::kI64;
    const Tensor arg = run(body, {&x});
    for (int64_t i = 0; i < 4; ++i) {
      double expected = 0;
      int64_t best = 0;
      for (int64_t j = 0; j < terms; ++j) {
        expected += x.at_double(i * terms + j);
        if (x.at_double(i * terms + j) > x.at_double(i * terms + best)) best = j;
      }
      EXPECT_EQ(sum.at_double(i), expected);
      EXPECT_EQ(arg.at_int(i), best);
    }
  }
}

TEST(EvaluateBody, ArgMaxPrefersTheFirstNan) {
  const Tensor x = Tensor::from<float>({4}, {1, NAN, 9, NAN});
  Body body{.kind = ComputeKind::kReduce, .dtype = DType::kI64, .reduce_axes = {4}, .combiner = Combiner::kArgMax, .acc_dtype = DType::kF32};
  body.value = load(body, 0, DType::kF32, {body.pool->index(0)});
  EXPECT_EQ(run(body, {&x}).at_int(0), 1);
}

TEST(EvaluateBody, BatchedMatMulInFloatsAndInts) {
  for (const DType dtype : {DType::kF32, DType::kI32, DType::kI64}) {
    const int64_t b = 2, m = 5, n = 19, k = 33;
    const Tensor x = iota({b, m, k}, dtype), y = iota({k, n}, dtype);
    Body body{.kind = ComputeKind::kContraction, .dtype = dtype, .axes = {b, m, n}, .reduce_axes = {k}, .acc_dtype = dtype};
    ExprPool& p = *body.pool;
    body.value = load(body, 0, dtype, {p.index(0), p.index(1), p.index(3)}) * load(body, 1, dtype, {p.index(3), p.index(2)});
    const Tensor out = run(body, {&x, &y});
    for (int64_t i = 0; i < b * m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l) sum += x.at_double(i * k + l) * y.at_double(l * n + j);
        ASSERT_EQ(out.at_double(i * n + j), sum);
      }
  }
}

TEST(EvaluateBody, IntegerSumsBeyondDoublesAreExact) {
  const Tensor x = Tensor::from<int64_t>({2}, {(int64_t{1} << 60) + 1, 3});
  const Tensor y = Tensor::from<int64_t>({2, 2}, {1, 0, 5, 7});
  Body body{.kind = ComputeKind::kContraction, .dtype = DType::kI64, .axes = {2}, .reduce_axes = {2}, .acc_dtype = DType::kI64};
  ExprPool& p = *body.pool;
  body.value = load(body, 0, DType::kI64, {p.index(1)}) * load(body, 1, DType::kI64, {p.index(1), p.index(0)});
  const Tensor out = run(body, {&x, &y});
  EXPECT_EQ(out.at_int(0), (int64_t{1} << 60) + 16);
  EXPECT_EQ(out.at_int(1), 21);
}

TEST(EvaluateBody, GuardedLoadsPad) {
  const Tensor x = iota({1, 6});
  const Tensor w = iota({3});
  // out[i] = sum over r of x[i + r - 1] * w[r], zero outside.
  Body body{.kind = ComputeKind::kContraction, .dtype = DType::kF32, .axes = {6}, .reduce_axes = {3}, .acc_dtype = DType::kF32};
  ExprPool& p = *body.pool;
  const Expr at = p.index(0) + p.index(1) - 1.0;
  const Expr inside = at >= 0.0 && at < 6.0;
  const Expr indices[] = {p.constant_int(DType::kI64, 0), at};
  body.value = p.load_guarded(0, DType::kF32, indices, inside, p.constant(DType::kF32, 0)) * load(body, 1, DType::kF32, {p.index(1)});
  EXPECT_EQ(doubles(run(body, {&x, &w})), (std::vector<double>{2, 5, 8, 11, 14, 5}));
}

TEST(EvaluateBody, CheckedIndicesFailTheRun) {
  const Tensor x = iota({3});
  const Tensor indices = Tensor::from<int64_t>({2}, {1, 3});
  Body body{.kind = ComputeKind::kMovement, .dtype = DType::kF32, .axes = {2}};
  ExprPool& p = *body.pool;
  const Expr at = p.checked_index(load(body, 1, DType::kI64, {p.index(0)}), p.constant_int(DType::kI64, 3));
  body.value = load(body, 0, DType::kF32, {at});
  const Tensor* operands[] = {&x, &indices};
  EXPECT_EQ(evaluate_body(body, operands, {}).status().code(), Code::kOutOfRange);
}

TEST(EvaluateBody, ReadsOutsideAnInputAreErrors) {
  const Tensor x = iota({3});
  Body body{.kind = ComputeKind::kMovement, .dtype = DType::kF32, .axes = {5}};
  body.value = load(body, 0, DType::kF32, {body.pool->index(0)});
  const Tensor* operands[] = {&x};
  EXPECT_EQ(evaluate_body(body, operands, {}).status().code(), Code::kInvalidArgument);
}

TEST(EvaluateBody, MovesStrings) {
  const Tensor x = *Tensor::strings({2}, {"a", "b"});
  Body body{.kind = ComputeKind::kMovement, .dtype = DType::kString, .axes = {2}};
  body.value = load(body, 0, DType::kString, {1.0 - body.pool->index(0)});
  EXPECT_EQ(run(body, {&x}).string_values(), (std::vector<std::string>{"b", "a"}));
}

}  // namespace
}  // namespace tenon::ir
