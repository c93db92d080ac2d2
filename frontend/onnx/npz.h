#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/tensor.h"

namespace tenon::frontend {

/// NumPy's .npz: a ZIP archive of .npy files (numpy.savez and savez_compressed; PKWARE APPNOTE.TXT 6.3.10, stored and deflated
/// members, ZIP64 sizes, no encryption).
bool is_npz(std::span<const std::byte> bytes);

/// The array `name`, or the only one there is. kNotFound lists the arrays; kInvalidArgument for a damaged archive (sizes, places
/// and checksums are checked); kResourceExhausted before an array of more than `max_bytes` is unpacked.
Result<Tensor> parse_npz(std::span<const std::byte> bytes, std::string_view name, size_t max_bytes);

/// The names of its arrays, in their order there. kInvalidArgument for a damaged archive.
Result<std::vector<std::string>> npz_names(std::span<const std::byte> bytes);

}  // namespace tenon::frontend
