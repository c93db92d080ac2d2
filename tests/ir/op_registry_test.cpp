#include "ir/op_registry.h"

#include <gmock/gmock.h>

#include "ir/evaluate.h"
#include "ir/parser.h"
#include "ir/printer.h"

namespace tenon::ir {
namespace {

using ::testing::HasSubstr;

Status infer(InferContext& c) {
  c.set(0, c.in(0));
  return {};
}

/// Adds what the closure holds.
Status eval(EvalContext& c) {
  const float add = *static_cast<const float*>(c.node.op().closure.get());
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kF32, c.tensor(0).shape()));
  for (int64_t i = 0; i < out->size(); ++i) out->set_double(i, c.tensor(0).at_double(i) + add);
  return {};
}

OpDef op(std::string_view domain, std::string_view name, int64_t version = 1, float add = 1) {
  return {.domain = domain,
          .name = name,
          .inputs = {{"X", "T"}},
          .outputs = {{"Y", "T"}},
          .infer = infer,
          .compute = {.eval = eval},
          .since_version = version,
          .closure = std::make_shared<float>(add)};
}

std::string refusal(const OpRegistry& before, OpDef added) {
  OpRegistry registry = before;
  return registry.add(std::move(added), "lib.so").to_string();
}

TEST(OpRegistry, FindsTheFormInForce) {
  OpRegistry registry;
  ASSERT_TRUE(registry.add(op("acme", "Foo", 3), "lib.so").ok());
  ASSERT_TRUE(registry.add(op("acme", "Foo", 1), "lib.so").ok());
  ASSERT_TRUE(registry.add(op("acme.more", "Foo", 2), "lib.so").ok());
  EXPECT_EQ(registry.find("acme", "Foo", 2)->since_version, 1);
  EXPECT_EQ(registry.find("acme", "Foo", 3)->since_version, 3);
  EXPECT_EQ(registry.find("acme", "Foo", 99)->since_version, 3);
  EXPECT_EQ(registry.find("acme", "Foo", 0), nullptr);
  EXPECT_EQ(registry.find("acme.more", "Foo", 1), nullptr);
  EXPECT_EQ(registry.find("other", "Foo", 1), nullptr);
  EXPECT_TRUE(registry.has("acme", "Foo"));
  EXPECT_FALSE(registry.has("acme", "Bar"));
  EXPECT_EQ(registry.find("acme.Foo")->since_version, 3);
  EXPECT_EQ(registry.find("acme.Foo/1")->since_version, 1);
  EXPECT_EQ(registry.find("acme.Foo/3"), nullptr);
  EXPECT_EQ(registry.ops().size(), 3u);
}

TEST(OpRegistry, RefusesOpsThatAreNotTheLibrarys) {
  OpRegistry registry;
  ASSERT_TRUE(registry.add(op("acme", "Foo"), "first.so").ok());
  EXPECT_THAT(refusal(registry, op("acme", "Foo")),
              HasSubstr("version 1 is registered already, by first.so (lib.so: op acme.Foo)"));
  for (const char* domain : {"", "ai.onnx", "ai.onnx.ml", "tenon", "tenon.x"})
    EXPECT_THAT(refusal(registry, op(domain, "Foo")), HasSubstr("is not open to custom ops")) << domain;
  EXPECT_THAT(refusal(registry, op("com.microsoft", "Attention")), HasSubstr("is built in"));
  EXPECT_EQ(refusal(registry, op("com.microsoft", "NotThere")), "ok");
  EXPECT_EQ(refusal(registry, op("tenonic", "Foo")), "ok");
  for (const char* domain : {"a..b", ".a", "a.", "a b", "a/b", "1a", "a.1"})
    EXPECT_THAT(refusal(registry, op(domain, "Foo")), HasSubstr("the domain is not made of")) << domain;
  for (const char* name : {"", "Foo/1", "Foo.Bar", "a b", "\xc3\xa4"})
    EXPECT_THAT(refusal(registry, op("acme", name)), HasSubstr("the name is not made of")) << name;
  EXPECT_THAT(refusal(registry, op("acme", "Bar", 0)), HasSubstr("the version 0 is not positive"));
}

constexpr std::string_view kText = R"(graph "g" {
  input %x: f32[2]
  %y: f32[2] = acme.Foo(%x)
  %z: f32[2] = acme.Foo/1(%y)
  output %z
}
)";

TEST(OpRegistry, TextNamesTheForm) {
  auto registry = std::make_shared<OpRegistry>();
  ASSERT_TRUE(registry->add(op("acme", "Foo", 1, 10), "lib.so").ok());
  ASSERT_TRUE(registry->add(op("acme", "Foo", 2, 0.5), "lib.so").ok());
  const auto graph = parse_text(kText, registry);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  EXPECT_EQ(to_text(**graph), kText);
  const HostValue x = Tensor::from<float>({2}, {1, 2});
  const auto out = evaluate_graph(**graph, std::span(&x, 1));
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ(std::get<Tensor>((*out)[0]).at_double(1), 12.5);
  const auto unknown = parse_text(kText);
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.status().to_string(), HasSubstr("there is no op 'acme.Foo' (line 3"));
  EXPECT_THAT(unknown.status().to_string(), HasSubstr("--custom-ops"));
}

TEST(OpRegistry, LivesAsLongAsTheGraphsThatUseIt) {
  auto registry = std::make_shared<OpRegistry>();
  ASSERT_TRUE(registry->add(op("acme", "Foo", 1), "lib.so").ok());
  ASSERT_TRUE(registry->add(op("acme", "Foo", 2), "lib.so").ok());
  std::weak_ptr<const void> closure = registry->find("acme.Foo")->closure;
  auto graph = std::move(parse_text(kText, std::exchange(registry, nullptr))).value();
  auto copy = graph->clone();
  graph.reset();
  EXPECT_FALSE(closure.expired());
  const HostValue x = Tensor::from<float>({2}, {1, 2});
  EXPECT_TRUE(evaluate_graph(*copy, std::span(&x, 1)).ok());
  copy.reset();
  EXPECT_TRUE(closure.expired());
}

}  // namespace
}  // namespace tenon::ir
