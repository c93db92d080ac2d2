#include "codegen/tuning.h"

#include <fmt/format.h>

namespace tenon::codegen {

std::string to_text(const Tuning& tuning) {
  std::string out;
  for (const auto& [signature, c] : tuning) out += fmt::format("{}: {} {} {} {}\n", signature, c.rows, c.vectors, c.m_block, c.winograd);
  return out;
}

}  // namespace tenon::codegen
