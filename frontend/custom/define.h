#pragma once

#include <memory>
#include <string>

#include "ir/op.h"
#include "support/status.h"
#include "tenon/custom_op.h"

namespace tenon::frontend {

/// What a library says about an op, checked and copied. kInvalidArgument names what is wrong with it.
Result<ir::OpDef> define_op(const tenon_op* op, const std::string& origin, const std::shared_ptr<void>& owner);

}  // namespace tenon::frontend
