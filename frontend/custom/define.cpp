#include "frontend/custom/define.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <set>

#include "frontend/custom/api.h"

namespace tenon::frontend {
namespace {

using custom::CustomOp;

constexpr size_t kMaxStruct = 4096;
constexpr size_t kMaxEntries = 1024;  // of a table
constexpr size_t kMaxText = 1 << 16;
constexpr size_t kMaxDefault = 1 << 20;

template <class... Args>
Status wrong(fmt::format_string<Args...> format, Args&&... args) {
  return Status(Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}

/// A versioned struct of a library: what this build knows of it. `least` is its size in the first version.
template <class T>
Result<T> read_struct(const void* from, size_t least, std::string_view type) {
  if (from == nullptr) return wrong("a {} is null", type);
  size_t size = 0;
  std::memcpy(&size, from, sizeof(size));
  if (size < least || size > kMaxStruct)
    return wrong("a {} has the struct_size {}; {} is known", type, size, sizeof(T));
  const auto* bytes = static_cast<const std::byte*>(from);
  if (std::any_of(bytes + std::min(size, sizeof(T)), bytes + size, [](std::byte b) { return b != std::byte{0}; }))
    return wrong("a {} uses what only a newer Tenon knows (its struct_size is {}, {} is known)", type, size, sizeof(T));
  T out{};
  std::memcpy(&out, from, std::min(size, sizeof(T)));
  return out;
}

/// A table of versioned structs, as far apart as the first one says.
template <class T, class Fn>
Status read_table(const T* table, size_t count, size_t least, std::string_view type, Fn&& each) {
  if (count > kMaxEntries) return wrong("{} of {} are too many", count, type);
  if (count > 0 && table == nullptr) return wrong("the table of {} is null", type);
  for (size_t i = 0; i < count; ++i) {
    const size_t stride = table->struct_size;
    const auto* at = reinterpret_cast<const std::byte*>(table) + i * stride;
    TENON_ASSIGN_OR_RETURN(const T entry, read_struct<T>(at, least, type));
    if (entry.struct_size != stride) return wrong("the {} of a table have different struct_sizes", type);
    TENON_RETURN_IF_ERROR(each(entry));
  }
  return {};
}

std::string_view keep_text(CustomOp& op, const char* text) {
  if (text == nullptr) return {};
  return *op.texts.emplace_back(std::make_unique<std::string>(text, ::strnlen(text, kMaxText)));
}

/// "'X' (input 0)": parameters are told apart before they have names.
Result<ir::DTypeSet> read_dtypes(tenon_dtype_set set) {
  if (set == TENON_ANY_DTYPE) return ir::kAnyTensor;
  ir::DTypeSet out = 0;
  for (int bit = 0; bit < 64; ++bit) {
    if ((set >> bit & 1) == 0) continue;
    const DType dtype = custom::dtype_from_c(bit);
    if (dtype == DType::kInvalid) return wrong("there is no dtype {}", bit);
    out |= ir::dtype_bit(dtype);
  }
  return out;
}

Result<std::vector<ir::Param>> read_params(CustomOp& op, const tenon_param* table, size_t count,
                                           std::string_view side) {
  std::vector<ir::Param> out;
  std::set<std::string_view> names;
  TENON_RETURN_IF_ERROR(
      read_table(table, count, offsetof(tenon_param, flags) + sizeof(uint32_t), "tenon_param",
                 [&](const tenon_param& p) -> Status {
                   ir::Param param{.name = keep_text(op, p.name), .var = keep_text(op, p.type_variable)};
                   const auto at = [&](Status status) {
                     return std::move(status).at(fmt::format("{} {} '{}'", side, out.size(), param.name));
                   };
                   Result<ir::DTypeSet> types = read_dtypes(p.dtypes);
                   if (!types.ok()) return at(std::move(types).status());
                   param.types = *types;
                   param.optional = (p.flags & TENON_OPTIONAL) != 0;
                   param.variadic = (p.flags & TENON_VARIADIC) != 0;
                   if ((p.flags & ~uint32_t{TENON_OPTIONAL | TENON_VARIADIC}) != 0)
                     return at(wrong("the flags {:#x} are not known", p.flags));
                   if (param.name.empty()) return at(wrong("it has no name"));
                   if (!names.insert(param.name).second) return at(wrong("the name is taken"));
                   if (!out.empty() && out.back().variadic) return at(wrong("it follows a variadic one"));
                   out.push_back(param);
                   return {};
                 }));
  return out;
}

Result<ir::AttrKind> read_kind(tenon_attr_kind kind) {
  switch (kind) {
    case TENON_ATTR_INT:
      return ir::AttrKind::kInt;
    case TENON_ATTR_FLOAT:
      return ir::AttrKind::kFloat;
    case TENON_ATTR_STRING:
      return ir::AttrKind::kString;
    case TENON_ATTR_TENSOR:
      return ir::AttrKind::kTensor;
    case TENON_ATTR_INTS:
      return ir::AttrKind::kInts;
    case TENON_ATTR_FLOATS:
      return ir::AttrKind::kFloats;
    case TENON_ATTR_STRINGS:
      return ir::AttrKind::kStrings;
    default:
      return wrong("there is no attribute kind {}", kind);
  }
}

/// ONNX stores f32: a default equals the same number written in a model.
double to_f32(double value) { return static_cast<double>(static_cast<float>(value)); }

Result<ir::Attr> read_default(const tenon_attr& a, ir::AttrKind kind) {
  const bool list = kind == ir::AttrKind::kInts || kind == ir::AttrKind::kFloats || kind == ir::AttrKind::kStrings;
  const void* values = kind == ir::AttrKind::kInts     ? static_cast<const void*>(a.int_values)
                       : kind == ir::AttrKind::kFloats ? static_cast<const void*>(a.float_values)
                                                       : static_cast<const void*>(a.string_values);
  if (list && (a.count > kMaxDefault || (a.count > 0 && values == nullptr)))
    return wrong("the default is null or too long");
  switch (kind) {
    case ir::AttrKind::kInt:
      return ir::Attr(a.int_value);
    case ir::AttrKind::kFloat:
      return ir::Attr(to_f32(a.float_value));
    case ir::AttrKind::kString:
      if (a.string_value == nullptr) return wrong("the default is null");
      return ir::Attr(std::string(a.string_value, ::strnlen(a.string_value, kMaxText)));
    case ir::AttrKind::kInts:
      return ir::Attr(std::vector<int64_t>(a.int_values, a.int_values + a.count));
    case ir::AttrKind::kFloats: {
      std::vector<double> out;
      for (size_t i = 0; i < a.count; ++i) out.push_back(to_f32(a.float_values[i]));
      return ir::Attr(std::move(out));
    }
    case ir::AttrKind::kStrings: {
      std::vector<std::string> out;
      for (size_t i = 0; i < a.count; ++i) {
        if (a.string_values[i] == nullptr) return wrong("the default is null");
        out.emplace_back(a.string_values[i], ::strnlen(a.string_values[i], kMaxText));
      }
      return ir::Attr(std::move(out));
    }
    default:
      return wrong("an attribute of this kind has no default");
  }
}

/// As documentation shows it; lists in the form of .tir.
std::string default_text(const ir::Attr& attr) {
  if (const auto* v = std::get_if<int64_t>(&attr)) return std::to_string(*v);
  if (const auto* v = std::get_if<double>(&attr)) return fmt::format("{}", *v);
  if (const auto* v = std::get_if<std::string>(&attr)) return *v;
  if (const auto* v = std::get_if<std::vector<int64_t>>(&attr)) return fmt::format("[{}]", fmt::join(*v, ", "));
  if (const auto* v = std::get_if<std::vector<double>>(&attr)) return fmt::format("[{}]", fmt::join(*v, ", "));
  return fmt::format("[{}]", fmt::join(std::get<std::vector<std::string>>(attr), ", "));
}

Result<std::vector<ir::AttrDef>> read_attrs(CustomOp& op, const tenon_attr* table, size_t count) {
  std::vector<ir::AttrDef> out;
  std::set<std::string_view> names;
  TENON_RETURN_IF_ERROR(read_table(
      table, count, offsetof(tenon_attr, count) + sizeof(size_t), "tenon_attr", [&](const tenon_attr& a) -> Status {
        ir::AttrDef def{.name = keep_text(op, a.name)};
        const auto at = [&](Status status) { return std::move(status).at(fmt::format("attribute '{}'", def.name)); };
        Result<ir::AttrKind> kind = read_kind(a.kind);
        if (!kind.ok()) return at(std::move(kind).status());
        def.kind = *kind;
        def.required = (a.flags & TENON_ATTR_REQUIRED) != 0;
        const bool has_default = (a.flags & TENON_ATTR_HAS_DEFAULT) != 0;
        if ((a.flags & ~uint32_t{TENON_ATTR_REQUIRED | TENON_ATTR_HAS_DEFAULT}) != 0)
          return at(wrong("the flags {:#x} are not known", a.flags));
        if (def.name.empty()) return at(wrong("it has no name"));
        if (!names.insert(def.name).second) return at(wrong("the name is taken"));
        if (def.required && has_default) return at(wrong("a required attribute has no default"));
        if (has_default) {
          Result<ir::Attr> value = read_default(a, *kind);
          if (!value.ok()) return at(std::move(value).status());
          def.fallback = *op.texts.emplace_back(std::make_unique<std::string>(default_text(*value)));
          op.defaults.emplace(def.name, std::move(*value));
        }
        out.push_back(def);
        return {};
      }));
  return out;
}

Status check_callbacks(const tenon_op& calls) {
  if (calls.evaluate == nullptr && calls.body == nullptr) return wrong("it has neither evaluate nor body");
  if (calls.infer == nullptr && calls.body == nullptr) return wrong("it has neither infer nor body");
  if (calls.destroy_state != nullptr && calls.create_state == nullptr)
    return wrong("it has destroy_state without create_state");
  if (calls.create_state != nullptr && calls.evaluate == nullptr) return wrong("it has create_state without evaluate");
  if ((calls.flags & ~uint32_t{TENON_OP_NONDETERMINISTIC}) != 0)
    return wrong("the flags {:#x} are not known", calls.flags);
  return {};
}

/// Without infer, the dtypes of outputs come from their type variables, or there is one only.
Status check_default_infer(const ir::OpDef& def, std::vector<DType>& fixed) {
  if (def.inputs.empty()) return wrong("it has neither infer nor inputs");
  for (const ir::Param& output : def.outputs) {
    const bool one = std::popcount(output.types) == 1;
    fixed.push_back(one ? static_cast<DType>(std::countr_zero(output.types)) : DType::kInvalid);
    const bool bound = std::ranges::any_of(def.inputs, [&](const ir::Param& p) {
      return !output.var.empty() && p.var == output.var && !p.optional && (!p.variadic || def.inputs.size() == 1);
    });
    if (!one && !bound) return wrong("without infer, nothing gives the dtype of the output '{}'", output.name);
  }
  return {};
}

Result<ir::OpDef> define(const tenon_op& said, CustomOp& op) {
  ir::OpDef def;
  def.domain = keep_text(op, said.domain);
  def.name = keep_text(op, said.name);
  def.doc = keep_text(op, said.doc);
  def.since_version = said.since_version;
  TENON_RETURN_IF_ERROR(check_callbacks(said));
  TENON_ASSIGN_OR_RETURN(def.inputs, read_params(op, said.inputs, said.num_inputs, "input"));
  TENON_ASSIGN_OR_RETURN(def.outputs, read_params(op, said.outputs, said.num_outputs, "output"));
  TENON_ASSIGN_OR_RETURN(def.attrs, read_attrs(op, said.attrs, said.num_attrs));
  if (def.outputs.empty()) return wrong("it has no outputs");
  if (said.infer == nullptr) TENON_RETURN_IF_ERROR(check_default_infer(def, op.fixed_dtypes));
  def.infer = custom::infer;
  if (said.evaluate != nullptr) def.compute.eval = custom::evaluate;
  if (said.body != nullptr)
    def.compute.body = custom::build_bodies;
  else
    def.host = "its library has code for it, no body";
  def.side_effects = (said.flags & TENON_OP_NONDETERMINISTIC) != 0;
  return def;
}

}  // namespace

Result<ir::OpDef> define_op(const tenon_op* from, const std::string& origin, const std::shared_ptr<void>& owner) {
  Result<tenon_op> said = read_struct<tenon_op>(from, offsetof(tenon_op, user_data) + sizeof(void*), "tenon_op");
  if (!said.ok()) return std::move(said).status().at(origin);
  if (said->abi_version != TENON_CUSTOM_OP_ABI)
    return Status(Code::kInvalidArgument,
                  fmt::format("the library is built for version {} of the interface", said->abi_version), origin,
                  fmt::format("build it with the header of version {}", TENON_CUSTOM_OP_ABI));
  auto op = std::make_shared<CustomOp>();
  op->origin = origin;
  op->owner = owner;
  Result<ir::OpDef> def = define(*said, *op);
  const auto text = [](const char* t) { return t == nullptr ? std::string() : std::string(t, ::strnlen(t, kMaxText)); };
  if (!def.ok())
    return std::move(def).status().at(fmt::format("{}: op {}.{}", origin, text(said->domain), text(said->name)));
  op->calls = *said;
  op->calls.inputs = op->calls.outputs = nullptr;
  op->calls.attrs = nullptr;
  op->calls.domain = op->calls.name = op->calls.doc = nullptr;
  def->closure = std::move(op);
  return def;
}

}  // namespace tenon::frontend
