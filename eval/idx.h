#pragma once

#include <filesystem>
#include <memory>
#include <span>

#include "support/tensor.h"

/// The IDX format of the MNIST data (http://yann.lecun.com/exdb/mnist, "File formats"): two zero bytes, the element type, the
/// rank, each dim as a big-endian 32-bit integer, then the elements, row-major and big-endian.
namespace tenon::eval {

/// A file, plain or gzipped, whose elements are converted as they are asked for. A large plain file is mapped, not loaded.
class IdxFile {
 public:
  /// kInvalidArgument when it is not IDX, or when its size is not what its header says; types: u8, i8, i16, i32, f32, f64.
  static Result<IdxFile> open(const std::filesystem::path& file);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  /// Entry `index`, which there is, along the first dim: a tensor of `shape`, which has an entry's elements.
  Result<Tensor> entry(int64_t index, Shape shape) const;
  Result<Tensor> all() const { return read(0, shape_); }

 private:
  friend Result<Tensor> parse_idx(std::span<const std::byte> bytes, std::string_view where);
  static Result<IdxFile> parse(std::span<const std::byte> bytes, std::string_view where);
  Result<Tensor> read(size_t offset, Shape shape) const;

  std::shared_ptr<const void> owner_;
  std::span<const std::byte> elements_;
  DType dtype_ = DType::kInvalid;
  Shape shape_;
};

/// All of a file.
Result<Tensor> read_idx(const std::filesystem::path& file);
/// From memory; `where` names the bytes in errors.
Result<Tensor> parse_idx(std::span<const std::byte> bytes, std::string_view where);

}  // namespace tenon::eval
