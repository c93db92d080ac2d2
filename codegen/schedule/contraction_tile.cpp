#include <algorithm>
#include <limits>

#include "codegen/lower/flatten.h"
#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;

namespace {

constexpr int64_t kMaxTileRows = 14;      // whose addresses fit general registers
constexpr int64_t kMaxVectors = 4;
constexpr double kFmaLatency = 5;         // cycles until a sum takes the next product, with some for what else is in the way; two start in each
constexpr double kPanelCycles = 1.2;      // a vector of B from the L2 cache
constexpr int64_t kCheapPost = 40;        // operations of an epilogue that is repeated in each tile's code
constexpr int64_t kWantedBlocks = 16;     // of the grid, so that threads get equal parts
constexpr int64_t kMaxRows = 256;         // of A in a block
constexpr double kWorthTrying = 1.5;      // what a tile may be estimated to take, of the best one, to be measured
constexpr size_t kMaxOthers = 12;
constexpr int64_t kPackedRowsBytes = 256 << 10;  // of A, when it has to be packed: on the stack, in the L2 cache

int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

/// Cycles that one step of K takes a register tile: bound by multiply-adds, their latency, loads (one asks for what comes later), or the way of B's panel, which each
/// tile of rows passes over, from the L2 cache.
double tile_cycles(int64_t rows, int64_t vectors, bool panel_in_l1) {
  if (rows == 0 || vectors == 0) return 0;
  const double products = static_cast<double>(rows * vectors) / 2, loads = static_cast<double>(rows + vectors + 1) / 2;
  return std::max({products, loads, kFmaLatency, panel_in_l1 ? 0 : kPanelCycles * static_cast<double>(vectors)});
}

/// Rows of a tile as wide as `vectors` for which sums, a row of B and a broadcast element of A fit the registers. Words that no
/// instruction multiplies are taken apart into halves; sixteen registers hold too few sums for the halves to stay in some. Products of
/// pairs are in a register before they are added.
int64_t most_rows(const Contraction& c, const Target& target, int64_t vectors) {
  const bool halves = c.dot && !target.has_dot4 && !target.has_dot4_signed && target.vector_registers > 16;
  vectors *= c.parts();
  const int64_t sums_of_row = c.sums_rows() ? 1 : 0, operands = halves ? 2 * vectors + 4 : vectors + 1 + c.byte_pairs;
  return std::clamp<int64_t>((target.vector_registers - operands - sums_of_row) / (vectors + sums_of_row), 1, kMaxTileRows);
}

/// Cycles a step of K of the whole product, about.
double product_cycles(const Contraction& c, const Target& target, int64_t rows, int64_t vectors) {
  const int64_t width = vectors * c.lanes, parts = c.parts();
  const bool near = c.k.is_const() && c.k.value() <= target.l1_bytes / 2 / (parts * width * bits(c.acc_dtype) / 8);
  double columns = 1, edge = 0;  // whole tiles of N, and vectors of the one that N cuts off
  if (c.n.is_const()) {
    columns = static_cast<double>(c.n.value() / width);
    edge = static_cast<double>((c.n.value() % width + c.lanes - 1) / c.lanes);
  } else {
    columns = 1.0 / static_cast<double>(width);
  }
  const auto of_rows = [&](int64_t r) {
    return columns * tile_cycles(r, parts * vectors, near) +
           (edge > 0 ? tile_cycles(r, parts * static_cast<int64_t>(edge), near) : 0);
  };
  if (!c.run.is_const()) return of_rows(rows) / static_cast<double>(rows);
  return static_cast<double>(c.run.value() / rows) * of_rows(rows) + (c.run.value() % rows > 0 ? of_rows(c.run.value() % rows) : 0);
}

Dim matrices(const Contraction& c) { return ir::product(extents_of(c, c.batch_axes)); }

/// Whether the epilogue may be repeated in each tile's code.
bool cheap_post(const Contraction& c) {
  int64_t cost = evaluation_cost(c.post);
  for (const Contraction::Beside& other : c.beside) cost += evaluation_cost(other.post);
  return cost <= kCheapPost;
}

/// What choices depend on. Extents that are not known are alike.
std::string signature(const Contraction& c) {
  constexpr const char* kForms[] = {"here", "wide", "rows", "packed"};
  return fmt::format("contraction {}{} {}x{}x{} of {} B {} A {} post {}", name(c.acc_dtype),
                     c.dot          ? " of bytes"
                     : c.byte_pairs ? " of pairs of bytes"
                     : c.pairs      ? " of pairs"
                                    : "",
                     extent_text(c.m), extent_text(c.n), extent_text(c.k), extent_text(matrices(c)),
                     kForms[static_cast<size_t>(c.b_mode)], c.a_direct ? "in place" : "packed",
                     cheap_post(c) ? "short" : "long") +
         (c.beside.empty() ? "" : fmt::format(" of {}", c.parts()));
}

struct Candidate {
  double cycles;
  int64_t rows, vectors;
};

/// All tiles that fit, the wider ones first.
std::vector<Candidate> candidates(const Contraction& c, const Target& target) {
  std::vector<Candidate> out;
  for (int64_t vectors = std::max<int64_t>(1, kMaxVectors / c.parts()); vectors >= 1; --vectors)
    for (int64_t rows = most_rows(c, target, vectors); rows >= 1; --rows)
      if (!c.run.is_const() || rows <= c.run.value()) out.push_back({product_cycles(c, target, rows, vectors) * (rows > 9 ? 1.05 : 1), rows, vectors});
  return out;
}

const Choice* tuned(const Contraction& c, const Target& target) {
  if (target.tuning == nullptr) return nullptr;
  const auto found = target.tuning->find(c.tunable.signature);
  return found == target.tuning->end() ? nullptr : &found->second;
}

}  // namespace

std::string extent_text(const Dim& extent) { return extent.is_const() ? std::to_string(extent.value()) : "?"; }

void choose_tile(Contraction& c, const Target& target) {
  std::vector<Candidate> tiles = candidates(c, target);
  if (tiles.empty()) tiles.push_back({1, 1, 1});
  c.tunable = {.signature = signature(c), .taken = {}, .others = {}};
  const Candidate* best = &tiles[0];
  for (const Candidate& tile : tiles)
    if (tile.cycles < best->cycles * 0.999) best = &tile;
  if (const Choice* choice = tuned(c, target))
    for (const Candidate& tile : tiles)
      if (tile.rows == choice->rows && tile.vectors == choice->vectors) best = &tile;
  c.tile_rows = best->rows;
  c.tile_lanes = best->vectors * c.lanes;
  c.tunable.taken = {.rows = best->rows, .vectors = best->vectors};
  const double limit = best->cycles * kWorthTrying;
  std::stable_sort(tiles.begin(), tiles.end(), [](const Candidate& x, const Candidate& y) { return x.cycles < y.cycles; });
  for (const Candidate& tile : tiles)
    if (tile.cycles <= limit && c.tunable.others.size() < kMaxOthers) c.tunable.others.push_back({.rows = tile.rows, .vectors = tile.vectors});
  c.rest_rows.clear();
  if (c.run.is_const() && (c.taps.empty() || c.run.value() <= kMaxRows)) {
    if (c.run.value() % c.tile_rows != 0) c.rest_rows.push_back(c.run.value() % c.tile_rows);
    return;
  }
  for (int64_t rows : {8, 4, 2, 1})
    if (rows < c.tile_rows) c.rest_rows.push_back(rows);
}

void choose_blocks(Contraction& c, const Target& target) {
  const int64_t bytes = bits(c.acc_dtype) / 8;
  const Dim inner = ir::product(c.k_axes.size() == 1 ? std::vector<Dim>{} : [&] {
    std::vector<Dim> rest;
    for (size_t i = 1; i < c.k_axes.size(); ++i) rest.push_back(c.extents[static_cast<size_t>(c.k_axes[i])]);
    return rest;
  }());
  // A panel of B stays in the L2 cache while the rows of A pass, a tile's rows of A in the L1 cache.
  const int64_t k_max = c.sums_rows()
                            ? std::numeric_limits<int32_t>::max()
                            : std::clamp<int64_t>(std::min(target.l2_bytes / 4 / (c.parts() * c.tile_lanes * bytes),
                                                           target.l1_bytes * 3 / 4 / (c.tile_rows * bytes)),
                                                  64, 1024);
  const Dim outermost = c.extents[static_cast<size_t>(c.k_axes[0])];
  const int64_t per_step = inner.is_const() ? std::max<int64_t>(inner.value(), 1) : 1;
  const int64_t step_max = std::max<int64_t>(1, k_max / per_step);
  if (outermost.is_const()) {
    const int64_t k = std::max<int64_t>(1, outermost.value()), blocks = (k + step_max - 1) / step_max;
    c.k_step = (k + blocks - 1) / blocks;
    c.one_k_block = blocks == 1;
  } else {
    c.k_step = std::min<int64_t>(step_max, 256);
  }
  if (c.codes) c.k_step = round_up(c.k_step, c.codes->group / c.k_unit);
  if (c.in_place()) c.one_k_block = true;
  c.k_block = c.k_step * per_step;

  const int64_t row_bytes = c.k_block * bytes;
  const bool whole_runs = !c.taps.empty() && c.run.is_const() && c.run.value() <= kMaxRows;
  const int64_t unit = whole_runs ? std::max<int64_t>(1, c.run.value()) : c.tile_rows;  // what a block is a multiple of
  const int64_t m_max = std::clamp(target.l2_bytes / 2 / row_bytes, unit, kMaxRows) / unit * unit;
  c.m_block = round_up(std::min<int64_t>(m_max, 96), unit);
  const Dim others = matrices(c) * c.n_tiles();
  if (c.m.is_const()) {
    const int64_t m = std::max<int64_t>(1, c.m.value()), known = others.is_const() ? std::max<int64_t>(1, others.value()) : 0;
    int64_t blocks = (m + m_max - 1) / m_max;
    // Every block of M packs its tile of B again, where it does, so there are few of them.
    const int64_t wanted = c.b_mode == Contraction::B::kHere ? kWantedBlocks / 2 : c.wide() ? 2 * kWantedBlocks : kWantedBlocks;
    if (known > 0 && known * blocks < wanted) blocks = std::min((wanted + known - 1) / known, (m + unit - 1) / unit);
    if (c.b_mode == Contraction::B::kHere) blocks = std::min(blocks, std::max<int64_t>(1, m / (4 * c.tile_rows)));
    c.m_block = round_up((m + blocks - 1) / blocks, unit);
  }
  // Blocks of other sizes, to be measured.
  const int64_t estimated = c.m_block;
  if (const Choice* choice = tuned(c, target); choice != nullptr && choice->m_block > 0) {
    c.m_block = round_up(std::min(choice->m_block, kMaxRows), unit);
    c.tunable.taken.m_block = choice->m_block;
  }
  for (const int64_t rows : {estimated / 2, estimated * 2, estimated * 4})
    if (const int64_t block = round_up(std::clamp(rows, unit, kMaxRows), unit); block != c.m_block)
      c.tunable.others.push_back({.rows = c.tile_rows, .vectors = c.tile_lanes / c.lanes, .m_block = block});
  if (!c.a_direct) {
    const int64_t rows = kPackedRowsBytes / row_bytes / c.tile_rows * c.tile_rows;
    c.m_block = std::min(c.m_block, std::max(rows, c.tile_rows));
  }
  const Dim a_bytes = c.m * c.k * bytes;
  c.n_outer = c.packed() && (!a_bytes.is_const() || a_bytes.value() <= target.l2_bytes / 2);
  c.post_in_registers = c.one_k_block && !c.wide() && !c.rows_in_lanes && cheap_post(c);
}

}  // namespace tenon::codegen
