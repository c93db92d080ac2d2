#include <unordered_map>

#include "ir/op.h"
#include "ir/symbols.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

/// Constants up to this size are compared by their bytes, larger ones by where the bytes lie.
constexpr size_t kCompareBytes = 64 << 10;

/// A text that two equal things share and two different things do not.
class Key {
 public:
  std::string take() { return std::move(text_); }

  template <class T>
    requires std::is_arithmetic_v<T> || std::is_pointer_v<T>
  void add(const T& value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void add(std::string_view text) {
    add(text.size());
    text_ += text;
  }
  void add(const std::string& text) { add(std::string_view(text)); }
  void add(ir::Dim dim) {
    add(dim.node());
    add(dim.is_const() ? dim.value() : int64_t{0});
  }
  void add(const ir::Type& type) { add(to_string(type)); }
  void add(const Tensor& tensor) {
    add(static_cast<int>(tensor.dtype()));
    add(tensor.shape());
    if (!tensor.defined()) return;
    if (tensor.dtype() == DType::kString) {
      add(tensor.string_values());
    } else if (tensor.bytes() <= kCompareBytes) {
      add(std::string_view(reinterpret_cast<const char*>(tensor.data()), tensor.bytes()));
    } else {
      add(tensor.data());
    }
  }
  template <class T>
  void add(const std::vector<T>& list) {
    add(list.size());
    for (const T& item : list) add(item);
  }

 private:
  std::string text_;
};

std::string key_of(const Node& node) {
  Key key;
  key.add(&node.op());
  key.add(node.num_outputs());
  key.add(node.num_inputs());
  for (const Value* input : node.inputs()) key.add(input);
  for (const auto& [name, attr] : node.attrs()) {
    key.add(name);
    key.add(attr.index());
    std::visit([&](const auto& value) { key.add(value); }, attr);
  }
  return key.take();
}

/// Nodes of a graph and, for regions, of the enclosing graphs so far.
struct Scope {
  const Scope* outer = nullptr;
  std::unordered_map<std::string, Node*> nodes;

  Node* find(const std::string& key) const {
    for (const Scope* scope = this; scope; scope = scope->outer)
      if (auto it = scope->nodes.find(key); it != scope->nodes.end()) return it->second;
    return nullptr;
  }
};

bool same_types(const Node& a, const Node& b) {
  for (int i = 0; i < a.num_outputs(); ++i)
    if (a.output(i)->dtype() != b.output(i)->dtype()) return false;
  return true;
}

/// Symbols that merged nodes bound: `rebound` says what stands for them. Nodes are brought up to date as the sweep reaches
/// them, since only later ones mention such a symbol.
Result<bool> run(Graph& graph, PassContext& context, const Scope* outer, ir::SymbolMap& rebound) {
  Scope scope{outer, {}};
  bool changed = false;
  for (Node* node = graph.first(); node;) {
    TENON_RETURN_IF_ERROR(context.step());
    Node* next = node->next();
    ir::replace_symbols(*node, rebound);
    for (const auto& region : node->regions()) {
      TENON_ASSIGN_OR_RETURN(const bool inner, run(*region, context, &scope, rebound));
      changed |= inner;
    }
    if (node->num_regions() == 0 && !node->op().side_effects && node->num_outputs() > 0) {
      std::string key = key_of(*node);
      Node* first = scope.find(key);
      if (!first) {
        scope.nodes.emplace(std::move(key), node);
      } else if (same_types(*first, *node)) {
        if (!context.take_rewrite(*node)) return changed;
        for (int i = 0; i < node->num_outputs(); ++i) {
          ir::collect_rebound(*node->output(i), node->output(i)->type(), first->output(i)->type(), rebound);
          graph.replace_all_uses(node->output(i), first->output(i));
        }
        graph.erase(node);
        changed = true;
      }
    }
    node = next;
  }
  return changed;
}

}  // namespace

Result<bool> eliminate_common(Graph& graph, PassContext& context) {
  ir::SymbolMap rebound;
  TENON_ASSIGN_OR_RETURN(const bool changed, run(graph, context, nullptr, rebound));
  ir::replace_symbols(graph, rebound);
  return changed;
}

}  // namespace tenon::passes
