// Scan of opset 8 (ONNX docs/Changelog.md, Scan-8): an optional sequence_lens, then states and scanned inputs, all with
// a batch axis 0; the steps are axis 1. Scan of opset 9 has neither.

#include "frontend/onnx/importer.h"

namespace tenon::frontend {

namespace {

struct BatchedScan {
  std::vector<ir::Value*> lengths, operands;  // lengths: one or none; operands: states, then scanned inputs
  int64_t scanned;
  int num_outputs;
  std::vector<int64_t> directions;
  int64_t states() const { return static_cast<int64_t>(operands.size()) - scanned; }
};

Result<BatchedScan> read_batched_scan(const Call& call, int num_outputs) {
  BatchedScan s{{}, {}, call.integer("num_scan_inputs", 0), num_outputs, {}};
  if (call.has(0)) s.lengths = {call.in(0)};
  for (size_t i = 1; i < call.inputs.size(); ++i) {
    if (!call.has(i)) return error(Code::kInvalidModel, "input {} is missing", i);
    if (const auto rank = rules::rank_of(call.in(i));
        rank && *rank < (static_cast<int64_t>(call.inputs.size() - i) <= s.scanned ? 2 : 1))
      return error(Code::kInvalidModel, "input {} has rank {}: a batch axis comes first, and the scanned one next", i,
                   *rank);
    s.operands.push_back(call.in(i));
  }
  if (s.scanned < 1 || s.states() < 0)
    return error(Code::kInvalidModel, "num_scan_inputs {} is out of range", s.scanned);
  if (num_outputs < std::max<int64_t>(s.states(), 1) || static_cast<int>(call.used.size()) > num_outputs)
    return error(Code::kInvalidModel, "the body has {} outputs, for {} states and {} outputs of the node", num_outputs,
                 s.states(), call.used.size());
  for (ir::Value* lengths : s.lengths)
    if (lengths->dtype() != DType::kI64 || rules::rank_of(lengths).value_or(1) != 1)
      return error(Code::kInvalidModel, "sequence_lens must be i64 of rank 1, but is {}", to_string(lengths->type()));
  if (const auto* directions = call.integers("directions")) s.directions = *directions;
  return s;
}

ir::Type without_batch(const ir::Type& type) {
  if (!type.is_ranked_tensor()) return type;
  return ir::TensorType(type.dtype(), std::vector<ir::Dim>(type.tensor().dims->begin() + 1, type.tensor().dims->end()));
}

/// The first `length` of x along axis 0; running it with a length outside [0, extent] fails.
ir::Value* head_of(ir::Builder& b, ir::Value* x, ir::Value* sizes) {
  ir::Value* inputs[] = {x, sizes};
  return b.make_n("Split", inputs, 2, {{"axis", int64_t{0}}})[0];
}

}  // namespace

/// Scan of opset 8 runs a scan for each entry of a batch: a Scan over the batch whose body is the scan over the
/// sequence. A shorter sequence is the head of its rows; what its outputs lack is zeros.
Importer::Values Importer::import_batched_scan(const Call& call, const Regions& regions, ir::Graph& graph,
                                               const Scope& scope, const Frame& frame) {
  TENON_ASSIGN_OR_RETURN(const BatchedScan s, read_batched_scan(call, regions[0]->output_size()));
  std::vector<ir::Value*> inputs = s.operands;
  inputs.insert(inputs.end(), s.lengths.begin(), s.lengths.end());
  ir::Builder builder(graph);
  builder.set_name(call.name);

  const auto fill = [&](ir::Graph& batch) -> Status {
    std::vector<ir::Value*> slices;
    for (size_t i = 0; i < inputs.size(); ++i)
      slices.push_back(batch.add_input(unique(fmt::format("{}/{}", call.name, i)), without_batch(inputs[i]->type())));
    ir::Builder b(batch);
    b.set_name(call.name);
    ir::Value* tail = nullptr;
    if (!s.lengths.empty()) {
      ir::Value* length = b.make("Unsqueeze", {slices.back(), b.ints({0})});
      slices.pop_back();
      ir::Value* extent = b.make("Shape", {slices.back()}, {{"start", int64_t{0}}, {"end", int64_t{1}}});
      tail = b.make("Sub", {extent, length});
      ir::Value* sizes = b.make("Concat", {length, tail}, {{"axis", int64_t{0}}});
      for (auto i = static_cast<size_t>(s.states()); i < slices.size(); ++i) slices[i] = head_of(b, slices[i], sizes);
      TENON_RETURN_IF_ERROR(b.status());
    }
    ir::Node* scan = batch.create(*ir::find_op("", "Scan"), slices, s.num_outputs);
    scan->set_name(call.name);
    scan->attrs().set("num_scan_inputs", s.scanned);
    if (!s.directions.empty()) scan->attrs().set("scan_input_directions", s.directions);
    TENON_RETURN_IF_ERROR(import_region(*regions[0], *scan, scan->add_region(), scope, frame));
    TENON_RETURN_IF_ERROR(ir::infer_node(*scan));
    for (int i = 0; i < s.num_outputs; ++i) {
      ir::Value* value = scan->output(i);
      if (tail != nullptr && i >= s.states())
        value =
            b.make("Pad", {value, b.make("Concat", {b.ints({0}), tail}, {{"axis", int64_t{0}}}), nullptr, b.ints({0})});
      TENON_RETURN_IF_ERROR(b.status());
      batch.add_output(value);
    }
    return {};
  };
  std::vector<ir::Value*> outputs = builder.make_region(
      "Scan", inputs, s.num_outputs, {{"num_scan_inputs", static_cast<int64_t>(inputs.size())}}, fill);
  TENON_RETURN_IF_ERROR(builder.status());
  return outputs;
}

}  // namespace tenon::frontend
