#pragma once

#include <optional>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A constant factor whose elements are small integers and numbers that a block along K shares, in f32 throughout:
///
///     B(n, k) = (code(n, k) - zero(n, k / group)) * scale(n, k / group)
///
/// What quantises weights in blocks writes it so, whatever the op: it can stay packed in memory, 32 / bits codes in a
/// word.
struct BlockCodes {
  ir::Expr code;         // i32, 0 <= code < 2^bits, over the stage's axes
  ir::Expr zero, scale;  // f32, at the first k of a group
  int bits = 0;          // 2, 4 or 8
  int64_t group = 0;     // elements of K: a multiple of codes_per_word(), and K of it
  int64_t codes_per_word() const { return 32 / bits; }
  int64_t codes_per_byte() const { return 8 / bits; }
};

/// The form of `b`, which reads constants alone, in a stage with one reduce axis; nullopt when it has no such form.
std::optional<BlockCodes> block_codes(const Lowering& lowering, int stage, ir::Expr b);

/// A factor whose elements are signed bytes that a kernel reads, each times a number that a group along K shares:
/// A(m, k) = byte(m, k) * scale(m, k / group).
struct BlockBytes {
  ir::Expr load, scale;  // over the stage's axes
  int64_t group = 0;
};
std::optional<BlockBytes> block_bytes(const Lowering& lowering, int stage, ir::Expr a);

/// Where code i of a word lies: the first four in the lowest bits of its bytes, the next four above them.
struct CodePlace {
  int64_t byte, bit;
};
inline CodePlace place_of(const BlockCodes& codes, int64_t i) { return {i % 4, i / 4 * codes.bits}; }

/// The word of codes from k = codes_per_word() * i on, as i32; i is the reduce axis' index.
ir::Expr word_of_codes(const BlockCodes& codes, int k_axis);
/// `e` with k * `step` in the place of k, the reduce axis' index.
ir::Expr at_step(ir::Expr e, int k_axis, int64_t step);

}  // namespace tenon::codegen
