#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/compute.h"
#include "ir/graph.h"
#include "support/interrupt.h"
#include "support/status.h"

namespace tenon::ir {

/// Whether two dims that the node needs to be equal are known not to be. Where neither is known, its graph assumes that they are.
bool differ(const Node& node, Dim a, Dim b);
/// Whether a dim that must be at most `limit` is known to be more; else as above.
bool exceeds(const Node& node, Dim a, Dim limit);

/// Inference of one node: types of inputs in, types of outputs out. Functions must check ranks, dtypes, attributes and
/// ranges, and give a named error for what a hostile model could say. Unknown ranks of inputs are legal.
class InferContext {
 public:
  InferContext(Node& node) : node_(node) {}  // NOLINT
  Node& node() const { return node_; }
  DimContext& dims() const { return node_.graph()->dims(); }

  bool has(int i) const { return node_.has_input(i); }
  const Type& in(int i) const { return node_.input(i)->type(); }
  DType dtype(int i) const { return in(i).dtype(); }
  bool ranked(int i) const { return in(i).is_ranked_tensor(); }
  const std::vector<Dim>& shape(int i) const { return *in(i).tensor().dims; }  // ranked(i) only
  const Tensor* constant(int i) const { return has(i) ? constant_of(node_.input(i)) : nullptr; }
  /// Contents of an integer rank 0/1 input as dims: from a constant, or from shape arithmetic. nullopt when unknown.
  std::optional<std::vector<Dim>> dim_values(int i) const;

  void set(int output, Type type) { node_.output(output)->set_type(std::move(type)); }
  void set_dim_values(int output, std::vector<Dim> values) { node_.output(output)->set_dim_values(std::move(values)); }
  bool differ(Dim a, Dim b) const { return ir::differ(node_, a, b); }
  /// A symbol for a dim of this output which only run time knows. Stable: inferring again gives the same symbol.
  Dim fresh_dim(int output, int axis);
  /// Fails with kInvalidModel, the node's name as place.
  template <class... Args>
  Status fail(fmt::format_string<Args...> format, Args&&... args) const {
    return fail_text(fmt::format(format, std::forward<Args>(args)...));
  }
  Status fail_text(std::string text) const;

 private:
  Node& node_;
};

/// Numpy broadcasting of two or more shapes (ONNX Broadcasting.md). A symbolic dim against 1 broadcasts; two different
/// symbolic dims are taken as equal and checked at run time: the result is the constant one if either is constant, else the first.
Result<std::vector<Dim>> broadcast(std::span<const std::vector<Dim>> shapes);
/// -rank..rank-1 to 0..rank-1, or an error that names the attribute.
Result<int64_t> normalize_axis(int64_t axis, int64_t rank, std::string_view attribute = "axis");

/// Evaluation of one node on concrete values (opaque ops; a faster or more exact path for others). Inputs that are absent
/// are std::monostate. Runs on hostile data: every index and size is checked.
struct EvalContext {
  const Node& node;
  std::span<const HostValue> inputs;
  std::span<HostValue> outputs;                 // filled by the function
  const std::vector<std::optional<int64_t>>& symbols;  // dims bound so far, by symbol id
  /// Runs region `i` with these inputs (control flow). Captured values are resolved by the caller.
  std::function<Result<std::vector<HostValue>>(int region, std::span<const HostValue> inputs)> run_region;
  int64_t max_bytes = int64_t{1} << 36;         // limit for one output; kResourceExhausted beyond
  Interrupt interrupt = {};                     // loops over more than a few million steps ask it

  const Tensor& tensor(int i) const { return std::get<Tensor>(inputs[static_cast<size_t>(i)]); }
  bool has(int i) const {
    return i < static_cast<int>(inputs.size()) && !std::holds_alternative<std::monostate>(inputs[static_cast<size_t>(i)]);
  }
  /// Checks the limit, allocates output i zero-filled and returns it.
  Result<Tensor*> allocate(int output, DType dtype, Shape shape) const;
};

using InferFn = Status (*)(InferContext&);
/// Element semantics of every output, for a node whose input and output types are ranked tensors.
using BodyFn = Result<std::vector<Body>> (*)(const Node&);
/// Replaces the node by simpler ones: builds them before `node` and returns the values that take the outputs' place.
using DecomposeFn = Result<std::vector<Value*>> (*)(Node& node, class Builder& builder);
using EvalFn = Status (*)(EvalContext&);

/// How an op is computed; what the design calls its compute kind. `body`, else `decompose`, else `eval` defines the
/// semantics; an op may also have `eval` as the interpreter's faster or more exact path.
struct Compute {
  BodyFn body = nullptr;
  DecomposeFn decompose = nullptr;
  EvalFn eval = nullptr;
  bool structural = false;  // If, Loop, Scan, Constant, fused…: backends know them
  bool view = false;        // output 0 has the bytes of input 0, under another shape or type: a plan needs no code for it
};

enum class AttrKind : uint8_t { kInt, kFloat, kString, kTensor, kInts, kFloats, kStrings, kDims, kType, kTensors };

struct AttrDef {
  std::string_view name;
  AttrKind kind;
  bool required = false;
  std::string_view fallback = {};  // the default as text, for documentation and checks: "1", "0.01", "NOTSET"
};

/// Set of dtypes, a bit each.
using DTypeSet = uint32_t;
constexpr DTypeSet dtype_bit(DType d) { return DTypeSet{1} << static_cast<int>(d); }
template <class... D>
constexpr DTypeSet dtypes(D... d) { return (dtype_bit(d) | ... | 0u); }
inline constexpr DTypeSet kFloat16To64 = dtypes(DType::kF16, DType::kBF16, DType::kF32, DType::kF64);
inline constexpr DTypeSet kSignedInts = dtypes(DType::kI8, DType::kI16, DType::kI32, DType::kI64);
inline constexpr DTypeSet kUnsignedInts = dtypes(DType::kU8, DType::kU16, DType::kU32, DType::kU64);
inline constexpr DTypeSet kInts = kSignedInts | kUnsignedInts;
inline constexpr DTypeSet kNumeric = kFloat16To64 | kInts;
inline constexpr DTypeSet kFloat8 = dtypes(DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2, DType::kF8E5M2FNUZ);
inline constexpr DTypeSet kSmall = kFloat8 | dtypes(DType::kF8E8M0, DType::kF4E2M1, DType::kI4, DType::kU4, DType::kI2, DType::kU2);
inline constexpr DTypeSet kAnyTensor = ~DTypeSet{1};

/// One formal input or output. `types` names a type variable shared between parameters ("T") with its allowed dtypes;
/// parameters of the same variable must have the same dtype (the verifier checks). Sequences, optionals and maps: `any`.
struct Param {
  std::string_view name;
  std::string_view var;       // "T", "T1", "I" …
  DTypeSet types = kAnyTensor;
  bool optional = false;
  bool variadic = false;      // the last one only
  bool any = false;           // not (only) a tensor
};

/// One block an op, in one file of ir/ops. The table is explicit: ir/ops/table.cpp lists the families.
struct OpDef {
  std::string_view domain;    // "" is ai.onnx; "tenon" for internal ones
  std::string_view name;
  std::vector<Param> inputs;
  std::vector<Param> outputs;
  std::vector<AttrDef> attrs;
  InferFn infer = nullptr;
  Compute compute;
  int num_regions = 0;
  bool side_effects = false;  // random: not merged, not folded
  std::string_view doc;       // one line, with the ONNX section
  std::string_view host = {}; // for an op with `eval` alone: why no kernel can compute it; empty when none does yet
  int64_t since_version = 1;  // of an OpRegistry's op: the opset version of its domain that brought this form
  std::string_view qualified; // "Add", "com.microsoft.Attention"; the table or OpRegistry that owns the op sets it
  /// What the functions of an OpRegistry's op need beside the node: the callbacks of the library that registered it.
  std::shared_ptr<const void> closure;
};

/// The built-in op of this domain and name, null when there is none. "ai.onnx" is the same as "".
const OpDef* find_op(std::string_view domain, std::string_view name);
const OpDef* find_op(std::string_view qualified);  // "Add", "com.microsoft.Attention", "tenon.fused"
std::span<const OpDef* const> all_ops();
std::string qualified_name(const OpDef& op);

/// Runs the op's inference and checks its parameters' type constraints. Outputs keep a more precise known type.
Status infer_node(Node& node);

/// What must hold before inference may read a node: number of operands and regions, attributes of their kind, required
/// ones present.
Status check_node_form(const Node& node);
/// Operands and results have known types that the parameters and their type variables allow.
Status check_node_types(const Node& node);
/// Infers every node of a graph in order; control flow infers its regions.
Status infer_graph(Graph& graph);
/// The type that holds both: dims that differ are `fresh(axis)`, different ranks make it unranked. An error when the
/// dtypes or the kinds of type differ.
Result<Type> merge_types(const Type& a, const Type& b, const std::function<Dim(int axis)>& fresh);

/// Appends nodes, inferring each as it is made; for decompositions, rewrites and tests.
class Builder {
 public:
  Builder(Graph& graph, Node* before = nullptr) : graph_(graph), before_(before) {}
  Graph& graph() { return graph_; }
  /// A prefix for the names of new nodes (the node being replaced).
  void set_name(std::string name) { name_ = std::move(name); }

  /// One output. The first error sticks in status() and later calls return null; check status() at the end.
  Value* make(std::string_view op, std::initializer_list<Value*> inputs, std::initializer_list<std::pair<std::string_view, Attr>> attrs = {});
  std::vector<Value*> make_n(std::string_view op, std::span<Value* const> inputs, int num_outputs,
                             std::vector<std::pair<std::string, Attr>> attrs = {});
  /// As make_n, for an op with a region, which `fill` builds (inputs with their types, nodes, outputs) before inference.
  std::vector<Value*> make_region(std::string_view op, std::span<Value* const> inputs, int num_outputs,
                                  std::vector<std::pair<std::string, Attr>> attrs, const std::function<Status(Graph& region)>& fill);
  Value* constant(Tensor tensor, std::string_view name = {});
  Value* scalar(DType dtype, double value);            // rank 0
  Value* ints(std::span<const int64_t> values);        // i64, rank 1
  Value* ints(std::initializer_list<int64_t> values) { return ints(std::span<const int64_t>(values.begin(), values.size())); }
  const Status& status() const { return status_; }

 private:
  Graph& graph_;
  Node* before_;
  std::string name_;
  Status status_;
};

}  // namespace tenon::ir
