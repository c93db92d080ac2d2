#include "frontend/onnx/normalize.h"

#include <map>

namespace tenon::frontend {

int64_t Call::integer(std::string_view name, int64_t fallback) const {
  const ir::Attr* a = attrs.find(name);
  const auto* v = a == nullptr ? nullptr : std::get_if<int64_t>(a);
  return v == nullptr ? fallback : *v;
}

double Call::real(std::string_view name, double fallback) const {
  const ir::Attr* a = attrs.find(name);
  const auto* v = a == nullptr ? nullptr : std::get_if<double>(a);
  return v == nullptr ? fallback : *v;
}

std::string Call::text(std::string_view name, std::string_view fallback) const {
  const ir::Attr* a = attrs.find(name);
  const auto* v = a == nullptr ? nullptr : std::get_if<std::string>(a);
  return v == nullptr ? std::string(fallback) : *v;
}

const std::vector<int64_t>* Call::integers(std::string_view name) const {
  const ir::Attr* a = attrs.find(name);
  return a == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(a);
}

const std::vector<double>* Call::reals(std::string_view name) const {
  const ir::Attr* a = attrs.find(name);
  return a == nullptr ? nullptr : std::get_if<std::vector<double>>(a);
}

namespace rules {

Status unsupported(const Call& call, std::string what) {
  return Status(Code::kUnsupported, fmt::format("{} of opset {}: {}", call.op, call.version, what));
}

Status axes_to_input(Call& call, ir::Builder& builder, std::string_view name, size_t index) {
  if (const auto* list = call.integers(name); list != nullptr && !call.has(index)) {
    call.set_input(index, builder.ints(*list));
    call.attrs.erase(name);
  }
  return builder.status();
}

ir::Value* scalar_like(ir::Builder& builder, const ir::Value* like, double value) {
  return builder.scalar(like == nullptr || like->dtype() == DType::kInvalid ? DType::kF32 : like->dtype(), value);
}

std::optional<int64_t> rank_of(const ir::Value* value) {
  if (value == nullptr || !value->type().is_ranked_tensor()) return std::nullopt;
  return value->tensor().rank();
}

}  // namespace rules

namespace {

using RuleIndex = std::map<std::pair<std::string_view, std::string_view>, std::vector<const NormalizeRule*>>;

const RuleIndex& rule_index() {
  static const RuleIndex index = [] {
    RuleIndex out;
    for (std::span<const NormalizeRule> table :
         {math_rules(), nn_rules(), tensor_rules(), experimental_rules(), layout_rules(), contrib_rules()})
      for (const NormalizeRule& rule : table)
        for (std::string_view rest = rule.ops; !rest.empty();) {
          const size_t space = rest.find(' ');
          out[{rule.domain, rest.substr(0, space)}].push_back(&rule);
          rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
        }
    return out;
  }();
  return index;
}

}  // namespace

Status normalize(Call& call, ir::Builder& builder, std::optional<std::vector<ir::Value*>>& outputs) {
  // A legacy attribute of ops before opset 6, about memory only.
  if (call.domain.empty() && call.version < 6) call.attrs.erase("consumed_inputs");
  const auto found = rule_index().find({call.domain, call.op});
  if (found == rule_index().end()) return {};
  for (const NormalizeRule* rule : found->second) {
    if (call.version >= rule->below) continue;
    TENON_RETURN_IF_ERROR(rule->rewrite(call, builder, outputs));
    TENON_RETURN_IF_ERROR(builder.status());
    if (outputs) return {};
  }
  return {};
}

bool has_replacement(std::string_view domain, std::string_view op, int64_t version) {
  const auto found = rule_index().find({domain, op});
  if (found == rule_index().end()) return false;
  for (const NormalizeRule* rule : found->second)
    if (rule->replaces && version < rule->below) return true;
  return false;
}

}  // namespace tenon::frontend
