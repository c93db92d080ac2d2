#pragma once

#include <cstdint>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/target.h"
#include "support/status.h"

namespace tenon::codegen::spirv {

/// What EmitOptions::narrow_indices counts on: the grid and all dims are smaller, and buffers have fewer than four times so many elements.
/// So a sum of several offsets, and what lies beyond an edge, still fit in 32 bits.
inline constexpr int64_t kNarrowLimit = int64_t{1} << 28;

/// A product that a workgroup of so many invocations computes as one instruction; its dims are multiples of these.
struct WorkgroupMatrix {
  MatrixShape multiples;
  int invocations = 0;
};

/// What the device has beyond Vulkan 1.2 with buffer device addresses and 64-bit integers. A module declares only the
/// capabilities that its kernel uses.
struct EmitOptions {
  int workgroup_size = 64;           // invocations that execute a grid index each; kernels with lanes have so many instead
  int64_t shared_bytes = 32 << 10;   // maxComputeSharedMemorySize; the default is that of codegen::Target
  int subgroup_size = 0;             // of every subgroup, with shuffles; 0: it varies or is not known, and lanes meet in shared memory
  bool narrow_indices = false;       // sizes at run time are within kNarrowLimit: indices may take 32 bits
  bool dot_product = false;          // SPV_KHR_integer_dot_product; else words of bytes are taken apart
  std::vector<MatrixShape> matrices; // VK_KHR_cooperative_matrix, with Vulkan's memory model; they need subgroup_size. Else tiles are in registers
  /// VK_NV_cooperative_matrix2 with functions of elements, on Vulkan 1.3: preferred to `matrices` where tiles are such multiples.
  std::vector<WorkgroupMatrix> workgroup_matrices;
  int64_t max_matrix_side = 0;       // cooperativeMatrixFlexibleDimensionsMaxDimension
  int64_t matrix_shared_bytes = 0;   // cooperativeMatrixWorkgroupScopeReservedSharedMemory: less for modules with those matrices
  int log = -1;                      // a binding for who looks for defects: stores to it neither order nor widen what they come from
  bool denorm_preserve_f32 = false;  // VkPhysicalDeviceFloatControlsProperties: ask for it where it is there
  bool nan_preserve_f32 = false;     // shaderSignedZeroInfNanPreserveFloat32
};

/// The push constants of every kernel: the grid indices [grid_begin, grid_end). Without lanes, one invocation executes grid_begin + its
/// linear id; with lanes, a workgroup executes grid_begin + its own. `parameters` is the device address of num_bindings buffer addresses
/// followed by num_dims dims, then the address of an int32 that a failing check sets to its code.
struct PushConstants {
  uint64_t parameters;
  int64_t grid_begin;
  int64_t grid_end;
};

/// One SPIR-V 1.5 module (Vulkan 1.2; with a workgroup's matrices 1.6, Vulkan 1.3) with the entry point "main". Math is expanded inside, as for every emitter.
/// kUnsupported: a dtype or instruction that SPIR-V has no form for, or more shared memory than the device has.
Result<std::vector<uint32_t>> emit(const kir::Kernel& kernel, const EmitOptions& options = {});

}  // namespace tenon::codegen::spirv
