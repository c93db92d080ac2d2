#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "ir/evaluate_body.h"
#include "ir/expr_program.h"
#include "support/checked.h"

/// Contractions of the interpreter: both factors are written out as matrices of doubles (or int64), a panel at a time,
/// and multiplied by a small register-blocked kernel.
namespace tenon::ir {
namespace {

constexpr int64_t kPanel = 8;                      // columns of b that a kernel call computes
constexpr int64_t kMatrixElements = 4 << 20;       // of one written-out factor

uint64_t axes_of(Expr root) {
  std::vector<char> needed(static_cast<size_t>(root.id) + 1, 0);
  needed.back() = 1;
  uint64_t axes = 0;
  for (int id = root.id; id >= 0; --id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    const ExprNode& n = root.pool->node(id);
    if (n.kind == ExprKind::kIndex && n.axis < 64) axes |= uint64_t{1} << n.axis;
    for (int a : n.args) needed[static_cast<size_t>(a)] = 1;
  }
  return axes;
}

int64_t count_of(std::span<const int> axes, std::span<const int64_t> extents) {
  int64_t count = 1;
  for (int a : axes) count *= extents[static_cast<size_t>(a)];
  return count;
}

// Offset of each point of a box of axes in the output.
std::vector<int64_t> output_offsets(std::span<const int> axes, std::span<const int64_t> extents,
                                    std::span<const int64_t> strides) {
  std::vector<int64_t> offsets = {0};
  for (int a : axes) {
    std::vector<int64_t> next;
    next.reserve(offsets.size() * static_cast<size_t>(extents[static_cast<size_t>(a)]));
    for (int64_t base : offsets)
      for (int64_t i = 0; i < extents[static_cast<size_t>(a)]; ++i) next.push_back(base + i * strides[static_cast<size_t>(a)]);
    offsets = std::move(next);
  }
  return offsets;
}

// c[rows, kPanel] += a[rows, k] b[k, kPanel]; every sum runs over k in order.
template <class T, int kRows>
void multiply(const T* a, int64_t k, const T* b, T* c) {
  T sum[kRows][kPanel] = {};
  for (int64_t i = 0; i < k; ++i)
    for (int r = 0; r < kRows; ++r)
      for (int j = 0; j < kPanel; ++j) sum[r][j] += a[r * k + i] * b[i * kPanel + j];
  std::copy_n(&sum[0][0], kRows * kPanel, c);
}

double largest(std::span<const int64_t> values) {
  double top = 0;
  for (int64_t v : values) top = std::max(top, std::fabs(static_cast<double>(v)));
  return top;
}

void to_doubles(std::span<int64_t> values) {
  for (int64_t& v : values) v = std::bit_cast<int64_t>(static_cast<double>(v));
}

// a [m, k] by b [k, n] row-major; calls put(row, column, value).
template <class T, class Put>
void gemm(const std::vector<int64_t>& a, const std::vector<int64_t>& b, int64_t m, int64_t n, int64_t k, Put put) {
  const auto get = [](int64_t v) { return std::bit_cast<T>(v); };
  std::vector<T> left(a.size()), panel(static_cast<size_t>(k * kPanel));
  std::transform(a.begin(), a.end(), left.begin(), get);
  for (int64_t j0 = 0; j0 < n; j0 += kPanel) {
    const int64_t width = std::min(kPanel, n - j0);
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < kPanel; ++j)
        panel[static_cast<size_t>(i * kPanel + j)] = j < width ? get(b[static_cast<size_t>(i * n + j0 + j)]) : T{};
    T c[4 * kPanel];
    for (int64_t i = 0; i < m;) {
      const int64_t rows = m - i >= 4 ? 4 : 1;
      const T* row = left.data() + i * k;
      if (rows == 4) multiply<T, 4>(row, k, panel.data(), c);
      else multiply<T, 1>(row, k, panel.data(), c);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < width; ++j) put(i + r, j0 + j, std::bit_cast<int64_t>(c[r * kPanel + j]));
      i += rows;
    }
  }
}

struct Split {
  std::vector<int> axes;       // without the split axis, when there is one
  int axis = -1;               // advanced in steps of `step`; -1: the group fits whole
  int64_t extent = 1, step = 1;
};

// Steps of one axis of the group such that group × k stays below the limit; nullopt when one step is too much already.
std::optional<Split> split_group(std::span<const int> group, std::span<const int64_t> extents, int64_t k) {
  Split split{std::vector<int>(group.begin(), group.end())};
  const std::optional<int64_t> whole = checked_mul(count_of(group, extents), k);
  if (whole && *whole <= kMatrixElements) return split;
  const auto longest = std::max_element(group.begin(), group.end(), [&](int a, int b) {
    return extents[static_cast<size_t>(a)] < extents[static_cast<size_t>(b)];
  });
  if (longest == group.end()) return std::nullopt;
  split.axis = *longest;
  split.extent = extents[static_cast<size_t>(*longest)];
  const std::optional<int64_t> slice = checked_mul(count_of(group, extents) / split.extent, k);
  if (!slice || *slice > kMatrixElements) return std::nullopt;
  split.step = std::max<int64_t>(1, kMatrixElements / *slice);
  return split;
}

class Contraction {
 public:
  Contraction(const ContractionAxes& axes, std::vector<int64_t> extents, bool is_float, std::span<int64_t> acc)
      : axes_(axes), extents_(std::move(extents)), is_float_(is_float), acc_(acc) {}

  Result<bool> run(const Body& body, std::span<const Tensor* const> operands,
             std::span<const std::optional<int64_t>> symbols, const BodyLimits& limits) {
    TENON_ASSIGN_OR_RETURN(a_, ExprProgram::compile(axes_.a, extents_, operands, symbols));
    TENON_ASSIGN_OR_RETURN(b_, ExprProgram::compile(axes_.b, extents_, operands, symbols));
    a_->start();
    b_->start();
    strides_.assign(body.axes.size(), 1);
    for (size_t i = strides_.size(); i-- > 1;) strides_[i - 1] = strides_[i] * extents_[i];
    k_ = count_of(axes_.k, extents_);
    const std::optional<Split> m = split_group(axes_.m, extents_, k_), n = split_group(axes_.n, extents_, k_);
    if (!m || !n) return false;

    Block block(64);
    std::vector<int64_t> at(axes_.batch.size(), 0);
    for (int64_t batch = count_of(axes_.batch, extents_); batch > 0; --batch) {
      int64_t offset = 0;
      for (size_t i = 0; i < at.size(); ++i) {
        const size_t axis = static_cast<size_t>(axes_.batch[i]);
        block.value[axis] = at[i];
        offset += at[i] * strides_[axis];
      }
      TENON_RETURN_IF_ERROR(multiply_batch(*m, *n, block, offset, limits));
      for (size_t i = at.size(); i-- > 0 && ++at[i] == extents_[static_cast<size_t>(axes_.batch[i])];) at[i] = 0;
    }
    TENON_RETURN_IF_ERROR(a_->status());
    TENON_RETURN_IF_ERROR(b_->status());
    return true;
  }

 private:
  Status multiply_batch(const Split& m, const Split& n, const Block& block, int64_t offset, const BodyLimits& limits) {
    for (int64_t n0 = 0; n0 < n.extent; n0 += n.step) {
      write(*b_, block, axes_.k, axes_.n, n, n0, b_matrix_);
      for (int64_t m0 = 0; m0 < m.extent; m0 += m.step) {
        TENON_RETURN_IF_ERROR(limits.interrupt.check());
        write(*a_, block, axes_.m, axes_.k, m, m0, a_matrix_);
        const std::vector<int64_t> rows = offsets(axes_.m, m, m0), columns = offsets(axes_.n, n, n0);
        const auto put = [&](int64_t row, int64_t column, int64_t value) {
          acc_[static_cast<size_t>(offset + rows[static_cast<size_t>(row)] + columns[static_cast<size_t>(column)])] = value;
        };
        multiply_matrices(static_cast<int64_t>(rows.size()), static_cast<int64_t>(columns.size()), put);
      }
    }
    return {};
  }

  template <class Put>
  void multiply_matrices(int64_t m, int64_t n, Put put) {
    if (is_float_) return gemm<double>(a_matrix_, b_matrix_, m, n, k_, put);
    // Doubles hold these sums exactly where they stay below 2^53, and are faster than 64-bit integers.
    if (largest(a_matrix_) * largest(b_matrix_) * static_cast<double>(k_) < 0x1p53) {
      std::vector<int64_t> a = a_matrix_, b = b_matrix_;
      to_doubles(a);
      to_doubles(b);
      return gemm<double>(a, b, m, n, k_, [&](int64_t row, int64_t column, int64_t value) {
        put(row, column, static_cast<int64_t>(std::bit_cast<double>(value)));
      });
    }
    gemm<uint64_t>(a_matrix_, b_matrix_, m, n, k_, put);
  }

  // The factor over [outer axes][inner axes], the split axis (in one of them) limited to its step from `begin` on.
  void write(ExprProgram& program, Block block, std::span<const int> outer, std::span<const int> inner, const Split& split,
             int64_t begin, std::vector<int64_t>& to) {
    std::vector<int> axes(outer.begin(), outer.end());
    axes.insert(axes.end(), inner.begin(), inner.end());
    std::vector<int64_t> extents = extents_;
    if (split.axis >= 0) extents[static_cast<size_t>(split.axis)] = std::min(split.step, split.extent - begin);
    BoxWalker box(axes, extents);
    to.resize(static_cast<size_t>(box.count()));
    std::vector<int64_t> shifted;
    while (box.next(block)) {
      Block moved = block;
      if (split.axis >= 0) shift(moved, static_cast<size_t>(split.axis), begin, extents, shifted);
      program.run(moved, ~uint64_t{0});
      std::memcpy(to.data() + box.position(), &program.result(), static_cast<size_t>(block.n) * sizeof(int64_t));
    }
  }

  static void shift(Block& block, size_t axis, int64_t begin, const std::vector<int64_t>& extents, std::vector<int64_t>& shifted) {
    if (extents[axis] == 1) {  // the walker leaves axes of one point alone
      block.value[axis] = begin;
      return;
    }
    if (block.column[axis] == nullptr) {
      block.value[axis] += begin;
      return;
    }
    shifted.assign(block.column[axis], block.column[axis] + block.n);
    for (int64_t& v : shifted) v += begin;
    block.column[axis] = shifted.data();
  }

  std::vector<int64_t> offsets(std::span<const int> group, const Split& split, int64_t begin) const {
    std::vector<int64_t> extents = extents_;
    if (split.axis < 0) return output_offsets(group, extents, strides_);
    extents[static_cast<size_t>(split.axis)] = std::min(split.step, split.extent - begin);
    std::vector<int64_t> out = output_offsets(group, extents, strides_);
    for (int64_t& v : out) v += begin * strides_[static_cast<size_t>(split.axis)];
    return out;
  }

  const ContractionAxes& axes_;
  std::vector<int64_t> extents_;
  bool is_float_;
  std::span<int64_t> acc_;
  std::optional<ExprProgram> a_, b_;
  std::vector<int64_t> strides_, a_matrix_, b_matrix_;
  int64_t k_ = 1;
};

}  // namespace

std::optional<ContractionAxes> contraction_axes(const Body& body) {
  if (body.reduce_axes.empty() || body.combiner != Combiner::kAdd || body.axes.size() + body.reduce_axes.size() > 63)
    return std::nullopt;
  const ExprNode& root = body.value.node();
  if (root.kind != ExprKind::kOp || root.op != ScalarOp::kMul || root.dtype == DType::kBool) return std::nullopt;
  ContractionAxes axes{Expr{body.value.pool, root.args[0]}, Expr{body.value.pool, root.args[1]}};
  const uint64_t a = axes_of(axes.a), b = axes_of(axes.b);
  const int rank = static_cast<int>(body.axes.size());
  for (int i = 0; i < rank; ++i) {
    const bool in_a = a >> i & 1, in_b = b >> i & 1;
    (in_a && in_b ? axes.batch : in_b ? axes.n : axes.m).push_back(i);
  }
  for (size_t i = 0; i < body.reduce_axes.size(); ++i) axes.k.push_back(rank + static_cast<int>(i));
  if (axes.m.empty() && axes.n.empty()) return std::nullopt;
  return axes;
}

Result<bool> evaluate_contraction(const Body& body, const ContractionAxes& axes, std::span<const int64_t> extents,
                            std::span<const Tensor* const> operands, std::span<const std::optional<int64_t>> symbols,
                            const BodyLimits& limits, std::span<int64_t> acc) {
  Contraction contraction(axes, std::vector<int64_t>(extents.begin(), extents.end()), is_float(body.acc_dtype), acc);
  return contraction.run(body, operands, symbols, limits);
}

}  // namespace tenon::ir
