#pragma once

#include <map>
#include <string>
#include <vector>

#include "codegen/lower/lower.h"
#include "ir/graph.h"
#include "ir/op.h"

namespace tenon::lower_test {

/// Values of symbols by name and of tensors by graph value.
struct Instance {
  std::map<std::string, int64_t> symbols;
  std::map<const ir::Value*, Tensor> tensors;
};

codegen::Target cpu(int vector_bits, bool fma);
codegen::Target gpu();
/// aarch64 from the least to all that it may have, where it can be emulated: run_lowered() then runs what LLVM makes of the kernels.
std::vector<codegen::Target> emulated();
/// CPUs of 128, 256 and 512 bits, a GPU and the last of what is emulated; the widest CPU comes first.
std::vector<codegen::Target> every_target();

/// A tensor of the value's shape under the instance's symbols, filled from a seed: small integers for integers, -1…1 for floats.
Tensor random_tensor(const ir::Value& value, const Instance& instance, uint64_t seed);

/// The definition: every body evaluated element by element in double, node by node.
Status evaluate_node(const ir::Node& node, Instance& instance);

/// The outputs of a node that was lowered for `target`: its kernels are interpreted, or emulated where the target is one of emulated().
Result<std::vector<Tensor>> run_lowered(const codegen::LoweredOp& lowered, const ir::Node& node, const Instance& given, const codegen::Target& target = {});
/// Equal within `tolerance` of the largest magnitude, NaN equal to NaN.
void expect_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what);

/// Lowers `node`, runs its kernels and compares every output with evaluate_node(). Relative to the largest magnitude
/// of the output. Returns the lowered op's implementation; failures are gtest failures.
std::string check_lowering(const ir::Node& node, const codegen::Target& target, const Instance& instance, double tolerance = 1e-5);
/// The same on every target; of the widest CPU, the implementation.
std::string check_everywhere(const ir::Node& node, const Instance& instance, double tolerance = 1e-5);

}  // namespace tenon::lower_test
