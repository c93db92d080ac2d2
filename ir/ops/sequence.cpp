#include <algorithm>
#include <cstring>

#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);
using TypePtr = std::shared_ptr<const Type>;

TypePtr shared(Type type) { return std::make_shared<const Type>(std::move(type)); }

Type unranked_like(const Type& type) { return type.is_tensor() ? unranked(type.dtype()) : type; }

/// The element type of a sequence that gets one more element.
Type joined(const Type& a, const Type& b) {
  if (!a.known()) return b;
  return a == b || !b.known() ? a : unranked_like(a);
}

Result<Type> sequence_elem(InferContext& c, int i) {
  const SequenceType* s = c.in(i).as_sequence();
  if (s == nullptr) return c.fail("input {} is {}, not a sequence", i, to_string(c.in(i)));
  return s->elem ? *s->elem : Type();
}

Result<std::shared_ptr<Sequence>> sequence_at(const EvalContext& c, int i) {
  const auto* s = std::get_if<std::shared_ptr<Sequence>>(&c.inputs[static_cast<size_t>(i)]);
  if (s == nullptr || *s == nullptr) return eval_error(c, Code::kInvalidArgument, "input {} is not a sequence", i);
  return *s;
}

Result<int64_t> single_int(const EvalContext& c, int i) {
  const Tensor* t = std::get_if<Tensor>(&c.inputs[static_cast<size_t>(i)]);
  if (t == nullptr || t->size() != 1) return eval_error(c, Code::kInvalidArgument, "input {} must hold one number", i);
  return t->at_int(0);
}

/// Copies `count` elements of any dtype, strings and packed ones included.
void copy_elements(const Tensor& from, int64_t at, Tensor& to, int64_t to_at, int64_t count) {
  if (from.dtype() == DType::kString) {
    std::copy_n(from.string_values().begin() + at, count, to.mutable_strings().begin() + to_at);
  } else if (is_packed(from.dtype())) {
    for (int64_t i = 0; i < count; ++i) {
      if (is_int(from.dtype())) to.set_int(to_at + i, from.at_int(at + i));
      else to.set_double(to_at + i, from.at_double(at + i));
    }
  } else if (count > 0) {
    size_t size = static_cast<size_t>(bits(from.dtype())) / 8;
    std::memcpy(to.mutable_data() + static_cast<size_t>(to_at) * size, from.data() + static_cast<size_t>(at) * size, static_cast<size_t>(count) * size);
  }
}

// ---- Building and taking apart

Status infer_construct(InferContext& c) {
  Type elem;
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    if (!c.has(i)) return c.fail("input {} is missing", i);
    if (i > 0 && c.dtype(i) != c.dtype(0)) return c.fail("inputs have different element types");
    elem = joined(elem, c.in(i));
  }
  if (!elem.known()) return c.fail("there are no inputs");
  c.set(0, SequenceType{shared(elem)});
  return {};
}

Status eval_construct(EvalContext& c) {
  auto out = std::make_shared<Sequence>();
  for (const HostValue& v : c.inputs) out->items.push_back(v);
  if (const Tensor* t = out->items.empty() ? nullptr : std::get_if<Tensor>(&out->items[0])) out->elem = t->dtype();
  c.outputs[0] = std::move(out);
  return {};
}

Status infer_empty(InferContext& c) {
  int64_t code = c.node().attr_int("dtype", 1);
  std::optional<DType> dtype = code > 0 && code < 100 ? dtype_from_onnx(static_cast<int>(code)) : std::nullopt;
  if (!dtype) return c.fail("attribute dtype is {}, which is no element type", code);
  c.set(0, SequenceType{shared(unranked(*dtype))});
  return {};
}

Status eval_empty(EvalContext& c) {
  auto out = std::make_shared<Sequence>();
  out->elem = dtype_from_onnx(static_cast<int>(c.node.attr_int("dtype", 1))).value_or(DType::kF32);
  c.outputs[0] = std::move(out);
  return {};
}

Status infer_insert(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(Type elem, sequence_elem(c, 0));
  if (elem.is_tensor() && c.in(1).is_tensor() && elem.dtype() != c.dtype(1)) return c.fail("the tensor is {}, the sequence's elements are {}", name(c.dtype(1)), name(elem.dtype()));
  c.set(0, SequenceType{shared(joined(elem, c.in(1)))});
  return {};
}

Status infer_erase(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(Type elem, sequence_elem(c, 0));
  c.set(0, SequenceType{shared(elem)});
  return {};
}

Result<int64_t> position_of(const EvalContext& c, int input, int64_t fallback, int64_t lo, int64_t hi) {
  int64_t at = fallback;
  if (c.has(input)) {
    TENON_ASSIGN_OR_RETURN(at, single_int(c, input));
  }
  if (at < lo || at > hi) return eval_error(c, Code::kOutOfRange, "position {} is outside [{}, {}]", at, lo, hi);
  return at;
}

Status eval_insert(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Sequence> in, sequence_at(c, 0));
  int64_t n = static_cast<int64_t>(in->items.size());
  TENON_ASSIGN_OR_RETURN(int64_t at, position_of(c, 2, n, -n, n));
  auto out = std::make_shared<Sequence>(*in);
  out->items.insert(out->items.begin() + (at < 0 ? at + n : at), c.inputs[1]);
  if (out->elem == DType::kInvalid && std::holds_alternative<Tensor>(c.inputs[1])) out->elem = c.tensor(1).dtype();
  c.outputs[0] = std::move(out);
  return {};
}

Status eval_erase(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Sequence> in, sequence_at(c, 0));
  int64_t n = static_cast<int64_t>(in->items.size());
  TENON_ASSIGN_OR_RETURN(int64_t at, position_of(c, 1, n - 1, -n, n - 1));
  auto out = std::make_shared<Sequence>(*in);
  out->items.erase(out->items.begin() + (at < 0 ? at + n : at));
  c.outputs[0] = std::move(out);
  return {};
}

/// A sequence's element type as a tensor value: dims that vary among the elements are new symbols.
Type element_output(InferContext& c, const Type& elem) {
  if (!elem.is_ranked_tensor()) return elem;
  Dims dims = *elem.tensor().dims;
  for (size_t i = 0; i < dims.size(); ++i)
    if (!dims[i].is_const()) dims[i] = c.fresh_dim(0, static_cast<int>(i));
  return tensor_of(elem.dtype(), std::move(dims));
}

Status infer_at(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(Type elem, sequence_elem(c, 0));
  if (!elem.known()) return c.fail("the sequence's element type is not known");
  c.set(0, element_output(c, elem));
  return {};
}

Status eval_at(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Sequence> in, sequence_at(c, 0));
  int64_t n = static_cast<int64_t>(in->items.size());
  TENON_ASSIGN_OR_RETURN(int64_t at, position_of(c, 1, 0, -n, n - 1));
  c.outputs[0] = in->items[static_cast<size_t>(at < 0 ? at + n : at)];
  return {};
}

Status infer_length(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(Type elem, sequence_elem(c, 0));
  c.set(0, tensor_of(DType::kI64, {}));
  return {};
}

Status eval_length(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Sequence> in, sequence_at(c, 0));
  c.outputs[0] = Tensor::scalar(static_cast<int64_t>(in->items.size()));
  return {};
}

// ---- SplitToSequence, ConcatFromSequence

Status infer_split(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, SequenceType{shared(unranked(c.dtype(0)))});
    return {};
  }
  Dims dims = c.shape(0);
  Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), static_cast<int64_t>(dims.size()));
  if (!axis.ok()) return std::move(axis).status().at(c.node().name());
  auto at = dims.begin() + *axis;
  const Tensor* split = c.constant(1);
  if (!c.has(1)) {
    if (c.node().attr_int("keepdims", 1) == 0) dims.erase(at);
    else *at = 1;
  } else if (split != nullptr && split->rank() == 0 && at->is_const() && split->at_int(0) > 0 && at->value() % split->at_int(0) == 0) {
    *at = split->at_int(0);
  } else {
    c.set(0, SequenceType{shared(unranked(c.dtype(0)))});
    return {};
  }
  c.set(0, SequenceType{shared(tensor_of(c.dtype(0), std::move(dims)))});
  return {};
}

Result<std::vector<int64_t>> split_sizes(const EvalContext& c, int64_t total) {
  if (!c.has(1)) return std::vector<int64_t>(static_cast<size_t>(total), 1);
  const Tensor& split = c.tensor(1);
  if (split.rank() == 0) {
    int64_t step = split.at_int(0);
    if (step <= 0) return eval_error(c, Code::kInvalidArgument, "split is {}; it must be positive", step);
    std::vector<int64_t> sizes;
    for (int64_t at = 0; at < total; at += std::min(step, total - at)) sizes.push_back(std::min(step, total - at));
    return sizes;
  }
  std::vector<int64_t> sizes = ints_of(split);
  int64_t left = total;
  for (int64_t s : sizes) {
    if (s < 0 || s > left) return eval_error(c, Code::kInvalidArgument, "the split sizes do not add up to {}", total);
    left -= s;
  }
  if (left != 0) return eval_error(c, Code::kInvalidArgument, "the split sizes do not add up to {}", total);
  return sizes;
}

Status eval_split(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(int64_t axis, normalize_axis(c.node.attr_int("axis", 0), x.rank()));
  int64_t total = x.dim(axis), outer = 1, inner = 1;
  if (total > (int64_t{1} << 24)) return eval_error(c, Code::kResourceExhausted, "{} elements of a sequence", total);
  for (int64_t i = 0; i < axis && x.size() > 0; ++i) outer *= x.dim(i);
  for (int64_t i = axis + 1; i < x.rank() && x.size() > 0; ++i) inner *= x.dim(i);
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> sizes, split_sizes(c, total));
  bool squeeze = !c.has(1) && c.node.attr_int("keepdims", 1) == 0;
  auto out = std::make_shared<Sequence>();
  out->elem = x.dtype();
  int64_t at = 0;
  for (int64_t size : sizes) {
    Shape shape = x.shape();
    shape[static_cast<size_t>(axis)] = size;
    TENON_ASSIGN_OR_RETURN(Tensor part, Tensor::zeros(x.dtype(), shape));
    for (int64_t o = 0; o < outer && part.size() > 0; ++o) copy_elements(x, (o * total + at) * inner, part, o * size * inner, size * inner);
    if (squeeze) {
      shape.erase(shape.begin() + axis);
      TENON_ASSIGN_OR_RETURN(part, part.reshaped(shape));
    }
    out->items.push_back(std::move(part));
    at += size;
  }
  c.outputs[0] = std::move(out);
  return {};
}

Status infer_concat(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(Type elem, sequence_elem(c, 0));
  if (!elem.is_tensor()) return c.fail("the elements are {}, not tensors", to_string(elem));
  if (!elem.is_ranked_tensor()) {
    c.set(0, unranked(elem.dtype()));
    return {};
  }
  bool fresh_axis = c.node().attr_int("new_axis", 0) != 0;
  Dims dims = *elem.tensor().dims;
  Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), static_cast<int64_t>(dims.size()) + (fresh_axis ? 1 : 0));
  if (!axis.ok()) return std::move(axis).status().at(c.node().name());
  if (fresh_axis) dims.insert(dims.begin() + *axis, Dim(0));
  for (size_t i = 0; i < dims.size(); ++i)
    if (static_cast<int64_t>(i) == *axis || !dims[i].is_const()) dims[i] = c.fresh_dim(0, static_cast<int>(i));
  c.set(0, tensor_of(elem.dtype(), std::move(dims)));
  return {};
}

Status eval_concat(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Sequence> in, sequence_at(c, 0));
  if (in->items.empty()) return eval_error(c, Code::kInvalidArgument, "an empty sequence cannot be joined");
  bool fresh_axis = c.node.attr_int("new_axis", 0) != 0;
  std::vector<Tensor> parts;
  for (const HostValue& v : in->items) {
    const Tensor* t = std::get_if<Tensor>(&v);
    if (t == nullptr) return eval_error(c, Code::kInvalidArgument, "an element is not a tensor");
    parts.push_back(*t);
  }
  TENON_ASSIGN_OR_RETURN(int64_t axis, normalize_axis(c.node.attr_int("axis", 0), parts[0].rank() + (fresh_axis ? 1 : 0)));
  Shape shape;
  Dim total = 0;
  for (Tensor& t : parts) {
    if (fresh_axis) {
      Shape s = t.shape();
      s.insert(s.begin() + axis, 1);
      TENON_ASSIGN_OR_RETURN(t, t.reshaped(s));
    }
    if (t.rank() <= axis) return eval_error(c, Code::kInvalidArgument, "the elements have different ranks");
    total = total + t.dim(axis);
    Shape s = t.shape();
    s[static_cast<size_t>(axis)] = 0;
    if (!shape.empty() && s != shape) return eval_error(c, Code::kInvalidArgument, "the elements have different shapes");
    if (t.dtype() != parts[0].dtype()) return eval_error(c, Code::kInvalidArgument, "the elements have different types");
    shape = s;
  }
  if (!total.is_valid()) return eval_error(c, Code::kResourceExhausted, "the joined axis is too large");
  shape[static_cast<size_t>(axis)] = total.value();
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, parts[0].dtype(), shape));
  if (out->size() == 0) return {};
  int64_t outer = 1, inner = 1, at = 0;
  for (int64_t i = 0; i < axis; ++i) outer *= shape[static_cast<size_t>(i)];
  for (size_t i = static_cast<size_t>(axis) + 1; i < shape.size(); ++i) inner *= shape[i];
  for (const Tensor& t : parts) {
    int64_t run = t.dim(axis) * inner;
    for (int64_t o = 0; o < outer; ++o) copy_elements(t, o * run, *out, o * total.value() * inner + at, run);
    at += run;
  }
  return {};
}

// ---- SequenceMap

Status infer_map(InferContext& c) {
  Graph& body = c.node().region(0);
  if (static_cast<int>(body.inputs().size()) != c.node().num_inputs() || static_cast<int>(body.outputs().size()) != c.node().num_outputs())
    return c.fail("the body takes {} and gives {} values; the node has {} inputs and {} outputs", body.inputs().size(), body.outputs().size(),
                  c.node().num_inputs(), c.node().num_outputs());
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    if (!c.has(i)) return c.fail("input {} is missing", i);
    Type type = c.in(i);
    if (const SequenceType* s = type.as_sequence()) {
      if (s->elem) type = *s->elem;
    } else if (i == 0) {
      return c.fail("the first input is {}, not a sequence", to_string(type));
    }
    Value* inner = body.inputs()[static_cast<size_t>(i)];
    if (!inner->type().known()) inner->set_type(type);
  }
  TENON_RETURN_IF_ERROR(infer_graph(body));
  for (int o = 0; o < c.node().num_outputs(); ++o)
    c.set(o, SequenceType{shared(unranked_like(body.outputs()[static_cast<size_t>(o)]->type()))});
  return {};
}

Status eval_map(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Sequence> first, sequence_at(c, 0));
  if (!c.run_region) return eval_error(c, Code::kUnsupported, "regions cannot run here");
  size_t n = first->items.size();
  std::vector<std::shared_ptr<Sequence>> out;
  for (size_t o = 0; o < c.outputs.size(); ++o) {
    out.push_back(std::make_shared<Sequence>());
    if (const SequenceType* s = c.node.output(static_cast<int>(o))->type().as_sequence(); s != nullptr && s->elem) out[o]->elem = s->elem->dtype();
  }
  for (size_t i = 0; i < n; ++i) {
    std::vector<HostValue> args;
    for (const HostValue& v : c.inputs) {
      const auto* s = std::get_if<std::shared_ptr<Sequence>>(&v);
      if (s != nullptr && *s != nullptr && (*s)->items.size() != n) return eval_error(c, Code::kInvalidArgument, "the sequences have different lengths");
      args.push_back(s != nullptr && *s != nullptr ? (*s)->items[i] : v);
    }
    TENON_ASSIGN_OR_RETURN(std::vector<HostValue> results, c.run_region(0, args));
    for (size_t o = 0; o < out.size() && o < results.size(); ++o) {
      if (const Tensor* t = std::get_if<Tensor>(&results[o])) out[o]->elem = t->dtype();
      out[o]->items.push_back(std::move(results[o]));
    }
  }
  for (size_t o = 0; o < out.size(); ++o) c.outputs[o] = std::move(out[o]);
  return {};
}

// ---- Optionals. At run time a full optional is what it holds.

Status infer_optional(InferContext& c) {
  if (c.has(0)) {
    c.set(0, OptionalType{shared(c.in(0))});
    return {};
  }
  const Attr* type = c.node().attrs().find("type");
  if (type == nullptr || !std::holds_alternative<Type>(*type)) return c.fail("an empty optional needs the attribute type");
  c.set(0, OptionalType{shared(std::get<Type>(*type))});
  return {};
}

Status eval_forward(EvalContext& c) {
  c.outputs[0] = c.inputs.empty() ? HostValue() : c.inputs[0];
  return {};
}

Status infer_get_element(InferContext& c) {
  const OptionalType* o = c.in(0).as_optional();
  Type type = o == nullptr ? c.in(0) : o->elem ? *o->elem : Type();
  if (!type.known()) return c.fail("the optional's element type is not known");
  c.set(0, type);
  return {};
}

Status eval_get_element(EvalContext& c) {
  if (!c.has(0)) return eval_error(c, Code::kInvalidArgument, "the optional is empty");
  return eval_forward(c);
}

Status infer_has_element(InferContext& c) {
  c.set(0, tensor_of(DType::kBool, {}));
  return {};
}

Status eval_has_element(EvalContext& c) {
  c.outputs[0] = Tensor::scalar(c.has(0));
  return {};
}

std::vector<OpDef> optional_ops() {
  const std::vector<Param> any_in = {{.name = "input", .optional = true, .any = true}}, any_out = {{.name = "output", .any = true}};
  return {
      {.domain = "", .name = "Optional", .inputs = any_in, .outputs = any_out, .attrs = {{"type", AttrKind::kType}},
       .infer = infer_optional, .compute = {.eval = eval_forward}, .doc = "An optional that holds the input, or nothing (ONNX Optional).",
       .host = "optionals are values of the host"},
      {.domain = "", .name = "OptionalGetElement", .inputs = {{.name = "input", .any = true}}, .outputs = any_out,
       .infer = infer_get_element, .compute = {.eval = eval_get_element}, .doc = "What an optional holds (ONNX OptionalGetElement).",
       .host = "optionals are values of the host"},
      {.domain = "", .name = "OptionalHasElement", .inputs = any_in, .outputs = {{"output", "B", dtypes(DType::kBool)}},
       .infer = infer_has_element, .compute = {.eval = eval_has_element}, .doc = "Whether an optional holds something (ONNX OptionalHasElement).",
       .host = "optionals are values of the host"},
  };
}

}  // namespace

std::vector<OpDef> sequence_ops() {
  const Param sequence = {.name = "input_sequence", .any = true};
  const Param position = {.name = "position", .var = "I", .types = kIndex, .optional = true};
  const std::vector<Param> out = {{.name = "output_sequence", .any = true}};
  std::vector<OpDef> ops = {
      {.domain = "", .name = "SequenceConstruct", .inputs = {{.name = "inputs", .var = "T", .variadic = true}}, .outputs = out,
       .infer = infer_construct, .compute = {.eval = eval_construct}, .doc = "A sequence of the inputs (ONNX SequenceConstruct).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "SequenceEmpty", .outputs = out, .attrs = {{"dtype", AttrKind::kInt, false, "1"}},
       .infer = infer_empty, .compute = {.eval = eval_empty}, .doc = "An empty sequence (ONNX SequenceEmpty).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "SequenceInsert", .inputs = {sequence, {.name = "tensor", .any = true}, position}, .outputs = out,
       .infer = infer_insert, .compute = {.eval = eval_insert}, .doc = "A sequence with one more element (ONNX SequenceInsert).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "SequenceErase", .inputs = {sequence, position}, .outputs = out,
       .infer = infer_erase, .compute = {.eval = eval_erase}, .doc = "A sequence without one element (ONNX SequenceErase).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "SequenceAt", .inputs = {sequence, {"position", "I", kIndex}}, .outputs = {{.name = "tensor", .any = true}},
       .infer = infer_at, .compute = {.eval = eval_at}, .doc = "One element of a sequence (ONNX SequenceAt).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "SequenceLength", .inputs = {sequence}, .outputs = {{"length", "I", dtypes(DType::kI64)}},
       .infer = infer_length, .compute = {.eval = eval_length}, .doc = "Number of elements (ONNX SequenceLength).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "SplitToSequence", .inputs = {{"input", "T", kAnyTensor}, {"split", "I", kIndex, true}}, .outputs = out,
       .attrs = {{"axis", AttrKind::kInt, false, "0"}, {"keepdims", AttrKind::kInt, false, "1"}},
       .infer = infer_split, .compute = {.eval = eval_split}, .doc = "A sequence of slices along an axis (ONNX SplitToSequence).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "ConcatFromSequence", .inputs = {sequence}, .outputs = {{"concat_result", "T", kAnyTensor}},
       .attrs = {{"axis", AttrKind::kInt, true}, {"new_axis", AttrKind::kInt, false, "0"}},
       .infer = infer_concat, .compute = {.eval = eval_concat}, .doc = "Joins a sequence's elements along an axis (ONNX ConcatFromSequence).",
       .host = "sequences are lists of the host"},
      {.domain = "", .name = "SequenceMap", .inputs = {sequence, {.name = "additional_inputs", .variadic = true, .any = true}},
       .outputs = {{.name = "out_sequence", .variadic = true, .any = true}},
       .infer = infer_map, .compute = {.eval = eval_map, .structural = true}, .num_regions = 1,
       .doc = "Applies a graph to each element (ONNX SequenceMap)."},
  };
  for (OpDef& op : optional_ops()) ops.push_back(std::move(op));
  return ops;
}

}  // namespace tenon::ir
