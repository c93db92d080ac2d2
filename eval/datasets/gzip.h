#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "support/status.h"
#include "support/tensor.h"

namespace tenon::eval {

bool is_gzip(std::span<const std::byte> bytes);

/// What a gzip file (RFC 1952, one member or several) unpacks to. kInvalidArgument for damaged or cut files, checksums included;
/// kResourceExhausted above `max_bytes`. Memory grows with what is unpacked, not with what the file claims. `where` names it in errors.
Result<std::shared_ptr<Buffer>> gunzip(std::span<const std::byte> bytes, size_t max_bytes, std::string_view where);

}  // namespace tenon::eval
