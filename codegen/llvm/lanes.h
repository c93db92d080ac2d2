#pragma once

#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/target.h"

namespace tenon::codegen {

/// How a value differs between the lanes of a vector loop: not at all, by a constant (i64 only: lane l holds
/// base + l * stride), or in any way.
struct LaneShape {
  enum class Kind : uint8_t { kUniform, kAffine, kVarying } kind = Kind::kUniform;
  int64_t stride = 0;  // kAffine, not 0
  bool operator==(const LaneShape&) const = default;
};

/// Shapes of the values inside one vector loop, by value id; everything defined outside is uniform.
using LaneShapes = std::vector<LaneShape>;
LaneShapes analyze_lanes(const kir::Kernel& kernel, const kir::Inst& vector_loop);

/// Lanes for a vector loop: its own width, or what fills a vector register with the widest dtype that it loads, stores
/// or carries; 64-bit values in between (indices, f64 steps of f32 math) do not count. A short reduction gets several
/// registers, so that its additions overlap.
int choose_width(const kir::Kernel& kernel, const kir::Inst& vector_loop, const LaneShapes& shapes,
                 const Target& target);

/// How many vectors a pass through the loop takes. Where each waits for a long chain of operations, as of a math function, more of
/// them keep the units busy than a processor finds by itself: its scheduler fills with one chain.
int vectors_together(const kir::Kernel& kernel, const kir::Inst& vector_loop, const LaneShapes& shapes, const Target& target);

/// Whether the target masks every access of the loop in hardware: AVX-512 any, AVX2 those of 32 and 64 bits.
bool masks_are_cheap(const kir::Kernel& kernel, const kir::Inst& vector_loop, const LaneShapes& shapes,
                     const Target& target);

}  // namespace tenon::codegen
