#include "codegen/target.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

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

constexpr std::string_view kAarch64 = "aarch64";
constexpr std::string_view kArmFeatures[] = {"dotprod", "i8mm", "bf16"};

Target aarch64() {
  Target t;
  t.triple = "aarch64-unknown-linux-gnu";
  t.cpu = "generic";
  t.vector_bits = 128;
  t.vector_registers = 32;
  t.has_fma = true;
  return t;
}

void add_feature(Target& t, std::string_view feature) {
  t.features += fmt::format("{}+{}", t.features.empty() ? "" : ",", feature);
  t.has_dot4 |= feature == "i8mm";
  t.has_dot4_signed |= feature == "dotprod";
  t.has_bf16_pairs |= feature == "bf16";
}

#if defined(__x86_64__)
int host_level() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return 4;
  if (__builtin_cpu_supports("x86-64-v3")) return 3;
  return __builtin_cpu_supports("x86-64-v2") ? 2 : 1;
}

bool host_has(std::string_view) { return false; }

Target host() {
  Target t;
  const int level = host_level();
  set_level(t, level);
  t.has_dot4 = level >= 4 ? __builtin_cpu_supports("avx512vnni") : level == 3 && __builtin_cpu_supports("avxvnni");
  t.has_bf16_pairs = level >= 4 && __builtin_cpu_supports("avx512bf16");
  if (t.has_bf16_pairs) t.features = "+avx512bf16";
  return t;
}
#elif defined(__aarch64__)
int host_level() { return 0; }

/// Bits of AT_HWCAP and AT_HWCAP2 (Linux, Documentation/arch/arm64/elf_hwcaps.rst).
bool host_has(std::string_view feature) {
  if (feature == "dotprod") return (getauxval(AT_HWCAP) >> 20 & 1) != 0;
  return (getauxval(AT_HWCAP2) >> (feature == "i8mm" ? 13 : 14) & 1) != 0;
}

Target host() {
  Target t = aarch64();
  t.triple.clear();
  t.cpu.clear();
  for (std::string_view feature : kArmFeatures)
    if (host_has(feature)) add_feature(t, feature);
  return t;
}
#else
int host_level() { return 0; }
bool host_has(std::string_view) { return false; }
Target host() { return {}; }
#endif

/// `features`: "+dotprod+i8mm", or nothing.
Result<Target> aarch64_with(std::string_view features, bool must_run) {
#if !defined(__aarch64__)
  if (must_run) return error(Code::kUnsupported, "this machine cannot execute {} code", kAarch64);
#endif
  Target t = aarch64();
  while (!features.empty()) {
    features.remove_prefix(1);
    const std::string_view feature = features.substr(0, features.find('+'));
    features.remove_prefix(feature.size());
    if (std::find(std::begin(kArmFeatures), std::end(kArmFeatures), feature) == std::end(kArmFeatures))
      return error(Code::kInvalidArgument, "aarch64 has no feature '{}'", feature).with_hint("use aarch64 with any of +dotprod, +i8mm, +bf16");
    if (must_run && !host_has(feature)) return error(Code::kUnsupported, "this machine cannot execute {}+{} code", kAarch64, feature);
    add_feature(t, feature);
  }
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
    t = host();
    t.l1_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, t.l1_bytes);
    t.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, t.l2_bytes);
    return t;
  }
  if (name == kAarch64 || name.starts_with("aarch64+")) return aarch64_with(name.substr(kAarch64.size()), must_run);
  if (name != "x86-64-v2" && name != "x86-64-v3" && name != "x86-64-v4")
    return Status(Code::kInvalidArgument, fmt::format("no CPU target '{}'", name), "",
                  "use host, x86-64-v2, x86-64-v3, x86-64-v4, or aarch64 with any of +dotprod, +i8mm, +bf16");
  const int level = name.back() - '0';
  if (must_run && host_level() < level) return error(Code::kUnsupported, "this machine cannot execute {} code", name);
  set_level(t, level);
  t.triple = "x86_64-unknown-linux-gnu";
  t.cpu = name;
  return t;
}

}  // namespace tenon::codegen
