#include "frontend/custom/api.h"

#include "support/dtype.h"

namespace tenon::frontend::custom {

const tenon_custom_api& api() {
  static const tenon_custom_api table = [] {
    tenon_custom_api a{};
    a.struct_size = sizeof(a);
    a.abi_version = TENON_CUSTOM_OP_ABI;
    a.register_op = register_op;
    add_node_functions(a);
    add_infer_functions(a);
    add_eval_functions(a);
    add_body_functions(a);
    return a;
  }();
  return table;
}

namespace {

constexpr std::pair<Code, tenon_status> kStatuses[] = {
    {Code::kOk, TENON_OK},
    {Code::kInvalidArgument, TENON_INVALID_ARGUMENT},
    {Code::kInvalidModel, TENON_INVALID_MODEL},
    {Code::kNotFound, TENON_NOT_FOUND},
    {Code::kUnsupported, TENON_UNSUPPORTED},
    {Code::kOutOfRange, TENON_OUT_OF_RANGE},
    {Code::kResourceExhausted, TENON_RESOURCE_EXHAUSTED},
    {Code::kCancelled, TENON_CANCELLED},
    {Code::kDeadlineExceeded, TENON_DEADLINE_EXCEEDED},
    {Code::kIo, TENON_IO},
    {Code::kInternal, TENON_INTERNAL},
};

}  // namespace

tenon_status to_c(Code code) {
  for (const auto& [ours, theirs] : kStatuses)
    if (ours == code) return theirs;
  return TENON_INTERNAL;
}

Code from_c(tenon_status status) {
  for (const auto& [ours, theirs] : kStatuses)
    if (theirs == status) return ours;
  return Code::kInvalidArgument;
}

DType dtype_from_c(tenon_dtype dtype) { return dtype_from_onnx(dtype).value_or(DType::kInvalid); }
tenon_dtype to_c(DType dtype) { return info(dtype).onnx; }

}  // namespace tenon::frontend::custom

using namespace tenon;
using namespace tenon::frontend::custom;

std::string tenon_node::place() const {
  std::string_view name = node.name();
  if (name.empty() && node.num_outputs() > 0) name = node.output()->name();
  return fmt::format("{} node '{}'", node.op_name(), name);
}

tenon_status tenon_node::keep(Status status) {
  const tenon_status code = to_c(status.code());
  if (!status.ok()) failure = std::move(status);
  return code;
}

Status tenon_node::defect(std::string what) const {
  return Status(Code::kInvalidArgument, std::move(what), place(), fmt::format("this is a defect of {}", op.origin));
}

Status tenon_node::finish(std::string_view callback, tenon_status code) {
  // What an invalid handle leads to is a consequence: the first misuse is the cause.
  if (!misuse.empty() && (code == TENON_OK || code == TENON_INVALID_ARGUMENT))
    return defect(fmt::format("{}: {}", callback, misuse));
  if (code == TENON_OK) return {};
  if (!failure.ok() && to_c(failure.code()) == code) return Status(failure.code(), failure.what(), place());
  if (from_c(code) == Code::kInvalidArgument && code != TENON_INVALID_ARGUMENT)
    return defect(fmt::format("{} gives {}, which is no status", callback, code));
  return Status(from_c(code), fmt::format("{} fails without a message ({})", callback, code_name(from_c(code))),
                place());
}

// ---- Functions for any callback

namespace {

tenon_status fail(tenon_node* n, tenon_status status, const char* message) {
  constexpr size_t kMaxMessage = 4096;
  if (n == nullptr) return TENON_INVALID_ARGUMENT;
  std::string text = message == nullptr ? "" : std::string(message, strnlen(message, kMaxMessage));
  // Not a status of failure: the message is the more useful part.
  const Code code = from_c(status);
  if (code == Code::kOk || to_c(code) != status) return n->keep(Status(Code::kInternal, std::move(text)));
  return n->keep(Status(code, std::move(text)));
}

void* user_data(const tenon_node* n) { return n == nullptr ? nullptr : n->op.calls.user_data; }
size_t num_inputs(const tenon_node* n) { return n == nullptr ? 0 : static_cast<size_t>(n->node.num_inputs()); }
size_t num_outputs(const tenon_node* n) { return n == nullptr ? 0 : static_cast<size_t>(n->node.num_outputs()); }
int32_t has_input(const tenon_node* n, size_t i) { return i < num_inputs(n) && n->node.has_input(static_cast<int>(i)); }

tenon_dtype input_dtype(const tenon_node* n, size_t i) {
  return has_input(n, i) ? to_c(n->node.input(static_cast<int>(i))->dtype()) : TENON_NO_DTYPE;
}

const ir::Attr* find_attr(const tenon_node& n, std::string_view name) {
  if (const ir::Attr* own = n.node.attrs().find(name)) return own;
  const auto fallback = n.op.defaults.find(name);
  return fallback == n.op.defaults.end() ? nullptr : &fallback->second;
}

int32_t has_attr(const tenon_node* n, const char* name) {
  return n != nullptr && name != nullptr && find_attr(*n, name) != nullptr;
}

/// Calls use(value) with the attribute of this kind.
template <class T, class Use>
tenon_status with_attr(tenon_node* n, const char* name, bool places, Use&& use) {
  if (n == nullptr) return TENON_INVALID_ARGUMENT;
  if (name == nullptr || !places)
    return n->keep(error(Code::kInvalidArgument, "an attribute is read with a null pointer"));
  const ir::Attr* attr = find_attr(*n, name);
  if (attr == nullptr) return n->keep(error(Code::kNotFound, "there is no attribute '{}'", name));
  const T* value = std::get_if<T>(attr);
  if (value == nullptr)
    return n->keep(error(Code::kInvalidArgument, "the attribute '{}' is read as one of another kind", name));
  use(*value);
  return TENON_OK;
}

tenon_status attr_int(tenon_node* n, const char* name, int64_t* value) {
  return with_attr<int64_t>(n, name, value != nullptr, [&](int64_t v) { *value = v; });
}

tenon_status attr_float(tenon_node* n, const char* name, double* value) {
  return with_attr<double>(n, name, value != nullptr, [&](double v) { *value = v; });
}

tenon_status attr_string(tenon_node* n, const char* name, const char** text, size_t* length) {
  return with_attr<std::string>(n, name, text != nullptr, [&](const std::string& v) {
    *text = v.c_str();
    if (length != nullptr) *length = v.size();
  });
}

tenon_status attr_tensor(tenon_node* n, const char* name, const tenon_tensor** value) {
  return with_attr<Tensor>(n, name, value != nullptr, [&](const Tensor& v) { *value = to_c(&v); });
}

template <class T>
tenon_status attr_list(tenon_node* n, const char* name, const T** values, size_t* count) {
  return with_attr<std::vector<T>>(n, name, values != nullptr && count != nullptr, [&](const std::vector<T>& v) {
    *values = v.data();
    *count = v.size();
  });
}

tenon_status attr_strings(tenon_node* n, const char* name, size_t index, const char** text, size_t* length,
                          size_t* count) {
  return with_attr<std::vector<std::string>>(n, name, true, [&](const std::vector<std::string>& v) {
    if (text != nullptr) *text = index < v.size() ? v[index].c_str() : nullptr;
    if (length != nullptr) *length = index < v.size() ? v[index].size() : 0;
    if (count != nullptr) *count = v.size();
  });
}

// ---- Tensors

tenon_dtype tensor_dtype(const tenon_tensor* t) { return t == nullptr ? TENON_NO_DTYPE : to_c(from_c(t)->dtype()); }
size_t tensor_rank(const tenon_tensor* t) { return t == nullptr ? 0 : from_c(t)->shape().size(); }
const int64_t* tensor_dims(const tenon_tensor* t) { return t == nullptr ? nullptr : from_c(t)->shape().data(); }
int64_t tensor_count(const tenon_tensor* t) { return t == nullptr ? 0 : from_c(t)->size(); }
size_t tensor_bytes(const tenon_tensor* t) { return t == nullptr ? 0 : from_c(t)->bytes(); }
const void* tensor_data(const tenon_tensor* t) { return tensor_bytes(t) == 0 ? nullptr : from_c(t)->data(); }

const char* tensor_string(const tenon_tensor* t, int64_t index, size_t* length) {
  if (tensor_dtype(t) != TENON_STRING || index < 0 || index >= from_c(t)->size()) return nullptr;
  const std::string& text = from_c(t)->string_values()[static_cast<size_t>(index)];
  if (length != nullptr) *length = text.size();
  return text.c_str();
}

}  // namespace

void tenon::frontend::custom::add_node_functions(tenon_custom_api& a) {
  a.fail = fail;
  a.user_data = user_data;
  a.num_inputs = num_inputs;
  a.num_outputs = num_outputs;
  a.has_input = has_input;
  a.input_dtype = input_dtype;
  a.has_attr = has_attr;
  a.attr_int = attr_int;
  a.attr_float = attr_float;
  a.attr_string = attr_string;
  a.attr_tensor = attr_tensor;
  a.attr_ints = attr_list<int64_t>;
  a.attr_floats = attr_list<double>;
  a.attr_strings = attr_strings;
  a.tensor_dtype = tensor_dtype;
  a.tensor_rank = tensor_rank;
  a.tensor_dims = tensor_dims;
  a.tensor_count = tensor_count;
  a.tensor_data = tensor_data;
  a.tensor_bytes = tensor_bytes;
  a.tensor_string = tensor_string;
}
