// Steps of any tensor, and of tables.

#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/preprocess/arguments.h"

namespace tenon::eval {
namespace {

using Kind = Parameter::Kind;

constexpr Parameter kScale[] = {{"divisor", Kind::kNumber, "255", "not 0"},
                                {"factor", Kind::kNumber, "1", "after the division"},
                                {"offset", Kind::kNumber, "0", "added last"}};

Result<StepFunction> make_scale(const StepArguments& a) {
  const double divisor = number(a, "divisor"), factor = number(a, "factor"), offset = number(a, "offset");
  if (divisor == 0) return wrong_parameter("divisor", "is 0");
  return mapped(a, [=](const Tensor& in) -> Result<Tensor> {
    TENON_ASSIGN_OR_RETURN(const Tensor wide, to_f32(in));
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, in.shape()));
    std::transform(wide.span<float>().begin(), wide.span<float>().end(), out.mutable_span<float>().begin(),
                   [&](float x) { return static_cast<float>(x / divisor * factor + offset); });
    return out;
  });
}

constexpr Parameter kNormalize[] = {{"mean", Kind::kNumbers, "0", "of each channel, or one for all"},
                                    {"std", Kind::kNumbers, "1", "of each channel, or one for all; not 0"},
                                    {"channels", Kind::kChoice, "\"last\"", "last|first which dim the channels are"}};

Result<StepFunction> make_normalize(const StepArguments& a) {
  std::vector<double> mean = numbers(a, "mean"), deviation = numbers(a, "std");
  if (mean.empty()) return wrong_parameter("mean", "is empty");
  if (deviation.empty()) return wrong_parameter("std", "is empty");
  for (double& d : deviation)
    if (static_cast<float>(d) == 0) return wrong_parameter("std", "is 0");
  if (mean.size() != deviation.size() && mean.size() != 1 && deviation.size() != 1)
    return wrong_parameter("std", fmt::format("has {} values, mean {}", deviation.size(), mean.size()));
  const bool first = text(a, "channels") == "first";
  return mapped(a, [=, mean = std::move(mean), deviation = std::move(deviation)](const Tensor& in) -> Result<Tensor> {
    const size_t count = std::max(mean.size(), deviation.size());
    const int64_t channels = in.rank() == 0 ? 1 : in.dim(first ? 0 : in.rank() - 1);
    if (count != 1 && static_cast<int64_t>(count) != channels)
      return error(Code::kInvalidArgument, "there are {} means and deviations for {} channels of {}", count, channels, to_string(in.shape()))
          .with_hint("after layout, say \"channels\": \"first\"");
    TENON_ASSIGN_OR_RETURN(const Tensor wide, to_f32(in));
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, in.shape()));
    const auto from = wide.span<float>();
    const auto to = out.mutable_span<float>();
    const size_t each = first && channels > 0 ? from.size() / static_cast<size_t>(channels) : 1;
    for (size_t i = 0; i < from.size(); ++i) {
      const size_t c = count == 1 ? 0 : i / each % static_cast<size_t>(channels);
      to[i] = (from[i] - static_cast<float>(mean[mean.size() == 1 ? 0 : c])) / static_cast<float>(deviation[deviation.size() == 1 ? 0 : c]);
    }
    return out;
  });
}

constexpr Parameter kDType[] = {{"to", Kind::kChoice, "", "f32|f64|f16|bf16|i8|i16|i32|i64|u8|u16|u32|u64|bool the element type"}};

/// Rounds to nearest, ties to even, and saturates; NaN becomes 0.
int64_t saturated(double value, DType to) {
  if (std::isnan(value)) return 0;
  const int width = bits(to);
  const bool is_signed = is_signed_int(to);
  const double low = is_signed ? -std::ldexp(1.0, width - 1) : 0, high = std::ldexp(1.0, is_signed ? width - 1 : width);
  value = std::nearbyint(value);
  if (value <= low) return is_signed ? (width == 64 ? std::numeric_limits<int64_t>::min() : -(int64_t{1} << (width - 1))) : 0;
  if (value >= high) {
    if (width == 64) return is_signed ? std::numeric_limits<int64_t>::max() : int64_t{-1};
    return (int64_t{1} << (is_signed ? width - 1 : width)) - 1;
  }
  return value >= 0x1p63 ? static_cast<int64_t>(static_cast<uint64_t>(value)) : static_cast<int64_t>(value);
}

Result<Tensor> converted(const Tensor& in, DType to) {
  if (in.dtype() == to) return in;
  if (in.dtype() == DType::kString || is_packed(in.dtype()) || info(in.dtype()).cls == DTypeClass::kComplex)
    return error(Code::kInvalidArgument, "{} elements have no form as {}", name(in.dtype()), name(to));
  TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(to, in.shape()));
  const bool whole = is_int(in.dtype()) && bits(in.dtype()) == 64 && bits(to) == 64 && is_int(to);
  for (int64_t i = 0; i < in.size(); ++i) {
    if (is_float(to)) out.set_double(i, in.at_double(i));
    else if (to == DType::kBool) out.set_int(i, in.at_double(i) != 0 ? 1 : 0);
    else out.set_int(i, whole ? in.at_int(i) : saturated(in.at_double(i), to));
  }
  return out;
}

Result<StepFunction> make_dtype(const StepArguments& a) {
  if (!a.has("to")) return wrong_parameter("to", "is missing");
  const auto dtype = dtype_from_name(text(a, "to"));
  if (!dtype) return wrong_parameter("to", "is no element type");
  return mapped(a, [to = *dtype](const Tensor& in) { return converted(in, to); });
}

constexpr Parameter kReshape[] = {{"shape", Kind::kNumbers, "", "the dims; one may be -1: what is left", -1, 1e9}};

Result<StepFunction> make_reshape(const StepArguments& a) {
  if (!a.has("shape")) return wrong_parameter("shape", "is missing");
  Shape shape;
  for (double d : numbers(a, "shape")) {
    if (d != std::floor(d)) return wrong_parameter("shape", "has a dim that is no whole number");
    shape.push_back(static_cast<int64_t>(d));
  }
  if (shape.size() > 16 || std::count(shape.begin(), shape.end(), -1) > 1) return wrong_parameter("shape", "has more than 16 dims or one -1");
  return mapped(a, [=](const Tensor& in) -> Result<Tensor> {
    Shape out = shape;
    int64_t known = 1;
    for (int64_t d : out)
      if (d != -1 && __builtin_mul_overflow(known, d, &known)) return error(Code::kInvalidArgument, "the shape overflows");
    if (const auto open = std::find(out.begin(), out.end(), -1); open != out.end()) *open = known > 0 ? in.size() / known : 0;
    Result<Tensor> made = in.reshaped(out);
    if (!made.ok()) return error(Code::kInvalidArgument, "{} elements of {} do not fit the shape {}", in.size(), to_string(in.shape()), to_string(shape));
    return made;
  });
}

constexpr Parameter kTranspose[] = {{"order", Kind::kNumbers, "", "which dim of the input each dim of the result is", 0, 15}};

Result<StepFunction> make_transpose(const StepArguments& a) {
  if (!a.has("order")) return wrong_parameter("order", "is missing");
  std::vector<size_t> order;
  for (double d : numbers(a, "order")) order.push_back(static_cast<size_t>(d));
  std::vector<size_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i)
    if (sorted[i] != i) return wrong_parameter("order", "is no permutation of 0, 1, …");
  return mapped(a, [=](const Tensor& in) -> Result<Tensor> {
    if (in.rank() != static_cast<int64_t>(order.size()))
      return error(Code::kInvalidArgument, "the order has {} dims, the input {}", order.size(), to_string(in.shape()));
    if (in.dtype() == DType::kString || is_packed(in.dtype())) return error(Code::kInvalidArgument, "{} elements are not transposed", name(in.dtype()));
    Shape shape;
    for (size_t d : order) shape.push_back(in.shape()[d]);
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(in.dtype(), shape));
    std::vector<int64_t> strides(order.size(), 1), index(order.size(), 0);
    for (size_t d = order.size(); d-- > 1;) strides[d - 1] = strides[d] * in.shape()[d];
    const auto width = static_cast<size_t>(bits(in.dtype())) / 8;
    for (int64_t i = 0; i < out.size(); ++i) {
      int64_t from = 0;
      for (size_t d = 0; d < order.size(); ++d) from += index[d] * strides[order[d]];
      std::copy_n(in.data() + static_cast<size_t>(from) * width, width, out.mutable_data() + static_cast<size_t>(i) * width);
      for (size_t d = order.size(); d-- > 0;) {
        if (++index[d] < shape[d]) break;
        index[d] = 0;
      }
    }
    return out;
  });
}

Result<StepFunction> make_copy(const StepArguments& a) {
  return StepFunction([input = a.input, output = a.output](Fields& fields) -> Status {
    const auto found = fields.find(input);
    if (found == fields.end()) return tensor_in(fields, input).status();
    HostValue value = found->second;
    fields[output] = std::move(value);
    return {};
  });
}

constexpr Parameter kConstant[] = {{"value", Kind::kNumbers, "", "the elements, or one for all of them"},
                                   {"shape", Kind::kNumbers, "", "the dims; a number alone is a scalar, a list one dim", 0, 1e9},
                                   {"dtype", Kind::kChoice, "\"f32\"", "f32|f64|f16|i8|i16|i32|i64|u8|bool the element type"}};

Result<StepFunction> make_constant(const StepArguments& a) {
  if (!a.has("value")) return wrong_parameter("value", "is missing");
  if (a.output.empty()) return wrong_parameter("output", "is missing");
  const std::vector<double> values = numbers(a, "value");
  Shape shape;
  if (a.has("shape"))
    for (double d : numbers(a, "shape")) shape.push_back(static_cast<int64_t>(d));
  else if (a.values["value"].is_array())
    shape.push_back(static_cast<int64_t>(values.size()));
  TENON_ASSIGN_OR_RETURN(Tensor wide, make_tensor(DType::kF64, shape));
  if (values.empty() || (values.size() != 1 && static_cast<int64_t>(values.size()) != wide.size()))
    return wrong_parameter("value", fmt::format("has {} elements for the shape {}", values.size(), to_string(shape)));
  for (int64_t i = 0; i < wide.size(); ++i) wide.set_double(i, values[values.size() == 1 ? 0 : static_cast<size_t>(i)]);
  TENON_ASSIGN_OR_RETURN(Tensor made, converted(wide, dtype_from_name(text(a, "dtype")).value_or(DType::kF32)));
  return StepFunction([made = std::move(made), output = a.output](Fields& fields) -> Status {
    fields[output] = made;
    return {};
  });
}

constexpr Parameter kColumns[] = {{"names", Kind::kTexts, "", "of the columns, in the order of the features"},
                                  {"missing", Kind::kNumber, "", "what stands for NaN; without it NaN stays"}};

Result<StepFunction> make_columns(const StepArguments& a) {
  if (!a.has("names") || texts(a, "names").empty()) return wrong_parameter("names", "is missing or empty");
  return StepFunction([names = texts(a, "names"), output = a.output, replaced = a.has("missing"),
                       missing = a.has("missing") ? number(a, "missing") : 0](Fields& fields) -> Status {
    std::vector<float> out;
    for (const std::string& column : names) {
      TENON_ASSIGN_OR_RETURN(const Tensor t, tensor_in(fields, column));
      if (t.dtype() == DType::kString) return error(Code::kInvalidArgument, "the column '{}' is text, not a number", column);
      if (static_cast<int64_t>(out.size()) + t.size() > kMaxElements)
        return error(Code::kResourceExhausted, "the columns have more than {} elements", kMaxElements);
      TENON_ASSIGN_OR_RETURN(const Tensor wide, to_f32(t));
      for (float v : wide.span<float>()) out.push_back(std::isnan(v) && replaced ? static_cast<float>(missing) : v);
    }
    fields[output] = Tensor::from<float>({static_cast<int64_t>(out.size())}, out);
    return {};
  });
}

constexpr StepInfo kTableSteps[] = {
    {"columns", "table", "", "features", "the named fields: numbers, or lists of them", "f32 [features]", "Makes one vector of columns.", kColumns,
     make_columns},
};

constexpr StepInfo kTensorSteps[] = {
    {"scale", "tensor", kPrevious, "", "numbers", "f32 of the same shape", "x / divisor · factor + offset.", kScale, make_scale},
    {"normalize", "tensor", kPrevious, "", "numbers", "f32 of the same shape", "(x - mean) / std, a channel each.", kNormalize, make_normalize},
    {"dtype", "tensor", kPrevious, "", "numbers", "the same shape of that type",
     "Converts; to whole numbers by rounding to nearest, ties to even, and saturating.", kDType, make_dtype},
    {"reshape", "tensor", kPrevious, "", "any tensor", "the same elements", "Gives the elements another shape.", kReshape, make_reshape},
    {"transpose", "tensor", kPrevious, "", "any numbers", "the same numbers", "Reorders dims.", kTranspose, make_transpose},
    {"copy", "tensor", kPrevious, "", "any field", "the same", "Keeps a field under a second name.", {}, make_copy},
    {"constant", "tensor", "", "constant", "nothing", "a tensor", "Makes a field that is the same for every example.", kConstant, make_constant},
};

}  // namespace

std::span<const StepInfo> table_steps() { return kTableSteps; }
std::span<const StepInfo> tensor_steps() { return kTensorSteps; }

}  // namespace tenon::eval
