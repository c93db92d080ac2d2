#include "backends/vulkan/compute_units.h"

#include <algorithm>

namespace tenon::backends::vulkan {
namespace {

constexpr uint64_t kMostUnits = 4096;  // beyond any device: such a number is a mistake
constexpr int64_t kGroupsPerUnit = 2;
constexpr int64_t kUnknown = 256, kUnknownIntegrated = 64;  // as of large and of small devices

}  // namespace

uint32_t ComputeUnits::count() const {
  const uint64_t existing = std::min<uint64_t>(engines, kMostUnits + 1) * std::min<uint64_t>(arrays, kMostUnits + 1) * std::min<uint64_t>(in_array, kMostUnits + 1);
  for (const uint64_t found : {uint64_t{multiprocessors}, uint64_t{active}, existing, uint64_t{cores}})
    if (found > 0 && found <= kMostUnits) return static_cast<uint32_t>(found);
  return 0;
}

// A software device counts as a large one: what is tested on it is then scheduled as on GPUs.
int64_t busy_workgroups(std::string_view type, const ComputeUnits& units) {
  if (const uint32_t known = units.count(); known > 0) return kGroupsPerUnit * known;
  return type == "integrated" ? kUnknownIntegrated : kUnknown;
}

}  // namespace tenon::backends::vulkan
