/* The public headers are C11 by themselves. */
#include "tenon/custom_op.h"

tenon_status tenon_register_ops(const tenon_custom_api* api, tenon_op_registrar* registrar) {
  const tenon_op op = {.struct_size = sizeof(tenon_op), .abi_version = TENON_CUSTOM_OP_ABI};
  return api->register_op(registrar, &op);
}
