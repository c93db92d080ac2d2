#include "frontend/onnx/op_versions.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <tuple>

#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(OpVersions, AreInOrder) {
  const auto key = [](const OpVersions& row) { return std::tuple(row.domain, row.name); };
  EXPECT_TRUE(std::ranges::is_sorted(all_op_versions(), {}, key));
  for (const OpVersions& row : all_op_versions()) {
    const auto versions = row.versions();
    ASSERT_FALSE(versions.empty()) << row.name;
    EXPECT_LT(versions.size(), static_cast<size_t>(OpVersions::kMax)) << row.name;
    EXPECT_GE(versions.front(), 1) << row.name;
    EXPECT_EQ(std::ranges::adjacent_find(versions, std::greater_equal<>()), versions.end()) << row.name;
    EXPECT_LE(versions.back(), newest_opset(row.domain).value_or(1)) << row.name;
    EXPECT_EQ(find_op_versions(row.domain, row.name), &row);
  }
}

// Rows of the tables at the top of ONNX's docs/Operators.md and Operators-ml.md.
TEST(OpVersions, AreThoseOfTheSpecification) {
  EXPECT_THAT(op_versions("", "Add"), ElementsAre(1, 6, 7, 13, 14));
  EXPECT_THAT(op_versions("ai.onnx", "Gelu"), ElementsAre(20));
  EXPECT_THAT(op_versions("ai.onnx.ml", "LabelEncoder"), ElementsAre(1, 2, 4));
  EXPECT_THAT(op_versions("", "NoSuchOp"), IsEmpty());
  EXPECT_EQ(since_version("", "Add", 12), 7);
  EXPECT_EQ(since_version("", "Add", 13), 13);
  EXPECT_EQ(since_version("", "Gelu", 19), std::nullopt);
  EXPECT_EQ(find_op_versions("", "Upsample")->ended, 10);
  EXPECT_EQ(find_op_versions("", "Scatter")->ended, 11);
  EXPECT_EQ(find_op_versions("", "Add")->ended, 0);
}

TEST(OpVersions, CoverTheOpTable) {
  for (const ir::OpDef* op : ir::all_ops())
    EXPECT_TRUE(op->domain == "tenon" || find_op_versions(op->domain, op->name) != nullptr) << ir::qualified_name(*op);
}

Model gelu(int64_t opset) {
  Model m(opset);
  m.input("x", DType::kF32, {"2"});
  m.node("Gelu", {"x"}, {"y"});
  m.output("y");
  return m;
}

TEST(OpVersions, RefuseWhatTheOpsetLacks) {
  EXPECT_TRUE(gelu(20).import().ok());
  const auto old = gelu(19).import();
  ASSERT_FALSE(old.ok());
  EXPECT_EQ(old.status().code(), Code::kInvalidModel);
  EXPECT_THAT(old.status().to_string(), HasSubstr("Gelu exists from opset 20, and the model imports opset 19"));
  const auto future = gelu(29).import();
  ASSERT_FALSE(future.ok());
  EXPECT_THAT(future.status().to_string(), HasSubstr("opset 29 of ai.onnx (the newest known is 28)"));
}

}  // namespace
}  // namespace tenon::frontend
