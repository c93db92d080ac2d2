#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "codegen/llvm/jit.h"
#include "codegen/target.h"

/// Kernels that keep a processor busy in one way: what it does at best, by the code that its kernels are made of.
namespace tenon::eval {

/// A chain of multiply-adds in registers: `operations` a round, a multiply-add being 2. Null where the target has no instruction for them.
struct ChainProbe {
  runtime::KernelFn fn = nullptr;
  double operations = 0;

  void run(int64_t rounds) const;
};

struct Probes {
  std::unique_ptr<codegen::CpuJit> code;
  std::string vectors;            // "AVX-512", "AVX2", "SSE", "NEON"
  ChainProbe floats;              // of f32
  ChainProbe bytes;               // of bytes, summed in 32 bits
  ChainProbe bf16;                // of bf16 in pairs, summed in f32
  runtime::KernelFn reads = nullptr;

  /// Reads `count` floats, a multiple of kFloatsPerTurn, aligned to 64 bytes.
  void read(const float* data, size_t count) const;
};

inline constexpr size_t kFloatsPerTurn = 128;  // that are read between two branches

/// For a target that this machine can execute.
Result<Probes> make_probes(const codegen::Target& target);

}  // namespace tenon::eval
