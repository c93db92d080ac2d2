#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "support/status.h"

namespace tenon::runtime {

/// Machines whose code NativeCode can link, by their numbers in ELF headers.
enum class Machine : uint16_t { kX86_64 = 62, kAarch64 = 183 };

/// Writes an address into code or data as an ELF relocation of `type` says: `value` is the address with its addend, `at` the bytes
/// from the patched place to the end of its section, `place` the address at which these will lie. Covers what LLVM makes of
/// position-independent code in the small code model. kUnsupported: another type; kInvalidArgument: outside the section, or too far.
Status apply_relocation(Machine machine, uint32_t type, std::span<std::byte> at, uint64_t place, uint64_t value);

/// Bytes of a stub, and their alignment.
constexpr size_t kStubBytes = 16;
/// A jump to `target`, which may be further away than an instruction reaches.
void write_stub(Machine machine, std::byte* stub, uint64_t target);

}  // namespace tenon::runtime
