#pragma once

#include <span>
#include <string_view>

#include "support/tensor.h"

namespace tenon::frontend {

/// NumPy's .npz: a ZIP archive of .npy files (numpy.savez and savez_compressed; PKWARE APPNOTE.TXT 6.3.10, stored and deflated
/// members, ZIP64 sizes, no encryption).
bool is_npz(std::span<const std::byte> bytes);

/// The array `name`, or the only one there is. kNotFound lists the arrays; kInvalidArgument for a damaged archive (sizes, places
/// and checksums are checked); kResourceExhausted before an array of more than `max_bytes` is unpacked.
Result<Tensor> parse_npz(std::span<const std::byte> bytes, std::string_view name, size_t max_bytes);

}  // namespace tenon::frontend
