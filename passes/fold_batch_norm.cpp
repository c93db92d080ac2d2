#include <algorithm>
#include <cmath>

#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/rewrite.h"

namespace tenon::passes {
namespace {

using ir::Node;
using ir::Value;

/// y = x * scale[c] + shift[c] over the channels c of x; an empty vector is all ones, all zeros.
struct Affine {
  Value* x = nullptr;
  std::vector<double> scale, shift;
};

std::vector<double> values_of(const Tensor& tensor) {
  std::vector<double> out(static_cast<size_t>(tensor.size()));
  for (int64_t i = 0; i < tensor.size(); ++i) out[static_cast<size_t>(i)] = tensor.at_double(i);
  return out;
}

/// BatchNormalization in inference: (x - mean) / sqrt(var + epsilon) * scale + bias.
std::optional<Affine> batch_norm(const Node& node, int64_t channels) {
  if (node.attr_int("training_mode", 0) != 0) return std::nullopt;
  std::vector<double> parts[4];
  for (int i = 0; i < 4; ++i) {
    const Tensor* tensor = ir::constant_of(node.input(i + 1));
    if (!tensor || tensor->size() != channels) return std::nullopt;
    parts[i] = values_of(*tensor);
  }
  auto& [scale, bias, mean, variance] = parts;
  double epsilon = node.attr_float("epsilon", 1e-5);
  Affine out{node.input(0), {}, {}};
  for (size_t c = 0; c < scale.size(); ++c) {
    out.scale.push_back(scale[c] / std::sqrt(variance[c] + epsilon));
    out.shift.push_back(bias[c] - mean[c] * out.scale.back());
  }
  return out;
}

/// A constant that varies along `axis` of a tensor of `rank` at most, one value a channel.
std::optional<std::vector<double>> per_channel(const Value* value, int64_t rank, int64_t axis, int64_t channels) {
  const Tensor* tensor = ir::constant_of(value);
  if (!tensor || !is_float(tensor->dtype()) || tensor->rank() > rank) return std::nullopt;
  for (int64_t i = 0; i < tensor->rank(); ++i) {
    bool at_channel = i + rank - tensor->rank() == axis;
    if (tensor->dim(i) != 1 && !(at_channel && tensor->dim(i) == channels)) return std::nullopt;
  }
  std::vector<double> out = values_of(*tensor);
  if (out.size() == 1) out.assign(static_cast<size_t>(channels), out[0]);
  return out;
}

/// What `node` does to one operand made by `producer`, when it is affine by channel.
std::optional<Affine> affine(const Node& node, const Node& producer, int64_t axis, int64_t channels) {
  if (node.is("BatchNormalization")) return batch_norm(node, channels);
  for (int i = 0; i < 2; ++i) {
    if (!node.input(i) || node.input(i)->def() != &producer) continue;
    auto operand = per_channel(node.input(1 - i), node.input(i)->tensor().rank(), axis, channels);
    if (!operand) continue;
    if (node.is("Mul")) return Affine{node.input(i), std::move(*operand), {}};
    if (node.is("Add")) return Affine{node.input(i), {}, std::move(*operand)};
  }
  return std::nullopt;
}

/// Weights of a contraction whose results have channels: which channel weight element i belongs to.
struct Weights {
  const Tensor* tensor;
  int64_t channels, axis;  // axis of the result
  int64_t inner;           // elements after the channel axis of the weights
  int64_t per_group;       // ConvTranspose: channels of a group
  int64_t rows_per_group;  // ConvTranspose: input channels of a group
  bool transposed;

  int64_t channel(int64_t i) const {
    if (!transposed) return i / inner % channels;
    int64_t row = i / (inner * per_group);
    return row / rows_per_group * per_group + i / inner % per_group;
  }
};

std::optional<Weights> weights_of(const Node& node) {
  const Tensor* w = ir::constant_of(node.input(1));
  if (!w || w->size() == 0 || !is_float(w->dtype()) || bits(w->dtype()) < 16 ||
      !node.output()->type().is_ranked_tensor())
    return std::nullopt;
  int64_t rank = node.output()->tensor().rank();
  if (node.is("MatMul")) {
    if (w->rank() != 2 || rank < 2) return std::nullopt;
    return Weights{w, w->dim(1), rank - 1, 1, 0, 0, false};
  }
  if (w->rank() < 3) return std::nullopt;
  int64_t groups = node.attr_int("group", 1);
  if (node.is("Conv")) return Weights{w, w->dim(0), 1, w->size() / w->dim(0), 0, 0, false};
  if (groups < 1 || w->dim(0) % groups != 0) return std::nullopt;
  return Weights{w, w->dim(1) * groups, 1, w->size() / (w->dim(0) * w->dim(1)), w->dim(1), w->dim(0) / groups, true};
}

Result<Tensor> scaled(const Weights& weights, const std::vector<double>& scale) {
  const Tensor& from = *weights.tensor;
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(from.dtype(), from.shape()));
  for (int64_t i = 0; i < from.size(); ++i)
    out.set_double(i, from.at_double(i) * scale[static_cast<size_t>(weights.channel(i))]);
  return out;
}

Result<Tensor> shifted_bias(const Weights& weights, const Tensor* bias, const Affine& by) {
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(weights.tensor->dtype(), {weights.channels}));
  for (int64_t c = 0; c < weights.channels; ++c) {
    auto at = static_cast<size_t>(c);
    double value = bias ? bias->at_double(c) : 0;
    if (!by.scale.empty()) value *= by.scale[at];
    if (!by.shift.empty()) value += by.shift[at];
    out.set_double(c, value);
  }
  return out;
}

Result<bool> fold(Node& node, PassContext& context) {
  Node* producer = nullptr;
  for (int i = 0; i < node.num_inputs() && i < 2 && !producer; ++i)
    if (Node* def = node.input(i) ? node.input(i)->def() : nullptr; def && def->graph() == node.graph() &&
        (def->is("Conv") || def->is("ConvTranspose") || def->is("MatMul")))
      producer = def;
  if (!producer || !producer->output()->has_one_use()) return false;
  for (int i = 1; i < node.num_outputs(); ++i)
    if (!node.output(i)->unused()) return false;
  auto weights = weights_of(*producer);
  if (!weights || !(producer->output()->type() == node.output()->type())) return false;
  auto by = affine(node, *producer, weights->axis, weights->channels);
  if (!by || by->x != producer->output()) return false;
  bool matmul = producer->is("MatMul");
  const Tensor* bias = matmul ? nullptr : ir::constant_of(producer->input(2));
  if (matmul ? !by->shift.empty() : producer->has_input(2) && (!bias || bias->size() != weights->channels)) return false;

  Patch patch(node);
  ir::Builder& b = patch.builder();
  std::vector<Value*> inputs = {producer->input(0), producer->input(1)};
  if (!by->scale.empty()) {
    TENON_ASSIGN_OR_RETURN(Tensor tensor, scaled(*weights, by->scale));
    inputs[1] = b.constant(std::move(tensor), producer->input(1)->name());
  }
  if (!matmul && (bias || !by->shift.empty())) {
    TENON_ASSIGN_OR_RETURN(Tensor tensor, shifted_bias(*weights, bias, *by));
    inputs.push_back(b.constant(std::move(tensor)));
  }
  std::vector<std::pair<std::string, ir::Attr>> attrs(producer->attrs().begin(), producer->attrs().end());
  Value* value = b.make_n(producer->op_name(), inputs, 1, std::move(attrs))[0];
  TENON_ASSIGN_OR_RETURN(bool done, patch.replace(context, value));
  if (done && producer->output()->unused()) producer->graph()->erase(producer);
  return done;
}

}  // namespace

Result<bool> fold_batch_norm(ir::Graph& graph, PassContext& context) {
  return rewrite_nodes(graph, context, [&](Node& node, Node*&) -> Result<bool> {
    if (!node.is("BatchNormalization") && !node.is("Mul") && !node.is("Add")) return false;
    return fold(node, context);
  });
}

}  // namespace tenon::passes
