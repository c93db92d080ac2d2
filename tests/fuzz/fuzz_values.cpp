// Values from files: .npy, .npz and the protobuf messages of test data.

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "frontend/onnx/import.h"
#include "frontend/onnx/npy.h"
#include "frontend/onnx/npz.h"

using namespace tenon;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  constexpr size_t kMaxBytes = size_t{64} << 20;
  (void)frontend::parse_npz(bytes, "x", kMaxBytes);
  if (const auto tensor = frontend::parse_npy(bytes); tensor.ok()) {
    const auto written = frontend::format_npy(*tensor);
    if (!written.ok()) std::abort();
  }
  static const std::filesystem::path file = std::filesystem::temp_directory_path() / ("tenon-fuzz-" + std::to_string(::getpid()));
  std::ofstream(file, std::ios::binary | std::ios::trunc).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  const ir::Type tensor = ir::TensorType::unranked(DType::kF32);
  const auto element = std::make_shared<const ir::Type>(tensor);
  const auto sequence = std::make_shared<const ir::Type>(ir::SequenceType{element});
  for (const ir::Type& type : {tensor, *sequence, ir::Type(ir::OptionalType{element}), ir::Type(ir::OptionalType{sequence})})
    (void)frontend::read_value(file, type, "x");
  return 0;
}
