#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

Status schedule_rows(Lowering&, std::span<const int>) { return error(Code::kUnsupported, "not a row reduction"); }

}  // namespace tenon::codegen
