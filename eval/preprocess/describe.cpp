#include "eval/preprocess/describe.h"

#include <utility>

namespace tenon::eval {
namespace {

/// "nearest, bilinear: how pixels are weighed" of a choice's help.
std::string help_of(const Parameter& p) {
  if (p.kind != Parameter::Kind::kChoice) return std::string(p.help);
  const size_t space = p.help.find(' ');
  std::string choices(p.help.substr(0, space));
  for (size_t bar; (bar = choices.find('|')) != choices.npos;) choices.replace(bar, 1, ", ");
  return choices + ": " + std::string(p.help.substr(space + 1));
}

std::string fields_of(const StepInfo& step) {
  const std::string input = step.input == kPrevious ? "the field before" : step.input.empty() ? "" : fmt::format("`{}`", step.input);
  const std::string output = step.output.empty() ? "" : fmt::format("`{}`", step.output);
  return fmt::format("Takes {}{}{}{}; gives {}{}{}.", step.takes, input.empty() ? "" : " (", input, input.empty() ? "" : ")", step.gives,
                     output.empty() ? "" : " as ", output);
}

constexpr std::pair<std::string_view, std::string_view> kGroups[] = {
    {"image", "Images"}, {"audio", "Sounds"}, {"text", "Texts"}, {"table", "Tables"}, {"tensor", "Tensors"}};

}  // namespace

std::string describe_step(const StepInfo& step) {
  std::string fields = fields_of(step);
  std::erase(fields, '`');
  std::string out = fmt::format("{}: {}\n{}\n", step.name, step.summary, fields);
  size_t width = 0;
  for (const Parameter& p : step.parameters) width = std::max(width, p.name.size() + 2 + p.fallback.size());
  for (const Parameter& p : step.parameters)
    out += fmt::format("  {:<{}}  {}\n", p.fallback.empty() ? std::string(p.name) : fmt::format("{}: {}", p.name, p.fallback), width, help_of(p));
  return out;
}

std::string steps_markdown() {
  std::string out;
  for (const auto& [group, title] : kGroups) {
    out += fmt::format("{}## {}\n", out.empty() ? "" : "\n", title);
    for (const StepInfo& step : preprocess_steps()) {
      if (step.group != group) continue;
      out += fmt::format("\n### {}\n\n{} {}\n", step.name, step.summary, fields_of(step));
      if (step.parameters.empty()) continue;
      out += "\n| parameter | default | |\n| --- | --- | --- |\n";
      for (const Parameter& p : step.parameters)
        out += fmt::format("| `{}` | {} | {} |\n", p.name, p.fallback.empty() ? "" : fmt::format("`{}`", p.fallback), help_of(p));
    }
  }
  return out;
}

}  // namespace tenon::eval
