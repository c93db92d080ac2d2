#include "frontend/onnx/export.h"
#include "frontend/onnx/import.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto graph = tenon::frontend::import_onnx_bytes({reinterpret_cast<const std::byte*>(data), size}, {.max_nodes = 10000});
  if (graph.ok()) (void)tenon::frontend::export_onnx_bytes(**graph);
  return 0;
}
