#include "runtime/storage_order.h"

#include <cstring>
#include <vector>

namespace tenon::runtime {
namespace {

/// By axis of the tensor: elements from one index to the next where the bytes are in `order`.
std::vector<size_t> strides_in(const Tensor& tensor, std::span<const int32_t> order) {
  std::vector<size_t> strides(order.size());
  size_t stride = 1;
  for (size_t p = order.size(); p-- > 0;) {
    strides[static_cast<size_t>(order[p])] = stride;
    stride *= static_cast<size_t>(tensor.dim(order[p]));
  }
  return strides;
}

/// Walks the elements in row-major order and calls move(row-major offset, offset in `order`).
template <class Move>
void walk(const Tensor& tensor, std::span<const int32_t> order, Move&& move) {
  const std::vector<size_t> strides = strides_in(tensor, order);
  std::vector<int64_t> index(order.size(), 0);
  size_t stored = 0;
  for (size_t flat = 0; flat < static_cast<size_t>(tensor.size()); ++flat) {
    move(flat, stored);
    for (size_t axis = index.size(); axis-- > 0;) {
      stored += strides[axis];
      if (++index[axis] < tensor.dim(static_cast<int64_t>(axis))) break;
      stored -= strides[axis] * static_cast<size_t>(index[axis]);
      index[axis] = 0;
    }
  }
}

Result<Tensor> reordered(const Tensor& from, std::span<const int32_t> order, bool to_storage) {
  if (bits(from.dtype()) < 8 || order.size() != from.shape().size())
    return error(Code::kUnsupported, "a tensor of {} cannot be stored in another order", name(from.dtype()));
  TENON_ASSIGN_OR_RETURN(Tensor to, Tensor::empty(from.dtype(), from.shape()));
  const size_t width = static_cast<size_t>(bits(from.dtype())) / 8;
  walk(from, order, [&](size_t flat, size_t stored) {
    const size_t source = to_storage ? flat : stored, target = to_storage ? stored : flat;
    std::memcpy(to.mutable_data() + target * width, from.data() + source * width, width);
  });
  return to;
}

}  // namespace

Result<Tensor> to_row_major(const Tensor& stored, std::span<const int32_t> order) { return reordered(stored, order, false); }
Result<Tensor> to_storage_order(const Tensor& row_major, std::span<const int32_t> order) { return reordered(row_major, order, true); }

}  // namespace tenon::runtime
