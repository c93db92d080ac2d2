#include "ir/ops/decompose.h"
#include "ir/ops/recurrent.h"

namespace tenon::ir {
namespace {

/// sequence_lens becomes a constant mask of at most this many elements.
constexpr int64_t kMaxMask = int64_t{1} << 22;

struct State {
  Value* h = nullptr;
  Value* c = nullptr;  // LSTM only
};

/// Scale and zero point of a matrix of bytes.
struct Levels {
  Value *scale = nullptr, *zero = nullptr;
};

/// One direction's operands; the step's region captures them.
struct Weights {
  Levels of_input, of_recurrent;    // null: no bytes
  Value* input = nullptr;           // [input, gates × hidden]
  Value* recurrent = nullptr;       // [hidden, gates × hidden]; GRU with the reset before: update and reset only
  Value* candidate = nullptr;       // GRU with the reset before: [hidden, hidden]
  Value* bias = nullptr;            // added to the projected inputs
  Value* candidate_bias = nullptr;  // GRU with the reset after: added before the reset gate multiplies
  Value *peephole_i = nullptr, *peephole_o = nullptr, *peephole_f = nullptr;
};

class Decomposition {
 public:
  Decomposition(Node& node, Builder& builder) : node_(node), b_(builder), s_(node, builder) {}

  Status read();
  Result<std::vector<Value*>> run();

 private:
  Status read_mask();
  Status mask_of_data();
  Value* operand(int i) { return node_.has_input(i) ? s_.cast(node_.input(i), dtype_) : nullptr; }
  /// Part d of [directions, …], without that axis.
  Value* part(Value* v, int64_t d);
  Value* state(int i, int64_t d);
  Value* matrix(int i, int64_t d, Dim rows);
  Levels levels(int i, int64_t d);
  Weights weights(int64_t d);
  State direction(int64_t d, Value*& y);

  State step(Steps& s, const Weights& w, int64_t d, Value* x, State before) const;
  State lstm_step(Steps& s, const Weights& w, int64_t d, Value* x, State before) const;
  Value* gru_step(Steps& s, const Weights& w, int64_t d, Value* x, Value* h) const;
  State scan(const Weights& w, int64_t d, Value* projected, State initial, bool reverse, Value*& y);
  Status fill_step(Graph& region, const Weights& w, int64_t d, Dim width);
  static Value* product(Steps& s, Value* x, Value* w, const Levels& levels) {
    return levels.scale == nullptr ? s.matmul(x, w) : s.builder().make("com.microsoft.DynamicQuantizeMatMul", {x, w, levels.scale, levels.zero});
  }
  Value* activate(Steps& s, int64_t d, size_t slot, Value* x) const;
  Value* clipped(Steps& s, Value* x) const;
  Value* gate(Steps& s, Value* x, int64_t which, int64_t count = 1) const {
    return s.slice(x, 1, hidden_ * which, hidden_ * (which + count));
  }

  Node& node_;
  Builder& b_;
  Steps s_;
  Cell cell_ = Cell::kRnn;
  DType dtype_ = DType::kF32;  // of the arithmetic
  Dim steps_, batch_, input_, hidden_;
  int64_t directions_ = 1, gates_ = 1;
  bool quantised_ = false, batch_first_ = false, reverse_first_ = false, coupled_ = false, reset_after_ = false;
  double clip_ = 0;
  std::vector<Activation> activations_;
  Value* x_ = nullptr;     // [steps, batch, input]
  Value* mask_ = nullptr;  // bool [steps, batch, 1], where a sequence has not ended; null: everywhere
};

Status Decomposition::read() {
  for (int i : {0, 1, 2})
    if (!node_.has_input(i) || !node_.input(i)->type().is_ranked_tensor()) return error(Code::kUnsupported, "operand {} has no known rank", i);
  const TensorType &x = node_.input(0)->tensor(), &w = node_.input(1)->tensor(), &r = node_.input(2)->tensor();
  cell_ = cell_of(node_);
  gates_ = gates_of(cell_);
  dtype_ = x.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const std::string direction = node_.attr_string("direction", "forward");
  directions_ = direction == "bidirectional" ? 2 : 1;
  reverse_first_ = direction == "reverse";
  batch_first_ = node_.attr_int("layout", 0) == 1;
  coupled_ = node_.attr_int("input_forget", 0) != 0;
  reset_after_ = node_.attr_int("linear_before_reset", 0) != 0;
  clip_ = node_.attr_float("clip", 0);
  steps_ = x.dim(batch_first_ ? 1 : 0);
  batch_ = x.dim(batch_first_ ? 0 : 1);
  quantised_ = has_quantized_weights(node_);
  const int64_t columns = quantised_ ? 1 : 2;
  input_ = w.dim(columns).is_const() ? w.dim(columns) : x.dim(2);
  hidden_ = r.dim(columns).is_const() ? r.dim(columns) : Dim(node_.attr_int("hidden_size", 0));
  if (!hidden_.is_const() || hidden_.value() < 1 || hidden_.value() > INT32_MAX)
    return error(Code::kUnsupported, "hidden_size is not known");
  TENON_ASSIGN_OR_RETURN(activations_, read_activations(node_, cell_, directions_));
  return read_mask();
}

Status Decomposition::read_mask() {
  if (!node_.has_input(4)) return {};
  const std::optional<std::vector<int64_t>> lengths = constant_ints(node_.input(4));
  if (!lengths || !steps_.is_const() || !batch_.is_const(static_cast<int64_t>(lengths->size()))) return mask_of_data();
  const int64_t steps = steps_.value();
  bool full = true;
  for (int64_t length : *lengths) {
    if (length < 0 || length > steps) return error(Code::kUnsupported, "sequence_lens is out of range");
    full = full && length == steps;
  }
  if (full) return {};
  if (steps > kMaxMask / static_cast<int64_t>(lengths->size())) return error(Code::kUnsupported, "the sequence is too long for a mask");
  TENON_ASSIGN_OR_RETURN(Tensor mask, Tensor::zeros(DType::kBool, {steps, static_cast<int64_t>(lengths->size()), 1}));
  for (int64_t i = 0; i < mask.size(); ++i)
    mask.set_int(i, i / static_cast<int64_t>(lengths->size()) < (*lengths)[static_cast<size_t>(i) % lengths->size()]);
  mask_ = b_.constant(std::move(mask));
  return b_.status();
}

/// A length outside of 0…steps is an index outside of the numbers up to steps; as an unsigned number, a negative one, too.
Status Decomposition::mask_of_data() {
  Value *zero = b_.constant(Tensor::scalar<int64_t>(0)), *one = b_.constant(Tensor::scalar<int64_t>(1));
  Value *step = b_.make("Range", {zero, s_.dim_scalar(steps_), one}), *numbers = b_.make("Range", {zero, s_.dim_scalar(steps_ + 1), one});
  Value* given = s_.cast(s_.cast(node_.input(4), DType::kU32), DType::kI64);
  Value* lengths = s_.reshape(b_.make("Gather", {numbers, given}), {batch_, 1});
  mask_ = b_.make("Less", {s_.reshape(step, {steps_, 1, 1}), lengths});
  return b_.status();
}

Value* Decomposition::part(Value* v, int64_t d) {
  if (v == nullptr) return nullptr;
  if (directions_ > 1) v = s_.slice(v, 0, d, d + 1);
  if (v == nullptr) return nullptr;
  const Dims& dims = *v->tensor().dims;
  return s_.reshape(v, Dims(dims.begin() + 1, dims.end()));
}

Value* Decomposition::state(int i, int64_t d) {
  Value* v = operand(i);
  if (v == nullptr) return s_.expand(b_.scalar(dtype_, 0), {batch_, hidden_});
  if (batch_first_) v = s_.transpose(v, {1, 0, 2});
  if (directions_ > 1) v = s_.slice(v, 0, d, d + 1);
  return s_.reshape(v, {batch_, hidden_});
}

/// Weights of a direction as [rows, gates × hidden].
Value* Decomposition::matrix(int i, int64_t d, Dim rows) {
  const Dim width = hidden_ * gates_;
  if (quantised_) return s_.reshape(part(node_.input(i), d), {rows, width});
  return s_.transpose(s_.reshape(part(operand(i), d), {width, rows}), {1, 0});
}

Levels Decomposition::levels(int i, int64_t d) {
  const auto one_a_column = [&](Value* v) {
    if (v == nullptr) return v;
    const int64_t rank = v->tensor().rank();
    return rank == 2 ? part(v, d) : s_.reshape(directions_ > 1 ? s_.slice(v, 0, d, d + 1) : v, {});
  };
  if (!quantised_) return {};
  return {one_a_column(node_.input(i)), node_.has_input(i + 1) ? one_a_column(node_.input(i + 1)) : nullptr};
}

Weights Decomposition::weights(int64_t d) {
  Weights w;
  const Dim width = hidden_ * gates_;
  w.of_input = levels(8, d), w.of_recurrent = levels(10, d);
  w.input = matrix(1, d, input_);
  w.recurrent = matrix(2, d, hidden_);
  const bool gru = cell_ == Cell::kGru, split = gru && !reset_after_;
  if (split) {
    w.candidate = gate(s_, w.recurrent, 2);
    w.recurrent = gate(s_, w.recurrent, 0, 2);
  }
  if (Value* bias = part(operand(3), d)) {
    Value *of_input = s_.slice(bias, 0, 0, width), *of_recurrent = s_.slice(bias, 0, width, width * 2);
    if (gru && reset_after_) {
      w.candidate_bias = s_.slice(of_recurrent, 0, hidden_ * 2, width);
      Value* gates = s_.add(s_.slice(of_input, 0, 0, hidden_ * 2), s_.slice(of_recurrent, 0, 0, hidden_ * 2));
      w.bias = s_.concat({gates, s_.slice(of_input, 0, hidden_ * 2, width)}, 0);
    } else {
      w.bias = s_.add(of_input, of_recurrent);
    }
  }
  if (cell_ == Cell::kLstm)
    if (Value* p = part(operand(7), d)) {
      w.peephole_i = s_.slice(p, 0, 0, hidden_);
      w.peephole_o = s_.slice(p, 0, hidden_, hidden_ * 2);
      w.peephole_f = s_.slice(p, 0, hidden_ * 2, hidden_ * 3);
    }
  return w;
}

// ---- One step (ONNX LSTM, GRU and RNN, "Equations")

Value* Decomposition::clipped(Steps& s, Value* x) const {
  if (!(clip_ > 0)) return x;
  return s.builder().make("Clip", {x, s.like(x, -clip_), s.like(x, clip_)});
}

Value* Decomposition::activate(Steps& s, int64_t d, size_t slot, Value* x) const {
  const Activation& a = activations_[static_cast<size_t>(d) * (activations_.size() / static_cast<size_t>(directions_)) + slot];
  Builder& b = s.builder();
  switch (a.kind) {
    case Activation::kSigmoid: return s.unary("Sigmoid", x);
    case Activation::kTanh: return s.unary("Tanh", x);
    case Activation::kRelu: return s.unary("Relu", x);
    case Activation::kAffine: return s.add(s.mul(x, a.alpha), a.beta);
    case Activation::kLeakyRelu: return b.make("LeakyRelu", {x}, {{"alpha", a.alpha}});
    case Activation::kThresholdedRelu: return b.make("ThresholdedRelu", {x}, {{"alpha", a.alpha}});
    case Activation::kScaledTanh: return s.mul(s.unary("Tanh", s.mul(x, a.beta)), a.alpha);
    case Activation::kHardSigmoid: return b.make("HardSigmoid", {x}, {{"alpha", a.alpha}, {"beta", a.beta}});
    case Activation::kElu: return b.make("Elu", {x}, {{"alpha", a.alpha}});
    case Activation::kSoftsign: return s.unary("Softsign", x);
    case Activation::kSoftplus: return s.unary("Softplus", x);
  }
  return x;
}

State Decomposition::lstm_step(Steps& s, const Weights& w, int64_t d, Value* x, State before) const {
  Value* sum = s.add(product(s, before.h, w.recurrent, w.of_recurrent), x);
  Value *i = gate(s, sum, 0), *o = gate(s, sum, 1), *f = gate(s, sum, 2), *g = gate(s, sum, 3);
  if (w.peephole_i != nullptr) {
    i = s.add(i, s.mul(w.peephole_i, before.c));
    f = s.add(f, s.mul(w.peephole_f, before.c));
  }
  i = activate(s, d, 0, clipped(s, i));
  f = coupled_ ? s.sub(s.like(i, 1), i) : activate(s, d, 0, clipped(s, f));
  State after;
  after.c = s.add(s.mul(f, before.c), s.mul(i, activate(s, d, 1, clipped(s, g))));
  if (w.peephole_o != nullptr) o = s.add(o, s.mul(w.peephole_o, after.c));
  after.h = s.mul(activate(s, d, 0, clipped(s, o)), activate(s, d, 2, after.c));
  return after;
}

Value* Decomposition::gru_step(Steps& s, const Weights& w, int64_t d, Value* x, Value* h) const {
  Value* product = s.matmul(h, w.recurrent);
  Value *z = s.add(gate(s, x, 0), gate(s, product, 0)), *r = s.add(gate(s, x, 1), gate(s, product, 1));
  z = activate(s, d, 0, clipped(s, z));
  r = activate(s, d, 0, clipped(s, r));
  Value* candidate = nullptr;
  if (reset_after_) {
    candidate = gate(s, product, 2);
    if (w.candidate_bias != nullptr) candidate = s.add(candidate, w.candidate_bias);
    candidate = s.mul(r, candidate);
  } else {
    candidate = s.matmul(s.mul(r, h), w.candidate);
  }
  Value* g = activate(s, d, 1, clipped(s, s.add(gate(s, x, 2), candidate)));
  return s.add(s.mul(s.sub(s.like(z, 1), z), g), s.mul(z, h));
}

State Decomposition::step(Steps& s, const Weights& w, int64_t d, Value* x, State before) const {
  if (cell_ == Cell::kLstm) return lstm_step(s, w, d, x, before);
  if (cell_ == Cell::kGru) return {gru_step(s, w, d, x, before.h), nullptr};
  return {activate(s, d, 0, clipped(s, s.add(s.matmul(before.h, w.recurrent), x))), nullptr};
}

// ---- All steps

Status Decomposition::fill_step(Graph& region, const Weights& w, int64_t d, Dim width) {
  const auto input = [&](const char* name, DType dtype, Dims dims) {
    return region.add_input(region.unique_name(name), TensorType(dtype, std::move(dims)));
  };
  State before;
  before.h = input("h", dtype_, {batch_, hidden_});
  if (cell_ == Cell::kLstm) before.c = input("c", dtype_, {batch_, hidden_});
  Value* x = input("x", dtype_, {batch_, width});
  Value* goes_on = mask_ != nullptr ? input("goes_on", DType::kBool, {batch_, 1}) : nullptr;
  Builder builder(region);
  Steps s(node_, builder);
  State after = step(s, w, d, x, before);
  Value* y = after.h;
  if (goes_on != nullptr) {
    y = builder.make("Where", {goes_on, after.h, s.like(after.h, 0)});
    after.h = builder.make("Where", {goes_on, after.h, before.h});
    if (after.c != nullptr) after.c = builder.make("Where", {goes_on, after.c, before.c});
  }
  TENON_RETURN_IF_ERROR(builder.status());
  region.add_output(after.h);
  if (after.c != nullptr) region.add_output(after.c);
  region.add_output(y);
  return {};
}

State Decomposition::scan(const Weights& w, int64_t d, Value* projected, State initial, bool reverse, Value*& y) {
  std::vector<Value*> inputs{initial.h};
  if (initial.c != nullptr) inputs.push_back(initial.c);
  const int states = static_cast<int>(inputs.size());
  inputs.push_back(projected);
  if (mask_ != nullptr) inputs.push_back(mask_);
  const int64_t scans = std::ssize(inputs) - states;
  const std::vector<int64_t> directions(static_cast<size_t>(scans), reverse);
  const std::vector<Value*> results =
      b_.make_region("Scan", inputs, states + 1,
                     {{"num_scan_inputs", scans}, {"scan_input_directions", directions}, {"scan_output_directions", std::vector<int64_t>{reverse}}},
                     [&](Graph& region) { return fill_step(region, w, d, hidden_ * gates_); });
  y = results.back();
  return {results[0], initial.c != nullptr ? results[1] : nullptr};
}

State Decomposition::direction(int64_t d, Value*& y) {
  const Weights w = weights(d);
  const Dim width = hidden_ * gates_;
  const bool reverse = reverse_first_ || d == 1;
  Value* x = x_;
  if (quantised_ && mask_ != nullptr) {
    // The range of the inputs is that of the steps that some sequence has, in reverse of those that its own has.
    const std::vector<int64_t> batch = {1};
    x = b_.make("Where", {reverse ? mask_ : s_.reduce("ReduceMax", mask_, batch), x, s_.like(x, 0)});
  }
  Value* projected = product(s_, s_.reshape(x, {steps_ * batch_, input_}), w.input, w.of_input);
  if (w.bias != nullptr) projected = s_.add(projected, w.bias);
  State initial{state(5, d), cell_ == Cell::kLstm ? state(6, d) : nullptr};
  if (steps_.is_const(1) && mask_ == nullptr) {
    const State after = step(s_, w, d, s_.reshape(projected, {batch_, width}), initial);
    y = s_.reshape(after.h, {1, batch_, hidden_});
    return after;
  }
  return scan(w, d, s_.reshape(projected, {steps_, batch_, width}), initial, reverse, y);
}

Result<std::vector<Value*>> Decomposition::run() {
  x_ = operand(0);
  if (batch_first_) x_ = s_.transpose(x_, {1, 0, 2});
  Value *y = nullptr, *h = nullptr, *c = nullptr;
  const auto append = [&](Value*& all, Value* one, int64_t axis) { all = all == nullptr ? one : s_.concat({all, one}, axis); };
  for (int64_t d = 0; d < directions_; ++d) {
    Value* of_direction = nullptr;
    const State last = direction(d, of_direction);
    TENON_RETURN_IF_ERROR(b_.status());
    append(y, s_.reshape(of_direction, {steps_, 1, batch_, hidden_}), 1);
    append(h, s_.reshape(last.h, {1, batch_, hidden_}), 0);
    if (last.c != nullptr) append(c, s_.reshape(last.c, {1, batch_, hidden_}), 0);
  }
  std::vector<Value*> values{batch_first_ ? s_.transpose(y, {2, 0, 1, 3}) : y};
  for (Value* v : {h, c})
    if (std::ssize(values) < node_.num_outputs()) values.push_back(v != nullptr && batch_first_ ? s_.transpose(v, {1, 0, 2}) : v);
  for (Value*& v : values) v = s_.cast(v, node_.input(0)->dtype());
  return s_.done(std::move(values));
}

}  // namespace

Result<std::vector<Value*>> decompose_recurrent(Node& node, Builder& builder) {
  Decomposition decomposition(node, builder);
  TENON_RETURN_IF_ERROR(decomposition.read());
  return decomposition.run();
}

}  // namespace tenon::ir
