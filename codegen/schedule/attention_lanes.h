#pragma once

#include "codegen/schedule/attention.h"

namespace tenon::codegen {

/// How workgroups of a GPU go through attention. One has `rows` rows of one matrix of the batch and goes through its keys (all, or a
/// part of them) by `keys` at a time: the tile of scores, rows × keys, and the sums, rows × n, are shared out among row_lanes ×
/// column_lanes lanes, lane_rows rows each. Queries stay in the shared memory, components of keys and then rows of values come through
/// it in slices. row_parts lanes look together for the maximum of a row.
struct AttentionTiles {
  int64_t row_lanes = 0, column_lanes = 0;  // powers of two
  int64_t lane_rows = 1, lane_keys = 1, lane_columns = 1;
  int64_t d = 0, n = 0;
  int64_t d_slice = 0, key_slice = 0;  // what is shared at once of the keys' components, of the values' rows
  int64_t parts = 1;                   // of the keys, each with a workgroup of its own
  bool fma = false;

  int64_t lanes() const { return row_lanes * column_lanes; }
  int64_t rows() const { return row_lanes * lane_rows; }
  int64_t keys() const { return column_lanes * lane_keys; }
  int64_t pitch() const { return column_lanes * lane_columns; }  // of sums and values: n, up to whole lanes
  int64_t row_parts() const { return std::min<int64_t>(8, lanes() / rows()); }
  bool values_in_place() const { return row_lanes == 1; }                           // nobody shares them
  int64_t queries() const { return std::max(d * (rows() + 1), rows() * pitch()); }  // elements; the sums lie there at the end
  int64_t slices() const { return std::max(d_slice * (keys() + 1), values_in_place() ? 0 : key_slice * pitch()); }
  int64_t shared_bytes(int64_t element) const;
};

/// For `rows` rows, INT64_MAX: an unknown number. kUnsupported where no tile fits in the memory that lanes share.
Result<AttentionTiles> choose_attention_tiles(const Attention& a, int64_t rows, const Target& target);

/// A row's sums over a part of the keys: of values times weights, of exponentials, and the largest score.
struct AttentionParts {
  int sums = -1, totals = -1, maxima = -1;  // bindings
};

/// Online softmax over tiles of keys, as emit_attention. With parts, what each has of each row goes to `parts`; else the rows are finished
/// and stored in `output`. Grid: batch × blocks of rows × parts.
void emit_attention_tiles(const Attention& a, const AttentionTiles& t, KernelWriter& writer, int output, const AttentionParts& parts);

/// Combines parts, which are scaled to the largest maximum, and finishes rows. Grid: batch × rows × n, an invocation each.
void emit_attention_parts(const Attention& a, const AttentionTiles& t, KernelWriter& writer, int output, const AttentionParts& parts);

/// One kernel, or two where the rows are so few that the keys are shared out; of an unknown number of rows both ways, of which a run takes
/// one. kUnsupported with the reason.
Status schedule_attention_in_lanes(Lowering& lowering, const Attention& a);

}  // namespace tenon::codegen
