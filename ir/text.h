#pragma once

#include <cctype>
#include <string>
#include <string_view>

/// What the printer and the parser of .tir share.
namespace tenon::ir {

/// Characters of names that need no quotes.
inline bool is_name_char(unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '/' || c == '-'; }

/// Whether a name needs no quotes: `//` would start a comment.
inline bool is_plain_name(std::string_view name) {
  if (name.empty() || name.starts_with("//")) return false;
  for (char c : name)
    if (!is_name_char(static_cast<unsigned char>(c))) return false;
  return true;
}

/// In double quotes, with \" \\ \n and \xHH escapes.
std::string quote_text(std::string_view text);

}  // namespace tenon::ir
