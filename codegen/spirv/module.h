#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <spirv/unified1/spirv.hpp>

#include "codegen/spirv/id_table.h"
#include "support/status.h"

namespace tenon::codegen::spirv {

/// The operands of one instruction, a few, kept in place.
class Operands {
 public:
  Operands(std::initializer_list<uint32_t> words) {
    for (uint32_t word : words) push_back(word);
  }
  void push_back(uint32_t word) {
    TENON_CHECK(size_ < words_.size());
    words_[size_++] = word;
  }
  operator std::span<const uint32_t>() const { return std::span(words_).first(size_); }

 private:
  std::array<uint32_t, 8> words_{};
  size_t size_ = 0;
};

/// The sections of a SPIR-V module in the order of the specification (2.4, Logical Layout of a Module), with types and
/// constants made once each.
class Module {
 public:
  Id new_id() { return next_id_++; }

  void capability(spv::Capability value);
  void extension(std::string_view name);
  Id ext_inst_set(std::string_view name);
  /// GLSL450 where nobody says otherwise.
  void memory_model(spv::MemoryModel model) { memory_model_ = model; }
  void execution_mode(Id entry, spv::ExecutionMode mode, std::initializer_list<uint32_t> operands);
  void entry_point(Id function, std::string_view name);
  void decorate(Id target, spv::Decoration decoration, std::initializer_list<uint32_t> operands = {});
  void decorate_member(Id target, uint32_t member, spv::Decoration decoration, std::initializer_list<uint32_t> operands);

  /// A type instruction with these operands, shared by equal requests.
  Id type(spv::Op op, std::span<const uint32_t> operands);
  Id type(spv::Op op, std::initializer_list<uint32_t> operands) {
    return type(op, std::span<const uint32_t>(operands.begin(), operands.size()));
  }
  /// A type that decorations make its own (structs, arrays with strides).
  Id distinct_type(spv::Op op, std::initializer_list<uint32_t> operands);
  Id constant(Id type, std::span<const uint32_t> words);
  Id constant_bool(Id type, bool value);
  Id global_variable(Id pointer_type, spv::StorageClass storage);

  /// A function beside the entry point's and before it. `write` makes its body from the parameters and gives the result.
  Id function(Id result_type, std::span<const Id> parameter_types, const std::function<Id(std::span<const Id>)>& write);

  /// Function body: instructions in order; function-storage variables go to the first block.
  void begin_function(Id result_type, Id function, Id function_type);
  Id local_variable(Id pointer_type);
  /// An instruction of the first block, before all others but variables.
  Id first_value(spv::Op op, Id type, std::initializer_list<uint32_t> operands);
  void op(spv::Op op, std::span<const uint32_t> operands);
  void op(spv::Op op, std::initializer_list<uint32_t> operands) {
    this->op(op, std::span<const uint32_t>(operands.begin(), operands.size()));
  }
  Id value(spv::Op op, Id type, std::span<const uint32_t> operands);
  Id value(spv::Op op, Id type, std::initializer_list<uint32_t> operands) {
    return value(op, type, std::span<const uint32_t>(operands.begin(), operands.size()));
  }
  void label(Id id);
  Id current_block() const { return block_; }
  /// Position for operands that are known later (the back edge of a phi): fills word `offset` of the body.
  size_t body_size() const { return body_.size(); }
  void patch(size_t offset, uint32_t word) { body_[offset] = word; }

  /// The finished module; `version` as in the header, 0x00010500 for 1.5; `interface`: the entry point's global variables.
  std::vector<uint32_t> finish(uint32_t version, std::span<const Id> interface);

 private:
  using Words = std::vector<uint32_t>;
  static void put(Words& to, spv::Op op, std::span<const uint32_t> operands) { put(to, op, {}, operands); }
  static void put(Words& to, spv::Op op, std::initializer_list<uint32_t> head, std::span<const uint32_t> tail);
  static void put_string(Words& to, std::string_view text);

  Id next_id_ = 1;
  Id block_ = 0;
  std::set<uint32_t> capabilities_;
  spv::MemoryModel memory_model_ = spv::MemoryModelGLSL450;
  std::set<std::string, std::less<>> extensions_;
  Words imports_, entry_point_, modes_, decorations_, globals_;
  Words functions_;                 // beside the entry point's
  Words function_header_, locals_, first_, body_;
  IdTable shared_;                  // types and constants
};

}  // namespace tenon::codegen::spirv
