#include "codegen/target_identity.h"

#if defined(__x86_64__)
#include <cpuid.h>
#else
#include <sys/auxv.h>
#endif

namespace tenon::codegen {
namespace {

#if defined(__x86_64__)
/// Vendor, model and feature words of CPUID; not what differs between cores.
std::string processor() {
  std::string out;
  const auto add = [&](unsigned leaf, unsigned sub, unsigned ebx_mask = ~0u) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(leaf, sub, &a, &b, &c, &d) != 0) out += fmt::format(" {:x}.{:x}:{:x},{:x},{:x},{:x}", leaf, sub, a, b & ebx_mask, c, d);
  };
  add(0, 0);
  add(1, 0, 0);
  add(7, 0);
  add(7, 1);
  add(0x14, 0);
  add(0x19, 0);
  add(0x24, 0);
  add(0x80000001, 0);
  add(0x80000008, 0);
  unsigned low = 0, high = 0, a, b, c = 0, d;
  if (__get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_OSXSAVE) != 0) __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return out + fmt::format(" xcr0:{:x}", low);
}
#else
std::string processor() { return fmt::format(" {:x},{:x}", getauxval(AT_HWCAP), getauxval(AT_HWCAP2)); }
#endif

}  // namespace

std::string identity(const Target& t) {
  const bool host = t.triple.empty() && t.cpu.empty();
  return fmt::format("{} triple '{}' cpu '{}' features '{}' vectors {} of {} fma {} caches {} {} gpu {} {} {}{}", static_cast<int>(t.kind), t.triple,
                     t.cpu, t.features, t.vector_registers, t.vector_bits, t.has_fma, t.l1_bytes, t.l2_bytes, t.subgroup_size,
                     t.max_workgroup, t.shared_bytes, host ? processor() : std::string());
}

}  // namespace tenon::codegen
