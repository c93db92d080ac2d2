#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/dim.h"
#include "ir/scalar_op.h"
#include "support/dtype.h"

/// Op semantics as data: the value of one output element as a scalar expression over operand elements. One body serves
/// the reference interpreter, the fuser and every code generator. The form is that of Halide's pure functions and of
/// TVM's te.compute: out[i…] = post(reduce over r… of value(i…, r…)).
namespace tenon::ir {

enum class ExprKind : uint8_t {
  kConst,   // `scalar`, of `dtype`
  kDim,     // `dim` as i64
  kIndex,   // axis number `axis` as i64: output axes first, then reduce axes
  kLoad,    // operand `operand` at args (one i64 each axis of that operand); see guard
  kOp,      // `op` on args
  kCast,    // args[0] to dtype
  kAcc,     // the reduction's result; only inside `post`. axis = which reducer (multi-reductions)
  kCheckedIndex,  // args[0] with 0 <= args[0] < args[1], else the run fails with kOutOfRange (and the value is 0)
};

/// One node of an expression DAG, interned in its pool. `id`s of args are smaller than the node's own.
struct ExprNode {
  ExprKind kind;
  DType dtype;            // of the result; indices are i64
  ScalarOp op{};          // kOp
  int axis = 0;           // kIndex, kAcc
  int operand = 0;        // kLoad
  bool guarded = false;   // kLoad: args ends with two more: guard (bool) and other; the element is read only where guard holds
  Scalar scalar;          // kConst
  Dim dim;                // kDim
  std::vector<int> args;
};

class ExprPool;

/// Handle to a node, with operators. Both operands of a binary operator must have the same dtype; a C++ number takes the
/// dtype of the other side. i64 arithmetic on constants and dims folds when built.
struct Expr {
  ExprPool* pool = nullptr;
  int id = -1;
  bool valid() const { return pool != nullptr; }
  const ExprNode& node() const;
  DType dtype() const { return node().dtype; }
};

class ExprPool {
 public:
  Expr constant(DType dtype, double value);      // floats; ints must be exact
  Expr constant_int(DType dtype, int64_t value);
  Expr dim(Dim d);                               // a constant dim becomes a constant
  Expr index(int axis);
  Expr load(int operand, DType dtype, std::span<const Expr> indices);
  Expr load_guarded(int operand, DType dtype, std::span<const Expr> indices, Expr guard, Expr other);
  Expr op(ScalarOp op, std::span<const Expr> args);
  Expr cast(Expr value, DType to);               // the same dtype: no node
  Expr acc(int reducer, DType dtype);
  Expr checked_index(Expr index, Expr extent);

  const ExprNode& node(int id) const { return nodes_[static_cast<size_t>(id)]; }
  int size() const { return static_cast<int>(nodes_.size()); }

  /// Copies `expr` (of any pool) into this pool, with leaves replaced: `leaf` is called for every kIndex, kLoad, kAcc and
  /// kDim node, with its args already copied; an invalid result keeps the (copied) node.
  Expr copy(Expr expr, const std::function<Expr(const ExprNode& node, std::span<const Expr> args)>& leaf = {});

 private:
  Expr intern(ExprNode node);
  std::vector<ExprNode> nodes_;
  std::unordered_multimap<size_t, int> by_hash_;
};

Expr operator+(Expr a, Expr b);
Expr operator-(Expr a, Expr b);
Expr operator*(Expr a, Expr b);
Expr operator/(Expr a, Expr b);  // kDiv
Expr operator-(Expr a);
Expr operator+(Expr a, double b);
Expr operator-(Expr a, double b);
Expr operator*(Expr a, double b);
Expr operator/(Expr a, double b);
Expr operator+(double a, Expr b);
Expr operator-(double a, Expr b);
Expr operator*(double a, Expr b);
Expr operator/(double a, Expr b);
Expr operator<(Expr a, Expr b);
Expr operator<=(Expr a, Expr b);
Expr operator>(Expr a, Expr b);
Expr operator>=(Expr a, Expr b);
Expr operator==(Expr a, Expr b);
Expr operator!=(Expr a, Expr b);
Expr operator<(Expr a, double b);
Expr operator<=(Expr a, double b);
Expr operator>(Expr a, double b);
Expr operator>=(Expr a, double b);
Expr operator==(Expr a, double b);
Expr operator!=(Expr a, double b);
Expr operator&&(Expr a, Expr b);  // kAnd on bool; no short circuit
Expr operator||(Expr a, Expr b);
Expr operator!(Expr a);
Expr select(Expr condition, Expr a, Expr b);
Expr min(Expr a, Expr b);
Expr max(Expr a, Expr b);
Expr floor_div(Expr a, Expr b);
Expr mod(Expr a, Expr b);
Expr unary(ScalarOp op, Expr a);
Expr exp(Expr a);
Expr log(Expr a);
Expr log1p(Expr a);
Expr expm1(Expr a);
Expr sqrt(Expr a);
Expr tanh(Expr a);
Expr erf(Expr a);
Expr sigmoid(Expr a);
Expr abs(Expr a);
Expr floor(Expr a);
Expr pow(Expr a, Expr b);

/// How partial results combine. Arg reductions keep (value, index): the reduced index is the flat position among the
/// reduce axes; ties go to the first (or, kArg*Last, the last) position, NaN wins as in NumPy.
enum class Combiner : uint8_t { kAdd, kMul, kMin, kMax, kAnd, kOr, kArgMin, kArgMax, kArgMinLast, kArgMaxLast };
/// The neutral element in `dtype` (kArg*: of the value).
Scalar identity(Combiner combiner, DType dtype);

enum class ComputeKind : uint8_t {
  kElementwise,  // no reduce axes; every operand is read at the output's index, broadcast
  kMovement,     // no reduce axes; operands read at other indices (transpose, slice, pad, gather, reshape, resize)
  kReduce,       // reduce axes, one factor
  kContraction,  // reduce axes, kAdd, `value` is a product of (expressions over) two loads
  kScan,         // running combinations along one axis: see Scan
  kScatter,      // elements written where data says: see Scatter
};

/// out[… i …] = value(… 0 …) ∘ … ∘ value(… i …) along `axis`, ∘ being the body's combiner; `exclusive`: without the last
/// term, so that the first element is the combiner's identity; `reverse`: from the axis' end.
struct Scan {
  int axis = 0;
  bool exclusive = false, reverse = false;
};

/// out = init; then, for r… over the reduce axes in row-major order, out[target(r…)] = out[target(r…)] ∘ value(r…). `init` is
/// over the output's axes; `target`, an index each of them, and the body's `value` are over the reduce axes alone.
struct Scatter {
  Expr init;
  std::vector<Expr> target;
  bool replaces = false;  // ∘ is "the later one", not the body's combiner
};

/// One output tensor: axes and element expression.
struct Body {
  std::shared_ptr<ExprPool> pool = std::make_shared<ExprPool>();
  ComputeKind kind = ComputeKind::kElementwise;
  DType dtype = DType::kInvalid;     // of the output
  std::vector<Dim> axes;             // output shape
  std::vector<Dim> reduce_axes;
  Combiner combiner = Combiner::kAdd;
  DType acc_dtype = DType::kInvalid; // accumulator: f32 for f16/bf16/f32 (the interpreter uses f64 for floats), f64, i32, i64 …
  Expr value;                        // dtype acc_dtype when there are reduce axes, else dtype
  Expr post;                         // over kAcc (i64 for arg reductions), output indices and loads; invalid: cast of kAcc to dtype
  std::optional<Scan> scan;          // kScan: `value` and the sums have acc_dtype
  std::optional<Scatter> scatter;    // kScatter: `value` has acc_dtype, or dtype where it replaces
};

std::string to_string(const Body& body);

}  // namespace tenon::ir
