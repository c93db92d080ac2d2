#pragma once

#include <cstdint>

#include "frontend/onnx/proto.h"

namespace tenon::frontend {

/// Channels in a block of com.microsoft.nchwc's layout: 8 or 16. ONNX Runtime takes it from the processor and does not
/// write it down, so it follows from the model's shapes (channels are padded to whole blocks) where they tell, and
/// else is that of this machine, as it would be for ONNX Runtime. 0 when no node has the layout.
int64_t channel_block(const onnx::GraphProto& graph);

}  // namespace tenon::frontend
