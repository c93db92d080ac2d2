// What a row keeps between its passes.

#include <set>
#include <unordered_map>

#include "codegen/schedule/row_reduction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

namespace {

constexpr int64_t kRowBufferBytes = 16 << 10;
constexpr size_t kMaxRowBuffers = 4;
constexpr int64_t kWorthKeeping = 12;        // cost from which a value is kept rather than computed again

/// Chooses what several passes need and is dear: kept by the first one, in an array of the row, or where a map of the row
/// will be stored. What is an output itself is stored by the first pass that makes it.
class BufferChooser {
 public:
  BufferChooser(Lowering& lowering, Rows& rows) : pool_(*lowering.group.pool), rows_(rows), length_(rows.length()) {
    for (const RowPass& p : rows_.passes) {
      if (p.full) count(p.value);
    }
    std::set<int> mapped;
    for (const RowMap& m : rows_.maps) visit(m.value, [&](int id, const ExprNode&) { mapped.insert(id); });
    for (int id : mapped) ++uses_[id];
  }

  void run() {
    for (RowPass& p : rows_.passes) {
      p.value = kept_.empty() ? p.value : substitute(p.value, kept_);
      if (p.full) choose_in(p);
    }
    for (RowMap& m : rows_.maps) m.value = substitute(m.value, kept_);
  }

 private:
  void count(Expr e) {
    visit(e, [&](int id, const ExprNode&) { ++uses_[id]; });
  }

  void choose_in(RowPass& p) {
    std::vector<int> stack{p.value.id};
    std::set<int> seen;
    while (!stack.empty() && rows_.buffers.size() < kMaxRowBuffers) {
      const int id = stack.back();
      stack.pop_back();
      if (!seen.insert(id).second) continue;
      const Expr e{&pool_, id};
      const ExprNode node = e.node();
      const bool shared = uses_.contains(id) && uses_[id] > 1 && !kept_.contains(id) && along_row(e);
      const std::optional<RowBuffer> buffer = shared ? place(e) : std::nullopt;
      if (buffer) {
        const int number = static_cast<int>(rows_.buffers.size());
        rows_.buffers.push_back(*buffer);
        kept_[id] = read(number, *buffer);
        p.keep.emplace_back(number, e);
        continue;
      }
      for (int a : node.args) stack.push_back(a);
    }
  }

  bool along_row(Expr e) const {
    for (size_t a = rows_.outer; a < rows_.axes.size(); ++a) {
      if (uses_axis(e, static_cast<int>(a))) return true;
    }
    return false;
  }

  std::optional<RowBuffer> place(Expr e) {
    const ExprNode node = e.node();
    if (node.kind == ExprKind::kLoad) return std::nullopt;
    for (size_t m = 0; m < rows_.maps.size(); ++m) {
      RowMap& map = rows_.maps[m];
      if (map.value.id != e.id || map.holds) continue;
      map.stored = true;
      return RowBuffer{node.dtype, static_cast<int>(m)};
    }
    if (!is_float(node.dtype) || evaluation_cost(e) < kWorthKeeping) return std::nullopt;
    if (!rows_.lanes_have_rows() && length_.is_const() && bytes_ + length_.value() * bits(node.dtype) / 8 <= kRowBufferBytes) {
      bytes_ += length_.value() * bits(node.dtype) / 8;
      return RowBuffer{node.dtype, -1};
    }
    for (size_t m = 0; m < rows_.maps.size(); ++m) {
      RowMap& map = rows_.maps[m];
      const bool output_too = uses_.contains(map.value.id) && uses_[map.value.id] > 1;  // a pass may store it
      if (map.holds || map.stored || output_too || map.store.dtype() != node.dtype) continue;
      map.holds = true;
      return RowBuffer{node.dtype, static_cast<int>(m)};
    }
    return std::nullopt;
  }

  Expr read(int number, const RowBuffer& buffer) {
    const Expr at = buffer.map < 0 ? row_major_position(pool_, rows_.inner_axes(), static_cast<int>(rows_.outer))
                                   : Expr{&pool_, rows_.maps[static_cast<size_t>(buffer.map)].store.node().args[0]};
    return pool_.load(kRowBuffer + number, buffer.dtype, std::span(&at, 1));
  }

  ExprPool& pool_;
  Rows& rows_;
  const Dim length_;
  int64_t bytes_ = 0;
  std::unordered_map<int, int> uses_;
  std::unordered_map<int, Expr> kept_;
};

}  // namespace

void choose_row_buffers(Lowering& lowering, Rows& rows) { BufferChooser(lowering, rows).run(); }

}  // namespace tenon::codegen
