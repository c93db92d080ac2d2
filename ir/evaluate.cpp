#include "ir/evaluate.h"

#include <algorithm>
#include <unordered_map>

#include "ir/evaluate_body.h"
#include "ir/evaluate_control.h"

namespace tenon::ir {
namespace {

constexpr int kMaxDepth = 64;                 // of regions and decompositions
constexpr int64_t kMaxConstantElements = 4096;  // inputs up to this size are constants to inference

using Symbols = std::vector<std::optional<int64_t>>;

std::string place(const Node& node) {
  std::string_view name = node.name();
  if (name.empty() && node.num_outputs() > 0) name = node.output(0)->name();
  return fmt::format("{} node '{}'", node.op_name(), name);
}

int64_t bytes_of(const HostValue& value) {
  const Tensor* t = std::get_if<Tensor>(&value);
  return t != nullptr ? static_cast<int64_t>(t->bytes()) : 0;
}

Type type_of(const HostValue& value, const Value* declared) {
  if (const Tensor* t = std::get_if<Tensor>(&value))
    return TensorType(t->dtype(), std::vector<Dim>(t->shape().begin(), t->shape().end()));
  if (declared != nullptr && declared->type().known() && !declared->type().is_tensor()) return declared->type();
  if (const auto* s = std::get_if<std::shared_ptr<Sequence>>(&value))
    return SequenceType{std::make_shared<const Type>(TensorType::unranked((*s)->elem))};
  return declared != nullptr ? declared->type() : Type();
}

// A copy of a node, alone in a graph of its own, whose input types are those of actual values.
struct Concrete {
  Graph graph;
  Node* node = nullptr;
  std::vector<HostValue> graph_inputs;  // of the graph's inputs; small tensors are constants instead
};

Status make_concrete(const Node& node, std::span<const HostValue> inputs, const Symbols& symbols, Concrete& out) {
  static const OpDef* const constant_op = find_op("Constant");
  std::vector<Value*> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const HostValue& input = inputs[i];
    const Value* declared = node.input(static_cast<int>(i));
    const Tensor* t = std::get_if<Tensor>(&input);
    if (declared == nullptr) {
      values.push_back(nullptr);
    } else if (t != nullptr && t->size() <= kMaxConstantElements) {
      Node* constant = out.graph.create(*constant_op, {}, 1);
      constant->attrs().set("value", *t);
      constant->output()->set_type(type_of(input, declared));
      values.push_back(constant->output());
    } else {
      values.push_back(out.graph.add_input(fmt::format("in{}", i), type_of(input, declared)));
      out.graph_inputs.push_back(input);
    }
  }
  out.node = out.graph.create(node.op(), values, node.num_outputs());
  out.node->set_name(node.name());
  out.node->share_state(node);
  for (const auto& [name, attr] : node.attrs()) {
    if (const auto* dims = std::get_if<std::vector<Dim>>(&attr)) {
      std::vector<Dim> bound;
      for (const Dim& d : *dims) {
        TENON_ASSIGN_OR_RETURN(const int64_t value, evaluate(d, symbols));
        bound.emplace_back(value);
      }
      out.node->attrs().set(name, std::move(bound));
    } else {
      out.node->attrs().set(name, attr);
    }
  }
  return infer_node(*out.node);
}

struct Frame {
  const Frame* parent = nullptr;
  std::unordered_map<const Value*, HostValue> values;
  Symbols symbols;
  const std::function<const HostValue*(const Value*)>* outer = nullptr;

  const HostValue* find(const Value* v) const {
    for (const Frame* f = this; f != nullptr; f = f->parent) {
      if (auto it = f->values.find(v); it != f->values.end()) return &it->second;
      if (f->outer != nullptr && *f->outer) return (*f->outer)(v);
    }
    return nullptr;
  }
};

// Binds the symbols of a type from an actual shape. `strict`: what does not fit is an error.
Status bind_dims(const Type& type, const HostValue& value, bool strict, Symbols& symbols) {
  const Tensor* t = std::get_if<Tensor>(&value);
  if (strict && type.is_tensor() && (t == nullptr || t->dtype() != type.dtype()))
    return error(Code::kInvalidArgument, "is {}, but {} is expected", t == nullptr ? "not a tensor" : name(t->dtype()),
                 to_string(type));
  if (strict && type.as_sequence() != nullptr && !std::holds_alternative<std::shared_ptr<Sequence>>(value))
    return error(Code::kInvalidArgument, "is not a sequence, but {} is expected", to_string(type));
  if (t == nullptr || !type.is_ranked_tensor()) return {};
  const auto wrong = [&] {
    return strict ? error(Code::kInvalidArgument, "has shape {}, but {} is expected", tenon::to_string(t->shape()), to_string(type))
                  : Status();
  };
  if (type.tensor().rank() != t->rank()) return wrong();
  for (int64_t axis = 0; axis < t->rank(); ++axis) {
    const Dim& dim = type.tensor().dim(axis);
    const int64_t actual = t->dim(axis);
    if (dim.is_symbol()) {
      const size_t id = static_cast<size_t>(dim.symbol_id());
      if (id >= symbols.size()) symbols.resize(id + 1);
      if (!symbols[id]) symbols[id] = actual;
    }
    const Result<int64_t> expected = evaluate(dim, symbols);
    if (expected.ok() && *expected != actual) TENON_RETURN_IF_ERROR(wrong());
  }
  return {};
}

class Evaluator {
 public:
  explicit Evaluator(const EvalOptions& options) : options_(options) {
    limits_.max_bytes = options.max_bytes;
    limits_.interrupt = options.interrupt;
  }

  Result<std::vector<HostValue>> run(const Graph& graph, std::span<const HostValue> inputs, const Frame* parent,
                                     bool strict, bool observed) {
    if (inputs.size() != graph.inputs().size())
      return error(Code::kInvalidArgument, "{} inputs are given, {} needed", inputs.size(), graph.inputs().size());
    if (++depth_ > kMaxDepth) {
      --depth_;
      return error(Code::kResourceExhausted, "regions and decompositions are nested more than {} deep", kMaxDepth);
    }
    Frame frame{parent, {}, parent != nullptr ? parent->symbols : Symbols()};
    Result<std::vector<HostValue>> outputs = run_frame(graph, inputs, frame, strict, observed);
    for (const auto& [value, held] : frame.values) live_bytes_ -= bytes_of(held);
    --depth_;
    return outputs;
  }

  Status run_node(const Node& node, std::span<const HostValue> inputs, std::span<HostValue> outputs, const Frame& frame,
                  bool observed) {
    const auto run_region = [&](int region, std::span<const HostValue> values) {
      return run(node.region(region), values, &frame, false, observed);
    };
    const Compute& compute = node.op().compute;
    if (compute.structural || node.num_regions() > 0) {
      EvalContext context{node, inputs, outputs, frame.symbols, run_region, options_.max_bytes, options_.interrupt};
      if (compute.eval != nullptr) return compute.eval(context);
      return evaluate_control(context, options_);
    }
    Concrete concrete;
    TENON_RETURN_IF_ERROR(make_concrete(node, inputs, frame.symbols, concrete));
    if (compute.eval != nullptr) {
      EvalContext context{*concrete.node, inputs, outputs, frame.symbols, {}, options_.max_bytes, options_.interrupt};
      return compute.eval(context);
    }
    if (compute.body != nullptr) {
      Status status = run_bodies(concrete, inputs, outputs, frame.symbols);
      if (status.code() != Code::kUnsupported || compute.decompose == nullptr) return status;
    }
    if (compute.decompose != nullptr) return run_decomposed(concrete, outputs);
    return error(Code::kUnsupported, "there is no way to compute {}", node.op_name());
  }

 private:
  Result<std::vector<HostValue>> run_frame(const Graph& graph, std::span<const HostValue> inputs, Frame& frame,
                                           bool strict, bool observed) {
    const size_t symbols = static_cast<size_t>(graph.dims().num_symbols());
    if (frame.symbols.size() < symbols) frame.symbols.resize(symbols);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Value* input = graph.inputs()[i];
      TENON_RETURN_IF_ERROR(bind_dims(input->type(), inputs[i], strict, frame.symbols).at(fmt::format("input '{}'", input->name())));
      TENON_RETURN_IF_ERROR(define(input, inputs[i], frame));
    }
    const auto& dying = last_uses(graph);
    for (const auto& node : graph.nodes()) {
      TENON_RETURN_IF_ERROR(step(*node, frame, observed).at(place(*node)));
      if (auto it = dying.find(node.get()); it != dying.end())
        for (const Value* value : it->second) forget(value, frame);
    }
    std::vector<HostValue> outputs;
    for (const Value* output : graph.outputs()) {
      const HostValue* value = frame.find(output);
      if (value == nullptr) return error(Code::kInternal, "the output '{}' has no value", output->name());
      outputs.push_back(*value);
    }
    return outputs;
  }

  Status step(const Node& node, Frame& frame, bool observed) {
    TENON_RETURN_IF_ERROR(limits_.interrupt.check());
    std::vector<HostValue> inputs(static_cast<size_t>(node.num_inputs()));
    std::vector<HostValue> outputs(static_cast<size_t>(node.num_outputs()));
    for (int i = 0; i < node.num_inputs(); ++i) {
      if (!node.has_input(i)) continue;
      const HostValue* value = frame.find(node.input(i));
      if (value == nullptr) return error(Code::kInternal, "the input '{}' has no value", node.input(i)->name());
      inputs[static_cast<size_t>(i)] = *value;
    }
    TENON_RETURN_IF_ERROR(run_node(node, inputs, outputs, frame, observed));
    if (observed && options_.alter) TENON_RETURN_IF_ERROR(options_.alter(node, outputs));
    if (observed && options_.observe) options_.observe(node, outputs);
    for (int i = 0; i < node.num_outputs(); ++i) {
      const Value* output = node.output(i);
      TENON_RETURN_IF_ERROR(bind_dims(output->type(), outputs[static_cast<size_t>(i)], false, frame.symbols));
      if (!output->unused()) TENON_RETURN_IF_ERROR(define(output, std::move(outputs[static_cast<size_t>(i)]), frame));
    }
    return {};
  }

  Status define(const Value* value, HostValue host, Frame& frame) {
    live_bytes_ += bytes_of(host);
    frame.values.insert_or_assign(value, std::move(host));
    if (live_bytes_ > options_.max_bytes)
      return error(Code::kResourceExhausted, "the values alive at once take more than {} bytes", options_.max_bytes);
    return {};
  }

  void forget(const Value* value, Frame& frame) {
    auto it = frame.values.find(value);
    if (it == frame.values.end()) return;
    live_bytes_ -= bytes_of(it->second);
    frame.values.erase(it);
  }

  // The values of `graph` that no node after a given one uses.
  const std::unordered_map<const Node*, std::vector<const Value*>>& last_uses(const Graph& graph) {
    auto [it, inserted] = last_uses_.try_emplace(&graph);
    if (!inserted) return it->second;
    std::unordered_map<const Node*, size_t> order;
    for (const auto& node : graph.nodes()) order.emplace(node.get(), order.size());
    const auto note = [&](const Value* value) {
      if (value->num_output_uses() > 0) return;
      const Node* last = value->def();
      for (const Use& use : value->uses()) {
        const Node* user = use.node;
        while (user != nullptr && user->graph() != &graph) user = user->graph()->parent();
        if (user != nullptr && (last == nullptr || order[user] > order[last])) last = user;
      }
      if (last != nullptr) it->second[last].push_back(value);
    };
    for (const Value* input : graph.inputs()) note(input);
    for (const auto& node : graph.nodes())
      for (const Value* output : node->outputs()) note(output);
    return it->second;
  }

  Status run_bodies(const Concrete& concrete, std::span<const HostValue> inputs, std::span<HostValue> outputs,
                    const Symbols& symbols) {
    TENON_ASSIGN_OR_RETURN(const std::vector<Body> bodies, concrete.node->op().compute.body(*concrete.node));
    if (bodies.size() != outputs.size())
      return error(Code::kInternal, "the op's body has {} outputs, the node {}", bodies.size(), outputs.size());
    std::vector<const Tensor*> operands;
    for (const HostValue& input : inputs) operands.push_back(std::get_if<Tensor>(&input));
    for (size_t i = 0; i < bodies.size(); ++i) {
      TENON_ASSIGN_OR_RETURN(Tensor out, evaluate_body(bodies[i], operands, symbols, limits_));
      outputs[i] = std::move(out);
    }
    return {};
  }

  /// Parts that broadcast where the whole must not give another shape.
  static Status check_inferred(const Type& type, const HostValue& value) {
    const Tensor* t = std::get_if<Tensor>(&value);
    if (t == nullptr || !type.is_ranked_tensor()) return {};
    const auto agrees = [](Dim d, int64_t size) { return !d.is_const() || d.value() == size; };
    if (std::ranges::equal(*type.tensor().dims, t->shape(), agrees)) return {};
    return error(Code::kInvalidArgument, "the inputs give {} where {} is inferred", tenon::to_string(t->shape()), to_string(type))
        .with_hint("give inputs whose shapes agree");
  }

  Status run_decomposed(Concrete& concrete, std::span<HostValue> outputs) {
    Builder builder(concrete.graph, concrete.node);
    builder.set_name(concrete.node->name());
    TENON_ASSIGN_OR_RETURN(const std::vector<Value*> values, concrete.node->op().compute.decompose(*concrete.node, builder));
    TENON_RETURN_IF_ERROR(builder.status());
    if (values.size() != outputs.size())
      return error(Code::kInternal, "the decomposition has {} outputs, the node {}", values.size(), outputs.size());
    for (Value* value : values)
      if (value != nullptr) concrete.graph.add_output(value);
    std::vector<Type> inferred;
    for (const Value* output : concrete.node->outputs()) inferred.push_back(output->type());
    concrete.graph.erase(concrete.node);
    TENON_ASSIGN_OR_RETURN(std::vector<HostValue> results, run(concrete.graph, concrete.graph_inputs, nullptr, false, false));
    last_uses_.erase(&concrete.graph);
    size_t next = 0;
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i] != nullptr) {
        outputs[i] = std::move(results[next++]);
        TENON_RETURN_IF_ERROR(check_inferred(inferred[i], outputs[i]));
      }
    return {};
  }

  const EvalOptions& options_;
  BodyLimits limits_;
  int depth_ = 0;
  int64_t live_bytes_ = 0;
  std::unordered_map<const Graph*, std::unordered_map<const Node*, std::vector<const Value*>>> last_uses_;
};

}  // namespace

Status evaluate_node(const Node& node, std::span<const HostValue> inputs, std::span<HostValue> outputs,
                     const EvalOptions& options) {
  if (static_cast<int>(inputs.size()) != node.num_inputs() || static_cast<int>(outputs.size()) != node.num_outputs())
    return error(Code::kInvalidArgument, "{} inputs and {} outputs are given, {} and {} needed", inputs.size(),
                 outputs.size(), node.num_inputs(), node.num_outputs());
  Frame frame;
  frame.symbols.assign(options.symbols.begin(), options.symbols.end());
  frame.outer = &options.outer;
  if (node.graph() != nullptr) frame.symbols.resize(static_cast<size_t>(node.graph()->dims().num_symbols()));
  for (int i = 0; i < node.num_inputs(); ++i)
    if (node.has_input(i))
      TENON_RETURN_IF_ERROR(bind_dims(node.input(i)->type(), inputs[static_cast<size_t>(i)], false, frame.symbols));
  return Evaluator(options).run_node(node, inputs, outputs, frame, true).at(place(node));
}

Result<std::vector<HostValue>> evaluate_graph(const Graph& graph, std::span<const HostValue> inputs,
                                              const EvalOptions& options) {
  return Evaluator(options).run(graph, inputs, nullptr, true, true);
}

}  // namespace tenon::ir
