#pragma once

#include <memory>
#include <string>
#include <vector>

#include "support/tensor.h"

namespace tenon::runtime {

/// Tensors of one shape that iterations make, joined along a new axis.
class Stack {
 public:
  /// Forgets what was stacked, keeping the memory when nobody else holds it.
  void restart();
  /// kInvalidModel when dtype or shape differ from the first one's; kResourceExhausted when that takes new memory of more
  /// than `limit` bytes.
  Status append(const HostValue& value, size_t limit);
  /// Bytes of memory that it holds.
  size_t bytes() const { return buffer_ == nullptr ? 0 : buffer_->size(); }
  int64_t count() const { return count_; }
  /// The new axis is `axis` of the result (negative: from the end); `reversed`: the last one comes first. count() > 0.
  Result<Tensor> join(int64_t axis, bool reversed) const;

 private:
  Status reserve(size_t bytes, size_t limit);

  DType dtype_ = DType::kInvalid;
  Shape shape_;
  int64_t count_ = 0;
  int64_t elements_ = 0;  // of one
  size_t bytes_ = 0;      // of one
  std::shared_ptr<Buffer> buffer_;
  std::vector<std::string> strings_;
};

/// Element `index` along `axis` of `source` into `slice`, whose shape lacks that axis.
Status copy_slice(const Tensor& source, int64_t axis, int64_t index, Tensor& slice);

}  // namespace tenon::runtime
