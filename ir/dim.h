#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/status.h"

namespace tenon::ir {

class DimContext;
struct DimNode;

/// An integer expression over symbols: the size of a tensor's axis. A value type; equal expressions of one context are
/// the same object, so == is exact structural equality of the canonical form. Constants need no context.
///
/// Canonical form: a sum of integer-weighted products of atoms, where an atom is a symbol or one of
/// floor_div/mod/min/max over canonical operands; terms sorted, like terms merged. Arithmetic that overflows int64
/// gives `Dim::invalid()`, which every operation propagates and the verifier refuses.
class Dim {
 public:
  Dim() = default;
  Dim(int64_t value) : value_(value) {}  // NOLINT: implicit, so that `{1, n, 64}` reads well
  static Dim invalid();

  bool is_const() const { return node_ == nullptr && valid_; }
  bool is_const(int64_t value) const { return is_const() && value_ == value; }
  bool is_valid() const { return valid_; }
  int64_t value() const { return value_; }  // is_const() only
  bool is_symbol() const;
  int symbol_id() const;  // is_symbol() only
  const DimNode* node() const { return node_; }

  friend bool operator==(const Dim& a, const Dim& b) {
    return a.node_ == b.node_ && a.value_ == b.value_ && a.valid_ == b.valid_;
  }
  size_t hash() const;

 private:
  friend class DimContext;
  struct Interned {};
  Dim(Interned, const DimNode* node) : node_(node) {}  // tagged, so that Dim(0) is a number
  const DimNode* node_ = nullptr;
  int64_t value_ = 0;
  bool valid_ = true;
};

Dim operator+(Dim a, Dim b);
Dim operator-(Dim a, Dim b);
Dim operator*(Dim a, Dim b);
Dim floor_div(Dim a, Dim b);  // rounds to minus infinity; invalid when b is the constant 0
Dim ceil_div(Dim a, Dim b);   // -floor_div(-a, b)
Dim mod(Dim a, Dim b);        // a - b * floor_div(a, b)
Dim min(Dim a, Dim b);
Dim max(Dim a, Dim b);
Dim product(std::span<const Dim> dims);

/// Inclusive range of what a dim can be.
struct DimBounds {
  int64_t lo = INT64_MIN, hi = INT64_MAX;
};
DimBounds bounds(Dim d);
/// Proven facts; false means "not known".
bool known_eq(Dim a, Dim b);
bool known_ne(Dim a, Dim b);
bool known_le(Dim a, Dim b);
bool known_lt(Dim a, Dim b);
/// a / b when b is known to divide a in every case (a polynomial identity), else nullopt. b must not be 0.
std::optional<Dim> exact_div(Dim a, Dim b);

enum class DimKind : uint8_t { kSymbol, kSum, kFloorDiv, kMod, kMin, kMax };

/// An interned expression. kSum: constant + Σ coefficient × Π factors.
struct DimNode {
  struct Term {
    int64_t coefficient;
    std::vector<const DimNode*> factors;  // atoms (not kSum), sorted by id; repeated for powers
  };
  DimKind kind;
  int id;       // order of interning
  int symbol;   // kSymbol
  Dim a, b;     // kFloorDiv, kMod, kMin, kMax
  int64_t constant = 0;
  std::vector<Term> terms;
  int size = 1, depth = 1;  // of the expression tree; larger than kMaxDimSize, kMaxDimDepth is invalid()
  DimContext* context;
};

/// What shape arithmetic of a hostile model may build at most.
inline constexpr int kMaxDimSize = 2000, kMaxDimDepth = 64;

/// Owns the symbols and expressions of one module (a graph with its regions). Not thread-safe.
class DimContext {
 public:
  DimContext();
  ~DimContext();
  DimContext(const DimContext&) = delete;
  DimContext& operator=(const DimContext&) = delete;

  /// The symbol of this name, made at first use with bounds [0, 2^31-1] (lo is 0: zero-size dims are legal).
  Dim symbol(std::string_view name);
  /// A new symbol whose name starts with `prefix`: a dim that only run time knows.
  Dim fresh(std::string_view prefix);
  int num_symbols() const;
  const std::string& symbol_name(int id) const;
  std::optional<Dim> find_symbol(std::string_view name) const;
  void set_bounds(Dim symbol, DimBounds bounds);
  DimBounds symbol_bounds(int id) const;

  /// Replaces symbols (by id; nullopt keeps one) in an expression.
  Dim substitute(Dim d, const std::function<std::optional<Dim>(int symbol)>& map);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// "N*2 + 1", "floor_div(N + 1, 2)"; parse_dim reads the same (also `(N+1)/2`, `%`, parentheses), making symbols in `context`.
std::string to_string(Dim d);
Result<Dim> parse_dim(std::string_view text, DimContext& context);
/// The value for symbol values by id. kOutOfRange on overflow, division by zero or a symbol without a value.
Result<int64_t> evaluate(Dim d, std::span<const std::optional<int64_t>> symbols);
void collect_symbols(Dim d, std::vector<int>& ids);  // appends, no duplicates

}  // namespace tenon::ir

template <>
struct std::hash<tenon::ir::Dim> {
  size_t operator()(const tenon::ir::Dim& d) const { return d.hash(); }
};
