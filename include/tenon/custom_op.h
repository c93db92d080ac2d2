#ifndef TENON_CUSTOM_OP_H
#define TENON_CUSTOM_OP_H

/* Operators of your own, in a shared library that Tenon loads (docs/custom-operators.md, examples/custom-op).
 *
 * The library exports `tenon_register_ops` and links to nothing of Tenon: what it calls comes in a tenon_custom_api. An
 * op is a table of names, types and callbacks. `infer` gives the types of its outputs, with symbolic dims; what it
 * computes is `evaluate`, C code over tensors, or `body`, an expression for one output element, from which every
 * backend generates code; or both.
 *
 * Handles (tenon_node, tenon_dim …) are valid during the callback that got them. Text and arrays that the API gives
 * belong to it; those given to it are copied. Callbacks may be called from several threads at once, for one node too.
 */

#include "tenon/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_CUSTOM_OP_ABI 1

typedef struct tenon_custom_api tenon_custom_api;
typedef struct tenon_op_registrar tenon_op_registrar;

typedef struct tenon_node tenon_node;     /* the node at hand: attributes, operands */
typedef struct tenon_infer tenon_infer;   /* an inference of its output types */
typedef struct tenon_eval tenon_eval;     /* an evaluation on concrete tensors */
typedef struct tenon_body tenon_body;     /* a body that is being built */
typedef struct tenon_tensor tenon_tensor; /* a dense, row-major tensor */

/* The size of an axis: a number or an expression over symbols. Zero-initialised: none. */
typedef struct tenon_dim {
  uint32_t id;
} tenon_dim;

/* A scalar expression of a body. Zero-initialised: none. */
typedef struct tenon_expr {
  uint32_t id;
} tenon_expr;

/* ---- What an op is */

enum { TENON_OPTIONAL = 1, TENON_VARIADIC = 2 }; /* tenon_param.flags; variadic: the last one only */

/* An input or output. Those of one `type_variable` have one dtype. */
typedef struct tenon_param {
  size_t struct_size;
  const char* name;
  const char* type_variable; /* "T"; null: its own */
  tenon_dtype_set dtypes;    /* those allowed; TENON_ANY_DTYPE */
  uint32_t flags;
} tenon_param;

typedef int32_t tenon_attr_kind;
enum {
  TENON_ATTR_INT = 1,
  TENON_ATTR_FLOAT = 2,
  TENON_ATTR_STRING = 3,
  TENON_ATTR_TENSOR = 4, /* has no default */
  TENON_ATTR_INTS = 5,
  TENON_ATTR_FLOATS = 6,
  TENON_ATTR_STRINGS = 7
};
enum { TENON_ATTR_REQUIRED = 1, TENON_ATTR_HAS_DEFAULT = 2 }; /* tenon_attr.flags */

/* An attribute. Floats are those of ONNX, f32. */
typedef struct tenon_attr {
  size_t struct_size;
  const char* name;
  tenon_attr_kind kind;
  uint32_t flags;
  /* The default: what fits the kind; `count` is the number of elements of a list. */
  int64_t int_value;
  double float_value;
  const char* string_value;
  const int64_t* int_values;
  const double* float_values;
  const char* const* string_values;
  size_t count;
} tenon_attr;

/* Sets the type of every output with set_output. Input dtypes are known and allowed; ranks may be unknown. A model may
 * say anything: check ranks, attributes and ranges, and fail with TENON_INVALID_MODEL. Pure: the same answers every
 * time. */
typedef tenon_status (*tenon_infer_fn)(const tenon_custom_api* api, tenon_node* node, tenon_infer* infer);

/* Allocates and fills every output, with the dtypes and dims that `infer` gives for the inputs at hand. `state` is what
 * create_state made for the node. */
typedef tenon_status (*tenon_evaluate_fn)(const tenon_custom_api* api, tenon_node* node, tenon_eval* eval, void* state);

/* What a node keeps between evaluations, from its attributes (not its operands): made once for each node of a compiled
 * model before its first evaluation, read by all, destroyed with the model. */
typedef tenon_status (*tenon_create_state_fn)(const tenon_custom_api* api, tenon_node* node, void** state);
typedef void (*tenon_destroy_state_fn)(void* state, void* user_data);

/* The element of output number `output` as an expression, given to set_value. Called for each output of a node whose
 * operands' ranks are known. TENON_UNSUPPORTED: not for these attributes; then `evaluate` is the only way. */
typedef tenon_status (*tenon_body_fn)(const tenon_custom_api* api, tenon_node* node, tenon_body* body, size_t output);

enum { TENON_OP_NONDETERMINISTIC = 1 }; /* tenon_op.flags: equal nodes are not merged, constant ones not folded */

typedef struct tenon_op {
  size_t struct_size;
  uint32_t abi_version; /* TENON_CUSTOM_OP_ABI */
  uint32_t flags;
  const char* domain; /* yours: "com.example"; ai.onnx and tenon are refused */
  const char* name;
  int64_t since_version; /* the version of the domain's opset that brings this form of the op, 1 or more */
  const char* doc;       /* one line; may be null */
  const tenon_param* inputs;
  size_t num_inputs;
  const tenon_param* outputs;
  size_t num_outputs;
  const tenon_attr* attrs;
  size_t num_attrs;
  tenon_infer_fn infer; /* null, with a body: each output is the inputs' broadcast shape */
  tenon_evaluate_fn evaluate;
  tenon_create_state_fn create_state; /* null: there is no state */
  tenon_destroy_state_fn destroy_state;
  tenon_body_fn body; /* the meaning of the op where evaluate is null; else its equal */
  void* user_data;    /* what the API's user_data gives back */
} tenon_op;

/* ---- What a library may call. A function that fails leaves its message behind, so that returning its status is
 * enough. A null or unknown handle, index or name is an error, never a crash; dims and expressions made from one are
 * errors that the callback's end reports. */

struct tenon_custom_api {
  size_t struct_size;
  uint32_t abi_version;

  /* Registration: the op is checked and copied. */
  tenon_status (*register_op)(tenon_op_registrar* registrar, const tenon_op* op);

  /* Any callback. */
  tenon_status (*fail)(tenon_node* node, tenon_status status, const char* message); /* gives `status` back */
  void* (*user_data)(const tenon_node* node);
  size_t (*num_inputs)(const tenon_node* node);
  size_t (*num_outputs)(const tenon_node* node);
  int32_t (*has_input)(const tenon_node* node, size_t input);
  tenon_dtype (*input_dtype)(const tenon_node* node, size_t input); /* TENON_NO_DTYPE: absent */

  /* Attributes, defaults applied. TENON_NOT_FOUND: absent without default; TENON_INVALID_ARGUMENT: of another kind. */
  int32_t (*has_attr)(const tenon_node* node, const char* name);
  tenon_status (*attr_int)(tenon_node* node, const char* name, int64_t* value);
  tenon_status (*attr_float)(tenon_node* node, const char* name, double* value);
  tenon_status (*attr_string)(tenon_node* node, const char* name, const char** text, size_t* length);
  tenon_status (*attr_tensor)(tenon_node* node, const char* name, const tenon_tensor** value);
  tenon_status (*attr_ints)(tenon_node* node, const char* name, const int64_t** values, size_t* count);
  tenon_status (*attr_floats)(tenon_node* node, const char* name, const double** values, size_t* count);
  tenon_status (*attr_strings)(tenon_node* node, const char* name, size_t index, const char** text, size_t* length,
                               size_t* count); /* how many, and the text of one, null beyond them */

  /* Tensors. */
  tenon_dtype (*tensor_dtype)(const tenon_tensor* tensor);
  size_t (*tensor_rank)(const tenon_tensor* tensor);
  const int64_t* (*tensor_dims)(const tenon_tensor* tensor);
  int64_t (*tensor_count)(const tenon_tensor* tensor);    /* of elements */
  const void* (*tensor_data)(const tenon_tensor* tensor); /* null for strings and for no elements */
  size_t (*tensor_bytes)(const tenon_tensor* tensor);
  const char* (*tensor_string)(const tenon_tensor* tensor, int64_t index, size_t* length); /* null: no such string */

  /* infer: operands. */
  int64_t (*input_rank)(const tenon_infer* infer, size_t input); /* -1: not known, or absent */
  tenon_dim (*input_dim)(tenon_infer* infer, size_t input, size_t axis);
  const tenon_tensor* (*constant_input)(tenon_infer* infer, size_t input); /* null: not constant */
  /* What an integer operand of rank 0 or 1 holds, as dims, where that is known: from a constant or from shapes. */
  int64_t (*num_input_values)(tenon_infer* infer, size_t input); /* -1: not known */
  tenon_dim (*input_value)(tenon_infer* infer, size_t input, size_t index);

  /* infer: dims. Division rounds down. */
  tenon_dim (*dim_constant)(tenon_infer* infer, int64_t value);
  tenon_dim (*dim_add)(tenon_infer* infer, tenon_dim a, tenon_dim b);
  tenon_dim (*dim_sub)(tenon_infer* infer, tenon_dim a, tenon_dim b);
  tenon_dim (*dim_mul)(tenon_infer* infer, tenon_dim a, tenon_dim b);
  tenon_dim (*dim_floor_div)(tenon_infer* infer, tenon_dim a, tenon_dim b);
  tenon_dim (*dim_mod)(tenon_infer* infer, tenon_dim a, tenon_dim b);
  tenon_dim (*dim_min)(tenon_infer* infer, tenon_dim a, tenon_dim b);
  tenon_dim (*dim_max)(tenon_infer* infer, tenon_dim a, tenon_dim b);
  tenon_dim (*run_time_dim)(tenon_infer* infer, size_t output, size_t axis); /* a size that only evaluation tells */
  int32_t (*dim_value)(tenon_infer* infer, tenon_dim dim, int64_t* value);   /* 0: not a number yet */

  /* infer: results. rank -1: not known before evaluation. */
  tenon_status (*set_output)(tenon_infer* infer, size_t output, tenon_dtype dtype, const tenon_dim* dims, int64_t rank);
  tenon_status (*set_output_values)(tenon_infer* infer, size_t output, const tenon_dim* values, size_t count);
  tenon_status (*broadcast_inputs)(tenon_infer* infer, size_t output, tenon_dtype dtype); /* ONNX Broadcasting.md */

  /* evaluate. */
  const tenon_tensor* (*input)(tenon_eval* eval, size_t input); /* null: absent */
  /* Zero-filled. `data` is null for strings and for no elements. Within the limit on memory. */
  tenon_status (*allocate_output)(tenon_eval* eval, size_t output, tenon_dtype dtype, const int64_t* dims, size_t rank,
                                  void** data);
  tenon_status (*set_output_string)(tenon_eval* eval, size_t output, int64_t index, const char* text, size_t length);

  /* body. f16 and bf16 operands are read as f32, and a result of f32 is rounded to such an output once. */
  tenon_expr (*operand)(tenon_body* body, size_t input); /* at the output's index, broadcast */
  tenon_expr (*element)(tenon_body* body, size_t input, const tenon_expr* indices,
                        size_t count); /* outside: the run fails */
  tenon_expr (*element_or)(tenon_body* body, size_t input, const tenon_expr* indices, size_t count,
                           tenon_expr other);                        /* outside: other */
  tenon_expr (*index)(tenon_body* body, size_t axis);                /* i64, of the output */
  tenon_expr (*extent)(tenon_body* body, size_t input, size_t axis); /* i64, the size of an operand's axis */
  tenon_expr (*constant)(tenon_body* body, tenon_dtype dtype, double value);
  tenon_expr (*constant_int)(tenon_body* body, tenon_dtype dtype, int64_t value);
  tenon_expr (*cast)(tenon_body* body, tenon_expr value, tenon_dtype dtype);
  tenon_dtype (*expr_dtype)(tenon_body* body, tenon_expr value);
  /* By name; operands have one dtype. Unary: neg abs sign not sqrt rsqrt recip exp expm1 log log1p sin cos tan asin
   * acos atan sinh cosh tanh asinh acosh atanh erf sigmoid floor ceil round trunc isnan isinf popcount; binary: add sub
   * mul div rem mod floor_div pow min max and or xor shl shr eq ne lt le gt ge; ternary: fma, select (bool, a, b). */
  tenon_expr (*op)(tenon_body* body, const char* name, const tenon_expr* operands, size_t count);
  /* A reduction: axes first, each an index from 0 to `extent` (a constant or an extent); then once, of an expression
   * over them, by add mul min max and or. Its result goes, with what follows it, to set_value. */
  tenon_expr (*reduce_axis)(tenon_body* body, tenon_expr extent);
  tenon_expr (*reduce)(tenon_body* body, const char* combiner, tenon_expr value);
  tenon_status (*set_value)(tenon_body* body, tenon_expr value);
};

static inline tenon_expr tenon_op1(const tenon_custom_api* api, tenon_body* body, const char* name, tenon_expr a) {
  return api->op(body, name, &a, 1);
}
static inline tenon_expr tenon_op2(const tenon_custom_api* api, tenon_body* body, const char* name, tenon_expr a,
                                   tenon_expr b) {
  tenon_expr operands[2];
  operands[0] = a;
  operands[1] = b;
  return api->op(body, name, operands, 2);
}
static inline tenon_expr tenon_op3(const tenon_custom_api* api, tenon_body* body, const char* name, tenon_expr a,
                                   tenon_expr b, tenon_expr c) {
  tenon_expr operands[3];
  operands[0] = a;
  operands[1] = b;
  operands[2] = c;
  return api->op(body, name, operands, 3);
}

/* Exported by the library. Registers its ops and gives TENON_OK, or what went wrong: then none of them counts. */
TENON_EXPORT tenon_status tenon_register_ops(const tenon_custom_api* api, tenon_op_registrar* registrar);

#ifdef __cplusplus
}
#endif

#endif
