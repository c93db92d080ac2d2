#include "frontend/onnx/import.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)tenon::frontend::import_onnx_bytes({reinterpret_cast<const std::byte*>(data), size}, {.max_nodes = 10000});
  return 0;
}
