#pragma once

#include <map>
#include <string>

#include "tests/passes/pass_test_util.h"

namespace tenon::passes {

/// What the interpreter makes of every value of the graph itself, constants and the insides of regions aside.
inline std::map<std::string, HostValue> named_values(const ir::Graph& graph, const std::vector<HostValue>& inputs, const std::string& where) {
  std::map<std::string, HostValue> out;
  ir::EvalOptions options;
  options.observe = [&](const ir::Node& node, std::span<const HostValue> outputs) {
    if (node.graph() != &graph || node.is("Constant")) return;
    for (size_t i = 0; i < outputs.size(); ++i) out[node.outputs()[i]->name()] = outputs[i];
  };
  const auto results = ir::evaluate_graph(graph, inputs, options);
  EXPECT_TRUE(results.ok()) << results.status().to_string() << "\n" << where;
  return out;
}

/// A value that a rewrite keeps, or puts another in the place of, has the same contents under the same name. Returns how many.
inline size_t expect_names_keep_meaning(const ir::Graph& before, const ir::Graph& after, const std::vector<HostValue>& inputs, const std::string& where) {
  const auto old = named_values(before, inputs, where), now = named_values(after, inputs, where);
  size_t shared = 0;
  for (const auto& [name, value] : now) {
    const auto found = old.find(name);
    if (found == old.end()) continue;
    ++shared;
    expect_same({found->second}, {value}, fmt::format("value {}, {}", name, where));
    if (testing::Test::HasFatalFailure()) break;
  }
  return shared;
}

}  // namespace tenon::passes
