#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "eval/debug/compare_values.h"
#include "ir/op.h"

namespace tenon::eval {

/// A folder for one test.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tenon-debug-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline Tensor wave(Shape shape, double step) {
  Tensor out = *Tensor::zeros(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < out.size(); ++i) out.set_double(i, std::sin(step * static_cast<double>(i + 1)));
  return out;
}

/// Blocks of seven nodes, some of which fuse: y = relu(W x + b), z = tanh(y + x), n = z - mean(z), x' = n * 0.75. Named by block:
/// "mm3", "bias3", "relu3", "skip3", "tanh3", "mean3", "centre3", "scale3".
inline std::unique_ptr<ir::Graph> tower(int blocks) {
  auto graph = std::make_unique<ir::Graph>();
  ir::Builder b(*graph);
  ir::Value* x = graph->add_input("x", ir::TensorType(DType::kF32, {ir::Dim(6), ir::Dim(16)}));
  const auto make = [&](const char* op, const std::string& name, std::initializer_list<ir::Value*> inputs,
                        std::initializer_list<std::pair<std::string_view, ir::Attr>> attrs = {}) {
    ir::Value* made = b.make(op, inputs, attrs);
    EXPECT_TRUE(b.status().ok()) << b.status().to_string();
    made->set_name(graph->unique_name(name + ":0"));
    made->def()->set_name(name);
    return made;
  };
  for (int i = 0; i < blocks; ++i) {
    const auto name = [i](const char* what) { return what + std::to_string(i); };
    ir::Value* y = make("MatMul", name("mm"), {x, b.constant(wave({16, 16}, 0.7 + i))});
    y = make("Relu", name("relu"), {make("Add", name("bias"), {y, b.constant(wave({16}, 0.3))})});
    ir::Value* z = make("Tanh", name("tanh"), {make("Add", name("skip"), {y, x})});
    ir::Value* mean = make("ReduceMean", name("mean"), {z, b.ints({-1})});
    x = make("Mul", name("scale"), {make("Sub", name("centre"), {z, mean}), b.constant(wave({16}, 0.9))});
  }
  graph->add_output(x, "y");
  return graph;
}

inline std::vector<HostValue> tower_inputs() { return {wave({6, 16}, 0.11)}; }

inline Variant variant_of(const char* backend, passes::Fault fault = {}, int level = 3) {
  Variant out{std::string(backend), backends::find_backend(backend), {}};
  out.compile.opt_level = level;
  out.compile.fault = std::move(fault);
  return out;
}

/// Real models, where they are.
inline std::filesystem::path shared_model(const char* name) { return std::filesystem::path(TENON_SOURCE_DIR) / "../shared/models" / name / "model.onnx"; }

}  // namespace tenon::eval
