#include "runtime/host_values.h"

#include <algorithm>
#include <cstring>

#include "support/float_types.h"

namespace tenon::runtime {

bool overlaps(const Tensor& tensor, const std::byte* begin, size_t size) {
  if (tensor.bytes() == 0 || size == 0) return false;
  const std::less<const std::byte*> before;
  return before(tensor.data(), begin + size) && before(begin, tensor.data() + tensor.bytes());
}

bool overlaps(const HostValue& value, const std::byte* begin, size_t size) {
  if (const auto* tensor = std::get_if<Tensor>(&value)) return overlaps(*tensor, begin, size);
  if (const auto* sequence = std::get_if<std::shared_ptr<Sequence>>(&value); sequence != nullptr && *sequence)
    return std::any_of((*sequence)->items.begin(), (*sequence)->items.end(),
                       [&](const HostValue& item) { return overlaps(item, begin, size); });
  if (const auto* map = std::get_if<std::shared_ptr<MapValue>>(&value); map != nullptr && *map)
    return std::visit(
        [&](const auto& entries) {
          return std::any_of(entries.begin(), entries.end(),
                             [&](const auto& entry) { return overlaps(entry.second, begin, size); });
        },
        (*map)->entries);
  return false;
}

std::string describe(const HostValue& value) {
  if (const auto* tensor = std::get_if<Tensor>(&value))
    return tensor->defined() ? fmt::format("{}[{}]", name(tensor->dtype()), to_string(tensor->shape())) : "nothing";
  if (std::holds_alternative<std::shared_ptr<Sequence>>(value)) return "a sequence";
  if (std::holds_alternative<std::shared_ptr<MapValue>>(value)) return "a map";
  return "nothing";
}

size_t own_bytes(const HostValue& value) {
  const auto of = [](const Tensor& tensor) { return tensor.unique() ? tensor.bytes() : 0; };
  if (const auto* tensor = std::get_if<Tensor>(&value)) return of(*tensor);
  size_t sum = 0;
  if (const auto* sequence = std::get_if<std::shared_ptr<Sequence>>(&value); sequence != nullptr && sequence->use_count() == 1)
    for (const HostValue& item : (*sequence)->items) sum += own_bytes(item);
  if (const auto* map = std::get_if<std::shared_ptr<MapValue>>(&value); map != nullptr && map->use_count() == 1)
    std::visit([&](const auto& entries) { for (const auto& entry : entries) sum += of(entry.second); }, (*map)->entries);
  return sum;
}

void clear(HostValue& value) {
  static const Tensor none;
  if (auto* tensor = std::get_if<Tensor>(&value)) *tensor = none;
  else value = std::monostate();
}

Result<HostValue> copy_overlapping(const HostValue& value, const std::byte* begin, size_t size) {
  if (!overlaps(value, begin, size)) return value;
  if (const auto* tensor = std::get_if<Tensor>(&value)) {
    TENON_ASSIGN_OR_RETURN(Tensor copy, tensor->clone());
    return HostValue(std::move(copy));
  }
  if (const auto* sequence = std::get_if<std::shared_ptr<Sequence>>(&value)) {
    auto copy = std::make_shared<Sequence>();
    copy->elem = (*sequence)->elem;
    for (const HostValue& item : (*sequence)->items) {
      TENON_ASSIGN_OR_RETURN(HostValue owned, copy_overlapping(item, begin, size));
      copy->items.push_back(std::move(owned));
    }
    return HostValue(std::move(copy));
  }
  auto copy = std::make_shared<MapValue>(*std::get<std::shared_ptr<MapValue>>(value));
  TENON_RETURN_IF_ERROR(std::visit(
      [&](auto& entries) -> Status {
        for (auto& [key, tensor] : entries) {
          if (!overlaps(tensor, begin, size)) continue;
          TENON_ASSIGN_OR_RETURN(tensor, tensor.clone());
        }
        return {};
      },
      copy->entries));
  return HostValue(std::move(copy));
}

Result<int64_t> scalar_int(const HostValue& value, std::string_view what) {
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr || tensor->size() != 1 || bits(tensor->dtype()) == 0)
    return error(Code::kInvalidModel, "the {} is {}, not a tensor of one number", what, describe(value));
  return tensor->at_int(0);
}

void copy_elements(const Tensor& source, int64_t from, Tensor& target, int64_t to, int64_t count) {
  if (count <= 0) return;
  if (source.dtype() == DType::kString) {
    const auto begin = source.string_values().begin() + from;
    std::copy(begin, begin + count, target.mutable_strings().begin() + to);
    return;
  }
  if (is_packed(source.dtype())) {
    const auto* packed = reinterpret_cast<const uint8_t*>(source.data());
    auto* out = reinterpret_cast<uint8_t*>(target.mutable_data());
    const int width = bits(source.dtype());
    for (int64_t i = 0; i < count; ++i)
      set_packed(out, static_cast<size_t>(to + i), width, get_packed(packed, static_cast<size_t>(from + i), width, false));
    return;
  }
  const auto bytes = static_cast<size_t>(bits(source.dtype())) / 8;
  std::memcpy(target.mutable_data() + static_cast<size_t>(to) * bytes,
              source.data() + static_cast<size_t>(from) * bytes, static_cast<size_t>(count) * bytes);
}

}  // namespace tenon::runtime
