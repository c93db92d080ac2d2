#include "runtime/relocation.h"

#include <elf.h>

#include <cstring>
#include <optional>

#include "support/checked.h"

namespace tenon::runtime {
namespace {

using Bytes = std::span<std::byte>;

Status damaged(const char* what) { return error(Code::kInvalidArgument, "the object file {}", what); }
Status too_far() { return damaged("refers too far"); }

template <class T>
Status write(Bytes at, T value) {
  if (at.size() < sizeof value) return damaged("patches outside its section");
  std::memcpy(at.data(), &value, sizeof value);
  return {};
}

template <class T>
Status write_distance(Bytes at, uint64_t place, uint64_t value) {
  const auto distance = checked_cast<T>(static_cast<int64_t>(value - place));
  return distance ? write(at, *distance) : too_far();
}

Status apply_x86_64(uint32_t type, Bytes at, uint64_t place, uint64_t value) {
  switch (type) {
    case R_X86_64_64: return write(at, value);
    case R_X86_64_PC32:
    case R_X86_64_PLT32: return write_distance<int32_t>(at, place, value);
    default: return error(Code::kUnsupported, "the object file has relocations of type {}", type);
  }
}

/// Sets `count` bits of an instruction, from bit `first` on.
Status set_field(Bytes at, uint32_t bits, int first, int count) {
  uint32_t instruction = 0;
  if (at.size() < sizeof instruction) return damaged("patches outside its section");
  std::memcpy(&instruction, at.data(), sizeof instruction);
  const uint32_t mask = ((uint32_t{1} << count) - 1) << first;
  return write(at, (instruction & ~mask) | ((bits << first) & mask));
}

bool fits(int64_t value, int bits) { return value >= -(int64_t{1} << (bits - 1)) && value < int64_t{1} << (bits - 1); }

/// A branch or literal load: a signed distance in words.
Status set_words(Bytes at, uint64_t place, uint64_t value, int first, int count) {
  const auto distance = static_cast<int64_t>(value - place);
  if (distance % 4 != 0) return damaged("jumps between instructions");
  if (!fits(distance / 4, count)) return too_far();
  return set_field(at, static_cast<uint32_t>(distance / 4), first, count);
}

/// ADR and ADRP: 21 bits, of which the low two lie apart.
Status set_adr(Bytes at, int64_t distance) {
  if (!fits(distance, 21)) return too_far();
  const auto bits = static_cast<uint32_t>(distance);
  TENON_RETURN_IF_ERROR(set_field(at, bits & 3, 29, 2));
  return set_field(at, bits >> 2, 5, 19);
}

/// The place in a 4096-byte page as the unsigned offset of an access of 1 << scale bytes.
Status set_low12(Bytes at, uint64_t value, int scale) {
  const auto low = static_cast<uint32_t>(value & 0xfff);
  if ((low & ((1u << scale) - 1)) != 0) return damaged("reads what is not aligned");
  return set_field(at, low >> scale, 10, 12);
}

// ELF for the Arm 64-bit Architecture (AArch64), "Relocation".
Status apply_aarch64(uint32_t type, Bytes at, uint64_t place, uint64_t value) {
  switch (type) {
    case R_AARCH64_ABS64: return write(at, value);
    case R_AARCH64_PREL64: return write(at, value - place);
    case R_AARCH64_PREL32: return write_distance<int32_t>(at, place, value);
    case R_AARCH64_CALL26:
    case R_AARCH64_JUMP26: return set_words(at, place, value, 0, 26);
    case R_AARCH64_CONDBR19:
    case R_AARCH64_LD_PREL_LO19: return set_words(at, place, value, 5, 19);
    case R_AARCH64_TSTBR14: return set_words(at, place, value, 5, 14);
    case R_AARCH64_ADR_PREL_LO21: return set_adr(at, static_cast<int64_t>(value - place));
    case R_AARCH64_ADR_PREL_PG_HI21: return set_adr(at, static_cast<int64_t>((value >> 12) - (place >> 12)));
    case R_AARCH64_ADD_ABS_LO12_NC:
    case R_AARCH64_LDST8_ABS_LO12_NC: return set_low12(at, value, 0);
    case R_AARCH64_LDST16_ABS_LO12_NC: return set_low12(at, value, 1);
    case R_AARCH64_LDST32_ABS_LO12_NC: return set_low12(at, value, 2);
    case R_AARCH64_LDST64_ABS_LO12_NC: return set_low12(at, value, 3);
    case R_AARCH64_LDST128_ABS_LO12_NC: return set_low12(at, value, 4);
    default: return error(Code::kUnsupported, "the object file has relocations of type {}", type);
  }
}

}  // namespace

Status apply_relocation(Machine machine, uint32_t type, Bytes at, uint64_t place, uint64_t value) {
  return machine == Machine::kX86_64 ? apply_x86_64(type, at, place, value) : apply_aarch64(type, at, place, value);
}

void write_stub(Machine machine, std::byte* stub, uint64_t target) {
  constexpr uint8_t kJumpX86[] = {0xff, 0x25, 2, 0, 0, 0, 0, 0};          // jmp *2(%rip)
  constexpr uint8_t kJumpArm[] = {0x50, 0, 0, 0x58, 0, 0x02, 0x1f, 0xd6};  // ldr x16, #8; br x16
  std::memcpy(stub, machine == Machine::kX86_64 ? kJumpX86 : kJumpArm, sizeof kJumpX86);
  std::memcpy(stub + sizeof kJumpX86, &target, sizeof target);
}

}  // namespace tenon::runtime
