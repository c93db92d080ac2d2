#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace tenon::tools {

/// The rows of a bench document (eval/bench/document.h) for people, for a Markdown page, and for a spreadsheet.
void print_bench_table(const nlohmann::json& document);
void print_bench_markdown(const nlohmann::json& document);
void print_bench_csv(const nlohmann::json& document);

/// The kernels and ops of each row with a profile that take most.
void print_bench_profiles(const nlohmann::json& document);

/// "baseline" of a document: what became slower or faster, and which ops that comes from.
void print_bench_changes(const nlohmann::json& baseline);

/// "0.0134", "2.541", "151.7": four digits or so.
std::string format_ms(double ms);

}  // namespace tenon::tools
