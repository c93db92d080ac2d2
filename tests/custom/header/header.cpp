// The public headers are C++ too.
#include "tenon/custom_op.h"

static_assert(sizeof(tenon_dim) == 4 && sizeof(tenon_expr) == 4);
static_assert(TENON_FLOATS == (TENON_DTYPE_BIT(TENON_F32) | TENON_DTYPE_BIT(TENON_F64) | TENON_DTYPE_BIT(TENON_F16) |
                               TENON_DTYPE_BIT(TENON_BF16)));

extern "C" tenon_status tenon_register_ops(const tenon_custom_api* api, tenon_op_registrar* registrar) {
  tenon_op op{};
  op.struct_size = sizeof(op);
  return api->register_op(registrar, &op);
}
