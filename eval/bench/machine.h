#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>

/// The machine that figures are taken on: what it is, and who used it meanwhile. Read from /proc and /sys; what they do not have is
/// left out.
namespace tenon::eval {

/// {"cpu", "cores", "usable_cores", "features": ["avx2" …], "governor", "mhz", "turbo", "memory_mb", "load": [1, 5, 15 minutes],
///  "kernel", "virtual", "version", "compiler", "date"}. usable_cores is what affinity and cgroup leave.
nlohmann::json machine_context();

/// Seconds that the processors which this process may use spent since the start of the machine: for anyone, and taken by the
/// hypervisor for others.
struct CpuTimes {
  double busy = 0, stolen = 0;
};
CpuTimes cpu_times();

/// Seconds that a process and all below it have spent so far; 0 when it is gone.
double tree_cpu_seconds(pid_t pid);

/// Lowest current clock of the processors in MHz; 0: unknown.
double current_mhz();

/// Times that the kernel slowed a processor down because it was hot, since the start of the machine; -1: unknown.
int64_t thermal_throttles();

}  // namespace tenon::eval
