#include "runtime/stack.h"

#include <algorithm>
#include <cstring>

#include "runtime/host_values.h"
#include "support/axis.h"
#include "support/checked.h"

namespace tenon::runtime {
namespace {

int64_t product(std::span<const int64_t> dims) {
  int64_t out = 1;
  for (int64_t d : dims) out *= d;
  return out;
}

}  // namespace

void Stack::restart() {
  if (buffer_ != nullptr && buffer_.use_count() > 1) buffer_.reset();
  strings_.clear();
  count_ = 0;
}

Status Stack::reserve(size_t bytes, size_t limit) {
  if (buffer_ != nullptr && buffer_->size() >= bytes) return {};
  if (bytes > limit)
    return error(Code::kResourceExhausted, "values stacked over iterations take {} bytes, and only {} are left", bytes, limit)
        .with_hint("let the loop run less often or raise the memory limit");
  const auto doubled = checked_mul(this->bytes(), size_t{2});
  TENON_ASSIGN_OR_RETURN(auto larger, Buffer::allocate(std::max(bytes, std::min(doubled.value_or(bytes), limit))));
  if (buffer_ != nullptr) std::copy_n(buffer_->data(), bytes_ * static_cast<size_t>(count_), larger->data());
  buffer_ = std::move(larger);
  return {};
}

Status Stack::append(const HostValue& value, size_t limit) {
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr || !tensor->defined())
    return error(Code::kInvalidModel, "{} cannot be stacked over iterations", describe(value));
  if (count_ == 0) {
    dtype_ = tensor->dtype();
    shape_ = tensor->shape();
    elements_ = tensor->size();
    bytes_ = tensor->bytes();
  } else if (tensor->dtype() != dtype_ || tensor->shape() != shape_) {
    return error(Code::kInvalidModel, "an iteration made {}, those before it {}[{}]", describe(value), name(dtype_),
                 to_string(shape_));
  }
  if (dtype_ == DType::kString) {
    strings_.insert(strings_.end(), tensor->string_values().begin(), tensor->string_values().end());
  } else {
    const auto wanted = checked_mul(bytes_, static_cast<size_t>(count_) + 1);
    if (!wanted) return Status(Code::kResourceExhausted, "stacked values do not fit in memory");
    TENON_RETURN_IF_ERROR(reserve(*wanted, limit));
    std::copy_n(tensor->data(), bytes_, buffer_->data() + bytes_ * static_cast<size_t>(count_));
  }
  ++count_;
  return {};
}

Result<Tensor> Stack::join(int64_t scan_axis, bool reversed) const {
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(scan_axis, std::ssize(shape_) + 1));
  // Each tensor begins at a byte, so packed ones may be further apart than they have elements.
  const int64_t stride = is_packed(dtype_) ? static_cast<int64_t>(bytes_) * 8 / bits(dtype_) : elements_;
  Shape flat = shape_;
  flat.insert(flat.begin(), count_);
  if (stride != elements_) flat = {count_, stride};
  Tensor source;
  if (dtype_ == DType::kString) {
    TENON_ASSIGN_OR_RETURN(source, Tensor::strings(std::move(flat), strings_));
  } else {
    TENON_ASSIGN_OR_RETURN(source, Tensor::view(dtype_, std::move(flat), buffer_));
  }
  if (axis == 0 && !reversed && stride == elements_) return source;
  Shape shape = shape_;
  shape.insert(shape.begin() + axis, count_);
  TENON_ASSIGN_OR_RETURN(Tensor joined, is_packed(dtype_) ? Tensor::zeros(dtype_, std::move(shape)) : Tensor::empty(dtype_, std::move(shape)));
  const std::span<const int64_t> dims(shape_);
  const int64_t outer = product(dims.first(static_cast<size_t>(axis)));
  const int64_t inner = product(dims.subspan(static_cast<size_t>(axis)));
  for (int64_t t = 0; t < count_; ++t) {
    const int64_t place = reversed ? count_ - 1 - t : t;
    for (int64_t o = 0; o < outer; ++o)
      copy_elements(source, t * stride + o * inner, joined, (o * count_ + place) * inner, inner);
  }
  return joined;
}

Status copy_slice(const Tensor& source, int64_t axis, int64_t index, Tensor& slice) {
  const std::span<const int64_t> dims(source.shape());
  const int64_t outer = product(dims.first(static_cast<size_t>(axis)));
  const int64_t inner = product(dims.subspan(static_cast<size_t>(axis) + 1));
  const int64_t extent = source.dim(axis);
  for (int64_t o = 0; o < outer; ++o) copy_elements(source, (o * extent + index) * inner, slice, o * inner, inner);
  return {};
}

}  // namespace tenon::runtime
