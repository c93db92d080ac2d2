#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "ir/op.h"
#include "ir/storage_order.h"
#include "passes/fuse_info.h"
#include "passes/passes.h"
#include "passes/rounded_factors.h"
#include "support/float_types.h"

namespace tenon::passes {
namespace {

using ir::Attr;
using ir::ExprKind;
using ir::Graph;
using ir::Node;
using ir::Value;

/// Inputs of a sum of products of f32 whose elements are the factors as they are; none where a factor is computed on the way.
std::vector<int> plain_factors(const Node& node) {
  const auto ranked = [](const ir::Value* v) { return v == nullptr || v->type().is_ranked_tensor(); };
  if (node.op().compute.body == nullptr || node.num_regions() != 0) return {};
  if (!std::ranges::all_of(node.inputs(), ranked) || !std::ranges::all_of(node.outputs(), ranked)) return {};
  const auto bodies = node.op().compute.body(node);
  if (!bodies.ok() || bodies->size() != 1) return {};
  const ir::Body& body = bodies->front();
  if (body.kind != ir::ComputeKind::kContraction || body.acc_dtype != DType::kF32) return {};
  const ir::ExprNode& product = body.value.node();
  if (product.kind != ExprKind::kOp || product.op != ir::ScalarOp::kMul) return {};
  std::vector<int> found;
  for (int factor : product.args) {
    const ir::ExprNode& load = body.pool->node(factor);
    if (load.kind != ExprKind::kLoad || load.dtype != DType::kF32 || !node.input(load.operand)->type().is_ranked_tensor()) return {};
    if (std::ranges::find(found, load.operand) == found.end()) found.push_back(load.operand);
  }
  return found;
}

/// The constant in `dtype`; nullopt where an element is beyond its range.
Result<std::optional<Tensor>> rounded(const Tensor& from, DType dtype) {
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, from.shape()));
  const auto* values = reinterpret_cast<const float*>(from.data());
  auto* words = reinterpret_cast<uint16_t*>(out.mutable_data());
  for (int64_t i = 0; i < from.size(); ++i) {
    words[i] = dtype == DType::kF16 ? float_to_half(values[i]) : float_to_bf16(values[i]);
    const float back = dtype == DType::kF16 ? half_to_float(words[i]) : bf16_to_float(words[i]);
    if (std::isinf(back) && !std::isinf(values[i])) return std::optional<Tensor>();
  }
  return std::optional(std::move(out));
}

class Rounder {
 public:
  Rounder(PassContext& context) : context_(context), dtype_(context.factors) {}

  Result<bool> graph(Graph& graph) {
    bool changed = false;
    for (Node* node = graph.first(); node != nullptr;) {
      Node* const next = node->next();
      TENON_RETURN_IF_ERROR(context_.step());
      TENON_ASSIGN_OR_RETURN(const bool done, visit(*node));
      changed |= done;
      node = next;
    }
    for (Node* constant : replaced_)
      if (constant->graph() == &graph && constant->output()->unused()) graph.erase(constant);
    std::erase_if(replaced_, [&](const Node* n) { return n->graph() == &graph; });
    return changed;
  }

 private:
  Result<bool> visit(Node& node) {
    if (node.is("tenon.fused")) return fused(node);
    bool changed = false;
    // Steps of a recurrence add up what they round.
    if (!node.is("Scan"))
      for (const auto& region : node.regions()) {
        TENON_ASSIGN_OR_RETURN(const bool inner, graph(*region));
        changed |= inner;
      }
    if (plain_factors(node).empty() || !fits(node)) return changed;
    if (!context_.take_rewrite(node)) return changed;
    Node& whole = wrapped(node);
    for (Node* n = whole.region(0).first(); n != nullptr; n = n->next()) round(whole, *n);
    return true;
  }

  Result<bool> fused(Node& whole) {
    bool changed = false;
    for (Node* n = whole.region(0).first(); n != nullptr; n = n->next()) {
      TENON_RETURN_IF_ERROR(context_.step());
      if (plain_factors(*n).empty() || !fits(*n, &whole)) continue;
      if (!context_.take_rewrite(whole)) return changed;
      round(whole, *n);
      changed = true;
    }
    return changed;
  }

  /// What the node reads as an input of the region stands outside for it.
  static Value* outside(Value* v, const Node* whole) {
    if (whole == nullptr || v == nullptr) return v;
    const auto inputs = whole->region(0).inputs();
    const auto at = std::ranges::find(inputs, v);
    return at == inputs.end() ? v : whole->input(static_cast<int>(at - inputs.begin()));
  }

  /// The constant that a factor is, or whose axes a node that serves it alone brings into another order: as the region
  /// sees it.
  static Value* source_of(Value* factor) {
    const Node* def = factor->def();
    if (def == nullptr || def->graph() != factor->graph() || !factor->has_one_use() ||
        ir::constant_of(factor) != nullptr)
      return factor;
    return analyze_for_fusion(*def).permutes ? def->input(0) : factor;
  }

  /// Whether its constant factors can be had in the smaller dtype. Makes them.
  bool fits(const Node& node, const Node* whole = nullptr) {
    return std::ranges::all_of(plain_factors(node), [&](int i) {
      Value* v = outside(source_of(node.input(i)), whole);
      return ir::constant_of(v) == nullptr || small(v).has_value();
    });
  }

  /// The tensor of a constant in the smaller dtype, made once.
  const std::optional<Tensor>& small(Value* v) {
    const auto [it, fresh] = tensors_.try_emplace(v);
    if (!fresh) return it->second;
    auto made = rounded(*ir::constant_of(v), dtype_);
    if (made.ok()) it->second = std::move(*made);
    return it->second;
  }

  /// The constant in the smaller dtype, beside the one that it takes the place of.
  Value* small_constant(Value* v) {
    Value*& made = constants_[v];
    if (made != nullptr) return made;
    Node* constant = v->graph()->create(v->def()->op(), {}, 1, v->def());
    constant->attrs().set("value", Attr(*small(v)));
    constant->set_name(v->def()->name());
    made = constant->output();
    made->set_name(v->graph()->unique_name(v->name() + "." + std::string(name(dtype_))));
    made->set_type(ir::TensorType{dtype_, *v->tensor().dims});
    ir::set_storage_order(*made, ir::storage_order(*v));
    replaced_.push_back(v->def());
    return made;
  }

  Value* cast(Value* v, DType to, Node* before) {
    Node* node = before->graph()->create(*ir::find_op("Cast"), std::span<Value* const>(&v, 1), 1, before);
    node->attrs().set("to", Attr(int64_t{info(to).onnx}));
    node->output()->set_name(before->graph()->unique_name(v->name() + "." + std::string(name(to))));
    node->output()->set_type(ir::TensorType{to, *v->tensor().dims});
    return node->output();
  }

  /// The node's factors through the smaller dtype: a constant is stored in it, anything else is rounded as it is read.
  void round(Node& whole, Node& node) {
    Graph& region = whole.region(0);
    for (int i : plain_factors(node)) {
      Value *const factor = node.input(i), *const v = source_of(factor);
      Value* const given = outside(v, &whole);
      if (ir::constant_of(given) == nullptr || given == v) {
        node.set_input(i, cast(cast(factor, dtype_, &node), DType::kF32, &node));
        continue;
      }
      Value* const constant = small_constant(given);
      Value* formal = region.add_input(region.unique_name(constant->name()), constant->type());
      whole.set_input(whole.num_inputs(), constant);
      if (v != factor) {
        factor->def()->set_input(0, formal);
        factor->set_type(ir::TensorType{dtype_, *factor->tensor().dims});
        factor->set_name(region.unique_name(factor->name() + "." + std::string(name(dtype_))));
        formal = factor;
      }
      node.set_input(i, cast(formal, DType::kF32, &node));
      if (!v->unused()) continue;
      const auto inputs = region.inputs();
      const int at = static_cast<int>(std::ranges::find(inputs, v) - inputs.begin());
      region.remove_input(at);
      whole.remove_input(at);
    }
  }

  /// A fused node that holds this one alone.
  static Node& wrapped(Node& node) {
    Graph& graph = *node.graph();
    const FuseInfo info = analyze_for_fusion(node);
    std::vector<Value*> given;
    const auto inside = [&](int i) {
      const Tensor* t = ir::constant_of(node.input(i));
      const auto at = static_cast<size_t>(i);
      return t != nullptr && (t->size() == 1 || (at < info.inputs.size() && info.inputs[at] == Access::kNone));
    };
    for (int i = 0; i < node.num_inputs(); ++i)
      if (Value* v = node.input(i); v != nullptr && !inside(i) && std::ranges::find(given, v) == given.end()) given.push_back(v);
    Node* fused = graph.create(*ir::find_op("tenon.fused"), given, 1, &node);
    fused->set_name(node.name());
    Graph& region = fused->add_region();
    std::unordered_map<const Value*, Value*> map;
    for (Value* v : given) {
      map[v] = region.add_input(graph.unique_name(v->name()), v->type());
      map[v]->set_dim_values(v->dim_values());
    }
    std::vector<Value*> inputs;
    for (int i = 0; i < node.num_inputs(); ++i) {
      Value* v = node.input(i);
      if (v != nullptr && inside(i) && !map.contains(v)) {
        Node* constant = region.create(v->def()->op(), {}, 1);
        constant->attrs() = v->def()->attrs();
        constant->output()->set_name(graph.unique_name(v->name()));
        constant->output()->set_type(v->type());
        constant->output()->set_dim_values(v->dim_values());
        map[v] = constant->output();
      }
      inputs.push_back(v == nullptr ? nullptr : map.at(v));
    }
    Node* copy = region.create(node.op(), inputs, 1);
    copy->set_name(node.name());
    copy->attrs() = node.attrs();
    Value *old = node.output(), *made = fused->output(), *result = copy->output();
    result->set_type(old->type());
    result->set_dim_values(old->dim_values());
    ir::set_storage_order(*made, ir::storage_order(*old));
    ir::set_storage_order(*result, {});
    region.add_output(result);
    made->set_type(old->type());
    made->set_dim_values(old->dim_values());
    graph.replace_all_uses(old, made);
    const std::string name = old->name();
    old->set_name(graph.unique_name(name));
    made->set_name(name);
    result->set_name(graph.unique_name(name));
    graph.erase(&node);
    return *fused;
  }

  PassContext& context_;
  const DType dtype_;
  std::unordered_map<const Value*, std::optional<Tensor>> tensors_;
  std::unordered_map<const Value*, Value*> constants_;
  std::vector<Node*> replaced_;  // constants that may have no readers left
};

}  // namespace

Result<bool> round_factors(Graph& graph, PassContext& context) {
  if (context.factors == DType::kF32) return false;
  if (context.factors != DType::kF16 && context.factors != DType::kBF16)
    return Status(Code::kInvalidArgument, fmt::format("products cannot be of {}", name(context.factors)), "--precision",
                  "choose f32, f16 or bf16");
  return Rounder(context).graph(graph);
}

bool has_plain_factors(const Node& node) { return !plain_factors(node).empty(); }

namespace {

/// A Cast to f32 that products read, as Rounder::round makes it.
bool widens_a_factor(const Node& node) {
  if (!node.is("Cast") || !node.name().empty() || node.output()->dtype() != DType::kF32) return false;
  const DType from = node.input(0)->dtype();
  const auto multiplies = [](const ir::Use& use) { return !plain_factors(*use.node).empty(); };
  if (node.output()->uses().empty() || node.output()->num_output_uses() > 0) return false;
  return (from == DType::kF16 || from == DType::kBF16) && std::ranges::all_of(node.output()->uses(), multiplies);
}

}  // namespace

bool rounds_a_factor(const Node& node) {
  if (widens_a_factor(node)) return true;
  if (!node.is("Cast") || !node.name().empty() || node.output()->num_output_uses() > 0 || node.output()->uses().empty()) return false;
  return std::ranges::all_of(node.output()->uses(), [](const ir::Use& use) { return widens_a_factor(*use.node); });
}

std::optional<DType> rounded_factors(const Node& node) {
  if (!node.is("tenon.fused")) return std::nullopt;
  for (const auto& inner : node.region(0).nodes())
    if (widens_a_factor(*inner)) return inner->input(0)->dtype();
  return std::nullopt;
}

}  // namespace tenon::passes
