#include "frontend/onnx/denormalize.h"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "frontend/onnx/denormalize_dims.h"
#include "frontend/onnx/op_versions.h"
#include "ir/op_registry.h"
#include "ir/storage_order.h"
#include "ir/symbols.h"

namespace tenon::frontend {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

template <class Rule>
using RuleIndex = std::map<std::pair<std::string_view, std::string_view>, std::vector<const Rule*>>;

template <class Rule>
RuleIndex<Rule> index_of(std::span<const Rule> table) {
  RuleIndex<Rule> out;
  for (const Rule& rule : table)
    for (std::string_view rest = rule.ops; !rest.empty();) {
      const size_t space = rest.find(' ');
      out[{rule.domain, rest.substr(0, space)}].push_back(&rule);
      rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
    }
  return out;
}

template <class Rule>
std::span<const Rule* const> rules_for(const RuleIndex<Rule>& index, const Node& node) {
  const auto found = index.find({node.op().domain, node.op().name});
  return found == index.end() ? std::span<const Rule* const>() : std::span<const Rule* const>(found->second);
}

Call call_of(const Node& node, int64_t opset) {
  Call call;
  call.domain = node.op().domain;
  call.op = node.op().name;
  call.version = opset;
  call.name = node.name();
  call.inputs.assign(node.inputs().begin(), node.inputs().end());
  call.attrs = node.attrs();
  for (const Value* output : node.outputs()) call.used.push_back(!output->unused());
  return call;
}

/// Whether the name of a registered op means another form of it at this opset.
bool superseded(const Node& node, int64_t opset) {
  const Graph* module = node.graph();
  while (module->parent() != nullptr) module = module->parent()->graph();
  const auto& ops = module->op_registry();
  return node.op().closure != nullptr && ops != nullptr && ops->find(node.op().domain, node.op().name, opset) != &node.op();
}

}  // namespace

Result<Call> form_of(const Node& node, int64_t opset, int64_t& needed) {
  static const auto index = index_of(denormalize_rules());
  const auto fail = [&](int64_t lowest, std::string_view what) {
    needed = lowest;
    const std::string_view domain = node.op().domain.empty() ? "ai.onnx" : node.op().domain;
    return Status(Code::kUnsupported, fmt::format("opset {} of {} has no {}{}", opset, domain, node.op().name, what),
                  fmt::format("node {}", node.name()), fmt::format("choose opset {} or later", lowest));
  };
  const std::span<const int64_t> versions = op_versions(node.op().domain, node.op().name);
  const int64_t first = versions.empty() ? node.op().since_version : versions.front();
  if (first > opset) return fail(first, "");
  if (superseded(node, opset))
    return Status(Code::kUnsupported,
                  fmt::format("opset {} of {}, which another node needs, has another form of {}", opset, node.op().domain,
                              node.op().name),
                  fmt::format("node {}", node.name()), "use the ops of one opset");
  Call call = call_of(node, opset);
  for (const DenormalizeRule* rule : rules_for(index, node)) {
    if (opset >= rule->below) continue;
    const Status status = rule->rewrite(call, node);
    if (!status.ok()) return fail(rule->below, status.what().empty() ? std::string() : " with " + status.what());
  }
  std::string what;
  if (const int64_t lowest = opset_of_additions(call, node, opset, what); lowest > opset)
    return fail(lowest, fmt::format(" with {}", what));
  return call;
}

namespace {

class Rewriter {
 public:
  Rewriter(Graph& module, int64_t opset) : module_(module), opset_(opset) {}

  Status run() {
    TENON_RETURN_IF_ERROR(visit(module_));
    return name_outputs();
  }

 private:
  Status visit(Graph& graph, bool isolated = false) {
    sources_.enter(graph, isolated);
    for (Node* node = graph.first(); node != nullptr;) {
      if (++visited_ > kMaxNodes) return error(Code::kInternal, "rewriting for export does not end");
      Node* before = node->prev();
      TENON_ASSIGN_OR_RETURN(const bool replaced, rewrite(*node));
      if (replaced) {
        node = before == nullptr ? graph.first() : before->next();
        continue;
      }
      for (const auto& region : node->regions()) {
        TENON_RETURN_IF_ERROR(visit(*region, node->is("tenon.fused")));
        TENON_RETURN_IF_ERROR(own_outputs(*region));
      }
      sources_.define(*node);
      node = node->next();
    }
    sources_.leave();
    return {};
  }

  /// Whether the node is gone and others, still to be visited, stand in its place.
  Result<bool> rewrite(Node& node) {
    for (Value* output : node.outputs()) ir::set_storage_order(*output, {});
    if (node.is("tenon.fused")) return inline_fused(node);
    if (node.is("tenon.dim_values")) take_over_reshapes(node);
    if (node.op().domain == "tenon") return replace_internal(node);
    if (opset_ == 0 || !node.op().domain.empty()) return false;
    int64_t needed = 0;
    const Result<Call> form = form_of(node, opset_, needed);
    if (form.ok()) return false;
    return expand(node, form.status());
  }

  Result<bool> replace_internal(Node& node) {
    ir::Builder builder(*node.graph(), &node);
    builder.set_name(node.name());
    if (node.output()->unused()) {
      node.graph()->erase(&node);
      return true;
    }
    static const std::vector<Dim> kNone;
    const std::vector<Dim>& dims = node.attr_dims("dims") != nullptr ? *node.attr_dims("dims") : kNone;
    Result<Value*> made = Status(Code::kUnsupported, fmt::format("{} has no form in ONNX", node.op_name()), {},
                                 "write the model from a graph whose ops were not decomposed");
    if (node.is("tenon.reshape")) made = reshape(node, dims, builder);
    if (node.is("tenon.expand")) made = broadcast(node, dims, builder);
    if (node.is("tenon.relayout")) made = builder.make("Identity", {node.input(0)});
    if (node.is("tenon.dim_values")) made = values(node, dims, builder);
    if (!made.ok()) return std::move(made).status().at(fmt::format("node {}", node.name()));
    TENON_RETURN_IF_ERROR(builder.status());
    replace(node, *made);
    return true;
  }

  /// A Reshape whose shape is known in symbols mostly needs no arithmetic: see reshape().
  void take_over_reshapes(Node& shape) {
    const std::vector<ir::Use> uses = shape.output()->uses();
    for (const ir::Use& use : uses) {
      Node& user = *use.node;
      if (!user.is("Reshape") || use.index != 1 || !user.output()->type().is_ranked_tensor()) continue;
      const std::vector<Dim>& dims = *user.output()->tensor().dims;
      if (!std::ranges::all_of(dims, [this](Dim dim) { return sources_.carried(dim); })) continue;
      ir::Builder builder(*user.graph(), &user);
      if (Value* made = builder.make("tenon.reshape", {user.input(0)}, {{"dims", dims}})) replace(user, made);
    }
  }

  /// One dim may be -1 and a dim that stays where it is 0. Where other dims can be 0 at run time -1 would have no
  /// meaning, so that only the sizes of inputs are trusted to have elements.
  Result<Value*> reshape(Node& node, std::vector<Dim> dims, ir::Builder& builder) {
    const ir::Type& from = node.input(0)->type();
    std::vector<size_t> open;
    for (size_t i = 0; i < dims.size(); ++i) {
      if (dims[i].is_const()) continue;
      const bool kept = from.is_ranked_tensor() && static_cast<int64_t>(i) < from.tensor().rank() &&
                        from.tensor().dim(static_cast<int64_t>(i)) == dims[i];
      if (!kept) open.push_back(i);
    }
    const bool has_zero = std::ranges::any_of(dims, [](Dim d) { return d.is_const(0); });
    // 0 would mean a copy; ConstantOfShape(0-element shape) is no better: such a shape is written with its numbers.
    if (has_zero) {
      TENON_ASSIGN_OR_RETURN(Value * shape, sources_.vector(dims, builder));
      return builder.make("Reshape", {node.input(0), shape}, {{"allowzero", int64_t{1}}});
    }
    std::vector<Dim> written = dims;
    for (size_t i = 0; i < dims.size(); ++i)
      if (!dims[i].is_const() && std::ranges::find(open, i) == open.end()) written[i] = 0;
    if (!open.empty()) {
      const auto rest_has_elements = [&](size_t at) {
        for (size_t i = 0; i < dims.size(); ++i)
          if (i != at && !sources_.from_inputs(dims[i])) return false;
        return true;
      };
      // The last one that may be -1: leading dims are batches, which a copy or a lookup says better.
      for (size_t i = open.size(); i-- > 0;)
        if (rest_has_elements(open[i])) {
          written[open[i]] = -1;
          break;
        }
    }
    TENON_ASSIGN_OR_RETURN(Value * shape, sources_.vector(written, builder));
    return builder.make("Reshape", {node.input(0), shape});
  }

  /// Expand broadcasts both ways: 1 keeps a dim.
  Result<Value*> broadcast(Node& node, std::vector<Dim> dims, ir::Builder& builder) {
    const ir::Type& from = node.input(0)->type();
    if (from.is_ranked_tensor())
      for (size_t k = 0; k < std::min(dims.size(), static_cast<size_t>(from.tensor().rank())); ++k) {
        Dim& to = dims[dims.size() - 1 - k];
        if (to == from.tensor().dim(from.tensor().rank() - 1 - static_cast<int64_t>(k))) to = 1;
      }
    TENON_ASSIGN_OR_RETURN(Value * shape, sources_.vector(dims, builder));
    return builder.make("Expand", {node.input(0), shape});
  }

  Result<Value*> values(Node& node, const std::vector<Dim>& dims, ir::Builder& builder) {
    const bool scalar = node.attr_int("scalar", 0) != 0;
    if (scalar && dims[0].is_const()) return builder.constant(Tensor::scalar<int64_t>(dims[0].value()));
    TENON_ASSIGN_OR_RETURN(Value * list, sources_.vector(dims, builder));
    // Another node's result must not be taken over as this one's.
    return scalar ? builder.make("Squeeze", {list, builder.ints({0})}) : builder.make("Identity", {list});
  }

  /// `made` takes the place and the name of a node's only output.
  static void replace(Node& node, Value* made) {
    Value* old = node.output();
    const std::string name = old->name();
    made->set_type(old->type());
    made->set_dim_values(old->dim_values());
    node.graph()->replace_all_uses(old, made);
    old->set_name(node.graph()->unique_name(name));
    made->set_name(name);
    if (made->def()->num_outputs() == 1) made->def()->set_name(node.name());
    node.graph()->erase(&node);
  }

  /// A function takes its dims from its own inputs, and one of one node says nothing: then the parts take the node's
  /// place.
  Result<bool> inline_fused(Node& node) {
    Graph& body = node.region(0);
    if (static_cast<int>(body.inputs().size()) != node.num_inputs() ||
        static_cast<int>(body.outputs().size()) != node.num_outputs())
      return error(Code::kInvalidModel, "the region of the fused node {} has another number of values than the node",
                   node.name());
    size_t parts = 0;
    for (const auto& part : body.nodes()) parts += part->is("Constant") ? 0 : 1;
    DimSources inner;
    inner.enter(body);
    bool closed = parts > 1;
    for (const auto& part : body.nodes()) {
      for (const auto& [name, attr] : part->attrs())
        if (const auto* dims = std::get_if<std::vector<Dim>>(&attr))
          for (Dim dim : *dims) closed = closed && inner.carried(dim);
      closed = closed && part->num_regions() == 0;
      inner.define(*part);
    }
    if (closed) return false;
    Graph& graph = *node.graph();
    std::unordered_map<const Value*, Value*> map;
    for (int i = 0; i < node.num_inputs(); ++i) map[body.inputs()[static_cast<size_t>(i)]] = node.input(i);
    ir::copy_nodes(body, graph, &node, map);
    for (int i = 0; i < node.num_outputs(); ++i) {
      Value* old = node.output(i);
      Value* now = map.at(body.outputs()[static_cast<size_t>(i)]);
      graph.replace_all_uses(old, now);
      if (now->def() == nullptr) continue;
      const std::string name = old->name();
      old->set_name(graph.unique_name(name));
      now->set_name(name);
      now->set_type(old->type());
    }
    graph.erase(&node);
    return true;
  }

  /// By the rules of export, else by the op's own definition.
  Result<bool> expand(Node& node, const Status& reason) {
    static const auto index = index_of(expand_rules());
    ir::Builder builder(*node.graph(), &node);
    builder.set_name(node.name());
    for (const ExpandRule* rule : rules_for(index, node)) {
      if (opset_ >= rule->below || (rule->wanted != nullptr && !rule->wanted(node))) continue;
      TENON_ASSIGN_OR_RETURN(Value * made, rule->build(node, builder));
      TENON_RETURN_IF_ERROR(builder.status());
      replace(node, made);
      return true;
    }
    const ir::Compute& compute = node.op().compute;
    if (!compute.decompose || compute.structural) return reason;
    Result<std::vector<Value*>> values = compute.decompose(node, builder);
    if (!values.ok() || !builder.status().ok()) return reason;
    for (int i = 0; i < node.num_outputs(); ++i) {
      Value* old = node.output(i);
      Value* now = static_cast<size_t>(i) < values->size() ? (*values)[static_cast<size_t>(i)] : nullptr;
      if (old->unused()) continue;
      if (now == nullptr) return reason;
      node.graph()->replace_all_uses(old, now);
    }
    node.graph()->erase(&node);
    return true;
  }

  Value* identity(Graph& graph, Value* value) {
    ir::Builder builder(graph);
    builder.set_name(value->name());
    Value* made = builder.make("Identity", {value});
    if (made == nullptr) return value;
    made->set_type(value->type());
    return made;
  }

  /// Outputs of a region are results of its own nodes, each only once, so that readers need no rule for others.
  Status own_outputs(Graph& graph) {
    std::unordered_set<const Value*> seen;
    for (int i = 0; i < static_cast<int>(graph.outputs().size()); ++i) {
      Value* value = graph.outputs()[static_cast<size_t>(i)];
      const bool own = value->graph() == &graph && value->def() != nullptr;
      if (!own || !seen.insert(value).second) graph.set_output(i, identity(graph, value));
    }
    return {};
  }

  /// Outputs of the module are called what callers call them.
  Status name_outputs() {
    std::map<std::string, Value*, std::less<>> names;
    walk_values(module_, [&](Value& value) { names.emplace(value.name(), &value); });
    std::unordered_set<const Value*> inputs(module_.inputs().begin(), module_.inputs().end());
    std::map<std::string, const Value*, std::less<>> given;
    for (const Value* input : inputs) given.emplace(input->name(), input);
    std::unordered_set<const Value*> taken;
    for (int i = 0; i < static_cast<int>(module_.outputs().size()); ++i) {
      Value* value = module_.outputs()[static_cast<size_t>(i)];
      const std::string name = module_.output_name(i);
      if (name.empty()) return error(Code::kInvalidArgument, "output {} has no name", i);
      const auto [at, is_new] = given.emplace(name, value);
      if (!is_new) {
        if (at->second != value)
          return error(Code::kInvalidArgument, "'{}' is the name of two inputs or outputs", name);
        continue;
      }
      if (inputs.contains(value) || !taken.insert(value).second) {
        value = identity(module_, value);
        module_.set_output(i, value);
        at->second = value;
        taken.insert(value);
        names.emplace(value->name(), value);
      }
      if (value->name() == name) continue;
      if (auto other = names.find(name); other != names.end()) {
        std::string free = module_.unique_name(name);
        ir::rename_value(*other->second, free);
        names[free] = other->second;
      }
      ir::rename_value(*value, name);
      names[name] = value;
    }
    return {};
  }

  template <class Fn>
  static void walk_values(Graph& graph, Fn&& fn) {
    for (Value* input : graph.inputs()) fn(*input);
    for (const auto& node : graph.nodes()) {
      for (Value* output : node->outputs()) fn(*output);
      for (const auto& region : node->regions()) walk_values(*region, fn);
    }
  }

  static constexpr int64_t kMaxNodes = 8'000'000;

  Graph& module_;
  int64_t opset_;
  DimSources sources_;
  int64_t visited_ = 0;
};

}  // namespace

Status make_portable(Graph& module, int64_t opset) { return Rewriter(module, opset).run(); }

}  // namespace tenon::frontend
