#include "eval/compiled_model.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <thread>

#include "eval/inputs.h"
#include "frontend/onnx/export.h"
#include "ir/parser.h"
#include "support/build_id.h"

namespace tenon::eval {
namespace {

namespace fs = std::filesystem;

/// Two layers with weights that are packed, and indices.
constexpr std::string_view kLayers = R"(graph "g" {
  input %x: f32[N, 128]
  %w: f32[128, 96] = Constant {value = W1}
  %p: f32[N, 96] = MatMul(%x, %w)
  %t: f32[N, 96] = Tanh(%p)
  %v: f32[96, 64] = Constant {value = W2}
  %q: f32[N, 64] = MatMul(%t, %v)
  %i: i64[3] = Constant {value = dense<i64[3], 5, 0, 63>}
  %g: f32[N, 3] = Gather(%q, %i) {axis = 1}
  %y: f32[N, 64] = Softmax(%q) {axis = -1}
  output %y as "scores"
  output %g
})";

std::string dense(int rows, int columns, double seed) {
  std::string out = fmt::format("dense<f32[{}, {}]", rows, columns);
  for (int i = 0; i < rows * columns; ++i) out += fmt::format(", {:.4f}", std::sin(seed + i * 0.37));
  return out + ">";
}

class CompiledModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (build_id().empty()) GTEST_SKIP() << "linked without a build id, so nothing says who made an executable";
    std::string name = (fs::temp_directory_path() / "tenon-executables-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    file_ = folder_ / "model.onnx";
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write_layers(double seed, bool external = false) {
    std::string text(kLayers);
    text.replace(text.find("W1"), 2, dense(128, 96, seed));
    text.replace(text.find("W2"), 2, dense(96, 64, seed + 1));
    write(text, external);
  }
  void write(const std::string& text, bool external = false) {
    const auto graph = ir::parse_text(text);
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    const Status written = frontend::export_onnx(**graph, file_, {.external_data = external});
    ASSERT_TRUE(written.ok()) << written.to_string();
    std::this_thread::sleep_for(std::chrono::milliseconds(60));  // times of files are coarse: a younger file is not kept
  }

  ModelRequest request() const {
    ModelRequest out{file_, {}, backends::find_backend("cpu"), {}, nullptr};
    if (use_cache_) out.cache = *DiskCache::open(folder_ / "cache");
    return out;
  }
  struct Ran {
    bool from_cache = false;
    std::string bytes;              // of all outputs
  };
  static Ran run(ModelRequest request, int64_t batch = 5) {
    const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {{"x", {batch, 128}}};
    return run(std::move(request), shapes);
  }
  static Ran run(ModelRequest request, const std::vector<std::pair<std::string, std::vector<int64_t>>>& shapes) {
    auto model = CompiledModel::open(std::move(request));
    EXPECT_TRUE(model.ok()) << model.status().to_string();
    if (!model.ok()) return {};
    const Status compiled = model->compile();
    EXPECT_TRUE(compiled.ok()) << compiled.to_string();
    model->keep();
    std::vector<HostValue> inputs;
    for (size_t i = 0; i < shapes.size(); ++i) {
      EXPECT_EQ(model->graph().inputs()[i]->name(), shapes[i].first);
      Tensor x = *Tensor::zeros(DType::kF32, shapes[i].second);
      for (int64_t k = 0; k < x.size(); ++k) x.set_double(k, std::cos(0.1 * static_cast<double>(k) + static_cast<double>(i)));
      inputs.emplace_back(std::move(x));
    }
    const auto session = *model->executable()->create_session();
    const auto outputs = session->run(inputs);
    EXPECT_TRUE(outputs.ok()) << outputs.status().to_string();
    Ran out{model->from_cache(), {}};
    if (outputs.ok())
      for (const HostValue& value : *outputs) {
        const Tensor& tensor = std::get<Tensor>(value);
        out.bytes.append(reinterpret_cast<const char*>(tensor.data()), tensor.bytes());
      }
    return out;
  }
  std::vector<fs::path> entries() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_ / "cache"))
      if (entry.path().filename() != "key" && entry.path().extension() != ".seen") out.push_back(entry.path());
    return out;
  }

  fs::path folder_, file_;
  bool use_cache_ = true;
};

TEST_F(CompiledModelTest, TheSecondTimeTheExecutableIsThere) {
  write_layers(1);
  use_cache_ = false;
  const Ran without = run(request());
  use_cache_ = true;
  const Ran first = run(request()), second = run(request());
  EXPECT_FALSE(without.from_cache);
  EXPECT_FALSE(first.from_cache);
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(first.bytes, without.bytes);
  EXPECT_EQ(second.bytes, first.bytes);
  EXPECT_EQ(run(request(), 17).bytes.size(), without.bytes.size() / 5 * 17) << "for every size of the batch";
  EXPECT_TRUE(run(request(), 1).from_cache);
}

TEST_F(CompiledModelTest, ItHasTheModelsInterfacePlacementAndFigures) {
  write_layers(1);
  const auto fresh = [&] {
    auto model = *CompiledModel::open(request());
    EXPECT_TRUE(model.compile().ok());
    model.keep();
    return model;
  }();
  const auto kept = *CompiledModel::open(request());
  ASSERT_TRUE(kept.from_cache());
  ASSERT_EQ(kept.graph().inputs().size(), 1U);
  EXPECT_EQ(to_string(kept.graph().inputs()[0]->type()), to_string(fresh.graph().inputs()[0]->type()));
  ASSERT_EQ(kept.graph().outputs().size(), 2U);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(kept.graph().output_name(i), fresh.graph().output_name(i));
    EXPECT_EQ(to_string(kept.graph().outputs()[static_cast<size_t>(i)]->type()), to_string(fresh.graph().outputs()[static_cast<size_t>(i)]->type()));
  }
  const auto &rows = kept.executable()->placement(), &wanted = fresh.executable()->placement();
  ASSERT_EQ(rows.size(), wanted.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].node, wanted[i].node);
    EXPECT_EQ(rows[i].implementation, wanted[i].implementation);
    EXPECT_EQ(rows[i].covers, wanted[i].covers);
  }
  EXPECT_TRUE(kept.executable()->stats().restored);
  EXPECT_EQ(kept.executable()->stats().dispatches, fresh.executable()->stats().dispatches);
}

TEST_F(CompiledModelTest, AnotherFileIsCompiledAnew) {
  write_layers(1);
  run(request());
  ASSERT_TRUE(run(request()).from_cache);
  const std::string before = run(request()).bytes;
  const auto size = fs::file_size(file_);
  const auto time = fs::last_write_time(file_);
  write_layers(2);
  ASSERT_EQ(fs::file_size(file_), size);
  fs::last_write_time(file_, time);  // as if it had not been written
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const Ran changed = run(request());
  EXPECT_FALSE(changed.from_cache);
  EXPECT_NE(changed.bytes, before);
  const Ran again = run(request());
  EXPECT_TRUE(again.from_cache);
  EXPECT_EQ(again.bytes, changed.bytes);

  std::fstream stream(file_, std::ios::in | std::ios::out | std::ios::binary);  // in place
  stream.seekp(static_cast<std::streamoff>(size / 2));
  stream.write("\0\0\0\0", 4);
  stream.close();
  EXPECT_FALSE(run(request()).from_cache);
}

TEST_F(CompiledModelTest, OtherExternalDataIsCompiledAnew) {
  write_layers(1, true);
  const fs::path data = file_.string() + ".data";
  ASSERT_TRUE(fs::exists(data));
  run(request());
  const Ran before = run(request());
  ASSERT_TRUE(before.from_cache);
  const auto time = fs::last_write_time(data);
  std::fstream stream(data, std::ios::in | std::ios::out | std::ios::binary);
  const float other = 0.75F;
  stream.write(reinterpret_cast<const char*>(&other), sizeof other);
  stream.close();
  fs::last_write_time(data, time);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const Ran changed = run(request());
  EXPECT_FALSE(changed.from_cache);
  EXPECT_NE(changed.bytes, before.bytes);
  EXPECT_TRUE(run(request()).from_cache);
  fs::remove(data);
  EXPECT_FALSE(CompiledModel::open(request()).ok()) << "what is not there cannot be run";
}

TEST_F(CompiledModelTest, OtherOptionsAreCompiledAnew) {
  write_layers(1);
  run(request());
  std::vector<ModelRequest> others(8, request());
  others[0].compile.opt_level = 1;
  others[1].compile.disabled_passes = {"fuse"};
  others[2].compile.max_rewrites = 3;
  others[3].compile.target = "host-winograd";
  others[4].import.dims = {{"N", 5}};
  others[5].import.shapes = {{"x", {5, 128}}};
  others[6].compile.target = "x86-64-v2";
  others[7].compile.precision = DType::kF16;
  for (ModelRequest& other : others) {
    EXPECT_FALSE(run(other).from_cache);
    EXPECT_TRUE(run(other).from_cache);
  }
  EXPECT_TRUE(run(request()).from_cache);
  ModelRequest reference = request();
  reference.backend = backends::find_backend("reference");
  run(reference);
  EXPECT_FALSE(run(reference).from_cache);
}

TEST_F(CompiledModelTest, DimsThatTheModelDoesNotHaveAreKnownFromTheCacheToo) {
  write_layers(1);
  for (const bool cached : {false, true}) {
    std::vector<std::string> absent;
    ModelRequest one = request();
    one.import.dims = {{"N", 5}, {"M", 2}};
    one.import.absent = &absent;
    auto model = *CompiledModel::open(one);
    EXPECT_EQ(model.from_cache(), cached);
    EXPECT_EQ(model.absent(), std::vector<std::string>{"M"});
    EXPECT_EQ(model.import().dims.size(), 1U);
    ASSERT_TRUE(model.compile().ok());
    model.keep();
  }
  ModelRequest strict = request();
  strict.import.dims = {{"N", 5}, {"M", 2}};
  EXPECT_FALSE(CompiledModel::open(strict).ok());
}

TEST_F(CompiledModelTest, VariantsForDimsThatAreOneAreCompiledFromTheFile) {
  write("graph \"g\" {\n  input %a: f32[N, 4]\n  input %b: f32[M, 4]\n  %y: f32[max(N, M), 4] = Add(%a, %b)\n  output %y\n}");
  const std::vector<std::pair<std::string, std::vector<int64_t>>> equal = {{"a", {3, 4}}, {"b", {3, 4}}}, unit = {{"a", {1, 4}}, {"b", {3, 4}}};
  run(request(), equal);
  use_cache_ = false;
  const std::string wanted = run(request(), unit).bytes;
  use_cache_ = true;
  const Ran kept = run(request(), unit);
  EXPECT_TRUE(kept.from_cache);
  EXPECT_EQ(kept.bytes, wanted);
}

/// Growing states, one that is passed on, and one that a scatter writes to.
constexpr std::string_view kStates = R"(graph "g" {
  input %x: f32[S, 4]
  input %at: i64[1, 1]
  input %past: f32[P, 4]
  input %h: f32[S, 4]
  input %cache: f32[6, 4]
  %present: f32[P + S, 4] = Concat(%past, %x) {axis = 0}
  %y: f32[P + S, 4] = Softmax(%present) {axis = 0}
  %next: f32[S, 4] = Tanh(%h)
  %axes: i64[1] = Constant {value = dense<i64[1], 0>}
  %row: f32[1, 4] = ReduceMax(%x, %axes) {keepdims = 1}
  %written: f32[6, 4] = ScatterND(%cache, %at, %row)
  output %y
  output %present
  output %next
  output %written
})";

TEST_F(CompiledModelTest, StatesAreKeptWithTheExecutable) {
  write(std::string(kStates));
  const auto steps = [&](const ModelRequest& one, bool cached) {
    auto model = CompiledModel::open(one);
    EXPECT_TRUE(model.ok()) << model.status().to_string();
    EXPECT_EQ(model->from_cache(), cached);
    EXPECT_TRUE(model->compile().ok());
    model->keep();
    EXPECT_EQ(model->states().size(), 3u);
    EXPECT_EQ(model->interface().inputs().size(), 2u);
    EXPECT_EQ(model->interface().outputs().size(), 1u);
    EXPECT_EQ(model->graph().inputs().size(), 5u);
    const auto session = *model->executable()->create_session();
    std::string out;
    for (const backends::StateInfo& info : model->executable()->states()) out += fmt::format("{} {} {} {}\n", info.pair.input, info.axis, info.in_place, info.reason);
    for (int64_t i = 0; i < 40; ++i) {
      const Tensor x = Tensor::from<float>({1, 4}, {1.0F + static_cast<float>(i), 2, 3, 4});
      const auto outputs = session->run(std::vector<HostValue>{x, Tensor::from<int64_t>({1, 1}, {i % 6})});
      EXPECT_TRUE(outputs.ok()) << outputs.status().to_string();
      if (!outputs.ok()) return out;
      for (size_t s = 0; s < 4; ++s) {
        const Tensor tensor = s == 3 ? std::get<Tensor>((*outputs)[0]) : *session->states()->get(s);
        out += to_string(tensor.shape());
        out.append(reinterpret_cast<const char*>(tensor.data()), tensor.bytes());
      }
    }
    return out;
  };
  ModelRequest one = request();
  one.states = {.automatic = true, .pairs = {{"h", "next"}}};
  ModelRequest bound = one, fewer = one;
  bound.import.dims = {{"P", 3}, {"S", 1}};
  fewer.states.automatic = false;
  const std::string wanted = steps(one, false);
  EXPECT_EQ(steps(one, true), wanted);
  const std::string with_dims = steps(bound, false);
  EXPECT_EQ(steps(bound, true), with_dims);
  EXPECT_FALSE(CompiledModel::open(fewer)->from_cache()) << "other states are another executable";
  EXPECT_FALSE(CompiledModel::open(request())->from_cache());
}

TEST_F(CompiledModelTest, ModelsWithHostCallsAreCompiledEachTime) {
  write("graph \"g\" {\n  input %x: f32[N, 128]\n  %i: i64[2, K] = NonZero(%x)\n  output %i\n}");
  const Ran first = run(request());
  const Ran second = run(request());
  EXPECT_FALSE(second.from_cache);
  EXPECT_EQ(second.bytes, first.bytes);
}

TEST_F(CompiledModelTest, WhatWasWrittenAMomentAgoIsNotKept) {
  write_layers(1);
  write_layers(2);
  std::ofstream(file_, std::ios::app | std::ios::binary).flush();
  fs::last_write_time(file_, fs::file_time_type::clock::now());
  EXPECT_FALSE(run(request()).from_cache);
  EXPECT_TRUE(entries().empty());
}

TEST_F(CompiledModelTest, WhatIsExchangedWhileItIsCompiledIsNotKept) {
  for (const double seed : {1.0, 2.0}) {
    write_layers(seed);
    fs::rename(file_, folder_ / fmt::format("{}.onnx", seed));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  fs::create_symlink("1.onnx", file_);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  auto model = *CompiledModel::open(request());
  fs::remove(file_);
  fs::create_symlink("2.onnx", file_);  // an old file, too
  ASSERT_TRUE(model.compile().ok());
  model.keep();
  EXPECT_TRUE(entries().empty());
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const std::string second = run(request()).bytes;
  EXPECT_TRUE(run(request()).from_cache);
  fs::remove(file_);
  fs::create_symlink("1.onnx", file_);
  const Ran first = run(request());
  EXPECT_FALSE(first.from_cache);
  EXPECT_NE(first.bytes, second);
}

TEST_F(CompiledModelTest, DamagedEntriesAreIgnoredAndReplaced) {
  write_layers(1);
  const std::string wanted = run(request()).bytes;
  const fs::path entry = entries().at(0);
  const auto size = static_cast<std::streamoff>(fs::file_size(entry));
  for (const std::streamoff at : {std::streamoff{3}, std::streamoff{100}, size / 8, size / 2, size - 4000}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
    std::fstream stream(entry, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const int old = stream.get();
    stream.seekp(at);
    stream.put(static_cast<char>(old ^ 0x40));
    stream.close();
    const Ran damaged = run(request());
    EXPECT_EQ(damaged.bytes, wanted);
    EXPECT_FALSE(damaged.from_cache) << at;
    EXPECT_TRUE(run(request()).from_cache);
  }
  fs::resize_file(entry, static_cast<uintmax_t>(size / 2));
  EXPECT_FALSE(run(request()).from_cache);
  EXPECT_TRUE(run(request()).from_cache);
}

TEST_F(CompiledModelTest, ServesProcessesAtTheSameTime) {
  write_layers(1);
  use_cache_ = false;
  const std::string wanted = run(request()).bytes;
  use_cache_ = true;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      bool good = true;
      for (int k = 0; k < 3; ++k) good = good && run(request()).bytes == wanted;
      ::_exit(good ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = -1;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(run(request()).from_cache);
  EXPECT_EQ(entries().size(), 1U);
}

}  // namespace
}  // namespace tenon::eval
