#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/report/names.h"

/// The parts of a report. Each looks at the documents of its kind and gives sections, none when there is nothing to show.
namespace tenon::eval::report {

struct Section {
  std::string id, title;
  std::string html;
};

// How much is drawn and listed; what is beyond is counted in words.
inline constexpr size_t kMostRows = 200;       // of a table
inline constexpr size_t kMostChartRows = 80;
inline constexpr size_t kMostColumns = 240;    // of a chart along steps or values
inline constexpr size_t kMostPlots = 24;       // small charts side by side
inline constexpr size_t kMostDocuments = 20;   // profiles, evaluations, comparisons
inline constexpr size_t kMostListed = 40;      // kernels, tensors, values of a table that ranks them
inline constexpr size_t kMostMessages = 50;    // warnings, problems

/// Plain sentences on what the documents show: geometric means of ratios, failures, warnings. Text.
std::vector<std::string> headlines(const nlohmann::json& document, const Names& names);

std::vector<Section> warning_sections(const nlohmann::json& document, const Names& names);
std::vector<Section> summary_sections(const nlohmann::json& document, const Names& names);
std::vector<Section> speed_sections(const nlohmann::json& document, const Names& names);
std::vector<Section> accuracy_sections(const nlohmann::json& document, const Names& names);
std::vector<Section> profile_sections(const nlohmann::json& document, const Names& names);
std::vector<Section> compare_sections(const nlohmann::json& document, const Names& names);
std::vector<Section> context_sections(const nlohmann::json& document, const Names& names);

}  // namespace tenon::eval::report
