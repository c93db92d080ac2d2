#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "codegen/kernel_ir.h"

/// Modules for matrix units, read back. The validator of Debian 12 does not know these instructions: they are checked here, by the numbers of
/// SPV_KHR_cooperative_matrix and SPV_NV_cooperative_matrix2, and then replaced by others of the same types for it to check all the rest.
namespace tenon::testing::matrices {

using Words = std::vector<uint32_t>;
inline constexpr uint32_t kCapability = 6022, kElementFunctions = 5432, kMemoryModel = 5345;  // capabilities
inline constexpr uint32_t kWorkgroupScope = 2, kSubgroupScope = 3;

struct Instruction {
  uint32_t op;
  Words operands;
};
std::vector<Instruction> read(const Words& words);

bool declares(const std::vector<Instruction>& module, uint32_t capability);
std::vector<std::string> extensions(const std::vector<Instruction>& module);

/// Types, constants and what values are of, read in the order of the module; expects of each instruction what its extension wants.
class Reader {
 public:
  explicit Reader(uint32_t scope) : scope_(scope) {}
  void add(const Instruction& instruction);
  struct Matrix {
    uint32_t component, scope, rows, columns, use;
    bool operator==(const Matrix&) const = default;
  };
  int loads = 0, stores = 0, products = 0, element_functions = 0;
  std::vector<Matrix> matrices;  // the types, in order

 private:
  Matrix matrix(uint32_t type);
  uint32_t pointee(uint32_t pointer);
  void load(const Words& operands);
  void store(const Words& operands);
  void multiply(const Words& operands);
  void function_of_elements(const Words& operands);

  uint32_t scope_;
  std::map<uint32_t, Instruction> types_;
  std::map<uint32_t, uint32_t> constants_, type_of_, function_types_;
};

/// The module with matrices as structures of a component, loads and products of them as undefined values, stores as nothing, and functions
/// of elements called once with undefined ones.
Words without_matrices(const Words& words);

/// What spirv-val says for this environment; empty: nothing is wrong.
std::string validate(const Words& words, const std::string& environment);
bool has_validator();

/// The sample whose lanes multiply tiles of f16 in shared memory.
kir::Kernel product();

}  // namespace tenon::testing::matrices
