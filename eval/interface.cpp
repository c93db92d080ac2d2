#include "eval/interface.h"

#include <array>
#include <unordered_map>

#include "ir/op.h"
#include "ir/parser.h"
#include "ir/printer.h"

namespace tenon::eval {
namespace {

/// A value of this name and type, whatever it holds.
ir::Value* placeholder(ir::Graph& graph, const ir::Value& like) {
  ir::Node* node = graph.create(*ir::find_op("Constant"), {}, 1);
  node->attrs().set("value", Tensor::from<float>({0}, {}));
  node->output()->set_name(graph.unique_name(like.name()));
  node->set_name(node->output()->name());
  node->output()->set_type(like.type());
  return node->output();
}

}  // namespace

std::unique_ptr<ir::Graph> interface_of(const ir::Graph& graph, const std::function<bool(const std::string&)>& has_input,
                                        const std::function<bool(const std::string&)>& has_output) {
  auto out = std::make_unique<ir::Graph>(graph.shared_dims());
  out->metadata = graph.metadata;
  std::unordered_map<const ir::Value*, ir::Value*> values;
  for (const ir::Value* input : graph.inputs())
    if (has_input(input->name())) values[input] = out->add_input(input->name(), input->type());
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    const std::string& name = graph.output_name(static_cast<int>(i));
    if (!has_output(name)) continue;
    ir::Value*& value = values[graph.outputs()[i]];
    if (value == nullptr) value = placeholder(*out, *graph.outputs()[i]);
    out->add_output(value, name);
  }
  return out;
}

std::optional<std::string> interface_text(const ir::Graph& graph) {
  const auto all = [](const std::string&) { return true; };
  const auto out = interface_of(graph, all, all);
  out->metadata.clear();
  std::string text = ir::to_text(*out, {.full = true});
  const auto again = ir::parse_text(text);
  if (!again.ok() || ir::to_text(**again, {.full = true}) != text) return std::nullopt;
  return text;
}

}  // namespace tenon::eval
