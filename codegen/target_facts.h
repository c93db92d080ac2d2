#pragma once

#include "codegen/target.h"
#include "passes/pass.h"

namespace tenon::codegen {

/// What passes are told of a target. GPUs want values row-major.
inline passes::TargetFacts facts(const Target& target) {
  return {.vector_bytes = target.kind == Target::Kind::kGpu ? 0 : target.vector_bits / 8, .byte_products = target.has_dot4 || target.has_dot4_signed};
}

}  // namespace tenon::codegen
