#include "eval/idx.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>

namespace tenon::eval {
namespace {

constexpr size_t kMaxRank = 8;

DType element_type(uint8_t code) {
  switch (code) {
    case 0x08: return DType::kU8;
    case 0x09: return DType::kI8;
    case 0x0b: return DType::kI16;
    case 0x0c: return DType::kI32;
    case 0x0d: return DType::kF32;
    case 0x0e: return DType::kF64;
    default: return DType::kInvalid;
  }
}

Status not_idx(std::string what, std::string_view where) {
  return Status(Code::kInvalidArgument, std::move(what), std::string(where), "give an uncompressed IDX file");
}

/// Big-endian elements to the machine's order.
void to_native(std::byte* data, size_t bytes, size_t width) {
  if (width == 1 || std::endian::native == std::endian::big) return;
  for (std::byte* element = data; element < data + bytes; element += width) std::reverse(element, element + width);
}

}  // namespace

Result<Tensor> parse_idx(std::span<const std::byte> bytes, std::string_view where) {
  const auto byte = [&](size_t i) { return std::to_integer<uint8_t>(bytes[i]); };
  if (bytes.size() < 4 || byte(0) != 0 || byte(1) != 0) return not_idx("not an IDX file", where);
  const DType dtype = element_type(byte(2));
  if (dtype == DType::kInvalid) return not_idx(fmt::format("IDX element type {:#04x} is not known", byte(2)), where);
  const size_t rank = byte(3), header = 4 + 4 * rank;
  if (rank > kMaxRank) return not_idx(fmt::format("IDX rank {} is above {}", rank, kMaxRank), where);
  if (bytes.size() < header) return not_idx("the IDX header ends early", where);
  Shape shape;
  for (size_t d = 0; d < rank; ++d) {
    uint32_t dim = 0;
    for (size_t i = 0; i < 4; ++i) dim = dim << 8 | byte(4 + 4 * d + i);
    shape.push_back(dim);
  }
  const Result<int64_t> count = element_count(shape);
  const size_t width = static_cast<size_t>(bits(dtype)) / 8, rest = bytes.size() - header;
  // Compared before allocating: the header alone may ask for anything.
  if (!count.ok() || static_cast<uint64_t>(*count) > rest / width || static_cast<uint64_t>(*count) * width != rest)
    return not_idx(fmt::format("{} bytes follow the IDX header, which says {} elements of {} bytes", rest, to_string(shape), width), where);
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, std::move(shape)));
  if (rest > 0) std::memcpy(out.mutable_data(), bytes.data() + header, rest);
  to_native(out.mutable_data(), rest, width);
  return out;
}

Result<Tensor> read_idx(const std::filesystem::path& file) {
  std::error_code ec;
  const auto size = std::filesystem::is_regular_file(file, ec) ? std::filesystem::file_size(file, ec) : 0;
  std::ifstream in(file, std::ios::binary);
  if (!in || ec) return Status(Code::kNotFound, "cannot read the data set", file.string(), "check the path");
  TENON_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> buffer, Buffer::allocate(size));
  if (size > 0 && !in.read(reinterpret_cast<char*>(buffer->data()), static_cast<std::streamsize>(size)))
    return Status(Code::kIo, "cannot read the data set", file.string());
  return parse_idx({buffer->data(), size}, file.string());
}

}  // namespace tenon::eval
