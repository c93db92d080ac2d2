#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/cast.h"
#include "ir/ops/families.h"
#include "ir/ops/ml_decompose.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kStringOrInt = dtypes(DType::kI64, DType::kString);
constexpr DTypeSet kLabels = dtypes(DType::kF32, DType::kF64, DType::kI16, DType::kI32, DType::kI64, DType::kString);

std::vector<double> broadcast_attr(const Node& node, std::string_view name, int64_t columns, double fallback) {
  std::vector<double> v = node.attr_floats(name);
  if (v.empty()) v.assign(1, fallback);
  if (v.size() == 1) v.assign(static_cast<size_t>(std::max<int64_t>(columns, 0)), v[0]);
  return v;
}

// ---- Element maps with per-column parameters

Status infer_float_like(InferContext& c) {
  c.set(0, c.ranked(0) ? tensor_of(DType::kF32, c.shape(0)) : unranked(DType::kF32));
  return {};
}

Status check_column_attr(const Node& node, std::string_view name, const Dims& dims) {
  size_t n = node.attr_floats(name).size();
  if (n <= 1) return {};
  if (dims.empty() || differ(node, dims.back(), static_cast<int64_t>(n)))
    return error(Code::kInvalidModel, "attribute {} has {} entries, which do not fit the last axis", name, n);
  return {};
}

Status infer_scaler(InferContext& c) {
  if (c.ranked(0))
    for (std::string_view name : {"offset", "scale"}) {
      Status s = check_column_attr(c.node(), name, c.shape(0));
      if (!s.ok()) return std::move(s).at(c.node().name());
    }
  return infer_float_like(c);
}

Status eval_scaler(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  int64_t columns = x.rank() == 0 ? 1 : x.shape().back();
  std::vector<double> offset = broadcast_attr(c.node, "offset", columns, 0), scale = broadcast_attr(c.node, "scale", columns, 1);
  if (static_cast<int64_t>(offset.size()) != columns || static_cast<int64_t>(scale.size()) != columns)
    return eval_error(c, Code::kInvalidArgument, "offset and scale do not fit {} columns", columns);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kF32, x.shape()));
  for (int64_t i = 0; i < x.size(); ++i) {
    size_t j = static_cast<size_t>(i % columns);
    out->set_double(i, (x.at_double(i) - offset[j]) * scale[j]);
  }
  return {};
}

Result<std::vector<Body>> binarizer_body(const Node& node) {
  Body body;
  ExprPool& p = *body.pool;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  Expr x = p.load(0, body.dtype, index_range(p, 0, body.axes.size()));
  Expr above = p.cast(x, DType::kF64) > node.attr_float("threshold", 0);
  body.value = select(above, p.constant(body.dtype, 1), p.constant(body.dtype, 0));
  return std::vector<Body>{std::move(body)};
}

Status infer_imputer(InferContext& c) { return infer_same(c); }

Status eval_imputer(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  int64_t columns = x.rank() == 0 ? 1 : x.shape().back();
  const bool ints = is_int(x.dtype());
  const std::vector<double> floats = c.node.attr_floats("imputed_value_floats");
  const std::vector<int64_t> integers = c.node.attr_ints("imputed_value_int64s");
  const size_t count = ints ? integers.size() : floats.size();
  if (count != 1 && static_cast<int64_t>(count) != columns)
    return eval_error(c, Code::kInvalidModel, "there are {} imputed values for {} columns", count, columns);
  const auto column = [&](int64_t i) { return count == 1 ? size_t{0} : static_cast<size_t>(i % columns); };
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), x.shape()));
  if (ints) {
    const int64_t missing = c.node.attr_int("replaced_value_int64", 0);
    for (int64_t i = 0; i < x.size(); ++i) out->set_int(i, x.at_int(i) == missing ? integers[column(i)] : x.at_int(i));
    return {};
  }
  const double missing = c.node.attr_float("replaced_value_float", 0);
  for (int64_t i = 0; i < x.size(); ++i) {
    const double v = x.at_double(i);
    const bool gone = std::isnan(missing) ? std::isnan(v) : v == missing;
    out->set_double(i, gone ? floats[column(i)] : v);
  }
  return {};
}

Status eval_normalizer(EvalContext& c) {
  std::string norm = c.node.attr_string("norm", "MAX");
  if (norm != "MAX" && norm != "L1" && norm != "L2") return eval_error(c, Code::kInvalidModel, "attribute norm is \"{}\"", norm);
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kF32, c.tensor(0).shape()));
  for (int64_t r = 0; r < x.rows; ++r) {
    double size = norm == "MAX" ? -INFINITY : 0;
    for (int64_t j = 0; j < x.columns; ++j) {
      double v = x.row(r)[j];
      size = norm == "MAX" ? std::max(size, v) : norm == "L1" ? size + std::abs(v) : size + v * v;
    }
    if (norm == "L2") size = std::sqrt(size);
    for (int64_t j = 0; j < x.columns; ++j) out->set_double(r * x.columns + j, size == 0 ? x.row(r)[j] : x.row(r)[j] / size);
  }
  return {};
}

// ---- ArrayFeatureExtractor, FeatureVectorizer

Status infer_feature_extractor(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
  if (!c.ranked(0) || !c.ranked(1)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Dims out = c.shape(0);
  if (out.size() == 1) out = {1, 1};
  out.back() = product(c.shape(1));
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

Result<std::vector<Body>> feature_extractor_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  const Dims &x = input_dims(node, 0), &columns = input_dims(node, 1);
  std::vector<Expr> which(columns.size());
  Expr flat = pool.index(static_cast<int>(body.axes.size()) - 1);
  for (size_t i = columns.size(); i-- > 0;) {
    which[i] = i == 0 ? flat : mod(flat, pool.dim(columns[i]));
    flat = floor_div(flat, pool.dim(columns[i]));
  }
  std::vector<Expr> at = axis_indices(pool, x.size());
  at.back() = pool.checked_index(load_at(body, node, 1, which), pool.dim(x.back()));
  body.value = load_at(body, node, 0, at);
  return one_body(std::move(body));
}

Status eval_feature_extractor(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  if (x.rank() < 1) return eval_error(c, Code::kInvalidArgument, "X must have rank 1 or more");
  std::vector<int64_t> columns = ints_of(c.tensor(1));
  const int64_t width = x.shape().back();
  TENON_ASSIGN_OR_RETURN(const int64_t rows, element_count(Shape(x.shape().begin(), x.shape().end() - 1)));
  for (int64_t j : columns)
    if (rows > 0 && (j < 0 || j >= width)) return eval_error(c, Code::kOutOfRange, "index {} is outside [0, {})", j, width);
  Shape shape = x.shape();
  if (shape.size() == 1) shape = {1, 1};
  shape.back() = static_cast<int64_t>(columns.size());
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), shape));
  int64_t to = 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j : columns) {
      int64_t from = r * width + j;
      if (x.dtype() == DType::kString) out->mutable_strings()[static_cast<size_t>(to++)] = x.string_values()[static_cast<size_t>(from)];
      else if (is_int(x.dtype())) out->set_int(to++, x.at_int(from));
      else out->set_double(to++, x.at_double(from));
    }
  return {};
}

Status infer_vectorizer(InferContext& c) {
  std::vector<int64_t> sizes = c.node().attr_ints("inputdimensions");
  Dim columns = 0, rows;
  bool ranked = c.node().num_inputs() > 0;
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    if (!c.has(i)) return c.fail("input {} is missing", i);
    if (static_cast<size_t>(i) < sizes.size() && sizes[static_cast<size_t>(i)] < 0) return c.fail("inputdimensions holds {}", sizes[static_cast<size_t>(i)]);
    if (!c.ranked(i)) {
      ranked = false;
      continue;
    }
    const Dims& d = c.shape(i);
    if (d.empty() || d.size() > 2) return c.fail("input {} has rank {}; it must be 1 or 2", i, d.size());
    rows = d.size() == 2 ? d[0] : Dim(1);
    columns = columns + (static_cast<size_t>(i) < sizes.size() ? Dim(sizes[static_cast<size_t>(i)]) : d.back());
  }
  c.set(0, ranked ? tensor_of(DType::kF32, {rows, columns}) : unranked(DType::kF32));
  return {};
}

Status eval_vectorizer(EvalContext& c) {
  std::vector<int64_t> sizes = c.node.attr_ints("inputdimensions");
  std::vector<Matrix> parts;
  int64_t columns = 0;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    TENON_ASSIGN_OR_RETURN(Matrix m, matrix_of(c, static_cast<int>(i)));
    if (i >= sizes.size()) sizes.push_back(m.columns);
    if (sizes[i] < 0 || sizes[i] > INT32_MAX || m.rows != (parts.empty() ? m.rows : parts[0].rows))
      return eval_error(c, Code::kInvalidArgument, "input {} does not fit the others or inputdimensions", i);
    columns += sizes[i];
    parts.push_back(std::move(m));
  }
  if (parts.empty()) return eval_error(c, Code::kInvalidModel, "there are no inputs");
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kF32, {parts[0].rows, columns}));
  int64_t at = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    for (int64_t r = 0; r < parts[i].rows; ++r)
      for (int64_t j = 0; j < std::min(sizes[i], parts[i].columns); ++j) out->set_double(r * columns + at + j, parts[i].row(r)[j]);
    at += sizes[i];
  }
  return {};
}

/// Columns beyond an input's own are 0, others are cut off.
Result<std::vector<Value*>> decompose_vectorizer(Node& node, Builder& b) {
  const std::vector<int64_t> sizes = node.attr_ints("inputdimensions");
  std::vector<Value*> parts;
  for (int i = 0; i < node.num_inputs(); ++i) {
    if (!node.has_input(i) || !node.input(i)->type().is_ranked_tensor()) return error(Code::kUnsupported, "the rank of an input is not known");
    TENON_ASSIGN_OR_RETURN(Value * x, feature_rows(b, node.input(i)));
    if (x == nullptr) return b.status();
    const Dim rows = x->tensor().dim(0), columns = x->tensor().dim(1);
    if (!parts.empty() && known_ne(rows, parts[0]->tensor().dim(0))) return error(Code::kUnsupported, "the inputs differ in rows");
    parts.push_back(cast_to(b, x, DType::kF32));
    if (static_cast<size_t>(i) >= sizes.size() || columns.is_const(sizes[static_cast<size_t>(i)])) continue;
    const int64_t wanted = sizes[static_cast<size_t>(i)];
    if (!columns.is_const() || wanted > INT32_MAX) return error(Code::kUnsupported, "the columns of an input are not known");
    if (wanted < columns.value()) {
      parts.back() = b.make("Slice", {parts.back(), b.ints({0}), b.ints({wanted}), b.ints({1})});
    } else {
      parts.push_back(b.make("tenon.expand", {b.scalar(DType::kF32, 0)}, {{"dims", Dims{rows, wanted - columns.value()}}}));
    }
  }
  TENON_RETURN_IF_ERROR(b.status());
  if (parts.empty()) return error(Code::kUnsupported, "there are no inputs");
  return std::vector<Value*>{b.make_n("Concat", parts, 1, {{"axis", int64_t{1}}})[0]};
}

// ---- LabelEncoder, CategoryMapper, OneHotEncoder

/// A key or value of any of the encoder's types; floats compare by value, NaN equals NaN.
struct Key {
  std::string text;
  double number = 0;
  int64_t integer = 0;
  bool operator<(const Key& o) const {
    bool nan = std::isnan(number), other_nan = std::isnan(o.number);
    if (nan != other_nan) return other_nan;
    if (!nan && number != o.number) return number < o.number;
    return std::tie(integer, text) < std::tie(o.integer, o.text);
  }
};

struct KeyList {
  DType dtype = DType::kInvalid;
  std::vector<Key> items;
};

Key key_at(const Tensor& x, int64_t i) {
  if (x.dtype() == DType::kString) return {x.string_values()[static_cast<size_t>(i)]};
  return is_int(x.dtype()) ? Key{{}, 0, x.at_int(i)} : Key{{}, x.at_double(i)};
}

KeyList list_of_tensor(const Tensor& t) {
  KeyList out{t.dtype(), {}};
  for (int64_t i = 0; i < t.size(); ++i) {
    out.items.push_back(key_at(t, i));
  }
  return out;
}

KeyList read_list(const Node& node, const std::string& prefix) {
  KeyList out;
  if (const Tensor* t = node.attr_tensor(prefix + "_tensor")) return list_of_tensor(*t);
  if (node.attrs().has(prefix + "_strings")) {
    out.dtype = DType::kString;
    for (std::string& s : node.attr_strings(prefix + "_strings")) out.items.push_back({std::move(s), 0});
  } else if (node.attrs().has(prefix + "_int64s")) {
    out.dtype = DType::kI64;
    for (int64_t v : node.attr_ints(prefix + "_int64s")) out.items.push_back({{}, 0, v});
  } else if (node.attrs().has(prefix + "_floats")) {
    out.dtype = DType::kF32;
    for (double v : node.attr_floats(prefix + "_floats")) out.items.push_back({{}, v});
  }
  return out;
}

Key fallback_key(const Node& node, DType dtype) {
  if (const Tensor* t = node.attr_tensor("default_tensor"); t != nullptr && t->size() > 0) return list_of_tensor(*t).items[0];
  if (dtype == DType::kString) return {node.attr_string("default_string", "_Unused"), 0};
  if (is_int(dtype)) return {{}, 0, node.attr_int("default_int64", -1)};
  return {{}, node.attr_float("default_float", 0)};
}

void store_key(Tensor& out, int64_t i, const Key& key) {
  if (out.dtype() == DType::kString) out.mutable_strings()[static_cast<size_t>(i)] = key.text;
  else if (is_int(out.dtype())) out.set_int(i, key.integer);
  else out.set_double(i, key.number);
}

Status infer_label_encoder(InferContext& c) {
  KeyList keys = read_list(c.node(), "keys"), values = read_list(c.node(), "values");
  if (keys.items.size() != values.items.size() || values.dtype == DType::kInvalid)
    return c.fail("there are {} keys and {} values", keys.items.size(), values.items.size());
  c.set(0, c.ranked(0) ? tensor_of(values.dtype, c.shape(0)) : unranked(values.dtype));
  return {};
}

Status eval_label_encoder(EvalContext& c) {
  KeyList keys = read_list(c.node, "keys"), values = read_list(c.node, "values");
  if (keys.items.size() != values.items.size()) return eval_error(c, Code::kInvalidModel, "keys and values differ in number");
  std::map<Key, size_t> index;
  for (size_t i = 0; i < keys.items.size(); ++i) index.emplace(keys.items[i], i);
  Key fallback = fallback_key(c.node, values.dtype);
  const Tensor& x = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, values.dtype, x.shape()));
  for (int64_t i = 0; i < x.size(); ++i) {
    auto at = index.find(key_at(x, i));
    store_key(*out, i, at == index.end() ? fallback : values.items[at->second]);
  }
  return {};
}

Status infer_category_mapper(InferContext& c) {
  if (c.node().attr_ints("cats_int64s").size() != c.node().attr_strings("cats_strings").size())
    return c.fail("cats_int64s and cats_strings differ in length");
  DType out = c.dtype(0) == DType::kString ? DType::kI64 : DType::kString;
  c.set(0, c.ranked(0) ? tensor_of(out, c.shape(0)) : unranked(out));
  return {};
}

Status eval_category_mapper(EvalContext& c) {
  std::vector<int64_t> ints = c.node.attr_ints("cats_int64s");
  std::vector<std::string> strings = c.node.attr_strings("cats_strings");
  if (ints.size() != strings.size()) return eval_error(c, Code::kInvalidModel, "cats_int64s and cats_strings differ in length");
  const Tensor& x = c.tensor(0);
  bool to_int = x.dtype() == DType::kString;
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, to_int ? DType::kI64 : DType::kString, x.shape()));
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < x.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(std::ssize(ints)));
    if (to_int) {
      auto at = std::find(strings.begin(), strings.end(), x.string_values()[static_cast<size_t>(i)]);
      out->set_int(i, at == strings.end() ? c.node.attr_int("default_int64", -1) : ints[static_cast<size_t>(at - strings.begin())]);
    } else {
      auto at = std::find(ints.begin(), ints.end(), x.at_int(i));
      out->mutable_strings()[static_cast<size_t>(i)] =
          at == ints.end() ? c.node.attr_string("default_string", "_Unused") : strings[static_cast<size_t>(at - ints.begin())];
    }
  }
  return {};
}

Status infer_one_hot_encoder(InferContext& c) {
  size_t n = std::max(c.node().attr_ints("cats_int64s").size(), c.node().attr_strings("cats_strings").size());
  if (n == 0) return c.fail("there are no categories");
  if (!c.ranked(0)) {
    c.set(0, unranked(DType::kF32));
    return {};
  }
  Dims out = c.shape(0);
  out.push_back(static_cast<int64_t>(n));
  c.set(0, tensor_of(DType::kF32, std::move(out)));
  return {};
}

Status eval_one_hot_encoder(EvalContext& c) {
  std::vector<int64_t> ints = c.node.attr_ints("cats_int64s");
  std::vector<std::string> strings = c.node.attr_strings("cats_strings");
  const Tensor& x = c.tensor(0);
  bool text = x.dtype() == DType::kString;
  size_t n = text ? strings.size() : ints.size();
  Shape shape = x.shape();
  shape.push_back(static_cast<int64_t>(n));
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kF32, shape));
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < x.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(n)));
    size_t at = 0;
    if (text) at = static_cast<size_t>(std::find(strings.begin(), strings.end(), x.string_values()[static_cast<size_t>(i)]) - strings.begin());
    else at = static_cast<size_t>(std::find(ints.begin(), ints.end(), x.at_int(i)) - ints.begin());
    if (at < n) out->set_double(i * static_cast<int64_t>(n) + static_cast<int64_t>(at), 1);
    else if (c.node.attr_int("zeros", 1) == 0) return eval_error(c, Code::kOutOfRange, "element {} is in no category, and zeros=0", i);
  }
  return {};
}

/// Comparisons with the categories along a new axis.
Result<std::vector<Value*>> decompose_one_hot_encoder(Node& node, Builder& b) {
  const std::vector<int64_t> categories = node.attr_ints("cats_int64s");
  Value* x = node.input(0);
  if (x->dtype() == DType::kString) return error(Code::kUnsupported, "variable-length strings");
  if (node.attr_int("zeros", 1) == 0) return error(Code::kUnsupported, "with zeros = 0, an element of no category is an error");
  if (!x->type().is_ranked_tensor()) return error(Code::kUnsupported, "the rank of the input is not known");
  if (categories.empty() || std::set<int64_t>(categories.begin(), categories.end()).size() != categories.size())
    return error(Code::kUnsupported, "a category is there twice, or none is");
  Value* element = b.make("Unsqueeze", {cast_to(b, x, DType::kI64), b.ints({-1})});
  return std::vector<Value*>{cast_to(b, b.make("Equal", {element, b.ints(categories)}), DType::kF32)};
}

// ---- Maps

Status infer_zip_map(InferContext& c) {
  bool text = c.node().attrs().has("classlabels_strings"), ints = c.node().attrs().has("classlabels_int64s");
  if (text == ints) return c.fail("exactly one of classlabels_int64s and classlabels_strings must be given");
  MapType map{text ? DType::kString : DType::kI64, std::make_shared<const Type>(TensorType(DType::kF32, {}))};
  c.set(0, SequenceType{std::make_shared<const Type>(map)});
  return {};
}

Status eval_zip_map(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  std::vector<int64_t> ints = c.node.attr_ints("classlabels_int64s");
  std::vector<std::string> strings = c.node.attr_strings("classlabels_strings");
  size_t n = strings.empty() ? ints.size() : strings.size();
  if (static_cast<int64_t>(n) != x.columns) return eval_error(c, Code::kInvalidArgument, "there are {} labels for {} columns", n, x.columns);
  auto sequence = std::make_shared<Sequence>();
  for (int64_t r = 0; r < x.rows; ++r) {
    auto map = std::make_shared<MapValue>();
    if (!strings.empty()) map->entries = std::map<std::string, Tensor>();
    for (size_t j = 0; j < n; ++j) {
      Tensor value = Tensor::scalar(static_cast<float>(x.row(r)[j]));
      if (strings.empty()) std::get<0>(map->entries).insert_or_assign(ints[j], std::move(value));
      else std::get<1>(map->entries).insert_or_assign(strings[j], std::move(value));
    }
    sequence->items.push_back(std::move(map));
  }
  c.outputs[0] = std::move(sequence);
  return {};
}

Status infer_dict_vectorizer(InferContext& c) {
  const MapType* map = c.in(0).as_map();
  if (map == nullptr) return c.fail("the input must be a map");
  size_t n = std::max(c.node().attr_ints("int64_vocabulary").size(), c.node().attr_strings("string_vocabulary").size());
  DType dtype = map->value != nullptr ? map->value->dtype() : DType::kF32;
  c.set(0, tensor_of(dtype, {1, static_cast<int64_t>(n)}));
  return {};
}

Status eval_dict_vectorizer(EvalContext& c) {
  const auto* held = std::get_if<std::shared_ptr<MapValue>>(&c.inputs[0]);
  if (held == nullptr || *held == nullptr) return eval_error(c, Code::kInvalidArgument, "the input must be a map");
  std::vector<int64_t> ints = c.node.attr_ints("int64_vocabulary");
  std::vector<std::string> strings = c.node.attr_strings("string_vocabulary");
  auto fill = [&](const auto& entries, const auto& vocabulary) -> Status {
    const DType dtype = c.node.output(0)->dtype();
    TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, dtype, {1, static_cast<int64_t>(vocabulary.size())}));
    for (size_t i = 0; i < vocabulary.size(); ++i) {
      auto at = entries.find(vocabulary[i]);
      if (at == entries.end() || at->second.size() == 0) continue;
      if (at->second.dtype() != dtype) return eval_error(c, Code::kInvalidArgument, "the map holds {}, not {}", name(at->second.dtype()), name(dtype));
      store_key(*out, static_cast<int64_t>(i), key_at(at->second, 0));
    }
    return {};
  };
  const auto& entries = (*held)->entries;
  return entries.index() == 0 ? fill(std::get<0>(entries), ints) : fill(std::get<1>(entries), strings);
}

Result<DType> cast_map_type(const Node& node) {
  const std::string to = node.attr_string("cast_to", "TO_FLOAT");
  if (to == "TO_FLOAT") return DType::kF32;
  if (to == "TO_INT64") return DType::kI64;
  if (to == "TO_STRING") return DType::kString;
  return error(Code::kInvalidModel, "attribute cast_to is \"{}\"", to);
}

/// Columns of the sparse form; 0 for the dense one.
Result<int64_t> cast_map_columns(const Node& node) {
  const std::string form = node.attr_string("map_form", "DENSE");
  if (form == "DENSE") return 0;
  const int64_t columns = node.attr_int("max_map", 1);
  if (form != "SPARSE") return error(Code::kInvalidModel, "attribute map_form is \"{}\"", form);
  if (columns < 1 || columns > INT32_MAX) return error(Code::kInvalidModel, "attribute max_map is {}; it must be positive", columns);
  return columns;
}

Status infer_cast_map(InferContext& c) {
  const MapType* map = c.in(0).as_map();
  if (map == nullptr || map->key != DType::kI64) return c.fail("the input must be a map with keys of int64");
  const Result<DType> dtype = cast_map_type(c.node());
  const Result<int64_t> columns = cast_map_columns(c.node());
  for (const Status& s : {dtype.status(), columns.status()})
    if (!s.ok()) return c.fail_text(s.what());
  c.set(0, tensor_of(*dtype, {1, *columns > 0 ? Dim(*columns) : c.fresh_dim(0, 1)}));
  return {};
}

/// The specification leaves the shape and what stands at absent keys open: [1, columns] and zeros, "0" among strings.
Status eval_cast_map(EvalContext& c) {
  const auto* held = std::get_if<std::shared_ptr<MapValue>>(&c.inputs[0]);
  if (held == nullptr || *held == nullptr || (*held)->entries.index() != 0)
    return eval_error(c, Code::kInvalidArgument, "the input must be a map with keys of int64");
  const std::map<int64_t, Tensor>& entries = std::get<0>((*held)->entries);
  TENON_ASSIGN_OR_RETURN(const DType dtype, cast_map_type(c.node));
  TENON_ASSIGN_OR_RETURN(const int64_t columns, cast_map_columns(c.node));
  const bool dense = columns == 0;
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, dtype, {1, dense ? static_cast<int64_t>(entries.size()) : columns}));
  if (dtype == DType::kString && !dense) out->mutable_strings().assign(static_cast<size_t>(columns), "0");
  int64_t next = 0;
  for (const auto& [key, value] : entries) {
    if (value.size() != 1) return eval_error(c, Code::kInvalidArgument, "the value of key {} is not one element", key);
    if (!dense && (key < 0 || key >= columns)) return eval_error(c, Code::kOutOfRange, "key {} is outside [0, {})", key, columns);
    TENON_RETURN_IF_ERROR(cast_element(value, 0, *out, dense ? next++ : key));
  }
  return {};
}

std::vector<OpDef> map_ops() {
  return {
      {.domain = "ai.onnx.ml", .name = "CastMap", .inputs = {{.name = "X", .any = true}},
       .outputs = {{"Y", "T2", dtypes(DType::kF32, DType::kI64, DType::kString)}},
       .attrs = {{"cast_to", AttrKind::kString, false, "TO_FLOAT"}, {"map_form", AttrKind::kString, false, "DENSE"},
                 {"max_map", AttrKind::kInt, false, "1"}},
       .infer = infer_cast_map, .compute = {.eval = eval_cast_map}, .doc = "A map's values in the order of its keys (ai.onnx.ml CastMap).",
       .host = "maps are values of the host"},
      {.domain = "ai.onnx.ml", .name = "ZipMap", .inputs = {{"X", "F", kMlFloat}}, .outputs = {{.name = "Z", .any = true}},
       .attrs = {{"classlabels_int64s", AttrKind::kInts}, {"classlabels_strings", AttrKind::kStrings}},
       .infer = infer_zip_map, .compute = {.eval = eval_zip_map}, .doc = "A map from label to score for each row (ai.onnx.ml ZipMap).",
       .host = "maps are values of the host"},
      {.domain = "ai.onnx.ml", .name = "DictVectorizer", .inputs = {{.name = "X", .any = true}},
       .outputs = {{"Y", "T", dtypes(DType::kF32, DType::kF64, DType::kI64, DType::kString)}},
       .attrs = {{"int64_vocabulary", AttrKind::kInts}, {"string_vocabulary", AttrKind::kStrings}},
       .infer = infer_dict_vectorizer, .compute = {.eval = eval_dict_vectorizer},
       .doc = "A map's values in the vocabulary's order (ai.onnx.ml DictVectorizer).",
       .host = "maps are values of the host"},
  };
}

std::vector<OpDef> encoder_ops() {
  std::vector<AttrDef> label_attrs = {{"default_float", AttrKind::kFloat, false, "-0.0"}, {"default_int64", AttrKind::kInt, false, "-1"},
                                      {"default_string", AttrKind::kString, false, "_Unused"}, {"default_tensor", AttrKind::kTensor}};
  for (std::string_view prefix : {"keys", "values"}) {
    bool keys = prefix == "keys";
    label_attrs.push_back({keys ? "keys_floats" : "values_floats", AttrKind::kFloats});
    label_attrs.push_back({keys ? "keys_int64s" : "values_int64s", AttrKind::kInts});
    label_attrs.push_back({keys ? "keys_strings" : "values_strings", AttrKind::kStrings});
    label_attrs.push_back({keys ? "keys_tensor" : "values_tensor", AttrKind::kTensor});
  }
  const std::vector<AttrDef> categories = {{"cats_int64s", AttrKind::kInts}, {"cats_strings", AttrKind::kStrings}};
  std::vector<AttrDef> mapper = categories, one_hot = categories;
  mapper.push_back({"default_int64", AttrKind::kInt, false, "-1"});
  mapper.push_back({"default_string", AttrKind::kString, false, "_Unused"});
  one_hot.push_back({"zeros", AttrKind::kInt, false, "1"});
  return {
      {.domain = "ai.onnx.ml", .name = "LabelEncoder", .inputs = {{"X", "T1", kLabels}}, .outputs = {{"Y", "T2", kLabels}},
       .attrs = label_attrs, .infer = infer_label_encoder, .compute = {.eval = eval_label_encoder},
       .doc = "Maps keys to values (ai.onnx.ml LabelEncoder).",
       .host = "hash look-ups, also of strings"},
      {.domain = "ai.onnx.ml", .name = "CategoryMapper", .inputs = {{"X", "T1", kStringOrInt}}, .outputs = {{"Y", "T2", kStringOrInt}},
       .attrs = mapper, .infer = infer_category_mapper, .compute = {.eval = eval_category_mapper},
       .doc = "Maps strings to ints or back (ai.onnx.ml CategoryMapper).",
       .host = "hash look-ups, also of strings"},
      {.domain = "ai.onnx.ml", .name = "OneHotEncoder", .inputs = {{"X", "T", kMlInputs | dtypes(DType::kString)}},
       .outputs = {{"Y", "F", kMlFloat}}, .attrs = one_hot, .infer = infer_one_hot_encoder, .compute = {.decompose = decompose_one_hot_encoder, .eval = eval_one_hot_encoder},
       .doc = "1 at the element's category, on a new last axis (ai.onnx.ml OneHotEncoder)."},
  };
}

}  // namespace

std::vector<OpDef> ml_feature_ops() {
  std::vector<OpDef> ops = {
      {.domain = "ai.onnx.ml",
       .name = "Scaler",
       .inputs = {{"X", "T", kMlInputs}},
       .outputs = {{"Y", "F", kMlFloat}},
       .attrs = {{"offset", AttrKind::kFloats}, {"scale", AttrKind::kFloats}},
       .infer = infer_scaler,
       .compute = {.decompose = decompose_scaler, .eval = eval_scaler},
       .doc = "(x - offset) * scale for each column (ai.onnx.ml Scaler)."},
      {.domain = "ai.onnx.ml",
       .name = "Binarizer",
       .inputs = {{"X", "T", kMlInputs}},
       .outputs = {{"Y", "T", kMlInputs}},
       .attrs = {{"threshold", AttrKind::kFloat, false, "0"}},
       .infer = infer_same,
       .compute = {.body = binarizer_body},
       .doc = "1 above the threshold, else 0 (ai.onnx.ml Binarizer)."},
      {.domain = "ai.onnx.ml",
       .name = "Imputer",
       .inputs = {{"X", "T", kMlInputs}},
       .outputs = {{"Y", "T", kMlInputs}},
       .attrs = {{"imputed_value_floats", AttrKind::kFloats},
                 {"imputed_value_int64s", AttrKind::kInts},
                 {"replaced_value_float", AttrKind::kFloat, false, "0"},
                 {"replaced_value_int64", AttrKind::kInt, false, "0"}},
       .infer = infer_imputer,
       .compute = {.decompose = decompose_imputer, .eval = eval_imputer},
       .doc = "Replaces missing values (ai.onnx.ml Imputer)."},
      {.domain = "ai.onnx.ml",
       .name = "Normalizer",
       .inputs = {{"X", "T", kMlInputs}},
       .outputs = {{"Y", "F", kMlFloat}},
       .attrs = {{"norm", AttrKind::kString, false, "MAX"}},
       .infer = infer_float_like,
       .compute = {.decompose = decompose_normalizer, .eval = eval_normalizer},
       .doc = "Rows over their norm (ai.onnx.ml Normalizer)."},
      {.domain = "ai.onnx.ml",
       .name = "ArrayFeatureExtractor",
       .inputs = {{"X", "T", kMlInputs | dtypes(DType::kString)}, {"Y", "I", dtypes(DType::kI64)}},
       .outputs = {{"Z", "T", kMlInputs | dtypes(DType::kString)}},
       .infer = infer_feature_extractor,
       .compute = {.body = feature_extractor_body, .eval = eval_feature_extractor},
       .doc = "Selects columns of the last axis (ai.onnx.ml ArrayFeatureExtractor)."},
      {.domain = "ai.onnx.ml",
       .name = "FeatureVectorizer",
       .inputs = {{.name = "X", .var = "T", .types = kMlInputs, .variadic = true}},
       .outputs = {{"Y", "F", kMlFloat}},
       .attrs = {{"inputdimensions", AttrKind::kInts}},
       .infer = infer_vectorizer,
       .compute = {.decompose = decompose_vectorizer, .eval = eval_vectorizer},
       .doc = "Joins columns (ai.onnx.ml FeatureVectorizer)."},
  };
  for (auto family : {encoder_ops, map_ops})
    for (OpDef& op : family()) ops.push_back(std::move(op));
  return ops;
}

}  // namespace tenon::ir
