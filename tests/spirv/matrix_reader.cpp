#include "tests/spirv/matrix_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/spirv/sample_kernels.h"

namespace tenon::testing::matrices {
namespace {

constexpr uint32_t kTypeMatrix = 4456, kLoad = 4457, kStore = 4458, kMultiplyAdd = 4459, kForElements = 5369;
constexpr uint32_t kNonPrivate = 0x20, kWorkgroup = 4;
constexpr uint32_t kUndef = 1, kExtension = 10, kCapabilityOp = 17, kTypeInt = 21, kTypeStruct = 30, kTypePointer = 32, kTypeFunction = 33, kConstant = 43,
                   kFunction = 54, kCall = 57;

}  // namespace

std::vector<Instruction> read(const Words& words) {
  std::vector<Instruction> out;
  for (size_t at = 5; at < words.size();) {
    const uint32_t count = words[at] >> 16;
    EXPECT_GT(count, 0U);
    EXPECT_LE(at + count, words.size());
    if (count == 0 || at + count > words.size()) break;
    out.push_back({words[at] & 0xffff, Words(words.begin() + static_cast<int64_t>(at) + 1, words.begin() + static_cast<int64_t>(at + count))});
    at += count;
  }
  return out;
}

bool declares(const std::vector<Instruction>& module, uint32_t capability) {
  return std::ranges::any_of(module, [&](const Instruction& i) { return i.op == kCapabilityOp && i.operands[0] == capability; });
}

std::vector<std::string> extensions(const std::vector<Instruction>& module) {
  std::vector<std::string> out;
  for (const Instruction& i : module)
    if (i.op == kExtension) out.emplace_back(reinterpret_cast<const char*>(i.operands.data()));
  return out;
}

Reader::Matrix Reader::matrix(uint32_t type) {
  EXPECT_TRUE(types_.contains(type) && types_[type].op == kTypeMatrix);
  const Words& o = types_[type].operands;
  EXPECT_EQ(o.size(), 6U);
  for (size_t i = 2; i < 6; ++i) EXPECT_TRUE(constants_.contains(o[i])) << "operand " << i << " is no constant from above";
  return {o[1], constants_[o[2]], constants_[o[3]], constants_[o[4]], constants_[o[5]]};
}

/// The component that a pointer of shared memory points to.
uint32_t Reader::pointee(uint32_t pointer) {
  const Words& o = types_[type_of_[pointer]].operands;
  EXPECT_EQ(types_[type_of_[pointer]].op, kTypePointer);
  EXPECT_EQ(o[1], kWorkgroup);
  return o[2];
}

void Reader::add(const Instruction& i) {
  const Words& o = i.operands;
  if ((i.op >= 19 && i.op <= kTypeFunction) || i.op == kTypeMatrix) {
    types_[o[0]] = i;
    if (i.op == kTypeMatrix) matrices.push_back(matrix(o[0]));
  } else if (i.op == kConstant) {
    constants_[o[1]] = o[2], type_of_[o[1]] = o[0];
  } else if (i.op == kFunction) {
    function_types_[o[1]] = o[3];
  } else if (i.op == kLoad) {
    load(o);
  } else if (i.op == kStore) {
    store(o);
  } else if (i.op == kMultiplyAdd) {
    multiply(o);
  } else if (i.op == kForElements) {
    function_of_elements(o);
  } else if (o.size() >= 2 && types_.contains(o[0])) {
    type_of_[o[1]] = o[0];
  }
}

void Reader::load(const Words& o) {
  ++loads;
  ASSERT_EQ(o.size(), 6U);  // type, result, pointer, layout, stride, memory operands
  const Matrix m = matrix(o[0]);
  EXPECT_LT(m.use, 2U);
  EXPECT_EQ(m.scope, scope_);
  EXPECT_EQ(pointee(o[2]), m.component);
  EXPECT_LE(constants_.at(o[3]), 1U);
  // A row of the layout lies in one row of memory.
  EXPECT_GE(constants_.at(o[4]), constants_.at(o[3]) == 0 ? m.columns : m.rows);
  EXPECT_EQ(o[5], kNonPrivate);
  type_of_[o[1]] = o[0];
}

void Reader::store(const Words& o) {
  ++stores;
  ASSERT_EQ(o.size(), 5U);  // pointer, object, layout, stride, memory operands
  const Matrix m = matrix(type_of_.at(o[1]));
  EXPECT_EQ(m.use, 2U);
  EXPECT_EQ(pointee(o[0]), m.component);
  EXPECT_EQ(constants_.at(o[2]), 0U);
  EXPECT_GE(constants_.at(o[3]), m.columns);
  EXPECT_EQ(o[4], kNonPrivate);
}

void Reader::multiply(const Words& o) {
  ++products;
  ASSERT_EQ(o.size(), 5U);  // type, result, a, b, sum
  const Matrix r = matrix(o[0]), a = matrix(type_of_.at(o[2])), b = matrix(type_of_.at(o[3])), c = matrix(type_of_.at(o[4]));
  EXPECT_EQ(type_of_.at(o[4]), o[0]);
  EXPECT_EQ(std::vector({a.use, b.use, c.use, r.use}), (std::vector<uint32_t>{0, 1, 2, 2}));
  for (const Matrix& m : {a, b, c}) EXPECT_EQ(m.scope, scope_);
  EXPECT_EQ(a.rows, r.rows);
  EXPECT_EQ(b.columns, r.columns);
  EXPECT_EQ(a.columns, b.rows);
  type_of_[o[1]] = o[0];
}

/// Row and column, 32 bits each, then the element, which is also the result; after these what operands follow.
void Reader::function_of_elements(const Words& o) {
  ++element_functions;
  ASSERT_GE(o.size(), 4U);  // type, result, matrix, function, …
  EXPECT_EQ(type_of_.at(o[2]), o[0]);
  ASSERT_TRUE(function_types_.contains(o[3])) << "the function is not defined above";
  const Words& type = types_.at(function_types_.at(o[3])).operands;  // result id, result type, parameters
  ASSERT_EQ(type.size(), 2 + 3 + (o.size() - 4));
  EXPECT_EQ(type[1], matrix(o[0]).component);
  for (size_t p : {2, 3}) {
    EXPECT_EQ(types_.at(type[p]).op, kTypeInt);
    EXPECT_EQ(types_.at(type[p]).operands[1], 32U);
  }
  EXPECT_EQ(type[4], type[1]);
  for (size_t p = 5; p < type.size(); ++p) EXPECT_EQ(type[p], type_of_.at(o[p - 1]));
  type_of_[o[1]] = o[0];
}

Words without_matrices(const Words& words) {
  Words out(words.begin(), words.begin() + 5);
  const auto put = [&](uint32_t op, const Words& operands) {
    out.push_back(static_cast<uint32_t>((operands.size() + 1) << 16) | op);
    out.insert(out.end(), operands.begin(), operands.end());
  };
  std::map<uint32_t, uint32_t> components;  // by matrix type
  std::map<uint32_t, Words> function_types, functions;
  for (const Instruction& i : read(words)) {
    const Words& o = i.operands;
    if (i.op == kExtension || (i.op == kCapabilityOp && (o[0] == kCapability || o[0] == kElementFunctions)) || i.op == kStore) continue;
    if (i.op == kTypeFunction) function_types[o[0]] = o;
    if (i.op == kFunction) functions[o[1]] = function_types[o[3]];
    if (i.op == kTypeMatrix) {
      components[o[0]] = o[1];
      put(kTypeStruct, {o[0], o[1]});
    } else if (i.op == kLoad || i.op == kMultiplyAdd) {
      put(kUndef, {o[0], o[1]});
    } else if (i.op == kForElements) {
      const Words& type = functions.at(o[3]);
      Words call{components.at(o[0]), o[1], o[3]};
      for (size_t p = 2; p < 5; ++p) {  // of row, column and element
        put(kUndef, {type[p], out[3]});
        call.push_back(out[3]++);
      }
      call.insert(call.end(), o.begin() + 4, o.end());
      put(kCall, call);
    } else {
      put(i.op, o);
    }
  }
  return out;
}

bool has_validator() { return std::system("spirv-val --version > /dev/null 2>&1") == 0; }

std::string validate(const Words& words, const std::string& environment) {
  const std::string file = fmt::format("{}/tenon_matrix_{}.spv", ::testing::TempDir(), getpid());
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(words.size() * 4));
  std::string messages;
  FILE* pipe = popen(fmt::format("spirv-val --target-env {} {} 2>&1", environment, file).c_str(), "r");
  char line[512];
  while (std::fgets(line, sizeof line, pipe) != nullptr) messages += line;
  if (pclose(pipe) != 0 && messages.empty()) messages = "spirv-val failed";
  std::remove(file.c_str());
  return messages;
}

kir::Kernel product() {
  for (testing::SampleKernel& sample : testing::sample_kernels())
    if (sample.name == "lanes_multiply_tiles_f16") return std::move(sample.kernel);
  ADD_FAILURE() << "there is no such sample";
  return {};
}

}  // namespace tenon::testing::matrices
