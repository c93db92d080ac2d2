#pragma once

#include <filesystem>
#include <span>

#include "support/tensor.h"

/// The IDX format of the MNIST data (http://yann.lecun.com/exdb/mnist, "File formats"): two zero bytes, the element type, the
/// rank, each dim as a big-endian 32-bit integer, then the elements, row-major and big-endian.
namespace tenon::eval {

/// All of a file, plain or gzipped. kInvalidArgument when it is not IDX, or when its size is not what its header says; types: u8, i8,
/// i16, i32, f32, f64.
Result<Tensor> read_idx(const std::filesystem::path& file);
/// From memory; `where` names the bytes in errors.
Result<Tensor> parse_idx(std::span<const std::byte> bytes, std::string_view where);

}  // namespace tenon::eval
