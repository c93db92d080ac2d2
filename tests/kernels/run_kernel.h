#pragma once

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "codegen/kernel_ir.h"
#include "codegen/llvm/jit.h"

namespace tenon::kir {

/// The CPU targets that this machine can execute.
inline std::vector<std::string> runnable_targets() {
  std::vector<std::string> out;
  for (const char* name : {"x86-64-v2", "x86-64-v3", "x86-64-v4", "host"})
    if (codegen::cpu_target(name).ok()) out.emplace_back(name);
  return out;
}

inline codegen::CpuJit& jit_for(const std::string& target) {
  static std::vector<std::pair<std::string, std::unique_ptr<codegen::CpuJit>>> jits;
  for (auto& [name, jit] : jits)
    if (name == target) return *jit;
  jits.emplace_back(target, codegen::CpuJit::create(*codegen::cpu_target(target)).value());
  return *jits.back().second;
}

/// Compiled code, or a test failure and null.
inline runtime::KernelFn compile(const Kernel& kernel, const std::string& target) {
  const Status valid = verify(kernel);
  EXPECT_TRUE(valid.ok()) << valid.to_string() << print(kernel);
  if (!valid.ok()) return nullptr;
  const Kernel* const one[] = {&kernel};
  auto compiled = jit_for(target).compile(one, 1);
  EXPECT_TRUE(compiled.ok()) << compiled.status().to_string() << print(kernel);
  return compiled.ok() ? (*compiled)[0] : nullptr;
}

}  // namespace tenon::kir
