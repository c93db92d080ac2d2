#pragma once

#include <cstddef>
#include <memory>

#include "support/status.h"
#include "support/tensor.h"

namespace tenon {

inline constexpr size_t kLargePage = size_t{2} << 20;  // of x86-64, and of aarch64 with pages of 4 KiB

/// As Buffer::allocate, for memory that every run walks: from half a megabyte on it lies in whole large pages (2 MiB), the last one
/// included, where the system has them. Code that multiplies matrices otherwise waits for the translation of addresses, most of all in a
/// virtual machine, whose translations take two tables.
Result<std::shared_ptr<Buffer>> allocate_in_large_pages(size_t bytes);

}  // namespace tenon
