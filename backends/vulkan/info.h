#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "codegen/spirv/emit.h"
#include "codegen/target.h"

namespace tenon::backends::vulkan {

struct MemoryHeap {
  uint64_t bytes = 0;
  std::optional<uint64_t> budget, used;  // of this process, where the driver has VK_EXT_memory_budget
  bool device_local = false;
};

/// A product of matrices that a subgroup computes as one instruction (VK_KHR_cooperative_matrix): M×K by K×N.
struct MatrixShape {
  uint32_t m = 0, n = 0, k = 0;
  std::string a, b, c, result;           // element types: "f16", "s8" …
  bool saturating = false;
};

/// A product that a workgroup of so many invocations computes as one instruction, its dims multiples of these (VK_NV_cooperative_matrix2).
struct WorkgroupMatrixShape {
  MatrixShape multiples;
  uint32_t invocations = 0;
};

/// What one physical device is and can do. Plain data, also of devices that cannot be used.
struct DeviceInfo {
  int index = 0;                         // in the loader's order
  std::string name;
  std::string type;                      // "discrete", "integrated", "virtual", "software", "other"
  std::string driver;                    // name and version as the driver writes them
  uint32_t driver_id = 0;                // VkDriverId
  uint32_t vendor = 0, device = 0;       // PCI numbers
  uint32_t driver_version = 0;           // as the driver encodes it
  std::string driver_version_text;       // "535.183.1"
  uint32_t api_version = 0;
  std::string uuid;                      // 32 hexadecimal digits
  std::string pipeline_cache_uuid;
  std::string refused;                   // why it cannot run kernels; empty: it can

  std::vector<MemoryHeap> heaps;
  bool staged = false;                   // kernels' memory is not mapped: the host copies to and from it
  uint64_t max_allocation = 0;           // bytes of one allocation
  uint32_t max_allocations = 4096;

  bool is_cpu = false;                   // a software device
  bool float16 = false, float64 = false, int8 = false, int16 = false, storage8 = false, storage16 = false;
  bool dot_product = false;              // integer dot products
  bool memory_model = false;             // Vulkan's, which cooperative matrices need
  bool cooperative_matrix = false;
  std::vector<MatrixShape> matrices;
  std::vector<WorkgroupMatrixShape> workgroup_matrices;
  uint32_t max_matrix_side = 0, max_matrix_workgroup = 0;  // of those
  uint32_t matrix_shared_bytes = 0;      // of shared memory, what the driver takes for them
  uint32_t compute_units = 0;            // multiprocessors, compute units or cores; 0: the driver does not say
  uint32_t subgroup_size = 32, min_subgroup_size = 0, max_subgroup_size = 0;
  bool chooses_subgroup_size = false;    // a pipeline may ask for one of these
  bool full_subgroups = false;           // and for subgroups without idle invocations
  bool subgroup_types = false;           // subgroup operations on 8, 16 and 64 bits
  double timestamp_ns = 0;               // of one tick; 0: the queue has no timestamps

  codegen::spirv::EmitOptions emit;      // what kernels for this device may use
  codegen::Target target;                // what their schedules go by
  /// Both as text: equal ones take the same code.
  std::string code_identity() const;
};

struct DeviceOptions {
  /// An index, a part of the name (in any case) or the beginning of the UUID; empty: the best one.
  std::string device;
  /// Whether the host copies to and from kernels' memory; unset: where that memory is not the host's own.
  std::optional<bool> staging;
  uint64_t max_bytes = 0;                // that allocations take at most; 0: what the device has
  bool validation = false;               // the Khronos layer, with synchronisation validation
  bool checked = false;                  // CompileOptions::checked for all

  /// TENON_VULKAN_DEVICE, TENON_VULKAN_STAGING (0, 1), TENON_VULKAN_MAX_BYTES, TENON_VULKAN_VALIDATION (1), TENON_VULKAN_CHECKED (1).
  static DeviceOptions from_environment();
};

}  // namespace tenon::backends::vulkan
