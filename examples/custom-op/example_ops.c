/* Three operators of the domain com.example:
 *
 *   SoftShrink  an expression for each element: generated, and fused with its neighbours, on every backend
 *   RunLengths  C code whose output sizes only its data tells
 *   Fir         C code with attributes, a computed shape, and taps that are prepared once a node */

#include <stdlib.h>
#include <string.h>

#include "tenon/custom_op.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- SoftShrink: sign(x) * max(|x| - lambda, 0) */

static tenon_status soft_shrink_body(const tenon_custom_api* api, tenon_node* node, tenon_body* body, size_t output) {
  double lambda = 0;
  (void)output;
  TENON_TRY(api->attr_float(node, "lambda", &lambda));
  if (!(lambda >= 0)) return api->fail(node, TENON_INVALID_MODEL, "lambda is negative");

  const tenon_expr x = api->operand(body, 0);
  const tenon_dtype dtype = api->expr_dtype(body, x);
  const tenon_expr beyond =
      tenon_op2(api, body, "sub", tenon_op1(api, body, "abs", x), api->constant(body, dtype, lambda));
  const tenon_expr size = tenon_op2(api, body, "max", beyond, api->constant(body, dtype, 0));
  return api->set_value(body, tenon_op2(api, body, "mul", tenon_op1(api, body, "sign", x), size));
}

static tenon_status register_soft_shrink(const tenon_custom_api* api, tenon_op_registrar* registrar) {
  const tenon_param x = {.struct_size = sizeof(tenon_param), .name = "X", .type_variable = "T", .dtypes = TENON_FLOATS};
  const tenon_param y = {.struct_size = sizeof(tenon_param), .name = "Y", .type_variable = "T", .dtypes = TENON_FLOATS};
  const tenon_attr lambda = {.struct_size = sizeof(tenon_attr),
                             .name = "lambda",
                             .kind = TENON_ATTR_FLOAT,
                             .flags = TENON_ATTR_HAS_DEFAULT,
                             .float_value = 0.5};
  const tenon_op op = {.struct_size = sizeof(tenon_op),
                       .abi_version = TENON_CUSTOM_OP_ABI,
                       .domain = "com.example",
                       .name = "SoftShrink",
                       .since_version = 1,
                       .doc = "sign(x) * max(|x| - lambda, 0)",
                       .inputs = &x,
                       .num_inputs = 1,
                       .outputs = &y,
                       .num_outputs = 1,
                       .attrs = &lambda,
                       .num_attrs = 1,
                       .body = soft_shrink_body};
  return api->register_op(registrar, &op);
}

/* ---- RunLengths: of each run of equal neighbours in a vector, its value and how long it is */

static tenon_status run_lengths_infer(const tenon_custom_api* api, tenon_node* node, tenon_infer* infer) {
  const int64_t rank = api->input_rank(infer, 0);
  if (rank >= 0 && rank != 1) return api->fail(node, TENON_INVALID_MODEL, "X is not a vector");
  const tenon_dim runs = api->run_time_dim(infer, 0, 0); /* one size, which both outputs have */
  TENON_TRY(api->set_output(infer, 0, api->input_dtype(node, 0), &runs, 1));
  return api->set_output(infer, 1, TENON_I64, &runs, 1);
}

static tenon_status run_lengths_evaluate(const tenon_custom_api* api, tenon_node* node, tenon_eval* eval, void* state) {
  const tenon_tensor* x = api->input(eval, 0);
  const int64_t* values = api->tensor_data(x);
  const int64_t count = api->tensor_count(x);
  int64_t runs = 0, run = -1;
  int64_t *out_values, *out_lengths;
  void* data = NULL;
  (void)node;
  (void)state;
  for (int64_t i = 0; i < count; ++i) runs += i == 0 || values[i] != values[i - 1];
  TENON_TRY(api->allocate_output(eval, 0, TENON_I64, &runs, 1, &data));
  out_values = data;
  TENON_TRY(api->allocate_output(eval, 1, TENON_I64, &runs, 1, &data));
  out_lengths = data;
  for (int64_t i = 0; i < count; ++i) {
    if (i == 0 || values[i] != values[i - 1]) out_values[++run] = values[i];
    ++out_lengths[run];
  }
  return TENON_OK;
}

static tenon_status register_run_lengths(const tenon_custom_api* api, tenon_op_registrar* registrar) {
  const tenon_param x = {.struct_size = sizeof(tenon_param), .name = "X", .dtypes = TENON_DTYPE_BIT(TENON_I64)};
  const tenon_param outputs[] = {
      {.struct_size = sizeof(tenon_param), .name = "values", .dtypes = TENON_DTYPE_BIT(TENON_I64)},
      {.struct_size = sizeof(tenon_param), .name = "lengths", .dtypes = TENON_DTYPE_BIT(TENON_I64)},
  };
  const tenon_op op = {.struct_size = sizeof(tenon_op),
                       .abi_version = TENON_CUSTOM_OP_ABI,
                       .domain = "com.example",
                       .name = "RunLengths",
                       .since_version = 1,
                       .doc = "The runs of equal neighbours in a vector",
                       .inputs = &x,
                       .num_inputs = 1,
                       .outputs = outputs,
                       .num_outputs = COUNT(outputs),
                       .infer = run_lengths_infer,
                       .evaluate = run_lengths_evaluate};
  return api->register_op(registrar, &op);
}

/* ---- Fir: y[…, i] = sum over k of taps[k] * x[…, i * stride + k], a filter along the last axis */

typedef struct fir_state {
  size_t count;
  float taps[]; /* divided by their sum when `normalize` is set */
} fir_state;

static tenon_status fir_attributes(const tenon_custom_api* api, tenon_node* node, const double** taps, size_t* count,
                                   int64_t* stride) {
  TENON_TRY(api->attr_floats(node, "taps", taps, count));
  TENON_TRY(api->attr_int(node, "stride", stride));
  if (*count == 0) return api->fail(node, TENON_INVALID_MODEL, "there are no taps");
  if (*stride < 1) return api->fail(node, TENON_INVALID_MODEL, "the stride is not positive");
  return TENON_OK;
}

static tenon_status fir_infer(const tenon_custom_api* api, tenon_node* node, tenon_infer* infer) {
  const int64_t rank = api->input_rank(infer, 0);
  const double* taps = NULL;
  size_t count = 0;
  int64_t stride = 0;
  tenon_dim dims[8], last, steps;
  TENON_TRY(fir_attributes(api, node, &taps, &count, &stride));
  if (rank < 0) return api->set_output(infer, 0, TENON_F32, NULL, -1);
  if (rank < 1 || rank > (int64_t)COUNT(dims)) return api->fail(node, TENON_INVALID_MODEL, "X has not 1 to 8 axes");
  for (size_t i = 0; i < (size_t)rank; ++i) dims[i] = api->input_dim(infer, 0, i);

  /* max(floor((last - taps) / stride) + 1, 0): a number or an expression over symbols, whatever the input's are. */
  last = dims[rank - 1];
  steps = api->dim_floor_div(infer, api->dim_sub(infer, last, api->dim_constant(infer, (int64_t)count)),
                             api->dim_constant(infer, stride));
  dims[rank - 1] =
      api->dim_max(infer, api->dim_add(infer, steps, api->dim_constant(infer, 1)), api->dim_constant(infer, 0));
  return api->set_output(infer, 0, TENON_F32, dims, rank);
}

static tenon_status fir_create_state(const tenon_custom_api* api, tenon_node* node, void** state) {
  const double* taps = NULL;
  size_t count = 0;
  int64_t stride = 0, normalize = 0;
  double sum = 0;
  fir_state* made;
  TENON_TRY(fir_attributes(api, node, &taps, &count, &stride));
  TENON_TRY(api->attr_int(node, "normalize", &normalize));
  for (size_t k = 0; k < count; ++k) sum += taps[k];
  if (normalize != 0 && sum == 0)
    return api->fail(node, TENON_INVALID_MODEL, "taps that sum to 0 cannot be normalized");
  made = malloc(sizeof(fir_state) + count * sizeof(float));
  if (made == NULL) return api->fail(node, TENON_RESOURCE_EXHAUSTED, "no memory for the taps");
  made->count = count;
  for (size_t k = 0; k < count; ++k) made->taps[k] = (float)(normalize != 0 ? taps[k] / sum : taps[k]);
  *state = made;
  return TENON_OK;
}

static void fir_destroy_state(void* state, void* user_data) {
  (void)user_data;
  free(state);
}

static tenon_status fir_evaluate(const tenon_custom_api* api, tenon_node* node, tenon_eval* eval, void* state) {
  const fir_state* fir = state;
  const tenon_tensor* x = api->input(eval, 0);
  const size_t rank = api->tensor_rank(x);
  const float* in = api->tensor_data(x);
  const int64_t* dims = api->tensor_dims(x);
  const int64_t last = dims[rank - 1];
  int64_t out_dims[8], steps, stride = 1, rows = 1;
  float* out;
  void* data = NULL;
  TENON_TRY(api->attr_int(node, "stride", &stride));
  steps = last < (int64_t)fir->count ? 0 : (last - (int64_t)fir->count) / stride + 1;
  memcpy(out_dims, dims, rank * sizeof(int64_t));
  out_dims[rank - 1] = steps;
  for (size_t i = 0; i + 1 < rank; ++i) rows *= dims[i];
  TENON_TRY(api->allocate_output(eval, 0, TENON_F32, out_dims, rank, &data));
  out = data;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < steps; ++i) {
      double sum = 0;
      for (size_t k = 0; k < fir->count; ++k) sum += (double)fir->taps[k] * in[row * last + i * stride + (int64_t)k];
      out[row * steps + i] = (float)sum;
    }
  return TENON_OK;
}

static tenon_status register_fir(const tenon_custom_api* api, tenon_op_registrar* registrar) {
  const tenon_param x = {.struct_size = sizeof(tenon_param), .name = "X", .dtypes = TENON_DTYPE_BIT(TENON_F32)};
  const tenon_param y = {.struct_size = sizeof(tenon_param), .name = "Y", .dtypes = TENON_DTYPE_BIT(TENON_F32)};
  const tenon_attr attrs[] = {
      {.struct_size = sizeof(tenon_attr), .name = "taps", .kind = TENON_ATTR_FLOATS, .flags = TENON_ATTR_REQUIRED},
      {.struct_size = sizeof(tenon_attr),
       .name = "stride",
       .kind = TENON_ATTR_INT,
       .flags = TENON_ATTR_HAS_DEFAULT,
       .int_value = 1},
      {.struct_size = sizeof(tenon_attr), .name = "normalize", .kind = TENON_ATTR_INT, .flags = TENON_ATTR_HAS_DEFAULT},
  };
  const tenon_op op = {.struct_size = sizeof(tenon_op),
                       .abi_version = TENON_CUSTOM_OP_ABI,
                       .domain = "com.example",
                       .name = "Fir",
                       .since_version = 1,
                       .doc = "A finite impulse response filter along the last axis",
                       .inputs = &x,
                       .num_inputs = 1,
                       .outputs = &y,
                       .num_outputs = 1,
                       .attrs = attrs,
                       .num_attrs = COUNT(attrs),
                       .infer = fir_infer,
                       .evaluate = fir_evaluate,
                       .create_state = fir_create_state,
                       .destroy_state = fir_destroy_state};
  return api->register_op(registrar, &op);
}

TENON_EXPORT tenon_status tenon_register_ops(const tenon_custom_api* api, tenon_op_registrar* registrar) {
  TENON_TRY(register_soft_shrink(api, registrar));
  TENON_TRY(register_run_lengths(api, registrar));
  return register_fir(api, registrar);
}
