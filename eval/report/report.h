#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/status.h"

namespace tenon::eval {

/// One self-contained HTML file: no scripts, styles, fonts or images from elsewhere, and a policy that forbids them.
///
/// `document` is {"title", "context": {…}, "bench": […], "eval": […], "profile": […], "compare": […]}, each member optional, with
/// documents as `tenon bench|eval|profile|compare --json` write them. Members of those may be missing or null; all text is untrusted.
/// How much is drawn and listed is bounded, and what was left out is counted. kInvalidArgument when there is nothing to report.
Result<std::string> render_report(const nlohmann::json& document);

/// A few sentences of plain text on the same document: geometric means of ratios, values that differ, failures.
std::vector<std::string> report_headlines(const nlohmann::json& document);

/// Appends a document to `report` by its "kind"; the parts of a whole report are appended each. `source` is where it comes from, for
/// errors and to tell documents apart.
Status add_to_report(nlohmann::json& report, nlohmann::json document, const std::string& source);

/// Reads JSON of bounded size and nesting.
Result<nlohmann::json> read_report_document(const std::filesystem::path& file);

}  // namespace tenon::eval
