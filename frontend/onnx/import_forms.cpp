// Ops that the importer turns into others itself, since what they mean lies in their subgraphs or in the graph around
// them.

#include "frontend/onnx/importer.h"

namespace tenon::frontend {

namespace {

constexpr std::string_view kPreview = "ai.onnx.preview", kTraining = "ai.onnx.preview.training";

}  // namespace

const Importer::Form* Importer::find_form(std::string_view domain, std::string_view op, int64_t version) {
  static constexpr Form kForms[] = {
      {"", "Scan", 9, &Importer::import_batched_scan},
      {kPreview, "FlexAttention", rules::kAnyVersion, &Importer::import_flex_attention},
      {kTraining, "Gradient", rules::kAnyVersion, &Importer::import_gradient},
  };
  for (const Form& form : kForms)
    if (form.domain == domain && form.op == op && version < form.below) return &form;
  return nullptr;
}

bool is_form(std::string_view domain, std::string_view op, int64_t version) {
  return Importer::find_form(domain, op, version) != nullptr;
}

std::vector<std::string> named_values(const onnx::NodeProto& node) {
  std::vector<std::string> out;
  if (node.domain() != kTraining || node.op_type() != "Gradient") return out;
  for (const auto& a : node.attribute()) {
    if (a.name() == "xs" || a.name() == "zs") out.insert(out.end(), a.strings().begin(), a.strings().end());
    if (a.name() == "y") out.push_back(a.s());
  }
  return out;
}

}  // namespace tenon::frontend
