#include "frontend/onnx/npy.h"

#include <charconv>
#include <cstring>

namespace tenon::frontend {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);

constexpr std::pair<std::string_view, DType> kDescriptors[] = {
    {"<f4", DType::kF32}, {"<f8", DType::kF64}, {"<f2", DType::kF16}, {"|i1", DType::kI8},   {"<i2", DType::kI16},
    {"<i4", DType::kI32}, {"<i8", DType::kI64}, {"|u1", DType::kU8},  {"<u2", DType::kU16},  {"<u4", DType::kU32},
    {"<u8", DType::kU64}, {"|b1", DType::kBool}, {"<c8", DType::kC64}, {"<c16", DType::kC128}};

Status malformed(const char* what) { return Status(Code::kInvalidArgument, fmt::format(".npy header: {}", what)); }

/// The text after `'key':` in the header's dictionary.
std::optional<std::string_view> field(std::string_view header, std::string_view key) {
  const size_t at = header.find(fmt::format("'{}'", key));
  if (at == std::string_view::npos) return std::nullopt;
  const size_t colon = header.find(':', at);
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view rest = header.substr(colon + 1);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return rest;
}

Result<Shape> parse_shape(std::string_view text) {
  if (text.empty() || text.front() != '(') return malformed("shape is no tuple");
  Shape shape;
  const char* at = text.data() + 1;
  const char* end = text.data() + text.size();
  for (;;) {
    while (at != end && (*at == ' ' || *at == ',')) ++at;
    if (at == end) return malformed("shape is not closed");
    if (*at == ')') return shape;
    int64_t value = 0;
    const auto [next, ec] = std::from_chars(at, end, value);
    if (ec != std::errc() || shape.size() >= 64) return malformed("shape is no list of numbers");
    shape.push_back(value);
    at = next;
  }
}

Result<Tensor> from_fortran(const Tensor& stored) {
  const Shape& shape = stored.shape();
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(stored.dtype(), shape));
  const size_t width = static_cast<size_t>(bits(stored.dtype())) / 8;
  std::vector<int64_t> index(shape.size(), 0);
  for (int64_t i = 0; i < out.size(); ++i) {
    int64_t from = 0;
    for (size_t d = shape.size(); d-- > 0;) from = from * shape[d] + index[d];
    std::memcpy(out.mutable_data() + static_cast<size_t>(i) * width, stored.data() + static_cast<size_t>(from) * width, width);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
  return out;
}

}  // namespace

bool is_npy(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<Tensor> parse_npy(std::span<const std::byte> bytes) {
  if (!is_npy(bytes) || bytes.size() < 12) return malformed("truncated");
  const auto byte = [&](size_t i) { return static_cast<size_t>(bytes[i]); };
  const size_t major = byte(6);
  if (major < 1 || major > 3) return malformed("unknown version");
  const size_t start = major == 1 ? 10 : 12;
  const size_t length = major == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (length > bytes.size() - start) return malformed("truncated");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + start, length);
  const auto descr = field(header, "descr"), order = field(header, "fortran_order"), dims = field(header, "shape");
  if (!descr || !order || !dims || descr->size() < 2) return malformed("descr, fortran_order or shape is missing");
  const std::string_view type = descr->substr(1, descr->find('\'', 1) - 1);
  DType dtype = DType::kInvalid;
  for (const auto& [name, d] : kDescriptors)
    if (name == type || (name.front() == '|' && type.size() == name.size() && type.substr(1) == name.substr(1))) dtype = d;
  if (dtype == DType::kInvalid) return error(Code::kUnsupported, ".npy of type '{}'", type);
  TENON_ASSIGN_OR_RETURN(Shape shape, parse_shape(*dims));
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  const std::optional<size_t> need = storage_bytes(dtype, count);
  if (!need || *need != bytes.size() - start - length) return malformed("the data's size does not match the shape");
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, std::move(shape)));
  if (*need > 0) std::memcpy(out.mutable_data(), bytes.data() + start + length, *need);
  if (dtype == DType::kBool)
    for (size_t i = 0; i < *need; ++i) out.mutable_data()[i] = std::byte{out.data()[i] != std::byte{0}};
  return order->substr(0, 4) == "True" ? from_fortran(out) : Result<Tensor>(std::move(out));
}

Result<std::string> format_npy(const Tensor& tensor) {
  std::string_view descr;
  for (const auto& [name, d] : kDescriptors)
    if (d == tensor.dtype()) descr = name;
  if (descr.empty()) return error(Code::kUnsupported, "NumPy has no {}", name(tensor.dtype()));
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr,
                                   fmt::join(tensor.shape(), ", "), tensor.rank() == 1 ? "," : "");
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string out(kMagic);
  out += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  out += header;
  if (tensor.bytes() > 0) out.append(reinterpret_cast<const char*>(tensor.data()), tensor.bytes());
  return out;
}

}  // namespace tenon::frontend
