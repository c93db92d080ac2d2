#include "codegen/target.h"

#include <unistd.h>

namespace tenon::codegen {
namespace {

int64_t cache_bytes(int name, int64_t otherwise) {
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

void set_level(Target& t, int level) {
  t.vector_bits = level >= 4 ? 512 : level == 3 ? 256 : 128;
  t.vector_registers = level >= 4 ? 32 : 16;
  t.has_fma = level >= 3;
}

#if defined(__x86_64__)
int host_level() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return 4;
  if (__builtin_cpu_supports("x86-64-v3")) return 3;
  return __builtin_cpu_supports("x86-64-v2") ? 2 : 1;
}

/// At the vector width of the level.
bool has_vnni(int level) {
  if (level >= 4) return __builtin_cpu_supports("avx512vnni");
  return level == 3 && __builtin_cpu_supports("avxvnni");
}
#else
int host_level() { return 0; }
bool has_vnni(int) { return false; }
#endif

Target aarch64() {
  Target t;
  t.triple = "aarch64-unknown-linux-gnu";
  t.cpu = "generic";
  t.vector_bits = 128;
  t.vector_registers = 32;
  t.has_fma = true;
  return t;
}

}  // namespace

Result<Target> cpu_target(std::string_view name, bool must_run) {
  if (name.ends_with(kNoWinograd)) {
    TENON_ASSIGN_OR_RETURN(Target t, cpu_target(name.substr(0, name.size() - kNoWinograd.size()), must_run));
    t.winograd = false;
    return t;
  }
  Target t;
  if (name.empty() || name == "host") {
#if defined(__aarch64__)
    t = aarch64();
    t.triple.clear();
    t.cpu.clear();
#else
    set_level(t, host_level());
    t.has_dot4 = has_vnni(host_level());
#endif
    t.l1_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, t.l1_bytes);
    t.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, t.l2_bytes);
    return t;
  }
  const bool x86_level = name == "x86-64-v2" || name == "x86-64-v3" || name == "x86-64-v4";
  if (!x86_level && name != "aarch64")
    return Status(Code::kInvalidArgument, fmt::format("no CPU target '{}'", name), "",
                  "use host, x86-64-v2, x86-64-v3, x86-64-v4 or aarch64");
  if (!x86_level) {
#if !defined(__aarch64__)
    if (must_run) return error(Code::kUnsupported, "this machine cannot execute {} code", name);
#endif
    return aarch64();
  }
  const int level = name.back() - '0';
  if (must_run && host_level() < level) return error(Code::kUnsupported, "this machine cannot execute {} code", name);
  set_level(t, level);
  t.triple = "x86_64-unknown-linux-gnu";
  t.cpu = name;
  return t;
}

}  // namespace tenon::codegen
