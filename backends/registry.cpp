#include <vector>

#include "backends/backend.h"
#include "backends/cpu/cpu.h"
#include "backends/external/external.h"
#include "backends/reference/reference.h"
#include "backends/vulkan/vulkan.h"

namespace tenon::backends {

std::span<const Backend* const> all_backends() {
  static const std::vector<const Backend*> all = [] {
    std::vector<const Backend*> out = {&reference_backend(), &cpu_backend(), &vulkan_backend()};
    out.insert(out.end(), external_backends().begin(), external_backends().end());
    return out;
  }();
  return all;
}

const Backend* find_backend(std::string_view name) {
  for (const Backend* backend : all_backends())
    if (backend->name() == name) return backend;
  constexpr std::string_view kCommand = "exec:";
  if (name.starts_with(kCommand)) return &command_backend(name.substr(kCommand.size()));
  return nullptr;
}

}  // namespace tenon::backends
