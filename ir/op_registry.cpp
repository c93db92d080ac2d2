#include "ir/op_registry.h"

#include <cctype>

namespace tenon::ir {
namespace {

constexpr size_t kMaxName = 256;

bool is_identifier(std::string_view text) {
  if (text.empty() || text.size() > kMaxName || std::isdigit(static_cast<unsigned char>(text[0]))) return false;
  for (unsigned char c : text)
    if (!std::isalnum(c) && c != '_') return false;
  return true;
}

bool is_domain(std::string_view text) {
  if (text.size() > kMaxName) return false;
  for (size_t dot; (dot = text.find('.')) != text.npos; text.remove_prefix(dot + 1))
    if (!is_identifier(text.substr(0, dot))) return false;
  return is_identifier(text);
}

bool within(std::string_view domain, std::string_view owner) {
  return domain == owner || (domain.starts_with(owner) && domain[owner.size()] == '.');
}

}  // namespace

Status OpRegistry::add(OpDef op, std::string_view origin) {
  const std::string key = fmt::format("{}.{}", op.domain, op.name);
  const auto refuse = [&](std::string what) {
    return Status(Code::kInvalidArgument, std::move(what), fmt::format("{}: op {}", origin, key));
  };
  if (op.domain.empty() || within(op.domain, "ai.onnx") || within(op.domain, "tenon"))
    return refuse(fmt::format("the domain '{}' is not open to custom ops", op.domain))
        .with_hint("give the op a domain of its own");
  if (!is_domain(op.domain)) return refuse("the domain is not made of names with dots between them");
  if (!is_identifier(op.name)) return refuse("the name is not made of letters, digits and _");
  if (find_op(op.domain, op.name)) return refuse("the op is built in").with_hint("give the op a domain of its own");
  if (op.since_version < 1) return refuse(fmt::format("the version {} is not positive", op.since_version));

  auto& forms = ops_[key];
  if (const auto there = forms.find(op.since_version); there != forms.end())
    return refuse(fmt::format("version {} is registered already, by {}", op.since_version, there->second.origin));
  const int64_t version = op.since_version;
  forms.emplace(version, Form{std::move(op), std::string(origin), nullptr});
  for (auto& [since, form] : forms) {
    form.qualified =
        std::make_shared<const std::string>(since == forms.rbegin()->first ? key : fmt::format("{}/{}", key, since));
    form.op.qualified = *form.qualified;
  }
  return {};
}

const OpDef* OpRegistry::find(std::string_view domain, std::string_view name, int64_t version) const {
  const auto found = ops_.find(fmt::format("{}.{}", domain, name));
  if (found == ops_.end()) return nullptr;
  const auto after = found->second.upper_bound(version);
  return after == found->second.begin() ? nullptr : &std::prev(after)->second.op;
}

const OpDef* OpRegistry::find(std::string_view qualified) const {
  const size_t slash = qualified.find('/');
  const auto found = ops_.find(qualified.substr(0, slash));
  if (found == ops_.end()) return nullptr;
  for (const auto& [version, form] : found->second)
    if (form.op.qualified == qualified) return &form.op;
  return nullptr;
}

bool OpRegistry::has(std::string_view domain, std::string_view name) const {
  return ops_.contains(fmt::format("{}.{}", domain, name));
}

std::vector<const OpDef*> OpRegistry::ops() const {
  std::vector<const OpDef*> out;
  for (const auto& [key, forms] : ops_)
    for (const auto& [version, form] : forms) out.push_back(&form.op);
  return out;
}

}  // namespace tenon::ir
