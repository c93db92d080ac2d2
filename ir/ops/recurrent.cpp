#include <algorithm>
#include <array>
#include <cmath>

#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"
#include "ir/ops/recurrent.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;

}  // namespace

bool has_quantized_weights(const Node& node) { return node.op().name == "DynamicQuantizeLSTM"; }

Cell cell_of(const Node& node) {
  if (node.op().name == "LSTM" || has_quantized_weights(node)) return Cell::kLstm;
  return node.op().name == "GRU" ? Cell::kGru : Cell::kRnn;
}
int gates_of(Cell cell) { return cell == Cell::kLstm ? 4 : cell == Cell::kGru ? 3 : 1; }

namespace {

// ---- Inference

Status check_options(InferContext& c, int64_t& directions) {
  std::string direction = c.node().attr_string("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    return c.fail("attribute direction is \"{}\"", direction);
  directions = direction == "bidirectional" ? 2 : 1;
  int64_t layout = c.node().attr_int("layout", 0);
  if (layout != 0 && layout != 1) return c.fail("attribute layout is {}; it must be 0 or 1", layout);
  return {};
}

Status infer_recurrent(InferContext& c) {
  Cell cell = cell_of(c.node());
  int64_t directions = 1;
  TENON_RETURN_IF_ERROR(check_options(c, directions));
  for (int i : {0, 1, 2}) TENON_RETURN_IF_ERROR(require_rank(c, i, 3));
  TENON_RETURN_IF_ERROR(require_rank(c, 3, 2));
  TENON_RETURN_IF_ERROR(require_rank(c, 4, 1));
  for (int i : {5, 6}) TENON_RETURN_IF_ERROR(require_rank(c, i, 3));
  int outputs = c.node().num_outputs();
  if (!c.ranked(0)) {
    for (int o = 0; o < outputs; ++o) c.set(o, unranked(c.dtype(0)));
    return {};
  }
  Dim hidden = c.node().attr_int("hidden_size", -1);
  if (!c.node().attrs().has("hidden_size")) hidden = c.ranked(2) ? c.shape(2)[has_quantized_weights(c.node()) ? 1 : 2] : c.fresh_dim(0, 3);
  if (bounds(hidden).hi <= 0) return c.fail("attribute hidden_size is {}; it must be positive", to_string(hidden));
  const size_t rows = has_quantized_weights(c.node()) ? 2 : 1, columns = 3 - rows;
  if (c.ranked(1)) {
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[0], directions, "W and the number of directions"));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[rows], hidden * gates_of(cell), "W and gates x hidden_size"));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[columns], c.shape(0)[2], "W and the input size"));
  }
  if (c.ranked(2)) {
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(2)[0], directions, "R and the number of directions"));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(2)[rows], hidden * gates_of(cell), "R and gates x hidden_size"));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(2)[columns], hidden, "R and hidden_size"));
  }
  bool batch_first = c.node().attr_int("layout", 0) == 1;
  Dim steps = c.shape(0)[batch_first ? 1 : 0], batch = c.shape(0)[batch_first ? 0 : 1];
  const auto require_shape = [&](int i, const Dims& want, std::string_view what) -> Status {
    for (size_t k = 0; c.has(i) && c.ranked(i) && k < want.size(); ++k) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(i)[k], want[k], what));
    return {};
  };
  const Dims state = batch_first ? Dims{batch, directions, hidden} : Dims{directions, batch, hidden};
  TENON_RETURN_IF_ERROR(require_shape(3, {directions, hidden * gates_of(cell) * 2}, "an axis of B and what it must be"));
  TENON_RETURN_IF_ERROR(require_shape(4, {batch}, "sequence_lens and the batch"));
  TENON_RETURN_IF_ERROR(require_shape(5, state, "an axis of initial_h and what it must be"));
  if (cell == Cell::kLstm) {
    TENON_RETURN_IF_ERROR(require_shape(6, state, "an axis of initial_c and what it must be"));
    TENON_RETURN_IF_ERROR(require_rank(c, 7, 2));
    TENON_RETURN_IF_ERROR(require_shape(7, {directions, hidden * 3}, "an axis of P and what it must be"));
  }
  c.set(0, tensor_of(c.dtype(0), batch_first ? Dims{batch, steps, directions, hidden} : Dims{steps, directions, batch, hidden}));
  for (int o = 1; o < outputs; ++o)
    c.set(o, tensor_of(c.dtype(0), batch_first ? Dims{batch, directions, hidden} : Dims{directions, batch, hidden}));
  return {};
}

// ---- Activations (ONNX RNN, "Activation functions")

struct ActivationRow {
  std::string_view name;
  Activation::Kind kind;
  int parameters;
  double alpha, beta;
};
constexpr ActivationRow kActivations[] = {
    {"sigmoid", Activation::kSigmoid, 0, 0, 0},          {"tanh", Activation::kTanh, 0, 0, 0},
    {"relu", Activation::kRelu, 0, 0, 0},                {"affine", Activation::kAffine, 2, 1, 0},
    {"leakyrelu", Activation::kLeakyRelu, 1, 0.01, 0},   {"thresholdedrelu", Activation::kThresholdedRelu, 1, 1, 0},
    {"scaledtanh", Activation::kScaledTanh, 2, 1, 1},    {"hardsigmoid", Activation::kHardSigmoid, 2, 0.2, 0.5},
    {"elu", Activation::kElu, 1, 1, 0},                  {"softsign", Activation::kSoftsign, 0, 0, 0},
    {"softplus", Activation::kSoftplus, 0, 0, 0},
};

template <class T>
T sigmoid_of(T x) { return T{1} / (T{1} + std::exp(-x)); }

template <class T>
T activate(const Activation& a, T x) {
  T alpha = static_cast<T>(a.alpha), beta = static_cast<T>(a.beta);
  switch (a.kind) {
    case Activation::kSigmoid: return sigmoid_of(x);
    case Activation::kTanh: return std::tanh(x);
    case Activation::kRelu: return x <= 0 ? T{0} : x;  // NaN stays
    case Activation::kAffine: return alpha * x + beta;
    case Activation::kLeakyRelu: return x >= 0 ? x : alpha * x;
    case Activation::kThresholdedRelu: return x > alpha ? x : T{0};
    case Activation::kScaledTanh: return alpha * std::tanh(beta * x);
    case Activation::kHardSigmoid: return std::min(std::max(alpha * x + beta, T{0}), T{1});
    case Activation::kElu: return x >= 0 ? x : alpha * std::expm1(x);
    case Activation::kSoftsign: return x / (T{1} + std::abs(x));
    case Activation::kSoftplus: return std::max(x, T{0}) + std::log1p(std::exp(-std::abs(x)));
  }
  return x;
}

}  // namespace

Result<std::vector<Activation>> read_activations(const Node& node, Cell cell, int64_t directions) {
  std::vector<std::string> names = node.attr_strings("activations");
  std::vector<double> alphas = node.attr_floats("activation_alpha"), betas = node.attr_floats("activation_beta");
  std::vector<std::string> fallback = cell == Cell::kLstm  ? std::vector<std::string>{"Sigmoid", "Tanh", "Tanh"}
                                      : cell == Cell::kGru ? std::vector<std::string>{"Sigmoid", "Tanh"}
                                                           : std::vector<std::string>{"Tanh"};
  size_t wanted = fallback.size() * static_cast<size_t>(directions);
  if (names.empty())
    for (int64_t d = 0; d < directions; ++d) names.insert(names.end(), fallback.begin(), fallback.end());
  if (names.size() != wanted) return error(Code::kInvalidModel, "attribute activations has {} names where {} are needed", names.size(), wanted);
  std::vector<Activation> out;
  size_t next_alpha = 0, next_beta = 0;
  for (std::string name : names) {
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char ch) { return static_cast<char>(std::tolower(ch)); });
    auto row = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const ActivationRow& r) { return r.name == name; });
    if (row == std::end(kActivations)) return error(Code::kInvalidModel, "activation \"{}\" is not known", name);
    Activation a{row->kind, row->alpha, row->beta};
    if (row->parameters > 0 && next_alpha < alphas.size()) a.alpha = alphas[next_alpha++];
    if (row->parameters > 1 && next_beta < betas.size()) a.beta = betas[next_beta++];
    out.push_back(a);
  }
  return out;
}

// ---- Evaluation

namespace {

template <class T>
std::vector<T> values_of(const Tensor& t) {
  if constexpr (std::is_same_v<T, float>) return floats_of(t);
  else return doubles_of(t);
}

/// out[m, n] (+)= sum_k a[m, k] b[n, k], rows contiguous. Eight partial sums keep the loop vectorised in a fixed order.
template <class T>
void multiply_rows(const T* a, size_t m, const T* b, size_t n, size_t k, T* out, bool accumulate) {
  constexpr size_t kLanes = 8;
  for (size_t j = 0; j < n; ++j) {
    const T* row = b + j * k;
    for (size_t i = 0; i < m; ++i) {
      const T* x = a + i * k;
      std::array<T, kLanes> lanes{};
      size_t p = 0;
      for (; p + kLanes <= k; p += kLanes)
        for (size_t l = 0; l < kLanes; ++l) lanes[l] += x[p + l] * row[p + l];
      T sum = 0;
      for (; p < k; ++p) sum += x[p] * row[p];
      for (T lane : lanes) sum += lane;
      out[i * n + j] = accumulate ? out[i * n + j] + sum : sum;
    }
  }
}

/// A recurrent op's operands in one layout (steps, batch, …), and its options.
template <class T>
struct Problem {
  Cell cell;
  size_t steps, batch, input, hidden, directions, gates;
  bool reverse_first, coupled, reset_after;
  double clip;
  std::vector<Activation> activations;
  std::vector<int64_t> lengths;
  std::vector<T> x, w, r, b, h0, c0, peephole;
  std::vector<T> y, h_last, c_last;  // [steps, directions, batch, hidden], [directions, batch, hidden]
};

/// The layers' state while one direction runs.
template <class T>
struct Direction {
  const Problem<T>& p;
  size_t d;
  std::vector<T> xw;              // [steps × batch, gates × hidden], biases added
  std::vector<T> h, c, hr, reset;  // [batch, hidden]; hr: [batch, gates × hidden]
  const T* r() const { return p.r.data() + d * p.gates * p.hidden * p.hidden; }
  const T* recurrent_bias() const { return p.b.empty() ? nullptr : p.b.data() + (2 * d + 1) * p.gates * p.hidden; }
  const T* peephole(size_t gate) const { return p.peephole.empty() ? nullptr : p.peephole.data() + (d * 3 + gate) * p.hidden; }
  const Activation& activation(size_t slot) const { return p.activations[d * (p.activations.size() / p.directions) + slot]; }
  T clipped(T v) const {
    T limit = static_cast<T>(p.clip);
    return p.clip > 0 ? std::min(std::max(v, -limit), limit) : v;
  }
};

template <class T>
void project_inputs(Direction<T>& s) {
  const Problem<T>& p = s.p;
  size_t width = p.gates * p.hidden, rows = p.steps * p.batch;
  s.xw.resize(rows * width);
  multiply_rows(p.x.data(), rows, p.w.data() + s.d * width * p.input, width, p.input, s.xw.data(), false);
  if (p.b.empty()) return;
  const T* wb = p.b.data() + 2 * s.d * width;
  const T* rb = s.recurrent_bias();
  size_t with_recurrent = p.cell == Cell::kGru ? 2 * p.hidden : width;  // GRU adds Rbh inside its own formula
  for (size_t row = 0; row < rows; ++row)
    for (size_t j = 0; j < width; ++j) s.xw[row * width + j] += wb[j] + (j < with_recurrent ? rb[j] : T{0});
}

template <class T>
void lstm_cell(Direction<T>& s, size_t b, const T* x, const T* hr) {
  size_t n = s.p.hidden;
  const T *pi = s.peephole(0), *po = s.peephole(1), *pf = s.peephole(2);
  T *h = s.h.data() + b * n, *c = s.c.data() + b * n;
  for (size_t j = 0; j < n; ++j) {
    T i = x[j] + hr[j], o = x[n + j] + hr[n + j], f = x[2 * n + j] + hr[2 * n + j], g = x[3 * n + j] + hr[3 * n + j];
    if (pi != nullptr) i += pi[j] * c[j], f += pf[j] * c[j];
    i = activate(s.activation(0), s.clipped(i));
    f = s.p.coupled ? T{1} - i : activate(s.activation(0), s.clipped(f));
    c[j] = f * c[j] + i * activate(s.activation(1), s.clipped(g));
    if (po != nullptr) o += po[j] * c[j];
    h[j] = activate(s.activation(0), s.clipped(o)) * activate(s.activation(2), c[j]);
  }
}

template <class T>
void gru_cell(Direction<T>& s, size_t b, const T* x, const T* hr) {
  size_t n = s.p.hidden;
  T* h = s.h.data() + b * n;
  const T* rb = s.recurrent_bias();
  std::vector<T>& r = s.reset;
  for (size_t j = 0; j < n; ++j) r[j] = activate(s.activation(0), s.clipped(x[n + j] + hr[n + j]));
  std::vector<T> candidate(n);
  if (s.p.reset_after) {
    for (size_t j = 0; j < n; ++j) candidate[j] = r[j] * (hr[2 * n + j] + (rb != nullptr ? rb[2 * n + j] : T{0}));
  } else {
    for (size_t j = 0; j < n; ++j) r[j] *= h[j];
    multiply_rows(r.data(), 1, s.r() + 2 * n * n, n, n, candidate.data(), false);
    if (rb != nullptr)
      for (size_t j = 0; j < n; ++j) candidate[j] += rb[2 * n + j];
  }
  for (size_t j = 0; j < n; ++j) {
    T z = activate(s.activation(0), s.clipped(x[j] + hr[j]));
    T g = activate(s.activation(1), s.clipped(x[2 * n + j] + candidate[j]));
    h[j] = (T{1} - z) * g + z * h[j];
  }
}

template <class T>
void rnn_cell(Direction<T>& s, size_t b, const T* x, const T* hr) {
  T* h = s.h.data() + b * s.p.hidden;
  for (size_t j = 0; j < s.p.hidden; ++j) h[j] = activate(s.activation(0), s.clipped(x[j] + hr[j]));
}

template <class T>
Status run_direction(Problem<T>& p, size_t d, const Interrupt& interrupt) {
  Direction<T> s{p, d, {}, {}, {}, {}, {}};
  size_t n = p.hidden, width = p.gates * n, state = p.batch * n;
  project_inputs(s);
  s.h.assign(state, 0);
  s.c.assign(state, 0);
  s.hr.resize(p.batch * width);
  s.reset.resize(n);
  if (!p.h0.empty()) std::copy_n(p.h0.begin() + static_cast<ptrdiff_t>(d * state), state, s.h.begin());
  if (!p.c0.empty()) std::copy_n(p.c0.begin() + static_cast<ptrdiff_t>(d * state), state, s.c.begin());
  bool backwards = d == 1 || p.reverse_first;
  for (size_t step = 0; step < p.steps; ++step) {
    TENON_RETURN_IF_ERROR(interrupt.check());
    multiply_rows(s.h.data(), p.batch, s.r(), width, n, s.hr.data(), false);
    for (size_t b = 0; b < p.batch; ++b) {
      size_t length = p.lengths.empty() ? p.steps : static_cast<size_t>(p.lengths[b]);
      if (step >= length) continue;
      size_t t = backwards ? length - 1 - step : step;
      const T* x = s.xw.data() + (t * p.batch + b) * width;
      const T* hr = s.hr.data() + b * width;
      if (p.cell == Cell::kLstm) lstm_cell(s, b, x, hr);
      else if (p.cell == Cell::kGru) gru_cell(s, b, x, hr);
      else rnn_cell(s, b, x, hr);
      std::copy_n(s.h.begin() + static_cast<ptrdiff_t>(b * n), n,
                  p.y.begin() + static_cast<ptrdiff_t>(((t * p.directions + d) * p.batch + b) * n));
    }
  }
  std::copy(s.h.begin(), s.h.end(), p.h_last.begin() + static_cast<ptrdiff_t>(d * state));
  if (p.cell == Cell::kLstm) std::copy(s.c.begin(), s.c.end(), p.c_last.begin() + static_cast<ptrdiff_t>(d * state));
  return {};
}

/// [a, b, n] to [b, a, n].
template <class T>
std::vector<T> swap_leading(const std::vector<T>& v, size_t a, size_t b, size_t n) {
  std::vector<T> out(v.size());
  for (size_t i = 0; i < a; ++i)
    for (size_t j = 0; j < b; ++j)
      std::copy_n(v.begin() + static_cast<ptrdiff_t>((i * b + j) * n), n, out.begin() + static_cast<ptrdiff_t>((j * a + i) * n));
  return out;
}

Status check_shape(const EvalContext& c, int i, const Shape& want) {
  if (!c.has(i) || c.tensor(i).shape() == want) return {};
  return eval_error(c, Code::kInvalidArgument, "input {} has shape {} where {} is needed", i, tenon::to_string(c.tensor(i).shape()), tenon::to_string(want));
}

template <class T>
Status fill_problem(EvalContext& c, Problem<T>& p) {
  const Tensor &x = c.tensor(0), &w = c.tensor(1), &r = c.tensor(2);
  std::string direction = c.node.attr_string("direction", "forward");
  bool batch_first = c.node.attr_int("layout", 0) == 1;
  if (x.rank() != 3 || w.rank() != 3 || r.rank() != 3) return eval_error(c, Code::kInvalidArgument, "X, W and R must have rank 3");
  p.cell = cell_of(c.node);
  p.directions = direction == "bidirectional" ? 2 : 1;
  p.reverse_first = direction == "reverse";
  p.gates = static_cast<size_t>(gates_of(p.cell));
  p.steps = static_cast<size_t>(x.dim(batch_first ? 1 : 0));
  p.batch = static_cast<size_t>(x.dim(batch_first ? 0 : 1));
  p.input = static_cast<size_t>(x.dim(2));
  p.hidden = static_cast<size_t>(r.dim(2));
  p.coupled = c.node.attr_int("input_forget", 0) != 0;
  p.reset_after = c.node.attr_int("linear_before_reset", 0) != 0;
  p.clip = c.node.attr_float("clip", 0);
  int64_t dirs = static_cast<int64_t>(p.directions), hidden = r.dim(2), batch = static_cast<int64_t>(p.batch);
  Dim width = Dim(hidden) * gates_of(p.cell), biases = width * 2;
  if (!biases.is_valid()) return eval_error(c, Code::kInvalidArgument, "R is too large");
  TENON_RETURN_IF_ERROR(check_shape(c, 1, {dirs, width.value(), x.dim(2)}));
  TENON_RETURN_IF_ERROR(check_shape(c, 2, {dirs, width.value(), hidden}));
  TENON_RETURN_IF_ERROR(check_shape(c, 3, {dirs, biases.value()}));
  TENON_RETURN_IF_ERROR(check_shape(c, 4, {batch}));
  Shape state = batch_first ? Shape{batch, dirs, hidden} : Shape{dirs, batch, hidden};
  TENON_RETURN_IF_ERROR(check_shape(c, 5, state));
  if (p.cell == Cell::kLstm) {
    TENON_RETURN_IF_ERROR(check_shape(c, 6, state));
    TENON_RETURN_IF_ERROR(check_shape(c, 7, {dirs, hidden * 3}));
  }
  auto state_values = [&](int i) {
    std::vector<T> v = values_of<T>(c.tensor(i));
    return batch_first ? swap_leading(v, p.batch, p.directions, p.hidden) : v;
  };
  p.x = values_of<T>(x);
  if (batch_first) p.x = swap_leading(p.x, p.batch, p.steps, p.input);
  p.w = values_of<T>(w);
  p.r = values_of<T>(r);
  if (c.has(3)) p.b = values_of<T>(c.tensor(3));
  if (c.has(4)) p.lengths = ints_of(c.tensor(4));
  for (int64_t length : p.lengths)
    if (length < 0 || length > static_cast<int64_t>(p.steps))
      return eval_error(c, Code::kOutOfRange, "sequence_lens holds {}, which is outside [0, {}]", length, p.steps);
  if (c.has(5)) p.h0 = state_values(5);
  if (p.cell == Cell::kLstm && c.has(6)) p.c0 = state_values(6);
  if (p.cell == Cell::kLstm && c.has(7)) p.peephole = values_of<T>(c.tensor(7));
  Result<std::vector<Activation>> activations = read_activations(c.node, p.cell, dirs);
  if (!activations.ok()) return std::move(activations).status().at(c.node.name());
  p.activations = std::move(*activations);
  return {};
}

template <class T>
void store_values(Tensor& t, const std::vector<T>& v) {
  if constexpr (std::is_same_v<T, float>) store_floats(t, v);
  else store_doubles(t, v);
}

template <class T>
Status eval_as(EvalContext& c) {
  Problem<T> p;
  TENON_RETURN_IF_ERROR(fill_problem(c, p));
  bool batch_first = c.node.attr_int("layout", 0) == 1;
  int64_t steps = static_cast<int64_t>(p.steps), dirs = static_cast<int64_t>(p.directions), batch = static_cast<int64_t>(p.batch),
          hidden = static_cast<int64_t>(p.hidden);
  Dim scratch = product(Dims{steps, batch, static_cast<int64_t>(p.gates), hidden, 8});
  if (!scratch.is_valid() || scratch.value() > c.max_bytes) return eval_error(c, Code::kResourceExhausted, "the sequence is too large");
  Shape y_shape = batch_first ? Shape{batch, steps, dirs, hidden} : Shape{steps, dirs, batch, hidden};
  Shape h_shape = batch_first ? Shape{batch, dirs, hidden} : Shape{dirs, batch, hidden};
  DType dtype = c.tensor(0).dtype();
  TENON_ASSIGN_OR_RETURN(Tensor* y, c.allocate(0, dtype, y_shape));
  p.y.resize(static_cast<size_t>(y->size()));
  p.h_last.resize(p.directions * p.batch * p.hidden);
  p.c_last.resize(p.cell == Cell::kLstm ? p.h_last.size() : 0);
  for (size_t d = 0; d < p.directions; ++d) TENON_RETURN_IF_ERROR(run_direction(p, d, c.interrupt));
  if (batch_first) {
    std::vector<T> swapped(p.y.size());
    for (size_t t = 0; t < p.steps; ++t)
      for (size_t d = 0; d < p.directions; ++d)
        for (size_t b = 0; b < p.batch; ++b)
          std::copy_n(p.y.begin() + static_cast<ptrdiff_t>(((t * p.directions + d) * p.batch + b) * p.hidden), p.hidden,
                      swapped.begin() + static_cast<ptrdiff_t>(((b * p.steps + t) * p.directions + d) * p.hidden));
    p.y = std::move(swapped);
    p.h_last = swap_leading(p.h_last, p.directions, p.batch, p.hidden);
    if (!p.c_last.empty()) p.c_last = swap_leading(p.c_last, p.directions, p.batch, p.hidden);
  }
  store_values(*y, p.y);
  for (int o = 1; o < c.node.num_outputs() && o < 3; ++o) {
    TENON_ASSIGN_OR_RETURN(Tensor* last, c.allocate(o, dtype, h_shape));
    if (o == 1) store_values(*last, p.h_last);
    else if (!p.c_last.empty()) store_values(*last, p.c_last);
  }
  return {};
}

Status eval_recurrent(EvalContext& c) {
  return c.tensor(0).dtype() == DType::kF64 ? eval_as<double>(c) : eval_as<float>(c);
}

OpDef recurrent(std::string_view name, std::vector<Param> more_inputs, std::vector<Param> more_outputs, std::vector<AttrDef> more_attrs,
                std::string_view doc) {
  OpDef def{.domain = "", .name = name,
            .inputs = {{"X", "T", kReal}, {"W", "T", kReal}, {"R", "T", kReal}, {"B", "T", kReal, true},
                       {"sequence_lens", "T1", dtypes(DType::kI32), true}, {"initial_h", "T", kReal, true}},
            .outputs = {{"Y", "T", kReal, true}, {"Y_h", "T", kReal, true}},
            .attrs = {{"activation_alpha", AttrKind::kFloats}, {"activation_beta", AttrKind::kFloats}, {"activations", AttrKind::kStrings},
                      {"clip", AttrKind::kFloat}, {"direction", AttrKind::kString, false, "forward"}, {"hidden_size", AttrKind::kInt},
                      {"layout", AttrKind::kInt, false, "0"}},
            .infer = infer_recurrent, .compute = {.decompose = decompose_recurrent, .eval = eval_recurrent}, .doc = doc};
  def.inputs.insert(def.inputs.end(), more_inputs.begin(), more_inputs.end());
  def.outputs.insert(def.outputs.end(), more_outputs.begin(), more_outputs.end());
  def.attrs.insert(def.attrs.end(), more_attrs.begin(), more_attrs.end());
  if (name == "RNN") def.attrs[2].fallback = "Tanh Tanh";
  return def;
}

/// LSTM with weights [directions, inputs, gates × hidden] of bytes, each direction's or each column's with a scale and a
/// zero point.
OpDef dynamic_quantize_lstm() {
  constexpr DTypeSet kFloat = dtypes(DType::kF32), kBytes = dtypes(DType::kI8, DType::kU8);
  OpDef def = recurrent("DynamicQuantizeLSTM", {}, {{"Y_c", "T", kFloat, true}}, {{"input_forget", AttrKind::kInt, false, "0"}},
                        "LSTM whose inputs and states are quantised at run time (ONNX Runtime contrib ops).");
  def.domain = "com.microsoft";
  std::erase_if(def.attrs, [](const AttrDef& attr) { return attr.name == "layout"; });
  def.inputs = {{"X", "T", kFloat}, {"W", "T2", kBytes}, {"R", "T2", kBytes}, {"B", "T", kFloat, true},
                {"sequence_lens", "T1", dtypes(DType::kI32), true}, {"initial_h", "T", kFloat, true}, {"initial_c", "T", kFloat, true},
                {"P", "T", kFloat, true}, {"W_scale", "T", kFloat}, {"W_zero_point", "T2", kBytes}, {"R_scale", "T", kFloat},
                {"R_zero_point", "T2", kBytes}};
  def.outputs[0].types = def.outputs[1].types = kFloat;
  def.compute = {.decompose = decompose_recurrent};
  return def;
}

}  // namespace

std::vector<OpDef> recurrent_ops() {
  return {
      dynamic_quantize_lstm(),
      recurrent("RNN", {}, {}, {}, "Simple recurrent layer (ONNX RNN)."),
      recurrent("GRU", {}, {}, {{"linear_before_reset", AttrKind::kInt, false, "0"}}, "Gated recurrent unit (ONNX GRU)."),
      recurrent("LSTM", {{"initial_c", "T", kReal, true}, {"P", "T", kReal, true}}, {{"Y_c", "T", kReal, true}},
                {{"input_forget", AttrKind::kInt, false, "0"}}, "Long short-term memory (ONNX LSTM)."),
  };
}

}  // namespace tenon::ir
