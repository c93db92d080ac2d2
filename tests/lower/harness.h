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

/// A tensor of the value's shape under the instance's symbols, filled from a seed: small integers for integers, -1…1 for floats.
Tensor random_tensor(const ir::Value& value, const Instance& instance, uint64_t seed);

/// The definition: every body evaluated element by element in double, node by node.
Status evaluate_node(const ir::Node& node, Instance& instance);

/// Interprets the kernels of a lowered node; its outputs.
Result<std::vector<Tensor>> run_lowered(const codegen::LoweredOp& lowered, const ir::Node& node, const Instance& given);
/// Equal within `tolerance` of the largest magnitude, NaN equal to NaN.
void expect_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what);

/// Lowers `node`, interprets its kernels and compares every output with evaluate_node(). Relative to the largest magnitude
/// of the output. Returns the lowered op's implementation; failures are gtest failures.
std::string check_lowering(const ir::Node& node, const codegen::Target& target, const Instance& instance, double tolerance = 1e-5);
/// The same on CPUs of 128, 256 and 512 bits and on a GPU.
std::string check_everywhere(const ir::Node& node, const Instance& instance, double tolerance = 1e-5);

}  // namespace tenon::lower_test
