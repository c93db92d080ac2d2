#include "frontend/onnx/export.h"

#include "frontend/onnx/denormalize.h"
#include "frontend/onnx/export_file.h"
#include "frontend/onnx/exporter.h"
#include "frontend/onnx/wire.h"
#include "ir/verifier.h"

namespace tenon::frontend {
namespace {

/// Protobuf's limit is 2^31 bytes; readers need some of it for themselves.
constexpr uint64_t kMaxMessage = (uint64_t{1} << 31) - (uint64_t{64} << 20);

struct Parts {
  onnx::ModelProto model;
  std::vector<Tensor> tensors;
  OpsetChoice choice;
};

Result<Parts> build(const ir::Graph& graph, const ExportOptions& options) {
  if (options.opset != 0 && (options.opset < kOldestExportOpset || options.opset > kNewestExportOpset))
    return error(Code::kInvalidArgument, "opset {}; {} to {} can be written", options.opset, kOldestExportOpset,
                 kNewestExportOpset);
  TENON_RETURN_IF_ERROR(ir::verify(graph));
  const std::unique_ptr<ir::Graph> module = graph.clone();
  TENON_RETURN_IF_ERROR(make_portable(*module, options.opset));
  Exporter exporter(*module, options.opset);
  Parts out;
  TENON_RETURN_IF_ERROR(exporter.run(out.model));
  out.tensors = exporter.tensors().list();
  out.choice = exporter.opset_choice();
  return out;
}

Result<std::string> skeleton_of(const onnx::ModelProto& model) {
  std::string bytes;
  if (model.ByteSizeLong() > kMaxMessage || !model.SerializePartialToString(&bytes))
    return error(Code::kUnsupported, "the model without its weights is larger than 2 GB");
  return bytes;
}

std::vector<std::span<const std::byte>> bytes_of(const std::vector<Tensor>& tensors) {
  std::vector<std::span<const std::byte>> out;
  for (const Tensor& tensor : tensors) out.emplace_back(tensor.data(), tensor.bytes());
  return out;
}

}  // namespace

Result<std::string> export_onnx_bytes(const ir::Graph& graph, const ExportOptions& options) {
  if (options.external_data) return error(Code::kInvalidArgument, "external data needs a file to lie beside");
  TENON_ASSIGN_OR_RETURN(const Parts parts, build(graph, options));
  TENON_ASSIGN_OR_RETURN(const std::string skeleton, skeleton_of(parts.model));
  const auto raw = bytes_of(parts.tensors);
  const WireExpansion expansion(skeleton, raw);
  if (expansion.size() > kMaxMessage)
    return Status(Code::kUnsupported,
                  fmt::format("the model takes {} bytes, more than one message holds", expansion.size()), {},
                  "write it to a file");
  std::string out;
  out.reserve(expansion.size());
  TENON_RETURN_IF_ERROR(expansion.write([&](std::span<const std::byte> bytes) {
    out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return Status();
  }));
  return out;
}

Status export_onnx(const ir::Graph& graph, const std::filesystem::path& file, const ExportOptions& options,
                   OpsetChoice* choice) {
  TENON_ASSIGN_OR_RETURN(OutputFile model_file, OutputFile::create(file));
  TENON_ASSIGN_OR_RETURN(Parts parts, build(graph, options));
  TENON_ASSIGN_OR_RETURN(std::string skeleton, skeleton_of(parts.model));
  const auto raw = bytes_of(parts.tensors);
  std::optional<OutputFile> data_file;
  if (options.external_data || WireExpansion(skeleton, raw).size() > kMaxMessage) {
    std::filesystem::path data_path = file;
    data_path += ".data";
    TENON_ASSIGN_OR_RETURN(const ExternalLayout layout,
                           place_externally(parts.model, parts.tensors, data_path.filename().string()));
    TENON_ASSIGN_OR_RETURN(skeleton, skeleton_of(parts.model));
    if (!layout.tensors.empty()) {
      TENON_ASSIGN_OR_RETURN(data_file, OutputFile::create(data_path));
      TENON_RETURN_IF_ERROR(write_external(layout, parts.tensors, *data_file));
    }
  }
  const WireExpansion expansion(skeleton, raw);
  if (expansion.size() > kMaxMessage)
    return Status(
        Code::kUnsupported,
        fmt::format("the model takes {} bytes beside its external data, more than one message holds", expansion.size()),
        file.string());
  TENON_RETURN_IF_ERROR(expansion.write([&](std::span<const std::byte> bytes) { return model_file.write(bytes); }));
  // The data first: a model whose data is not there yet would be read as damaged.
  if (data_file) TENON_RETURN_IF_ERROR(data_file->commit());
  if (choice != nullptr) *choice = parts.choice;
  return model_file.commit();
}

}  // namespace tenon::frontend
