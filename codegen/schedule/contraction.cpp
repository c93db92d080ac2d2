#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

Status schedule_contraction(Lowering&, int) { return error(Code::kUnsupported, "not a contraction"); }

}  // namespace tenon::codegen
