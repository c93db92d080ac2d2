// Graphs, nodes and functions as messages.

#include <algorithm>

#include "frontend/onnx/exporter.h"

namespace tenon::frontend {

using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

/// An optional result that nobody uses is left out; those of variadic parameters count by their place.
bool is_written(const Node& node, int output) {
  const std::vector<ir::Param>& params = node.op().outputs;
  const size_t i = static_cast<size_t>(output);
  return !node.output(output)->unused() || i >= params.size() || !params[i].optional || params[i].variadic;
}

const std::string& name_of(const Value* value, const std::unordered_map<const Value*, std::string>& names) {
  const auto found = names.find(value);
  return found == names.end() ? value->name() : found->second;
}

void describe_value(const Value& value, const std::string& name, const DimTexts& dims, onnx::ValueInfoProto& info) {
  info.set_name(name);
  describe_type(value.type(), dims, *info.mutable_type());
}

}  // namespace

std::string Exporter::node_name(const Node& node) {
  if (node.name().empty()) return {};
  std::string name = node.name();
  while (!node_names_.insert(name).second) name = fmt::format("{}_{}", node.name(), ++suffixes_[node.name()]);
  return name;
}

Status Exporter::write_graph(const Graph& graph, onnx::GraphProto& proto) {
  proto.set_name(graph.name.empty() ? "body" : graph.name);
  for (const Value* input : graph.inputs()) describe_value(*input, input->name(), dims_, *proto.add_input());
  for (const auto& node : graph.nodes()) {
    if (node->is("Constant") && node->output()->num_output_uses() == 0) {
      if (!needed(node->output())) continue;
      onnx::TensorProto& tensor = *proto.add_initializer();
      tensor.set_name(node->output()->name());
      tensors_.describe(*node->attr_tensor("value"), tensor);
      continue;
    }
    TENON_RETURN_IF_ERROR(write_node(*node, {}, *proto.add_node()));
    for (const Value* output : node->outputs())
      if (output->num_output_uses() == 0 && output->type().known() && is_written(*node, output->def_index()))
        describe_value(*output, output->name(), dims_, *proto.add_value_info());
  }
  for (const Value* output : graph.outputs()) describe_value(*output, output->name(), dims_, *proto.add_output());
  return {};
}

Status Exporter::write_node(const Node& node, const Names& names, onnx::NodeProto& proto) {
  proto.set_name(node_name(node));
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  const ir::Attrs* attrs = &node.attrs();
  if (node.is("tenon.fused")) {
    TENON_ASSIGN_OR_RETURN(std::string function, function_of(node));
    proto.set_op_type(std::move(function));
    proto.set_domain(kFunctionDomain);
  } else {
    const std::string domain(node.op().domain);
    domains_.insert(domain);
    if (!domain.empty()) proto.set_domain(domain);
    proto.set_op_type(std::string(node.op().name));
    if (const auto form = forms_.find(&node); form != forms_.end()) {
      inputs = form->second.inputs;
      attrs = &form->second.attrs;
      proto.set_op_type(form->second.op);
    }
    const std::span<const std::string_view> regions = region_attributes(domain, node.op().name);
    for (int i = 0; i < node.num_regions(); ++i) {
      onnx::AttributeProto& attribute = *proto.add_attribute();
      attribute.set_name(std::string(regions[static_cast<size_t>(i)]));
      attribute.set_type(onnx::AttributeProto::GRAPH);
      TENON_RETURN_IF_ERROR(write_graph(node.region(i), *attribute.mutable_g()));
    }
  }
  while (!inputs.empty() && inputs.back() == nullptr) inputs.pop_back();
  for (const Value* input : inputs) proto.add_input(input == nullptr ? "" : name_of(input, names));
  int last = node.num_outputs();
  while (last > 1 && !is_written(node, last - 1)) --last;
  for (int i = 0; i < last; ++i) proto.add_output(is_written(node, i) ? name_of(node.output(i), names) : "");
  for (const auto& [name, value] : *attrs) describe_attribute(name, value, tensors_, dims_, *proto.add_attribute());
  return {};
}

Status Exporter::write_function(const Graph& body, onnx::FunctionProto& function) {
  Names names;
  for (const Value* input : body.inputs()) names.emplace(input, fmt::format("x{}", names.size()));
  for (const Value* input : body.inputs()) function.add_input(names.at(input));
  std::unordered_set<std::string> domains;
  size_t count = 0;
  for (const auto& node : body.nodes()) {
    if (node->is("Constant") && !needed(node->output())) continue;
    for (const Value* output : node->outputs()) names.emplace(output, fmt::format("v{}", count++));
    domains.emplace(node->op().domain);
    onnx::NodeProto& proto = *function.add_node();
    TENON_RETURN_IF_ERROR(write_node(*node, names, proto));
    proto.clear_name();
  }
  for (const Value* output : body.outputs()) function.add_output(names.at(output));
  function.set_domain(kFunctionDomain);
  write_opsets(*function.mutable_opset_import(), domains);
  return {};
}

/// Bodies that are equal but for names are one function, called after its ops: "Conv_Add_Relu".
Result<std::string> Exporter::function_of(const Node& fused) {
  constexpr size_t kNamed = 4;
  onnx::FunctionProto function;
  TENON_RETURN_IF_ERROR(write_function(fused.region(0), function));
  std::string key;
  if (!function.SerializeToString(&key)) return error(Code::kInternal, "a function cannot be written");
  if (const auto found = functions_.find(key); found != functions_.end()) return found->second;
  std::vector<std::string> ops;
  for (const onnx::NodeProto& node : function.node())
    if (node.op_type() != "Constant") ops.push_back(node.op_type());
  std::string name = fmt::format(
      "{}", fmt::join(ops.begin(), ops.begin() + static_cast<ptrdiff_t>(std::min(ops.size(), kNamed)), "_"));
  if (ops.size() > kNamed) name += fmt::format("_and_{}", ops.size() - kNamed);
  const std::string stem = name;
  for (int i = 2; !function_names_.insert(name).second; ++i) name = fmt::format("{}_{}", stem, i);
  function.set_name(name);
  function_protos_.push_back(std::move(function));
  return functions_[key] = name;
}

}  // namespace tenon::frontend
