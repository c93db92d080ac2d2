// Files: external data, what is refused, and that nothing half-written stays.

#include <fstream>
#include <set>

#include <gmock/gmock.h>

#include "frontend/onnx/export.h"
#include "frontend/onnx/proto.h"
#include "ir/op.h"
#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

namespace fs = std::filesystem;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

Tensor ramp(int64_t count, float first) {
  Tensor t = *Tensor::zeros(DType::kF32, {count});
  for (int64_t i = 0; i < count; ++i) t.set_double(i, first + static_cast<float>(i));
  return t;
}

/// Outputs: two large constants, the first of them twice, and a small one.
void fill(ir::Graph& graph) {
  ir::Builder builder(graph);
  const Tensor big = ramp(1000, 0);
  ir::Value* x = graph.add_input("x", ir::TensorType(DType::kF32, {1}));
  const std::pair<const char*, Tensor> constants[] = {{"a", big}, {"b", big}, {"c", ramp(3000, 5)}, {"d", ramp(3, 9)}};
  for (const auto& [name, tensor] : constants) {
    ir::Value* constant = builder.constant(tensor, name);
    constant->set_name(name);
    graph.add_output(builder.make("Add", {constant, x}), std::string("sum ") + name);
  }
  ASSERT_TRUE(builder.status().ok());
}

std::vector<std::string> listing(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path().filename());
  return out;
}

onnx::ModelProto read(const fs::path& file) {
  onnx::ModelProto model;
  std::ifstream in(file, std::ios::binary);
  EXPECT_TRUE(model.ParseFromIstream(&in));
  return model;
}

std::string entry(const onnx::TensorProto& tensor, const std::string& key) {
  for (const auto& e : tensor.external_data())
    if (e.key() == key) return e.value();
  return {};
}

TEST(ExportFile, WritesOneFile) {
  const TemporaryFolder folder;
  ir::Graph graph;
  fill(graph);
  const Status status = export_onnx(graph, folder.path() / "m.onnx");
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_THAT(listing(folder.path()), ElementsAre("m.onnx"));
  auto back = import_onnx(folder.path() / "m.onnx");
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ((*back)->output_name(3), "sum d");
}

TEST(ExportFile, ExternalDataLiesInPages) {
  const TemporaryFolder folder;
  ir::Graph graph;
  fill(graph);
  ExportOptions options;
  options.external_data = true;
  const Status status = export_onnx(graph, folder.path() / "m.onnx", options);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_THAT(listing(folder.path()), UnorderedElementsAre("m.onnx", "m.onnx.data"));
  const onnx::ModelProto model = read(folder.path() / "m.onnx");
  std::map<std::string, std::string> offsets;
  for (const auto& tensor : model.graph().initializer()) {
    if (tensor.data_location() != onnx::TensorProto::EXTERNAL) continue;
    EXPECT_EQ(entry(tensor, "location"), "m.onnx.data");
    offsets[tensor.name()] = entry(tensor, "offset");
  }
  // Equal bytes lie there once; what takes less than a KiB stays inside.
  EXPECT_THAT(offsets, UnorderedElementsAre(std::pair("a", "0"), std::pair("b", "0"), std::pair("c", "4096")));
  EXPECT_EQ(fs::file_size(folder.path() / "m.onnx.data"), 4096u + 12000u);

  auto back = import_onnx(folder.path() / "m.onnx");
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  const auto outputs = ir::evaluate_graph(**back, std::vector<HostValue>{Tensor::from<float>({1}, {1})});
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ(numbers((*outputs)[1])[999], 1000);
  EXPECT_EQ(numbers((*outputs)[2])[2999], 3005);
}

TEST(ExportFile, ReplacesTheFilesItReadsFrom) {
  const TemporaryFolder folder;
  ir::Graph graph;
  fill(graph);
  ExportOptions options;
  options.external_data = true;
  ASSERT_TRUE(export_onnx(graph, folder.path() / "m.onnx", options).ok());
  for (int i = 0; i < 2; ++i) {
    auto again = import_onnx(folder.path() / "m.onnx");
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    const Status status = export_onnx(**again, folder.path() / "m.onnx", options);
    ASSERT_TRUE(status.ok()) << status.to_string();
  }
  auto last = import_onnx(folder.path() / "m.onnx");
  ASSERT_TRUE(last.ok());
  const auto outputs = ir::evaluate_graph(**last, std::vector<HostValue>{Tensor::from<float>({1}, {0})});
  EXPECT_EQ(numbers((*outputs)[2])[2999], 3004);
}

TEST(ExportFile, RefusesLinksFoldersAndWhatCannotBeWritten) {
  const TemporaryFolder folder, outside;
  const fs::path victim = outside.write("victim", "precious");
  fs::create_symlink(victim, folder.path() / "m.onnx");
  ir::Graph graph;
  fill(graph);
  EXPECT_THAT(export_onnx(graph, folder.path() / "m.onnx").to_string(), HasSubstr("symbolic link"));
  fs::create_symlink(victim, folder.path() / "n.onnx.data");
  ExportOptions options;
  options.external_data = true;
  EXPECT_THAT(export_onnx(graph, folder.path() / "n.onnx", options).to_string(), HasSubstr("symbolic link"));
  fs::create_directory(folder.path() / "d.onnx");
  EXPECT_THAT(export_onnx(graph, folder.path() / "d.onnx").to_string(), HasSubstr("no regular file"));
  EXPECT_FALSE(export_onnx(graph, folder.path() / "missing" / "m.onnx").ok());
  EXPECT_THAT(export_onnx(graph, folder.path() / "a\\b.onnx", options).to_string(), HasSubstr("backslash"));
  EXPECT_EQ(fs::file_size(victim), 8u);
  EXPECT_THAT(listing(folder.path()), UnorderedElementsAre("m.onnx", "n.onnx.data", "d.onnx"));
}

}  // namespace
}  // namespace tenon::frontend
