#include "passes/layout_flow.h"

#include <algorithm>
#include <unordered_map>

#include "ir/compute.h"
#include "ir/op.h"
#include "ir/storage_order.h"

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

/// The way from one value to others of a node: how their axes are its axes.
struct Way {
  enum class Kind : uint8_t { kNone, kMapped, kFactor, kUnclear } kind = Kind::kNone;
  AxisMap map;
  void join(Way other) {
    if (other.kind == Kind::kNone || (kind == Kind::kMapped && other.kind == Kind::kFactor)) return;
    if (kind == Kind::kNone || (kind == Kind::kFactor && other.kind == Kind::kMapped)) *this = std::move(other);
    else if (kind != other.kind || map != other.map) kind = Kind::kUnclear;
  }
};

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

bool is_constant(const Value* v) {
  if (v == nullptr || v->def() == nullptr) return false;
  if (ir::constant_of(v) != nullptr) return true;
  const auto inputs = v->def()->inputs();
  return !inputs.empty() && v->def()->num_regions() == 0 &&
         std::ranges::all_of(inputs, [](const Value* in) { return in == nullptr || ir::constant_of(in) != nullptr; });
}

bool contains(const std::vector<int>& axes, int axis) { return std::ranges::find(axes, axis) != axes.end(); }

/// One node that computes its output by a body: an op's, or one inside a fused node.
class BodyFlow {
 public:
  /// `outer`: values that stand for a region's inputs.
  BodyFlow(const Node& node, const Body& body, const std::unordered_map<const Value*, const Value*>& outer) : node_(node), body_(body) {
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
    if (load == nullptr) return;
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

std::optional<std::vector<Body>> bodies_of(const Node& node) {
  if (node.op().compute.body == nullptr || node.op().side_effects) return std::nullopt;
  if (!std::ranges::all_of(node.outputs(), kernel_value)) return std::nullopt;
  if (!std::ranges::all_of(node.inputs(), [](const Value* v) { return v == nullptr || kernel_value(v); })) return std::nullopt;
  Result<std::vector<Body>> bodies = node.op().compute.body(node);
  if (!bodies.ok()) return std::nullopt;
  return std::move(*bodies);
}

/// Follows values through the bodies of a node or of its region, from each input and from the one anchor.
class FlowBuilder {
 public:
  explicit FlowBuilder(const Node& node) : node_(node), sources_(static_cast<size_t>(node.num_inputs()) + 1) {}

  LayoutFlow build() {
    LayoutFlow flow;
    flow.inputs.resize(static_cast<size_t>(node_.num_inputs()));
    const bool fused = node_.is("tenon.fused");
    if (node_.num_regions() != 0 && !fused) return flow;
    std::vector<const Value*> results;
    if (fused) {
      const ir::Graph& region = node_.region(0);
      if (region.inputs().size() != flow.inputs.size()) return flow;
      for (size_t i = 0; i < flow.inputs.size(); ++i) {
        outer_[region.inputs()[i]] = node_.input(static_cast<int>(i));
        start(region.inputs()[i], i);
      }
      for (const auto& inner : region.nodes())
        if (!inner->is("Constant") && !add(*inner)) return flow;
      results.assign(region.outputs().begin(), region.outputs().end());
    } else {
      // An input that occurs twice is one source.
      for (size_t i = 0; i < flow.inputs.size(); ++i)
        if (node_.input(static_cast<int>(i)) != nullptr && !ways_.contains(node_.input(static_cast<int>(i)))) start(node_.input(static_cast<int>(i)), i);
      if (!add(node_)) return flow;
      results.assign(node_.outputs().begin(), node_.outputs().end());
    }
    flow.generated = true;
    flow.moves = !fused && moves_;
    finish(flow, results);
    return flow;
  }

 private:
  void start(const Value* v, size_t source) {
    Way way{Way::Kind::kMapped, {}};
    for (int a = 0; v->type().is_ranked_tensor() && a < static_cast<int>(v->tensor().rank()); ++a) way.map.push_back({a});
    auto& of = ways_[v];
    of.resize(sources_);
    of[source] = std::move(way);
  }

  bool add(const Node& node) {
    const auto ranked = [](const Value* v) { return v == nullptr || v->type().is_ranked_tensor(); };
    if (!std::ranges::all_of(node.inputs(), ranked) || !std::ranges::all_of(node.outputs(), ranked)) return false;
    const auto bodies = bodies_of(node);
    if (!bodies) return false;
    for (size_t o = 0; o < bodies->size() && o < node.outputs().size(); ++o) {
      const Body& body = (*bodies)[o];
      const BodyFlow flow(node, body, outer_);
      moves_ = body.reduce_axes.empty() && body.value.valid() && body.value.node().kind == ExprKind::kLoad;
      pinned_ |= flow.pinned;
      const Value* out = node.output(static_cast<int>(o));
      std::vector<Way> made(sources_);
      for (int i = 0; i < node.num_inputs(); ++i) {
        const auto from = ways_.find(node.input(i));
        if (node.input(i) == nullptr || from == ways_.end()) continue;
        for (size_t s = 0; s < sources_; ++s) made[s].join(composed(from->second[s], flow.ways[static_cast<size_t>(i)]));
      }
      ways_[out] = std::move(made);
      if (!flow.anchor || anchor_) continue;
      anchor_ = flow.anchor;
      for (int* input : {&anchor_->weights, &anchor_->image})
        if (*input >= 0) *input = input_of(node.input(*input));
      anchor_dims_ = body.axes;
      start_anchor(out);
    }
    return true;
  }

  /// The node's own input that a value inside it is, or -1.
  int input_of(const Value* in) const {
    const auto outside = outer_.find(in);
    const auto inputs = node_.inputs();
    const auto at = std::ranges::find(inputs, outside == outer_.end() ? in : outside->second);
    return at == inputs.end() ? -1 : static_cast<int>(at - inputs.begin());
  }

  void start_anchor(const Value* out) {
    Way way{Way::Kind::kMapped, {}};
    for (int a = 0; a < static_cast<int>(out->tensor().rank()); ++a) way.map.push_back({a});
    ways_[out].back() = std::move(way);
  }

  void finish(LayoutFlow& flow, const std::vector<const Value*>& results) {
    for (size_t i = 0; i < flow.inputs.size(); ++i) {
      LayoutAccess& access = flow.inputs[i];
      for (size_t o = 0; o < results.size(); ++o) {
        const auto found = ways_.find(results[o]);
        if (found == ways_.end()) continue;
        const Way& way = found->second[i];
        if (way.kind == Way::Kind::kUnclear) access.kind = LayoutAccess::Kind::kRowMajor;
        if (access.kind != LayoutAccess::Kind::kUnread || way.kind == Way::Kind::kNone) continue;
        access.kind = way.kind == Way::Kind::kFactor ? LayoutAccess::Kind::kFactor : LayoutAccess::Kind::kMapped;
        access.output = o;
        access.to = way.map;
      }
    }
    flow.pinned = pinned_;
    if (!anchor_) return;
    for (size_t o = 0; o < results.size(); ++o) {
      const auto found = ways_.find(results[o]);
      if (found == ways_.end() || found->second.back().kind != Way::Kind::kMapped) continue;
      const auto order = carried(found->second.back().map, anchor_->order, anchor_dims_, *results[o]->tensor().dims);
      if (!order) continue;
      anchor_->output = o;
      anchor_->order = *order;
      flow.anchor = anchor_;
      return;
    }
    flow.pinned = true;
  }

  const Node& node_;
  const size_t sources_;
  bool moves_ = false, pinned_ = false;
  std::unordered_map<const Value*, const Value*> outer_;
  std::unordered_map<const Value*, std::vector<Way>> ways_;  // by source: inputs, then the anchor
  std::optional<LayoutAnchor> anchor_;
  std::vector<Dim> anchor_dims_;
};

}  // namespace

LayoutFlow layout_flow(const Node& node) { return FlowBuilder(node).build(); }

void order_region(Node& fused) {
  ir::Graph& region = fused.region(0);
  std::unordered_map<const Value*, const Value*> outer;
  std::unordered_map<const Value*, Order> orders;
  for (size_t i = 0; i < region.inputs().size(); ++i) {
    const Value* in = fused.input(static_cast<int>(i));
    outer[region.inputs()[i]] = in;
    if (in != nullptr && !ir::storage_order(*in).empty()) orders[region.inputs()[i]] = ir::storage_order(*in);
  }
  for (const auto& inner : region.nodes()) {
    const auto bodies = inner->is("Constant") ? std::nullopt : bodies_of(*inner);
    for (size_t o = 0; bodies && o < bodies->size(); ++o) {
      const BodyFlow flow((*inner), (*bodies)[o], outer);
      Value* out = inner->output(static_cast<int>(o));
      const std::vector<Dim>& dims = *out->tensor().dims;
      std::optional<Order> order;
      if (flow.anchor) order = flow.anchor->order;
      for (int i = 0; i < inner->num_inputs() && !order; ++i) {
        const auto from = orders.find(inner->input(i));
        const Way& way = flow.ways[static_cast<size_t>(i)];
        if (from != orders.end() && way.kind == Way::Kind::kMapped) order = carried(way.map, from->second, *inner->input(i)->tensor().dims, dims);
      }
      if (!order || same_order(*order, row_major(dims.size()), dims)) continue;
      orders[out] = *order;
      if (out->num_output_uses() == 0) ir::set_storage_order(*out, *order);
    }
  }
}

}  // namespace tenon::passes
