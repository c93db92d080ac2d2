#pragma once

#include "backends/backend.h"
#include "support/byte_io.h"

namespace tenon::backends {

/// What saved executables of all backends with plans have beside plan and code: placement rows and figures.
void write_rows(const std::vector<Placement>& rows, const CompileStats& stats, ByteWriter& out);
/// Checked by the reader's ok().
void read_rows(ByteReader& in, std::vector<Placement>& rows, CompileStats& stats);

/// What is said of bytes that are not what was saved.
Status damaged_executable();

}  // namespace tenon::backends
