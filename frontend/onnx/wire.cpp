#include "frontend/onnx/wire.h"

#include <climits>

namespace tenon::frontend {
namespace {

/// Message kinds that can lead to a TensorProto; anything else is copied as it is.
enum class Kind : uint8_t {
  kModel,
  kGraph,
  kFunction,
  kNode,
  kAttribute,
  kTensor,
  kSparse,
  kSequence,
  kMap,
  kOptional,
  kOther
};

constexpr size_t kInlineRawBytes = 64;
constexpr uint32_t kRawData = 9;

/// Field numbers as in onnx.proto and onnx-data.proto.
Kind child(Kind parent, uint32_t field) {
  switch (parent) {
    case Kind::kModel:
      return field == 7 ? Kind::kGraph : field == 25 ? Kind::kFunction : Kind::kOther;
    case Kind::kGraph:
      return field == 1 ? Kind::kNode : field == 5 ? Kind::kTensor : field == 15 ? Kind::kSparse : Kind::kOther;
    case Kind::kFunction:
      return field == 7 ? Kind::kNode : field == 11 ? Kind::kAttribute : Kind::kOther;
    case Kind::kNode:
      return field == 5 ? Kind::kAttribute : Kind::kOther;
    case Kind::kAttribute:
      if (field == 5 || field == 10) return Kind::kTensor;
      if (field == 6 || field == 11) return Kind::kGraph;
      return field == 22 || field == 23 ? Kind::kSparse : Kind::kOther;
    case Kind::kSparse:
      return field == 1 || field == 2 ? Kind::kTensor : Kind::kOther;
    case Kind::kSequence:
      if (field == 3) return Kind::kTensor;
      if (field == 4) return Kind::kSparse;
      return field == 5 ? Kind::kSequence : field == 6 ? Kind::kMap : field == 7 ? Kind::kOptional : Kind::kOther;
    case Kind::kMap:
      return field == 5 ? Kind::kSequence : Kind::kOther;
    case Kind::kOptional:
      if (field == 3) return Kind::kTensor;
      if (field == 4) return Kind::kSparse;
      return field == 5 ? Kind::kSequence : field == 6 ? Kind::kMap : field == 7 ? Kind::kOptional : Kind::kOther;
    default:
      return Kind::kOther;
  }
}

void append_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

class Walker {
 public:
  Walker(std::span<const std::byte> bytes, int max_depth) : bytes_(bytes), max_depth_(max_depth) {}

  Status copy(size_t begin, size_t end, Kind kind, int depth, std::string& out) {
    if (depth > max_depth_) return malformed(begin, "messages are nested too deeply");
    bool has_raw = false;
    for (size_t at = begin; at < end;) {
      const size_t start = at;
      uint64_t tag = 0;
      if (!varint(at, end, tag)) return malformed(start, "truncated field tag");
      const uint64_t field = tag >> 3;
      if (field == 0 || field > 0x1fffffff) return malformed(start, "invalid field number");
      size_t body = at;
      size_t size = 0;
      TENON_RETURN_IF_ERROR(extent(tag & 7, start, body, end, size));
      at = body + size;
      if (kind == Kind::kTensor && (field == kRawOffsetField || field == kRawSizeField)) continue;
      const bool delimited = (tag & 7) == 2;
      if (kind == Kind::kTensor && field == kRawData) {
        if (!delimited || has_raw) return malformed(start, "raw_data is given twice or is not bytes");
        has_raw = true;
        if (size > kInlineRawBytes) {
          append_varint(out, uint64_t{kRawOffsetField} << 3);
          append_varint(out, body);
          append_varint(out, uint64_t{kRawSizeField} << 3);
          append_varint(out, size);
          continue;
        }
      }
      const Kind inner = delimited ? child(kind, static_cast<uint32_t>(field)) : Kind::kOther;
      if (inner == Kind::kOther) {
        out.append(reinterpret_cast<const char*>(bytes_.data()) + start, at - start);
        continue;
      }
      std::string nested;
      TENON_RETURN_IF_ERROR(copy(body, at, inner, depth + 1, nested));
      append_varint(out, tag);
      append_varint(out, nested.size());
      out += nested;
    }
    return {};
  }

 private:
  static Status malformed(size_t offset, const char* what) {
    return Status(Code::kInvalidModel, what, fmt::format("byte {}", offset),
                  "the file is damaged or is no ONNX file; fetch or export it again");
  }

  bool varint(size_t& at, size_t end, uint64_t& value) const {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at >= end) return false;
      const auto byte = static_cast<uint64_t>(bytes_[at++]);
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return false;
  }

  /// Size of a field's payload; `body` moves past a length prefix.
  Status extent(uint64_t wire_type, size_t start, size_t& body, size_t end, size_t& size) const {
    uint64_t value = 0;
    switch (wire_type) {
      case 0: {
        size_t at = body;
        if (!varint(at, end, value)) return malformed(start, "truncated integer");
        size = at - body;
        return {};
      }
      case 1:
        size = 8;
        break;
      case 5:
        size = 4;
        break;
      case 2:
        if (!varint(body, end, value)) return malformed(start, "truncated length");
        if (value > end - body) return malformed(start, "a field is longer than what holds it");
        size = static_cast<size_t>(value);
        return {};
      default:
        return malformed(start, "unknown wire type");
    }
    if (size > end - body) return malformed(start, "truncated number");
    return {};
  }

  std::span<const std::byte> bytes_;
  int max_depth_;
};

}  // namespace

Result<std::string> wire_skeleton(std::span<const std::byte> bytes, Message message, int max_depth) {
  constexpr Kind kKinds[] = {Kind::kModel, Kind::kTensor, Kind::kSequence, Kind::kOptional};
  std::string out;
  TENON_RETURN_IF_ERROR(Walker(bytes, max_depth).copy(0, bytes.size(), kKinds[static_cast<size_t>(message)], 0, out));
  if (out.size() > INT_MAX)
    return Status(Code::kUnsupported, "the model without its weights is larger than 2 GB", {},
                  "store large tensors as raw_data or external data");
  return out;
}

namespace {

/// One field of a message that protobuf has written, so that it need not be checked.
struct WireField {
  uint64_t tag = 0, value = 0;  // value: of a varint
  size_t start = 0, body = 0, end = 0;
  uint32_t number() const { return static_cast<uint32_t>(tag >> 3); }
  bool delimited() const { return (tag & 7) == 2; }
};

uint64_t read_varint(std::string_view text, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(text[at++]);
    value |= uint64_t{byte & 0x7fU} << shift;
    if ((byte & 0x80) == 0) return value;
  }
}

WireField read_field(std::string_view text, size_t at) {
  WireField f;
  f.start = at;
  f.tag = read_varint(text, at);
  f.body = at;
  switch (f.tag & 7) {
    case 0:
      f.value = read_varint(text, at);
      break;
    case 1:
      at += 8;
      break;
    case 5:
      at += 4;
      break;
    default: {
      const uint64_t size = read_varint(text, at);
      f.body = at;
      at += size;
    }
  }
  f.end = at;
  return f;
}

uint64_t varint_size(uint64_t value) {
  uint64_t size = 1;
  while (value >>= 7) ++size;
  return size;
}

constexpr uint64_t kRawTag = uint64_t{kRawData} << 3 | 2;

void measure(std::string_view text, size_t begin, size_t end, Kind kind, std::vector<uint64_t>& sizes) {
  const size_t own = sizes.size();
  sizes.push_back(0);
  uint64_t size = 0;
  for (size_t at = begin; at < end;) {
    const WireField f = read_field(text, at);
    at = f.end;
    const Kind inner = f.delimited() ? child(kind, f.number()) : Kind::kOther;
    if (kind == Kind::kTensor && f.number() == kRawOffsetField) continue;
    if (kind == Kind::kTensor && f.number() == kRawSizeField) {
      size += varint_size(kRawTag) + varint_size(f.value) + f.value;
    } else if (inner == Kind::kOther) {
      size += f.end - f.start;
    } else {
      const size_t nested = sizes.size();
      measure(text, f.body, f.end, inner, sizes);
      size += varint_size(f.tag) + varint_size(sizes[nested]) + sizes[nested];
    }
  }
  sizes[own] = size;
}

class Expander {
 public:
  using Write = std::function<Status(std::span<const std::byte>)>;
  Expander(std::string_view text, std::span<const std::span<const std::byte>> raw, std::span<const uint64_t> sizes,
           const Write& write)
      : text_(text), raw_(raw), sizes_(sizes), write_(write) {}

  Status run(size_t begin, size_t end, Kind kind) {
    ++next_;
    uint64_t number = 0;
    for (size_t at = begin; at < end;) {
      const WireField f = read_field(text_, at);
      at = f.end;
      const Kind inner = f.delimited() ? child(kind, f.number()) : Kind::kOther;
      if (kind == Kind::kTensor && f.number() == kRawOffsetField) {
        number = f.value;
      } else if (kind == Kind::kTensor && f.number() == kRawSizeField) {
        TENON_RETURN_IF_ERROR(header(kRawTag, f.value));
        TENON_RETURN_IF_ERROR(write_(raw_[number]));
      } else if (inner == Kind::kOther) {
        TENON_RETURN_IF_ERROR(write_(std::as_bytes(std::span(text_.substr(f.start, f.end - f.start)))));
      } else {
        TENON_RETURN_IF_ERROR(header(f.tag, sizes_[next_]));
        TENON_RETURN_IF_ERROR(run(f.body, f.end, inner));
      }
    }
    return {};
  }

 private:
  Status header(uint64_t tag, uint64_t size) {
    std::string bytes;
    append_varint(bytes, tag);
    append_varint(bytes, size);
    return write_(std::as_bytes(std::span(bytes)));
  }

  std::string_view text_;
  std::span<const std::span<const std::byte>> raw_;
  std::span<const uint64_t> sizes_;
  const Write& write_;
  size_t next_ = 0;
};

}  // namespace

WireExpansion::WireExpansion(std::string_view skeleton, std::span<const std::span<const std::byte>> raw)
    : skeleton_(skeleton), raw_(raw) {
  measure(skeleton_, 0, skeleton_.size(), Kind::kModel, sizes_);
}

Status WireExpansion::write(const std::function<Status(std::span<const std::byte>)>& write) const {
  return Expander(skeleton_, raw_, sizes_, write).run(0, skeleton_.size(), Kind::kModel);
}

}  // namespace tenon::frontend
