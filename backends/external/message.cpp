#include "backends/external/message.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstring>
#include <utility>

namespace tenon::backends::external {
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "frames and tensors are little-endian");

Result<std::string> frame_start(const Message& message) {
  const std::string text = message.header.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kMaxHeaderBytes || message.payloads.size() > kMaxPayloads)
    return error(Code::kResourceExhausted, "a message to a runner would have {} payloads and {} bytes of JSON", message.payloads.size(), text.size());
  FrameStart start{};
  std::memcpy(start.magic, kMagic, sizeof(kMagic));
  start.version = kProtocolVersion;
  start.header_bytes = static_cast<uint32_t>(text.size());
  start.payloads = static_cast<uint32_t>(message.payloads.size());
  std::string out(reinterpret_cast<const char*>(&start), sizeof(start));
  for (const auto& payload : message.payloads) {
    const uint64_t size = payload->size();
    out.append(reinterpret_cast<const char*>(&size), sizeof(size));
  }
  return out + text;
}

Status check_frame_start(const FrameStart& start) {
  if (std::memcmp(start.magic, kMagic, sizeof(kMagic)) != 0) return error(Code::kInternal, "the runner answers something that is no frame");
  if (start.version != kProtocolVersion)
    return error(Code::kUnsupported, "the runner speaks version {} of the protocol, Tenon {}", start.version, kProtocolVersion);
  if (start.header_bytes > kMaxHeaderBytes || start.payloads > kMaxPayloads)
    return error(Code::kResourceExhausted, "the runner answers {} bytes of JSON and {} payloads: more than {} and {}", start.header_bytes, start.payloads,
                 kMaxHeaderBytes, kMaxPayloads);
  return {};
}

Result<json> parse_header(std::string_view text) {
  json header = json::parse(text, nullptr, false);
  if (!header.is_object()) return error(Code::kInternal, "the runner's header is no JSON object");
  return header;
}

namespace {

json add_payload(std::shared_ptr<Buffer> bytes, Message& message) {
  message.payloads.push_back(std::move(bytes));
  return message.payloads.size() - 1;
}

Result<std::shared_ptr<Buffer>> pack_strings(const std::vector<std::string>& values) {
  size_t total = 0;
  for (const std::string& value : values) {
    if (value.size() > UINT32_MAX) return error(Code::kResourceExhausted, "a string is longer than 4 GiB");
    total += sizeof(uint32_t) + value.size();
  }
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> buffer, Buffer::allocate(total));
  std::byte* at = buffer->data();
  for (const std::string& value : values) {
    const uint32_t size = static_cast<uint32_t>(value.size());
    std::memcpy(at, &size, sizeof(size));
    std::memcpy(at + sizeof(size), value.data(), value.size());
    at += sizeof(size) + value.size();
  }
  return buffer;
}

Result<Tensor> unpack_strings(Shape shape, int64_t count, const Buffer& bytes) {
  // Every string takes at least its length.
  if (static_cast<uint64_t>(count) > bytes.size() / sizeof(uint32_t)) return error(Code::kInternal, "the runner's strings end early");
  std::vector<std::string> values;
  values.reserve(static_cast<size_t>(count));
  size_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t size = 0;
    if (bytes.size() - at < sizeof(size)) return error(Code::kInternal, "the runner's strings end early");
    std::memcpy(&size, bytes.data() + at, sizeof(size));
    at += sizeof(size);
    if (bytes.size() - at < size) return error(Code::kInternal, "the runner's strings end early");
    values.emplace_back(reinterpret_cast<const char*>(bytes.data()) + at, size);
    at += size;
  }
  if (at != bytes.size()) return error(Code::kInternal, "there are {} bytes after the runner's strings", bytes.size() - at);
  return Tensor::strings(std::move(shape), std::move(values));
}

Result<json> encode_tensor(const Tensor& tensor, Message& message) {
  json out = {{"dtype", std::string(name(tensor.dtype()))}, {"shape", tensor.shape()}};
  if (tensor.dtype() == DType::kString) {
    TENON_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> strings, pack_strings(tensor.string_values()));
    out["payload"] = add_payload(std::move(strings), message);
  } else {
    out["payload"] = add_payload(Buffer::borrow(tensor.data(), tensor.bytes(), std::make_shared<Tensor>(tensor)), message);
  }
  return out;
}

Result<Shape> decode_shape(const json& list) {
  constexpr size_t kMaxRank = 64;
  if (!list.is_array() || list.size() > kMaxRank) return error(Code::kInternal, "the runner gives no shape");
  Shape shape;
  for (const json& dim : list) {
    if (!dim.is_number_integer() || (dim.is_number_unsigned() && dim.get<uint64_t>() > INT64_MAX))
      return error(Code::kInternal, "the runner gives a shape with a dim that is no integer");
    shape.push_back(dim.get<int64_t>());
  }
  return shape;
}

const json* member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

Result<DType> decode_dtype(const json& object) {
  const json* text = member(object, "dtype");
  const auto dtype = text != nullptr && text->is_string() ? dtype_from_name(text->get_ref<const std::string&>()) : std::nullopt;
  if (!dtype) return error(Code::kInternal, "the runner gives a tensor without a dtype that Tenon has");
  return *dtype;
}

Result<Tensor> decode_tensor(const json& object, Message& message) {
  if (!object.is_object()) return error(Code::kInternal, "the runner gives a value that is no object");
  TENON_ASSIGN_OR_RETURN(const DType dtype, decode_dtype(object));
  const json* dims = member(object, "shape");
  TENON_ASSIGN_OR_RETURN(Shape shape, decode_shape(dims != nullptr ? *dims : json()));
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  const json* number = member(object, "payload");
  if (number == nullptr || !number->is_number_unsigned() || number->get<uint64_t>() >= message.payloads.size())
    return error(Code::kInternal, "the runner gives a tensor whose payload is not there");
  std::shared_ptr<Buffer>& payload = message.payloads[number->get<size_t>()];
  if (payload == nullptr) return error(Code::kInternal, "the runner gives two tensors of strings one payload");
  if (dtype == DType::kString) return unpack_strings(std::move(shape), count, *std::exchange(payload, nullptr));
  const auto bytes = storage_bytes(dtype, count);
  if (!bytes || *bytes != payload->size())
    return error(Code::kInternal, "the runner gives {} bytes for {}[{}]", payload->size(), name(dtype), fmt::join(shape, ", "));
  if (*bytes == 0) return Tensor::zeros(dtype, std::move(shape));
  if (dtype == DType::kBool && std::any_of(payload->data(), payload->data() + *bytes, [](std::byte b) { return b > std::byte{1}; }))
    return error(Code::kInternal, "the runner gives a bool that is neither 0 nor 1");
  return Tensor::view(dtype, std::move(shape), payload);
}

Result<json> encode(const HostValue& value, Message& message, int depth);

struct Encoder {
  Message& message;
  int depth;

  Result<json> operator()(std::monostate) const { return json(nullptr); }
  Result<json> operator()(const Tensor& tensor) const { return encode_tensor(tensor, message); }
  Result<json> operator()(const std::shared_ptr<Sequence>& sequence) const {
    json items = json::array();
    for (const HostValue& item : sequence->items) {
      TENON_ASSIGN_OR_RETURN(json one, encode(item, message, depth + 1));
      items.push_back(std::move(one));
    }
    return json{{"sequence", std::move(items)}, {"dtype", std::string(name(sequence->elem))}};
  }
  Result<json> operator()(const std::shared_ptr<MapValue>& map) const {
    return std::visit([&](const auto& entries) { return encode_entries(entries); }, map->entries);
  }
  template <class Key>
  Result<json> encode_entries(const std::map<Key, Tensor>& entries) const {
    json keys = json::array(), values = json::array();
    for (const auto& [key, tensor] : entries) {
      keys.push_back(key);
      TENON_ASSIGN_OR_RETURN(json one, encode_tensor(tensor, message));
      values.push_back(std::move(one));
    }
    return json{{"keys", std::move(keys)}, {"values", std::move(values)}};
  }
};

Result<json> encode(const HostValue& value, Message& message, int depth) {
  if (depth > kMaxNesting) return error(Code::kUnsupported, "sequences in one another more than {} deep", kMaxNesting);
  return std::visit(Encoder{message, depth}, value);
}

Result<HostValue> decode(const json& object, Message& message, int depth);

Result<HostValue> decode_sequence(const json& object, const json& items, Message& message, int depth) {
  auto out = std::make_shared<Sequence>();
  if (!items.is_array()) return error(Code::kInternal, "the runner gives a sequence that is no list");
  TENON_ASSIGN_OR_RETURN(out->elem, decode_dtype(object));
  for (const json& item : items) {
    TENON_ASSIGN_OR_RETURN(HostValue one, decode(item, message, depth + 1));
    if (const auto* tensor = std::get_if<Tensor>(&one); tensor != nullptr && tensor->dtype() != out->elem)
      return error(Code::kInternal, "the runner gives {} in a sequence of {}", name(tensor->dtype()), name(out->elem));
    out->items.push_back(std::move(one));
  }
  return HostValue(std::move(out));
}

Result<HostValue> decode_map(const json& object, const json& keys, Message& message) {
  const json* values = member(object, "values");
  if (!keys.is_array() || values == nullptr || !values->is_array() || values->size() != keys.size())
    return error(Code::kInternal, "the runner gives a map without as many values as keys");
  std::map<int64_t, Tensor> numbers;
  std::map<std::string, Tensor> texts;
  for (size_t i = 0; i < keys.size(); ++i) {
    TENON_ASSIGN_OR_RETURN(Tensor tensor, decode_tensor((*values)[i], message));
    if (keys[i].is_number_integer()) numbers.emplace(keys[i].get<int64_t>(), std::move(tensor));
    else if (keys[i].is_string()) texts.emplace(keys[i].get<std::string>(), std::move(tensor));
    else return error(Code::kInternal, "the runner gives a map with a key that is neither integer nor string");
  }
  if (!numbers.empty() && !texts.empty()) return error(Code::kInternal, "the runner gives a map whose keys are of two types");
  auto out = std::make_shared<MapValue>();
  if (texts.empty()) out->entries = std::move(numbers);
  else out->entries = std::move(texts);
  return HostValue(std::move(out));
}

Result<HostValue> decode(const json& object, Message& message, int depth) {
  if (depth > kMaxNesting) return error(Code::kInternal, "the runner gives sequences in one another more than {} deep", kMaxNesting);
  if (object.is_null()) return HostValue();
  if (!object.is_object()) return error(Code::kInternal, "the runner gives a value that is no object");
  if (const json* items = member(object, "sequence")) return decode_sequence(object, *items, message, depth);
  if (const json* keys = member(object, "keys")) return decode_map(object, *keys, message);
  TENON_ASSIGN_OR_RETURN(Tensor tensor, decode_tensor(object, message));
  return HostValue(std::move(tensor));
}

}  // namespace

Result<json> encode_value(const HostValue& value, Message& message) { return encode(value, message, 0); }
Result<HostValue> decode_value(const json& object, Message& message) { return decode(object, message, 0); }

std::string printable(std::string_view text, size_t max, Keep keep) {
  const bool cut = text.size() > max;
  if (cut) text = keep == Keep::kStart ? text.substr(0, max) : text.substr(text.size() - max);
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // Colours of terminals: ESC [ … letter.
    if (c == 0x1b && i + 1 < text.size() && text[i + 1] == '[') {
      for (i += 2; i < text.size() && std::isalpha(static_cast<unsigned char>(text[i])) == 0;) ++i;
      continue;
    }
    if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f)) plain += text[i];
  }
  while (!plain.empty() && (plain.back() == '\n' || plain.back() == ' ')) plain.pop_back();
  plain.erase(0, std::min(plain.find_first_not_of("\n "), plain.size()));
  if (cut) plain = keep == Keep::kStart ? plain + " …" : "… " + plain;
  // JSON's encoder knows what is no UTF-8.
  const std::string quoted = json(std::move(plain)).dump(-1, ' ', false, json::error_handler_t::ignore);
  const json back = json::parse(quoted, nullptr, false);
  return back.is_string() ? back.get<std::string>() : std::string();
}

}  // namespace tenon::backends::external
