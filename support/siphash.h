#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tenon {

using SipKey = std::array<std::byte, 16>;

/// SipHash-2-4 with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; the variant of the authors'
/// reference code): who does not know the key can neither find two inputs of one hash nor make a hash for an input.
std::array<std::byte, 16> siphash128(const SipKey& key, std::span<const std::byte> bytes);

}  // namespace tenon
