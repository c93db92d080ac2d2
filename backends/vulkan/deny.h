#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/vulkan/info.h"
#include "codegen/kernel_ir.h"
#include "support/status.h"

namespace tenon::backends::vulkan {

/// Kernels that some driver computes wrong, which run on the host there. One line an entry:
///   VENDOR VERSIONS KERNELS WHY…
/// VENDOR is the PCI number ("0x10de") or "*"; VERSIONS is "A.B.C-D.E.F", both included, or "*"; KERNELS is a dtype (f16, bf16, f64, i8, i16,
/// i64: signed and unsigned), "lanes" (invocations work together), "matrix" (products on matrix units, which registers then compute),
/// "workgroup-matrix" (those that a workgroup computes, which subgroups then do) or "all". "#" begins a comment.
struct DenyEntry {
  std::optional<uint32_t> vendor;
  std::optional<std::array<std::array<int, 3>, 2>> versions;
  std::string kernels, why;
};

/// kInvalidArgument names the line.
Result<std::vector<DenyEntry>> parse_deny_list(std::string_view text);

/// The entries for this device: of the list that comes with Tenon, and of the file that TENON_VULKAN_DENY names.
Result<std::vector<DenyEntry>> deny_list(const DeviceInfo& device);

/// Why the kernel must not run on the device that the entries are for.
std::optional<std::string> denied(const kir::Kernel& kernel, const std::vector<DenyEntry>& entries);

/// Leaves out of what kernels may use the matrix units that the entries deny.
void deny_matrices(const std::vector<DenyEntry>& entries, codegen::spirv::EmitOptions& emit, codegen::Target& target);

}  // namespace tenon::backends::vulkan
