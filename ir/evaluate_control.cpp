#include "ir/evaluate_control.h"

#include <algorithm>
#include <cstring>

#include "ir/evaluate_body.h"

namespace tenon::ir {
namespace {

constexpr int64_t kMaxScanBytes = int64_t{1} << 36;

// Copies blocks of `inner` elements between tensors of one dtype whose elements are whole bytes (or strings).
void copy_elements(const Tensor& from, int64_t source, Tensor& to, int64_t target, int64_t count) {
  if (from.dtype() == DType::kString) {
    std::copy_n(from.string_values().begin() + source, count, to.mutable_strings().begin() + target);
  } else if (is_packed(from.dtype())) {
    for (int64_t i = 0; i < count; ++i)
      store_scalar(to.mutable_data(), to.dtype(), target + i, load_scalar(from.data(), from.dtype(), source + i));
  } else {
    const size_t width = static_cast<size_t>(bits(from.dtype())) / 8;
    std::memcpy(to.mutable_data() + static_cast<size_t>(target) * width, from.data() + static_cast<size_t>(source) * width,
                static_cast<size_t>(count) * width);
  }
}

struct Strides {
  int64_t outer, extent, inner;
};
Strides split_at(const Shape& shape, int64_t axis) {
  Strides s{1, shape[static_cast<size_t>(axis)], 1};
  for (size_t i = 0; i < shape.size(); ++i)
    if (static_cast<int64_t>(i) != axis) (static_cast<int64_t>(i) < axis ? s.outer : s.inner) *= shape[i];
  return s;
}

// Element `index` of `axis`, without that axis.
Result<Tensor> slice_at(const Tensor& t, int64_t axis, int64_t index) {
  const Strides s = split_at(t.shape(), axis);
  Shape shape = t.shape();
  shape.erase(shape.begin() + axis);
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(t.dtype(), std::move(shape)));
  for (int64_t o = 0; o < s.outer; ++o) copy_elements(t, (o * s.extent + index) * s.inner, out, o * s.inner, s.inner);
  return out;
}

Result<bool> truth(const HostValue& value, std::string_view what) {
  const Tensor* t = std::get_if<Tensor>(&value);
  if (t == nullptr || t->size() != 1) return error(Code::kInvalidModel, "{} is not one element", what);
  return t->at_int(0) != 0;
}

// Scan outputs so far, with a limit on what they may take.
class Stacks {
 public:
  Stacks(size_t count, int64_t max_bytes) : parts_(count), max_bytes_(std::min(max_bytes, kMaxScanBytes)) {}
  Status add(size_t i, HostValue value) {
    Tensor* t = std::get_if<Tensor>(&value);
    if (t == nullptr) return error(Code::kInvalidModel, "scan output {} is not a tensor", i);
    bytes_ += static_cast<int64_t>(t->bytes()) + 64;
    if (bytes_ > max_bytes_) return error(Code::kResourceExhausted, "scan outputs take more than {} bytes", max_bytes_);
    parts_[i].push_back(std::move(*t));
    return {};
  }
  std::span<const Tensor> operator[](size_t i) const { return parts_[i]; }

 private:
  std::vector<std::vector<Tensor>> parts_;
  int64_t bytes_ = 0, max_bytes_;
};

Status check_budget(const EvalOptions& options, int64_t trip) {
  if (trip >= options.max_loop_trips)
    return error(Code::kResourceExhausted, "a loop runs more than {} times", options.max_loop_trips);
  return options.interrupt.check();
}

Status evaluate_loop(EvalContext& c, const EvalOptions& options) {
  const Graph& body = c.node.region(0);
  const size_t carried = c.inputs.size() > 2 ? c.inputs.size() - 2 : 0;
  const size_t scans = body.outputs().size() - 1 - carried;
  int64_t trips = INT64_MAX;
  bool go_on = true;
  if (c.has(0)) {
    if (c.tensor(0).size() != 1) return error(Code::kInvalidModel, "the trip count has {} elements", c.tensor(0).size());
    trips = c.tensor(0).at_int(0);
  }
  if (c.has(1)) {
    TENON_ASSIGN_OR_RETURN(go_on, truth(c.inputs[1], "the condition"));
  }
  std::vector<HostValue> state(c.inputs.begin() + std::min<ptrdiff_t>(2, std::ssize(c.inputs)), c.inputs.end());
  Stacks stacks(scans, c.max_bytes);
  for (int64_t trip = 0; trip < trips && go_on; ++trip) {
    TENON_RETURN_IF_ERROR(check_budget(options, trip));
    std::vector<HostValue> inputs = {Tensor::scalar<int64_t>(trip), Tensor::scalar<bool>(go_on)};
    std::move(state.begin(), state.end(), std::back_inserter(inputs));
    TENON_ASSIGN_OR_RETURN(std::vector<HostValue> results, c.run_region(0, inputs));
    TENON_ASSIGN_OR_RETURN(go_on, truth(results[0], "the body's condition"));
    for (size_t i = 0; i < scans; ++i) TENON_RETURN_IF_ERROR(stacks.add(i, std::move(results[1 + carried + i])));
    state.assign(std::make_move_iterator(results.begin() + 1),
                 std::make_move_iterator(results.begin() + 1 + static_cast<ptrdiff_t>(carried)));
  }
  std::move(state.begin(), state.end(), c.outputs.begin());
  for (size_t i = 0; i < scans; ++i) {
    TENON_ASSIGN_OR_RETURN(c.outputs[carried + i], stack(stacks[i], 0, false, body.outputs()[1 + carried + i]->type(), c.symbols));
  }
  return {};
}

int64_t entry(const std::vector<int64_t>& list, size_t i) { return i < list.size() ? list[i] : 0; }

Status evaluate_scan(EvalContext& c, const EvalOptions& options) {
  const Graph& body = c.node.region(0);
  const size_t scanned = static_cast<size_t>(c.node.attr_int("num_scan_inputs", 0));
  const size_t states = c.inputs.size() - scanned, scans = body.outputs().size() - states;
  const std::vector<int64_t> axes = c.node.attr_ints("scan_input_axes"), directions = c.node.attr_ints("scan_input_directions");
  const std::vector<int64_t> out_axes = c.node.attr_ints("scan_output_axes");
  const std::vector<int64_t> out_directions = c.node.attr_ints("scan_output_directions");
  std::vector<int64_t> axis(scanned);
  int64_t trips = -1;
  for (size_t i = 0; i < scanned; ++i) {
    const Tensor& t = c.tensor(static_cast<int>(states + i));
    TENON_ASSIGN_OR_RETURN(axis[i], normalize_axis(entry(axes, i), t.rank(), "scan_input_axes"));
    if (trips >= 0 && t.dim(axis[i]) != trips)
      return error(Code::kInvalidArgument, "scan inputs have lengths {} and {}", trips, t.dim(axis[i]));
    trips = t.dim(axis[i]);
  }
  std::vector<HostValue> state(c.inputs.begin(), c.inputs.begin() + static_cast<ptrdiff_t>(states));
  Stacks stacks(scans, c.max_bytes);
  for (int64_t trip = 0; trip < trips; ++trip) {
    TENON_RETURN_IF_ERROR(check_budget(options, trip));
    std::vector<HostValue> inputs = std::move(state);
    for (size_t i = 0; i < scanned; ++i) {
      const int64_t at = entry(directions, i) != 0 ? trips - 1 - trip : trip;
      TENON_ASSIGN_OR_RETURN(Tensor slice, slice_at(c.tensor(static_cast<int>(states + i)), axis[i], at));
      inputs.emplace_back(std::move(slice));
    }
    TENON_ASSIGN_OR_RETURN(std::vector<HostValue> results, c.run_region(0, inputs));
    for (size_t i = 0; i < scans; ++i) TENON_RETURN_IF_ERROR(stacks.add(i, std::move(results[states + i])));
    results.resize(states);
    state = std::move(results);
  }
  std::move(state.begin(), state.end(), c.outputs.begin());
  for (size_t i = 0; i < scans; ++i) {
    TENON_ASSIGN_OR_RETURN(c.outputs[states + i], stack(stacks[i], entry(out_axes, i), entry(out_directions, i) != 0,
                                                        body.outputs()[states + i]->type(), c.symbols));
  }
  return {};
}

}  // namespace

Result<Tensor> stack(std::span<const Tensor> parts, int64_t axis, bool reverse, const Type& fallback,
                     std::span<const std::optional<int64_t>> symbols) {
  if (parts.empty()) {
    Shape shape = {0};
    if (fallback.is_ranked_tensor()) {
      TENON_ASSIGN_OR_RETURN(const int64_t at, normalize_axis(axis, fallback.tensor().rank() + 1, "scan_output_axes"));
      shape.clear();
      for (const Dim& d : *fallback.tensor().dims) {
        const Result<int64_t> known = evaluate(d, symbols);
        shape.push_back(known.ok() ? *known : 0);
      }
      shape.insert(shape.begin() + at, 0);
    }
    return Tensor::zeros(fallback.dtype(), std::move(shape));
  }
  const Tensor& first = parts.front();
  TENON_ASSIGN_OR_RETURN(const int64_t at, normalize_axis(axis, first.rank() + 1, "scan_output_axes"));
  Shape shape = first.shape();
  shape.insert(shape.begin() + at, std::ssize(parts));
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(first.dtype(), shape));
  const Strides s = split_at(shape, at);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& part = parts[reverse ? parts.size() - 1 - i : i];
    if (part.shape() != first.shape() || part.dtype() != first.dtype())
      return error(Code::kInvalidArgument, "the iterations give tensors of shapes {} and {}", tenon::to_string(first.shape()),
                   tenon::to_string(part.shape()));
    for (int64_t o = 0; o < s.outer; ++o)
      copy_elements(part, o * s.inner, out, (o * s.extent + static_cast<int64_t>(i)) * s.inner, s.inner);
  }
  return out;
}

Status evaluate_control(EvalContext& context, const EvalOptions& options) {
  if (context.node.is("Loop")) return evaluate_loop(context, options);
  if (context.node.is("Scan")) return evaluate_scan(context, options);
  return error(Code::kUnsupported, "there is no way to compute {}", context.node.op_name());
}

}  // namespace tenon::ir
