#include "ir/ops/decompose.h"

namespace tenon::ir {

Value* Steps::cast(Value* a, DType to) {
  if (a == nullptr || a->dtype() == to) return a;
  return b_.make("Cast", {a}, {{"to", onnx_code(to)}});
}

Value* Steps::reduce(std::string_view op, Value* a, std::span<const int64_t> axes, bool keepdims) {
  return b_.make(op, {a, b_.ints(axes)}, {{"keepdims", int64_t{keepdims}}});
}

Value* Steps::reshape(Value* a, Dims dims) {
  if (a != nullptr && a->type().is_ranked_tensor() && *a->tensor().dims == dims) return a;
  return b_.make("tenon.reshape", {a}, {{"dims", std::move(dims)}});
}

Value* Steps::slice(Value* a, int64_t axis, Dim start, Dim end) {
  Value* starts = start.is_const() ? b_.ints({start.value()}) : dim_vector({start});
  Value* ends = end.is_const() ? b_.ints({end.value()}) : dim_vector({end});
  return b_.make("Slice", {a, starts, ends, b_.ints({axis})});
}

Value* Steps::per_channel(Value* a, size_t trailing) {
  if (a == nullptr || trailing == 0) return a;
  Dims dims(trailing + 1, 1);
  dims[0] = a->tensor().dim(0);
  return reshape(a, std::move(dims));
}

Result<std::vector<Value*>> Steps::done(std::vector<Value*> values) const {
  TENON_RETURN_IF_ERROR(b_.status());
  return values;
}

std::vector<int64_t> axes_from(int64_t axis, int64_t rank) {
  std::vector<int64_t> axes;
  for (int64_t i = axis; i < rank; ++i) axes.push_back(i);
  return axes;
}

Normalized normalize(Steps& s, Value* x, std::span<const int64_t> axes, double epsilon, bool subtract_mean) {
  Normalized out;
  Value* centred = x;
  if (subtract_mean) {
    out.mean = s.reduce("ReduceMean", x, axes);
    centred = s.sub(x, out.mean);
  }
  Value* variance = s.reduce("ReduceMean", s.mul(centred, centred), axes);
  out.inv_std = s.unary("Reciprocal", s.unary("Sqrt", s.add(variance, epsilon)));
  out.y = s.mul(centred, out.inv_std);
  return out;
}

}  // namespace tenon::ir
