#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/tuning.h"
#include "support/dtype.h"
#include "support/status.h"

namespace tenon::codegen {

/// A product of matrices that a GPU's subgroup computes as one instruction: m×k by k×n, added to sums of another dtype.
struct MatrixShape {
  int m = 0, n = 0, k = 0;
  DType a = DType::kInvalid, b = DType::kInvalid, sum = DType::kInvalid;
  bool operator==(const MatrixShape&) const = default;
};

/// What schedules and emitters need to know of the machine that runs the code.
struct Target {
  enum class Kind : uint8_t { kCpu, kGpu } kind = Kind::kCpu;

  // CPU
  std::string triple;               // "x86_64-pc-linux-gnu"; empty: the host's
  std::string cpu;                  // LLVM's name; empty: the host's
  std::string features;             // LLVM's feature string, "+avx2,+fma"
  int vector_bits = 128;            // widest vectors to use: 128, 256, 512
  int vector_registers = 16;
  bool has_fma = false;
  bool has_dot4 = false;            // sums products of unsigned and signed bytes in 32-bit lanes (VNNI, FEAT_I8MM)
  bool has_dot4_signed = false;     // the same of signed bytes alone, and of unsigned ones (FEAT_DotProd)
  bool has_bf16_pairs = false;      // adds products of two pairs of bf16 to sums of f32 (AVX512-BF16, FEAT_BF16)
  int64_t l1_bytes = 32 << 10, l2_bytes = 1 << 20;
  bool winograd = true;             // convolutions may be computed by fewer products that round more (schedule/winograd.h)
  std::shared_ptr<const Tuning> tuning;  // null: schedules estimate everything

  // GPU
  int subgroup_size = 32;
  int max_workgroup = 1024;
  int64_t shared_bytes = 32 << 10;
  int64_t matrix_reserved_bytes = 0;  // of these, what kernels lose whose tiles are matrices of workgroups
  int lane_sums = 64;               // of a contraction that an invocation holds in registers
  int64_t busy_workgroups = 256;    // from which on no part of the device is idle
  std::vector<MatrixShape> matrices;  // of matrix units; empty: there are none

  int lanes(int dtype_bits) const { return vector_bits / dtype_bits; }
};

inline constexpr std::string_view kNoWinograd = "-winograd";

/// The host, or a named level of a family of processors:
///
///     x86-64-v2   SSE4.2, 128 bits          aarch64   Armv8-A with NEON, 128 bits; behind it any of +dotprod, +i8mm, +bf16
///     x86-64-v3   AVX2 and FMA, 256 bits
///     x86-64-v4   AVX-512
///
/// kNoWinograd behind the name forbids that. kInvalidArgument names the choices; kUnsupported when the host cannot execute the level
/// and `must_run` is set.
Result<Target> cpu_target(std::string_view name, bool must_run = true);

}  // namespace tenon::codegen
