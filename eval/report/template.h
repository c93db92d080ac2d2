#pragma once

#include <string_view>

/// The files of eval/report/template, built into the program.
namespace tenon::eval::report {

std::string_view page_template();
std::string_view page_style();
std::string_view page_script();
/// Base64 of their SHA-256, for the page's content security policy.
std::string_view page_style_hash();
std::string_view page_script_hash();

}  // namespace tenon::eval::report
