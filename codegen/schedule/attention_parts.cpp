#include "codegen/schedule/attention_rows.h"

namespace tenon::codegen {

using kir::LoopKind;
using kir::ValueId;

namespace {

class PartsOfAttention : public RowsOfAttention {
 public:
  using RowsOfAttention::RowsOfAttention;

  void emit() {
    const ValueId row = quotient(b_.grid_index(), t_.n), n = rest(b_.grid_index(), t_.n);
    const ValueId m = em_.dim(a_.m()), batch = b_.op(ir::ScalarOp::kDiv, {row, m});
    bind_axes(a_.batch_axes, batch);
    bind_axes(a_.m_axes, b_.sub(row, b_.mul(batch, m)));
    bind(a_.n_axis, n);
    const ValueId least = number(-kInfinity);
    const ValueId largest = over_parts(std::span(&least, 1), [&](ValueId part, std::span<const ValueId> carried) {
      return std::vector<ValueId>{maximum(carried[0], b_.load(parts_.maxima, part_of_row(part, row)))};
    })[0];
    const ValueId base = finite(largest), zeros[] = {number(0), number(0)};
    const std::vector<ValueId> sums = over_parts(zeros, [&](ValueId part, std::span<const ValueId> carried) {
      const ValueId at = part_of_row(part, row), scale = exponential(b_.load(parts_.maxima, at), base);
      const ValueId sum = b_.load(parts_.sums, b_.add(b_.mul(at, b_.i64(t_.n)), n));
      return std::vector<ValueId>{multiply_add(b_.load(parts_.totals, at), scale, carried[0]), multiply_add(sum, scale, carried[1])};
    });
    finish(largest, sums[0], sums[1], -1);
  }

 private:
  std::vector<ValueId> over_parts(std::span<const ValueId> inits,
                                  const std::function<std::vector<ValueId>(ValueId, std::span<const ValueId>)>& body) {
    return em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(t_.parts), 1, inits, body);
  }
};

}  // namespace

void emit_attention_parts(const Attention& a, const AttentionTiles& t, KernelWriter& writer, int output, const AttentionParts& parts) {
  PartsOfAttention(a, t, writer, output, parts).emit();
}

}  // namespace tenon::codegen
