#include <gtest/gtest.h>

#include <charconv>
#include <set>

#include "ir/op.h"

namespace tenon::ir {
namespace {

TEST(OpTable, FindsByQualifiedNameAndByDomain) {
  const OpDef* constant = find_op("Constant");
  ASSERT_NE(constant, nullptr);
  EXPECT_EQ(find_op("", "Constant"), constant);
  EXPECT_EQ(find_op("ai.onnx", "Constant"), constant);
  EXPECT_EQ(find_op("tenon", "reshape"), find_op("tenon.reshape"));
  EXPECT_EQ(qualified_name(*find_op("tenon.reshape")), "tenon.reshape");
  EXPECT_EQ(find_op("NoSuchOp"), nullptr);
  EXPECT_EQ(find_op("no.such.domain", "Add"), nullptr);
}

TEST(OpTable, EveryOpCanBeInferredAndComputed) {
  for (const OpDef* op : all_ops()) {
    std::string name = qualified_name(*op);
    EXPECT_NE(op->infer, nullptr) << name;
    EXPECT_TRUE(op->compute.body || op->compute.decompose || op->compute.eval || op->compute.structural) << name;
    EXPECT_FALSE(op->outputs.empty()) << name;
  }
}

TEST(OpTable, ParametersAreWellFormed) {
  for (const OpDef* op : all_ops()) {
    std::string name = qualified_name(*op);
    for (const auto* params : {&op->inputs, &op->outputs}) {
      for (size_t i = 0; i < params->size(); ++i) {
        const Param& param = (*params)[i];
        EXPECT_FALSE(param.name.empty()) << name;
        EXPECT_NE(param.types, 0u) << name << " " << param.name;
        EXPECT_TRUE(!param.variadic || i + 1 == params->size()) << name << ": only the last parameter is variadic";
      }
    }
    std::set<std::string_view> seen;
    for (const Param& param : op->inputs) EXPECT_TRUE(seen.insert(param.name).second) << name << " " << param.name;
  }
}

bool fits(AttrKind kind, std::string_view text) {
  const char *first = text.data(), *last = text.data() + text.size();
  if (kind == AttrKind::kInt) {
    int64_t value;
    return std::from_chars(first, last, value).ptr == last;
  }
  if (kind == AttrKind::kFloat) {
    double value;
    return std::from_chars(first, last, value).ptr == last;
  }
  return true;
}

TEST(OpTable, AttributeDefaultsAreOfTheirKind) {
  for (const OpDef* op : all_ops()) {
    std::set<std::string_view> seen;
    for (const AttrDef& attr : op->attrs) {
      EXPECT_TRUE(seen.insert(attr.name).second) << qualified_name(*op) << " " << attr.name;
      std::string what = fmt::format("{} {} = '{}'", qualified_name(*op), attr.name, attr.fallback);
      EXPECT_TRUE(attr.fallback.empty() || fits(attr.kind, attr.fallback)) << what;
      EXPECT_TRUE(attr.fallback.empty() || !attr.required) << what;
    }
  }
}

TEST(Broadcasting, FollowsTheOnnxRules) {
  DimContext c;
  Dim n = c.symbol("N"), m = c.symbol("M");
  using Dims = std::vector<Dim>;
  auto of = [](std::vector<Dims> shapes) { return broadcast(shapes); };
  EXPECT_EQ(*of({{n, 1, 3}, {4, 1}}), (Dims{n, 4, 3}));
  EXPECT_EQ(*of({{n}, {5}}), Dims{5});
  EXPECT_EQ(*of({{5}, {n}}), Dims{5});
  EXPECT_EQ(*of({{n}, {m}}), Dims{n});
  EXPECT_EQ(*of({{}, {m}}), Dims{m});
  EXPECT_EQ(*of({{0}, {1}}), Dims{0});
  EXPECT_FALSE(of({{3}, {4}}).ok());
}

TEST(Inference, RefusesWhatTheTableDoesNotAllow) {
  Graph graph;
  Value* x = graph.add_input("x", TensorType(DType::kF32, {2}));
  Value* k = graph.add_input("k", TensorType(DType::kI64, {2}));
  auto status_of = [&](auto&& make) {
    Builder b(graph);
    make(b);
    return b.status();
  };
  EXPECT_NE(status_of([&](Builder& b) { b.make("Add", {x, k}); }).what().find("where T must be f32"), std::string::npos);
  EXPECT_NE(status_of([&](Builder& b) { b.make("Add", {x}); }).what().find("missing"), std::string::npos);
  EXPECT_NE(status_of([&](Builder& b) { b.make("Add", {x, nullptr}); }).what().find("missing"), std::string::npos);
  EXPECT_NE(status_of([&](Builder& b) { b.make("Not", {x}); }).what().find("may not be f32"), std::string::npos);
  EXPECT_NE(status_of([&](Builder& b) { b.make("tenon.reshape", {x}); }).what().find("'dims' is missing"), std::string::npos);
  EXPECT_NE(status_of([&](Builder& b) { b.make("Cast", {x}, {{"to", 1.0}}); }).what().find("of kind float, not int"),
            std::string::npos);
  EXPECT_FALSE(status_of([&](Builder& b) { b.make("NoSuchOp", {x}); }).ok());
}

}  // namespace
}  // namespace tenon::ir
