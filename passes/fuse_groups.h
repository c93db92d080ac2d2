#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "ir/graph.h"
#include "passes/fuse_info.h"

namespace tenon::passes {

/// An input that others use as well and that a node had better compute for itself, in its kernel: with `whole`, and all that it is made of.
struct SharedInput {
  ir::Node* node;
  int input;
  bool whole;
};

/// Which nodes of one graph go into kernels together. Deterministic; merging never makes a cycle.
class FuseGroups {
 public:
  explicit FuseGroups(ir::Graph& graph);
  /// Greedy: epilogues of contractions and windows first, then maps and row reductions along the order of nodes.
  void run();
  /// Groups of two nodes or more, each in graph order.
  std::vector<std::vector<ir::Node*>> groups() const;
  /// Of nodes in attention groups, what is made of indices and dims alone; of products, dequantised codes that only products read.
  const std::vector<SharedInput>& shared_inputs() const { return shared_inputs_; }
  const FuseInfo& info(const ir::Node* node) const { return info_[index_.at(node)]; }
  /// Edges walked so far.
  int64_t steps() const { return steps_; }

 private:
  static constexpr size_t kMaxNodes = 64;  // of a group
  struct Group {
    std::vector<size_t> members;
    bool anchored = false;       // by a contraction or window: complete
    bool row = false;
    std::vector<ir::Dim> shape;  // of the domain: what maps along the rows have
    std::vector<ir::Dim> rows;   // without the axes reduced
    std::vector<char> kept;
  };
  const std::vector<size_t>& users(size_t node) const { return users_[node]; }
  std::vector<size_t> outside_users(std::span<const size_t> members) const;
  size_t outputs(std::span<const size_t> members) const;
  bool makes_cycle(const std::vector<size_t>& members) const;
  /// Where `product` multiplies by the softmax of another contraction's results: that one, what lies between them, and it.
  bool grow_attention(size_t product);
  bool follows_rows(size_t node, int input) const;
  std::vector<size_t> attention_between(size_t scores, size_t product, const std::vector<size_t>& chain) const;
  std::vector<size_t> generator(const ir::Value* value) const;
  void take_generators(std::vector<size_t>& members);
  void take_moved_operands(size_t anchor, std::vector<size_t>& members) const;
  size_t def_of(const ir::Value* value) const;
  int transposition_behind(size_t view, const std::vector<size_t>& members, const std::vector<ir::Dim>& shape) const;
  void grow_epilogue(size_t anchor);
  void close_epilogue(std::vector<size_t> members);
  void take_products_beside(size_t group);
  std::optional<size_t> product_of(const Group& group) const;
  bool dequantised(const ir::Value* value) const;
  std::vector<size_t> made_of_constants(const ir::Value* value) const;
  bool multiplies_codes(const ir::Node& node) const;
  bool for_products_of_codes(const ir::Value& value) const;
  void take_permuted_operands(size_t anchor, std::vector<size_t>& members);
  bool joins_epilogue(size_t node, const std::vector<size_t>& members, const std::vector<ir::Dim>& shape) const;
  void grow_from_inputs(size_t node);
  const ir::Value* behind_views(const ir::Value* value, std::vector<size_t>& views) const;
  bool compatible(const Group& producer, size_t value_def, const ir::Value& value, size_t node, Access access) const;
  bool join(int a, int b);
  int group_of(size_t node);

  ir::Graph& graph_;
  std::vector<ir::Node*> nodes_;
  std::unordered_map<const ir::Node*, size_t> index_;
  std::vector<FuseInfo> info_;
  std::vector<std::vector<size_t>> users_;  // nodes that use a node's values, themselves or in their regions
  std::vector<int> group_;       // by node; -1: none
  std::vector<Group> groups_;
  std::vector<SharedInput> shared_inputs_;
  mutable std::vector<uint32_t> seen_;  // by node: the search that saw it last
  mutable uint32_t search_ = 0;
  mutable int64_t steps_ = 0;
};

/// Gives each of these inputs nodes of its own; nodes that nobody needs after that are erased.
void separate_inputs(ir::Graph& graph, std::span<const SharedInput> inputs);

}  // namespace tenon::passes
