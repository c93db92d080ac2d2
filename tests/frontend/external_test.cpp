#include <sys/stat.h>

#include <gmock/gmock.h>

#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

namespace fs = std::filesystem;
using namespace testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Entries = std::vector<std::pair<std::string, std::string>>;

/// y = x + w with w of four floats in external data.
std::string model_with(const Entries& entries, std::vector<int64_t> dims = {4}) {
  Model m;
  m.input("x", DType::kF32, {"4"});
  onnx::TensorProto& t = *m.graph().add_initializer();
  t.set_name("w");
  t.set_data_type(onnx::TensorProto::FLOAT);
  for (int64_t d : dims) t.add_dims(d);
  t.set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] : entries) {
    auto* e = t.add_external_data();
    e->set_key(key);
    e->set_value(value);
  }
  m.node("Add", {"x", "w"}, {"y"});
  m.output("y");
  return m.bytes();
}

std::string data(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i + 1);
  return {reinterpret_cast<const char*>(values.data()), count * sizeof(float)};
}

std::string load(const TemporaryFolder& folder, const Entries& entries, std::vector<int64_t> dims = {4}) {
  const auto graph = import_onnx(folder.write("inside/model.onnx", model_with(entries, std::move(dims))));
  return graph.ok() ? "ok" : graph.status().to_string();
}

TEST(ExternalData, IsReadFromTheFolder) {
  TemporaryFolder folder;
  folder.write("inside/w.bin", data(8));
  folder.write("inside/sub/w.bin", data(8));
  EXPECT_EQ(load(folder, {{"location", "w.bin"}, {"offset", "16"}, {"length", "16"}}), "ok");
  EXPECT_EQ(load(folder, {{"location", "sub/w.bin"}}), "ok");
  EXPECT_EQ(load(folder, {{"location", "./w.bin"}, {"offset", "3"}}), "ok");  // misaligned: copied
  const auto graph = import_onnx(folder.write("inside/model.onnx", model_with({{"location", "w.bin"}, {"offset", "16"}})));
  ASSERT_TRUE(graph.ok());
  const std::vector<HostValue> inputs = {Tensor::from<float>({4}, {0, 0, 0, 0})};
  const auto out = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(numbers((*out)[0]), ElementsAre(5, 6, 7, 8));
}

TEST(ExternalData, OutlivesAFileThatBecomesShorter) {
  TemporaryFolder folder;
  folder.write("inside/w.bin", data(4096));
  const auto model = folder.write("inside/model.onnx", model_with({{"location", "w.bin"}, {"offset", "8192"}, {"length", "16"}}));
  const auto graph = import_onnx(model);
  ASSERT_TRUE(graph.ok());
  for (const fs::path& file : {folder.path() / "inside/w.bin", model}) fs::resize_file(file, 0);
  const std::vector<HostValue> inputs = {Tensor::from<float>({4}, {0, 0, 0, 0})};
  const auto out = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(numbers((*out)[0]), ElementsAre(2049, 2050, 2051, 2052));
}

TEST(ExternalData, IsMappedWhereAsked) {
  TemporaryFolder folder;
  folder.write("inside/w.bin", data(4096));
  const auto model = folder.write("inside/model.onnx", model_with({{"location", "w.bin"}, {"offset", "8192"}, {"length", "16"}}));
  const auto graph = import_onnx(model, {.map_from = 0});
  ASSERT_TRUE(graph.ok());
  const std::vector<HostValue> inputs = {Tensor::from<float>({4}, {0, 0, 0, 0})};
  const auto out = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(numbers((*out)[0]), ElementsAre(2049, 2050, 2051, 2052));
}

TEST(ExternalData, CannotLeaveTheFolder) {
  TemporaryFolder folder;
  folder.write("outside.bin", data(8));
  folder.write("inside/model.onnx", "");
  fs::create_symlink(folder.path() / "outside.bin", folder.path() / "inside/link.bin");
  fs::create_symlink("../outside.bin", folder.path() / "inside/relative.bin");
  fs::create_directory_symlink(folder.path(), folder.path() / "inside/up");
  fs::create_hard_link(folder.path() / "outside.bin", folder.path() / "inside/hard.bin");
  ASSERT_EQ(::mkfifo((folder.path() / "inside/fifo").c_str(), 0600), 0);
  const std::string absolute = (folder.path() / "outside.bin").string();
  for (const std::string& location :
       {std::string("../outside.bin"), std::string("sub/../../outside.bin"), absolute, std::string("link.bin"), std::string("relative.bin"),
        std::string("up/outside.bin"), std::string("hard.bin"), std::string("fifo"), std::string(""), std::string("."),
        std::string("C:\\outside.bin"), std::string("..\\outside.bin"), std::string("a\0b", 3), std::string("/proc/self/environ"),
        std::string("none.bin"), std::string("sub/")})
    EXPECT_NE(load(folder, {{"location", location}}), "ok") << location;
}

TEST(ExternalData, LinksInsideTheFolderAndHubCachesLoad) {
  TemporaryFolder folder;
  folder.write("inside/real.bin", data(4));
  fs::create_symlink("real.bin", folder.path() / "inside/link.bin");
  EXPECT_EQ(load(folder, {{"location", "link.bin"}}), "ok");

  folder.write("hub/blobs/aaa", model_with({{"location", "w.bin"}}));
  folder.write("hub/blobs/bbb", data(4));
  folder.write("secret", data(4));
  const fs::path snapshot = folder.path() / "hub/snapshots/rev";
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/aaa", snapshot / "model.onnx");
  fs::create_symlink("../../blobs/bbb", snapshot / "w.bin");
  const auto graph = import_onnx(snapshot / "model.onnx");
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  fs::remove(snapshot / "w.bin");
  fs::create_symlink("../../../secret", snapshot / "w.bin");
  EXPECT_FALSE(import_onnx(snapshot / "model.onnx").ok());
}

TEST(ExternalData, ChecksOffsetLengthAndKeys) {
  TemporaryFolder folder;
  folder.write("inside/w.bin", data(4));
  const std::string where = "w.bin";
  EXPECT_THAT(load(folder, {{"location", where}, {"offset", "4"}}),
              AllOf(HasSubstr("external data is too short: 16 bytes from 4 on are wanted of w.bin, which has 16"), HasSubstr("w): download or copy the file again")));
  EXPECT_THAT(load(folder, {{"location", "none.bin"}}), HasSubstr("none.bin): put the file beside the model"));
  EXPECT_THAT(load(folder, {{"location", where}, {"offset", "18446744073709551600"}}), HasSubstr("which has 16"));
  EXPECT_THAT(load(folder, {{"location", where}, {"offset", "-4"}}), HasSubstr("not a non-negative number"));
  EXPECT_THAT(load(folder, {{"location", where}, {"length", "15"}}), HasSubstr("its dims need 16"));
  EXPECT_THAT(load(folder, {{"location", where}, {"length", "1e1"}}), HasSubstr("not a non-negative number"));
  EXPECT_THAT(load(folder, {{"location", where}, {"location", where}}), HasSubstr("given twice"));
  EXPECT_THAT(load(folder, {{"location", where}, {"basepath", "/"}}), HasSubstr("unknown external data key"));
  EXPECT_THAT(load(folder, {{"location", where}}, {int64_t{1} << 40}), HasSubstr("w.bin"));
  EXPECT_THAT(load(folder, {{"location", where}}, {int64_t{1} << 62, 1 << 20}), HasSubstr("too large"));
  EXPECT_THAT(load(folder, {{"location", where}}, {-4}), HasSubstr("negative"));
}

TEST(ExternalData, NeedsAFolderForModelsFromMemory) {
  TemporaryFolder folder;
  folder.write("w.bin", data(4));
  const std::string bytes = model_with({{"location", "w.bin"}});
  const auto view = std::as_bytes(std::span(bytes.data(), bytes.size()));
  EXPECT_FALSE(import_onnx_bytes(view).ok());
  EXPECT_TRUE(import_onnx_bytes(view, {}, folder.path()).ok());
}

}  // namespace
}  // namespace tenon::frontend
