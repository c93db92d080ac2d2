// Scan of opset 8 (ONNX docs/Changelog.md, Scan-8): an optional sequence_lens, then states and scanned inputs, all with
// a batch axis 0; the steps are axis 1. Scan of opset 9 has neither.

#include "frontend/onnx/importer.h"

namespace tenon::frontend {
namespace {

/// A tensor type without its first axis.
ir::Type element_type(const ir::Type& type) {
  if (!type.is_ranked_tensor()) return ir::TensorType::unranked(type.dtype());
  const std::vector<ir::Dim>& dims = *type.tensor().dims;
  return ir::TensorType(type.dtype(), std::vector<ir::Dim>(dims.begin() + (dims.empty() ? 0 : 1), dims.end()));
}

/// The first `length` steps of x.
ir::Value* first_steps(ir::Builder& builder, ir::Value* x, ir::Value* length) {
  return builder.make("Slice", {x, builder.ints({0}), length, builder.ints({0})});
}

/// y with zeros behind it, to as many steps as `like` has.
ir::Value* pad_steps(ir::Builder& builder, ir::Value* y, ir::Value* steps, ir::Value* length) {
  ir::Value* pads =
      builder.make("Concat", {builder.ints({0}), builder.make("Sub", {steps, length})}, {{"axis", int64_t{0}}});
  return builder.make("Pad", {y, pads, nullptr, builder.ints({0})});
}

}  // namespace

Result<std::vector<ir::Value*>> Importer::emit_batched_scan(const Call& call, const onnx::GraphProto& body,
                                                            ir::Graph& graph, const Scope& scope, const Frame& frame) {
  const int64_t scanned = call.integer("num_scan_inputs", 0);
  const auto count = static_cast<int64_t>(call.inputs.size()) - 1;
  if (scanned < 1 || scanned > count)
    return error(Code::kInvalidModel, "num_scan_inputs is {} with {} inputs", scanned, count);
  const auto states = static_cast<size_t>(count - scanned);
  if (static_cast<size_t>(body.output_size()) < states || call.used.size() > static_cast<size_t>(body.output_size()))
    return error(Code::kInvalidModel, "the body has {} outputs for {} states and {} outputs of the node",
                 body.output_size(), states, call.used.size());
  std::vector<ir::Value*> batched(call.inputs.begin() + 1, call.inputs.end());
  if (call.has(0)) batched.push_back(call.in(0));
  for (const ir::Value* v : batched)
    if (v == nullptr || !v->type().is_tensor())
      return error(Code::kInvalidModel, "an input is missing or not a tensor");

  const ir::OpDef* op = ir::find_op("", "Scan");
  ir::Node* outer = graph.create(*op, batched, body.output_size());
  outer->set_name(call.name);
  outer->attrs().set("num_scan_inputs", static_cast<int64_t>(batched.size()));
  ir::Graph& example = outer->add_region();
  std::vector<ir::Value*> inputs;
  for (const ir::Value* v : batched) {
    inputs.push_back(example.add_input(unique(fmt::format("{}/example", call.name)), element_type(v->type())));
    named_.insert(inputs.back());
  }

  ir::Builder builder(example);
  builder.set_name(call.name);
  ir::Value *steps = nullptr, *length = nullptr;
  if (call.has(0)) {
    steps = builder.make("Shape", {inputs[states]}, {{"end", int64_t{1}}});
    length = builder.make("Reshape", {inputs.back(), builder.ints({1})});
    length = builder.make("Min", {builder.make("Max", {length, builder.ints({0})}), steps});
    inputs.pop_back();
    for (size_t i = states; i < inputs.size(); ++i) inputs[i] = first_steps(builder, inputs[i], length);
    TENON_RETURN_IF_ERROR(builder.status());
  }
  ir::Node* inner = example.create(*op, inputs, body.output_size());
  inner->set_name(call.name + "/steps");
  inner->attrs().set("num_scan_inputs", scanned);
  if (const auto* directions = call.integers("directions")) inner->attrs().set("scan_input_directions", *directions);
  TENON_RETURN_IF_ERROR(import_region(body, *inner, inner->add_region(), scope, frame));
  if (!unsupported_.empty()) return std::vector<ir::Value*>(outer->outputs().begin(), outer->outputs().end());
  TENON_RETURN_IF_ERROR(ir::infer_node(*inner));
  for (int i = 0; i < inner->num_outputs(); ++i) {
    const bool padded = length != nullptr && static_cast<size_t>(i) >= states;
    example.add_output(padded ? pad_steps(builder, inner->output(i), steps, length) : inner->output(i));
  }
  TENON_RETURN_IF_ERROR(builder.status());
  TENON_RETURN_IF_ERROR(ir::infer_node(*outer));
  return std::vector<ir::Value*>(outer->outputs().begin(), outer->outputs().end());
}

}  // namespace tenon::frontend
