#pragma once

#include <cctype>
#include <string>
#include <string_view>

/// What the printer and the parser of .tir share.
namespace tenon::ir {

/// Characters of names that need no quotes.
inline bool is_name_char(unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '/' || c == '-'; }

/// In double quotes, with \" \\ \n and \xHH escapes.
std::string quote_text(std::string_view text);

}  // namespace tenon::ir
