#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "ir/type.h"
#include "support/status.h"
#include "support/tensor.h"

namespace tenon::ir {

struct OpDef;
class OpRegistry;
class Node;
class Graph;

/// A typed attribute. Floats are kept as double (ONNX stores float; the conversion is exact).
using Attr = std::variant<int64_t, double, std::string, Tensor, std::vector<int64_t>, std::vector<double>,
                          std::vector<std::string>, std::vector<Dim>, Type, std::vector<Tensor>>;

/// Attributes of a node, sorted by name.
class Attrs {
 public:
  const Attr* find(std::string_view name) const;
  void set(std::string_view name, Attr value);
  void erase(std::string_view name);
  bool has(std::string_view name) const { return find(name) != nullptr; }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  size_t size() const { return items_.size(); }

 private:
  std::vector<std::pair<std::string, Attr>> items_;
};

struct Use {
  Node* node;
  int index;  // operand number
  bool operator==(const Use&) const = default;
};
struct OutputUse {
  Graph* graph;
  int index;  // output number
};

/// An SSA value: a graph input (def() null) or one output of a node. Owned by the graph; the address is stable.
class Value {
 public:
  const std::string& name() const { return name_; }
  void set_name(std::string name);  // the caller's business that it is unique: Graph::unique_name
  const Type& type() const { return type_; }
  void set_type(Type type) { type_ = std::move(type); }
  const TensorType& tensor() const { return type_.tensor(); }
  DType dtype() const { return type_.dtype(); }

  Node* def() const { return def_; }
  int def_index() const { return def_index_; }
  Graph* graph() const { return graph_; }
  /// Operand uses, in this graph and in regions nested in it, in no order that means anything. Graph outputs are not uses: see
  /// num_output_uses.
  const std::vector<Use>& uses() const { return uses_; }
  int num_output_uses() const { return static_cast<int>(output_uses_.size()); }
  bool unused() const { return uses_.empty() && output_uses_.empty(); }
  bool has_one_use() const { return uses_.size() + output_uses_.size() == 1; }

  /// What an integer tensor of rank 0 or 1 holds, as dims, when inference knows it (shape arithmetic). Set by infer.
  const std::optional<std::vector<Dim>>& dim_values() const { return dim_values_; }
  void set_dim_values(std::optional<std::vector<Dim>> values) { dim_values_ = std::move(values); }

 private:
  friend class Graph;
  friend class Node;
  std::string name_;
  Type type_;
  Node* def_ = nullptr;
  int def_index_ = 0;
  Graph* graph_ = nullptr;
  std::vector<Use> uses_;
  std::vector<OutputUse> output_uses_;
  std::optional<std::vector<Dim>> dim_values_;
  std::list<std::unique_ptr<Value>>::iterator self_;
};

/// What an op keeps for one node between evaluations, made by the first of them (operands packed once, say).
struct NodeState {
  std::once_flag once;
  Status status;                // of making it
  std::shared_ptr<void> value;
};

/// One operation. Inputs may be null (an absent optional input); outputs are always there (an unused optional output is
/// a Value without uses). Regions are graphs whose nodes may use values of every enclosing graph.
class Node {
 public:
  const OpDef& op() const { return *op_; }
  std::string_view op_name() const;  // "Add"; "com.microsoft.Attention" for other domains
  bool is(std::string_view qualified_name) const { return op_name() == qualified_name; }

  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }

  std::span<Value* const> inputs() const { return inputs_; }
  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  Value* input(int i) const { return i < num_inputs() ? inputs_[static_cast<size_t>(i)] : nullptr; }
  bool has_input(int i) const { return input(i) != nullptr; }
  void set_input(int i, Value* value);  // grows the list with nulls; keeps use lists
  void remove_input(int i);             // shifts the later ones down
  void clear_inputs();

  std::span<Value* const> outputs() const { return outputs_; }
  int num_outputs() const { return static_cast<int>(outputs_.size()); }
  Value* output(int i = 0) const { return outputs_[static_cast<size_t>(i)]; }
  Value* add_output(std::string name);  // appends one of unknown type

  Attrs& attrs() { return attrs_; }
  const Attrs& attrs() const { return attrs_; }
  /// Typed reads with the given default; a present attribute of another kind is a bug that the verifier has caught.
  int64_t attr_int(std::string_view name, int64_t fallback) const;
  double attr_float(std::string_view name, double fallback) const;
  std::string attr_string(std::string_view name, std::string_view fallback) const;
  std::vector<int64_t> attr_ints(std::string_view name) const;      // empty when absent
  std::vector<double> attr_floats(std::string_view name) const;     // empty when absent
  std::vector<std::string> attr_strings(std::string_view name) const;
  const Tensor* attr_tensor(std::string_view name) const;           // null when absent
  const std::vector<Dim>* attr_dims(std::string_view name) const;   // null when absent

  std::span<const std::unique_ptr<Graph>> regions() const { return regions_; }
  Graph& region(int i) const { return *regions_[static_cast<size_t>(i)]; }
  int num_regions() const { return static_cast<int>(regions_.size()); }
  Graph& add_region();
  Graph& add_region(std::unique_ptr<Graph> region);  // one that Graph::clone made of a region

  /// Null but for ops with a closure. Evaluations of one node share it, whichever threads run them; copies start afresh.
  NodeState* state() const { return state_.get(); }
  void share_state(const Node& other) { state_ = other.state_; }

  Graph* graph() const { return graph_; }
  Node* next() const;  // in graph order, null at the end
  Node* prev() const;

 private:
  friend class Graph;
  void unlink(size_t input);
  const OpDef* op_ = nullptr;
  std::string name_;
  std::vector<Value*> inputs_, outputs_;
  std::vector<size_t> use_of_;  // by input: where the use stands in the value's list, so that it leaves in constant time
  Attrs attrs_;
  std::vector<std::unique_ptr<Graph>> regions_;
  std::shared_ptr<NodeState> state_;
  Graph* graph_ = nullptr;
  std::list<std::unique_ptr<Node>>::iterator self_;
};

/// A module or a region: inputs, ordered nodes, outputs. Definitions come before uses. Constants are `Constant` nodes
/// whose `value` attribute shares the tensor's bytes (a mapped file, often).
class Graph {
 public:
  explicit Graph(std::shared_ptr<DimContext> dims = nullptr);  // null: a context of its own
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  std::string name;
  std::map<std::string, std::string> metadata;  // model metadata (producer, doc, custom keys), kept for export

  DimContext& dims() const { return *dims_; }
  const std::shared_ptr<DimContext>& shared_dims() const { return dims_; }
  Node* parent() const { return parent_; }  // the node that owns this region; null for a module
  /// The ops beside the built-in ones that nodes may have, which this module and its copies keep alive; null: none.
  const std::shared_ptr<const OpRegistry>& op_registry() const { return op_registry_; }
  void set_op_registry(std::shared_ptr<const OpRegistry> registry) { op_registry_ = std::move(registry); }

  std::span<Value* const> inputs() const { return inputs_; }
  std::span<Value* const> outputs() const { return outputs_; }
  Value* add_input(std::string name, Type type);
  void remove_input(int i);  // must be unused
  void add_output(Value* value, std::string name = {});  // name: the value's when empty
  void set_output(int i, Value* value);                  // keeps the output's name
  /// What callers call the output: a rewrite may put a value of another name there.
  const std::string& output_name(int i) const { return output_names_[static_cast<size_t>(i)]; }
  void remove_output(int i);

  /// Nodes in order. Inserting and erasing others while iterating by next() is safe.
  const std::list<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  Node* first() const { return nodes_.empty() ? nullptr : nodes_.front().get(); }
  size_t num_nodes() const { return nodes_.size(); }

  /// Makes a node before `before` (null: at the end) with fresh outputs of unknown type, named after the node.
  Node* create(const OpDef& op, std::span<Value* const> inputs, int num_outputs, Node* before = nullptr);
  void move_before(Node* node, Node* before);  // same graph; null: to the end
  /// Erases a node whose outputs are unused (and its regions).
  void erase(Node* node);
  /// Moves every operand use and graph-output use of `from` to `to`. Does not touch regions' own inputs.
  void replace_all_uses(Value* from, Value* to);
  /// A name not used by another value of this module so far, made from `hint`.
  std::string unique_name(std::string_view hint);

  /// What inference takes on trust: symbolic dims that a node of this graph needs to be equal, or the first at most the second.
  /// Plans check it once the symbols have values. Inferring again says it again, so copies start without.
  struct Assumption {
    Dim a, b;
    bool at_most;
    std::string node;
  };
  std::span<const Assumption> assumptions() const { return assumptions_; }
  void assume(Dim a, Dim b, bool at_most, const Node& node);  // once
  void forget_assumptions();                                   // before types are inferred afresh

  /// A deep copy with the same dims context; constants share their bytes. A copied region of an owner keeps using outer values.
  std::unique_ptr<Graph> clone() const;

 private:
  friend class Node;
  friend class Value;
  struct Names;
  void link_output(size_t output, Value* value);
  void unlink_output(size_t output);
  Value* new_value(std::string name);
  void free_value(Value* value);
  void share_names(const std::shared_ptr<Names>& names);
  std::shared_ptr<const OpRegistry> op_registry_;  // outlives the nodes below
  std::shared_ptr<DimContext> dims_;
  Node* parent_ = nullptr;
  std::vector<Value*> inputs_, outputs_;
  std::vector<std::string> output_names_;
  std::vector<size_t> output_use_of_;  // by output: where its use stands in the value's list
  std::list<std::unique_ptr<Node>> nodes_;
  std::list<std::unique_ptr<Value>> values_;  // owns all values; freed with the graph or when their node is erased
  std::shared_ptr<Names> names_;  // one for a module and its regions
  std::vector<Assumption> assumptions_;
  std::unordered_multimap<size_t, size_t> assumption_by_hash_;
};

/// Copies the nodes of `from`, regions and attributes included, before `before` in `to` (null: at the end). `map` gives
/// the values that stand for those of `from` (its inputs at least) and receives every copied value; operands that it
/// does not have are used as they are. Names are kept where `to` does not have them yet.
void copy_nodes(const Graph& from, Graph& to, Node* before, std::unordered_map<const Value*, Value*>& map);

/// The tensor of a value defined by a `Constant` node, else null.
const Tensor* constant_of(const Value* value);
/// The integers of a constant or of known, constant dim_values.
std::optional<std::vector<int64_t>> constant_ints(const Value* value);

/// Calls fn(Node&) for every node of `graph` and of all nested regions, outer nodes before their regions.
/// fn must not erase the node it is given.
template <class Fn>
void walk(Graph& graph, Fn&& fn) {
  for (Node* n = graph.first(); n != nullptr;) {
    Node* next = n->next();
    fn(*n);
    for (const auto& region : n->regions()) walk(*region, fn);
    n = next;
  }
}

}  // namespace tenon::ir
