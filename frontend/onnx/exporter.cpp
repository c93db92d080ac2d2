#include "frontend/onnx/exporter.h"

#include <algorithm>
#include <charconv>

#include "frontend/onnx/denormalize.h"
#include "frontend/onnx/model_fields.h"

namespace tenon::frontend {

using ir::Graph;
using ir::Node;
using ir::Value;

int64_t ir_version_of(int64_t opset, bool functions) {
  constexpr std::pair<int64_t, int64_t> kFirst[] = {{25, 13}, {24, 12}, {23, 11}, {21, 10}, {19, 9}, {15, 8}};
  for (const auto& [from, version] : kFirst)
    if (opset >= from) return version;
  return functions ? 8 : 7;
}

namespace {

constexpr int64_t kOldestMl = 2;

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// What the model imported, from its metadata; damaged entries count as absent.
Opsets imported_opsets(const Graph& module) {
  Opsets out;
  const auto found = module.metadata.find(std::string(fields::kOpsets));
  std::string_view rest = found == module.metadata.end() ? std::string_view() : std::string_view(found->second);
  while (!rest.empty()) {
    const size_t space = std::min(rest.find(' '), rest.size());
    const std::string_view entry = rest.substr(0, space);
    rest.remove_prefix(std::min(space + 1, rest.size()));
    const size_t colon = entry.rfind(':');
    const std::string_view domain = colon == std::string_view::npos ? std::string_view() : entry.substr(0, colon);
    const auto version = number(colon == std::string_view::npos ? entry : entry.substr(colon + 1));
    if (version && *version >= 1) out.emplace(domain, *version);
  }
  return out;
}

}  // namespace

Status Exporter::run(onnx::ModelProto& model) {
  start_opsets();
  TENON_RETURN_IF_ERROR(choose_opsets(module_));
  choice_.written = opsets_[""];
  TENON_RETURN_IF_ERROR(read_forms(module_));
  TENON_RETURN_IF_ERROR(write_graph(module_, *model.mutable_graph()));
  for (onnx::FunctionProto& function : function_protos_) *model.add_functions() = std::move(function);
  write_fields(model);
  return {};
}

void Exporter::start_opsets() {
  opsets_ = imported_opsets(module_);
  int64_t& standard = opsets_[""];
  choice_.of_model = standard;
  standard = asked_ != 0 ? asked_ : std::clamp(standard, kOldestExportOpset, kNewestExportOpset);
  if (auto ml = opsets_.find("ai.onnx.ml"); ml != opsets_.end())
    ml->second = std::clamp<int64_t>(ml->second, kOldestMl, 5);
}

Status Exporter::choose_opsets(const Graph& graph) {
  for (const auto& node : graph.nodes()) {
    if (!node->is("tenon.fused")) TENON_RETURN_IF_ERROR(choose_opset(*node));
    for (const auto& region : node->regions()) TENON_RETURN_IF_ERROR(choose_opsets(*region));
  }
  return {};
}

Status Exporter::choose_opset(const Node& node) {
  const std::string domain(node.op().domain);
  int64_t& opset = opsets_.try_emplace(domain, domain == "ai.onnx.ml" ? kOldestMl : 1).first->second;
  for (;;) {
    int64_t needed = 0;
    Result<Call> form = form_of(node, opset, needed);
    if (form.ok()) return {};
    if ((domain.empty() && asked_ != 0) || needed <= opset) return std::move(form).status();
    opset = needed;
    if (domain.empty()) choice_.raised_for = node.op_name();
  }
}

Status Exporter::read_forms(const Graph& graph) {
  for (const Value* output : graph.outputs()) used_.insert(output);
  for (const auto& node : graph.nodes()) {
    for (const auto& region : node->regions()) TENON_RETURN_IF_ERROR(read_forms(*region));
    if (node->is("Constant")) continue;
    if (node->is("tenon.fused")) {
      used_.insert(node->inputs().begin(), node->inputs().end());
      continue;
    }
    int64_t needed = 0;
    TENON_ASSIGN_OR_RETURN(Call form, form_of(*node, opsets_.find(node->op().domain)->second, needed));
    used_.insert(form.inputs.begin(), form.inputs.end());
    forms_.emplace(node.get(), std::move(form));
  }
  return {};
}

void Exporter::write_opsets(google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& out,
                            const std::unordered_set<std::string>& domains) const {
  for (const auto& [domain, version] : opsets_) {
    if (!domain.empty() && !domains.contains(domain)) continue;
    onnx::OperatorSetIdProto* import = out.Add();
    import->set_domain(domain);
    import->set_version(version);
  }
}

void Exporter::write_fields(onnx::ModelProto& model) const {
  model.set_ir_version(ir_version_of(opsets_.find("")->second, !function_names_.empty()));
  model.set_producer_name("tenon");
  model.set_producer_version(TENON_VERSION);
  write_opsets(*model.mutable_opset_import(), domains_);
  if (!function_names_.empty()) {
    onnx::OperatorSetIdProto* import = model.add_opset_import();
    import->set_domain(kFunctionDomain);
    import->set_version(1);
  }
  model.mutable_graph()->set_name(module_.name.empty() ? "graph" : module_.name);
  for (const auto& [key, value] : module_.metadata) {
    if (key == fields::kDoc)
      model.set_doc_string(value);
    else if (key == fields::kGraphDoc)
      model.mutable_graph()->set_doc_string(value);
    else if (key == fields::kDomain)
      model.set_domain(value);
    else if (key == fields::kModelVersion)
      model.set_model_version(number(value).value_or(0));
    else if (key == fields::kOpsets || key == fields::kIrVersion || key == fields::kProducerName || key == fields::kProducerVersion ||
             key.starts_with(fields::kDimParam))
      continue;
    else {
      onnx::StringStringEntryProto* entry = model.add_metadata_props();
      entry->set_key(key.starts_with(fields::kProp) ? key.substr(fields::kProp.size()) : key);
      entry->set_value(value);
    }
  }
}

}  // namespace tenon::frontend
