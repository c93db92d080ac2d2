#include "tests/ir/spec_types.h"

#include <gtest/gtest.h>

namespace tenon::ir {
namespace {

using namespace testing;

const Param* param_of(const OpDef& op, const std::string& word) {
  const std::vector<Param>& params = word[0] == '<' ? op.inputs : op.outputs;
  const size_t i = static_cast<size_t>(std::stoi(word.substr(1)));
  if (i < params.size()) return &params[i];
  return !params.empty() && params.back().variadic ? &params.back() : nullptr;
}

void expect_covered(const OpDef& op, const SpecVariable& variable) {
  ASSERT_FALSE(variable.params.empty());
  ASSERT_FALSE(variable.types.empty());
  for (const std::string& word : variable.params) {
    const Param* param = param_of(op, word);
    ASSERT_NE(param, nullptr) << word;
    for (const std::string& type : variable.types) {
      if (!meaningless(qualified_name(op), type).empty()) continue;
      const DTypeSet dtype = tensor_dtype(type);
      EXPECT_TRUE(dtype != 0 ? (param->types & dtype) != 0 : param->any) << word << " lacks " << type;
    }
  }
}

TEST(SpecTypes, AreCoveredByTheOpTable) {
  int ops = 0;
  for (const SpecOp& spec : spec_ops()) {
    SCOPED_TRACE(spec.name);
    const OpDef* op = find_op(spec.name);
    if (op == nullptr) {
      fmt::print("{} is not in the op table\n", spec.name);
      continue;
    }
    ++ops;
    for (const SpecVariable& variable : spec.variables) expect_covered(*op, variable);
  }
  EXPECT_GT(ops, 210);
}

}  // namespace
}  // namespace tenon::ir
