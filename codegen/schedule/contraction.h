#pragma once

#include <vector>

#include "codegen/schedule/block_codes.h"
#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// C[batch, m, n] = post(sum over k of A(batch, m, k) * B(batch, k, n)): a matrix product or convolution (as an implicit matrix
/// product) whose axes are sorted into batch, M (only in A), N (only in B, innermost in the output) and K. A register tile holds
/// tile_rows × tile_lanes sums; the blocking is that of Goto & van de Geijn, "Anatomy of High-Performance Matrix
/// Multiplication" (2008), with the panel of B in the L2 cache.
struct Contraction {
  ir::Expr a, b, post;              // over the batch axes and the flat axes m_axis, n_axis, and K's loops
  ir::Expr stored;                  // a load of the result's element; invalid: results are row-major over the output axes
  std::vector<ir::Dim> axes;        // output axes (the first `outer`), then reduce axes
  std::vector<ir::Dim> extents;     // axes, then M, N, K
  size_t outer = 0;
  std::vector<int> batch_axes, m_axes, n_axes;
  int m_axis = 0, n_axis = 0, k_axis = 0;
  ir::Dim m, n, k;
  DType acc_dtype = DType::kInvalid;
  std::vector<int> k_axes;          // the loops over K, outermost first: k_axis alone, or the reduce axes themselves

  /// Of a window over an image that A reads at `index` along one of its dims, of `extent`; elsewhere are zeros. A register tile runs over
  /// the taps from the first to the last that meets the image in one of its rows, which are rows of one run of M.
  struct Taps {
    ir::Expr index;
    ir::Dim extent;
  };
  std::vector<Taps> taps;
  ir::Dim run;                      // taps: M's innermost axis, beyond whose end no tile reaches; else M

  /// How B is read. kPacked: from panels of K × tile_lanes that a kernel of their own makes, once when B is constant. kWide: N's
  /// two axes are a window's rows and columns over a padded image, whose rows are `pitch` apart; the flat N runs over whole
  /// image rows, so that B is read in place, and the columns beyond the window's last are computed and dropped. kRows: in
  /// place, N being its innermost axis alone; the others are in the grid, with the batch. kHere: in
  /// place for few rows of A, else from a panel that each block of the grid packs for itself.
  enum class B : uint8_t { kHere, kWide, kRows, kPacked } b_mode = B::kHere;
  bool packed() const { return b_mode == B::kPacked; }
  bool wide() const { return b_mode == B::kWide; }
  bool in_place() const { return b_mode == B::kWide || b_mode == B::kRows; }
  ir::Dim pitch;
  int padded = -1;                  // the stage made for the padded image
  int packed_stage = -1;
  std::optional<BlockCodes> codes;  // kPacked: panels of words of codes, and of what groups of K share
  int scale_stage = -1, zero_stage = -1;         // codes: the latter; zero_stage -1: codes->zero is a number
  int64_t k_unit = 1;               // elements of K that one step takes: 4, a word of A, where bytes meet codes
  ir::Expr group_scale, group_sum;  // k_unit 4: of a group of A's bytes, its scale (f32) and their sum (i32)
  std::vector<std::pair<int, int64_t>> b_batch;  // kPacked: batch axes that B has, and their strides in matrices

  int64_t tile_rows = 0, tile_lanes = 0, lanes = 0;  // lanes: of one vector
  std::vector<int64_t> rest_rows;   // tiles for the rows that are left, in order
  int64_t k_step = 0;               // of the outermost loop over K; one block: all of it
  int64_t k_block = 0;              // elements of K that a block has at most
  int64_t m_block = 0;
  bool one_k_block = false;
  bool post_in_registers = false;   // the sums never reach memory: `post` is cheap enough to be in every tile's code
  bool rows_in_lanes = false;       // stored: M lies innermost, so the epilogue takes the sums of a block of rows by columns
  bool n_outer = false;             // tiles of N vary slowest in the grid
  bool a_direct = false;            // A's scalars are read in place; else packed, rows of k_block
  bool b_contiguous = false;        // kHere: B's rows can be read in place
  int64_t direct_rows = 0;          // kHere, codes: up to so many rows of A, packing or unpacking a panel does not pay
  bool fma = false;
  bool dot = false;                 // of words of four bytes: see dot_product.h
  bool dot_signed = false;          // dot: bytes of both factors are signed
  bool pairs = false;               // of words of two numbers of bf16: see bf16_pairs.h
  bool byte_pairs = false;          // of words of two differences of bytes: see dot_product.h; panels have both as bytes where they are i16
  ir::Expr row_factor;              // dot: times the sum of a row's bytes, it is taken from each sum; may be invalid

  /// Sums of the same rows of A by columns of other constants, of equal panels (kPacked): the tile holds them beside
  /// its own, and `post` reads what `post` of each makes of them as loads of its stage (a gate, which the result is
  /// multiplied by).
  struct Beside {
    int stage;
    ir::Expr post;
  };
  std::vector<Beside> beside;
  int64_t parts() const { return 1 + static_cast<int64_t>(beside.size()); }
  int64_t panel_lanes() const { return parts() * tile_lanes; }

  Tunable tunable;                  // its tile and blocks

  ir::Dim n_tiles() const { return ir::ceil_div(n, tile_lanes); }
  bool is_k(int axis) const;
  bool sums_rows() const { return row_factor.valid(); }
  bool dots_codes() const { return codes.has_value() && dot; }
  bool unpacks_codes() const { return codes.has_value() && !dot; }
};

/// Extents of some of the axes.
std::vector<ir::Dim> extents_of(const Contraction& c, const std::vector<int>& axes);

/// One sum on a GPU, whose place in M and N is known, and whether it is inside of both.
struct PlacedSum {
  kir::ValueId m, n, sum, inside;
};
/// output[batch, m, n] = post(sum), where it is inside. `index` is the output's by axis; the batch axes are set.
void store_result(Emitter& em, const Contraction& c, int output, std::vector<kir::ValueId> index, const PlacedSum& placed);
/// "128", or "?" for an extent that only a run knows.
std::string extent_text(const ir::Dim& extent);

/// Register tile and blocks, from the extents, the target's registers and caches, or as the target's tuning has them.
void choose_tile(Contraction& c, const Target& target);
void choose_blocks(Contraction& c, const Target& target);

/// B packed: its factor of the stage, before loads are flattened, is replaced by a load that stands for the panels.
inline constexpr int kPackedOperand = kStageOperand - 192;
/// Whether every operand that `e` reads is a constant.
bool reads_constants(const Lowering& lowering, ir::Expr e);
/// Adds the stage [batch…, tiles of N, K…, parts of tile_lanes] that holds factors (over the stage's axes, of which
/// `n_axes` are N, with `k_extents` for the reduce axes) with zeros beyond N. Returns its number.
int add_packed_stage(Lowering& lowering, int stage, std::span<const ir::Expr> parts, std::span<const int> batch_axes,
                     std::span<const int> n_axes, std::span<const ir::Dim> k_extents, int64_t tile_lanes);
/// Adds the stages that `c` reads its codes from.
void add_code_stages(Lowering& lowering, int stage, std::span<const int> batch_axes, std::span<const int> n_axes, Contraction& c);

/// A stage [batch, M, N] that reduces K, whose factors are a load and one of kPackedOperand at [batch, K, N]. `panels` makes the
/// stage [batch, tiles of N, K, tile_lanes] that holds the latter, and its kernel. Refuses as schedule_contraction does.
Status schedule_panels(Lowering& lowering, int stage, const std::function<Result<int>(int64_t tile_lanes)>& panels);

/// On a GPU: products of bytes by dot products of words where the device has them (dot_product.h), others as they are.
Status schedule_contraction_on_gpu(Lowering& lowering, int stage);
/// On a GPU: few rows, or tiles; where these would leave the device idle, in parts of K (`may_split`). Refuses as schedule_contraction does.
Status schedule_contraction_in_lanes(Lowering& lowering, int stage, bool may_split);

/// Writes the kernel: grid over batch, blocks of M and tiles of N.
class ContractionEmitter {
 public:
  ContractionEmitter(const Contraction& c, KernelWriter& writer, int output)
      : c_(c), em_(writer.emitter()), b_(writer.builder()), output_(output) {}
  void emit();

 private:
  using Body = std::function<void()>;
  /// One register tile: its first row in the block, how many rows, how many lanes, and whether N cuts it off.
  struct Tile {
    kir::ValueId row;
    int64_t rows, lanes;
    bool edge;
  };
  /// Where a tile's rows of A begin: base (equal ones are one value) + displacement, and what is added along K.
  struct RowsOfA {
    std::vector<kir::ValueId> base;
    std::vector<int64_t> displacement;
    ir::Expr along_k;
  };
  void bind_grid();
  void whole_or_edge(const std::function<void(int64_t lanes, bool edge)>& body);
  void choose_direct(const Body& body);
  void block_of_k(kir::ValueId k0, kir::ValueId k_end);
  void tiles_of_rows(int64_t lanes, bool edge);
  void tiles_of_run(kir::ValueId from, kir::ValueId to, int64_t lanes, bool edge);
  bool may_have_panel() const { return c_.b_mode == Contraction::B::kHere || c_.unpacks_codes(); }
  void pack_b(kir::ValueId k0, kir::ValueId k_count);
  void unpack_b(kir::ValueId k0, kir::ValueId k_end);
  void pack_a(kir::ValueId k0, kir::ValueId k_count);
  void register_tile(const Tile& tile, kir::ValueId k0, kir::ValueId k_end);
  /// What a tile asks for while it passes over K: at step k, `lines` of `line` elements from base + k * stride on.
  struct Ahead {
    kir::ValueId base, stride;
    int64_t line, lines;
  };
  std::optional<Ahead> ahead(const Tile& tile, kir::ValueId k0, kir::ValueId k_end);
  /// One step of K: the sums with row k of B.
  using Step = std::function<std::vector<kir::ValueId>(kir::ValueId k, std::span<const kir::ValueId> b, std::span<const kir::ValueId> sums)>;
  std::vector<kir::ValueId> over_codes(kir::ValueId k0, kir::ValueId k_end, std::span<const kir::ValueId> lane, std::span<const kir::ValueId> inits,
                                       bool prefetch, const Step& step);
  std::vector<kir::ValueId> load_lanes(int buffer, kir::ValueId at, std::span<const kir::ValueId> lane);
  void ask_ahead(int buffer, kir::ValueId at);
  std::vector<kir::ValueId> dots_of_codes(kir::ValueId k0, kir::ValueId k_end, std::span<const kir::ValueId> lane, std::span<const kir::ValueId> inits,
                                          bool prefetch, const Tile& tile, const RowsOfA& rows);
  /// How a row's offset in A follows from the row before: `step` more, and `coefficient` more where a multiple of `divisor` is reached.
  struct Carry {
    ir::Dim divisor, coefficient;
  };
  struct RowSteps {
    ir::Dim step;
    std::vector<Carry> carries;
    void add(ir::Dim divisor, ir::Dim coefficient);
  };
  std::optional<RowSteps> row_steps(const Affine& offset) const;
  void step_rows(const Tile& tile, const RowSteps& steps, RowsOfA& rows);
  RowsOfA rows_of(const Tile& tile);
  std::optional<ir::Dim> stride_of_rows(const Affine& offset) const;
  /// The taps of K's loop `axis` that meet the image in one of the tile's rows: [lo, hi).
  struct Meeting {
    int axis;
    kir::ValueId lo, hi;
  };
  std::vector<Meeting> taps_that_meet(const Tile& tile);
  void epilogue_from_sums();
  void epilogue_by_columns();
  void finish_row(kir::ValueId row, kir::ValueId lane, std::span<const kir::ValueId> sums, kir::ValueId inside);
  kir::ValueId result_of(std::span<const kir::ValueId> sums);
  void hoist_posts();
  void bind_row(kir::ValueId row);
  std::vector<kir::ValueId> index_of(kir::ValueId row);
  kir::ValueId row_base(kir::ValueId row);
  kir::ValueId result_at(kir::ValueId base, kir::ValueId lane);
  void epilogue_row_wide(kir::ValueId row, std::vector<kir::ValueId> index);
  std::vector<kir::ValueId> over_k(size_t axis, kir::ValueId lo, kir::ValueId hi, kir::ValueId flat, std::span<const kir::ValueId> carried,
                                   const std::function<std::vector<kir::ValueId>(kir::ValueId flat, std::span<const kir::ValueId>)>& body);
  kir::ValueId b_value(int64_t part, kir::ValueId flat_k, kir::ValueId lane, kir::ValueId inside);
  void split_a_offset(ir::Expr& base, ir::Expr& along_k);
  /// A factor's element; of a pair, the odd one and the even one, widened.
  struct Element {
    kir::ValueId whole, odd = -1, even = -1;
  };
  Element element(kir::ValueId loaded);
  Element integers(kir::ValueId loaded);
  kir::ValueId multiply_add(const Element& x, const Element& y, kir::ValueId sum);
  kir::ValueId minimum(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kMin, {x, y}); }
  kir::ValueId zero() { return constant(b_, c_.acc_dtype, {}); }
  /// Product of the extents of K's loops after `axis`.
  ir::Dim inner_k(size_t axis) const;

  const Contraction& c_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  int panel_ = -1, rows_of_a_ = -1, sums_ = -1;  // sums_: by row, part and lane
  bool direct_ = false;             // emitting the code that reads B in place, codes in their words
  kir::ValueId m0_ = -1, n0_ = -1, m_count_ = -1, n_count_ = -1, k0_ = -1, k_end_ = -1, panel_base_ = -1, panel_number_ = -1;
  std::vector<kir::ValueId> output_index_;  // by output axis; batch ones are set
  std::vector<Meeting> meeting_;            // of the tile whose loops are written
};

}  // namespace tenon::codegen
