#pragma once

#include <optional>
#include <unordered_map>
#include <utility>

#include <llvm/IR/IRBuilder.h>

namespace tenon::codegen {

/// Blocks of a function by the order in which they were made.
using BlockNumbers = std::unordered_map<const llvm::BasicBlock*, size_t>;

/// Addresses in a loop that are affine in what it counts. Each is a pointer that is ready before the loop, or moves on
/// with it, and a constant displacement; addresses that differ otherwise are a distance apart that is computed before
/// the loop. LLVM's loop strength reduction finds much the same, at the cost of a quarter of code generation. What lies
/// outside of the loop are values of blocks made before its own.
class LoopAddresses {
 public:
  struct Loop {
    llvm::BasicBlock *before, *head;  // `before` ends with the branch to `head`
    llvm::PHINode* count;             // head's first instruction
    llvm::Value* first;
    int64_t step;
  };
  /// `scales_indices`: addresses may have an index times 1, 2, 4 or 8 bytes beside a displacement, so that the count
  /// serves as one.
  LoopAddresses(llvm::IRBuilder<>& builder, const BlockNumbers& numbers, Loop loop, bool scales_indices)
      : b_(builder), numbers_(numbers), loop_(loop), scales_indices_(scales_indices) {}

  /// Where element `offset` of `buffer` lies, at the builder's place; nullptr when that does not move with the loop
  /// alone.
  llvm::Value* element(llvm::Type* type, llvm::Value* buffer, llvm::Value* offset);
  /// The loop's last block is written but for its branch.
  void close();

 private:
  /// A constant and multiples of values from outside.
  struct Sum {
    int64_t constant = 0;
    llvm::SmallVector<std::pair<llvm::Value*, int64_t>, 2> terms;
    void add(const Sum& other, int64_t times);
    bool same_terms(const Sum& other) const;
    bool zero() const { return constant == 0 && terms.empty(); }
  };
  struct Affine {
    Sum base, along;  // base + along * count
  };
  /// A pointer that moves by `along` with the count; it begins at base, without the constant.
  struct Moving {
    llvm::Type* type;
    llvm::Value* buffer;
    Sum along, base;
    llvm::PHINode* pointer;
  };
  struct Fixed {
    llvm::Type* type;
    llvm::Value *buffer, *pointer;
    Sum base;
  };
  struct Product {
    Sum a, b;
    llvm::Value* value;
  };
  struct Distance {
    const llvm::PHINode* from;
    Sum base;
    llvm::Value* value;
  };

  bool outside(llvm::Value* v) const;
  const std::optional<Affine>& affine(llvm::Value* v);
  std::optional<Affine> make_affine(llvm::Value* v);
  Affine multiplied(const Affine& x, const Sum& by);
  llvm::Value* product_of(const Sum& a, const Sum& b);
  llvm::Value* value(const Sum& sum, bool with_constant);
  llvm::Value* fixed(llvm::Type* type, llvm::Value* buffer, const Sum& base);
  const Moving& moving(llvm::Type* type, llvm::Value* buffer, const Affine& a);
  llvm::Value* distance(const Moving& from, const Sum& base);
  template <class F>
  auto before_loop(F make) {
    const llvm::IRBuilderBase::InsertPointGuard guard(b_);
    b_.SetInsertPoint(loop_.before->getTerminator());
    return make();
  }

  llvm::IRBuilder<>& b_;
  const BlockNumbers& numbers_;
  const Loop loop_;
  const bool scales_indices_;
  std::unordered_map<llvm::Value*, std::optional<Affine>> known_;
  llvm::SmallVector<Moving, 4> moving_;
  llvm::SmallVector<Fixed, 4> fixed_;
  llvm::SmallVector<Distance, 4> distances_;
  llvm::SmallVector<Product, 4> products_;
};

}  // namespace tenon::codegen
