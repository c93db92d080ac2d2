#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "eval/report/html.h"
#include "eval/report/reader.h"
#include "eval/report/sections.h"

namespace tenon::eval::report {
namespace {

using nlohmann::json;

constexpr size_t kMostMembers = 60;
constexpr size_t kMostContexts = 12;

std::string words_of(std::string key) {
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

std::string members_of(const json& context) {
  std::string out;
  size_t shown = 0;
  for (auto it = context.begin(); it != context.end(); ++it) {
    const std::string value = text(*it);
    if (value.empty()) continue;
    if (++shown > kMostMembers) break;
    out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", name(words_of(it.key()), 40), name(value, 400));
  }
  return out.empty() ? out : fmt::format("<dl>{}</dl>\n", out);
}

}  // namespace

std::vector<Section> context_sections(const json& document, const Names&) {
  std::vector<const json*> contexts;
  std::string html;
  size_t all = 0;
  const auto add = [&](const json& context, std::string_view what, const std::string& source) {
    if (!context.is_object() || context.empty() || ++all > kMostContexts) return;
    // Documents of one session say the same; once is enough.
    if (std::any_of(contexts.begin(), contexts.end(), [&](const json* other) { return *other == context; })) return;
    contexts.push_back(&context);
    const std::string members = members_of(context);
    if (members.empty()) return;
    if (!what.empty()) html += fmt::format("<h3>{}{}</h3>", what, source.empty() ? "" : ": " + name(source));
    html += members;
  };
  add(member(document, "context"), "", "");
  for (const char* kind : {"bench", "eval", "profile", "compare"})
    for (const json& one : list(document, kind)) add(member(one, "context"), kind, text(one, "source"));
  html += left_out(all, std::min(all, kMostContexts), "contexts");
  if (html.empty()) return {};
  return {{"context", "How it was measured", html}};
}

}  // namespace tenon::eval::report
