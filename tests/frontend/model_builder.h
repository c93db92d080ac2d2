#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "frontend/onnx/import.h"
#include "frontend/onnx/proto.h"
#include "ir/evaluate.h"

namespace tenon::frontend::testing {

inline void set_shape(onnx::TypeProto& type, DType dtype, const std::vector<std::string>& dims) {
  auto* tensor = type.mutable_tensor_type();
  tensor->set_elem_type(info(dtype).onnx);
  tensor->mutable_shape();
  for (const std::string& d : dims) {
    auto* dim = tensor->mutable_shape()->add_dim();
    if (!d.empty() && d.find_first_not_of("-0123456789") == std::string::npos) dim->set_dim_value(std::stoll(d));
    else if (!d.empty()) dim->set_dim_param(d);
  }
}

inline onnx::TensorProto floats(const std::string& name, std::vector<int64_t> dims, const std::vector<float>& values) {
  onnx::TensorProto t;
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::FLOAT);
  for (int64_t d : dims) t.add_dims(d);
  t.set_raw_data(values.data(), values.size() * sizeof(float));
  return t;
}

inline onnx::TensorProto ints(const std::string& name, std::vector<int64_t> dims, const std::vector<int64_t>& values) {
  onnx::TensorProto t;
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::INT64);
  for (int64_t d : dims) t.add_dims(d);
  for (int64_t v : values) t.add_int64_data(v);
  return t;
}

/// Adds nodes to a graph or a function.
template <class Owner>
onnx::NodeProto& add_node(Owner& owner, const std::string& op, const std::vector<std::string>& inputs,
                          const std::vector<std::string>& outputs, const std::string& domain = {}) {
  onnx::NodeProto& node = *owner.add_node();
  node.set_op_type(op);
  node.set_domain(domain);
  for (const auto& i : inputs) node.add_input(i);
  for (const auto& o : outputs) node.add_output(o);
  return node;
}

inline onnx::AttributeProto& add_attr(onnx::NodeProto& node, const std::string& name, onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(type);
  return a;
}
inline void attr(onnx::NodeProto& node, const std::string& name, int64_t value) {
  add_attr(node, name, onnx::AttributeProto::INT).set_i(value);
}
inline void attr(onnx::NodeProto& node, const std::string& name, float value) {
  add_attr(node, name, onnx::AttributeProto::FLOAT).set_f(value);
}
inline void attr(onnx::NodeProto& node, const std::string& name, const char* value) {
  add_attr(node, name, onnx::AttributeProto::STRING).set_s(value);
}
inline void attr(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
  auto& a = add_attr(node, name, onnx::AttributeProto::INTS);
  for (int64_t v : values) a.add_ints(v);
}

struct Model {
  onnx::ModelProto proto;
  explicit Model(int64_t opset = 21, int64_t ir_version = 8) {
    proto.set_ir_version(ir_version);
    import_opset(proto, "", opset);
    proto.mutable_graph()->set_name("g");
  }
  template <class Owner>
  static void import_opset(Owner& owner, const std::string& domain, int64_t version) {
    auto* opset = owner.add_opset_import();
    opset->set_domain(domain);
    opset->set_version(version);
  }
  onnx::GraphProto& graph() { return *proto.mutable_graph(); }
  void input(const std::string& name, DType dtype, const std::vector<std::string>& dims) {
    auto* info = graph().add_input();
    info->set_name(name);
    set_shape(*info->mutable_type(), dtype, dims);
  }
  void output(const std::string& name) { graph().add_output()->set_name(name); }
  onnx::NodeProto& node(const std::string& op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                        const std::string& domain = {}) {
    return add_node(graph(), op, inputs, outputs, domain);
  }
  std::string bytes() const { return proto.SerializeAsString(); }
  Result<std::unique_ptr<ir::Graph>> import(const ImportOptions& options = {}) const {
    const std::string b = bytes();
    return import_onnx_bytes(std::as_bytes(std::span(b.data(), b.size())), options);
  }
};

/// The outputs of a model on the interpreter; fails the test when there are none.
inline std::vector<HostValue> run(const Model& model, const std::vector<HostValue>& inputs) {
  auto graph = model.import();
  if (!graph.ok()) {
    ADD_FAILURE() << graph.status().to_string();
    return {};
  }
  auto outputs = ir::evaluate_graph(**graph, inputs);
  if (!outputs.ok()) {
    ADD_FAILURE() << outputs.status().to_string();
    return {};
  }
  return *outputs;
}

inline std::vector<double> numbers(const HostValue& value) {
  std::vector<double> out;
  const auto* t = std::get_if<Tensor>(&value);
  if (t == nullptr) {
    ADD_FAILURE() << "not a tensor";
    return out;
  }
  for (int64_t i = 0; i < t->size(); ++i) out.push_back(t->at_double(i));
  return out;
}

/// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tenon-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace tenon::frontend::testing
