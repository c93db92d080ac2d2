// Damaged files: every truncation and thousands of bit flips give a named error or a graph, and never a crash.

#include <cstdlib>
#include <random>

#include "frontend/onnx/export.h"
#include "frontend/onnx/file.h"
#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;

/// Small, with a bit of everything: subgraphs, functions, initializers of several kinds, attributes.
std::string sample() {
  Model m;
  Model::import_opset(m.proto, "local", 1);
  m.input("x", DType::kF32, {"N", "4"});
  m.input("c", DType::kBool, {});
  std::vector<float> weights(16);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i) * 0.25F;
  *m.graph().add_initializer() = floats("w", {4, 4}, weights);
  *m.graph().add_initializer() = ints("axes", {1}, {0});
  m.node("MatMul", {"x", "w"}, {"h"});
  auto& f = *m.proto.add_functions();
  f.set_name("Act");
  f.set_domain("local");
  Model::import_opset(f, "", 21);
  f.add_input("a");
  f.add_output("b");
  attr(add_node(f, "LeakyRelu", {"a"}, {"b"}), "alpha", 0.1F);
  m.node("Act", {"h"}, {"r"}, "local");
  attr(m.node("ReduceSum", {"r", "axes"}, {"s"}), "keepdims", int64_t{0});
  auto& node = m.node("If", {"c"}, {"y"});
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& g = *add_attr(node, name, onnx::AttributeProto::GRAPH).mutable_g();
    add_node(g, "Neg", {"s"}, {"r"});
    g.add_output()->set_name("r");
  }
  m.output("y");
  return m.bytes();
}

void import_any(const std::string& bytes) {
  const auto graph = import_onnx_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), {.max_nodes = 10000});
  EXPECT_TRUE(graph.ok() || !graph.status().what().empty());
  if (!graph.ok()) return;
  // What was read can be written, or an error says why not; and what was written can be read.
  for (int64_t opset : {0, 13, 28}) {
    ExportOptions options;
    options.opset = opset;
    const auto written = export_onnx_bytes(**graph, options);
    EXPECT_TRUE(written.ok() || !written.status().what().empty());
    if (!written.ok()) continue;
    const auto again = import_onnx_bytes(std::as_bytes(std::span(*written)));
    EXPECT_TRUE(again.ok()) << again.status().to_string();
  }
}

TEST(Hostile, SampleIsValid) {
  const std::string bytes = sample();
  const auto graph = import_onnx_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())));
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
}

TEST(Hostile, EveryTruncation) {
  const std::string bytes = sample();
  for (size_t n = 0; n < bytes.size(); ++n) import_any(bytes.substr(0, n));
}

TEST(Hostile, BitFlips) {
  const std::string bytes = sample();
  for (size_t i = 0; i < bytes.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      import_any(flipped);
    }
  std::mt19937 random(7);
  for (int i = 0; i < 3000; ++i) {
    std::string changed = bytes;
    for (int k = 0; k < 4; ++k) changed[random() % changed.size()] = static_cast<char>(random());
    import_any(changed);
  }
}

TEST(Hostile, SharedModelsDamaged) {
  const char* shared = std::getenv("TENON_SHARED");
  const std::filesystem::path root = shared != nullptr ? shared : TENON_SOURCE_DIR "/../shared";
  const std::filesystem::path folder = root / "models";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  int models = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().filename() != "model.onnx" || entry.file_size() > 100'000 || ++models > 4) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    std::mt19937 random(11);
    for (int i = 0; i < 100; ++i) {
      import_any(bytes.substr(0, random() % bytes.size()));
      std::string flipped = bytes;
      const size_t at = random() % flipped.size();
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << (random() % 8)));
      import_any(flipped);
    }
  }
}

TEST(Hostile, DeepNestingIsRefused) {
  // A tower of If nodes, built from the inside out as bytes.
  std::string graph;
  onnx::GraphProto leaf;
  leaf.SerializeToString(&graph);
  for (int i = 0; i < 400; ++i) {
    onnx::GraphProto g;
    auto& node = add_node(g, "If", {"c"}, {"y"});
    add_attr(node, "then_branch", onnx::AttributeProto::GRAPH);
    auto* fields = node.mutable_attribute(0)->GetReflection()->MutableUnknownFields(node.mutable_attribute(0));
    fields->AddLengthDelimited(6, graph);
    g.SerializeToString(&graph);
  }
  Model m;
  std::string bytes = m.bytes();
  onnx::ModelProto outer;
  outer.GetReflection()->MutableUnknownFields(&outer)->AddLengthDelimited(7, graph);
  outer.set_ir_version(8);
  const std::string text = outer.SerializeAsString();
  const auto result = import_onnx_bytes(std::as_bytes(std::span(text.data(), text.size())));
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().to_string().find("nested"), std::string::npos) << result.status().to_string();
}

TEST(Hostile, FunctionsThatDoubleAreRefusedBeforeTheyAreInlined) {
  Model m;
  Model::import_opset(m.proto, "local", 1);
  m.input("x", DType::kF32, {"N"});
  for (int i = 0; i < 50; ++i) {
    auto& f = *m.proto.add_functions();
    f.set_name(fmt::format("F{}", i));
    f.set_domain("local");
    Model::import_opset(f, "", 21);
    Model::import_opset(f, "local", 1);
    f.add_input("a");
    f.add_output("b");
    const std::string inner = i == 0 ? "Neg" : fmt::format("F{}", i - 1);
    for (const auto& [from, to] : {std::pair{"a", "t"}, std::pair{"t", "b"}})
      add_node(f, inner, {from}, {to}).set_domain(i == 0 ? "" : "local");
  }
  m.node("F49", {"x"}, {"y"}, "local");
  m.output("y");
  const std::string bytes = m.bytes();
  const auto result = import_onnx_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())));
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().to_string().find("inlined"), std::string::npos) << result.status().to_string();
}

TEST(Hostile, EmptyFilesFoldersAndDevices) {
  TemporaryFolder folder;
  EXPECT_FALSE(import_onnx(folder.write("empty.onnx", "")).ok());
  EXPECT_FALSE(import_onnx(folder.path()).ok());
  EXPECT_EQ(import_onnx(folder.path() / "none.onnx").status().code(), Code::kNotFound);
  EXPECT_FALSE(import_onnx("/dev/null").ok());
  EXPECT_FALSE(import_onnx("/dev/zero").ok());
  EXPECT_FALSE(import_onnx(folder.write("text.onnx", "this is not a model at all, but text")).ok());
}

}  // namespace
}  // namespace tenon::frontend
