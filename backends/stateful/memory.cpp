#include "backends/stateful/memory.h"

#include <cmath>
#include <cstring>

#include "support/large_pages.h"

namespace tenon::backends {

Result<size_t> bytes_of(DType dtype, const Shape& shape) {
  const Result<int64_t> count = element_count(shape);
  const auto bytes = count.ok() ? storage_bytes(dtype, *count) : std::nullopt;
  if (!bytes) return error(Code::kResourceExhausted, "a state of {} does not fit in memory", to_string(shape));
  return *bytes;
}

Result<Tensor> resized(const Tensor& tensor, int axis, int64_t kept, int64_t extent) {
  Shape shape = tensor.shape();
  shape[static_cast<size_t>(axis)] = extent;
  TENON_ASSIGN_OR_RETURN(const size_t bytes, bytes_of(tensor.dtype(), shape));
  TENON_ASSIGN_OR_RETURN(auto memory, allocate_in_large_pages(bytes));
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::view(tensor.dtype(), std::move(shape), std::move(memory)));
  size_t outer = 1, inner = static_cast<size_t>(bits(tensor.dtype())) / 8;
  for (int i = 0; i < tensor.rank(); ++i)
    if (i != axis) (i < axis ? outer : inner) *= static_cast<size_t>(tensor.dim(i));
  const size_t run = static_cast<size_t>(kept) * inner, from = static_cast<size_t>(tensor.dim(axis)) * inner, to = static_cast<size_t>(extent) * inner;
  for (size_t o = 0; run > 0 && o < outer; ++o) std::memcpy(out.mutable_data() + o * to, tensor.data() + o * from, run);
  return out;
}

bool all_finite(const Tensor& tensor) {
  if (!is_float(tensor.dtype())) return true;
  int64_t i = 0;
  while (i < tensor.size() && std::isfinite(tensor.at_double(i))) ++i;
  return i == tensor.size();
}

void clear_places(Tensor& tensor, int axis, int64_t from, int64_t count) {
  size_t outer = 1, inner = static_cast<size_t>(bits(tensor.dtype())) / 8;
  for (int i = 0; i < tensor.rank(); ++i)
    if (i != axis) (i < axis ? outer : inner) *= static_cast<size_t>(tensor.dim(i));
  const size_t row = static_cast<size_t>(tensor.dim(axis)) * inner, bytes = static_cast<size_t>(count) * inner;
  for (size_t o = 0; bytes > 0 && o < outer; ++o) std::memset(tensor.mutable_data() + o * row + static_cast<size_t>(from) * inner, 0, bytes);
}

}  // namespace tenon::backends
