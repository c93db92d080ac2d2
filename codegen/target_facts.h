#pragma once

#include "codegen/target.h"
#include "passes/pass.h"

namespace tenon::codegen {

/// Whether CPUs of the target multiply pairs of 16-bit integers and add them in one instruction (pmaddwd).
inline bool multiplies_pairs(const Target& target) {
#if defined(__x86_64__)
  if (target.kind == Target::Kind::kCpu && target.triple.empty()) return true;
#endif
  return target.triple.starts_with("x86_64");
}

/// Whether sums of products of bytes are faster than those of floats. A product of pairs and its addition are two instructions for twice a
/// multiply-add's terms, so they are where units add that do not multiply: x86 has none for vectors of 512 bits.
inline bool multiplies_bytes_faster(const Target& target) {
  return target.has_dot4 || target.has_dot4_signed || (multiplies_pairs(target) && target.vector_bits < 512);
}

/// What passes are told of a target. GPUs want values row-major.
inline passes::TargetFacts facts(const Target& target) {
  return {.vector_bytes = target.kind == Target::Kind::kGpu ? 0 : target.vector_bits / 8, .byte_products = multiplies_bytes_faster(target)};
}

}  // namespace tenon::codegen
