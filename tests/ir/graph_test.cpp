// Use lists: what a value says of its users is what the users say of it, in whatever order they come and go.

#include "ir/graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "ir/op.h"

namespace tenon::ir {
namespace {

const TensorType kType(DType::kF32, {Dim(4)});

Node* sum(Graph& graph, std::vector<Value*> inputs, Node* before = nullptr) {
  Node* node = graph.create(*find_op("Sum"), inputs, 1, before);
  node->output()->set_type(kType);
  return node;
}

/// Compares the lists of every value with what nodes and outputs, of regions too, refer to.
void expect_consistent(Graph& graph, const std::vector<Value*>& values) {
  std::multiset<std::tuple<const Value*, const Node*, int>> operands, uses;
  std::multiset<std::pair<const Value*, const Graph*>> results;
  const auto look = [&](Graph& g) {
    for (const Value* output : g.outputs()) results.emplace(output, &g);
  };
  look(graph);
  walk(graph, [&](Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i)
      if (node.has_input(i)) operands.emplace(node.input(i), &node, i);
    for (const auto& region : node.regions()) look(*region);
  });
  size_t output_uses = 0;
  for (const Value* value : values) {
    for (const Use& use : value->uses()) uses.emplace(value, use.node, use.index);
    EXPECT_EQ(static_cast<size_t>(value->num_output_uses()),
              static_cast<size_t>(std::count_if(results.begin(), results.end(), [&](const auto& r) { return r.first == value; })));
    output_uses += static_cast<size_t>(value->num_output_uses());
  }
  EXPECT_EQ(uses, operands);
  EXPECT_EQ(output_uses, results.size());
}

TEST(Graph, KeepsUseListsUnderRandomEdits) {
  std::mt19937 rng(7);
  const auto draw = [&](size_t n) { return static_cast<size_t>(rng() % n); };
  for (int trial = 0; trial < 50; ++trial) {
    Graph graph;
    std::vector<Value*> values;
    for (int i = 0; i < 4; ++i) values.push_back(graph.add_input("x" + std::to_string(i), kType));
    std::vector<Node*> nodes;
    const auto any = [&] { return values[draw(values.size())]; };
    for (int i = 0; i < 12; ++i) {
      Node* node = sum(graph, {any(), any(), any()});
      if (i % 4 == 0) {
        Graph& region = node->add_region();
        Node* inner = sum(region, {any(), any()});
        values.push_back(inner->output());
        region.add_output(any());
        region.add_output(any());
        values.pop_back();
      }
      nodes.push_back(node);
      values.push_back(node->output());
    }
    for (int i = 0; i < 5; ++i) graph.add_output(any());
    std::vector<Value*> all = values;
    for (Node* node : nodes)
      for (const auto& region : node->regions())
        for (const auto& inner : region->nodes()) all.push_back(inner->output());
    for (int edit = 0; edit < 60; ++edit) {
      Node* node = nodes[draw(nodes.size())];
      switch (draw(7)) {
        case 0: node->set_input(static_cast<int>(draw(5)), any()); break;
        case 1: node->set_input(static_cast<int>(draw(static_cast<size_t>(node->num_inputs()) + 1)), nullptr); break;
        case 2:
          if (node->num_inputs() > 0) node->remove_input(static_cast<int>(draw(static_cast<size_t>(node->num_inputs()))));
          break;
        case 3: graph.replace_all_uses(any(), any()); break;
        case 4:
          if (graph.outputs().size() > 0) graph.set_output(static_cast<int>(draw(static_cast<size_t>(graph.outputs().size()))), any());
          break;
        case 5:
          if (graph.outputs().size() > 1) graph.remove_output(static_cast<int>(draw(static_cast<size_t>(graph.outputs().size()))));
          break;
        default: graph.add_output(any()); break;
      }
      expect_consistent(graph, all);
    }
  }
}

TEST(Graph, MovesOutputUsesOfRegions) {
  Graph graph;
  Value* x = graph.add_input("x", kType);
  Value* y = graph.add_input("y", kType);
  Node* node = sum(graph, {x});
  Graph& region = node->add_region();
  region.add_output(x);
  region.add_output(y);
  region.add_output(x);
  graph.add_output(x);
  graph.replace_all_uses(x, y);
  EXPECT_TRUE(x->unused());
  EXPECT_EQ(y->num_output_uses(), 4);
  EXPECT_EQ(node->input(0), y);
  for (const Value* output : region.outputs()) EXPECT_EQ(output, y);
  graph.remove_output(0);
  EXPECT_EQ(y->num_output_uses(), 3);
  graph.erase(node->output()->unused() ? node : nullptr);
  EXPECT_TRUE(y->unused());
}

// A list that is searched for each use that leaves would take 10^11 steps here.
TEST(Graph, DropsManyUsesOfOneValue) {
  constexpr int kUses = 500000;
  Graph graph;
  Value* x = graph.add_input("x", kType);
  Value* y = graph.add_input("y", kType);
  std::vector<Node*> nodes;
  for (int i = 0; i < kUses; ++i) nodes.push_back(sum(graph, {x, x}));
  for (int i = 0; i < kUses; ++i) graph.add_output(x);
  for (int i = 0; i < kUses; i += 2) graph.erase(nodes[static_cast<size_t>(i)]);
  EXPECT_EQ(x->uses().size(), static_cast<size_t>(kUses));
  graph.replace_all_uses(x, y);
  EXPECT_TRUE(x->unused());
  EXPECT_EQ(y->uses().size(), static_cast<size_t>(kUses));
  EXPECT_EQ(y->num_output_uses(), kUses);
  for (int i = 1; i < kUses; i += 2) graph.erase(nodes[static_cast<size_t>(i)]);
  EXPECT_TRUE(y->uses().empty());
}

}  // namespace
}  // namespace tenon::ir
