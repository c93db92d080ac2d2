#include <charconv>
#include <cmath>
#include <cstring>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/cast.h"
#include "ir/ops/families.h"
#include "ir/scalar_op.h"
#include "support/float_types.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kCastable = kAnyTensor & ~dtypes(DType::kC64, DType::kC128);

Result<DType> target_of(const Node& node) {
  if (!node.attrs().has("to")) return node.input(1)->dtype();  // CastLike
  const int64_t onnx = node.attr_int("to", 0);
  const std::optional<DType> to = onnx >= 0 && onnx < 1000 ? dtype_from_onnx(static_cast<int>(onnx)) : std::nullopt;
  if (!to) return error(Code::kInvalidModel, "the attribute 'to' has the value {}, which is no type", onnx);
  return *to;
}

// What is known of shapes stays known in integer types that hold it.
void propagate_cast(InferContext& c, DType to) {
  if (!is_int(to) && to != DType::kBool) return;
  const std::optional<std::vector<Dim>> values = c.dim_values(0);
  if (!values) return;
  std::vector<Dim> out;
  for (const Dim& d : *values) {
    if (to == DType::kBool) {
      if (!d.is_const()) return;
      out.emplace_back(d.is_const(0) ? 0 : 1);
      continue;
    }
    const DimBounds range = bounds(d);
    if (to != DType::kI64 && (range.lo < (is_unsigned_int(to) ? 0 : -128) || range.hi > (bits(to) < 32 ? 3 : INT32_MAX))) return;
    out.push_back(d);
  }
  c.set_dim_values(0, std::move(out));
}

Status infer_cast(InferContext& c) {
  const Result<DType> to = target_of(c.node());
  if (!to.ok()) return c.fail_text(to.status().what());
  c.set(0, same_shape(c, 0, *to));
  propagate_cast(c, *to);
  return {};
}

bool saturates(const Node& node) { return node.attr_int("saturate", 1) != 0; }

Result<std::vector<Body>> cast_body(const Node& node) {
  const DType from = node.input(0)->dtype();
  Body body = start_body(node, ComputeKind::kElementwise);
  const bool exact = saturates(node) && (body.dtype != DType::kF8E8M0 || node.attr_string("round_mode", "up") == "up");
  if (from == DType::kString || body.dtype == DType::kString || !exact)
    return error(Code::kUnsupported, "a cast of strings or without saturation is not generated");
  body.value = body.pool->cast(load_at(body, node, 0, axis_indices(*body.pool, body.axes.size())), body.dtype);
  return one_body(std::move(body));
}

// As NumPy prints a scalar: the shortest digits that read back, with a point.
std::string float_text(DType dtype, double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const double size = std::fabs(value);
  const bool scientific = size != 0 && (size < 1e-4 || size >= 1e16);
  char buffer[64];
  const std::chars_format format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const std::to_chars_result end = dtype == DType::kF64 ? std::to_chars(buffer, buffer + sizeof buffer, value, format)
                                                        : std::to_chars(buffer, buffer + sizeof buffer, static_cast<float>(value), format);
  std::string text(buffer, end.ptr);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string scalar_text(DType dtype, Scalar value) {
  if (is_float(dtype)) return float_text(dtype, value.f);
  if (dtype == DType::kBool) return value.i != 0 ? "True" : "False";
  if (is_unsigned_int(dtype)) return std::to_string(static_cast<uint64_t>(value.i));
  return std::to_string(value.i);
}

Result<Scalar> parse_scalar(const std::string& text, DType to) {
  const auto bad = [&] { return error(Code::kInvalidArgument, "the string '{}' is not a number", text); };
  char* end = nullptr;
  if (is_int(to)) {
    const long long value = std::strtoll(text.c_str(), &end, 10);
    if (end != text.c_str() && *end == '\0') return Scalar{0, value};
  }
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0') return bad();
  return cast_scalar({value, 0}, DType::kF64, to);
}

}  // namespace

Status cast_element(const Tensor& in, int64_t i, Tensor& out, int64_t o) {
  const DType from = in.dtype(), to = out.dtype();
  if (from == DType::kString && to == DType::kString) {
    out.mutable_strings()[static_cast<size_t>(o)] = in.string_values()[static_cast<size_t>(i)];
  } else if (to == DType::kString) {
    out.mutable_strings()[static_cast<size_t>(o)] = scalar_text(from, load_scalar(in.data(), from, i));
  } else if (from == DType::kString) {
    TENON_ASSIGN_OR_RETURN(const Scalar value, parse_scalar(in.string_values()[static_cast<size_t>(i)], to));
    store_scalar(out.mutable_data(), to, o, value);
  } else {
    store_scalar(out.mutable_data(), to, o, cast_scalar(load_scalar(in.data(), from, i), from, to));
  }
  return {};
}

namespace {

Scalar convert(const Node& node, Scalar value, DType from, DType to) {
  if (to == DType::kF8E8M0 && from != to) {
    const std::string mode = node.attr_string("round_mode", "up");
    const E8M0Rounding rounding = mode == "down" ? E8M0Rounding::kDown : mode == "nearest" ? E8M0Rounding::kNearest : E8M0Rounding::kUp;
    const double wide = is_float(from) ? value.f : static_cast<double>(value.i);
    return {f8e8m0_to_float(double_to_f8e8m0(wide, saturates(node), rounding)), 0};
  }
  return cast_scalar(value, from, to, saturates(node));
}

Status eval_cast(EvalContext& c) {
  const Tensor& in = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(const DType to, target_of(c.node));
  const DType from = in.dtype();
  if (from == to) {
    c.outputs[0] = in;
    return {};
  }
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, to, in.shape()));
  const bool text = from == DType::kString || to == DType::kString;
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < in.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(text ? 64 : 8));
    if (text) TENON_RETURN_IF_ERROR(cast_element(in, i, *out, i));
    else store_scalar(out->mutable_data(), to, i, convert(c.node, load_scalar(in.data(), from, i), from, to));
  }
  return {};
}

// ---- BitCast

Status infer_bitcast(InferContext& c) {
  const Result<DType> to = target_of(c.node());
  if (!to.ok()) return c.fail_text(to.status().what());
  if (bits(*to) == 0 || bits(*to) != bits(c.dtype(0)))
    return c.fail("{} and {} have different widths", name(c.dtype(0)), name(*to));
  c.set(0, same_shape(c, 0, *to));
  return {};
}

/// Bytes that stand for true become 1. Other types are a view.
Result<std::vector<Value*>> decompose_bitcast(Node& node, Builder& b) {
  TENON_ASSIGN_OR_RETURN(const DType to, target_of(node));
  if (to != DType::kBool || !is_int(node.input(0)->dtype())) return error(Code::kUnsupported, "the bits are those of the input");
  return std::vector<Value*>{b.make("Cast", {node.input(0)}, {{"to", int64_t{info(to).onnx}}})};
}

Status eval_bitcast(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(const DType to, target_of(c.node));
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, to, c.tensor(0).shape()));
  if (out->bytes() > 0) std::memcpy(out->mutable_data(), c.tensor(0).data(), out->bytes());
  // A bool is 0 or 1: other bytes that stand for true become 1.
  if (to == DType::kBool)
    for (std::byte& byte : std::span(out->mutable_data(), out->bytes())) byte = std::byte{byte != std::byte{0}};
  return {};
}

}  // namespace

std::vector<OpDef> cast_ops() {
  return {
      {.domain = "",
       .name = "Cast",
       .inputs = {{"input", "T1", kCastable}},
       .outputs = {{"output", "T2", kCastable}},
       .attrs = {{"to", AttrKind::kInt, true},
                 {"saturate", AttrKind::kInt, false, "1"},
                 {"round_mode", AttrKind::kString, false, "up"}},
       .infer = infer_cast,
       .compute = {.body = cast_body, .eval = eval_cast},
       .doc = "The input in another type (Cast)"},
      {.domain = "",
       .name = "CastLike",
       .inputs = {{"input", "T1", kCastable}, {"target_type", "T2", kCastable}},
       .outputs = {{"output", "T2", kCastable}},
       .attrs = {{"saturate", AttrKind::kInt, false, "1"}, {"round_mode", AttrKind::kString, false, "up"}},
       .infer = infer_cast,
       .compute = {.body = cast_body, .eval = eval_cast},
       .doc = "The input in the type of another tensor (CastLike)"},
      {.domain = "",
       .name = "BitCast",
       .inputs = {{"input", "T1", kAnyTensor & ~dtypes(DType::kString)}},
       .outputs = {{"output", "T2", kAnyTensor & ~dtypes(DType::kString)}},
       .attrs = {{"to", AttrKind::kInt, true}},
       .infer = infer_bitcast,
       .compute = {.decompose = decompose_bitcast, .eval = eval_bitcast, .view = true},
       .doc = "The bits of the input as another type of the same width (BitCast)"},
  };
}

}  // namespace tenon::ir
