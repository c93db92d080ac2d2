#include "ir/evaluate_body.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "ir/expr_program.h"
#include "support/checked.h"

namespace tenon::ir {
namespace {

constexpr size_t kMaxAxes = 64;  // masks and blocks hold so many
/// Terms of one output beyond which a few bytes of a model (a window of 2^40, labels that no operand spans) would run for hours.
constexpr int64_t kMaxTerms = int64_t{1} << 33;
constexpr int64_t kLaneReduction = 32;  // from this many terms on, a block's lanes are terms of one sum

bool is_arg(Combiner c) { return c >= Combiner::kArgMin; }

uint64_t mask_of(int begin, int end) { return end > begin ? ((~uint64_t{0} >> (64 - (end - begin))) << begin) : 0; }

std::vector<int> range(int begin, int end) {
  std::vector<int> axes(static_cast<size_t>(end - begin));
  std::iota(axes.begin(), axes.end(), begin);
  return axes;
}

Result<std::vector<int64_t>> extents_of(const Body& body, std::span<const std::optional<int64_t>> symbols) {
  std::vector<int64_t> extents;
  for (const std::vector<Dim>* dims : {&body.axes, &body.reduce_axes}) {
    for (const Dim& d : *dims) {
      TENON_ASSIGN_OR_RETURN(const int64_t value, evaluate(d, symbols));
      if (value < 0) return error(Code::kInvalidArgument, "a dim of {} elements", value);
      extents.push_back(value);
    }
  }
  if (extents.size() > kMaxAxes)
    return error(Code::kUnsupported, "{} axes at once; {} are supported", extents.size(), kMaxAxes);
  TENON_RETURN_IF_ERROR(element_count(extents).status());
  TENON_ASSIGN_OR_RETURN(const int64_t terms, element_count(std::span(extents).subspan(body.axes.size())));
  if (terms > kMaxTerms)
    return error(Code::kResourceExhausted, "one output is a reduction of {} terms, the limit is {}", terms, kMaxTerms);
  return extents;
}

// A value against the best so far; NaN beats everything, the first NaN stays.
template <class T>
bool better(Combiner c, T value, T best) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(best)) return false;
    if (std::isnan(value)) return true;
  }
  switch (c) {
    case Combiner::kArgMin: return value < best;
    case Combiner::kArgMax: return value > best;
    case Combiner::kArgMinLast: return value <= best;
    default: return value >= best;
  }
}

template <class T>
T combine(Combiner c, T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    switch (c) {
      case Combiner::kMul: return a * b;
      case Combiner::kMin: return b < a || std::isnan(b) ? (std::isnan(a) ? a : b) : a;
      case Combiner::kMax: return b > a || std::isnan(b) ? (std::isnan(a) ? a : b) : a;
      default: return a + b;
    }
  } else {
    using U = std::make_unsigned_t<T>;
    switch (c) {
      case Combiner::kMul: return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
      case Combiner::kMin: return std::min(a, b);
      case Combiner::kMax: return std::max(a, b);
      case Combiner::kAnd: return static_cast<T>(a & b);
      case Combiner::kOr: return static_cast<T>(a | b);
      default: return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    }
  }
}

// The running results of a block of outputs.
template <class T>
struct Accumulators {
  T value[kEvalLanes];
  int64_t index[kEvalLanes];
  Combiner combiner;

  void reset(T identity, int n) {
    std::fill_n(value, n, identity);
    std::fill_n(index, n, 0);
  }
  void add(int lane, T v, int64_t position) {
    if (!is_arg(combiner)) {
      value[lane] = combine(combiner, value[lane], v);
    } else if (position == 0 || better(combiner, v, value[lane])) {
      value[lane] = v;
      index[lane] = position;
    }
  }
  void add_lanes(const T* v, int n, int64_t position) {
    if (combiner == Combiner::kAdd) {
      for (int l = 0; l < n; ++l) value[l] = combine(Combiner::kAdd, value[l], v[l]);
    } else {
      for (int l = 0; l < n; ++l) add(l, v[l], position);
    }
  }
  void write(int64_t* to, int n) const {
    for (int l = 0; l < n; ++l) to[l] = is_arg(combiner) ? index[l] : std::bit_cast<int64_t>(value[l]);
  }
};

template <class T>
const T* lanes_of(const Column& c) {
  if constexpr (std::is_same_v<T, double>) return c.f;
  else return reinterpret_cast<const T*>(c.i);
}

class Reducer {
 public:
  Reducer(const Body& body, ExprProgram& program, std::span<const int64_t> extents, const BodyLimits& limits)
      : body_(body), program_(program), extents_(extents), limits_(limits), rank_(static_cast<int>(body.axes.size())),
        out_axes_(range(0, rank_)), reduce_axes_(range(rank_, static_cast<int>(extents.size()))),
        out_mask_(mask_of(0, rank_)), reduce_mask_(mask_of(rank_, static_cast<int>(extents.size()))) {}

  template <class T>
  Status run(std::span<int64_t> acc) {
    const Scalar neutral = identity(body_.combiner, body_.acc_dtype);
    T first;
    if constexpr (std::is_same_v<T, double>) first = neutral.f;
    else first = static_cast<T>(neutral.i);
    program_.start();
    const int64_t terms = BoxWalker(reduce_axes_, extents_).count();
    return terms >= kLaneReduction ? by_output<T>(first, acc) : by_term<T>(first, acc);
  }

 private:
  // Lanes are outputs; the terms come one after the other.
  template <class T>
  Status by_term(T first, std::span<int64_t> acc) {
    Accumulators<T> sums{.combiner = body_.combiner};
    Block block(64);
    for (BoxWalker outputs(out_axes_, extents_); outputs.next(block);) {
      TENON_RETURN_IF_ERROR(limits_.interrupt.check());
      const int n = block.n;
      sums.reset(first, n);
      program_.run(block, out_mask_, reduce_mask_);
      std::vector<int64_t> term(reduce_axes_.size(), 0);
      const int64_t count = BoxWalker(reduce_axes_, extents_).count();
      for (int64_t position = 0; position < count; ++position) {
        if ((position & 0xfff) == 0xfff) TENON_RETURN_IF_ERROR(limits_.interrupt.check());
        for (size_t k = 0; k < term.size(); ++k) block.value[static_cast<size_t>(reduce_axes_[k])] = term[k];
        program_.run(block, reduce_mask_);
        sums.add_lanes(lanes_of<T>(program_.result()), n, position);
        for (size_t k = term.size(); k-- > 0 && ++term[k] == extents_[static_cast<size_t>(reduce_axes_[k])];) term[k] = 0;
      }
      sums.write(acc.data() + outputs.position(), n);
    }
    return {};
  }

  // Lanes are the terms of one output.
  template <class T>
  Status by_output(T first, std::span<int64_t> acc) {
    Accumulators<T> sum{.combiner = body_.combiner};
    std::vector<int64_t> at(out_axes_.size(), 0);
    for (size_t output = 0; output < acc.size(); ++output) {
      TENON_RETURN_IF_ERROR(limits_.interrupt.check());
      Block block(64);
      for (size_t k = 0; k < at.size(); ++k) block.value[k] = at[k];
      block.n = kEvalLanes;
      program_.run(block, out_mask_, reduce_mask_);
      sum.reset(first, 1);
      for (BoxWalker terms(reduce_axes_, extents_); terms.next(block);) {
        TENON_RETURN_IF_ERROR(limits_.interrupt.check());
        program_.run(block, reduce_mask_);
        const T* lanes = lanes_of<T>(program_.result());
        for (int l = 0; l < block.n; ++l) sum.add(0, lanes[l], terms.position() + l);
      }
      sum.write(&acc[output], 1);
      for (size_t k = at.size(); k-- > 0 && ++at[k] == extents_[k];) at[k] = 0;
    }
    return {};
  }

  const Body& body_;
  ExprProgram& program_;
  std::span<const int64_t> extents_;
  const BodyLimits& limits_;
  int rank_;
  std::vector<int> out_axes_, reduce_axes_;
  uint64_t out_mask_, reduce_mask_;
};

Status reduce(const Body& body, std::span<const int64_t> extents, std::span<const Tensor* const> operands,
              std::span<const std::optional<int64_t>> symbols, const BodyLimits& limits, std::span<int64_t> acc) {
  if (body.value.dtype() != body.acc_dtype)
    return error(Code::kInternal, "the op's body accumulates {} as {}", name(body.value.dtype()), name(body.acc_dtype));
  if (const std::optional<ContractionAxes> axes = contraction_axes(body)) {
    TENON_ASSIGN_OR_RETURN(const bool done, evaluate_contraction(body, *axes, extents, operands, symbols, limits, acc));
    if (done) return {};
  }
  TENON_ASSIGN_OR_RETURN(ExprProgram program, ExprProgram::compile(body.value, extents, operands, symbols));
  if (program.dtype() == DType::kString) return error(Code::kUnsupported, "a reduction of strings");
  Reducer reducer(body, program, extents, limits);
  if (is_float(program.dtype())) TENON_RETURN_IF_ERROR(reducer.run<double>(acc));
  else if (program.dtype() == DType::kU64) TENON_RETURN_IF_ERROR(reducer.run<uint64_t>(acc));
  else TENON_RETURN_IF_ERROR(reducer.run<int64_t>(acc));
  return program.status();
}

// An integer accumulator holds what its dtype can.
void wrap_acc(DType dtype, std::span<int64_t> acc) {
  if (is_float(dtype) || bits(dtype) == 64) return;
  for (int64_t& v : acc) v = cast_scalar({0, v}, DType::kI64, dtype).i;
}

Expr element_of(const Body& body) {
  if (body.reduce_axes.empty()) return body.value;
  if (body.post.valid()) return body.post;
  return body.pool->cast(body.pool->acc(0, is_arg(body.combiner) ? DType::kI64 : body.acc_dtype), body.dtype);
}

}  // namespace

Result<Tensor> evaluate_body(const Body& body, std::span<const Tensor* const> operands,
                             std::span<const std::optional<int64_t>> symbols, const BodyLimits& limits) {
  if (body.scan || body.scatter) return error(Code::kUnsupported, "an element of a scan or a scatter is no function of its index");
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> extents, extents_of(body, symbols));
  const int rank = static_cast<int>(body.axes.size());
  Shape shape(extents.begin(), extents.begin() + rank);
  TENON_ASSIGN_OR_RETURN(const int64_t count, element_count(shape));
  const std::optional<size_t> bytes = storage_bytes(body.dtype, count);
  if (!bytes || *bytes > static_cast<size_t>(limits.max_bytes))
    return error(Code::kResourceExhausted, "an output of {} {} is beyond the limit of {} bytes", tenon::to_string(shape),
                 name(body.dtype), limits.max_bytes);
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(body.dtype, shape));
  if (is_packed(body.dtype)) std::memset(out.mutable_data(), 0, out.bytes());
  if (count == 0) return out;

  std::vector<int64_t> acc;
  if (!body.reduce_axes.empty()) {
    if (count > limits.max_bytes / 8)
      return error(Code::kResourceExhausted, "{} sums are beyond the limit of {} bytes", count, limits.max_bytes);
    acc.resize(static_cast<size_t>(count));
    TENON_RETURN_IF_ERROR(reduce(body, extents, operands, symbols, limits, acc));
    if (!is_arg(body.combiner)) wrap_acc(body.acc_dtype, acc);
  }

  TENON_ASSIGN_OR_RETURN(ExprProgram program, ExprProgram::compile(element_of(body), extents, operands, symbols));
  if (program.dtype() != body.dtype)
    return error(Code::kInternal, "the op's body gives {}, not {}", name(program.dtype()), name(body.dtype));
  const std::vector<int> axes = range(0, rank);
  program.collapse(axes, extents);
  program.start();
  Block block(64);
  Column sums;
  program.set_acc(&sums);
  for (BoxWalker box(axes, extents); box.next(block);) {
    TENON_RETURN_IF_ERROR(limits.interrupt.check());
    if (!acc.empty())
      std::memcpy(&sums, acc.data() + box.position(), static_cast<size_t>(block.n) * sizeof(int64_t));
    program.run(block, ~uint64_t{0});
    store_lanes(out, box.position(), program.result(), block.n);
  }
  TENON_RETURN_IF_ERROR(program.status());
  return out;
}

}  // namespace tenon::ir
