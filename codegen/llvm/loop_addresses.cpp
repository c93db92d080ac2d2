#include "codegen/llvm/loop_addresses.h"

#include <algorithm>
#include <bit>

#include <llvm/IR/DataLayout.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PatternMatch.h>

namespace tenon::codegen {

using llvm::Value;

namespace {

int64_t wrapping_mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
int64_t wrapping_add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

}  // namespace

void LoopAddresses::Sum::add(const Sum& other, int64_t times) {
  constant = wrapping_add(constant, wrapping_mul(other.constant, times));
  for (const auto& [value, coefficient] : other.terms) {
    const auto found = std::ranges::find(terms, value, [](const auto& term) { return term.first; });
    const int64_t more = wrapping_mul(coefficient, times);
    if (found == terms.end()) {
      if (more != 0) terms.emplace_back(value, more);
    } else if ((found->second = wrapping_add(found->second, more)) == 0) {
      terms.erase(found);
    }
  }
}

bool LoopAddresses::Sum::same_terms(const Sum& other) const {
  return terms.size() == other.terms.size() && std::ranges::all_of(terms, [&](const auto& term) {
           return std::ranges::find(other.terms, term) != other.terms.end();
         });
}

bool LoopAddresses::outside(Value* v) const {
  const auto* inst = llvm::dyn_cast<llvm::Instruction>(v);
  if (inst == nullptr) return true;
  const auto number = numbers_.find(inst->getParent());
  return number != numbers_.end() && number->second < numbers_.at(loop_.head);
}

const std::optional<LoopAddresses::Affine>& LoopAddresses::affine(Value* v) {
  if (const auto found = known_.find(v); found != known_.end()) return found->second;
  std::optional<Affine> made = make_affine(v);
  return known_.emplace(v, std::move(made)).first->second;
}

std::optional<LoopAddresses::Affine> LoopAddresses::make_affine(Value* v) {
  namespace match = llvm::PatternMatch;
  Affine out;
  if (v == loop_.count) {
    out.along.constant = 1;
    return out;
  }
  if (const auto* c = llvm::dyn_cast<llvm::ConstantInt>(v)) {
    out.base.constant = c->getSExtValue();
    return out;
  }
  Value *a = nullptr, *b = nullptr;
  llvm::ConstantInt* c = nullptr;
  if (outside(v)) {  // apart from a constant, what it consists of is not looked for
    if (match::match(v, match::m_Add(match::m_Value(a), match::m_ConstantInt(c)))) {
      const std::optional<Affine>& x = affine(a);
      out = *x;
      out.base.constant = wrapping_add(out.base.constant, c->getSExtValue());
      return out;
    }
    out.base.terms.emplace_back(v, 1);
    return out;
  }
  const bool sum = match::match(v, match::m_Add(match::m_Value(a), match::m_Value(b)));
  if (sum || match::match(v, match::m_Sub(match::m_Value(a), match::m_Value(b)))) {
    const std::optional<Affine> x = affine(a), &y = affine(b);
    if (!x || !y) return std::nullopt;
    out = *x;
    out.base.add(y->base, sum ? 1 : -1);
    out.along.add(y->along, sum ? 1 : -1);
    return out;
  }
  if (!match::match(v, match::m_Mul(match::m_Value(a), match::m_Value(b)))) return std::nullopt;
  const std::optional<Affine> x = affine(a), y = affine(b);
  if (!x || !y) return std::nullopt;
  if (y->along.zero()) return multiplied(*x, y->base);
  if (x->along.zero()) return multiplied(*y, x->base);
  return std::nullopt;
}

LoopAddresses::Affine LoopAddresses::multiplied(const Affine& x, const Sum& by) {
  Affine out;
  if (by.terms.empty()) {
    out.base.add(x.base, by.constant);
    out.along.add(x.along, by.constant);
    return out;
  }
  const auto times = [&](const Sum& sum) {
    Sum product;
    product.add(by, sum.constant);
    if (!sum.terms.empty()) product.terms.emplace_back(product_of(sum, by), 1);
    return product;
  };
  return {times(x.base), times(x.along)};
}

/// Before the loop; of the first's terms alone.
Value* LoopAddresses::product_of(const Sum& a, const Sum& b) {
  for (const Product& p : products_)
    if (p.a.same_terms(a) && p.b.same_terms(b) && p.b.constant == b.constant) return p.value;
  Value* made = before_loop([&] { return b_.CreateMul(value(a, false), value(b, true)); });
  products_.push_back({a, b, made});
  return made;
}

Value* LoopAddresses::value(const Sum& sum, bool with_constant) {
  const auto number = [&](int64_t n) { return b_.getInt64(static_cast<uint64_t>(n)); };
  Value* out = nullptr;
  for (const auto& [term, times] : sum.terms) {
    Value* more = times == 1 ? term : b_.CreateMul(term, number(times));
    out = out == nullptr ? more : b_.CreateAdd(out, more);
  }
  if (!with_constant || sum.constant == 0) return out == nullptr ? number(0) : out;
  return out == nullptr ? number(sum.constant) : b_.CreateAdd(out, number(sum.constant));
}

Value* LoopAddresses::fixed(llvm::Type* type, Value* buffer, const Sum& base) {
  if (base.terms.empty()) return buffer;
  for (const Fixed& f : fixed_)
    if (f.type == type && f.buffer == buffer && f.base.same_terms(base)) return f.pointer;
  Value* pointer = before_loop([&] { return b_.CreateGEP(type, buffer, value(base, false)); });
  fixed_.push_back({type, buffer, pointer, base});
  return pointer;
}

const LoopAddresses::Moving& LoopAddresses::moving(llvm::Type* type, Value* buffer, const Affine& a) {
  for (const Moving& m : moving_)
    if (m.type == type && m.buffer == buffer && m.along.constant == a.along.constant && m.along.same_terms(a.along)) return m;
  Value* first = before_loop([&] {
    Value* start = b_.CreateGEP(type, buffer, value(a.base, false));
    const auto* zero = llvm::dyn_cast<llvm::ConstantInt>(loop_.first);
    return zero != nullptr && zero->isZero()
               ? start
               : b_.CreateGEP(type, start, b_.CreateMul(loop_.first, value(a.along, true)));
  });
  const llvm::IRBuilderBase::InsertPointGuard guard(b_);
  b_.SetInsertPoint(loop_.head, loop_.head->begin());
  llvm::PHINode* pointer = b_.CreatePHI(b_.getPtrTy(), 2, "at");
  pointer->addIncoming(first, loop_.before);
  moving_.push_back({type, buffer, a.along, a.base, pointer});
  return moving_.back();
}

/// From where `from` begins to `base`, without constants.
Value* LoopAddresses::distance(const Moving& from, const Sum& base) {
  for (const Distance& d : distances_)
    if (d.from == from.pointer && d.base.same_terms(base)) return d.value;
  Sum apart = base;
  apart.add(from.base, -1);
  Value* made = before_loop([&] { return value(apart, false); });
  distances_.push_back({from.pointer, base, made});
  return made;
}

Value* LoopAddresses::element(llvm::Type* type, Value* buffer, Value* offset) {
  if (offset->getType()->isVectorTy() || !outside(buffer)) return nullptr;
  const std::optional<Affine>& a = affine(offset);
  if (!a || a->along.zero()) return nullptr;
  const auto size = static_cast<int64_t>(loop_.head->getModule()->getDataLayout().getTypeStoreSize(type));
  const auto number = [&](int64_t n) { return b_.getInt64(static_cast<uint64_t>(n)); };
  const int64_t bytes = wrapping_mul(a->along.constant, size);
  Value* pointer = nullptr;
  if (scales_indices_ && a->along.terms.empty() && bytes > 0 && bytes <= 8 &&
      std::has_single_bit(static_cast<uint64_t>(bytes))) {
    Value* index = a->along.constant == 1 ? static_cast<Value*>(loop_.count)
                                          : b_.CreateMul(loop_.count, number(a->along.constant));
    pointer = b_.CreateGEP(type, fixed(type, buffer, a->base), index);
  } else {
    const Moving& m = moving(type, buffer, *a);
    pointer = m.base.same_terms(a->base) ? m.pointer : b_.CreateGEP(type, m.pointer, distance(m, a->base));
  }
  return a->base.constant == 0 ? pointer : b_.CreateGEP(type, pointer, number(a->base.constant));
}

void LoopAddresses::close() {
  for (const Moving& m : moving_) {
    Value* by =
        before_loop([&] { return b_.CreateMul(value(m.along, true), b_.getInt64(static_cast<uint64_t>(loop_.step))); });
    m.pointer->addIncoming(b_.CreateGEP(m.type, m.pointer, by), b_.GetInsertBlock());
  }
}

}  // namespace tenon::codegen
