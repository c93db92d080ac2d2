#include <algorithm>
#include <optional>
#include <vector>

#include "passes/simplify_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Node;
using ir::Value;

/// Sequences longer than this, or made by longer chains, stay what they are.
constexpr size_t kMaxElements = 64;

std::optional<int64_t> known_int(const Value* value) {
  const auto ints = ir::constant_ints(value);
  return ints && ints->size() == 1 ? std::optional((*ints)[0]) : std::nullopt;
}

/// A position among `count`; nullopt when it is not known, or out of range.
std::optional<size_t> position(const Value* value, size_t count) {
  auto at = known_int(value);
  if (at && *at < 0) *at += static_cast<int64_t>(count);
  return at && *at >= 0 && *at < static_cast<int64_t>(count) ? std::optional(static_cast<size_t>(*at)) : std::nullopt;
}

using Elements = std::optional<std::vector<Value*>>;

/// The sizes of the parts that SplitToSequence makes, when there are few.
std::optional<std::vector<int64_t>> part_sizes(const Node& node, int64_t extent) {
  if (node.has_input(1) && node.input(1)->type().is_ranked_tensor() && node.input(1)->tensor().rank() == 1) {
    const auto sizes = ir::constant_ints(node.input(1));
    return sizes && sizes->size() <= kMaxElements ? sizes : std::nullopt;
  }
  const std::optional<int64_t> each = node.has_input(1) ? known_int(node.input(1)) : 1;
  if (!each || *each < 1 || extent / *each >= static_cast<int64_t>(kMaxElements)) return std::nullopt;
  std::vector<int64_t> sizes;
  for (int64_t left = extent; left > 0; left -= *each) sizes.push_back(std::min(left, *each));
  return sizes;
}

Elements parts_of(const Node& node, Builder& b) {
  Value* x = node.input(0);
  if (!x->type().is_ranked_tensor()) return std::nullopt;
  int64_t axis = node.attr_int("axis", 0);
  if (axis < 0) axis += x->tensor().rank();
  if (axis < 0 || axis >= x->tensor().rank() || !x->tensor().dim(axis).is_const()) return std::nullopt;
  const auto sizes = part_sizes(node, x->tensor().dim(axis).value());
  int64_t total = 0;
  for (size_t i = 0; sizes && i < sizes->size(); ++i) {
    if ((*sizes)[i] < 0 || (*sizes)[i] > x->tensor().dim(axis).value() - total) return std::nullopt;
    total += (*sizes)[i];
  }
  if (!sizes || sizes->empty() || total != x->tensor().dim(axis).value()) return std::nullopt;
  Value* const inputs[] = {x, b.ints(*sizes)};
  std::vector<Value*> parts = b.make_n("Split", inputs, static_cast<int>(sizes->size()), {{"axis", axis}});
  const bool squeeze = !node.has_input(1) && node.attr_int("keepdims", 1) == 0;
  for (Value*& part : parts)
    if (squeeze) part = b.make("Squeeze", {part, b.ints({axis})});
  return parts;
}

/// The elements of a sequence whose making the graph shows.
Elements elements_of(const Value* sequence, Builder& b, size_t depth = 0) {
  const Node* def = sequence == nullptr ? nullptr : sequence->def();
  if (def == nullptr || depth > kMaxElements) return std::nullopt;
  if (def->is("SequenceConstruct")) return std::vector<Value*>(def->inputs().begin(), def->inputs().end());
  if (def->is("SequenceEmpty")) return std::vector<Value*>();
  if (def->is("SplitToSequence")) return parts_of(*def, b);
  if (!def->is("SequenceInsert") && !def->is("SequenceErase")) return std::nullopt;
  Elements out = elements_of(def->input(0), b, depth + 1);
  if (!out || out->size() > kMaxElements) return std::nullopt;
  const bool insert = def->is("SequenceInsert");
  const int which = insert ? 2 : 1;  // the operand that says where
  std::optional<size_t> at = insert ? out->size() : out->size() - 1;
  if (def->has_input(which)) {
    const auto given = known_int(def->input(which));
    at = insert && given == static_cast<int64_t>(out->size()) ? out->size() : position(def->input(which), out->size());
  }
  if (!at || (!insert && out->empty())) return std::nullopt;
  const auto place = out->begin() + static_cast<int64_t>(*at);
  if (insert)
    out->insert(place, def->input(1));
  else
    out->erase(place);
  return out;
}

Value* element_at(Node& node, Builder& b) {
  if (!known_int(node.input(1))) return nullptr;
  const Elements elements = elements_of(node.input(0), b);
  const auto at = elements ? position(node.input(1), elements->size()) : std::nullopt;
  return at ? (*elements)[*at] : nullptr;
}

Value* length(Node& node, Builder& b) {
  const Elements elements = elements_of(node.input(0), b);
  return elements ? b.constant(Tensor::scalar<int64_t>(static_cast<int64_t>(elements->size()))) : nullptr;
}

Value* concatenation(Node& node, Builder& b) {
  Elements elements = elements_of(node.input(0), b);
  if (!elements || elements->empty()) return nullptr;
  const bool ranked =
      std::ranges::all_of(*elements, [](const Value* v) { return v != nullptr && v->type().is_ranked_tensor(); });
  const auto rank = [](const Value* v) { return v->tensor().rank(); };
  if (!ranked || std::ranges::any_of(*elements, [&](const Value* v) { return rank(v) != rank(elements->front()); }))
    return nullptr;
  const bool stack = node.attr_int("new_axis", 0) != 0;
  const int64_t axes = rank(elements->front()) + (stack ? 1 : 0);
  int64_t axis = node.attr_int("axis", 0);
  if (axis < 0) axis += axes;
  if (axis < 0 || axis >= axes) return nullptr;
  for (Value*& v : *elements)
    if (stack) v = b.make("Unsqueeze", {v, b.ints({axis})});
  return b.make_n("Concat", *elements, 1, {{"axis", axis}})[0];
}

constexpr Rule kRules[] = {
    {"SequenceAt", element_at}, {"SequenceLength", length}, {"ConcatFromSequence", concatenation}};

}  // namespace

std::span<const Rule> sequence_rules() { return kRules; }

}  // namespace tenon::passes
