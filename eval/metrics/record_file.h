#pragma once

#include <filesystem>
#include <vector>

#include "eval/metrics/record.h"
#include "support/status.h"

namespace tenon::eval {

/// The records of files with a line of JSON each (to_line), ordered by index; left out are empty lines and those whose
/// first key is "#", which evaluations keep beside records. An error names file and line: no
/// record, or an index that another one has.
Result<std::vector<Record>> read_records(const std::vector<std::filesystem::path>& files);

}  // namespace tenon::eval
