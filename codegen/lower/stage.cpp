#include "codegen/lower/stage.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;

std::vector<Expr*> Stage::roots() {
  std::vector<Expr*> out{&value};
  if (reduces()) out.push_back(&post);
  if (!scatter) return out;
  out.push_back(&scatter->init);
  for (Expr& e : scatter->target) out.push_back(&e);
  return out;
}

std::vector<int> Stage::operands() const {
  std::vector<int> out;
  for (const Expr* e : const_cast<Stage*>(this)->roots()) collect_operands(*e, out);
  return out;
}

void visit(Expr e, const std::function<void(int id, const ExprNode& node)>& fn) {
  std::vector<char> needed(static_cast<size_t>(e.id) + 1, 0);
  needed.back() = 1;
  for (int id = e.id; id >= 0; --id) {
    if (!needed[static_cast<size_t>(id)]) continue;
    for (int a : e.pool->node(id).args) needed[static_cast<size_t>(a)] = 1;
  }
  for (int id = 0; id <= e.id; ++id) {
    if (needed[static_cast<size_t>(id)]) fn(id, e.pool->node(id));
  }
}

void collect_operands(Expr e, std::vector<int>& operands) {
  visit(e, [&](int, const ExprNode& n) {
    if (n.kind == ExprKind::kLoad && std::find(operands.begin(), operands.end(), n.operand) == operands.end())
      operands.push_back(n.operand);
  });
}

}  // namespace tenon::codegen
