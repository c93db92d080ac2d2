#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "frontend/onnx/proto.h"
#include "support/status.h"
#include "support/tensor.h"

namespace tenon::frontend {

/// A file that appears whole or not at all: written under another name in the same folder, then renamed.
class OutputFile {
 public:
  /// kInvalidArgument where something that is no regular file has the name (a symbolic link, a folder, a device), kIo.
  static Result<OutputFile> create(const std::filesystem::path& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();  // removes what was not committed

  Status write(std::span<const std::byte> bytes);
  /// Zeros up to a position in the file.
  Status pad_to(uint64_t offset);
  Status commit();

 private:
  OutputFile() = default;
  Status flush();
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
  std::vector<std::byte> pending_;
};

struct ExternalLayout {
  struct Place {
    size_t tensor;
    uint64_t offset;
  };
  std::vector<Place> tensors;  // in order of offsets
};

/// Initializers of the graph and of its subgraphs, from 1 KiB on, refer to `location` instead of to `tensors`, at
/// offsets that are multiples of a page, so that each can be mapped (ONNX docs/ExternalData.md). Tensors that share
/// their bytes share a place.
Result<ExternalLayout> place_externally(onnx::ModelProto& model, std::span<const Tensor> tensors,
                                        const std::string& location);
Status write_external(const ExternalLayout& layout, std::span<const Tensor> tensors, OutputFile& file);

}  // namespace tenon::frontend
