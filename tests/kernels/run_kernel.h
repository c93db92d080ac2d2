#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "codegen/kernel_ir.h"
#include "codegen/llvm/jit.h"
#include "tests/aarch64/emulator/emulator.h"

namespace tenon::kir {

/// The CPU targets that this machine can execute.
inline std::vector<std::string> native_targets() {
  std::vector<std::string> out;
  for (const char* name : {"x86-64-v2", "x86-64-v3", "x86-64-v4", "host"})
    if (codegen::cpu_target(name).ok()) out.emplace_back(name);
  return out;
}

/// These, and what it can emulate.
inline std::vector<std::string> runnable_targets() {
  std::vector<std::string> out = native_targets();
  if (emulator::Emulator::available().ok()) out.insert(out.end(), emulator::targets().begin(), emulator::targets().end());
  return out;
}

inline codegen::CpuJit& jit_for(const std::string& target) {
  static std::vector<std::pair<std::string, std::unique_ptr<codegen::CpuJit>>> jits;
  for (auto& [name, jit] : jits)
    if (name == target) return *jit;
  jits.emplace_back(target, codegen::CpuJit::create(*codegen::cpu_target(target)).value());
  return *jits.back().second;
}

/// What a kernel is bound to: a container or an array.
using Binding = std::span<std::byte>;
Binding bound(const auto& values) {
  const auto seen = std::as_bytes(std::span(values));
  return {const_cast<std::byte*>(seen.data()), seen.size()};
}

inline Binding bound(const Tensor& tensor) { return {const_cast<std::byte*>(tensor.data()), tensor.bytes()}; }

/// A compiled kernel of this machine or an emulated one.
class CompiledKernel {
 public:
  CompiledKernel() = default;
  explicit CompiledKernel(runtime::KernelFn function) : function_(function) {}
  CompiledKernel(std::shared_ptr<emulator::Emulator> emulator, int32_t number, int num_dims)
      : emulator_(std::move(emulator)), number_(number), num_dims_(static_cast<size_t>(num_dims)) {}
  explicit operator bool() const { return function_ != nullptr || emulator_ != nullptr; }

  int32_t operator()(std::span<const Binding> bindings, const int64_t* dims, int64_t begin, int64_t end) const {
    if (emulator_ != nullptr) return emulate(bindings, dims, begin, end);
    std::vector<void*> pointers;
    for (Binding binding : bindings) pointers.push_back(binding.data());
    return function_(pointers.data(), dims, begin, end);
  }

 private:
  // Each binding ends where touching more is a fault.
  int32_t emulate(std::span<const Binding> bindings, const int64_t* dims, int64_t begin, int64_t end) const {
    std::vector<std::shared_ptr<Buffer>> buffers;
    std::vector<emulator::Place> places;
    for (size_t i = 0; i < bindings.size(); ++i) {
      const auto same = std::ranges::find(bindings.first(i), bindings[i].data(), &Binding::data);
      if (same != bindings.begin() + static_cast<int64_t>(i)) {
        buffers.push_back(buffers[static_cast<size_t>(same - bindings.begin())]);
      } else {
        buffers.push_back(emulator_->allocate(bindings[i].size(), 1).value());
        std::ranges::copy(bindings[i], buffers.back()->data());
      }
      places.push_back(*emulator_->place_of(buffers.back()->data()));
    }
    const auto code = emulator_->run(number_, places, {dims, num_dims_}, begin, end);
    if (!code.ok()) {
      ADD_FAILURE() << code.status().to_string();
      return -1;
    }
    for (size_t i = 0; i < bindings.size(); ++i) std::copy_n(buffers[i]->data(), bindings[i].size(), bindings[i].data());
    return *code;
  }

  runtime::KernelFn function_ = nullptr;
  std::shared_ptr<emulator::Emulator> emulator_;
  int32_t number_ = 0;
  size_t num_dims_ = 0;
};

inline Result<CompiledKernel> compile_emulated(const Kernel& kernel, const std::string& target) {
  Kernel named = clone(kernel);
  named.name = "kernel";
  const Kernel* const one[] = {&named};
  TENON_ASSIGN_OR_RETURN(const std::string object, codegen::emit(one, *codegen::cpu_target(target, false), codegen::EmitKind::kObject));
  TENON_ASSIGN_OR_RETURN(auto emulator, emulator::Emulator::shared(target));
  TENON_ASSIGN_OR_RETURN(const int32_t number, emulator->link(object, named.name));
  return CompiledKernel(std::move(emulator), number, kernel.num_dims);
}

/// Compiled code, or a test failure and none.
inline CompiledKernel compile(const Kernel& kernel, const std::string& target) {
  const Status valid = verify(kernel);
  EXPECT_TRUE(valid.ok()) << valid.to_string() << print(kernel);
  if (!valid.ok()) return {};
  Result<CompiledKernel> made = CompiledKernel();
  if (std::ranges::find(emulator::targets(), target) != emulator::targets().end()) {
    made = compile_emulated(kernel, target);
  } else {
    const Kernel* const one[] = {&kernel};
    auto compiled = jit_for(target).compile(one, 1);
    made = compiled.ok() ? Result<CompiledKernel>(CompiledKernel((*compiled)[0])) : compiled.status();
  }
  EXPECT_TRUE(made.ok()) << made.status().to_string() << print(kernel);
  return made.ok() ? *made : CompiledKernel();
}

}  // namespace tenon::kir
