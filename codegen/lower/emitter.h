#pragma once

#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/lower/index_algebra.h"
#include "codegen/lower/lower.h"

namespace tenon::codegen {

/// Turns expressions into Kernel IR. Axes are bound to values loop by loop; what an expression needs only of outer axes can
/// be emitted outside of the inner loops with hoist(). Loads must have one argument, the flat offset (see flatten.h).
class Emitter {
 public:
  Emitter(ir::ExprPool& pool, LoweredKernel& out) : pool_(pool), out_(out), builder_(out.kernel), scopes_(1) {}

  kir::KernelBuilder& builder() { return builder_; }
  ir::ExprPool& pool() { return pool_; }

  /// Adds a binding; several operands may share one. All bindings come before any local buffer.
  int add_binding(std::string name, DType dtype, bool written, BindingRef ref);
  void set_buffer(int operand, int buffer) { buffers_[operand] = buffer; }
  int buffer(int operand) const { return buffers_.at(operand); }

  /// A kernel parameter, or a constant.
  kir::ValueId dim(ir::Dim d);

  void bind(int axis, kir::ValueId value);
  /// kAcc, in this scope and inner ones.
  void bind_acc(kir::ValueId value);
  /// The value of every load of this operand, in this scope and inner ones (a row's reduction).
  void bind_result(int operand, kir::ValueId value);
  /// Lanes for which loads may read and checks count; -1: all.
  void set_mask(kir::ValueId mask) { mask_ = mask; }
  kir::ValueId mask() const { return mask_; }
  /// Divisions of floats by values that do not depend on this axis multiply by the reciprocal (one more rounding).
  void use_reciprocals(int axis) { reciprocal_axis_ = axis; }

  kir::ValueId emit(ir::Expr e);
  /// Emits here the parts of `e` whose axes are bound, so that loops opened later find them.
  void hoist(ir::Expr e);
  /// Of those parts the ones that neither read memory nor check indices, so that they may be emitted where a mask is not yet known.
  void hoist_indices(ir::Expr e);

  /// A loop with a scope of its own.
  void loop(kir::LoopKind kind, kir::ValueId lo, kir::ValueId hi, int64_t step,
            const std::function<void(kir::ValueId iv)>& body, int width = 0);
  std::vector<kir::ValueId> loop(
      kir::LoopKind kind, kir::ValueId lo, kir::ValueId hi, int64_t step, std::span<const kir::ValueId> inits,
      const std::function<std::vector<kir::ValueId>(kir::ValueId iv, std::span<const kir::ValueId> carried)>& body,
      std::vector<kir::Combiner> combiners = {}, int width = 0);
  void scoped(const std::function<void()>& body);

  /// Splits `flat`, row-major over `extents`, into one index each.
  std::vector<kir::ValueId> unflatten(kir::ValueId flat, std::span<const ir::Dim> extents);
  kir::ValueId load_buffer(int buffer, kir::ValueId offset);  // under the mask
  void store_buffer(int buffer, kir::ValueId offset, kir::ValueId value);

 private:
  struct Scope {
    std::unordered_map<int, kir::ValueId> memo;      // by expression id; reciprocals at -id - 1, conditions of checked indices apart
    std::vector<std::pair<int, int>> restore_levels;  // axis, level that it had outside
    std::vector<std::pair<int, kir::ValueId>> restore_axes;
    std::vector<std::pair<int, kir::ValueId>> restore_results;
    kir::ValueId outer_acc = -1;
    bool sets_acc = false;
    int outer_acc_level = -1;
  };
  struct Needs {
    uint64_t axes = 0;
    bool acc = false;
    bool memory = false;  // reads some, or checks an index
    std::vector<int> stages;
  };
  const Needs& needs(int id);
  void hoist(ir::Expr e, bool memory);
  int level_needed(const Needs& n) const;  // the innermost scope that binds something; -1 unknown: not bound
  bool available(int id);
  kir::ValueId lookup(int id);
  kir::ValueId emit_node(int id);
  kir::ValueId emit_load(const ir::ExprNode& node);
  kir::ValueId emit_op(int id, const ir::ExprNode& node);
  kir::ValueId checked_condition(int offset);
  bool by_reciprocal(const ir::ExprNode& node);
  kir::ValueId reciprocal(int divisor);
  void push();
  void pop();

  ir::ExprPool& pool_;
  LoweredKernel& out_;
  kir::KernelBuilder builder_;
  std::vector<Scope> scopes_;
  std::unordered_map<int, int> buffers_;
  std::unordered_map<int, kir::ValueId> axes_, results_;
  std::unordered_map<int, int> levels_, result_levels_;
  kir::ValueId acc_ = -1;
  int acc_level_ = -1;
  kir::ValueId mask_ = -1;
  int reciprocal_axis_ = -1;
  std::unordered_map<int, Needs> needs_;
};

}  // namespace tenon::codegen
