#include "codegen/lower/pad.h"
#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

/// Codes of a panel's words as numbers, one vector of lanes beside the other.
class Unpacker {
 public:
  Unpacker(kir::KernelBuilder& b, const BlockCodes& codes, bool fma, std::vector<ValueId> scale,
           std::vector<ValueId> zero)
      : b_(b), codes_(codes), fma_(fma), scale_(std::move(scale)), zero_(std::move(zero)) {
    // A code stays where it is in its byte: times 2^-place, which is exact, it is what it would be at place 0.
    for (int64_t bit = 0; bit < 8; bit += codes_.bits)
      for (ValueId s : scale_)
        placed_scale_.push_back(
            bit == 0 ? s : b_.op(ScalarOp::kMul, {s, number(1.0 / static_cast<double>(int64_t{1} << bit))}));
    if (constant_zero() && fma_)
      for (ValueId s : scale_) less_.push_back(b_.op(ScalarOp::kMul, {s, number(-codes_.zero.node().scalar.f)}));
  }

  /// Code `i` of each word.
  std::vector<ValueId> at(const std::vector<ValueId>& words, int64_t i) {
    const auto [byte, bit] = place_of(codes_, i);
    const ValueId mask = i32(((int64_t{1} << codes_.bits) - 1) << bit);
    std::vector<ValueId> out;
    for (size_t v = 0; v < words.size(); ++v) {
      const ValueId low = byte == 0 ? words[v] : b_.op(ScalarOp::kShr, {words[v], i32(8 * byte)});
      out.push_back(number_of(b_.cast(b_.op(ScalarOp::kAnd, {low, mask}), DType::kF32), v, bit));
    }
    return out;
  }

 private:
  bool constant_zero() const { return codes_.zero.node().kind == ir::ExprKind::kConst; }
  ValueId number(double value) { return b_.constant(DType::kF32, value); }
  ValueId i32(int64_t value) { return b_.constant_int(DType::kI32, value); }

  /// (code - zero) * scale, rounded once.
  ValueId number_of(ValueId code, size_t v, int64_t bit) {
    const double unit = static_cast<double>(int64_t{1} << bit);
    const ValueId scale = placed_scale_[static_cast<size_t>(bit / codes_.bits) * scale_.size() + v];
    if (constant_zero()) {
      if (fma_) return b_.op(ScalarOp::kFma, {code, scale, less_[v]});
      return b_.op(ScalarOp::kMul, {b_.op(ScalarOp::kSub, {code, number(codes_.zero.node().scalar.f * unit)}), scale});
    }
    const ValueId whole = bit == 0 ? code : b_.op(ScalarOp::kMul, {code, number(1 / unit)});
    return b_.op(ScalarOp::kMul, {b_.op(ScalarOp::kSub, {whole, zero_[v]}), scale_[v]});
  }

  kir::KernelBuilder& b_;
  const BlockCodes& codes_;
  bool fma_;
  std::vector<ValueId> scale_, zero_, placed_scale_, less_;
};

}  // namespace

std::vector<ValueId> ContractionEmitter::load_lanes(int buffer, ValueId at, std::span<const ValueId> lane) {
  std::vector<ValueId> out;
  for (ValueId l : lane) out.push_back(b_.load(buffer, b_.add(at, l)));
  return out;
}

/// A row of a panel that is read a little later.
void ContractionEmitter::ask_ahead(int buffer, ValueId at) {
  for (int64_t i = 0; i < c_.tile_lanes * kWordBytes; i += kLineBytes)
    b_.prefetch(buffer, b_.add(at, b_.i64((kStreamAheadBytes + i) / kWordBytes)));
}

/// The steps of K from k0 to k_end, with rows of B unpacked from codes: groups, their words, the codes of each word.
std::vector<ValueId> ContractionEmitter::over_codes(ValueId k0, ValueId k_end, std::span<const ValueId> lane,
                                                    std::span<const ValueId> inits, bool prefetch, const Step& step) {
  const BlockCodes& codes = *c_.codes;
  const int words_buffer = em_.buffer(c_.b.node().operand);
  const ValueId lanes = b_.i64(c_.tile_lanes), per_word = b_.i64(codes.codes_per_word());
  const ValueId groups = b_.mul(panel_number_, b_.i64(c_.k.value() / codes.group * c_.tile_lanes));
  return em_.loop(LoopKind::kSerial, k0, k_end, codes.group, inits, [&](ValueId k, std::span<const ValueId> outer) {
    const ValueId group = b_.add(groups, b_.mul(b_.op(ScalarOp::kDiv, {k, b_.i64(codes.group)}), lanes));
    std::vector<ValueId> zero;
    const std::vector<ValueId> scale = load_lanes(em_.buffer(kStageOperand + c_.scale_stage), group, lane);
    if (c_.zero_stage >= 0) zero = load_lanes(em_.buffer(kStageOperand + c_.zero_stage), group, lane);
    if (prefetch) ask_ahead(em_.buffer(kStageOperand + c_.scale_stage), group);
    Unpacker unpacker(b_, codes, c_.fma, scale, zero);
    const ValueId first = b_.op(ScalarOp::kDiv, {k, per_word});
    return em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(codes.group / codes.codes_per_word()), 1, outer,
                    [&](ValueId word, std::span<const ValueId> carried) {
                      const ValueId at = b_.add(panel_base_, b_.mul(b_.add(first, word), lanes));
                      const std::vector<ValueId> words = load_lanes(words_buffer, at, lane);
                      if (prefetch) ask_ahead(words_buffer, at);
                      std::vector<ValueId> sums(carried.begin(), carried.end());
                      for (int64_t i = 0; i < codes.codes_per_word(); ++i)
                        em_.scoped([&] {
                          const ValueId row = b_.add(b_.add(k, b_.mul(word, per_word)), b_.i64(i));
                          em_.bind(c_.k_axes[0], row);
                          sums = step(row, unpacker.at(words, i), sums);
                        });
                      return sums;
                    });
  });
}

/// panel[k][lane] = B(k0 + k, n0 + lane), for the tiles of several rows of A.
void ContractionEmitter::unpack_b(ValueId k0, ValueId k_end) {
  em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_.lanes), 1, [&](ValueId first_lane) {
    std::vector<ValueId> lane;
    for (int64_t v = 0; v < c_.tile_lanes; v += c_.lanes) lane.push_back(b_.add(first_lane, b_.i64(v)));
    over_codes(k0, k_end, lane, {}, true, [&](ValueId k, std::span<const ValueId> numbers, std::span<const ValueId>) {
      const ValueId row = b_.mul(b_.sub(k, k0), b_.i64(c_.tile_lanes));
      for (size_t v = 0; v < lane.size(); ++v) b_.store(panel_, b_.add(row, lane[v]), numbers[v]);
      return std::vector<ValueId>{};
    });
  }, static_cast<int>(c_.lanes));
}

/// The same where A's rows are words of bytes: the products of a group are summed in integers, and its sum is a number
/// times the scales of both. What a zero point takes from it is the zero point times the sum of A's bytes.
std::vector<ValueId> ContractionEmitter::dots_of_codes(ValueId k0, ValueId k_end, std::span<const ValueId> lane,
                                                       std::span<const ValueId> inits, bool prefetch, const Tile& tile,
                                                       const RowsOfA& rows) {
  const BlockCodes& codes = *c_.codes;
  const auto count = static_cast<size_t>(tile.rows);
  const int words_buffer = em_.buffer(c_.b.node().operand), a_buffer = em_.buffer(c_.a.node().operand);
  const int64_t steps_of_word = codes.codes_per_word() / c_.k_unit, steps = codes.group / c_.k_unit;
  const ValueId lanes = b_.i64(c_.tile_lanes);
  const ValueId groups = b_.mul(panel_number_, b_.i64(c_.k.value() / steps * c_.tile_lanes));
  const ScalarOp dot = c_.dot_signed ? ScalarOp::kDot4Signed : ScalarOp::kDot4;
  const ValueId mask =
      b_.constant_int(DType::kI32, codes.bits == 8 ? -1 : ((int64_t{1} << codes.bits) - 1) * 0x01010101);
  const ValueId none = b_.constant_int(DType::kI32, 0);
  return em_.loop(LoopKind::kSerial, k0, k_end, steps, inits, [&](ValueId k, std::span<const ValueId> outer) {
    const ValueId group = b_.add(groups, b_.mul(b_.op(ScalarOp::kDiv, {k, b_.i64(steps)}), lanes));
    if (prefetch) ask_ahead(em_.buffer(kStageOperand + c_.scale_stage), group);
    const std::vector<ValueId> zeros(count * lane.size(), none);
    const ValueId first = b_.op(ScalarOp::kDiv, {k, b_.i64(steps_of_word)});
    const std::vector<ValueId> dots =
        em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(steps / steps_of_word), 1, zeros,
                 [&](ValueId word, std::span<const ValueId> carried) {
                   const ValueId at = b_.add(panel_base_, b_.mul(b_.add(first, word), lanes));
                   const std::vector<ValueId> words = load_lanes(words_buffer, at, lane);
                   if (prefetch) ask_ahead(words_buffer, at);
                   std::vector<ValueId> sums(carried.begin(), carried.end());
                   for (int64_t i = 0; i < steps_of_word; ++i)
                     em_.scoped([&] {
                       em_.bind(c_.k_axes[0], b_.add(b_.add(k, b_.mul(word, b_.i64(steps_of_word))), b_.i64(i)));
                       const ValueId along = em_.emit(rows.along_k);
                       std::vector<ValueId> bytes;
                       for (ValueId w : words) {
                         const ValueId low =
                             i == 0 ? w : b_.op(ScalarOp::kShr, {w, b_.constant_int(DType::kI32, i * codes.bits)});
                         bytes.push_back(codes.bits == 8 ? low : b_.op(ScalarOp::kAnd, {low, mask}));
                       }
                       for (size_t row = 0; row < count; ++row) {
                         const ValueId a =
                             b_.load(a_buffer, b_.add(b_.add(rows.base[row], along), b_.i64(rows.displacement[row])));
                         for (size_t v = 0; v < bytes.size(); ++v) {
                           ValueId& sum = sums[row * bytes.size() + v];
                           sum = b_.op(dot, {bytes[v], a, sum});
                         }
                       }
                     });
                   return sums;
                 });
    std::vector<ValueId> zero, sums;
    const std::vector<ValueId> scale = load_lanes(em_.buffer(kStageOperand + c_.scale_stage), group, lane);
    if (c_.zero_stage >= 0) zero = load_lanes(em_.buffer(kStageOperand + c_.zero_stage), group, lane);
    for (size_t row = 0; row < count; ++row)
      em_.scoped([&] {
        em_.bind(c_.k_axes[0], k);
        em_.bind(c_.m_axis, b_.add(m0_, b_.add(tile.row, b_.i64(static_cast<int64_t>(row)))));
        const ValueId a_scale = em_.emit(c_.group_scale), a_sum = b_.cast(em_.emit(c_.group_sum), DType::kF32);
        for (size_t v = 0; v < lane.size(); ++v) {
          const size_t at = row * lane.size() + v;
          const ValueId z = zero.empty() ? b_.constant(DType::kF32, codes.zero.node().scalar.f) : zero[v];
          const ValueId centred =
              b_.op(ScalarOp::kSub, {b_.cast(dots[at], DType::kF32), b_.op(ScalarOp::kMul, {z, a_sum})});
          const ValueId factor = b_.op(ScalarOp::kMul, {scale[v], a_scale});
          sums.push_back(c_.fma ? b_.op(ScalarOp::kFma, {centred, factor, outer[at]})
                                : b_.add(outer[at], b_.op(ScalarOp::kMul, {centred, factor})));
        }
      });
    return sums;
  });
}

}  // namespace tenon::codegen
