#include "passes/layout_flow.h"

#include <algorithm>
#include <unordered_map>

#include "ir/op.h"
#include "ir/storage_order.h"
#include "passes/body_flow.h"

namespace tenon::passes {

using ir::Body;
using ir::Dim;
using ir::ExprKind;
using ir::Node;
using ir::Value;

namespace {

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
      const BodyFlow flow = body_flow(node, body, outer_);
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
      const BodyFlow flow = body_flow(*inner, (*bodies)[o], outer);
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
