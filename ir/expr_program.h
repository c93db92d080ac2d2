#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ir/compute.h"
#include "support/status.h"
#include "support/tensor.h"

/// The reference interpreter's way to evaluate an expression for many indices at once: the DAG becomes a straight list of
/// instructions, each a loop over a block of lanes. Floats are doubles rounded to their dtype after each step, integers
/// and bools are int64, strings and complex numbers are pointers to their elements (they can only be moved and compared).
namespace tenon::ir {

constexpr int kEvalLanes = 256;

union Column {
  double f[kEvalLanes];
  int64_t i[kEvalLanes];
  const void* p[kEvalLanes];
};

/// The axis values of a block's lanes: lane l of axis a has value[a] + step[a] * l, or column[a][l] where there is one.
struct Block {
  explicit Block(size_t axes) : value(axes, 0), step(axes, 0), column(axes, nullptr) {}
  int n = 0;
  std::vector<int64_t> value, step;
  std::vector<const int64_t*> column;
};

/// Walks the points of a box of axes in row-major order, a block at a time. Where the innermost axis is long, blocks do
/// not cross its end, so that they need no columns.
class BoxWalker {
 public:
  /// `axes` are axis numbers, outermost first; `extents` is by axis number. No axes: one point.
  BoxWalker(std::span<const int> axes, std::span<const int64_t> extents);
  /// Fills the box's axes of `block`, leaving others; false at the end. The block's columns live in the walker.
  bool next(Block& block);
  int64_t position() const { return position_; }  // of the last block's first lane
  int64_t count() const { return count_; }

 private:
  void fill_columns(Block& block);
  void advance(int64_t lanes);
  std::vector<int> axes_;
  std::vector<int64_t> extents_, digits_;
  std::vector<std::vector<int64_t>> columns_;
  int64_t count_ = 1, position_ = 0, next_ = 0;
};

class ExprProgram {
 public:
  /// `extents`: every axis that the expression may use. `operands` outlive the program; null for one that is never read.
  static Result<ExprProgram> compile(Expr root, std::span<const int64_t> extents, std::span<const Tensor* const> operands,
                                     std::span<const std::optional<int64_t>> symbols);

  uint64_t axes_used() const { return instrs_.back().axes; }
  DType dtype() const { return instrs_.back().dtype; }
  /// Merges neighbouring axes of `axes` whose indices appear only as one linear offset; sets merged extents to 1.
  void collapse(std::span<const int> axes, std::vector<int64_t>& extents);

  /// Lane values of the reduction's result, for expressions with kAcc.
  void set_acc(const Column* acc) { acc_ = acc; }
  /// Computes what depends on no axis. Call first.
  void start();
  /// Recomputes the instructions that depend on an axis in `changed` and on none in `later`.
  void run(const Block& block, uint64_t changed, uint64_t later = 0);
  const Column& result() const { return registers_[instrs_.size() - 1]; }
  /// The first run-time error: an index outside its bounds.
  Status status() const;

 private:
  struct Affine {
    int64_t constant = 0;
    std::vector<std::pair<int, int64_t>> terms;  // axis, coefficient; sorted by axis
  };
  struct Instr {
    ExprKind kind;
    DType dtype, operand_dtype;
    ScalarOp op;
    bool affine = false;   // kLoad: offset = `offset`; kIndex: value = `offset`
    bool guarded = false;
    Affine offset;
    std::vector<int> args;           // registers
    std::vector<int64_t> strides;    // kLoad, not affine
    const Tensor* operand = nullptr;
    Scalar scalar;
    uint64_t axes = 0;
  };
  struct Compiler;

  void execute(const Instr& in, Column& out, const Block& block);
  void execute_load(const Instr& in, Column& out, const Block& block);
  void execute_check(const Instr& in, Column& out, int n);
  static void affine_column(const Affine& offset, const Block& block, int64_t* out);

  std::vector<Instr> instrs_;
  std::vector<Column> registers_;
  const Column* acc_ = nullptr;
  bool index_error_ = false, bounds_error_ = false;
  int64_t bad_index_ = 0, bad_extent_ = 0;
};

/// Writes `n` lanes to elements start… of a tensor, converting as store_scalar does.
void store_lanes(Tensor& to, int64_t start, const Column& lanes, int n);

}  // namespace tenon::ir
