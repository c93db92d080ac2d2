#include "eval/round_off.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>

#include "ir/compute.h"
#include "ir/evaluate.h"
#include "ir/op.h"
#include "support/hash.h"

namespace tenon::eval {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

bool is_exact(ir::ScalarOp op) {
  using enum ir::ScalarOp;
  switch (op) {
    case kNeg:
    case kAbs:
    case kSign:
    case kNot:
    case kFloor:
    case kCeil:
    case kRound:
    case kTrunc:
    case kIsNan:
    case kIsInf:
    case kMin:
    case kMax:
    case kAnd:
    case kOr:
    case kXor:
    case kEq:
    case kNe:
    case kLt:
    case kLe:
    case kGt:
    case kGe:
    case kSelect:
    case kRem:
      return true;
    default:
      return false;
  }
}

bool rounds(const ir::Body& body) {
  if (!body.reduce_axes.empty() && is_float(body.acc_dtype) &&
      (body.combiner == ir::Combiner::kAdd || body.combiner == ir::Combiner::kMul))
    return true;
  for (int id = 0; id < body.pool->size(); ++id) {
    const ir::ExprNode& node = body.pool->node(id);
    if (!is_float(node.dtype)) continue;
    if (node.kind == ir::ExprKind::kOp && !is_exact(node.op)) return true;
    if (node.kind == ir::ExprKind::kCast && info(body.pool->node(node.args[0]).dtype).bits > info(node.dtype).bits)
      return true;
  }
  return false;
}

// The neighbour of a finite, normal float, up or down: the bits of IEEE formats count in the order of magnitudes.
template <class Bits, int kMantissa>
void move(Tensor& tensor, uint64_t seed) {
  constexpr Bits kExponent = static_cast<Bits>(((Bits{1} << (8 * sizeof(Bits) - 1)) - 1) >> kMantissa << kMantissa);
  std::span<Bits> values = tensor.mutable_span<Bits>();
  for (size_t i = 0; i < values.size(); ++i) {
    const Bits exponent = static_cast<Bits>(values[i] & kExponent);
    if (exponent == 0 || exponent == kExponent) continue;
    const Bits moved =
        static_cast<Bits>(values[i] + static_cast<Bits>(static_cast<int>(hash_combine(seed, i) % 3) - 1));
    if (const Bits now = static_cast<Bits>(moved & kExponent); now != 0 && now != kExponent) values[i] = moved;
  }
}

Status perturb(Tensor& tensor, uint64_t seed) {
  const DType dtype = tensor.dtype();
  if (dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF32 && dtype != DType::kF64) return {};
  TENON_ASSIGN_OR_RETURN(tensor, tensor.clone());
  if (dtype == DType::kF16) move<uint16_t, 10>(tensor, seed);
  if (dtype == DType::kBF16) move<uint16_t, 7>(tensor, seed);
  if (dtype == DType::kF32) move<uint32_t, 23>(tensor, seed);
  if (dtype == DType::kF64) move<uint64_t, 52>(tensor, seed);
  return {};
}

double distance(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return kInfinite;
  if (a.dtype() == DType::kString) {
    int64_t other = 0;
    for (size_t i = 0; i < a.string_values().size(); ++i) other += a.string_values()[i] != b.string_values()[i];
    return a.size() == 0 ? 0 : static_cast<double>(other) / static_cast<double>(a.size());
  }
  if (info(a.dtype()).cls == DTypeClass::kComplex) return kInfinite;
  if (!is_float(a.dtype())) {
    int64_t other = 0;
    for (int64_t i = 0; i < a.size(); ++i) other += a.at_int(i) != b.at_int(i);
    return a.size() == 0 ? 0 : static_cast<double>(other) / static_cast<double>(a.size());
  }
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = a.at_double(i), y = b.at_double(i);
    if (x == y || (std::isnan(x) && std::isnan(y))) {
      if (std::isfinite(y)) norm += y * y;
      continue;
    }
    if (!std::isfinite(x) || !std::isfinite(y)) return kInfinite;
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return difference == 0 ? 0 : norm == 0 ? kInfinite : std::sqrt(difference / norm);
}

// Of two lists of one length: the share of elements of the one that pair with no equal of the other.
template <class T>
double unpaired(std::vector<T> a, std::vector<T> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  std::vector<T> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return a.empty() ? 0 : static_cast<double>(a.size() - both.size()) / static_cast<double>(a.size());
}

Tensor ascending(const Tensor& tensor) {
  std::vector<double> values;
  for (int64_t i = 0; i < tensor.size(); ++i) values.push_back(tensor.at_double(i));
  std::sort(values.begin(), values.end(),
            [](double a, double b) { return std::isnan(b) ? !std::isnan(a) : a < b; });
  return Tensor::from<double>({tensor.size()}, std::span<const double>(values));
}

std::vector<int64_t> integers(const Tensor& tensor) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < tensor.size(); ++i) values.push_back(tensor.at_int(i));
  return values;
}

bool is_random(const ir::Graph& graph) {
  bool found = false;
  ir::walk(const_cast<ir::Graph&>(graph), [&](ir::Node& node) { found = found || node.op().side_effects; });
  return found;
}

}  // namespace

Status perturb(const ir::Node& node, std::span<HostValue> outputs, uint64_t seed) {
  const ir::Compute& compute = node.op().compute;
  if (compute.structural || node.num_regions() > 0) return {};
  std::vector<bool> moves(outputs.size(), compute.decompose != nullptr);
  const auto ranked = [](const ir::Value* v) { return v == nullptr || (v->type().known() && (!v->type().is_tensor() || v->tensor().ranked())); };
  const bool typed = std::ranges::all_of(node.inputs(), ranked) && std::ranges::all_of(node.outputs(), ranked);
  if (compute.body != nullptr && typed)
    if (const Result<std::vector<ir::Body>> bodies = compute.body(node); bodies.ok())
      for (size_t i = 0; i < std::min(moves.size(), bodies->size()); ++i) moves[i] = rounds((*bodies)[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (Tensor* tensor = std::get_if<Tensor>(&outputs[i]); moves[i] && tensor != nullptr)
      TENON_RETURN_IF_ERROR(perturb(*tensor, hash_combine(seed, i)));
  return {};
}

double relative_distance(const HostValue& a, const HostValue& b) {
  const Tensor* x = std::get_if<Tensor>(&a);
  const Tensor* y = std::get_if<Tensor>(&b);
  return x == nullptr || y == nullptr ? kInfinite : distance(*x, *y);
}

double unordered_distance(const HostValue& a, const HostValue& b) {
  const Tensor* x = std::get_if<Tensor>(&a);
  const Tensor* y = std::get_if<Tensor>(&b);
  if (x == nullptr || y == nullptr || x->dtype() != y->dtype() || x->shape() != y->shape()) return kInfinite;
  if (info(x->dtype()).cls == DTypeClass::kComplex) return kInfinite;
  if (is_float(x->dtype())) return distance(ascending(*x), ascending(*y));
  if (x->dtype() == DType::kString) return unpaired(x->string_values(), y->string_values());
  return unpaired(integers(*x), integers(*y));
}

Result<RoundOff> measure_round_off(const ir::Graph& graph, std::span<const HostValue> inputs, int samples,
                                   const std::function<bool(const RoundOff&)>& go_on) {
  if (is_random(graph))
    return Status(Code::kUnsupported, "a model with random operations gives other outputs in every run");
  // Bodies, which say what rounds, want types.
  const std::unique_ptr<ir::Graph> inferred = graph.clone();
  const ir::Graph& typed = ir::infer_graph(*inferred).ok() ? *inferred : graph;
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> base, ir::evaluate_graph(typed, inputs));
  RoundOff out;
  out.noise.resize(base.size());
  out.unordered_noise.resize(base.size());
  while (out.samples < samples && (out.samples == 0 || !go_on || go_on(out))) {
    const uint64_t sample = static_cast<uint64_t>(++out.samples);
    uint64_t step = 0;
    ir::EvalOptions options;
    options.alter = [&](const ir::Node& node, std::span<HostValue> outputs) {
      return perturb(node, outputs, hash_combine(sample, step++));
    };
    TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> moved, ir::evaluate_graph(typed, inputs, options));
    for (size_t i = 0; i < base.size(); ++i) {
      out.noise[i] = std::max(out.noise[i], relative_distance(moved[i], base[i]));
      out.unordered_noise[i] = std::max(out.unordered_noise[i], unordered_distance(moved[i], base[i]));
    }
  }
  return out;
}

Result<std::optional<std::string>> within_round_off(const ir::Graph& graph, std::span<const HostValue> inputs,
                                                    const std::map<size_t, HostValue>& expected,
                                                    std::span<const HostValue> actual, int samples) {
  constexpr double kTwoRuns = 2, kHopeless = 16;
  struct Apart {
    double ordered, unordered;
  };
  std::map<size_t, Apart> apart;
  for (const auto& [index, value] : expected) {
    if (index >= actual.size()) return std::optional<std::string>();
    const Apart one{relative_distance(actual[index], value), unordered_distance(actual[index], value)};
    if (!std::isfinite(one.ordered) || !std::isfinite(one.unordered)) return std::optional<std::string>();
    apart[index] = one;
  }
  const auto within = [&](const RoundOff& r, double factor) {
    return std::all_of(apart.begin(), apart.end(), [&](const auto& one) {
      return one.second.ordered <= factor * r.noise[one.first] &&
             one.second.unordered <= factor * r.unordered_noise[one.first];
    });
  };
  TENON_ASSIGN_OR_RETURN(const RoundOff r, measure_round_off(graph, inputs, samples, [&](const RoundOff& so_far) {
                           return within(so_far, kHopeless);
                         }));
  if (!within(r, kTwoRuns)) return std::optional<std::string>();
  const auto share = [&](const auto& one) {
    return r.noise[one.first] > 0 ? one.second.ordered / r.noise[one.first] : 0;
  };
  const auto worst =
      std::max_element(apart.begin(), apart.end(), [&](const auto& a, const auto& b) { return share(a) < share(b); });
  if (worst == apart.end()) return std::optional<std::string>();
  return std::optional<std::string>(
      fmt::format("ill-conditioned model: '{}' is {:.2g} off (relative norm), but moves by {:.2g} itself when every "
                  "operation rounds 1 ulp differently "
                  "({} runs)",
                  graph.output_name(static_cast<int>(worst->first)), worst->second.ordered, r.noise[worst->first], r.samples));
}

}  // namespace tenon::eval
