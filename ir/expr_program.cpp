#include "ir/expr_program.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "support/checked.h"
#include "support/float_types.h"

namespace tenon::ir {
namespace {

constexpr int64_t kLongRun = 96;  // from this inner extent on, blocks end with the run

bool is_opaque(DType d) { return d == DType::kString || d == DType::kC64 || d == DType::kC128; }

const void* empty_element() {
  static const std::string kEmpty;
  return &kEmpty;
}
const void* zero_element() {
  static constexpr double kZero[2] = {0, 0};
  return kZero;
}

void round_lanes(DType dtype, double* v, int n) {
  switch (dtype) {
    case DType::kF64: return;
    case DType::kF32:
      for (int l = 0; l < n; ++l) v[l] = static_cast<float>(v[l]);
      return;
    case DType::kF16:
      for (int l = 0; l < n; ++l) v[l] = half_to_float(double_to_half(v[l]));
      return;
    case DType::kBF16:
      for (int l = 0; l < n; ++l) v[l] = bf16_to_float(double_to_bf16(v[l]));
      return;
    default:
      for (int l = 0; l < n; ++l) v[l] = cast_scalar({v[l], 0}, DType::kF64, dtype).f;
  }
}

void wrap_lanes(DType dtype, int64_t* v, int n) {
  switch (dtype) {
    case DType::kI64:
    case DType::kU64: return;
    case DType::kI32:
      for (int l = 0; l < n; ++l) v[l] = static_cast<int32_t>(v[l]);
      return;
    default:
      for (int l = 0; l < n; ++l) v[l] = cast_scalar({0, v[l]}, DType::kI64, dtype).i;
  }
}

bool fast_float(ScalarOp op, DType dtype, const double* a, const double* b, double* out, int n) {
  const auto each = [&](auto fn) {
    for (int l = 0; l < n; ++l) out[l] = fn(a[l], b[l]);
    round_lanes(dtype, out, n);
    return true;
  };
  switch (op) {
    case ScalarOp::kAdd: return each([](double x, double y) { return x + y; });
    case ScalarOp::kSub: return each([](double x, double y) { return x - y; });
    case ScalarOp::kMul: return each([](double x, double y) { return x * y; });
    case ScalarOp::kDiv: return each([](double x, double y) { return x / y; });
    case ScalarOp::kMax: return each([](double x, double y) { return x > y || x != x ? x : y; });
    case ScalarOp::kMin: return each([](double x, double y) { return x < y || x != x ? x : y; });
    case ScalarOp::kNeg: return each([](double x, double) { return -x; });
    case ScalarOp::kAbs: return each([](double x, double) { return std::fabs(x); });
    case ScalarOp::kSqrt: return each([](double x, double) { return std::sqrt(x); });
    case ScalarOp::kExp: return each([](double x, double) { return std::exp(x); });
    case ScalarOp::kTanh: return each([](double x, double) { return std::tanh(x); });
    case ScalarOp::kErf: return each([](double x, double) { return std::erf(x); });
    default: return false;
  }
}

bool fast_compare(ScalarOp op, const double* a, const double* b, int64_t* out, int n) {
  const auto each = [&](auto fn) {
    for (int l = 0; l < n; ++l) out[l] = fn(a[l], b[l]);
    return true;
  };
  switch (op) {
    case ScalarOp::kEq: return each([](double x, double y) { return x == y; });
    case ScalarOp::kLt: return each([](double x, double y) { return x < y; });
    case ScalarOp::kLe: return each([](double x, double y) { return x <= y; });
    case ScalarOp::kGt: return each([](double x, double y) { return x > y; });
    case ScalarOp::kGe: return each([](double x, double y) { return x >= y; });
    default: return false;
  }
}

// Signed 64-bit arithmetic, and logic of bools; other dtypes wrap afterwards.
bool fast_int(ScalarOp op, DType dtype, const int64_t* a, const int64_t* b, int64_t* out, int n) {
  const auto each = [&](auto fn) {
    for (int l = 0; l < n; ++l) out[l] = fn(a[l], b[l]);
    return true;
  };
  const auto u = [](int64_t x) { return static_cast<uint64_t>(x); };
  switch (op) {
    case ScalarOp::kAdd: each([&](int64_t x, int64_t y) { return static_cast<int64_t>(u(x) + u(y)); }); break;
    case ScalarOp::kSub: each([&](int64_t x, int64_t y) { return static_cast<int64_t>(u(x) - u(y)); }); break;
    case ScalarOp::kMul: each([&](int64_t x, int64_t y) { return static_cast<int64_t>(u(x) * u(y)); }); break;
    case ScalarOp::kAnd: return each([](int64_t x, int64_t y) { return x & y; });
    case ScalarOp::kOr: return each([](int64_t x, int64_t y) { return x | y; });
    case ScalarOp::kEq: return each([](int64_t x, int64_t y) { return x == y; });
    case ScalarOp::kNe: return each([](int64_t x, int64_t y) { return x != y; });
    default:
      if (dtype == DType::kU64) return false;
      switch (op) {
        case ScalarOp::kLt: return each([](int64_t x, int64_t y) { return x < y; });
        case ScalarOp::kLe: return each([](int64_t x, int64_t y) { return x <= y; });
        case ScalarOp::kGt: return each([](int64_t x, int64_t y) { return x > y; });
        case ScalarOp::kGe: return each([](int64_t x, int64_t y) { return x >= y; });
        case ScalarOp::kMin: return each([](int64_t x, int64_t y) { return x < y ? x : y; });
        case ScalarOp::kMax: return each([](int64_t x, int64_t y) { return x < y ? y : x; });
        default: return false;
      }
  }
  wrap_lanes(dtype, out, n);
  return true;
}

void op_lanes(ScalarOp op, DType dtype, const Column* const* args, Column& out, int n) {
  if (op == ScalarOp::kSelect) {
    for (int l = 0; l < n; ++l) out.i[l] = args[0]->i[l] != 0 ? args[1]->i[l] : args[2]->i[l];
    return;
  }
  const ScalarOpInfo& row = info(op);
  const Column &a = *args[0], &b = row.arity > 1 ? *args[1] : a, &c = row.arity > 2 ? *args[2] : a;
  if (dtype == DType::kString) {
    for (int l = 0; l < n; ++l) {
      const bool equal = *static_cast<const std::string*>(a.p[l]) == *static_cast<const std::string*>(b.p[l]);
      out.i[l] = op == ScalarOp::kEq ? equal : !equal;
    }
    return;
  }
  if (is_float(dtype)) {
    if (row.result_is_bool ? fast_compare(op, a.f, b.f, out.i, n) : fast_float(op, dtype, a.f, b.f, out.f, n)) return;
  } else if (fast_int(op, dtype, a.i, b.i, out.i, n)) {
    return;
  }
  const bool float_args = is_float(dtype), float_result = float_args && !row.result_is_bool;
  for (int l = 0; l < n; ++l) {
    const Scalar in[] = {{float_args ? a.f[l] : 0, float_args ? 0 : a.i[l]},
                         {float_args ? b.f[l] : 0, float_args ? 0 : b.i[l]},
                         {float_args ? c.f[l] : 0, float_args ? 0 : c.i[l]}};
    const Scalar r = eval_scalar(op, dtype, in);
    if (float_result) out.f[l] = r.f;
    else out.i[l] = r.i;
  }
}

void cast_lanes(DType from, DType to, const Column& in, Column& out, int n) {
  if (is_float(from) && is_float(to)) {
    for (int l = 0; l < n; ++l) out.f[l] = in.f[l];
    return round_lanes(to, out.f, n);
  }
  if (from == DType::kF32 || from == DType::kF64) {
    for (int l = 0; l < n; ++l) out.i[l] = cast_scalar({in.f[l], 0}, from, to).i;
    return;
  }
  for (int l = 0; l < n; ++l) {
    const Scalar r = cast_scalar(is_float(from) ? Scalar{in.f[l], 0} : Scalar{0, in.i[l]}, from, to);
    if (is_float(to)) out.f[l] = r.f;
    else out.i[l] = r.i;
  }
}

template <class T, class Out, class Offset>
void gather(const void* data, Out* out, int n, Offset offset) {
  const T* from = static_cast<const T*>(data);
  for (int l = 0; l < n; ++l) out[l] = static_cast<Out>(from[offset(l)]);
}

// Elements at offset(l) as lanes.
template <class Offset>
void load_lanes(const Tensor& t, Column& out, int n, Offset offset) {
  const void* data = t.data();
  switch (t.dtype()) {
    case DType::kF32: return gather<float>(data, out.f, n, offset);
    case DType::kF64: return gather<double>(data, out.f, n, offset);
    case DType::kI64:
    case DType::kU64: return gather<int64_t>(data, out.i, n, offset);
    case DType::kI32: return gather<int32_t>(data, out.i, n, offset);
    case DType::kU32: return gather<uint32_t>(data, out.i, n, offset);
    case DType::kI16: return gather<int16_t>(data, out.i, n, offset);
    case DType::kU16: return gather<uint16_t>(data, out.i, n, offset);
    case DType::kI8: return gather<int8_t>(data, out.i, n, offset);
    case DType::kU8: return gather<uint8_t>(data, out.i, n, offset);
    case DType::kString:
      for (int l = 0; l < n; ++l) out.p[l] = &t.string_values()[static_cast<size_t>(offset(l))];
      return;
    case DType::kC64:
    case DType::kC128: {
      const size_t bytes = static_cast<size_t>(bits(t.dtype())) / 8;
      for (int l = 0; l < n; ++l) out.p[l] = t.data() + static_cast<size_t>(offset(l)) * bytes;
      return;
    }
    default:
      for (int l = 0; l < n; ++l) {
        const Scalar s = load_scalar(data, t.dtype(), offset(l));
        if (is_float(t.dtype())) out.f[l] = s.f;
        else out.i[l] = s.i;
      }
  }
}

std::optional<int64_t> multiply_add(std::optional<int64_t> sum, int64_t a, int64_t b) {
  const std::optional<int64_t> product = checked_mul(a, b);
  return sum && product ? checked_add(*sum, *product) : std::nullopt;
}

template <class T, class In>
void scatter(Tensor& to, int64_t start, const In* from, int n) {
  T* out = reinterpret_cast<T*>(to.mutable_data()) + start;
  for (int l = 0; l < n; ++l) out[l] = static_cast<T>(from[l]);
}

}  // namespace

void store_lanes(Tensor& to, int64_t start, const Column& lanes, int n) {
  switch (to.dtype()) {
    case DType::kF32: return scatter<float>(to, start, lanes.f, n);
    case DType::kF64: return scatter<double>(to, start, lanes.f, n);
    case DType::kI64:
    case DType::kU64: return scatter<int64_t>(to, start, lanes.i, n);
    case DType::kI32:
    case DType::kU32: return scatter<int32_t>(to, start, lanes.i, n);
    case DType::kI16:
    case DType::kU16: return scatter<int16_t>(to, start, lanes.i, n);
    case DType::kI8:
    case DType::kU8: return scatter<int8_t>(to, start, lanes.i, n);
    case DType::kString:
      for (int l = 0; l < n; ++l)
        to.mutable_strings()[static_cast<size_t>(start + l)] = *static_cast<const std::string*>(lanes.p[l]);
      return;
    case DType::kC64:
    case DType::kC128: {
      const size_t bytes = static_cast<size_t>(bits(to.dtype())) / 8;
      for (int l = 0; l < n; ++l) std::memcpy(to.mutable_data() + static_cast<size_t>(start + l) * bytes, lanes.p[l], bytes);
      return;
    }
    default:
      for (int l = 0; l < n; ++l)
        store_scalar(to.mutable_data(), to.dtype(), start + l,
                     is_float(to.dtype()) ? Scalar{lanes.f[l], 0} : Scalar{0, lanes.i[l]});
  }
}

BoxWalker::BoxWalker(std::span<const int> axes, std::span<const int64_t> extents) {
  for (int a : axes) {
    const int64_t extent = extents[static_cast<size_t>(a)];
    count_ *= extent;  // the caller has checked that the whole box is countable
    if (extent == 1) continue;
    axes_.push_back(a);
    extents_.push_back(extent);
  }
  digits_.assign(axes_.size(), 0);
  columns_.resize(axes_.size());
}

bool BoxWalker::next(Block& block) {
  if (next_ >= count_) return false;
  position_ = next_;
  if (axes_.empty()) {
    block.n = 1;
    ++next_;
    return true;
  }
  const size_t inner = axes_.size() - 1;
  if (extents_[inner] >= kLongRun || inner == 0) {
    block.n = static_cast<int>(std::min<int64_t>(kEvalLanes, extents_[inner] - digits_[inner]));
    for (size_t k = 0; k <= inner; ++k) {
      const size_t a = static_cast<size_t>(axes_[k]);
      block.value[a] = digits_[k];
      block.step[a] = k == inner;
      block.column[a] = nullptr;
    }
    digits_[inner] += block.n;
    if (digits_[inner] == extents_[inner]) advance(0);
  } else {
    block.n = static_cast<int>(std::min<int64_t>(kEvalLanes, count_ - next_));
    fill_columns(block);
  }
  next_ += block.n;
  return true;
}

// Carries from the innermost digit on.
void BoxWalker::advance(int64_t lanes) {
  size_t k = digits_.size() - 1;
  digits_[k] += lanes;
  while (k > 0 && digits_[k] >= extents_[k]) {
    digits_[k] = 0;
    ++digits_[--k];
  }
}

void BoxWalker::fill_columns(Block& block) {
  const size_t inner = axes_.size() - 1;
  for (size_t k = 0; k <= inner; ++k) {
    columns_[k].resize(kEvalLanes);
    const size_t a = static_cast<size_t>(axes_[k]);
    block.column[a] = columns_[k].data();
    block.value[a] = 0;
    block.step[a] = 0;
  }
  for (int l = 0; l < block.n;) {
    const int run = static_cast<int>(std::min<int64_t>(block.n - l, extents_[inner] - digits_[inner]));
    for (size_t k = 0; k < inner; ++k) std::fill_n(columns_[k].data() + l, run, digits_[k]);
    for (int r = 0; r < run; ++r) columns_[inner][static_cast<size_t>(l + r)] = digits_[inner] + r;
    advance(run);
    l += run;
  }
}

struct ExprProgram::Compiler {
  const ExprPool& pool;
  std::span<const int64_t> extents;
  std::span<const Tensor* const> operands;
  std::span<const std::optional<int64_t>> symbols;
  std::vector<Instr>& instrs;
  std::vector<std::optional<std::optional<Affine>>> affine_of = {};
  std::vector<int> register_of = {};

  static std::optional<Affine> combine(const Affine& a, const Affine& b, int64_t scale) {
    Affine out = a;
    const auto add = [&](int64_t& to, int64_t value) {
      const std::optional<int64_t> scaled = checked_mul(value, scale);
      const std::optional<int64_t> sum = scaled ? checked_add(to, *scaled) : std::nullopt;
      if (sum) to = *sum;
      return sum.has_value();
    };
    if (!add(out.constant, b.constant)) return std::nullopt;
    for (const auto& [axis, coefficient] : b.terms) {
      auto it = std::find_if(out.terms.begin(), out.terms.end(), [&](const auto& t) { return t.first >= axis; });
      if (it == out.terms.end() || it->first != axis) it = out.terms.insert(it, {axis, 0});
      if (!add(it->second, coefficient)) return std::nullopt;
    }
    std::erase_if(out.terms, [](const auto& t) { return t.second == 0; });
    return out;
  }

  std::optional<Affine> compute_affine(const ExprNode& n) {
    switch (n.kind) {
      case ExprKind::kConst: return Affine{n.scalar.i, {}};
      case ExprKind::kDim: {
        const Result<int64_t> value = evaluate(n.dim, symbols);
        return value.ok() ? std::optional(Affine{*value, {}}) : std::nullopt;
      }
      case ExprKind::kIndex: return Affine{0, {{n.axis, 1}}};
      case ExprKind::kOp: break;
      default: return std::nullopt;
    }
    if (n.op == ScalarOp::kAdd || n.op == ScalarOp::kSub || n.op == ScalarOp::kMul) {
      const std::optional<Affine>&a = affine(n.args[0]), &b = affine(n.args[1]);
      if (!a || !b) return std::nullopt;
      if (n.op != ScalarOp::kMul) return combine(*a, *b, n.op == ScalarOp::kAdd ? 1 : -1);
      if (b->terms.empty()) return combine(Affine{}, *a, b->constant);
      if (a->terms.empty()) return combine(Affine{}, *b, a->constant);
    }
    return std::nullopt;
  }

  const std::optional<Affine>& affine(int id) {
    std::optional<std::optional<Affine>>& slot = affine_of[static_cast<size_t>(id)];
    if (!slot) {
      const ExprNode& n = pool.node(id);
      slot = n.dtype == DType::kI64 ? compute_affine(n) : std::nullopt;
    }
    return *slot;
  }

  static uint64_t axes_of(const Affine& a) {
    uint64_t axes = 0;
    for (const auto& [axis, coefficient] : a.terms) axes |= uint64_t{1} << axis;
    return axes;
  }

  Status emit_load(const ExprNode& n, Instr& in) {
    if (n.operand < 0 || static_cast<size_t>(n.operand) >= operands.size() || operands[static_cast<size_t>(n.operand)] == nullptr)
      return error(Code::kInternal, "the op's body reads input {}, which is absent", n.operand);
    in.operand = operands[static_cast<size_t>(n.operand)];
    const Shape& shape = in.operand->shape();
    const size_t rank = n.args.size() - (n.guarded ? 2 : 0);
    if (rank != shape.size() || in.operand->dtype() != n.dtype)
      return error(Code::kInternal, "the op's body reads input {} as {} of rank {}, but it is {} {}", n.operand,
                   name(n.dtype), rank, name(in.operand->dtype()), tenon::to_string(shape));
    in.strides.assign(rank, 1);
    for (size_t k = rank; k-- > 1;) in.strides[k - 1] = in.strides[k] * std::max<int64_t>(shape[k], 1);
    std::optional<Affine> offset = Affine{};
    for (size_t k = 0; k < rank && offset; ++k) {
      const std::optional<Affine>& index = affine(n.args[k]);
      offset = index ? combine(*offset, *index, in.strides[k]) : std::nullopt;
    }
    in.guarded = n.guarded;
    in.affine = offset.has_value();
    if (offset) {
      in.axes = axes_of(*offset);
      in.offset = std::move(*offset);
    }
    for (size_t k = in.affine ? rank : 0; k < n.args.size(); ++k) {
      TENON_ASSIGN_OR_RETURN(const int r, reg(n.args[k]));
      in.args.push_back(r);
    }
    return {};
  }

  Result<int> reg(int id) {
    int& slot = register_of[static_cast<size_t>(id)];
    if (slot >= 0) return slot;
    const ExprNode& n = pool.node(id);
    Instr in{.kind = n.kind, .dtype = n.dtype, .operand_dtype = n.dtype, .op = n.op, .scalar = n.scalar};
    const bool leaf = n.kind == ExprKind::kConst || n.kind == ExprKind::kAcc;
    if (!leaf && affine(id)) {
      in.kind = ExprKind::kIndex;
      in.offset = *affine(id);
      in.axes = axes_of(in.offset);
    } else if (n.kind == ExprKind::kLoad) {
      TENON_RETURN_IF_ERROR(emit_load(n, in));
    } else if (n.kind == ExprKind::kDim) {
      TENON_RETURN_IF_ERROR(evaluate(n.dim, symbols).status());
    } else {
      for (int a : n.args) {
        TENON_ASSIGN_OR_RETURN(const int r, reg(a));
        in.args.push_back(r);
      }
      if (!n.args.empty()) in.operand_dtype = pool.node(n.args[n.op == ScalarOp::kSelect && n.kind == ExprKind::kOp]).dtype;
      if (n.kind == ExprKind::kAcc) in.axes = ~uint64_t{0};
    }
    for (int r : in.args) in.axes |= instrs[static_cast<size_t>(r)].axes;
    instrs.push_back(std::move(in));
    slot = static_cast<int>(instrs.size()) - 1;
    return slot;
  }
};

Result<ExprProgram> ExprProgram::compile(Expr root, std::span<const int64_t> extents,
                                         std::span<const Tensor* const> operands,
                                         std::span<const std::optional<int64_t>> symbols) {
  if (!root.valid()) return error(Code::kInternal, "the op's body has no expression");
  if (extents.size() > 63) return error(Code::kUnsupported, "more than 63 axes in one op");
  ExprProgram program;
  Compiler compiler{*root.pool, extents, operands, symbols, program.instrs_};
  const size_t nodes = static_cast<size_t>(root.id) + 1;
  compiler.affine_of.resize(nodes);
  compiler.register_of.assign(nodes, -1);
  for (size_t id = 0; id < nodes; ++id) {
    const ExprNode& n = root.pool->node(static_cast<int>(id));
    if (n.kind == ExprKind::kIndex && (n.axis < 0 || static_cast<size_t>(n.axis) >= extents.size()))
      return error(Code::kInternal, "the op's body uses axis {} of {}", n.axis, extents.size());
    // Args precede their users, so asking in order keeps the recursion shallow.
    compiler.affine(static_cast<int>(id));
  }
  // The same for instructions: what the root reaches and is not read as a sum of axes will be one.
  std::vector<char> reached(nodes, 0);
  reached.back() = 1;
  for (size_t id = nodes; id-- > 0;)
    if (reached[id])
      for (int a : root.pool->node(static_cast<int>(id)).args) reached[static_cast<size_t>(a)] = 1;
  for (size_t id = 0; id < nodes; ++id)
    if (reached[id] && !compiler.affine(static_cast<int>(id))) TENON_RETURN_IF_ERROR(compiler.reg(static_cast<int>(id)).status());
  TENON_RETURN_IF_ERROR(compiler.reg(root.id).status());
  program.registers_.resize(program.instrs_.size());
  return program;
}

void ExprProgram::collapse(std::span<const int> axes, std::vector<int64_t>& extents) {
  const auto coefficient = [](const Affine& a, int axis) {
    for (const auto& [term_axis, value] : a.terms)
      if (term_axis == axis) return value;
    return int64_t{0};
  };
  for (size_t k = axes.size(); k-- > 1;) {
    const int outer = axes[k - 1], inner = axes[k];
    const int64_t inner_extent = extents[static_cast<size_t>(inner)];
    bool mergeable = inner_extent > 0;
    for (const Instr& in : instrs_) {
      if (in.kind == ExprKind::kIndex || (in.kind == ExprKind::kLoad && in.affine)) {
        const int64_t c = coefficient(in.offset, inner);
        mergeable &= checked_mul(c, inner_extent) == coefficient(in.offset, outer);
      }
    }
    const std::optional<int64_t> merged = checked_mul(inner_extent, extents[static_cast<size_t>(outer)]);
    if (!mergeable || !merged) continue;
    // The outer axis takes the merged range, with the inner axis's coefficient, so that merging can go on outwards.
    extents[static_cast<size_t>(outer)] = *merged;
    extents[static_cast<size_t>(inner)] = 1;
    for (Instr& in : instrs_)
      for (auto& [axis, value] : in.offset.terms)
        if (axis == outer) value = coefficient(in.offset, inner);
  }
}

Status ExprProgram::status() const {
  if (index_error_)
    return error(Code::kOutOfRange, "index {} is outside [0, {})", bad_index_, bad_extent_).with_hint("check the indices");
  if (bounds_error_)
    return error(Code::kInvalidArgument, "the shapes of the inputs do not fit: an element outside of one would be read").with_hint("give inputs whose shapes agree");
  return {};
}

void ExprProgram::start() {
  Block block(64);
  block.n = kEvalLanes;
  for (size_t k = 0; k < instrs_.size(); ++k)
    if (instrs_[k].axes == 0) execute(instrs_[k], registers_[k], block);
}

void ExprProgram::run(const Block& block, uint64_t changed, uint64_t later) {
  for (size_t k = 0; k < instrs_.size(); ++k)
    if ((instrs_[k].axes & changed) != 0 && (instrs_[k].axes & later) == 0) execute(instrs_[k], registers_[k], block);
}

void ExprProgram::affine_column(const Affine& offset, const Block& block, int64_t* out) {
  // Unsigned: a body may state absurd strides, whose offsets wrap and then fail the check of bounds.
  uint64_t base = static_cast<uint64_t>(offset.constant), step = 0;
  for (const auto& [axis, coefficient] : offset.terms) {
    base += static_cast<uint64_t>(coefficient) * static_cast<uint64_t>(block.value[static_cast<size_t>(axis)]);
    step += static_cast<uint64_t>(coefficient) * static_cast<uint64_t>(block.step[static_cast<size_t>(axis)]);
  }
  for (int l = 0; l < block.n; ++l) out[l] = static_cast<int64_t>(base + step * static_cast<uint64_t>(l));
  for (const auto& [axis, coefficient] : offset.terms)
    if (const int64_t* column = block.column[static_cast<size_t>(axis)])
      for (int l = 0; l < block.n; ++l)
        out[l] = static_cast<int64_t>(static_cast<uint64_t>(out[l]) +
                                      static_cast<uint64_t>(coefficient) * static_cast<uint64_t>(column[l]));
}

void ExprProgram::execute(const Instr& in, Column& out, const Block& block) {
  const int n = block.n;
  const auto arg = [&](size_t i) -> const Column& { return registers_[static_cast<size_t>(in.args[i])]; };
  switch (in.kind) {
    case ExprKind::kConst:
      if (is_opaque(in.dtype)) std::fill_n(out.p, n, in.dtype == DType::kString ? empty_element() : zero_element());
      else if (is_float(in.dtype)) std::fill_n(out.f, n, in.scalar.f);
      else std::fill_n(out.i, n, in.scalar.i);
      return;
    case ExprKind::kDim:
    case ExprKind::kIndex: return affine_column(in.offset, block, out.i);
    case ExprKind::kLoad: return execute_load(in, out, block);
    case ExprKind::kCast: return cast_lanes(in.operand_dtype, in.dtype, arg(0), out, n);
    case ExprKind::kAcc:
      std::memcpy(&out, acc_, static_cast<size_t>(n) * sizeof(int64_t));
      return;
    case ExprKind::kCheckedIndex: return execute_check(in, out, n);
    case ExprKind::kOp: {
      const Column* args[3] = {};
      for (size_t i = 0; i < in.args.size(); ++i) args[i] = &arg(i);
      return op_lanes(in.op, in.operand_dtype, args, out, n);
    }
  }
}

void ExprProgram::execute_check(const Instr& in, Column& out, int n) {
  const Column &index = registers_[static_cast<size_t>(in.args[0])], &extent = registers_[static_cast<size_t>(in.args[1])];
  for (int l = 0; l < n; ++l) {
    const bool ok = index.i[l] >= 0 && index.i[l] < extent.i[l];
    out.i[l] = ok ? index.i[l] : 0;
    if (!ok && !index_error_) {
      index_error_ = true;
      bad_index_ = index.i[l];
      bad_extent_ = extent.i[l];
    }
  }
}

void ExprProgram::execute_load(const Instr& in, Column& out, const Block& block) {
  const int n = block.n;
  const int64_t size = in.operand->size();
  const bool plain = in.affine && std::all_of(in.offset.terms.begin(), in.offset.terms.end(), [&](const auto& t) {
    return block.column[static_cast<size_t>(t.first)] == nullptr;
  });
  if (plain && !in.guarded && n > 0) {
    std::optional<int64_t> first = in.offset.constant, stride = 0;
    for (const auto& [axis, coefficient] : in.offset.terms) {
      first = multiply_add(first, coefficient, block.value[static_cast<size_t>(axis)]);
      stride = multiply_add(stride, coefficient, block.step[static_cast<size_t>(axis)]);
    }
    const std::optional<int64_t> last = stride ? multiply_add(first, *stride, n - 1) : std::nullopt;
    const int64_t base = first.value_or(0), step = stride.value_or(0);
    if (!last || std::min(base, *last) < 0 || std::max(base, *last) >= size) {
      bounds_error_ = true;
      std::memset(&out, 0, sizeof(out));
      return;
    }
    if (step == 1) return load_lanes(*in.operand, out, n, [base](int l) { return base + l; });
    return load_lanes(*in.operand, out, n, [base, step](int l) { return base + step * l; });
  }

  int64_t offsets[kEvalLanes];
  if (in.affine) {
    affine_column(in.offset, block, offsets);
  } else {
    std::fill_n(offsets, n, 0);
    for (size_t k = 0; k < in.strides.size(); ++k) {
      const Column& index = registers_[static_cast<size_t>(in.args[k])];
      const uint64_t stride = static_cast<uint64_t>(in.strides[k]);
      for (int l = 0; l < n; ++l)
        offsets[l] = static_cast<int64_t>(static_cast<uint64_t>(offsets[l]) + stride * static_cast<uint64_t>(index.i[l]));
    }
  }
  const Column* guard = in.guarded ? &registers_[static_cast<size_t>(in.args[in.args.size() - 2])] : nullptr;
  bool bad = false;
  if (guard != nullptr) {
    for (int l = 0; l < n; ++l) {
      offsets[l] = guard->i[l] != 0 ? offsets[l] : 0;
      bad |= guard->i[l] != 0 && static_cast<uint64_t>(offsets[l]) >= static_cast<uint64_t>(size);
    }
  } else {
    for (int l = 0; l < n; ++l) bad |= static_cast<uint64_t>(offsets[l]) >= static_cast<uint64_t>(size);
  }
  const Column* other = guard != nullptr ? &registers_[static_cast<size_t>(in.args.back())] : nullptr;
  if (bad || size == 0) {
    bounds_error_ |= bad;
    if (other != nullptr) std::memcpy(&out, other, sizeof(out));
    else std::fill_n(out.p, n, is_opaque(in.dtype) ? (in.dtype == DType::kString ? empty_element() : zero_element()) : nullptr);
    return;
  }
  load_lanes(*in.operand, out, n, [&](int l) { return offsets[l]; });
  if (guard != nullptr)
    for (int l = 0; l < n; ++l)
      if (guard->i[l] == 0) out.i[l] = other->i[l];
}

}  // namespace tenon::ir
