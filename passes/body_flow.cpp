#include "passes/body_flow.h"

#include <algorithm>

#include "ir/op.h"

namespace tenon::passes {

using ir::Body;
using ir::Dim;
using ir::ExprKind;
using ir::ExprNode;
using ir::Node;
using ir::Value;

namespace {

constexpr int64_t kMaxStride = 64;

/// Nodes of the pool below the roots.
std::vector<char> reachable(const Body& body, std::initializer_list<ir::Expr> roots) {
  std::vector<char> seen(static_cast<size_t>(body.pool->size()), 0);
  for (const ir::Expr& root : roots)
    if (root.valid()) seen[static_cast<size_t>(root.id)] = 1;
  for (size_t id = seen.size(); id-- > 0;) {
    if (!seen[id]) continue;
    for (int a : body.pool->node(static_cast<int>(id)).args) seen[static_cast<size_t>(a)] = 1;
  }
  return seen;
}

/// Output axes that an index depends on, ascending.
std::vector<int> output_axes(const Body& body, int index) {
  const std::vector<char> seen = reachable(body, {ir::Expr{body.pool.get(), index}});
  std::vector<int> axes;
  for (size_t id = 0; id < seen.size(); ++id) {
    const ExprNode& n = body.pool->node(static_cast<int>(id));
    if (seen[id] && n.kind == ExprKind::kIndex && static_cast<size_t>(n.axis) < body.axes.size()) axes.push_back(n.axis);
  }
  std::ranges::sort(axes);
  axes.erase(std::ranges::unique(axes).begin(), axes.end());
  return axes;
}

AxisMap map_of(const Body& body, const ExprNode& load, size_t rank) {
  AxisMap map;
  for (size_t j = 0; j < rank; ++j) map.push_back(output_axes(body, load.args[j]));
  return map;
}

bool is_constant(const Value* v) {
  if (v == nullptr || v->def() == nullptr) return false;
  if (ir::constant_of(v) != nullptr) return true;
  const auto inputs = v->def()->inputs();
  return !inputs.empty() && v->def()->num_regions() == 0 &&
         std::ranges::all_of(inputs, [](const Value* in) { return in == nullptr || ir::constant_of(in) != nullptr; });
}

bool contains(const std::vector<int>& axes, int axis) { return std::ranges::find(axes, axis) != axes.end(); }

/// One node that computes its output by a body: an op's, or one inside a fused node.
class Reader {
 public:
  /// `outer`: values that stand for a region's inputs.
  Reader(const Node& node, const Body& body, const std::unordered_map<const Value*, const Value*>& outer) : node_(node), body_(body) {
    ways.resize(static_cast<size_t>(node.num_inputs()));
    if (body.scan || body.scatter) {
      for (Way& way : ways) way.kind = Way::Kind::kUnclear;
      pinned = true;
      return;
    }
    const bool product = body.kind == ir::ComputeKind::kContraction && body.value.node().kind == ExprKind::kOp;
    if (product) find_anchor(outer);
    pinned = product && !anchor;
    if (!product) add_loads({body.value});
    add_loads({body.post});
  }

  std::vector<Way> ways;               // by input
  bool pinned = false;
  std::optional<LayoutAnchor> anchor;

 private:
  void add_loads(std::initializer_list<ir::Expr> roots) {
    const std::vector<char> seen = reachable(body_, roots);
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (!seen[id] || n.kind != ExprKind::kLoad) continue;
      const size_t rank = n.args.size() - (n.guarded ? 2 : 0);
      ways[static_cast<size_t>(n.operand)].join({Way::Kind::kMapped, map_of(body_, n, rank)});
    }
  }

  /// Output axes, those of size 1 aside, in the indices of a factor's loads.
  std::vector<int> axes_of_factor(int root) const {
    const std::vector<char> seen = reachable(body_, {ir::Expr{body_.pool.get(), root}});
    std::vector<int> axes;
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (!seen[id] || n.kind != ExprKind::kLoad) continue;
      for (const std::vector<int>& of : map_of(body_, n, n.args.size() - (n.guarded ? 2 : 0)))
        for (int a : of)
          if (!body_.axes[static_cast<size_t>(a)].is_const(1) && !contains(axes, a)) axes.push_back(a);
    }
    return axes;
  }

  /// Whether what a factor loads is the same in every run.
  bool is_weight(int root, const std::unordered_map<const Value*, const Value*>& outer) const {
    const std::vector<char> seen = reachable(body_, {ir::Expr{body_.pool.get(), root}});
    bool any = false;
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (!seen[id] || n.kind != ExprKind::kLoad) continue;
      const Value* v = node_.input(n.operand);
      const auto found = outer.find(v);
      if (!is_constant(found == outer.end() ? v : found->second)) return false;
      any = true;
    }
    return any;
  }

  /// Whether a load in the factor has the axis itself as an index. Groups of channels that share what they read have a quotient.
  bool indexes_plainly(int root, int axis) const {
    const std::vector<char> seen = reachable(body_, {ir::Expr{body_.pool.get(), root}});
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (!seen[id] || n.kind != ExprKind::kLoad) continue;
      for (int a : n.args)
        if (body_.pool->node(a).kind == ExprKind::kIndex && body_.pool->node(a).axis == axis) return true;
    }
    return false;
  }

  void find_weights(int root, const std::vector<int>& channels, LayoutAnchor& found) const {
    const std::vector<char> seen = reachable(body_, {ir::Expr{body_.pool.get(), root}});
    int loads = 0;
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (!seen[id] || n.kind != ExprKind::kLoad) continue;
      if (++loads > 1 || n.guarded) {
        found.weights = -1;
        return;
      }
      found.weights = n.operand;
      for (const bool channel : {false, true})
        for (size_t j = 0; j < n.args.size(); ++j)
          if (std::ranges::any_of(output_axes(body_, n.args[j]), [&](int a) { return contains(channels, a); }) == channel)
            found.weights_order.push_back(static_cast<int>(j));
    }
  }

  void find_image(int root, LayoutAnchor& found) const {
    const std::vector<char> seen = reachable(body_, {ir::Expr{body_.pool.get(), root}});
    const ExprNode* load = nullptr;
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (!seen[id] || n.kind != ExprKind::kLoad) continue;
      if (load != nullptr) return;
      load = &n;
    }
    if (load == nullptr || load->args.size() == (load->guarded ? 2u : 0u)) return;  // a scalar has no order
    const AxisMap map = map_of(body_, *load, load->args.size() - (load->guarded ? 2 : 0));
    for (const bool summed : {false, true})
      for (size_t j = 0; j < map.size(); ++j)
        if ((map[j].empty() && body_.pool->node(load->args[j]).kind == ExprKind::kIndex) == summed) found.image_order.push_back(static_cast<int>(j));
    found.image = load->operand;
  }

  void mark_factor(int root, Way::Kind kind) {
    const std::vector<char> seen = reachable(body_, {ir::Expr{body_.pool.get(), root}});
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (seen[id] && n.kind == ExprKind::kLoad) ways[static_cast<size_t>(n.operand)].join({kind, {}});
    }
  }

  /// Remainders decide which taps meet an image.
  void find_strides(int root, int last, LayoutAnchor& found) const {
    const std::vector<char> seen = reachable(body_, {ir::Expr{body_.pool.get(), root}});
    for (size_t id = 0; id < seen.size(); ++id) {
      const ExprNode& n = body_.pool->node(static_cast<int>(id));
      if (!seen[id] || n.kind != ExprKind::kOp || n.op != ir::ScalarOp::kMod) continue;
      const ExprNode& by = body_.pool->node(n.args[1]);
      if (by.kind != ExprKind::kConst || by.scalar.i < 1 || by.scalar.i > kMaxStride || found.skipped > INT32_MAX) continue;
      found.skipped *= by.scalar.i;
      if (contains(output_axes(body_, n.args[0]), last)) found.interleaved = by.scalar.i;
    }
  }

  void find_anchor(const std::unordered_map<const Value*, const Value*>& outer) {
    const std::vector<int> factors = body_.value.node().args;
    for (int f : factors) mark_factor(f, Way::Kind::kUnclear);
    if (factors.size() != 2) return;
    for (size_t w = 0; w < 2; ++w) {
      if (!is_weight(factors[w], outer) || is_weight(factors[1 - w], outer)) continue;
      const std::vector<int> channels = axes_of_factor(factors[w]), image = axes_of_factor(factors[1 - w]);
      int last = static_cast<int>(body_.axes.size()) - 1;
      while (last >= 0 && body_.axes[static_cast<size_t>(last)].is_const(1)) --last;
      if (last < 0 || channels.empty() || contains(channels, last)) continue;
      LayoutAnchor found;
      for (int a = 0; a < static_cast<int>(body_.axes.size()); ++a)
        if (!contains(channels, a)) found.order.push_back(a);
      for (int a = 0; a < static_cast<int>(body_.axes.size()); ++a)
        if (contains(channels, a)) {
          found.order.push_back(a);
          found.channels = found.channels * body_.axes[static_cast<size_t>(a)];
          if (contains(image, a) && indexes_plainly(factors[1 - w], a)) found.shared = false;
        }
      found.terms = ir::product(body_.reduce_axes);
      find_strides(factors[1 - w], last, found);
      find_weights(factors[w], channels, found);
      if (found.shared) find_image(factors[1 - w], found);
      for (Way& way : ways) way = {};
      if (found.shared) mark_factor(factors[1 - w], Way::Kind::kFactor);
      else add_loads({ir::Expr{body_.pool.get(), factors[1 - w]}});
      anchor = std::move(found);
      return;
    }
  }

  const Node& node_;
  const Body& body_;
};

bool kernel_value(const Value* v) { return v->type().is_ranked_tensor() && bits(v->dtype()) >= 8 && v->dtype() != DType::kString && info(v->dtype()).cls != DTypeClass::kComplex; }

}  // namespace

Way composed(const Way& first, const Way& second) {
  if (first.kind == Way::Kind::kNone || second.kind == Way::Kind::kNone) return {};
  if (first.kind != Way::Kind::kMapped || second.kind != Way::Kind::kMapped)
    return {first.kind == Way::Kind::kUnclear || second.kind == Way::Kind::kUnclear ? Way::Kind::kUnclear : Way::Kind::kFactor, {}};
  Way out{Way::Kind::kMapped, {}};
  for (const std::vector<int>& axes : first.map) {
    std::vector<int>& to = out.map.emplace_back();
    for (int a : axes) {
      if (static_cast<size_t>(a) >= second.map.size()) return {Way::Kind::kUnclear, {}};  // read at fewer indices than it has axes
      to.insert(to.end(), second.map[static_cast<size_t>(a)].begin(), second.map[static_cast<size_t>(a)].end());
    }
  }
  return out;
}

BodyFlow body_flow(const Node& node, const Body& body, const std::unordered_map<const Value*, const Value*>& outer) {
  Reader read(node, body, outer);
  return {std::move(read.ways), read.pinned, std::move(read.anchor)};
}

std::optional<std::vector<Body>> bodies_of(const Node& node) {
  if (node.op().compute.body == nullptr || node.op().side_effects) return std::nullopt;
  if (!std::ranges::all_of(node.outputs(), kernel_value)) return std::nullopt;
  if (!std::ranges::all_of(node.inputs(), [](const Value* v) { return v == nullptr || kernel_value(v); })) return std::nullopt;
  Result<std::vector<Body>> bodies = node.op().compute.body(node);
  if (!bodies.ok()) return std::nullopt;
  return std::move(*bodies);
}

}  // namespace tenon::passes
