// Gradient of ai.onnx.preview.training: derivatives of the graph around it.

#include "frontend/onnx/importer.h"
#include "ir/differentiate.h"

namespace tenon::frontend {

/// The tensors that the attributes name are those of the graph around the node. Inputs that are other values than the
/// named xs and zs take their place in copies of the nodes that lead to y.
Importer::Values Importer::import_gradient(const Call& call, const Regions&, ir::Graph& graph, const Scope& scope,
                                           const Frame&) {
  const auto strings = [&](std::string_view name) -> Result<std::vector<std::string>> {
    const ir::Attr* a = call.attrs.find(name);
    if (a == nullptr) return std::vector<std::string>();
    if (const auto* list = std::get_if<std::vector<std::string>>(a)) return *list;
    return error(Code::kInvalidModel, "attribute {} has the wrong type", name);
  };
  const auto find = [&](const std::string& name) -> Values {
    ir::Value* value = scope.find(name);
    if (value == nullptr) return error(Code::kInvalidModel, "nothing defines '{}'", name);
    return std::vector<ir::Value*>{value};
  };
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> names, strings("xs"));
  const size_t count = names.size();
  TENON_ASSIGN_OR_RETURN(const std::vector<std::string> others, strings("zs"));
  names.insert(names.end(), others.begin(), others.end());
  if (count == 0 || !call.attrs.has("y"))
    return error(Code::kInvalidModel, "attribute {} is missing", count == 0 ? "xs" : "y");
  if (call.inputs.size() != names.size() || call.used.size() > count)
    return error(Code::kInvalidModel, "has {} inputs and {} outputs, for {} xs and {} zs", call.inputs.size(),
                 call.used.size(), count, others.size());
  std::vector<ir::Value*> named;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!call.has(i)) return error(Code::kInvalidModel, "input {} is missing", i);
    TENON_ASSIGN_OR_RETURN(const std::vector<ir::Value*> value, find(names[i]));
    named.push_back(value[0]);
    if (!merge_types(value[0]->type(), call.in(i)->type(), [](int) { return ir::Dim(1); }).ok())
      return error(Code::kInvalidModel, "input {} is {}, where '{}' is {}", i, to_string(call.in(i)->type()), names[i],
                   to_string(value[0]->type()));
  }
  TENON_ASSIGN_OR_RETURN(const std::vector<ir::Value*> target, find(call.text("y", "")));

  ir::Builder builder(graph);
  builder.set_name(call.name);
  TENON_ASSIGN_OR_RETURN(ir::Value * y, ir::substitute(builder, target[0], named, call.inputs));
  TENON_ASSIGN_OR_RETURN(std::vector<ir::Value*> out, ir::gradients(builder, y, std::span(call.inputs).first(count)));
  for (size_t i = 0; i < out.size(); ++i)
    if (!call.output_used(i)) out[i] = nullptr;
  return out;
}

}  // namespace tenon::frontend
