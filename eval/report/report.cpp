#include "eval/report/report.h"

#include <algorithm>

#include <fmt/format.h>

#include "eval/report/html.h"
#include "eval/report/reader.h"
#include "eval/report/sections.h"
#include "eval/report/template.h"

namespace tenon::eval {
namespace {

using nlohmann::json;
using report::Section;

/// Replaces @NAME@ in the page. Values are not looked at again.
std::string filled(std::string_view page, std::initializer_list<std::pair<std::string_view, std::string_view>> values) {
  std::string out;
  for (size_t at = 0; at < page.size();) {
    const size_t open = std::min(page.find('@', at), page.size());
    out += page.substr(at, open - at);
    if (open == page.size()) break;
    const auto value = std::find_if(values.begin(), values.end(), [&](const auto& v) { return page.substr(open).starts_with(v.first); });
    if (value == values.end()) {
      out += '@';
      at = open + 1;
    } else {
      out += value->second;
      at = open + value->first.size();
    }
  }
  return out;
}

std::vector<Section> sections_of(const json& document, const report::Names& names) {
  std::vector<Section> out;
  for (const auto make : {report::warning_sections, report::summary_sections, report::speed_sections, report::accuracy_sections, report::profile_sections,
                          report::compare_sections, report::context_sections})
    for (Section& section : make(document, names)) out.push_back(std::move(section));
  return out;
}

std::string contents_of(const std::vector<Section>& sections) {
  if (sections.size() < 4) return {};
  std::string out = "<nav aria-label=\"Contents\"><ol>";
  for (const Section& section : sections) out += fmt::format("<li><a href=\"#{}\">{}</a></li>", section.id, report::name(section.title, 40));
  return out + "</ol></nav>\n";
}

/// Date and processor, of the report or of the first document that says.
std::string origin_of(const json& document) {
  std::vector<std::string> parts;
  for (const char* key : {"date", "cpu", "version"}) {
    std::string value = report::text(report::member(document, "context"), key);
    for (const char* kind : {"bench", "eval", "profile", "compare"})
      for (const json& one : report::list(document, kind))
        if (value.empty()) value = report::text(report::member(one, "context"), key);
    if (!value.empty()) parts.push_back((std::string_view(key) == "version" ? "Tenon " : "") + report::name(value, 60));
  }
  return fmt::format("{}", fmt::join(parts, " · "));
}

}  // namespace

Result<std::string> render_report(const json& document) {
  const auto has = [&](const char* kind) { return !report::list(document, kind).empty(); };
  if (!has("bench") && !has("eval") && !has("profile") && !has("compare"))
    return Status(Code::kInvalidArgument, "there is nothing to report", "report", "give documents that bench, eval, profile or compare wrote with --json");
  const report::Names names(document);
  const std::vector<Section> sections = sections_of(document, names);
  std::string body;
  for (const Section& section : sections)
    body += fmt::format("<section id=\"{}\" aria-labelledby=\"{}-title\"><h2 id=\"{}-title\">{}</h2>\n{}</section>\n", section.id, section.id, section.id,
                        report::name(section.title, 80), section.html);
  const std::string given = report::text(document, "title"), title = given.empty() ? "Tenon report" : given;
  return filled(report::page_template(), {{"@TITLE@", report::escape(report::shortened(title, 200))},
                                          {"@HEADING@", report::name(title, 200)},
                                          {"@ORIGIN@", origin_of(document)},
                                          {"@CONTENTS@", contents_of(sections)},
                                          {"@BODY@", body},
                                          {"@STYLE@", report::page_style()},
                                          {"@SCRIPT@", report::page_script()},
                                          {"@STYLE_HASH@", report::page_style_hash()},
                                          {"@SCRIPT_HASH@", report::page_script_hash()}});
}

std::vector<std::string> report_headlines(const json& document) { return report::headlines(document, report::Names(document)); }

}  // namespace tenon::eval
