#include "codegen/spirv/module.h"

#include <utility>

namespace tenon::codegen::spirv {

void Module::put(Words& to, spv::Op op, std::initializer_list<uint32_t> head, std::span<const uint32_t> tail) {
  to.push_back(static_cast<uint32_t>((head.size() + tail.size() + 1) << spv::WordCountShift) | static_cast<uint32_t>(op));
  for (uint32_t word : head) to.push_back(word);
  for (uint32_t word : tail) to.push_back(word);
}

// Literal strings: UTF-8, four bytes a word, low byte first, always ended by a zero byte.
void Module::put_string(Words& to, std::string_view text) {
  for (size_t i = 0; i <= text.size(); i += 4) {
    uint32_t word = 0;
    for (size_t j = 0; j < 4 && i + j < text.size(); ++j)
      word |= static_cast<uint32_t>(static_cast<unsigned char>(text[i + j])) << (8 * j);
    to.push_back(word);
  }
}

void Module::capability(spv::Capability value) { capabilities_.insert(static_cast<uint32_t>(value)); }

void Module::extension(std::string_view name) { extensions_.emplace(name); }

Id Module::ext_inst_set(std::string_view name) {
  const Id id = new_id();
  Words operands{id};
  put_string(operands, name);
  put(imports_, spv::OpExtInstImport, operands);
  return id;
}

void Module::execution_mode(Id entry, spv::ExecutionMode mode, std::initializer_list<uint32_t> extra) {
  Words operands{entry, static_cast<uint32_t>(mode)};
  operands.insert(operands.end(), extra.begin(), extra.end());
  put(modes_, spv::OpExecutionMode, operands);
}

void Module::entry_point(Id function, std::string_view name) {
  entry_point_ = {spv::ExecutionModelGLCompute, function};
  put_string(entry_point_, name);
}

void Module::decorate(Id target, spv::Decoration decoration, std::initializer_list<uint32_t> extra) {
  Words operands{target, static_cast<uint32_t>(decoration)};
  operands.insert(operands.end(), extra.begin(), extra.end());
  put(decorations_, spv::OpDecorate, operands);
}

void Module::decorate_member(Id target, uint32_t member, spv::Decoration decoration,
                             std::initializer_list<uint32_t> extra) {
  Words operands{target, member, static_cast<uint32_t>(decoration)};
  operands.insert(operands.end(), extra.begin(), extra.end());
  put(decorations_, spv::OpMemberDecorate, operands);
}

Id Module::type(spv::Op op, std::span<const uint32_t> operands) {
  Id& id = shared_.find({static_cast<uint32_t>(op)}, operands);
  if (id != 0) return id;
  id = new_id();
  put(globals_, op, {id}, operands);
  return id;
}

Id Module::distinct_type(spv::Op op, std::initializer_list<uint32_t> operands) {
  const Id id = new_id();
  Words all{id};
  all.insert(all.end(), operands.begin(), operands.end());
  put(globals_, op, all);
  return id;
}

Id Module::constant(Id type, std::span<const uint32_t> words) {
  Id& id = shared_.find({static_cast<uint32_t>(spv::OpConstant), type}, words);
  if (id != 0) return id;
  id = new_id();
  put(globals_, spv::OpConstant, {type, id}, words);
  return id;
}

Id Module::constant_bool(Id type, bool value) {
  const spv::Op op = value ? spv::OpConstantTrue : spv::OpConstantFalse;
  Id& id = shared_.find({static_cast<uint32_t>(op), type}, {});
  if (id != 0) return id;
  id = new_id();
  put(globals_, op, {type, id}, {});
  return id;
}

Id Module::global_variable(Id pointer_type, spv::StorageClass storage) {
  const Id id = new_id();
  put(globals_, spv::OpVariable, Words{pointer_type, id, static_cast<uint32_t>(storage)});
  return id;
}

Id Module::function(Id result_type, std::span<const Id> parameter_types, const std::function<Id(std::span<const Id>)>& write) {
  Words types{result_type};
  types.insert(types.end(), parameter_types.begin(), parameter_types.end());
  const Id function_type = type(spv::OpTypeFunction, types), function = new_id(), outer_block = block_;
  Words outer = std::exchange(body_, {});
  op(spv::OpFunction, {result_type, function, spv::FunctionControlMaskNone, function_type});
  std::vector<Id> parameters;
  for (Id t : parameter_types) parameters.push_back(value(spv::OpFunctionParameter, t, {}));
  label(new_id());
  op(spv::OpReturnValue, {write(parameters)});
  op(spv::OpFunctionEnd, {});
  functions_.insert(functions_.end(), body_.begin(), body_.end());
  body_ = std::move(outer);
  block_ = outer_block;
  return function;
}

void Module::begin_function(Id result_type, Id function, Id function_type) {
  constexpr size_t kUsualWords = 8192;
  body_.reserve(kUsualWords);
  put(function_header_, spv::OpFunction, Words{result_type, function, spv::FunctionControlMaskNone, function_type});
  block_ = new_id();
  put(function_header_, spv::OpLabel, Words{block_});
}

Id Module::local_variable(Id pointer_type) {
  const Id id = new_id();
  put(locals_, spv::OpVariable, Words{pointer_type, id, spv::StorageClassFunction});
  return id;
}

Id Module::first_value(spv::Op op, Id type, std::initializer_list<uint32_t> operands) {
  const Id id = new_id();
  put(first_, op, {type, id}, operands);
  return id;
}

void Module::op(spv::Op op, std::span<const uint32_t> operands) { put(body_, op, operands); }

Id Module::value(spv::Op op, Id type, std::span<const uint32_t> operands) {
  const Id id = new_id();
  put(body_, op, {type, id}, operands);
  return id;
}

void Module::label(Id id) {
  put(body_, spv::OpLabel, {id}, {});
  block_ = id;
}

std::vector<uint32_t> Module::finish(uint32_t version, std::span<const Id> interface) {
  put(body_, spv::OpFunctionEnd, {});
  Words out{spv::MagicNumber, version, 0, next_id_, 0};
  for (uint32_t capability : capabilities_) put(out, spv::OpCapability, Words{capability});
  for (const std::string& name : extensions_) {
    Words text;
    put_string(text, name);
    put(out, spv::OpExtension, text);
  }
  out.insert(out.end(), imports_.begin(), imports_.end());
  put(out, spv::OpMemoryModel, Words{spv::AddressingModelPhysicalStorageBuffer64, static_cast<uint32_t>(memory_model_)});
  entry_point_.insert(entry_point_.end(), interface.begin(), interface.end());
  put(out, spv::OpEntryPoint, entry_point_);
  for (const Words* section :
       {&modes_, &decorations_, &globals_, &functions_, &function_header_, &locals_, &first_, &body_})
    out.insert(out.end(), section->begin(), section->end());
  return out;
}

}  // namespace tenon::codegen::spirv
