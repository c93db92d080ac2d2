#include <algorithm>
#include <chrono>

#include "ir/evaluate.h"
#include "ir/symbols.h"
#include "passes/passes.h"
#include "passes/patch.h"

namespace tenon::passes {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

/// A fold may make a model larger by this much without regard to what it replaces.
constexpr int64_t kSmallBytes = int64_t{1} << 20;

Value* make_constant(Patch& patch, Tensor tensor) { return patch.builder().constant(std::move(tensor)); }

/// The contents of an integer tensor that inference knows: a Constant when all are numbers, else tenon.dim_values.
Value* from_dim_values(Patch& patch, const Value& output) {
  const std::vector<Dim>& dims = *output.dim_values();
  bool scalar = output.tensor().rank() == 0;
  if (std::ranges::all_of(dims, [](Dim d) { return d.is_const(); })) {
    Shape shape;
    if (!scalar) shape.push_back(static_cast<int64_t>(dims.size()));
    auto tensor = Tensor::zeros(output.dtype(), std::move(shape));
    if (!tensor.ok()) return nullptr;
    for (size_t i = 0; i < dims.size(); ++i) tensor->set_int(static_cast<int64_t>(i), dims[i].value());
    return make_constant(patch, std::move(*tensor));
  }
  ir::Builder& b = patch.builder();
  Value* values = scalar ? b.make("tenon.dim_values", {}, {{"dims", dims}, {"scalar", int64_t{1}}})
                         : b.make("tenon.dim_values", {}, {{"dims", dims}});
  if (output.dtype() == DType::kI64 || !values) return values;
  return b.make("Cast", {values}, {{"to", int64_t{info(output.dtype()).onnx}}});
}

bool dim_values_known(const Node& node) {
  if (node.num_outputs() != 1 || node.is("tenon.dim_values") || node.is("Constant") || node.num_regions() > 0)
    return false;
  if (node.is("Cast") && node.input(0) && node.input(0)->def() && node.input(0)->def()->is("tenon.dim_values"))
    return false;
  const Value& output = *node.output();
  bool dtype_fits = is_int(output.dtype()) || (output.dtype() == DType::kBool && ir::constant_ints(&output));
  return output.dim_values() && dtype_fits && output.type().is_ranked_tensor() &&
         output.tensor().rank() <= 1 && (output.tensor().rank() == 1 || output.dim_values()->size() == 1) &&
         std::ranges::all_of(*output.dim_values(), [](Dim d) { return d.is_valid(); });
}

/// Scalar operations that the interpreter would spend, as far as the node's bodies say.
constexpr int64_t kMaxWork = int64_t{1} << 28;
constexpr std::chrono::seconds kMaxTime{20};

bool cheap(const Node& node) {
  if (!node.op().compute.body) return true;
  auto bodies = node.op().compute.body(node);
  if (!bodies.ok()) return false;
  for (const ir::Body& body : *bodies) {
    const Dim outer = product(body.axes), inner = product(body.reduce_axes), work = body.scatter ? outer + inner : outer * inner;
    if (!work.is_const() || work.value() > kMaxWork) return false;
  }
  return true;
}

/// Constants that are dequantised stay codes until the pass integer-products has had its turn; in graphs for others to run they are what
/// makes the model small. All operands are constant.
bool is_codes(const Node& node) {
  return node.is("DequantizeLinear") && bits(node.input(0)->dtype()) <= 8 && ir::constant_of(node.input(0))->size() > 1;
}

/// Worth evaluating now: all operands constant, results tensors that are not much larger than the operands.
bool foldable(const Node& node, const PassContext& context) {
  if (node.op().side_effects || node.op().compute.structural || node.num_regions() > 0) return false;
  int64_t input_bytes = 0;
  for (const Value* input : node.inputs()) {
    if (!input) continue;
    const Tensor* tensor = ir::constant_of(input);
    if (!tensor) return false;
    input_bytes += static_cast<int64_t>(tensor->bytes());
  }
  if (!context.codes_settled && is_codes(node)) return false;
  for (const Value* output : node.outputs()) {
    if (!output->type().is_ranked_tensor()) return false;
    if (!output->tensor().is_static()) {  // NonZero of a constant: its result tells
      if (input_bytes > kSmallBytes) return false;
      continue;
    }
    Dim count = output->tensor().count();
    auto bytes = count.is_const() ? storage_bytes(output->dtype(), count.value()) : std::nullopt;
    if (!bytes || *bytes > static_cast<uint64_t>(context.max_fold_bytes)) return false;
    if (static_cast<int64_t>(*bytes) > std::max(kSmallBytes, 4 * input_bytes)) return false;
  }
  return cheap(node);
}

class Folder {
 public:
  explicit Folder(PassContext& context) : context_(context) {}

  Result<bool> run(Graph& graph) {
    bool changed = false;
    for (Node* node = graph.first(); node;) {
      TENON_RETURN_IF_ERROR(context_.step());
      if (node->is("If")) {  // before its branches: the other one need not even make sense
        Node* before = node->prev();
        TENON_ASSIGN_OR_RETURN(bool done, inline_branch(*node));
        changed |= done;
        changed_ |= done;
        if (done) {
          node = before ? before->next() : graph.first();
          continue;
        }
      }
      Node* next = node->next();
      for (const auto& region : node->regions()) {
        TENON_ASSIGN_OR_RETURN(bool inner, run(*region));
        changed |= inner;
      }
      TENON_ASSIGN_OR_RETURN(bool done, fold(*node));
      // What has changed before may let inference say more about what follows.
      changed |= done;
      node = next;
    }
    return changed;
  }

 private:
  Result<bool> fold(Node& node) {
    if (changed_ && node.num_regions() == 0 && node.num_inputs() > 0) TENON_RETURN_IF_ERROR(ir::infer_again(node));
    Result<bool> done = dim_values_known(node)     ? fold_dim_values(node)
                        : foldable(node, context_) ? evaluate(node)
                                                   : Result<bool>(false);
    if (done.ok() && *done) changed_ = true;
    return done;
  }

  Result<bool> fold_dim_values(Node& node) {
    Patch patch(node);
    Value* value = from_dim_values(patch, *node.output());
    if (!value) return false;
    return patch.replace(context_, value);
  }

  Result<bool> evaluate(Node& node) {
    std::vector<HostValue> inputs, outputs(static_cast<size_t>(node.num_outputs()));
    for (const Value* input : node.inputs()) inputs.push_back(input ? HostValue(*ir::constant_of(input)) : HostValue());
    ir::EvalOptions options;
    options.max_bytes = 4 * context_.max_fold_bytes;
    options.interrupt = Interrupt::after(kMaxTime);
    // What fails here fails in the same way at run time, if the node is reached at all.
    if (!ir::evaluate_node(node, inputs, outputs, options).ok()) return false;
    Patch patch(node);
    std::vector<Value*> values;
    for (HostValue& output : outputs) {
      if (!std::holds_alternative<Tensor>(output)) return false;
      values.push_back(make_constant(patch, std::move(std::get<Tensor>(output))));
    }
    return patch.replace(context_, values);
  }

  Result<bool> inline_branch(Node& node) {
    auto condition = ir::constant_ints(node.input(0));
    if (!condition || condition->size() != 1) return false;
    const Graph& branch = node.region((*condition)[0] != 0 ? 0 : 1);
    std::unordered_map<const Value*, Value*> map;
    Patch patch(node);
    ir::copy_nodes(branch, *node.graph(), &node, map);
    std::vector<Value*> values;
    for (Value* output : branch.outputs()) {
      auto it = map.find(output);
      values.push_back(it == map.end() ? output : it->second);
    }
    // The copies take the names of the nodes they are copies of, once those are gone.
    std::vector<std::pair<Value*, std::string>> names;
    for (const auto& inner : branch.nodes())
      for (const Value* output : inner->outputs())
        if (std::ranges::find(values, map[output]) == values.end()) names.emplace_back(map[output], output->name());
    TENON_ASSIGN_OR_RETURN(bool done, patch.replace(context_, values));
    if (done)
      for (auto& [value, name] : names) ir::rename_value(*value, std::move(name));
    return done;
  }

  PassContext& context_;
  bool changed_ = false;
};

}  // namespace

Result<bool> fold_constants(Graph& graph, PassContext& context) { return Folder(context).run(graph); }

}  // namespace tenon::passes
