#include <algorithm>
#include <cmath>
#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "ir/op.h"
#include "ir/storage_order.h"
#include "passes/axis_order.h"
#include "passes/layout_flow.h"
#include "passes/min_cut.h"
#include "passes/passes.h"

namespace tenon::passes {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

constexpr int64_t kPresumedDim = 32;        // of a symbolic dim; the first axis, a batch most often, counts as 1
constexpr int64_t kConversionCycles = 2000; // of one more kernel, and of the lines that it evicts
constexpr int64_t kBytesPerCycle = 4;       // that a conversion reads and writes
constexpr int64_t kAcross = 4;              // cost of storing across the order of reading by that of a conversion
constexpr double kPixelLanes = 1.35;        // cost of a convolution with pixels in lanes by that of one with whole vectors of channels
constexpr double kPixelLanesDepthwise = 4;
constexpr double kPixelLanesBytes = 4;      // whose products are of four at once along the channels
constexpr double kFarChannels = 0.3;        // of a convolution's cycles, what it loses where an image's channels lie far apart
constexpr double kFarPlane = 2048;          // bytes of a channel from which on
constexpr int64_t kManyPlanes = 32;         // … so many do not stay in the cache
constexpr int64_t kMaxStepsPerNode = 2000;  // of the cut

int64_t presumed(const Dim& dim, size_t axis) { return dim.is_const() ? std::max<int64_t>(dim.value(), 1) : axis == 0 ? 1 : kPresumedDim; }

double presumed_count(std::span<const Dim> dims) {
  double count = 1;
  for (size_t axis = 0; axis < dims.size(); ++axis) count *= static_cast<double>(presumed(dims[axis], axis));
  return count;
}

int64_t whole(double cycles) { return static_cast<int64_t>(std::clamp(cycles, -1e15, 1e15)); }

/// Chooses for the values of one graph between row-major and one other order each: that in which the images of convolutions have
/// their channels innermost, carried along to whatever is computed from them or goes together with them. Each node runs in one of
/// the two; which, is a cut of the graph at which as little as possible is converted.
class LayoutChoice {
 public:
  LayoutChoice(Graph& graph, PassContext& context) : graph_(graph), context_(context) {}

  Result<bool> run() {
    for (const auto& node : graph_.nodes()) {
      TENON_RETURN_IF_ERROR(context_.step());
      if (!node->is("Constant")) flows_.emplace(node.get(), layout_flow(*node));
    }
    for (const auto& node : graph_.nodes()) {
      const LayoutFlow* flow = flow_of(*node);
      if (flow == nullptr || !flow->anchor || gain(*node, *flow->anchor) <= 0) continue;
      propose(node->output(static_cast<int>(flow->anchor->output)), flow->anchor->order);
      if (Value* image = image_of(*node); image != nullptr && loss(*node) > 0) propose(image, flow->anchor->image_order);
    }
    if (orders_.empty()) return false;
    TENON_RETURN_IF_ERROR(flood());
    TENON_RETURN_IF_ERROR(cut());
    return apply();
  }

 private:
  /// What a reader needs of a value: whatever order, row-major, the other, or the one that its node runs in.
  enum class Need : uint8_t { kAny, kRowMajor, kOther, kSame };

  const LayoutFlow* flow_of(const Node& node) const {
    const auto found = flows_.find(&node);
    return found == flows_.end() ? nullptr : &found->second;
  }

  static std::span<const Dim> dims_of(const Value* v) { return *v->tensor().dims; }

  /// Cycles by which a convolution is faster with its channels in lanes.
  int64_t gain(const Node& node, const LayoutAnchor& anchor) const {
    const Value* out = node.output(static_cast<int>(anchor.output));
    const double lanes = std::max(1.0, context_.target.vector_bytes * 8.0 / std::max(bits(out->dtype()), 32));
    const auto channels = static_cast<double>(presumed(anchor.channels, 1));
    const double spatial = presumed_count(dims_of(out)) / channels;
    const double padded = std::ceil(channels / lanes) * lanes;
    const double terms = static_cast<double>(presumed(anchor.terms, 1)) / static_cast<double>(anchor.skipped);
    const double vectors = spatial * terms * channels / (2 * lanes);
    const bool bytes = std::ranges::any_of(node.inputs(), [](const Value* v) { return v != nullptr && (v->dtype() == DType::kU8 || v->dtype() == DType::kI8); });
    const double plain = bytes ? kPixelLanesBytes : kPixelLanes;
    const double pixel_lanes = anchor.interleaved > 1 ? std::max(plain, lanes / static_cast<double>(anchor.interleaved)) : plain;
    return whole(vectors * ((anchor.shared ? pixel_lanes : kPixelLanesDepthwise) - padded / channels));
  }

  /// The value of this graph that a convolution's image is, if its order matters.
  Value* image_of(const Node& node) const {
    const LayoutFlow* flow = flow_of(node);
    if (flow == nullptr || !flow->anchor || flow->anchor->image < 0) return nullptr;
    Value* v = node.input(flow->anchor->image);
    return v->graph() == &graph_ && ir::constant_of(v) == nullptr ? v : nullptr;
  }

  /// Cycles that a convolution with its own channels in lanes loses where those of its image are outermost: neighbours along the sums lie
  /// a plane apart, and planes share sets of the caches.
  int64_t loss(const Node& node) const {
    const LayoutAnchor& anchor = *flow_of(node)->anchor;
    const Value *out = node.output(static_cast<int>(anchor.output)), *image = node.input(anchor.image);
    const std::vector<Dim>& dims = *image->tensor().dims;
    double plane = 1;
    for (size_t j = dims.size(); j-- > 0 && static_cast<int>(j) != anchor.image_order.back();) plane *= static_cast<double>(presumed(dims[j], j));
    if (plane * bits(image->dtype()) / 8 < kFarPlane || presumed(dims[static_cast<size_t>(anchor.image_order.back())], 1) < kManyPlanes) return 0;
    const double lanes = std::max(1.0, context_.target.vector_bytes * 8.0 / std::max(bits(out->dtype()), 32));
    const double terms = static_cast<double>(presumed(anchor.terms, 1)) / static_cast<double>(anchor.skipped);
    return whole(presumed_count(dims_of(out)) * terms / (2 * lanes) * kFarChannels);
  }

  static int64_t conversion(const Value* v) {
    if (ir::constant_of(v) != nullptr) return 1;  // when the plan is made
    return kConversionCycles + whole(presumed_count(dims_of(v)) * bits(v->dtype()) / 8 / kBytesPerCycle);
  }

  void propose(Value* v, const Order& order) {
    if (orders_.contains(v) || same_order(order, row_major(order.size()), dims_of(v))) return;
    orders_.emplace(v, order);
    proposed_.push_back(v);
    queue_.push_back(v);
  }

  Status flood() {
    while (!queue_.empty()) {
      Value* v = queue_.front();
      queue_.pop_front();
      TENON_RETURN_IF_ERROR(context_.step(static_cast<int64_t>(v->uses().size()) + 1));
      for (const ir::Use& use : v->uses()) propose_results(*use.node, use.index, v);
      if (v->def() != nullptr) propose_operands(*v->def(), v);
    }
    return {};
  }

  void propose_results(const Node& node, int input, const Value* v) {
    const LayoutFlow* flow = flow_of(node);
    if (flow == nullptr || !flow->generated) return;
    const LayoutAccess& access = flow->inputs[static_cast<size_t>(input)];
    if (access.kind != LayoutAccess::Kind::kMapped) return;
    Value* out = node.output(static_cast<int>(access.output));
    const auto order = carried(access.to, orders_.at(v), dims_of(v), dims_of(out));
    if (!order) return;
    for (Value* each : node.outputs())
      if (each->type() == out->type()) propose(each, *order);
  }

  void propose_operands(const Node& node, const Value* v) {
    const LayoutFlow* flow = flow_of(node);
    if (flow == nullptr || !flow->generated) return;
    for (size_t i = 0; i < flow->inputs.size(); ++i) {
      const LayoutAccess& access = flow->inputs[i];
      Value* in = node.input(static_cast<int>(i));
      if (in == nullptr || in->graph() != &graph_ || access.kind != LayoutAccess::Kind::kMapped || node.output(static_cast<int>(access.output)) != v) continue;
      if (const auto order = pulled(access.to, orders_.at(v), dims_of(in), dims_of(v))) propose(in, *order);
    }
  }

  bool has_choice(const Node& node) const {
    const LayoutFlow* flow = flow_of(node);
    if (flow == nullptr || !flow->generated || flow->pinned) return false;
    return std::ranges::any_of(node.outputs(), [&](const Value* v) { return orders_.contains(v); });
  }

  Order order_of(const Value* v, bool other) const { return other ? orders_.at(v) : row_major(dims_of(v).size()); }

  Need need(const Node& node, size_t input) const {
    const LayoutFlow* flow = flow_of(node);
    if (flow == nullptr || !flow->generated) return Need::kRowMajor;
    const LayoutAccess& access = flow->inputs[input];
    if (access.kind == LayoutAccess::Kind::kRowMajor) return Need::kRowMajor;
    if (access.kind != LayoutAccess::Kind::kMapped) return Need::kAny;
    const Value *in = node.input(static_cast<int>(input)), *out = node.output(static_cast<int>(access.output));
    const auto fits = [&](bool in_other, bool out_other) {
      const auto order = carried(access.to, order_of(in, in_other), dims_of(in), dims_of(out));
      return order && same_order(*order, order_of(out, out_other), dims_of(out));
    };
    const bool choice = has_choice(node) && orders_.contains(out);
    const bool plain = fits(false, false), other = fits(true, false);
    if (choice && plain && fits(true, true)) return Need::kSame;
    if (plain == other) return Need::kAny;
    return plain ? Need::kRowMajor : Need::kOther;
  }

  Status cut() {
    MinCut cut;  // the source's side runs in the other order
    std::unordered_map<const Node*, int> number;
    for (const auto& node : graph_.nodes()) {
      if (!has_choice(*node)) continue;
      const int n = number[node.get()] = cut.add_node();
      const LayoutFlow& flow = flows_.at(node.get());
      const int64_t cycles = flow.anchor ? gain(*node, *flow.anchor) : -across(*node, flow);
      cut.add_arc(MinCut::kSource, n, cycles);
      cut.add_arc(n, MinCut::kSink, -cycles);
    }
    const auto number_of = [&](const Node* node) {
      const auto found = number.find(node);
      return found == number.end() ? MinCut::kSink : found->second;
    };
    for (const Value* v : proposed_) add_conversions(cut, v, number_of(v->def()), number_of);
    int64_t steps = 0;
    const auto sides = cut.solve(kMaxStepsPerNode * static_cast<int64_t>(graph_.num_nodes()), steps);
    TENON_RETURN_IF_ERROR(context_.interrupt.check());
    for (const auto& node : graph_.nodes())
      if (sides && number.contains(node.get()) && (*sides)[static_cast<size_t>(number.at(node.get()))]) in_other_.insert(node.get());
    std::erase_if(other_form_, [&](const auto& of) { return !sides || !(*sides)[static_cast<size_t>(of.second)]; });
    std::erase_if(row_form_, [&](const auto& of) { return !sides || (*sides)[static_cast<size_t>(of.second)]; });
    return {};
  }

  /// Cycles that a node loses which reads a whole tensor in row-major order, as rows that it reduces, and stores its result in another.
  static int64_t across(const Node& node, const LayoutFlow& flow) {
    const Value* out = node.output(0);
    const double count = presumed_count(dims_of(out));
    for (size_t i = 0; i < flow.inputs.size(); ++i) {
      const Value* in = node.input(static_cast<int>(i));
      if (in != nullptr && flow.inputs[i].kind == LayoutAccess::Kind::kRowMajor && 2 * presumed_count(dims_of(in)) > count) return kAcross * conversion(out);
    }
    return 0;
  }

  /// Whether a convolution reads the value as its image: it may in any order, but is faster in that of its own result.
  bool reads_image(const ir::Use& use, const Value* v) const {
    return use.node->graph() == &graph_ && image_of(*use.node) == v && use.index == flow_of(*use.node)->anchor->image &&
           flow_of(*use.node)->inputs[static_cast<size_t>(use.index)].kind == LayoutAccess::Kind::kFactor;
  }

  bool prefers_other(const Node& conv, const Value* image) const { return loss(conv) > 0 && orders_.at(image) == flow_of(conv)->anchor->image_order; }
  bool prefers_rows(const Node& conv) const { return gain(conv, *flow_of(conv)->anchor) < 0; }  // few channels: pixels in lanes

  /// A value is converted once for all that read it in the order that it is not in.
  template <class NumberOf>
  void add_conversions(MinCut& cut, const Value* v, int def, const NumberOf& number_of) {
    const int64_t cycles = conversion(v);
    int any_other = -1, all_other = -1;
    const auto other_reader = [&](int reader, int64_t otherwise = MinCut::kNever) {
      if (any_other < 0) {
        any_other = other_form_[v] = cut.add_node();
        cut.add_arc(any_other, def, cycles);
      }
      cut.add_arc(reader, any_other, otherwise);
    };
    const auto plain_reader = [&](int reader, int64_t otherwise = MinCut::kNever) {
      if (all_other < 0) {
        all_other = row_form_[v] = cut.add_node();
        cut.add_arc(def, all_other, cycles);
      }
      cut.add_arc(all_other, reader, otherwise);
    };
    for (const ir::Use& use : v->uses()) {
      if (reads_image(use, v)) {
        if (prefers_other(*use.node, v)) other_reader(number_of(use.node), loss(*use.node));
        if (prefers_rows(*use.node)) plain_reader(number_of(use.node), -gain(*use.node, *flow_of(*use.node)->anchor));
        continue;
      }
      const Need what = use.node->graph() == &graph_ ? need(*use.node, static_cast<size_t>(use.index)) : Need::kRowMajor;
      if (what == Need::kSame || what == Need::kOther) other_reader(what == Need::kSame ? number_of(use.node) : MinCut::kSource);
      if (what == Need::kSame || what == Need::kRowMajor) plain_reader(what == Need::kSame ? number_of(use.node) : MinCut::kSink);
    }
    if (v->num_output_uses() > 0) plain_reader(MinCut::kSink);
  }

  Result<bool> apply() {
    for (const auto& node : graph_.nodes()) {
      if (!in_other_.contains(node.get())) continue;
      if (!context_.take_rewrite(*node)) {
        in_other_.erase(node.get());
        continue;
      }
      for (Value* v : node->outputs())
        if (const auto found = orders_.find(v); found != orders_.end()) ir::set_storage_order(*v, found->second);
    }
    if (in_other_.empty()) return false;
    std::vector<Value*> values;
    for (const auto& node : graph_.nodes())
      for (Value* v : node->outputs()) values.push_back(v);
    values.insert(values.end(), graph_.inputs().begin(), graph_.inputs().end());
    for (Value* v : values)
      if (orders_.contains(v)) convert_readers(v);
    for (const auto& node : graph_.nodes()) {
      if (!in_other_.contains(node.get())) continue;
      order_weights(*node);
      if (node->is("tenon.fused")) order_region(*node);
    }
    return true;
  }

  /// Weights that are read a vector of channels at a time; those of other convolutions are packed by lowering.
  void order_weights(Node& node) {
    const std::optional<LayoutAnchor>& anchor = flows_.at(&node).anchor;
    if (!anchor || anchor->shared || anchor->weights < 0) return;
    Value* v = node.input(anchor->weights);
    if (ir::constant_of(v) == nullptr || same_order(anchor->weights_order, row_major(anchor->weights_order.size()), dims_of(v))) return;
    node.set_input(anchor->weights, stored(v, anchor->weights_order));
  }

  /// Readers that need the order that the value is not in get it converted.
  void convert_readers(Value* v) {
    const bool other = !ir::storage_order(*v).empty();
    Value* converted = nullptr;
    const auto conversion_of = [&] { return converted = converted != nullptr ? converted : convert(v, !other); };
    const std::vector<ir::Use> uses = v->uses();
    for (const ir::Use& use : uses) {
      bool wanted = false;
      if (use.node->graph() == &graph_) {
        if (reads_image(use, v)) {
          const bool runs_other = in_other_.contains(use.node);
          const bool better = runs_other ? other_form_.contains(v) && prefers_other(*use.node, v) : row_form_.contains(v) && prefers_rows(*use.node);
          if (runs_other != other && better) use.node->set_input(use.index, conversion_of());
          continue;
        }
        const Need what = need(*use.node, static_cast<size_t>(use.index));
        const LayoutFlow* flow = flow_of(*use.node);
        const bool moves = flow != nullptr && flow->moves && !use.node->op().compute.view;
        if (what == Need::kAny || moves) continue;  // what moves elements anyway reads them as they are
        wanted = what == Need::kOther || (what == Need::kSame && in_other_.contains(use.node));
      }
      if (wanted != other) use.node->set_input(use.index, conversion_of());
    }
    if (!other) return;
    for (const auto& [graph, i] : outputs_of(v)) graph->set_output(i, conversion_of());
  }

  /// Where the value is an output, of this graph or of regions in it.
  std::vector<std::pair<Graph*, int>> outputs_of(const Value* v) const {
    std::vector<std::pair<Graph*, int>> found;
    if (v->num_output_uses() == 0) return found;
    const auto search = [&](Graph& graph) {
      for (int i = 0; i < static_cast<int>(graph.outputs().size()); ++i)
        if (graph.outputs()[static_cast<size_t>(i)] == v) found.emplace_back(&graph, i);
    };
    search(graph_);
    if (static_cast<int>(found.size()) == v->num_output_uses()) return found;
    ir::walk(graph_, [&](Node& node) {
      for (const auto& region : node.regions()) search(*region);
    });
    return found;
  }

  Value* convert(Value* v, bool to_other) { return stored(v, to_other ? orders_.at(v) : Order{}); }

  /// The value in this order; a constant in another is another constant, of the same bytes until it is planned.
  Value* stored(Value* v, const Order& order) {
    Node* before = v->def() == nullptr ? graph_.first() : v->def()->next();
    const bool constant = ir::constant_of(v) != nullptr;
    Node* made = constant ? graph_.create(v->def()->op(), {}, 1, before)
                          : graph_.create(*ir::find_op("tenon.relayout"), std::span<Value* const>(&v, 1), 1, before);
    if (constant) made->attrs() = v->def()->attrs();
    made->set_name(v->name() + " relayout");
    Value* out = made->output();
    out->set_name(graph_.unique_name(v->name() + ".stored"));
    out->set_type(v->type());
    out->set_dim_values(v->dim_values());
    ir::set_storage_order(*out, order);
    return out;
  }

  Graph& graph_;
  PassContext& context_;
  std::unordered_map<const Node*, LayoutFlow> flows_;
  std::unordered_map<const Value*, Order> orders_;  // other than row-major, where a value has one
  std::vector<const Value*> proposed_;              // those, in the order in which they got it
  std::deque<Value*> queue_;
  std::unordered_set<const Node*> in_other_;
  std::unordered_map<const Value*, int> other_form_, row_form_;  // values that are there in their other order or row-major, if only by conversion; while cutting, their numbers
};

}  // namespace

Result<bool> choose_layouts(Graph& graph, PassContext& context) {
  if (context.target.vector_bytes == 0) return false;
  bool changed = false;
  for (const auto& node : graph.nodes()) {
    if (node->is("tenon.fused")) continue;
    for (const auto& region : node->regions()) {
      TENON_ASSIGN_OR_RETURN(const bool inner, choose_layouts(*region, context));
      changed |= inner;
    }
  }
  TENON_ASSIGN_OR_RETURN(const bool own, LayoutChoice(graph, context).run());
  return changed || own;
}

}  // namespace tenon::passes
