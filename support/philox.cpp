#include "support/philox.h"

#include <cmath>
#include <numbers>

namespace tenon {

double RandomStream::normal(uint64_t i) const {
  const std::array<uint32_t, 4> w = words(i);
  return std::sqrt(-2 * std::log(1 - unit(w, 0))) * std::cos(2 * std::numbers::pi * unit(w, 2));
}

}  // namespace tenon
