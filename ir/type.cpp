#include "ir/type.h"

#include <algorithm>

#include <fmt/format.h>

namespace tenon::ir {

bool TensorType::is_static() const {
  return ranked() && std::ranges::all_of(*dims, [](const Dim& d) { return d.is_const(); });
}

namespace {

bool same(const std::shared_ptr<const Type>& a, const std::shared_ptr<const Type>& b) {
  if (a == b) return true;
  return a && b && *a == *b;
}

std::string to_string(const std::shared_ptr<const Type>& type) { return type ? to_string(*type) : "?"; }

}  // namespace

bool Type::operator==(const Type& other) const {
  if (v_.index() != other.v_.index()) return false;
  if (is_tensor()) return tensor() == other.tensor();
  if (const auto* s = as_sequence()) return same(s->elem, other.as_sequence()->elem);
  if (const auto* o = as_optional()) return same(o->elem, other.as_optional()->elem);
  if (const auto* m = as_map()) return m->key == other.as_map()->key && same(m->value, other.as_map()->value);
  return true;
}

std::string to_string(const TensorType& type) {
  std::string text(name(type.dtype));
  if (!type.ranked()) return text + "[*]";
  text += '[';
  for (size_t i = 0; i < type.dims->size(); ++i) {
    if (i > 0) text += ", ";
    text += to_string((*type.dims)[i]);
  }
  return text + ']';
}

std::string to_string(const Type& type) {
  if (type.is_tensor()) return to_string(type.tensor());
  if (const auto* s = type.as_sequence()) return fmt::format("seq<{}>", to_string(s->elem));
  if (const auto* o = type.as_optional()) return fmt::format("opt<{}>", to_string(o->elem));
  if (const auto* m = type.as_map()) return fmt::format("map<{}, {}>", name(m->key), to_string(m->value));
  return "?";
}

}  // namespace tenon::ir
