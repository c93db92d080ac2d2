#include "ir/range.h"

#include <algorithm>
#include <cmath>

namespace tenon::ir {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMaxSteps = 400;
constexpr int64_t kMaxElements = int64_t{1} << 22;

enum class Kind : uint8_t { kSame, kFirst, kAdd, kSub, kMul, kNeg, kAbs, kMin, kMax, kWhere, kUnion, kUnit };

/// kSame: elements of operand 0. kFirst: of operand 0, or 0. kUnion: of any operand; kUnit: in [0, 1].
struct Row {
  std::string_view op;
  Kind kind;
};
constexpr Row kRows[] = {
    {"Identity", Kind::kSame},
    {"Reshape", Kind::kSame},
    {"tenon.reshape", Kind::kSame},
    {"Unsqueeze", Kind::kSame},
    {"Squeeze", Kind::kSame},
    {"Flatten", Kind::kSame},
    {"Transpose", Kind::kSame},
    {"Expand", Kind::kSame},
    {"tenon.expand", Kind::kSame},
    {"Tile", Kind::kSame},
    {"Slice", Kind::kSame},
    {"Split", Kind::kSame},
    {"Gather", Kind::kSame},
    {"GatherElements", Kind::kSame},
    {"GatherND", Kind::kSame},
    {"Cast", Kind::kSame},
    {"Trilu", Kind::kFirst},
    {"Relu", Kind::kFirst},
    {"Concat", Kind::kUnion},
    {"Add", Kind::kAdd},
    {"Sub", Kind::kSub},
    {"Mul", Kind::kMul},
    {"Neg", Kind::kNeg},
    {"Abs", Kind::kAbs},
    {"Min", Kind::kMin},
    {"Max", Kind::kMax},
    {"Where", Kind::kWhere},
    {"Sigmoid", Kind::kUnit},
    {"Softmax", Kind::kUnit},
};

const Row* row_of(const Node& node) {
  auto it = std::ranges::find(kRows, node.op_name(), &Row::op);
  return it == std::end(kRows) ? nullptr : it;
}

/// Every value of the type; for integers one more.
Range all_of(DType dtype) {
  if (dtype == DType::kBool) return {0, 1};
  if (is_unsigned_int(dtype)) return {0, std::ldexp(1, bits(dtype))};
  if (is_signed_int(dtype)) return {-std::ldexp(1, bits(dtype) - 1), std::ldexp(1, bits(dtype) - 1)};
  return {};
}

/// Largest finite number of the type; none for what is not followed.
double largest(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return std::numeric_limits<double>::max();
    case DType::kF32:
      return std::numeric_limits<float>::max();
    case DType::kF16:
      return 65504;
    case DType::kBF16:
      return 0x1.FEp127;
    default:
      return 0;
  }
}

Range rounded(Range r, DType dtype) {
  if (std::isnan(r.lo)) r.lo = -kInfinity;
  if (std::isnan(r.hi)) r.hi = kInfinity;
  if (!is_float(dtype)) {
    Range all = all_of(dtype);
    return r.lo >= all.lo && r.hi < all.hi + (dtype == DType::kBool) ? r
                                                                     : all;  // beyond its type an integer wraps around
  }
  if (r.lo < -largest(dtype)) r.lo = -kInfinity;
  if (r.hi > largest(dtype)) r.hi = kInfinity;
  if (r.lo > largest(dtype)) r.lo = largest(dtype);
  if (r.hi < -largest(dtype)) r.hi = -largest(dtype);
  return r;
}

Range either(Range a, Range b) { return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)}; }

Range times(Range a, Range b) {
  Range out{kInfinity, -kInfinity};
  for (double x : {a.lo, a.hi})
    for (double y : {b.lo, b.hi}) {
      double p = x == 0 || y == 0 ? 0 : x * y;
      out = {std::min(out.lo, p), std::max(out.hi, p)};
    }
  return out;
}

Range of_tensor(const Tensor& tensor) {
  if (tensor.size() == 0 || tensor.size() > kMaxElements) return all_of(tensor.dtype());
  Range out{kInfinity, -kInfinity};
  for (int64_t i = 0; i < tensor.size(); ++i)
    if (double v = tensor.at_double(i); !std::isnan(v)) out = either(out, {v, v});
  return out.lo <= out.hi ? out : Range{};
}

class Ranges {
 public:
  Range of(const Value* value) {
    if (!value || !value->type().is_tensor() || ++steps_ > kMaxSteps) return {};
    DType dtype = value->dtype();
    if (!is_float(dtype) && !is_int(dtype) && dtype != DType::kBool) return {};
    if (const Tensor* tensor = constant_of(value)) return of_tensor(*tensor);
    const Node* node = value->def();
    if (!node) return all_of(dtype);
    if (is_float(dtype) && largest(dtype) == 0) return {};
    if (const Tensor* fill = node->is("ConstantOfShape") ? node->attr_tensor("value") : nullptr)
      return of_tensor(*fill);
    if (node->is("Cast") && is_float(node->input(0)->dtype()) && !is_float(dtype)) return all_of(dtype);
    if (scatters(*node)) return either(of(node->input(0)), of(node->input(2)));
    const Row* row = row_of(*node);
    return row ? rounded(result(row->kind, *node), dtype) : all_of(dtype);
  }

 private:
  static bool scatters(const Node& node) {
    return (node.is("ScatterND") || node.is("ScatterElements")) && node.attr_string("reduction", "none") == "none";
  }

  Range result(Kind kind, const Node& node) {
    auto in = [&](int i) { return of(node.input(i)); };
    switch (kind) {
      case Kind::kSame:
        return in(0);
      case Kind::kFirst:
        return either(in(0), {0, 0});
      case Kind::kUnit:
        return {0, 1};
      case Kind::kWhere:
        return either(in(1), in(2));
      case Kind::kNeg:
        return times(in(0), {-1, -1});
      case Kind::kMul:
        return times(in(0), in(1));
      case Kind::kAdd: {
        Range a = in(0), b = in(1);
        return {a.lo + b.lo, a.hi + b.hi};
      }
      case Kind::kSub: {
        Range a = in(0), b = in(1);
        return {a.lo - b.hi, a.hi - b.lo};
      }
      case Kind::kAbs: {
        Range a = in(0);
        return {a.lo > 0 ? a.lo : a.hi < 0 ? -a.hi : 0, std::max(std::abs(a.lo), std::abs(a.hi))};
      }
      default:
        break;
    }
    Range out = in(0);
    for (int i = 1; i < node.num_inputs(); ++i) {
      Range next = in(i);
      if (kind == Kind::kUnion) out = either(out, next);
      if (kind == Kind::kMin) out = {std::min(out.lo, next.lo), std::min(out.hi, next.hi)};
      if (kind == Kind::kMax) out = {std::max(out.lo, next.lo), std::max(out.hi, next.hi)};
    }
    return out;
  }

  int steps_ = 0;
};

}  // namespace

Range range_of(const Value* value) { return Ranges().of(value); }

}  // namespace tenon::ir
