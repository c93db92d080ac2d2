#include "tests/ops/op_runner.h"

#include <gtest/gtest.h>

namespace tenon::ir::test {

Result<std::vector<Tensor>> try_op_n(std::string_view op, const std::vector<Tensor>& inputs, int outputs,
                                     const Attributes& attrs, const EvalOptions& options) {
  const OpDef* def = find_op(op);
  if (def == nullptr) return error(Code::kNotFound, "there is no op {}", op);
  Graph graph;
  std::vector<Value*> operands;
  std::vector<HostValue> host;
  for (const Tensor& t : inputs) {
    operands.push_back(t.defined() ? graph.add_input(graph.unique_name("x"), TensorType::unranked(t.dtype())) : nullptr);
    host.push_back(t.defined() ? HostValue(t) : HostValue());
  }
  Node* node = graph.create(*def, operands, outputs);
  node->set_name("node");
  for (const auto& [name, attr] : attrs) node->attrs().set(name, attr);
  TENON_RETURN_IF_ERROR(infer_node(*node));
  std::vector<HostValue> results(static_cast<size_t>(outputs));
  TENON_RETURN_IF_ERROR(evaluate_node(*node, host, results, options));
  std::vector<Tensor> tensors;
  for (HostValue& result : results)
    tensors.push_back(std::holds_alternative<Tensor>(result) ? std::get<Tensor>(result) : Tensor());
  return tensors;
}

Result<Tensor> try_op(std::string_view op, const std::vector<Tensor>& inputs, const Attributes& attrs, const EvalOptions& options) {
  TENON_ASSIGN_OR_RETURN(std::vector<Tensor> all, try_op_n(op, inputs, 1, attrs, options));
  return std::move(all[0]);
}

std::vector<Tensor> run_op_n(std::string_view op, const std::vector<Tensor>& inputs, int outputs, const Attributes& attrs) {
  Result<std::vector<Tensor>> all = try_op_n(op, inputs, outputs, attrs);
  EXPECT_TRUE(all.ok()) << all.status().to_string();
  return all.ok() ? std::move(*all) : std::vector<Tensor>(static_cast<size_t>(outputs), Tensor::from<float>({0}, {}));
}

Tensor run_op(std::string_view op, const std::vector<Tensor>& inputs, const Attributes& attrs) {
  return run_op_n(op, inputs, 1, attrs)[0];
}

std::vector<double> values(const Tensor& t) {
  std::vector<double> out;
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(t.at_double(i));
  return out;
}

Tensor floats(Shape shape, std::vector<float> values) {
  return Tensor::from<float>(std::move(shape), std::span<const float>(values));
}
Tensor ints(std::vector<int64_t> values) {
  return Tensor::from<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values));
}

}  // namespace tenon::ir::test
