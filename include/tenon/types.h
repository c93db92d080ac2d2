#ifndef TENON_TYPES_H
#define TENON_TYPES_H

/* What all of Tenon's C interfaces share.
 *
 * - Functions that can fail return a tenon_status; the message goes through the object at hand.
 * - Structs begin with `struct_size`, which whoever fills the struct sets to its sizeof. Later versions add fields at
 * the end only. A reader takes fields beyond the sender's struct_size as zero, and refuses a longer struct unless what
 * it does not know is zero.
 * - No exception may cross the interface, in either direction.
 * - Text is UTF-8. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define TENON_EXPORT __declspec(dllexport)
#else
#define TENON_EXPORT __attribute__((visibility("default")))
#endif

/* 0, or what kind of failure it is. */
typedef int32_t tenon_status;
enum {
  TENON_OK = 0,
  TENON_INVALID_ARGUMENT = 1,   /* an option, shape or dtype that the caller gave is wrong */
  TENON_INVALID_MODEL = 2,      /* the model breaks the rules of its format or of an op */
  TENON_NOT_FOUND = 3,          /* a file, name or device does not exist */
  TENON_UNSUPPORTED = 4,        /* correct, but not handled */
  TENON_OUT_OF_RANGE = 5,       /* an index or size that run time gave is outside its bounds */
  TENON_RESOURCE_EXHAUSTED = 6, /* a limit of memory, size or depth */
  TENON_CANCELLED = 7,
  TENON_DEADLINE_EXCEEDED = 8,
  TENON_IO = 9,
  TENON_INTERNAL = 11 /* a bug in the code that reports it */
};

/* Element types, by their numbers in ONNX (onnx.proto, TensorProto.DataType). */
typedef int32_t tenon_dtype;
enum {
  TENON_NO_DTYPE = 0,
  TENON_F32 = 1,
  TENON_U8 = 2,
  TENON_I8 = 3,
  TENON_U16 = 4,
  TENON_I16 = 5,
  TENON_I32 = 6,
  TENON_I64 = 7,
  TENON_STRING = 8,
  TENON_BOOL = 9, /* one byte, 0 or 1 */
  TENON_F16 = 10,
  TENON_F64 = 11,
  TENON_U32 = 12,
  TENON_U64 = 13,
  TENON_C64 = 14, /* two f32 */
  TENON_C128 = 15,
  TENON_BF16 = 16,
  TENON_F8E4M3FN = 17,
  TENON_F8E4M3FNUZ = 18,
  TENON_F8E5M2 = 19,
  TENON_F8E5M2FNUZ = 20,
  TENON_U4 = 21, /* elements below 8 bits are packed, low bits first */
  TENON_I4 = 22,
  TENON_F4E2M1 = 23,
  TENON_F8E8M0 = 24,
  TENON_U2 = 25,
  TENON_I2 = 26
};

/* A set of element types: a bit each. */
typedef uint64_t tenon_dtype_set;
#define TENON_DTYPE_BIT(dtype) (UINT64_C(1) << (dtype))
#define TENON_FLOATS \
  (TENON_DTYPE_BIT(TENON_F16) | TENON_DTYPE_BIT(TENON_BF16) | TENON_DTYPE_BIT(TENON_F32) | TENON_DTYPE_BIT(TENON_F64))
#define TENON_SIGNED_INTS \
  (TENON_DTYPE_BIT(TENON_I8) | TENON_DTYPE_BIT(TENON_I16) | TENON_DTYPE_BIT(TENON_I32) | TENON_DTYPE_BIT(TENON_I64))
#define TENON_UNSIGNED_INTS \
  (TENON_DTYPE_BIT(TENON_U8) | TENON_DTYPE_BIT(TENON_U16) | TENON_DTYPE_BIT(TENON_U32) | TENON_DTYPE_BIT(TENON_U64))
#define TENON_NUMBERS (TENON_FLOATS | TENON_SIGNED_INTS | TENON_UNSIGNED_INTS)
#define TENON_ANY_DTYPE UINT64_C(0)

/* Returns from the enclosing function what `call`, a tenon_status, is, unless that is TENON_OK. */
#define TENON_TRY(call)                                  \
  do {                                                   \
    const tenon_status tenon_status_ = (call);           \
    if (tenon_status_ != TENON_OK) return tenon_status_; \
  } while (0)

#ifdef __cplusplus
}
#endif

#endif
