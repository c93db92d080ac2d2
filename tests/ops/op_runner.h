#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "ir/evaluate.h"
#include "ir/graph.h"
#include "support/tensor.h"

/// Runs one op through the reference interpreter.
namespace tenon::ir::test {

using Attributes = std::vector<std::pair<std::string_view, Attr>>;

/// Absent inputs are undefined tensors. The inputs' static types are unranked, so that the run works out every shape.
Result<std::vector<Tensor>> try_op_n(std::string_view op, const std::vector<Tensor>& inputs, int outputs,
                                     const Attributes& attrs = {}, const EvalOptions& options = {});
Result<Tensor> try_op(std::string_view op, const std::vector<Tensor>& inputs, const Attributes& attrs = {}, const EvalOptions& options = {});
/// Fails the test when the op fails.
Tensor run_op(std::string_view op, const std::vector<Tensor>& inputs, const Attributes& attrs = {});
std::vector<Tensor> run_op_n(std::string_view op, const std::vector<Tensor>& inputs, int outputs, const Attributes& attrs = {});

std::vector<double> values(const Tensor& t);
Tensor floats(Shape shape, std::vector<float> values);
Tensor ints(std::vector<int64_t> values);

}  // namespace tenon::ir::test
