#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/onnx/file.h"
#include "frontend/onnx/proto.h"
#include "support/tensor.h"

namespace tenon::frontend {

/// Turns TensorProtos into tensors. Raw and external data stay where they are mapped when the file aligns them to their
/// element size, and are copied to an aligned buffer otherwise.
class TensorReader {
 public:
  /// `source` is what the skeleton's offsets refer to (wire.h). Without a folder external data is refused.
  TensorReader(Bytes source, std::optional<ModelFolder> folder) : source_(std::move(source)), folder_(std::move(folder)) {}

  /// kInvalidModel, naming the tensor, when dtype, dims and data do not agree exactly.
  Result<Tensor> read(const onnx::TensorProto& proto);
  /// Dense form of a sparse tensor, of at most kMaxDenseBytes.
  Result<Tensor> read(const onnx::SparseTensorProto& proto);

  /// Locations of the external data that was read.
  std::vector<std::string> locations() const {
    std::vector<std::string> out;
    for (const auto& [location, bytes] : files_) out.push_back(location);
    return out;
  }

  static constexpr int64_t kMaxDenseBytes = int64_t{1} << 30;

 private:
  Result<Tensor> read_checked(const onnx::TensorProto& proto);
  Result<Tensor> from_bytes(DType dtype, Shape shape, const Bytes& owner, std::span<const std::byte> data);
  Result<Tensor> external(const onnx::TensorProto& proto, DType dtype, Shape shape, size_t bytes);

  Bytes source_;
  std::optional<ModelFolder> folder_;
  std::map<std::string, Bytes, std::less<>> files_;
};

}  // namespace tenon::frontend
