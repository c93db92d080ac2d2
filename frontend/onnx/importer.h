#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "frontend/onnx/attributes.h"
#include "frontend/onnx/import.h"
#include "frontend/onnx/normalize.h"
#include "frontend/onnx/proto.h"
#include "frontend/onnx/tensor_proto.h"
#include "frontend/onnx/types.h"
#include "ir/op_registry.h"

namespace tenon::frontend {

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

/// Of the names that an inlined call gives: calls of calls with long names would take memory by their product.
inline constexpr size_t kMaxPrefix = 512;

/// "ai.onnx" is the same as "".
std::string canonical_domain(const std::string& domain);

/// What opset_import says, by canonical domain.
using Opsets = std::map<std::string, int64_t, std::less<>>;
Result<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports);

/// Model-local functions by domain, name and overload.
class Functions {
 public:
  struct Entry {
    const onnx::FunctionProto* proto;
    Opsets opsets;
    std::unordered_map<std::string, onnx::AttributeProto> defaults;  // attribute_proto (field 11)
  };
  /// kInvalidModel for two functions of one identity. A function is a fallback for runtimes that lack the op (IR.md,
  /// "Functions"): one without overload whose op is in `ops` (null: none) is left out.
  static Result<Functions> read(const onnx::ModelProto& model, const ir::OpRegistry* ops);
  const Entry* find(const onnx::NodeProto& node) const;
  const std::map<std::string, Entry>& all() const { return entries_; }

 private:
  std::map<std::string, Entry> entries_;
};

/// Lists everything in the model that the op table and the normaliser lack, in one error; OK when there is nothing.
Status check_supported(const onnx::ModelProto& model, const Opsets& opsets, const Functions& functions, const ImportOptions& options);

/// Names of values that a node reads besides its inputs and subgraphs: the tensors that Gradient speaks of.
std::vector<std::string> named_values(const onnx::NodeProto& node);

/// Order in which every node follows those whose outputs it (or its subgraphs) reads, else as given. kInvalidModel for
/// cycles, names defined twice and names that nothing defines (`known` says which exist outside).
Result<std::vector<int>> order_nodes(const Nodes& nodes, const std::function<bool(const std::string&)>& known);

/// Builds the graph of a parsed model.
class Importer {
 public:
  Importer(const onnx::ModelProto& model, TensorReader& tensors, const ImportOptions& options)
      : model_(model), tensors_(tensors), options_(options) {}
  Result<std::unique_ptr<ir::Graph>> run();

 private:
  /// Names visible in a graph; a subgraph's scope has its outer one as parent, a function's has none.
  struct Scope {
    std::unordered_map<std::string, ir::Value*> values;
    const Scope* parent = nullptr;
    ir::Value* find(const std::string& name) const;
  };
  /// What a function call, or the model itself, gives the nodes inside.
  struct Frame {
    const Opsets* opsets = nullptr;
    std::string prefix;                                                      // of names, "call/"
    std::unordered_map<std::string, const onnx::AttributeProto*> attributes; // what ref_attr_name refers to
    const Functions::Entry* function = nullptr;
    const Frame* caller = nullptr;
    int depth = 0;                                                           // of calls and regions
  };
  using Hints = std::unordered_map<std::string, const onnx::TypeProto*>;

  Status declare_dims();
  void note_unnamed_dims();
  Status import_inputs(Scope& scope);
  Status apply_shape(const std::string& input, std::vector<ir::Dim>& dims);
  Status import_initializers(const onnx::GraphProto& proto, ir::Graph& graph, Scope& scope, const Frame& frame);
  Status import_nodes(const Nodes& nodes, ir::Graph& graph, Scope& scope, const Frame& frame, const Hints& hints);
  Status import_node(const onnx::NodeProto& proto, ir::Graph& graph, Scope& scope, const Frame& frame, const Hints& hints);
  Status import_call(const onnx::NodeProto& proto, const Functions::Entry& function, ir::Graph& graph, Scope& scope,
                     const Frame& frame, const Hints& hints);
  Status import_region(const onnx::GraphProto& proto, ir::Node& owner, ir::Graph& graph, const Scope& outer, const Frame& frame);
  ir::Type region_input_type(const ir::Node& owner, int index, int num_inputs, const onnx::ValueInfoProto& declared);
  Result<Call> read_call(const onnx::NodeProto& proto, const Scope& scope, const Frame& frame,
                         std::vector<const onnx::GraphProto*>& regions);
  Result<const onnx::AttributeProto*> resolve_attribute(const onnx::AttributeProto& a, const Frame& frame);
  Result<std::vector<ir::Value*>> emit(const Call& call, const std::vector<const onnx::GraphProto*>& regions, ir::Graph& graph,
                                       const Scope& scope, const Frame& frame);
  Status bind_outputs(const onnx::NodeProto& proto, const std::vector<ir::Value*>& outputs, Scope& scope, const Frame& frame,
                      const Hints& hints);
  Status import_outputs(const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& outputs, ir::Graph& graph, const Scope& scope);

  // Forms (import_forms.cpp): ops that become others here.
  using Regions = std::vector<const onnx::GraphProto*>;  // null: an optional one that is absent
  using Values = Result<std::vector<ir::Value*>>;
  using ImportForm = Values (Importer::*)(const Call&, const Regions&, ir::Graph&, const Scope&, const Frame&);
  struct Form {
    std::string_view domain, op;
    int64_t below;
    ImportForm import;
  };
  static const Form* find_form(std::string_view domain, std::string_view op, int64_t version);
  friend bool is_form(std::string_view domain, std::string_view op, int64_t version);
  Values import_batched_scan(const Call& call, const Regions& regions, ir::Graph& graph, const Scope& scope, const Frame& frame);
  Values import_flex_attention(const Call& call, const Regions& regions, ir::Graph& graph, const Scope& scope, const Frame& frame);
  Values import_gradient(const Call& call, const Regions& regions, ir::Graph& graph, const Scope& scope, const Frame& frame);
  Result<ir::Value*> inline_modifier(const onnx::GraphProto& proto, ir::Value* x, const std::string& name, ir::Graph& graph,
                                     const Scope& scope, const Frame& frame);

  ir::Value* add_constant(ir::Graph& graph, Tensor tensor, const std::string& name);
  void name_value(ir::Value* value, const std::string& name);
  std::string unique(const std::string& name);
  std::string node_name(const onnx::NodeProto& proto, const Frame& frame);
  void read_metadata(ir::Graph& graph);
  Status check_attributes(const Call& call, const ir::OpDef& op);
  const ir::OpDef* registered_op(const Call& call) const;

  const onnx::ModelProto& model_;
  TensorReader& tensors_;
  const ImportOptions& options_;
  Opsets opsets_;
  Functions functions_;
  std::unique_ptr<ir::Graph> graph_;
  std::unique_ptr<DimNames> dims_;
  std::unordered_set<std::string> names_;
  std::unordered_map<std::string, int64_t> suffixes_;  // last one given to a name that came again
  std::unordered_set<const ir::Value*> named_;
  std::vector<ir::Value*> initializers_;
  std::vector<std::string> unsupported_;  // found while building; reported together
  std::unordered_set<const ir::Value*> blocked_;  // values of com.microsoft.nchwc's layout
  int64_t visited_ = 0, unnamed_ = 0, channel_block_ = 0;
};

}  // namespace tenon::frontend
