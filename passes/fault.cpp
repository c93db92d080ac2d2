#include "passes/fault.h"

#include <charconv>

#include "ir/op.h"
#include "ir/symbols.h"

namespace tenon::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

constexpr double kFactor = 1.25, kOffset = 0.25;
constexpr size_t kMaxPlaces = 8;

/// `x` under the builder's cursor, made wrong; null for types that cannot be.
Value* wrong(ir::Builder& b, Value* x) {
  const DType dtype = x->dtype();
  if (dtype == DType::kBool) return b.make("Not", {x});
  if ((ir::kInts & ir::dtype_bit(dtype)) != 0) return b.make("Add", {x, b.scalar(dtype, 1)});
  if ((ir::kFloat16To64 & ir::dtype_bit(dtype)) == 0) return nullptr;
  Value* const scaled = b.make("Mul", {x, b.scalar(dtype, kFactor)});
  return scaled == nullptr ? nullptr : b.make("Add", {scaled, b.scalar(dtype, kOffset)});
}

Status spoil(Value& value) {
  const auto cannot = [&](std::string_view why) {
    return Status(Code::kUnsupported, fmt::format("its result {} {}", value.name(), why), "planting a fault", "choose another node");
  };
  if (!value.type().is_ranked_tensor()) return cannot("has no known rank");
  for (int axis = 0; axis < value.tensor().rank(); ++axis)
    if (ir::binds_symbol(value, axis)) return cannot("has a dim that only run time knows");
  Graph& graph = *value.graph();
  Node* const next = value.def()->next();
  ir::Builder b(graph, next);
  b.set_name(value.name());
  Value* const made = wrong(b, &value);
  TENON_RETURN_IF_ERROR(b.status());
  if (made == nullptr) return cannot(fmt::format("is {}", to_string(value.type())));
  Node* first = value.def()->next();
  while (first->is("Constant")) first = first->next();
  graph.replace_all_uses(&value, made);
  first->set_input(0, &value);
  std::string name = value.name();
  value.set_name(graph.unique_name(name));
  made->set_name(std::move(name));
  return {};
}

/// In the graph itself and in its fused nodes, where parts of kernels are.
template <class Fn>
Value* find(Graph& graph, const Fn& fits) {
  for (const auto& node : graph.nodes()) {
    if (node->is("tenon.fused"))
      if (Value* inner = find(node->region(0), fits)) return inner;
    if (node->is("Constant")) continue;
    if (Value* value = fits(*node)) return value;
  }
  return nullptr;
}

Value* output_of(const Node& node, const std::string& name) {
  for (Value* output : node.outputs())
    if (output->name() == name) return output;
  return nullptr;
}

/// The same for a value that the fused node's region has a copy of, as name_N.
Value* copy_of(const Node& node, const std::string& name) {
  for (Value* output : node.outputs()) {
    const std::string_view made = output->name();
    if (!node.graph()->parent() || !made.starts_with(name) || made.size() < name.size() + 2 || made[name.size()] != '_') continue;
    if (made.find_first_not_of("0123456789", name.size() + 1) == std::string_view::npos) return output;
  }
  return nullptr;
}

}  // namespace

Result<Fault> parse_fault(std::string_view text) {
  constexpr std::string_view kKernel = "kernel:", kRewrite = "rewrite:";
  Fault fault;
  if (text.starts_with(kKernel) && text.size() > kKernel.size()) {
    fault.node = text.substr(kKernel.size());
    return fault;
  }
  if (text.starts_with(kRewrite)) {
    const std::string_view number = text.substr(kRewrite.size());
    const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), fault.rewrite);
    if (code == std::errc() && end == number.data() + number.size() && fault.rewrite > 0) return fault;
  }
  return Status(Code::kInvalidArgument, fmt::format("'{}' names no fault", text), {}, "write kernel:NODE or rewrite:N, N from 1");
}

std::vector<std::string> places_of(const Graph& graph, const std::string& node) {
  const Node* at = nullptr;
  for (const auto& n : graph.nodes())
    if (at == nullptr && (n->name() == node || output_of(*n, node) != nullptr)) at = n.get();
  std::vector<std::string> places;
  while (at != nullptr && places.size() < kMaxPlaces) {
    for (const Value* output : at->outputs()) places.push_back(output->name());
    const Value* const first = at->num_outputs() > 0 ? at->output() : nullptr;
    at = first != nullptr && first->has_one_use() && !first->uses().empty() && first->uses()[0].node->graph() == &graph ? first->uses()[0].node : nullptr;
  }
  return places;
}

Status spoil_node(Graph& graph, const std::string& node, std::span<const std::string> places) {
  Value* value = find(graph, [&](const Node& n) { return n.name() == node && n.num_outputs() > 0 ? n.output() : nullptr; });
  for (const std::string& place : places) {
    if (value == nullptr) value = find(graph, [&](const Node& n) { return output_of(n, place); });
    if (value == nullptr) value = find(graph, [&](const Node& n) { return copy_of(n, place); });
  }
  if (value == nullptr)
    return Status(Code::kNotFound, fmt::format("nothing is left of a node '{}' after the passes", node), "planting a fault",
                  "tenon inspect MODEL --placement lists what is");
  return spoil(*value).at(fmt::format("node '{}'", node));
}

Status spoil_result(const Node& node) {
  for (Value* output : node.outputs())
    if (!output->unused()) return spoil(*output);
  return Status(Code::kUnsupported, "nothing uses its results, so none can be made wrong", {}, "choose another rewrite");
}

}  // namespace tenon::passes
