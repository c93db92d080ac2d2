#include "eval/tasks/judge.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "support/checked.h"

namespace tenon::eval {
namespace {

std::string names_of(const Item& item) {
  std::vector<std::string> names;
  for (const auto& [name, value] : item.example.fields) names.push_back(name);
  for (const auto& [name, value] : item.prepared)
    if (!item.example.fields.contains(name)) names.push_back(name);
  return names.empty() ? "it has none" : fmt::format("it has {}", fmt::join(names, ", "));
}

std::string element_text(const Tensor& t, int64_t i) {
  if (t.dtype() == DType::kString) return t.string_values()[static_cast<size_t>(i)];
  return is_float(t.dtype()) ? fmt::format("{}", t.at_double(i)) : fmt::format("{}", t.at_int(i));
}

}  // namespace

const HostValue* role_value(const TaskContext& context, const Item& item, std::string_view role, bool pair) {
  const auto found = context.roles.find(role);
  if (found == context.roles.end()) return nullptr;
  const std::span<const HostValue> outputs = pair ? item.pair_outputs : item.outputs;
  return found->second < outputs.size() ? &outputs[found->second] : nullptr;
}

Result<Tensor> role_tensor(const TaskContext& context, const Item& item, std::string_view role, bool pair) {
  const HostValue* value = role_value(context, item, role, pair);
  if (value == nullptr) return error(Code::kInvalidArgument, "no output is the task's {}", role);
  if (const auto* tensor = std::get_if<Tensor>(value); tensor != nullptr && tensor->defined()) return *tensor;
  return error(kUnusableOutput, "the output for {} is no tensor", role);
}

Result<Tensor> role_tensor(const TaskContext& context, const Item& item, std::string_view role, int rank, bool pair) {
  TENON_ASSIGN_OR_RETURN(Tensor t, role_tensor(context, item, role, pair));
  Shape shape = t.shape();
  while (static_cast<int>(shape.size()) > rank && shape[0] == 1) shape.erase(shape.begin());
  if (static_cast<int>(shape.size()) != rank || (is_float(t.dtype()) || is_int(t.dtype())) == false)
    return error(kUnusableOutput, "the output for {} has shape {} for an example, not numbers of rank {}", role, to_string(t.shape()), rank);
  return t.reshaped(std::move(shape));
}

const HostValue* item_value(const Item& item, std::string_view name) {
  if (const auto found = item.prepared.find(name); found != item.prepared.end()) return &found->second;
  if (const auto found = item.example.fields.find(name); found != item.example.fields.end()) return &found->second;
  return nullptr;
}

Result<Tensor> item_tensor(const Item& item, std::string_view name) {
  const HostValue* value = item_value(item, name);
  if (value == nullptr) return error(Code::kInvalidArgument, "there is no field '{}': {}", name, names_of(item));
  if (const auto* tensor = std::get_if<Tensor>(value); tensor != nullptr && tensor->defined()) return *tensor;
  return error(Code::kInvalidArgument, "field '{}' is no tensor", name);
}

Result<std::string> item_text(const Item& item, std::string_view name) {
  TENON_ASSIGN_OR_RETURN(const Tensor t, item_tensor(item, name));
  if (t.size() != 1) return error(Code::kInvalidArgument, "field '{}' has {} values, not one", name, t.size());
  return element_text(t, 0);
}

Result<std::vector<std::string>> item_texts(const Item& item, std::string_view name) {
  TENON_ASSIGN_OR_RETURN(const Tensor t, item_tensor(item, name));
  std::vector<std::string> out;
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(element_text(t, i));
  return out;
}

Result<int64_t> LabelReader::read(const Tensor& field, int64_t i, const std::vector<std::string>& keys) const {
  if (i >= field.size()) return error(Code::kInvalidArgument, "field '{}' is empty: it has no label", options_.field);
  const std::string text = element_text(field, i);
  if (text.empty() || (is_float(field.dtype()) && std::isnan(field.at_double(i)))) return error(Code::kInvalidArgument, "field '{}' is empty: it has no label", options_.field);
  if (const auto found = options_.map.find(text); found != options_.map.end()) return found->second;
  if (!options_.map.empty()) return error(Code::kInvalidArgument, "label '{}' is not in the labels' map", text);
  for (const std::vector<std::string>* names : {&keys, &options_.names})
    if (const auto found = std::find(names->begin(), names->end(), text); found != names->end()) return found - names->begin();
  if (field.dtype() == DType::kString) {
    int64_t number = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (ec != std::errc() || end != text.data() + text.size())
      return error(Code::kInvalidArgument, "label '{}' is neither a number nor the name of a class", text).with_hint("give labels.names or labels.map");
    const auto moved = checked_add(number, options_.offset);
    if (!moved || *moved < 0) return error(Code::kInvalidArgument, "label {} is negative", number);
    return *moved;
  }
  const double exact = is_float(field.dtype()) ? field.at_double(i) : 0;
  if (exact != std::floor(exact) || std::abs(exact) > 0x1p53) return error(Code::kInvalidArgument, "label {} is no whole number", text);
  const auto moved = checked_add(field.at_int(i), options_.offset);
  if (!moved || *moved < 0) return error(Code::kInvalidArgument, "label {} is negative", text);
  return *moved;
}

namespace {

double lowest_for_nan(double v) { return std::isnan(v) ? -std::numeric_limits<double>::infinity() : v; }

template <class Key>
Result<Scores> map_scores(const std::map<Key, Tensor>& entries) {
  Scores out;
  for (const auto& [key, tensor] : entries) {
    if (tensor.size() != 1 || !(is_float(tensor.dtype()) || is_int(tensor.dtype())))
      return error(Code::kInvalidArgument, "the map of scores has {} values for '{}', not one number", tensor.size(), key);
    const double v = tensor.at_double(0);
    out.any_number = out.any_number || !std::isnan(v);
    out.values.push_back(lowest_for_nan(v));
    out.keys.push_back(fmt::format("{}", key));
  }
  return out;
}

}  // namespace

Result<Scores> read_scores(const HostValue& value) {
  if (const auto* map = std::get_if<std::shared_ptr<MapValue>>(&value); map != nullptr && *map != nullptr)
    return std::visit([](const auto& entries) { return map_scores(entries); }, (*map)->entries);
  if (const auto* list = std::get_if<std::shared_ptr<Sequence>>(&value); list != nullptr && *list != nullptr && (*list)->items.size() == 1)
    return read_scores((*list)->items[0]);
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr || !tensor->defined() || !(is_float(tensor->dtype()) || is_int(tensor->dtype())))
    return error(kUnusableOutput, "the output for scores holds no numbers");
  Scores out;
  out.values.resize(static_cast<size_t>(tensor->size()));
  for (int64_t i = 0; i < tensor->size(); ++i) {
    const double v = tensor->at_double(i);
    out.any_number = out.any_number || !std::isnan(v);
    out.values[static_cast<size_t>(i)] = lowest_for_nan(v);
  }
  return out;
}

size_t argmax(std::span<const double> values) {
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best] || (std::isnan(values[best]) && !std::isnan(values[i]))) best = i;
  return best;
}

double log_sum_exp(std::span<const double> values) {
  const double top = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
  if (!std::isfinite(top)) return top;
  double sum = 0;
  for (double v : values) sum += std::exp(v - top);
  return top + std::log(sum);
}

std::vector<double> softmax(std::span<const double> values) {
  const double total = log_sum_exp(values);
  std::vector<double> out(values.size());
  if (std::isfinite(total)) {
    for (size_t i = 0; i < values.size(); ++i) out[i] = std::exp(values[i] - total);
    return out;
  }
  const auto tops = static_cast<double>(std::count(values.begin(), values.end(), total));
  for (size_t i = 0; i < values.size(); ++i) out[i] = !(total > 0) ? std::numeric_limits<double>::quiet_NaN() : values[i] == total ? 1 / tops : 0;
  return out;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<double> row_of(const Tensor& matrix, int64_t i) {
  const int64_t columns = matrix.dim(1);
  std::vector<double> out(static_cast<size_t>(columns));
  for (int64_t c = 0; c < columns; ++c) out[static_cast<size_t>(c)] = lowest_for_nan(matrix.at_double(i * columns + c));
  return out;
}

}  // namespace tenon::eval
