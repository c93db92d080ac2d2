#include "runtime/relocation.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>

namespace tenon::runtime {
namespace {

constexpr uint64_t kPlace = 0x7f00'1234'5678;

/// The instruction after the relocation, as assemblers write it; the status where there is none.
Result<uint32_t> patched(uint32_t instruction, uint32_t type, uint64_t value, uint64_t place = kPlace) {
  TENON_RETURN_IF_ERROR(apply_relocation(Machine::kAarch64, type, std::as_writable_bytes(std::span(&instruction, 1)), place, value));
  return instruction;
}

Code code_of(uint32_t type, uint64_t value, uint64_t place = kPlace) { return patched(0, type, value, place).status().code(); }

TEST(Relocation, BranchesOfAarch64) {
  EXPECT_EQ(*patched(0x94000000, R_AARCH64_CALL26, kPlace + 8), 0x94000002u);          // bl .+8
  EXPECT_EQ(*patched(0x14000000, R_AARCH64_JUMP26, kPlace - 4), 0x17ffffffu);          // b .-4
  EXPECT_EQ(*patched(0x54000000, R_AARCH64_CONDBR19, kPlace + 16), 0x54000080u);       // b.eq .+16
  EXPECT_EQ(*patched(0x36000000, R_AARCH64_TSTBR14, kPlace - 8), 0x3607ffc0u);         // tbz w0, #0, .-8
  EXPECT_EQ(*patched(0x58000000, R_AARCH64_LD_PREL_LO19, kPlace + 8), 0x58000040u);    // ldr x0, .+8
  // 128 MiB either way.
  EXPECT_TRUE(patched(0x94000000, R_AARCH64_CALL26, kPlace + (1 << 27) - 4).ok());
  EXPECT_TRUE(patched(0x94000000, R_AARCH64_CALL26, kPlace - (1 << 27)).ok());
  EXPECT_EQ(code_of(R_AARCH64_CALL26, kPlace + (1 << 27)), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R_AARCH64_CALL26, kPlace - (1 << 27) - 4), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R_AARCH64_CONDBR19, kPlace + (1 << 20)), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R_AARCH64_TSTBR14, kPlace + (1 << 15)), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R_AARCH64_JUMP26, kPlace + 2), Code::kInvalidArgument);
}

TEST(Relocation, AddressesOfAarch64) {
  EXPECT_EQ(*patched(0x90000000, R_AARCH64_ADR_PREL_PG_HI21, 0x403008, 0x400ffc), 0xf0000000u);  // adrp x0, 3 pages on
  EXPECT_EQ(*patched(0x90000000, R_AARCH64_ADR_PREL_PG_HI21, 0x400ff8, 0x401000), 0xf0ffffe0u);  // and one page back
  EXPECT_EQ(*patched(0x10000000, R_AARCH64_ADR_PREL_LO21, kPlace + 5), 0x30000020u);             // adr x0, .+5
  EXPECT_EQ(*patched(0x91000000, R_AARCH64_ADD_ABS_LO12_NC, 0x12345abc), 0x912af000u);           // add x0, x0, #0xabc
  EXPECT_EQ(*patched(0x39400000, R_AARCH64_LDST8_ABS_LO12_NC, 0x12345abf), 0x396afc00u);         // ldrb w0, [x0, #0xabf]
  EXPECT_EQ(*patched(0x79400000, R_AARCH64_LDST16_ABS_LO12_NC, 0x12345abe), 0x79557c00u);        // ldrh w0, [x0, #0xabe]
  EXPECT_EQ(*patched(0xb9400000, R_AARCH64_LDST32_ABS_LO12_NC, 0x12345abc), 0xb94abc00u);        // ldr w0, [x0, #0xabc]
  EXPECT_EQ(*patched(0xf9400000, R_AARCH64_LDST64_ABS_LO12_NC, 0x12345ab8), 0xf9455c00u);        // ldr x0, [x0, #0xab8]
  EXPECT_EQ(*patched(0x3dc00000, R_AARCH64_LDST128_ABS_LO12_NC, 0x12345ab0), 0x3dc2ac00u);       // ldr q0, [x0, #0xab0]
  EXPECT_EQ(code_of(R_AARCH64_LDST128_ABS_LO12_NC, 0x12345ab8), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R_AARCH64_ADR_PREL_PG_HI21, kPlace + (uint64_t{1} << 32) + 4096), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R_AARCH64_ADR_PREL_LO21, kPlace - (1 << 20) - 1), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R_AARCH64_TLSDESC_CALL, kPlace), Code::kUnsupported);
}

TEST(Relocation, DataOfEitherMachine) {
  for (const auto& [machine, type] : {std::pair(Machine::kX86_64, uint32_t{R_X86_64_64}), {Machine::kAarch64, uint32_t{R_AARCH64_ABS64}}}) {
    uint64_t word = 0;
    const auto bytes = std::as_writable_bytes(std::span(&word, 1));
    ASSERT_TRUE(apply_relocation(machine, type, bytes, kPlace, 0x1122334455667788).ok());
    EXPECT_EQ(word, 0x1122334455667788u);
    EXPECT_EQ(apply_relocation(machine, type, bytes.first(7), kPlace, 0).code(), Code::kInvalidArgument);
  }
  for (const auto& [machine, type] : {std::pair(Machine::kX86_64, uint32_t{R_X86_64_PLT32}), {Machine::kAarch64, uint32_t{R_AARCH64_PREL32}}}) {
    int32_t distance = 0;
    const auto bytes = std::as_writable_bytes(std::span(&distance, 1));
    ASSERT_TRUE(apply_relocation(machine, type, bytes, kPlace, kPlace - 5).ok());
    EXPECT_EQ(distance, -5);
    EXPECT_EQ(apply_relocation(machine, type, bytes.first(3), kPlace, kPlace).code(), Code::kInvalidArgument);
    EXPECT_EQ(apply_relocation(machine, type, bytes, kPlace, kPlace + (uint64_t{1} << 31)).code(), Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace tenon::runtime
