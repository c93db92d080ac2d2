#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/status.h"

namespace tenon::frontend {

/// Fields of TensorProto, unused by ONNX, in which a skeleton says where raw_data lies in the original bytes.
inline constexpr int kRawOffsetField = 77000001;
inline constexpr int kRawSizeField = 77000002;

enum class Message : uint8_t { kModel, kTensor, kSequence, kOptional };

/// A copy of a serialised message in which every large `raw_data` of a TensorProto (initializers, attributes,
/// functions, subgraphs) is replaced by its offset and size, so that parsing it copies no weights and files beyond
/// protobuf's 2 GB limit can be read. Also checks the wire format: kInvalidModel with the byte offset of what is
/// malformed, nested deeper than `max_depth`, or truncated.
Result<std::string> wire_skeleton(std::span<const std::byte> bytes, Message message, int max_depth);

/// The reverse, for a ModelProto that was serialised with kRawOffsetField as the number of the tensor's bytes in `raw`
/// and kRawSizeField as their size: the message with them in place.
class WireExpansion {
 public:
  WireExpansion(std::string_view skeleton, std::span<const std::span<const std::byte>> raw);
  uint64_t size() const { return sizes_.front(); }
  /// Passes the bytes to `write` piece by piece; the first error ends it.
  Status write(const std::function<Status(std::span<const std::byte>)>& write) const;

 private:
  std::string_view skeleton_;
  std::span<const std::span<const std::byte>> raw_;
  std::vector<uint64_t> sizes_;  // of the messages that are rewritten, outer before inner, in order
};

}  // namespace tenon::frontend
