#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tenon::codegen {

/// What a schedule may choose of one computation; what is 0 it derives from the target.
struct Choice {
  int64_t rows = 0, vectors = 0;    // of a contraction's register tile
  int64_t m_block = 0;              // rows of a block of the grid
  int winograd = 0;                 // outputs of Winograd's form, 2 or 4; -1: the convolution as it is defined

  bool operator==(const Choice&) const = default;
};

/// Choices that measuring found better than what schedules estimate (eval/tune.h), by what is computed: its signature, a text of dtype,
/// form and extents. What is not possible for the target is ignored.
using Tuning = std::map<std::string, Choice>;

/// A computation for which a schedule chose, and what else it could have taken, the likeliest first.
struct Tunable {
  std::string signature;
  Choice taken;
  std::vector<Choice> others;
};

/// All of them as text, for keys of caches.
std::string to_text(const Tuning& tuning);

}  // namespace tenon::codegen
