#pragma once

#include <span>
#include <string>

#include "support/tensor.h"

namespace tenon::runtime {

/// "f32[2x3]", "a sequence", for messages.
std::string describe(const HostValue& value);

/// Bytes that would be free without the value: of tensors, its own or in a sequence or map, that nobody else holds.
size_t own_bytes(const HostValue& value);

/// Empties a value but keeps what its tensor has allocated for its shape.
void clear(HostValue& value);

/// Whether bytes of the tensor, or of one in `value`, lie in [begin, begin + size).
bool overlaps(const Tensor& tensor, const std::byte* begin, size_t size);
bool overlaps(const HostValue& value, const std::byte* begin, size_t size);

/// A deep copy of every tensor in `value` whose bytes lie in [begin, begin + size); the rest is shared.
Result<HostValue> copy_overlapping(const HostValue& value, const std::byte* begin, size_t size);

/// The value of a scalar condition or count: a tensor of one element, else kInvalidModel.
Result<int64_t> scalar_int(const HostValue& value, std::string_view what);

/// Copies `count` elements from `from` (element index) to `to`; dtypes are equal and not packed; strings are moved along.
void copy_elements(const Tensor& source, int64_t from, Tensor& target, int64_t to, int64_t count);

}  // namespace tenon::runtime
