#include "ir/symbols.h"

#include "ir/op.h"

namespace tenon::ir {
namespace {

bool is_symbol_of(const Value& value, Dim dim, int axis) {
  return dim.is_symbol() &&
         dim.node()->context->symbol_name(dim.symbol_id()) == fmt::format("{}.d{}", value.name(), axis);
}

class Replacer {
 public:
  Replacer(DimContext& context, const SymbolMap& map) : context_(context), map_(map) {}

  void run(Node& node) {
    for (Value* output : node.outputs()) value(*output);
    attributes(node);
  }
  void run(Graph& graph) {
    for (Value* input : graph.inputs()) value(*input);
    for (const auto& node : graph.nodes()) {
      run(*node);
      for (const auto& region : node->regions()) run(*region);
    }
  }

  void value(Value& value) {
    if (value.type().is_ranked_tensor()) {
      std::vector<Dim> dims = *value.tensor().dims;
      if (replace(dims)) value.set_type(TensorType(value.dtype(), std::move(dims)));
    }
    if (value.dim_values()) {
      std::vector<Dim> dims = *value.dim_values();
      if (replace(dims)) value.set_dim_values(std::move(dims));
    }
  }

 private:
  bool replace(std::vector<Dim>& dims) {
    bool changed = false;
    for (Dim& dim : dims) {
      Dim now = context_.substitute(dim, [this](int symbol) -> std::optional<Dim> {
        auto it = map_.find(symbol);
        return it == map_.end() ? std::nullopt : std::optional(it->second);
      });
      changed |= now != dim;
      dim = now;
    }
    return changed;
  }

  void attributes(Node& node) {
    std::vector<std::pair<std::string, std::vector<Dim>>> changed;
    for (const auto& [name, attr] : node.attrs())
      if (const auto* list = std::get_if<std::vector<Dim>>(&attr)) {
        std::vector<Dim> dims = *list;
        if (replace(dims)) changed.emplace_back(name, std::move(dims));
      }
    for (auto& [name, dims] : changed) node.attrs().set(name, std::move(dims));
  }

  DimContext& context_;
  const SymbolMap& map_;
};

}  // namespace

bool binds_symbol(const Value& value, int axis) {
  return value.type().is_ranked_tensor() && is_symbol_of(value, value.tensor().dim(axis), axis);
}

void collect_rebound(const Value& from, const Type& before, const Type& now, SymbolMap& map) {
  if (!before.is_ranked_tensor() || !now.is_ranked_tensor() || before.tensor().rank() != now.tensor().rank()) return;
  for (int axis = 0; axis < before.tensor().rank(); ++axis) {
    Dim was = before.tensor().dim(axis), is = now.tensor().dim(axis);
    if (was == is || !is.is_valid() || !is_symbol_of(from, was, axis)) continue;
    std::vector<int> mentioned;
    collect_symbols(is, mentioned);
    bool circular = false;
    for (int symbol : mentioned) circular |= symbol == was.symbol_id() || map.contains(symbol);
    if (!circular) map.emplace(was.symbol_id(), is);
  }
}

void replace_symbols(Graph& graph, const SymbolMap& map) {
  if (map.empty()) return;
  Graph* module = &graph;
  while (module->parent()) module = module->parent()->graph();
  Replacer(module->dims(), map).run(*module);
}

void replace_symbols(Node& node, const SymbolMap& map) {
  if (!map.empty()) Replacer(node.graph()->dims(), map).run(node);
}

namespace {

/// Names a value; the symbols that it bound, and those that it binds now.
SymbolMap named(Value& value, std::string name) {
  SymbolMap map;
  if (value.type().is_ranked_tensor())
    for (int axis = 0; axis < value.tensor().rank(); ++axis)
      if (binds_symbol(value, axis))
        map.emplace(value.tensor().dim(axis).symbol_id(),
                    value.graph()->dims().symbol(fmt::format("{}.d{}", name, axis)));
  value.set_name(std::move(name));
  return map;
}

}  // namespace

void rename_value(Value& value, std::string name) {
  if (name != value.name()) replace_symbols(*value.graph(), named(value, std::move(name)));
}

void rename_new_value(Value& value, std::string name) {
  if (name == value.name()) return;
  const SymbolMap map = named(value, std::move(name));
  for (Node* node = value.def(); node != nullptr && !map.empty(); node = node->next()) replace_symbols(*node, map);
}

void separate_symbols(const std::unordered_map<const Value*, Value*>& copies) {
  SymbolMap map;
  for (const auto& [from, to] : copies) {
    if (!from->type().is_ranked_tensor() || from->name() == to->name()) continue;
    bool copied = from->type() == to->type() && to->def();
    for (int axis = 0; axis < from->tensor().rank(); ++axis) {
      if (!binds_symbol(*from, axis)) continue;
      int symbol = from->tensor().dim(axis).symbol_id();
      if (copied) {
        map.emplace(symbol, to->graph()->dims().symbol(fmt::format("{}.d{}", to->name(), axis)));
      } else if (to->type().is_ranked_tensor() && to->tensor().rank() == from->tensor().rank()) {
        map.emplace(symbol, to->tensor().dim(axis));
      }
    }
  }
  if (map.empty()) return;
  Replacer replacer(copies.begin()->second->graph()->dims(), map);
  for (const auto& [from, to] : copies) {
    if (to->def()) {
      replacer.run(*to->def());
    } else {
      replacer.value(*to);
    }
  }
}

Status infer_again(Node& node) {
  std::vector<Type> before;
  for (const Value* output : node.outputs()) before.push_back(output->type());
  TENON_RETURN_IF_ERROR(infer_node(node));
  SymbolMap map;
  for (int i = 0; i < node.num_outputs(); ++i)
    collect_rebound(*node.output(i), before[static_cast<size_t>(i)], node.output(i)->type(), map);
  replace_symbols(*node.graph(), map);
  return {};
}

}  // namespace tenon::ir
