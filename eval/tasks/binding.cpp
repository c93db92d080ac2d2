#include "eval/tasks/binding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "eval/inputs.h"
#include "eval/tasks/object_reader.h"

namespace tenon::eval {
using nlohmann::json;

namespace {

constexpr int64_t kDefaultBatch = 32;
constexpr std::string_view kPair = "_pair";

std::string field_names(const Fields& fields) {
  std::vector<std::string> names;
  for (const auto& [name, value] : fields) names.push_back(name);
  return fmt::format("{}", fmt::join(names, ", "));
}

bool numeric(DType dtype) { return is_float(dtype) || is_int(dtype) || dtype == DType::kBool; }

/// The same numbers in another dtype; one that an integer dtype does not have is an error.
Result<Tensor> converted(const Tensor& t, DType dtype, const std::string& input) {
  if (t.dtype() == dtype) return t;
  if (!numeric(t.dtype()) || !numeric(dtype))
    return error(Code::kInvalidArgument, "input {} takes {}, but its field holds {}", input, name(dtype), name(t.dtype()));
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, t.shape()));
  if (is_float(dtype)) {
    for (int64_t i = 0; i < t.size(); ++i) out.set_double(i, t.at_double(i));
    return out;
  }
  for (int64_t i = 0; i < t.size(); ++i) {
    const auto set = [&](int64_t v) {
      out.set_int(i, v);
      const bool beyond = t.dtype() == DType::kU64 && v < 0;  // of what an int64_t holds
      return out.at_int(i) == v && (v >= 0 || dtype != DType::kU64) && !beyond;
    };
    const auto out_of_range = [&](auto v) { return error(Code::kInvalidArgument, "input {} takes {}, which does not have {}", input, name(dtype), v); };
    if (!is_float(t.dtype())) {
      const int64_t v = t.at_int(i);
      if (!set(v)) return t.dtype() == DType::kU64 ? out_of_range(static_cast<uint64_t>(v)) : out_of_range(v);
      continue;
    }
    const double v = t.at_double(i);
    if (v != std::floor(v) || std::abs(v) > 0x1p53)
      return error(Code::kInvalidArgument, "input {} takes {}, but its field has the value {}", input, name(dtype), v).with_hint("add a step that rounds");
    if (!set(static_cast<int64_t>(v))) return out_of_range(v);
  }
  return out;
}

bool dims_fit(std::span<const ir::Dim> dims, const Shape& shape) {
  if (dims.size() != shape.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (dims[i].is_const() && dims[i].value() != shape[i]) return false;
  return true;
}

/// The shape with axes of size 1 added, dropped or all axes joined so that it fits; nullopt when there is none.
std::optional<Shape> fitted(std::span<const ir::Dim> dims, const Shape& shape) {
  if (dims_fit(dims, shape)) return shape;
  Shape rest;
  for (int64_t d : shape)
    if (d != 1) rest.push_back(d);
  Shape out;
  size_t next = 0;
  for (const ir::Dim& dim : dims) {
    const bool one = dim.is_const() && dim.value() == 1;
    if (one) out.push_back(1);
    else if (next < rest.size()) out.push_back(rest[next++]);
    else out.push_back(1);
  }
  if (next == rest.size() && dims_fit(dims, out)) return out;
  const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  if (Shape flat{count}; dims_fit(dims, flat)) return flat;
  return std::nullopt;
}

/// A value for an input: its shape fits what is behind the batch, or, as a whole, all of the input.
Result<HostValue> fit(const HostValue& value, const std::string& input, const ir::Type& type, bool& whole) {
  const auto* raw = std::get_if<Tensor>(&value);
  if (raw == nullptr || !raw->defined() || !type.is_tensor()) {
    whole = true;
    return value;
  }
  TENON_ASSIGN_OR_RETURN(const Tensor t, converted(*raw, type.dtype(), input));
  if (whole || !type.is_ranked_tensor()) return HostValue(t);
  const std::span<const ir::Dim> dims = *type.tensor().dims;
  if (dims.empty()) {
    whole = true;
    return HostValue(t);
  }
  Shape shape = t.shape();
  if (shape.size() == dims.size() && shape[0] == 1) shape.erase(shape.begin());
  if (const auto item = shape.size() < dims.size() || dims.size() == 2 ? fitted(dims.subspan(1), shape) : std::nullopt) {
    TENON_ASSIGN_OR_RETURN(Tensor out, t.reshaped(*item));
    return HostValue(std::move(out));
  }
  if (dims_fit(dims, t.shape())) {
    whole = true;
    return HostValue(t);
  }
  if (const auto item = fitted(dims.subspan(1), shape)) {
    TENON_ASSIGN_OR_RETURN(Tensor out, t.reshaped(*item));
    return HostValue(std::move(out));
  }
  return error(Code::kInvalidArgument, "input {} is {}, which a value of shape {} does not fit", input, ir::to_string(type), to_string(t.shape()))
      .with_hint("add steps to preprocess: resize, layout, pad …");
}

int64_t constant_dim(std::span<const ir::Dim> dims, size_t i) { return dims[i].is_const() ? dims[i].value() : 0; }

/// Steps that bring an image into the form of the model's input: its channels, size and layout, in [0, 1].
Result<json> image_steps(const ir::Value& input) {
  json steps = json::array();
  if (!input.type().is_ranked_tensor()) return steps;
  const std::span<const ir::Dim> dims = *input.tensor().dims;
  const auto channels_of = [](int64_t size) { return size == 1 || size == 3 ? size : 0; };
  int64_t channels = 0, height = 0, width = 0;
  bool planar = true;
  if (dims.size() == 4) {
    planar = channels_of(constant_dim(dims, 1)) > 0 || channels_of(constant_dim(dims, 3)) == 0;
    channels = channels_of(constant_dim(dims, planar ? 1 : 3));
    height = constant_dim(dims, planar ? 2 : 1);
    width = constant_dim(dims, planar ? 3 : 2);
  } else if (dims.size() == 3) {
    channels = 1;
    height = constant_dim(dims, 1);
    width = constant_dim(dims, 2);
  }
  if (channels > 0) steps.push_back({{"step", "channels"}, {"to", channels == 1 ? "grey" : "rgb"}});
  if (height > 0 && width > 0) steps.push_back({{"step", "resize"}, {"size", {height, width}}});
  if (is_float(input.dtype())) steps.push_back({{"step", "scale"}});
  if (planar) steps.push_back({{"step", "layout"}});
  return steps;
}

Result<std::vector<HostValue>> rows_of(HostValue output, const std::string& name, int64_t size, int64_t used) {
  std::vector<HostValue> out;
  if (const auto* list = std::get_if<std::shared_ptr<Sequence>>(&output); list != nullptr && *list != nullptr &&
                                                                           static_cast<int64_t>((*list)->items.size()) == size) {
    out.assign((*list)->items.begin(), (*list)->items.begin() + used);
    return out;
  }
  const auto* t = std::get_if<Tensor>(&output);
  if (t == nullptr || t->rank() < 1 || t->dim(0) != size) {
    if (size == 1) return std::vector<HostValue>{std::move(output)};
    return error(Code::kInvalidArgument, "output {} is {}, not one part an example of {}", name, describe(output), size).with_hint("use --batch 1");
  }
  const Shape shape(t->shape().begin() + 1, t->shape().end());
  const int64_t count = t->size() / size;
  for (int64_t i = 0; i < used; ++i) {
    if (t->dtype() == DType::kString) {
      const auto first = t->string_values().begin() + i * count;
      TENON_ASSIGN_OR_RETURN(Tensor row, Tensor::strings(shape, {first, first + count}));
      out.emplace_back(std::move(row));
      continue;
    }
    TENON_ASSIGN_OR_RETURN(Tensor row, Tensor::empty(t->dtype(), shape));
    if (is_packed(t->dtype())) {
      for (int64_t k = 0; k < count; ++k) row.set_double(k, t->at_double(i * count + k));
    } else if (row.bytes() > 0) {
      std::memcpy(row.mutable_data(), t->data() + static_cast<size_t>(i) * row.bytes(), row.bytes());
    }
    out.emplace_back(std::move(row));
  }
  return out;
}

bool same_shapes(const std::vector<HostValue>& a, const std::vector<HostValue>& b) {
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const auto *x = std::get_if<Tensor>(&a[i]), *y = std::get_if<Tensor>(&b[i]);
    if (x == nullptr || y == nullptr) {
      if (x != y) return false;
      continue;
    }
    if (x->shape() != y->shape()) return false;
  }
  return a.size() == b.size();
}

}  // namespace

Fields other_half(const Fields& fields) {
  Fields out = fields;
  for (const auto& [name, value] : fields)
    if (name.size() > kPair.size() && name.ends_with(kPair)) out[name.substr(0, name.size() - kPair.size())] = value;
  return out;
}

Result<Binding> Binding::make(const ir::Graph& graph, const TaskInfo& task, Recipe& recipe) {
  Binding out;
  out.pairs_ = task.pairs;
  out.whole_ = task.name == std::string_view("outputs");
  for (int i = 0; i < static_cast<int>(graph.outputs().size()); ++i) out.output_names_.push_back(graph.output_name(i));
  out.wanted_.assign(out.output_names_.size(), task.roles.empty());
  TENON_ASSIGN_OR_RETURN(const auto roles, assign_roles(task, graph, recipe.outputs));
  for (const auto& [role, output] : roles) {
    out.wanted_[output] = true;
    recipe.outputs[role] = out.output_names_[output];
  }
  if (graph.inputs().empty()) return error(Code::kInvalidArgument, "the model has no inputs to evaluate");

  std::vector<std::string> names;
  for (const ir::Value* input : graph.inputs()) names.push_back(input->name());
  for (const auto& [name, choice] : recipe.inputs)
    if (std::find(names.begin(), names.end(), name) == names.end())
      return Status(Code::kInvalidArgument, fmt::format("the model has no input '{}'", name), "inputs", suggest(name, names));
  if (recipe.preprocess.is_null()) {
    recipe.preprocess = json::array();
    if (task.input == std::string_view("image") && graph.inputs().size() == 1) {
      TENON_ASSIGN_OR_RETURN(recipe.preprocess, image_steps(*graph.inputs()[0]));
    }
  }
  TENON_ASSIGN_OR_RETURN(out.pipeline_, parse_pipeline(recipe.preprocess, recipe.folder));
  for (size_t k = 0; k < graph.inputs().size(); ++k) {
    const ir::Value& value = *graph.inputs()[k];
    Input input{value.name(), value.type(), value.name(), 0};
    if (out.whole_) input.field = fmt::format("input_{}", k);
    else if (graph.inputs().size() == 1 && !task.input.empty()) input.field = std::string(task.input);
    if (const auto chosen = recipe.inputs.find(value.name()); chosen != recipe.inputs.end()) {
      input.field = chosen->second.value ? std::string() : chosen->second.field;
      input.value = chosen->second.value.value_or(0);
      if (input.field.empty() && !(value.type().is_ranked_tensor() && numeric(value.dtype())))
        return Status(Code::kInvalidArgument, fmt::format("{} cannot be filled with a number", ir::to_string(value.type())), fmt::format("inputs.{}", value.name()));
      if (input.field.empty()) TENON_RETURN_IF_ERROR(converted(Tensor::scalar<double>(input.value), value.dtype(), value.name()).status());
    } else {
      recipe.inputs[value.name()].field = input.field;
    }
    if (!out.whole_ && !input.field.empty() && value.type().is_ranked_tensor() && !value.tensor().dims->empty())
      if (const int64_t fixed = constant_dim(*value.tensor().dims, 0); fixed > 0) {
        if (out.fixed_ > 0 && out.fixed_ != fixed) out.fixed_ = -1;  // no common batch
        else if (out.fixed_ == 0) out.fixed_ = fixed;
      }
    out.inputs_.push_back(std::move(input));
  }
  if (out.fixed_ < 0) {
    out.fixed_ = 0;
    out.whole_ = true;
  }
  out.batch_ = out.whole_ ? 1 : out.fixed_ > 0 ? out.fixed_ : recipe.batch > 0 ? recipe.batch : kDefaultBatch;
  constexpr int64_t kMost = int64_t{1} << 20;
  if (out.batch_ > kMost) return error(Code::kInvalidArgument, "the model takes {} examples a run; {} are possible", out.batch_, kMost);
  recipe.batch = out.batch_;
  return out;
}

Result<std::vector<HostValue>> Binding::fit_all(const Fields& fields, bool& whole) const {
  std::vector<HostValue> out;
  for (const Input& input : inputs_) {
    if (input.field.empty()) {
      out.emplace_back();
      continue;
    }
    const auto found = fields.find(input.field) != fields.end() ? fields.find(input.field) : fields.find(input.name);
    if (found == fields.end())
      return error(Code::kInvalidArgument, "there is no field '{}' for input {}: there are {}", input.field, input.name, field_names(fields))
          .with_hint("name it in inputs, or make it in preprocess");
    TENON_ASSIGN_OR_RETURN(HostValue value, fit(found->second, input.name, input.type, whole));
    out.push_back(std::move(value));
  }
  return out;
}

Result<Row> Binding::prepare(Example example) const {
  Row out;
  TENON_ASSIGN_OR_RETURN(out.prepared, pipeline_.run(example.fields));
  out.whole = whole_;
  TENON_ASSIGN_OR_RETURN(out.inputs, fit_all(out.prepared, out.whole));
  // Where one input turns out to be whole, all of them are.
  if (out.whole && !whole_) {
    TENON_ASSIGN_OR_RETURN(out.inputs, fit_all(out.prepared, out.whole));
  }
  if (pairs_) {
    TENON_ASSIGN_OR_RETURN(Fields other, pipeline_.run(other_half(example.fields)));
    bool whole = out.whole;
    TENON_ASSIGN_OR_RETURN(out.pair_inputs, fit_all(other, whole));
    if (whole != out.whole) return error(Code::kInvalidArgument, "the halves of the pair do not take the same form");
    for (auto& [name, value] : other)
      if (!name.ends_with(kPair)) out.prepared[name + std::string(kPair)] = value;
  }
  out.example = std::move(example);
  return out;
}

std::vector<Group> Binding::group(std::span<const Row> rows) const {
  std::vector<Group> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto same = std::find_if(out.begin(), out.end(), [&](const Group& g) {
      const Row& first = rows[g.rows[0]];
      return !first.whole && !rows[i].whole && same_shapes(first.inputs, rows[i].inputs) && same_shapes(first.pair_inputs, rows[i].pair_inputs);
    });
    if (same != out.end()) same->rows.push_back(i);
    else out.push_back({{i}});
  }
  return out;
}

Result<std::vector<HostValue>> Binding::stack(std::span<const Row> rows, const Group& group, bool pair) const {
  const auto used = static_cast<int64_t>(group.rows.size());
  const int64_t size = fixed_ > 0 ? fixed_ : used;
  std::vector<HostValue> out;
  for (size_t k = 0; k < inputs_.size(); ++k) {
    const Input& input = inputs_[k];
    if (input.field.empty()) {
      Shape shape;
      const std::span<const ir::Dim> dims = *input.type.tensor().dims;
      for (size_t d = 0; d < dims.size(); ++d) shape.push_back(dims[d].is_const() ? dims[d].value() : d == 0 && !rows[group.rows[0]].whole ? size : 1);
      TENON_ASSIGN_OR_RETURN(Tensor filled, Tensor::zeros(input.type.dtype(), std::move(shape)));
      for (int64_t i = 0; input.value != 0 && i < filled.size(); ++i) filled.set_double(i, input.value);
      out.emplace_back(std::move(filled));
      continue;
    }
    const auto value = [&](int64_t i) -> const HostValue& {
      const Row& row = rows[group.rows[static_cast<size_t>(std::min(i, used - 1))]];
      return pair ? row.pair_inputs[k] : row.inputs[k];
    };
    if (rows[group.rows[0]].whole) {
      out.push_back(value(0));
      continue;
    }
    const Tensor& first = std::get<Tensor>(value(0));
    Shape shape = first.shape();
    shape.insert(shape.begin(), size);
    if (first.dtype() == DType::kString) {
      std::vector<std::string> texts;
      for (int64_t i = 0; i < size; ++i) {
        const auto& more = std::get<Tensor>(value(i)).string_values();
        texts.insert(texts.end(), more.begin(), more.end());
      }
      TENON_ASSIGN_OR_RETURN(Tensor stacked, Tensor::strings(std::move(shape), std::move(texts)));
      out.emplace_back(std::move(stacked));
      continue;
    }
    TENON_ASSIGN_OR_RETURN(Tensor stacked, Tensor::empty(first.dtype(), std::move(shape)));
    for (int64_t i = 0; i < size; ++i) {
      const Tensor& row = std::get<Tensor>(value(i));
      if (is_packed(first.dtype()))
        for (int64_t e = 0; e < row.size(); ++e) stacked.set_double(i * row.size() + e, row.at_double(e));
      else if (row.bytes() > 0) std::memcpy(stacked.mutable_data() + static_cast<size_t>(i) * row.bytes(), row.data(), row.bytes());
    }
    out.emplace_back(std::move(stacked));
  }
  return out;
}

Result<std::vector<std::vector<HostValue>>> Binding::split(std::vector<HostValue> outputs, std::span<const Row> rows, const Group& group) const {
  std::vector<std::vector<HostValue>> out(group.rows.size());
  const bool whole = rows[group.rows[0]].whole;
  const auto used = static_cast<int64_t>(group.rows.size());
  for (size_t k = 0; k < outputs.size(); ++k) {
    const bool wanted = k < wanted_.size() && wanted_[k];
    std::vector<HostValue> parts(group.rows.size());
    if (wanted && whole) parts[0] = std::move(outputs[k]);
    if (wanted && !whole) {
      TENON_ASSIGN_OR_RETURN(parts, rows_of(std::move(outputs[k]), output_names_[k], fixed_ > 0 ? fixed_ : used, used));
    }
    for (size_t i = 0; i < out.size(); ++i) out[i].push_back(std::move(parts[i]));
  }
  return out;
}

}  // namespace tenon::eval
