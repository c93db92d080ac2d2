#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "backends/backend.h"
#include "frontend/custom/library.h"
#include "ir/evaluate.h"
#include "ir/parser.h"

/// Libraries of custom ops that live in the test itself.
namespace tenon::testing {

using Register = std::function<tenon_status(const tenon_custom_api*, tenon_op_registrar*)>;

inline const Register*& current_register() {
  static const Register* current = nullptr;
  return current;
}

inline Status add_ops(const Register& calls, ir::OpRegistry& registry, const std::string& origin = "test.so") {
  current_register() = &calls;
  return frontend::add_custom_ops(
      [](const tenon_custom_api* api, tenon_op_registrar* registrar) { return (*current_register())(api, registrar); },
      origin, nullptr, registry);
}

/// acme.Op with one input X and one output Y of one dtype, any; tests change what they are about.
struct Op {
  tenon_op op{};
  std::vector<tenon_param> inputs = {param("X")}, outputs = {param("Y")};
  std::vector<tenon_attr> attrs;

  Op() {
    op.struct_size = sizeof(op);
    op.abi_version = TENON_CUSTOM_OP_ABI;
    op.domain = "acme";
    op.name = "Op";
    op.since_version = 1;
  }
  static tenon_param param(const char* name, const char* variable = "T", tenon_dtype_set dtypes = TENON_ANY_DTYPE,
                           uint32_t flags = 0) {
    return {sizeof(tenon_param), name, variable, dtypes, flags};
  }
  static tenon_attr attr(const char* name, tenon_attr_kind kind, uint32_t flags = 0) {
    tenon_attr a{};
    a.struct_size = sizeof(a);
    a.name = name;
    a.kind = kind;
    a.flags = flags;
    return a;
  }
  const tenon_op* get() {
    op.inputs = inputs.data();
    op.num_inputs = inputs.size();
    op.outputs = outputs.data();
    op.num_outputs = outputs.size();
    op.attrs = attrs.data();
    op.num_attrs = attrs.size();
    return &op;
  }
  std::shared_ptr<const ir::OpRegistry> registry() {
    auto out = std::make_shared<ir::OpRegistry>();
    const Status status =
        add_ops([&](const tenon_custom_api* api, tenon_op_registrar* r) { return api->register_op(r, get()); }, *out);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return out;
  }
};

/// Y as X.
inline tenon_status infer_same(const tenon_custom_api* api, tenon_node* node, tenon_infer* infer) {
  return api->broadcast_inputs(infer, 0, api->input_dtype(node, 0));
}

/// The backends that run here and take custom operators.
inline std::vector<const backends::Backend*> available_backends() {
  std::vector<const backends::Backend*> out;
  for (const backends::Backend* backend : backends::all_backends())
    if (!backend->external() && backend->available().ok()) out.push_back(backend);
  return out;
}

inline Result<std::vector<HostValue>> run_on(const backends::Backend& backend, const ir::Graph& graph,
                                             std::vector<HostValue> inputs) {
  TENON_ASSIGN_OR_RETURN(const auto executable, backend.compile(graph, {}));
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session());
  return session->run(inputs);
}

/// What running a .tir text on a backend comes to: its error as text, or "ok".
inline std::string outcome(std::string_view text, std::shared_ptr<const ir::OpRegistry> ops,
                           std::vector<HostValue> inputs, std::string_view backend = "reference") {
  const auto graph = ir::parse_text(text, std::move(ops));
  if (!graph.ok()) return graph.status().to_string();
  const auto out = run_on(*backends::find_backend(backend), **graph, std::move(inputs));
  return out.ok() ? "ok" : out.status().to_string();
}

inline std::vector<double> numbers(const HostValue& value) {
  std::vector<double> out;
  const auto* t = std::get_if<Tensor>(&value);
  if (t == nullptr) return {std::numeric_limits<double>::quiet_NaN()};
  for (int64_t i = 0; i < t->size(); ++i) out.push_back(t->at_double(i));
  return out;
}

}  // namespace tenon::testing
