#include <array>

#include "backends/backend.h"
#include "backends/cpu/cpu.h"
#include "backends/reference/reference.h"
#include "backends/vulkan/vulkan.h"

namespace tenon::backends {

std::span<const Backend* const> all_backends() {
  static const std::array kAll = {&reference_backend(), &cpu_backend(), &vulkan_backend()};
  return kAll;
}

const Backend* find_backend(std::string_view name) {
  for (const Backend* backend : all_backends())
    if (backend->name() == name) return backend;
  return nullptr;
}

}  // namespace tenon::backends
