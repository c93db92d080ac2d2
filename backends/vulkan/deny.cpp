#include "backends/vulkan/deny.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace tenon::backends::vulkan {
namespace {

/// What is known to be wrong. Add an entry with the self-test's group that shows it.
constexpr std::string_view kKnown = "";

constexpr std::string_view kKernels[] = {"all", "lanes", "matrix", "workgroup-matrix", "f16", "bf16", "f64", "i8", "i16", "i64"};

std::optional<std::array<int, 3>> parse_version(const std::string& text) {
  std::array<int, 3> out{};
  char rest = 0;
  const int read = std::sscanf(text.c_str(), "%d.%d.%d%c", &out[0], &out[1], &out[2], &rest);
  return read >= 1 && read <= 3 ? std::optional(out) : std::nullopt;
}

std::optional<std::string> parse_entry(std::istringstream& words, const std::string& vendor, DenyEntry& entry) {
  std::string versions;
  if (!(words >> versions >> entry.kernels)) return "VENDOR VERSIONS KERNELS WHY are wanted";
  std::getline(words >> std::ws, entry.why);
  if (vendor != "*") {
    char* end = nullptr;
    entry.vendor = static_cast<uint32_t>(std::strtoul(vendor.c_str(), &end, 0));
    if (*end != '\0') return fmt::format("'{}' is no vendor", vendor);
  }
  if (versions != "*") {
    const size_t dash = versions.find('-');
    const auto low = parse_version(versions.substr(0, dash)), high = dash == std::string::npos ? low : parse_version(versions.substr(dash + 1));
    if (!low || !high) return fmt::format("'{}' is no range of versions", versions);
    entry.versions = {*low, *high};
  }
  if (std::ranges::find(kKernels, entry.kernels) == std::end(kKernels)) return fmt::format("'{}' is none of {}", entry.kernels, fmt::join(kKernels, ", "));
  return std::nullopt;
}

bool concerns(const DenyEntry& entry, const DeviceInfo& device) {
  if (entry.vendor && *entry.vendor != device.vendor) return false;
  if (!entry.versions) return true;
  const auto version = parse_version(device.driver_version_text);
  return version && (*entry.versions)[0] <= *version && *version <= (*entry.versions)[1];
}

bool is_of(DType d, std::string_view kernels) {
  if (is_float(d)) return name(d) == kernels;
  return d != DType::kBool && kernels[0] == 'i' && std::to_string(bits(d)) == kernels.substr(1);
}

bool is_among(const kir::Kernel& kernel, std::string_view kernels) {
  if (kernels == "all") return true;
  if (kernels == "lanes") return kernel.lanes > 1;
  // Every kernel computes indices in 64 bits, so integers are judged by the buffers.
  return std::ranges::any_of(kernel.buffers, [&](const kir::BufferInfo& b) { return is_of(b.dtype, kernels); }) ||
         (kernels[0] != 'i' && std::ranges::any_of(kernel.values, [&](const kir::ValueInfo& v) { return is_of(v.dtype, kernels); }));
}

}  // namespace

Result<std::vector<DenyEntry>> parse_deny_list(std::string_view text) {
  std::vector<DenyEntry> out;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    std::string vendor;
    if (!(words >> vendor)) continue;
    DenyEntry entry;
    if (const auto wrong = parse_entry(words, vendor, entry)) return Status(Code::kInvalidArgument, *wrong, fmt::format("deny list, line {}", number));
    out.push_back(std::move(entry));
  }
  return out;
}

Result<std::vector<DenyEntry>> deny_list(const DeviceInfo& device) {
  TENON_ASSIGN_OR_RETURN(std::vector<DenyEntry> all, parse_deny_list(kKnown));
  if (const char* path = std::getenv("TENON_VULKAN_DENY"); path != nullptr && *path != '\0') {
    std::ifstream file(path);
    std::stringstream text;
    if (!(text << file.rdbuf())) return Status(Code::kNotFound, "cannot read the deny list", path, "check TENON_VULKAN_DENY");
    auto more = parse_deny_list(text.str());
    if (!more.ok()) return std::move(more).status().at(path);
    all.insert(all.end(), more->begin(), more->end());
  }
  std::erase_if(all, [&](const DenyEntry& entry) { return !concerns(entry, device); });
  return all;
}

std::optional<std::string> denied(const kir::Kernel& kernel, const std::vector<DenyEntry>& entries) {
  for (const DenyEntry& entry : entries)
    if (is_among(kernel, entry.kernels))
      return fmt::format("the driver's {} kernels are on the deny list{}{}", entry.kernels, entry.why.empty() ? "" : ": ", entry.why);
  return std::nullopt;
}

void deny_matrices(const std::vector<DenyEntry>& entries, codegen::spirv::EmitOptions& emit, codegen::Target& target) {
  const auto denies = [&](std::string_view kernels) { return std::ranges::find(entries, kernels, &DenyEntry::kernels) != entries.end(); };
  if (denies("matrix")) {
    emit.matrices.clear();
    target.matrices.clear();
  }
  if (denies("matrix") || denies("workgroup-matrix")) emit.workgroup_matrices.clear();
  target.matrix_reserved_bytes = emit.workgroup_matrices.empty() ? 0 : emit.matrix_shared_bytes;
}

}  // namespace tenon::backends::vulkan
