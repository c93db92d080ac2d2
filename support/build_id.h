#pragma once

#include <string>

namespace tenon {

/// The linker's hash of the program or library that holds this code, in hexadecimal: another one after any change of its code.
/// Empty when it was linked without (ld's --build-id).
const std::string& build_id();

}  // namespace tenon
