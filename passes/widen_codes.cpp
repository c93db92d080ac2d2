#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/rewrite.h"

namespace tenon::passes {
namespace {

using ir::Node;
using ir::Value;

/// Integers of 2 and 4 bits as bytes of the same sign.
Result<Tensor> widened(const Tensor& codes) {
  const bool is_signed = codes.dtype() == DType::kI4 || codes.dtype() == DType::kI2;
  TENON_ASSIGN_OR_RETURN(Tensor bytes, Tensor::empty(is_signed ? DType::kI8 : DType::kU8, codes.shape()));
  for (int64_t i = 0; i < codes.size(); ++i) bytes.set_int(i, codes.at_int(i));
  return bytes;
}

Result<bool> widen(Node& node, PassContext& context) {
  if (!node.is("DequantizeLinear") || !is_int(node.input(0)->dtype()) || !is_packed(node.input(0)->dtype()))
    return false;
  Patch patch(node);
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  for (Value*& input : inputs) {
    if (input == nullptr || input->dtype() != node.input(0)->dtype()) continue;
    const Tensor* codes = ir::constant_of(input);
    if (codes == nullptr) return false;
    TENON_ASSIGN_OR_RETURN(Tensor bytes, widened(*codes));
    input = patch.builder().constant(std::move(bytes), input->name());
  }
  std::vector<std::pair<std::string, ir::Attr>> attrs(node.attrs().begin(), node.attrs().end());
  return patch.replace(context, patch.builder().make_n(node.op_name(), inputs, 1, std::move(attrs))[0]);
}

}  // namespace

Result<bool> widen_codes(ir::Graph& graph, PassContext& context) {
  return rewrite_nodes(graph, context, [&](Node& node, Node*&) { return widen(node, context); });
}

}  // namespace tenon::passes
