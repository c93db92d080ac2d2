#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/status.h"
#include "support/tensor.h"

/// The form of what Tenon and a runner say to each other: docs/runners.md.
namespace tenon::backends::external {

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr char kMagic[4] = {'T', 'N', 'R', 'P'};
/// Limits of one frame; what its payloads hold together is the reader's to limit.
inline constexpr uint32_t kMaxHeaderBytes = 16u << 20, kMaxPayloads = 1u << 16;
/// Sequences and maps in one another.
inline constexpr int kMaxNesting = 8;

/// What a frame begins with, as it stands in memory on a little-endian machine; the sizes of the payloads (u64) follow, then the
/// header's JSON, then the payloads.
struct FrameStart {
  char magic[4];
  uint32_t version, header_bytes, payloads;
};
static_assert(sizeof(FrameStart) == 16);

struct Message {
  nlohmann::json header;
  std::vector<std::shared_ptr<Buffer>> payloads;
};

/// Everything of a frame before its payloads. kResourceExhausted when a limit does not hold.
Result<std::string> frame_start(const Message& message);
/// Checks what came in against the limits.
Status check_frame_start(const FrameStart& start);
/// The header of a frame: an object, or kInternal. Never throws.
Result<nlohmann::json> parse_header(std::string_view text);

/// The JSON of a value, whose bytes become payloads of `message` (shared, not copied, but strings).
Result<nlohmann::json> encode_value(const HostValue& value, Message& message);
/// The value that JSON describes. Untrusted: dtype, shape, payload number and size are checked. Tensors share their payload; one of
/// strings, which are copied, is used up.
Result<HostValue> decode_value(const nlohmann::json& json, Message& message);

/// Text of another process, fit for an error: valid UTF-8 without control characters, at most `max` bytes of its end or its start.
enum class Keep : uint8_t { kStart, kEnd };
std::string printable(std::string_view text, size_t max, Keep keep);

}  // namespace tenon::backends::external
