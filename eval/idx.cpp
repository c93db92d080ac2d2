#include "eval/idx.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "eval/datasets/gzip.h"
#include "frontend/onnx/file.h"
#include "support/memory.h"

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
  return Status(Code::kInvalidArgument, std::move(what), std::string(where), "give an IDX file, plain or gzipped");
}

/// Big-endian elements to the machine's order.
void to_native(std::byte* data, size_t bytes, size_t width) {
  if (width == 1 || std::endian::native == std::endian::big) return;
  for (std::byte* element = data; element < data + bytes; element += width) std::reverse(element, element + width);
}

}  // namespace

Result<IdxFile> IdxFile::parse(std::span<const std::byte> bytes, std::string_view where) {
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
  IdxFile out;
  out.elements_ = bytes.subspan(header);
  out.dtype_ = dtype;
  out.shape_ = std::move(shape);
  return out;
}

Result<IdxFile> IdxFile::open(const std::filesystem::path& file) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(file));
  if (!is_gzip(bytes.span)) {
    TENON_ASSIGN_OR_RETURN(IdxFile out, parse(bytes.span, file.string()));
    out.owner_ = bytes.owner;
    return out;
  }
  TENON_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> unpacked, gunzip(bytes.span, default_memory_limit() / 4, file.string()));
  TENON_ASSIGN_OR_RETURN(IdxFile out, parse({unpacked->data(), unpacked->size()}, file.string()));
  out.owner_ = unpacked;
  return out;
}

Result<Tensor> IdxFile::entry(int64_t index, Shape shape) const {
  return read(elements_.size() / static_cast<size_t>(shape_[0]) * static_cast<size_t>(index), std::move(shape));
}

Result<Tensor> IdxFile::read(size_t offset, Shape shape) const {
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype_, std::move(shape)));
  if (out.bytes() > 0) std::memcpy(out.mutable_data(), elements_.data() + offset, out.bytes());
  to_native(out.mutable_data(), out.bytes(), static_cast<size_t>(bits(dtype_)) / 8);
  return out;
}

Result<Tensor> parse_idx(std::span<const std::byte> bytes, std::string_view where) {
  TENON_ASSIGN_OR_RETURN(const IdxFile file, IdxFile::parse(bytes, where));
  return file.all();
}

Result<Tensor> read_idx(const std::filesystem::path& file) {
  TENON_ASSIGN_OR_RETURN(const IdxFile opened, IdxFile::open(file));
  return opened.all();
}

}  // namespace tenon::eval
